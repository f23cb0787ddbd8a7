"""Whole studies: what they leave on disk, that they resume to the same bytes, and that arms are paired."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml

import biasvar
from biasvar.errors import BiasvarError, RecordError
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.training import execute, teaching_tasks, tuning, workers
from biasvar.training.execute import run_study
from biasvar.training.students import _Group


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the manifest, which holds times."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json" and p.name[0] != ".")
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    import copy

    from tests.conftest import TINY

    directory = tmp_path_factory.mktemp("runs") / "tiny"
    return run_study(resolve_study(copy.deepcopy(TINY)), directory, device="cpu")


def test_a_finished_run_holds_what_the_design_promises(finished):
    study = resolve_study(finished.study)
    assert finished.manifest["status"] == "complete"
    assert finished.manifest["study_hash"] == study.hash
    assert finished.arms == list(study.arms)
    samples = finished.samples
    assert samples["split"].value_counts().to_dict() == {"train": 1297, "test": 300, "validation": 200}
    assert samples["pool"].value_counts().to_dict() == {"student": 1147, "reserved": 150}
    draws = finished.membership.groupby("replica")["sample_id"].agg(set)
    pool = set(samples.query("pool == 'student'")["sample_id"])
    assert all(len(draw) == 90 and draw <= pool for draw in draws)
    assert len({frozenset(draw) for draw in draws}) == 4
    for arm in finished.arms:
        assert finished.record_epochs(arm, "train", "augmented") == [1, 2, 3, 4]
        for split in ("train", "test"):
            assert finished.record_epochs(arm, split, "clean") == [4]
        rows = finished.records(arm=arm, split="train", view="augmented", epochs=[4])
        assert rows["member"].all()
        assert set(zip(rows["replica"], rows["sample_id"], strict=True)) == {(r, i) for r in range(4) for i in draws[r]}
        saved = safetensors.numpy.load_file(next((finished.directory / "weights" / f"arm={arm}").iterdir()))
        assert {name.split(".")[0] for name in saved} == {"0", "1", "2", "3"}
        assert list(finished.arm(arm)["weights_sha256"]) == ["group=000.safetensors"]
    assert not list((finished.directory / "checkpoints").glob("*"))


def test_the_predictions_are_those_of_the_saved_weights(finished):
    """From the safetensors file, with NumPy alone."""
    from sklearn.datasets import load_digits

    saved = safetensors.numpy.load_file(next((finished.directory / "weights/arm=kd").iterdir()))
    predictions = finished.predictions("kd")
    x = load_digits().data[predictions.sample_ids] / 16
    for r in range(4):
        hidden = np.maximum(x @ saved[f"{r}.layers.0.weight"].T + saved[f"{r}.layers.0.bias"], 0)
        logits = hidden @ saved[f"{r}.layers.1.weight"].T + saved[f"{r}.layers.1.bias"]
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        np.testing.assert_allclose(predictions.mean_log_probs[r], log_probs, atol=1e-4)
        metrics = finished.metrics.query("arm == 'kd' and replica == @r and epoch == 4 and split == 'test'").iloc[0]
        labels = load_digits().target[predictions.sample_ids]
        assert metrics["accuracy"] == (log_probs.argmax(1) == labels).mean()
        assert metrics["nll"] == pytest.approx(-log_probs[np.arange(300), labels].mean(), rel=1e-4)


def test_members_and_non_members_share_the_pool_between_them(finished):
    member = finished.predictions("ce", split="train", membership="member")
    other = finished.predictions("ce", split="train", membership="nonmember")
    assert (member.counts + other.counts == 1).all()
    assert member.counts.sum() == 4 * 90
    records = finished.records(arm="ce", split="train", view="clean").pivot(
        index="replica", columns="sample_id", values="member"
    )
    np.testing.assert_array_equal(records[member.sample_ids].to_numpy(), member.counts == 1)


def test_arms_are_paired(finished):
    """Every arm starts from the same weights on the same rows in the same order."""
    first = {arm: finished.records(arm=arm, epochs=[1], split="train", view="augmented") for arm in finished.arms}
    for arm in finished.arms:
        assert first[arm]["sample_id"].equals(first["ce"]["sample_id"])
    loss = finished.records(arm="ls", epochs=[1], split="train")["student_loss"]
    same = np.isclose(loss, finished.records(arm="ce", epochs=[1], split="train")["student_loss"], rtol=1e-6)
    assert 4 * 40 <= same.sum() < len(loss)  # the first batch of 40 of each replica, before any update


def test_arms_that_use_another_arms_record(finished):
    kd = finished.records(arm="kd", split="train", view="augmented")
    means = kd.groupby(["replica", "sample_id"])["wsl_weight"].mean()
    used = finished.records(arm="wsl_recorded", epochs=[3], split="train", view="augmented")
    expected = means.loc[list(zip(used["replica"], used["sample_id"], strict=True))]
    np.testing.assert_allclose(used["loss_weight"], expected, rtol=1e-5)

    wsl = finished.records(arm="wsl", split="train", view="augmented")
    np.testing.assert_allclose(wsl["loss_weight"], wsl["wsl_weight"], rtol=1e-5, atol=1e-7)
    mean = wsl.groupby(["replica", "epoch"], observed=True)["loss_weight"].mean()
    scaled = finished.records(arm="kd_scaled", split="train", view="augmented")
    for (replica, epoch), rows in scaled.groupby(["replica", "epoch"], observed=True):
        np.testing.assert_allclose(rows["loss_weight"], mean.loc[(replica, epoch)], rtol=1e-5)


def test_random_arms_are_what_they_say(finished):
    shuffled = finished.records(arm="wsl_shuffled", split="train", view="augmented", epochs=[2])
    assert not np.allclose(shuffled["loss_weight"], shuffled["wsl_weight"], atol=0.01)
    totals = shuffled.groupby("replica")[["loss_weight", "wsl_weight"]].sum()
    np.testing.assert_allclose(totals["loss_weight"], totals["wsl_weight"], rtol=1e-4)
    masked = finished.records(arm="kd_random", split="train", view="augmented", epochs=[2])
    kept = masked.groupby("replica")["loss_weight"].sum()
    assert kept.tolist() == (~masked["opposing"]).groupby(masked["replica"]).sum().tolist()


def test_teacher_regimes(finished):
    fixed, disjoint, own = (finished.teacher(name) for name in ("main", "disjoint", "own"))
    samples = finished.samples.set_index("sample_id")
    assert set(fixed.sample_ids[fixed.member]) == set(samples.query("split == 'train'").index)
    assert set(disjoint.sample_ids[disjoint.member]) == set(samples.query("pool == 'reserved'").index)
    draws = finished.membership.groupby("replica")["sample_id"].agg(set)
    for r in range(4):
        assert set(own.sample_ids[own.member[r]]) == draws[r]
    regimes = {arm: finished.arm(arm)["regime"] for arm in ("ce", "kd", "kd_disjoint", "kd_own")}
    assert list(regimes.values()) == ["none", "fixed, all training rows", "fixed, disjoint rows", "per replica"]
    row = finished.records(arm="kd_own", split="test", view="clean", replicas=[2]).iloc[5]
    logits = own.logits[2][list(own.sample_ids).index(row["sample_id"])].astype(float)
    expected = -logits[row["label"]] + np.log(np.exp(logits).sum())
    assert row["teacher_loss"] == pytest.approx(expected, rel=1e-4)


def test_a_complete_run_is_left_as_it_is(finished):
    before = {p: p.stat().st_mtime_ns for p in finished.directory.rglob("*") if p.is_file()}
    run_study(resolve_study(finished.study), finished.directory, device="cpu")
    assert before == {p: p.stat().st_mtime_ns for p in finished.directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("part", ["records", "predictions", "metrics", "weights"])
def test_what_was_taken_away_from_a_complete_run_is_made_again(finished, tmp_path, part):
    shutil.copytree(finished.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / part / "arm=kd_own")
    run = run_study(resolve_study(finished.study), tmp_path / "run", device="cpu")
    assert run.manifest["status"] == "complete"
    assert contents(tmp_path / "run") == contents(finished.directory)


def test_a_group_is_done_only_while_its_files_are_there(finished, tmp_path):
    """As after a stop between an arm's last group and its entry in the manifest, and files then taken away."""
    shutil.copytree(finished.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/predictions/arm=kd_own")
    note = tmp_path / "run/checkpoints/arm=kd_own/group=000.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"failed_replicas": [], "seconds": 1.0}')
    run_study(resolve_study(finished.study), tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == contents(finished.directory)


def test_damaged_weights_and_checkpoints_are_named(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/metrics/arm=ce")
    (tmp_path / "run/checkpoints/arm=ce").mkdir(parents=True)
    damaged = tmp_path / "run/checkpoints/arm=ce/group=000.safetensors"
    damaged.write_bytes(b"half a file")
    with pytest.raises(RecordError, match=r"group=000\.safetensors is damaged"):
        run_study(resolve_study(finished.study), tmp_path / "run", device="cpu")
    damaged.unlink()
    run_study(resolve_study(finished.study), tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == contents(finished.directory)


def test_a_directory_of_another_study_is_refused(finished, tiny_study):
    with pytest.raises(RecordError, match="holds another run"):
        run_study(resolve_study({**tiny_study, "seed": 4}), finished.directory, device="cpu")


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_ends_with_the_same_bytes(finished, tmp_path, monkeypatch, stop_after):
    """Stopped in the middle of the arm `wsl_shuffled` (which has randomness of its own) after some epoch."""
    state = {"armed": True}
    note = _Group._note

    def stop(self, split, view, epoch, numbers, rate):
        note(self, split, view, epoch, numbers, rate)
        if state["armed"] and self.run.name == "wsl_shuffled" and epoch > stop_after:
            state["armed"] = False
            raise KeyboardInterrupt

    monkeypatch.setattr(_Group, "_note", stop)
    study = resolve_study(finished.study)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", device="cpu")
    half = biasvar.open_run(tmp_path / "run")
    assert half.manifest["status"] == "running"
    assert half.records(arm="ce", split="train", epochs=[4], columns=["student_loss"]).notna().all(axis=None)
    run_study(study, tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == contents(finished.directory)


def test_processes_side_by_side_make_no_difference(finished, tmp_path):
    study = resolve_study(finished.study)
    run_study(study, tmp_path / "run", device="cpu", jobs=2)
    assert contents(tmp_path / "run") == contents(finished.directory)


@pytest.mark.slow
def test_a_lost_worker_costs_only_what_it_was_doing(finished, tmp_path):
    """Workers are killed twice while the study runs; it ends with the same bytes all the same."""
    study = resolve_study(finished.study)
    killed = []

    def kill_children():
        while len(killed) < 2 and not finish.is_set():
            for child in multiprocessing.active_children():
                if list((tmp_path / "run").glob("metrics/*")):
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
                    finish.wait(3)
                    break
            finish.wait(0.05)

    finish = threading.Event()
    killer = threading.Thread(target=kill_children)
    killer.start()
    try:
        run_study(study, tmp_path / "run", device="cpu", jobs=2)
    finally:
        finish.set()
        killer.join()
    assert killed
    assert contents(tmp_path / "run") == contents(finished.directory)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 4])
def test_a_worker_lost_between_two_tasks_is_replaced(finished, tmp_path, monkeypatch, moment):
    """The pool knows that it is broken before a task is submitted, so that `submit` itself raises."""
    study = resolve_study(finished.study)
    submit, calls = workers._Pool.submit, []

    def submit_to_a_broken_pool(pool, function, /, *args):
        calls.append(function)
        if len(calls) == moment:
            if moment == 1:  # no worker was started yet
                pool._pool.submit(os.getpid).result()
            for process in list(pool._pool._processes.values()):
                os.kill(process.pid, signal.SIGKILL)
            pool._pool._executor_manager_thread.join(30)
            with pytest.raises(BrokenProcessPool):
                pool._pool.submit(os.getpid)
        return submit(pool, function, *args)

    monkeypatch.setattr(workers._Pool, "submit", submit_to_a_broken_pool)
    run_study(study, tmp_path / "run", device="cpu", jobs=2)
    assert len(calls) > moment
    assert contents(tmp_path / "run") == contents(finished.directory)


def interrupts_that_wait():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_do_not_hear_an_interrupt_while_they_start(finished, tmp_path):
    """Else those that are still importing print a traceback at Ctrl-C."""
    study = resolve_study(finished.study)
    with workers.make_executor(study, finished.directory, workers.torch.device("cpu"), 2) as executor:
        assert executor.submit(0, interrupts_that_wait).result()
        assert not interrupts_that_wait()


def die(name):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_are_lost_again_and_again_end_the_run_with_a_word(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "MOST_LOSSES", 1)
    monkeypatch.setattr(teaching_tasks, "finish_teacher", die)
    study = resolve_study(finished.study)
    with pytest.raises(BiasvarError, match=r"worker processes were lost 2 times.*--jobs 1"):
        run_study(study, tmp_path / "run", device="cpu", jobs=2)
    monkeypatch.undo()
    run_study(study, tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == contents(finished.directory)


def test_sequential_and_batched_backends_agree(finished, tmp_path, tiny_study):
    """One arm in float32 for a few steps; the exact test, in float64, is in test_replicas."""
    tiny_study["arms"] = {"kd": tiny_study["arms"]["kd"]}
    tiny_study["teachers"] = {"main": tiny_study["teachers"]["main"]}
    tiny_study["backend"] = "sequential"
    run = run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu")
    assert len(list((tmp_path / "run/records/arm=kd/split=test/view=clean/epoch=0004").iterdir())) == 4
    ours, theirs = run.decomposition("kd").totals(), finished.decomposition("kd").totals()
    assert ours.bias.value == pytest.approx(theirs.bias.value, abs=1e-3)
    assert ours.variance.stderr_replicas == pytest.approx(theirs.variance.stderr_replicas, rel=0.05)


def test_a_replica_that_diverges_is_named_and_left_out(tmp_path, tiny_study):
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    tiny_study["learning_rate"] = {"value": 1e6}
    tiny_study["schedule"]["weight_decay"] = 1.0
    run = run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu")
    failed = run.arm("ce")["failed_replicas"]
    assert [item["replica"] for item in failed] == [0, 1, 2, 3]
    assert {item["reason"] for item in failed} <= {"not finite", "at chance"}
    assert "not finite" in {item["reason"] for item in failed}


@pytest.mark.parametrize("kind", ["bootstrap", "disjoint", "seed_only"])
def test_every_draw_trains_and_is_recorded(tmp_path, tiny_study, kind):
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd_own")}
    tiny_study["draw"] = {"kind": kind}
    tiny_study["schedule"] = {"epochs": 1, "batch_size": 200}
    run = run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu")
    rows = run.records(arm="ce", split="train", view="augmented")
    draws = run.membership
    assert rows["member"].sum() == len(draws)
    if kind == "bootstrap":
        assert draws.groupby("replica")["multiplicity"].sum().tolist() == [1147] * 4
        assert rows.groupby("replica").size().tolist() == [1147] * 4
    elif kind == "disjoint":
        assert draws["sample_id"].is_unique
    else:
        assert draws.groupby("replica").size().tolist() == [1147] * 4


def test_rates_are_chosen_on_the_validation_split_and_the_grid_is_kept(tmp_path, tiny_study):
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    grid = {"grid": [1e-5, 0.1], "replicas": 2, "families": {"cross_entropy": "ce", "distillation": "kd"}}
    tiny_study["learning_rate"] = grid
    run = run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu")
    tuning = run.tuning
    assert len(tuning) == 2 * 2 * 2
    assert tuning.groupby("family")["chosen"].sum().tolist() == [2, 2]
    means = tuning.groupby(["family", "learning_rate"])["accuracy"].mean()
    for family, rows in tuning.query("chosen").groupby("family"):
        assert means[family].idxmax() == rows["learning_rate"].iloc[0]
    assert run.arm("ce")["learning_rate"] == 0.1


def test_rates_are_chosen_by_accuracy_or_by_the_loss(tmp_path, tiny_study, monkeypatch):
    """Where the two disagree: at .4 students are right a little more often, and sure where they are wrong."""
    found = {0.1: (0.80, 0.5), 0.4: (0.82, 0.9)}
    monkeypatch.setattr(
        tuning,
        "tune_rate",
        lambda arm, rate, replicas: {"replica": [0], "accuracy": [found[rate][0]], "nll": [found[rate][1]]},
    )
    tiny_study["arms"] = {"ce": tiny_study["arms"]["ce"]}
    for by, rate in (("accuracy", 0.4), ("nll", 0.1)):
        grid = {"grid": [0.1, 0.4], "by": by, "replicas": 1, "families": {"cross_entropy": "ce"}}
        tiny_study["learning_rate"] = grid
        run = run_study(resolve_study(tiny_study), tmp_path / by, device="cpu", jobs=1)
        assert run.arm("ce")["learning_rate"] == rate
        assert run.tuning.query("chosen")["learning_rate"].unique().tolist() == [rate]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "jobs", "to_the_group"),
    [("SIGINT", 1, False), ("SIGTERM", 2, False), ("SIGTERM", 2, True)],
)
def test_signals_that_end_a_run_leave_one_that_resumes(
    tmp_path, tiny_study, monkeypatch, capsys, ending, jobs, to_the_group
):
    """The command line, ended by Ctrl-C or by a scheduler, then run again: the same bytes as without."""
    number = getattr(signal, ending)
    tiny_study["schedule"]["epochs"] = 200  # seconds, so that the signal comes before the end on a busy machine too
    tiny_study["evaluate_every"] = tiny_study["checkpoint_every"] = 50
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    tiny_study["teachers"] = {"main": tiny_study["teachers"]["main"]}
    tiny_study["record"] = {"epochs": 100}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    command = [sys.executable, "-m", "biasvar.run", "study.yaml", "--jobs", str(jobs)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    records = tmp_path / "runs/tiny/records"
    deadline = time.monotonic() + 60
    while not records.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if to_the_group:
        os.killpg(process.pid, number)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; runs/tiny is whole so far, the same command goes on from here"
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob(".*.tmp"))
    monkeypatch.chdir(tmp_path)
    assert main(command[3:]) == 0
    assert "2 arms of 4 replicas" in capsys.readouterr().out
    assert biasvar.open_run(tmp_path / "runs/tiny").manifest["status"] == "complete"
    if jobs == 2:
        run_study(resolve_study(tiny_study), tmp_path / "whole", device="cpu")
        assert contents(tmp_path / "whole") == contents(tmp_path / "runs/tiny")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers through Linux's /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path, tiny_study):
    tiny_study["schedule"]["epochs"] = 2000
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    command = [sys.executable, "-m", "biasvar.run", "study.yaml", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs/tiny/teachers").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline + 30:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_tasks_need_their_set_up(monkeypatch):
    monkeypatch.setattr(workers, "_context", None)
    with pytest.raises(AssertionError):
        workers.finish_teacher("main")


def test_logits_of_teachers_that_were_taken_away_are_written_again(tiny_study, tmp_path):
    study = resolve_study(tiny_study)
    run_study(study, tmp_path / "run", device="cpu")
    whole = contents(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/teachers")
    shutil.rmtree(tmp_path / "run/weights" / f"arm={study.order()[-1]}")  # so that something is left to train
    run_study(study, tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == whole


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_cut_off_while_it_notes_its_rates_says_the_same_in_the_end(tmp_path, tiny_study, monkeypatch, moment):
    """Killed between the grid's file and the manifest's entry, a run lacked that entry for good."""
    tiny_study["arms"] = {"ce": tiny_study["arms"]["ce"]}
    tiny_study["teachers"] = {}
    tiny_study["schedule"]["epochs"] = 1
    tiny_study["learning_rate"] = {"grid": [0.01, 0.1], "replicas": 1, "families": {"cross_entropy": "ce"}}
    study = resolve_study(tiny_study)
    whole = run_study(study, tmp_path / "whole", device="cpu").manifest["tuning"]
    tuning = execute.RunWriter.tuning

    def cut_off(writer, frame):
        if moment == "after":
            tuning(writer, frame)
        raise KeyboardInterrupt

    monkeypatch.setattr(execute.RunWriter, "tuning", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", device="cpu")
    monkeypatch.undo()
    run_study(study, tmp_path / "run", device="cpu")
    assert biasvar.open_run(tmp_path / "run").manifest["tuning"] == whole
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
