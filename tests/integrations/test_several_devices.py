"""Studies trained over two processes (gloo) by Lightning Fabric: the records of one process, faults that are named."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import biasvar
from biasvar.errors import BiasvarError
from biasvar.records.schema import weights_path
from biasvar.report.text.description import provenance
from biasvar.study import resolve_study
from biasvar.training import execute
from biasvar.training.checkpoints import read_weights
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.over_devices import _agree, _Other
from biasvar.training.students import Students, _Group
from tests.conftest import TINY
from tests.data.made import tree
from tests.training.processes import BUILDING, together

pytest.importorskip("lightning.fabric", reason="needs Lightning: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[2]
VIEWS = [("train", "augmented"), ("train", "clean"), ("test", "clean")]


def study_of(arms, **changes):
    """90 rows in batches of 40, so that the last one, of 10, is shorter; 2 replicas."""
    study = copy.deepcopy(TINY) | {"backend": "sequential", "replicas": 2}
    study["arms"] = {name: study["arms"][name] for name in arms}
    study["teachers"] = {name: TINY["teachers"][name] for name in ("main", "own")}
    return resolve_study(study | changes)


def rows_of(run, arm, split, view):
    frame = run.records(arm=arm, split=split, view=view)
    return frame.sort_values(["epoch", "replica", "sample_id"]).reset_index(drop=True)


def check_same_records(one, two, arms, within=1e-5):
    """The same ids, once an epoch, and numbers within 1e-5."""
    for arm in arms:
        for split, view in VIEWS:
            a, b = rows_of(one, arm, split, view), rows_of(two, arm, split, view)
            keys = ["epoch", "replica", "sample_id"]
            assert not b.duplicated(keys).any()
            assert a[[*keys, "label", "member"]].equals(b[[*keys, "label", "member"]])
            for name in a.columns[a.dtypes == np.float32]:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=within, err_msg=f"{arm} {name}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The arms ce, kd (with a teacher for all), kd_own (one for each replica) and wsl, on one device and on two."""
    folder = tmp_path_factory.mktemp("devices")
    study = study_of(["ce", "kd", "kd_own", "wsl"], draw={"kind": "bootstrap"})
    return [run_study(study, folder / str(n), device="cpu", devices=n) for n in (1, 2)]


def test_two_processes_give_the_records_of_one(runs):
    check_same_records(*runs, ["ce", "kd", "kd_own", "wsl"])


def test_teachers_are_those_of_one_process(runs):
    for name in ("main", "own"):
        one, two = (run.teacher(name) for run in runs)
        np.testing.assert_allclose(one.logits, two.logits, rtol=1e-5, atol=1e-5)


def test_the_manifest_says_how_many_devices_and_the_study_is_the_same(runs):
    one, two = (run.manifest for run in runs)
    assert one["study_hash"] == two["study_hash"]
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["sessions"][-1]["devices"] == 2
    assert one["arms"]["ce"]["identity"] != two["arms"]["ce"]["identity"]  # runs that share arms tell them apart
    assert "batch_norm" not in two
    assert (one["arms"]["ce"]["group_processor_seconds"][0] or 0) > 0
    assert two["arms"]["ce"]["group_processor_seconds"] == [None, None]  # those of process 0 would be half of them
    assert two["teachers"]["main"].get("processor_seconds") is None
    assert two["teachers"]["main"]["seconds"] > 0
    assert ("Devices that trained each network together", "2") in provenance(runs[1])


def nothing_in(folder):
    return not folder.exists() or not any(folder.iterdir())


def test_processes_that_read_other_data_are_told_apart_before_anything_is_written(tmp_path, monkeypatch):
    """The file changes between the moment that process 0 read it and the moment that process 1 does."""
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(400, 6)).astype(np.float32), np.arange(400) % 4
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    study = study_of(
        ["ce"],
        data={"name": str(tmp_path / "mine.npz"), "test": 100, "validation": 50, "reserved": 0},
        teachers={},
        reference_teacher=None,
    )
    opened = execute.open_study

    def and_change(*arguments):
        context = opened(*arguments)
        np.savez(tmp_path / "mine.npz", images=images + 1, labels=labels)
        return context

    monkeypatch.setattr(execute, "open_study", and_change)
    with pytest.raises(BiasvarError, match=r"process 1 of 2 .* found another fingerprint of the data than process 0: "):
        run_study(study, tmp_path / "run", device="cpu", devices=2)
    assert nothing_in(tmp_path / "run")


def test_a_process_that_cannot_open_the_study_says_why(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", images=np.eye(6, dtype=np.float32).repeat(60, 0), labels=np.arange(360) % 4)
    study = study_of(
        ["ce"],
        data={"name": str(tmp_path / "mine.npz"), "test": 100, "validation": 50, "reserved": 0},
        teachers={},
        reference_teacher=None,
    )
    opened = execute.open_study

    def and_delete(*arguments):
        context = opened(*arguments)
        (tmp_path / "mine.npz").unlink()
        return context

    monkeypatch.setattr(execute, "open_study", and_delete)
    with pytest.raises(BiasvarError, match=r"process 1 of 2 .* failed: .*mine.npz"):
        run_study(study, tmp_path / "run", device="cpu", devices=2)
    assert nothing_in(tmp_path / "run")


def test_processes_of_another_study_are_told_apart(tmp_path):
    """Process 1 is given a study with another seed."""
    context = open_study(study_of(["ce"]), tmp_path / "run", torch.device("cpu"))
    other = _Other(dataclasses.replace(context, study=study_of(["ce"], seed=4)), 1, 2, port=1)
    try:
        with pytest.raises(BiasvarError, match="found another study than process 0"):
            _agree(context, [other])
    finally:
        other.end(finished=False)


def test_augmented_images_and_a_teacher_that_sees_them(tmp_path):
    """Teachers are asked about the views, or about a selection of the rows; whatever the share, it is the same."""
    network = {"model": "tests.training.own_network:make"}
    revised = {"loss": "label_revision", "revision": {"eta": 0.5}, "selection": {"score": "random", "keep": 0.5}}
    arms = {name: TINY["arms"][name] for name in ("ce", "kd", "wsl")} | {"lr": revised}
    study = resolve_study(
        copy.deepcopy(TINY)
        | {"backend": "sequential", "replicas": 2, "student": network, "arms": arms}
        | {"data": {**TINY["data"], "crop": 1, "flip": True}, "schedule": {"epochs": 2, "batch_size": 40}}
        | {"teachers": {"main": {**network, "epochs": 2, "augment": True}}}
    )
    one, two = (run_study(study, tmp_path / str(n), device="cpu", devices=n) for n in (1, 2))
    check_same_records(one, two, ["ce", "kd", "wsl", "lr"])


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_are_read_as_they_are_asked_for(tmp_path, monkeypatch, workers):
    """Each process reads its own share ahead; with a process of its own for that, or without."""
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    folder, network = tree(tmp_path / "photos"), {"model": "tests.training.own_network:make"}
    streamed = {"image_size": 16, "resize": 18, "workers": workers}
    study = resolve_study(
        {"name": "photos", "seed": 5, "replicas": 2, "backend": "sequential", "student": network}
        | {"data": {"name": str(folder), "validation": 9, "streamed": streamed}, "learning_rate": 0.05}
        | {"draw": {"kind": "subsample", "rows": 24}, "schedule": {"epochs": 2, "batch_size": 10}}
        | {"teachers": {"main": {**network, "epochs": 1}}, "defaults": {"temperature": 2, "alpha": 0.5}}
        | {"arms": {"kd": {"loss": "distillation", "teacher": "main"}}}
    )
    one, two = (run_study(study, tmp_path / str(n), device="cpu", devices=n) for n in (1, 2))
    check_same_records(one, two, ["kd"])
    assert not multiprocessing.active_children()


OWN = "tests.training.own_methods"


def test_batch_norm_is_of_each_share_and_the_manifest_says_so(tmp_path):
    """Against threads that stand for the processes, which test_ranks.py holds to a computation by hand."""
    study = study_of(["ce"], student={"model": "tests.training.own_network:normed"}, teachers={})
    run = run_study(study, tmp_path / "run", device="cpu", devices=2)
    assert run.manifest["batch_norm"].startswith("the statistics of a step are those of each device's share")

    def work(ranks):
        context = open_study(study, tmp_path / "run", torch.device("cpu"))
        context.ranks = ranks
        with BUILDING:
            students = Students(context, "ce", 0.1, [0])
        students.train()
        return students.net.parameters()

    saved, _ = read_weights(weights_path(run.directory, "ce", 0))
    (alone,), (divided, _) = together(1, work), together(2, work)
    for name, value in divided.items():
        torch.testing.assert_close(saved[f"0.{name}"], value[0], rtol=0, atol=1e-6)
    assert (divided["4.weight"] - alone["4.weight"]).abs().max() > 1e-3


def test_another_number_of_devices_may_go_on(tmp_path, monkeypatch):
    """A chosen rate, AdamW, clipped gradients, a module beside the student; begun on two devices, ended on one."""
    arms = {"ce": {"loss": "cross_entropy"}, "own": {"loss": f"{OWN}:Projected"}}
    schedule = {**TINY["schedule"], "optimizer": "adamw"}
    families = {"cross_entropy": "ce", f"{OWN}:Projected": "own"}
    rate = {"grid": [0.003, 0.01], "replicas": 2, "families": families}
    study = resolve_study(
        copy.deepcopy(TINY)
        | {"backend": "sequential", "replicas": 2, "teachers": {}, "arms": arms, "schedule": schedule}
        | {"learning_rate": rate, "defaults": {}}
    )
    one = run_study(study, tmp_path / "one", device="cpu")
    saved = _Group._save

    def save(self, epoch):
        saved(self, epoch)
        if self.run.name == "own":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Group, "_save", save)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, tmp_path / "two", device="cpu", devices=2)
    assert not multiprocessing.active_children()
    two = run_study(study, tmp_path / "two", device="cpu")
    assert [session["devices"] for session in two.manifest["sessions"]] == [2, 1]
    assert one.tuning.query("chosen")["learning_rate"].equals(two.tuning.query("chosen")["learning_rate"])
    check_same_records(one, two, ["ce", "own"])


def test_a_process_that_fails_alone_is_named_with_its_reason(tmp_path):
    arms = {"ce": {"loss": "cross_entropy"}, "own": {"loss": f"{OWN}:OnlyHere"}}
    study = resolve_study(
        copy.deepcopy(TINY) | {"backend": "sequential", "replicas": 2, "teachers": {}, "arms": arms, "defaults": {}}
    )
    words = r"process 1 of 2 .* failed: arms.own: method .*OnlyHere failed with ArithmeticError: of this process alone"
    with pytest.raises(BiasvarError, match=words):
        run_study(study, tmp_path / "run", device="cpu", devices=2)
    assert not multiprocessing.active_children()
    assert biasvar.open_run(tmp_path / "run").manifest["arms"]["ce"]["status"] == "complete"


def test_lightning_is_imported_for_several_devices_only():
    code = "import sys, biasvar.training.execute, biasvar.run\nprint([n for n in sys.modules if 'lightning' in n])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ENDED = """
import os, signal, sys
import biasvar
from biasvar.training import students
from biasvar.study import load_study

if __name__ == "__main__":
    kind, out = sys.argv[1:]
    saved = students._Group._save

    def save(self, epoch):
        saved(self, epoch)
        if self.run.name == "kd":
            others = self.context.ranks.others
            os.kill(others[0]._process.pid if kind == "other" else os.getpid(), signal.SIGKILL)

    students._Group._save = save
    from biasvar.run import main
    sys.exit(main(["study.yaml", "--out", out, "--device", "cpu", "--devices", "2"]))
"""


@pytest.mark.parametrize("killed", ["this", "other"])
def test_a_run_goes_on_after_a_kill(runs, tmp_path, killed):
    """Process 0, or process 1, is killed after a checkpoint in the middle of an arm; the second run ends as one did."""
    study = study_of(["ce", "kd", "kd_own", "wsl"], draw={"kind": "bootstrap"})
    (tmp_path / "study.yaml").write_text(study.to_yaml())
    (tmp_path / "ended.py").write_text(ENDED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "ended.py", killed, "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    if killed == "other":
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == (
            "biasvar: error: process 1 of 2 (numbered from 0) was lost, it ended by signal SIGKILL; the same command "
            "goes on from what was recorded"
        )
    else:
        assert done.returncode == -9
    half = biasvar.open_run(tmp_path / "run")
    assert half.manifest["status"] == "running"
    assert list((tmp_path / "run/checkpoints/arm=kd").glob("*.safetensors"))
    run = run_study(study, tmp_path / "run", device="cpu", devices=2)
    check_same_records(runs[1], run, ["ce", "kd", "kd_own", "wsl"], within=0)
    assert len(run.manifest["sessions"]) == 1


COMMAND = [sys.executable, "-m", "biasvar.run", "study.yaml", "--out", "run", "--device", "cpu", "--devices", "2"]


def begun(tmp_path, code=None):
    """A long study under way on two processes, and the processes that it has started."""
    study = study_of(["ce"], teachers={}, schedule={"epochs": 4000, "batch_size": 40})
    (tmp_path / "study.yaml").write_text(study.to_yaml())
    command = COMMAND
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
        command = [sys.executable, "mine.py", *COMMAND[3:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (tmp_path / "run/records").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def check_gone(children):
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes through Linux's /proc")
def test_an_interrupt_ends_all_processes(tmp_path):
    process, children = begun(tmp_path)
    assert children
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; run is whole so far, the same command goes on from here"
    assert "Traceback" not in errors
    check_gone(children)


STUCK = """
import sys, time
from biasvar.training import over_devices, students
from biasvar.run import main

if __name__ == "__main__":
    over_devices.SHOCK = 1.0
    students._Group._note = lambda *arguments: time.sleep(600)  # as one that waits for a device waits
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes through Linux's /proc")
def test_a_process_that_does_not_notice_a_loss_ends_too(tmp_path):
    process, children = begun(tmp_path, STUCK)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "error: process 1 of 2 (numbered from 0) was lost, it ended by signal SIGKILL" in errors.splitlines()[-1]
