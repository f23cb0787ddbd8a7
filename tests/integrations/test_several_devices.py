"""Studies trained over two processes (gloo) by Lightning Fabric: the records of one process, faults that are named."""

from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import biasvar
from biasvar.errors import BiasvarError
from biasvar.study import resolve_study
from biasvar.training import execute
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.over_devices import _agree, _Other
from tests.conftest import TINY

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


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


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
