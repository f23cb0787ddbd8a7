"""What is computed once: a teacher's answers to the views that arms share, arms that another run holds already."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import biasvar
from biasvar.records import open_run
from biasvar.study import resolve_study
from biasvar.training import reuse, students
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.teachers import open_views, teacher_networks, write_views
from tests.training.test_execute import contents
from tests.training.test_images import folder, study  # noqa: F401


@pytest.fixture
def small(study):  # noqa: F811
    """Two epochs of two arms that share a teacher."""
    study["schedule"] = {"epochs": 2, "batch_size": 25}
    study["teachers"] = {"main": {"model": "resnet8", "epochs": 1, "batch_size": 20, "train_mode": True}}
    study["arms"] = {"ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation"}}
    return study


def test_kept_views_change_no_number(small, tmp_path):
    run_study(resolve_study(small), tmp_path / "asked", device="cpu")
    run_study(resolve_study({**small, "keep_views": True}), tmp_path / "kept", device="cpu")
    asked, kept = contents(tmp_path / "asked"), contents(tmp_path / "kept")
    for files in (asked, kept):
        files.pop("study.yaml")
    assert kept == asked
    assert not (tmp_path / "kept/checkpoints").exists()


def test_kept_views_are_the_teacher_s_answers(small, tmp_path):
    run_study(resolve_study(small), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(small), tmp_path / "run", torch.device("cpu"))
    write_views(context, "main", 1, 0)
    (kept,) = open_views(context, "main", [1], [0])
    ids = context.rows([1]).ids[0][context.rows([1]).orders(5, 2)[0]][:25]  # the first batch of the second epoch
    x = context.inputs.training(torch.as_tensor(ids[None]), [1], 2)
    (teacher,) = teacher_networks(context, "main", [1])
    with torch.no_grad():
        assert torch.equal(kept.at(2, torch.as_tensor(ids)), teacher(x[0]))
        assert not torch.equal(kept.at(1, torch.as_tensor(ids)), teacher(x[0]))
    assert open_views(context, "main", [0, 1], [0, 0]) is None


@pytest.fixture
def untouched(monkeypatch):
    """Counts the groups that are trained."""
    trained = []
    train = students._Group.train

    def counting(self):
        trained.append((self.run.name, self.number))
        return train(self)

    monkeypatch.setattr(students._Group, "train", counting)
    return trained


def test_arms_of_a_run_beside_are_taken_over(small, tmp_path, untouched):
    other = resolve_study({**small, "name": "first", "replicas": 3})
    run_study(other, tmp_path / "first", device="cpu")
    alone = {**copy.deepcopy(small), "name": "second"}
    alone["arms"]["kd"] |= {"label": "KD", "role": "control"}
    alone["arms"]["kd_hot"] = {"loss": "distillation", "temperature": 8}
    run_study(resolve_study(alone), tmp_path / "alone", device="cpu")
    untouched.clear()
    run = run_study(resolve_study({**alone, "share": ["first", "gone"]}), tmp_path / "second", device="cpu")
    assert untouched == [("kd_hot", 0), ("kd_hot", 1)]
    assert run.arm("kd")["shared_from"] == ["first"]
    assert run.arm("kd_hot")["shared_from"] == []
    assert run.arm("kd")["seconds"] == 0
    files = contents(tmp_path / "second"), contents(tmp_path / "alone")
    for content in files:
        content.pop("study.yaml")
    assert files[0] == files[1]


def test_a_group_whose_files_were_taken_away_is_trained(small, tmp_path, untouched):
    run_study(resolve_study({**small, "name": "first"}), tmp_path / "first", device="cpu")
    path = next((tmp_path / "first/records/arm=kd").glob("split=test/view=clean/*/group=001.parquet"))
    path.unlink()
    untouched.clear()
    run_study(resolve_study({**small, "name": "second", "share": ["first"]}), tmp_path / "second", device="cpu")
    assert untouched == [("kd", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6},
        {"schedule": {"epochs": 2, "batch_size": 30}},
        {"learning_rate": {"value": 0.04}},
        {"defaults": {"teacher": "main", "temperature": 3, "alpha": 2.25}},
        {"teachers": {"main": {"model": "resnet8", "epochs": 1, "batch_size": 20}}},
        {"predictions": {"epochs": "all"}},
    ],
)
def test_other_arms_are_not_taken_over(small, tmp_path, untouched, change):
    run_study(resolve_study({**small, "name": "first"}), tmp_path / "first", device="cpu")
    untouched.clear()
    mine = {**small, **change, "name": "second", "share": ["first"]}
    mine["arms"] = {"kd": mine["arms"]["kd"]}
    run = run_study(resolve_study(mine), tmp_path / "second", device="cpu")
    assert untouched == [("kd", 0), ("kd", 1)]
    assert run.arm("kd")["shared_from"] == []


def test_arms_of_other_code_are_not_taken_over(small, tmp_path, untouched, monkeypatch):
    run_study(resolve_study({**small, "name": "first"}), tmp_path / "first", device="cpu")
    untouched.clear()
    monkeypatch.setattr(reuse, "code_hash", lambda: "other")
    run_study(resolve_study({**small, "name": "second", "share": ["first"]}), tmp_path / "second", device="cpu")
    assert len(untouched) == 4


def test_learning_rates_chosen_elsewhere_are_taken_over(small, tmp_path, monkeypatch):
    families = {"cross_entropy": "ce", "distillation": "kd"}
    small["learning_rate"] = {"grid": [0.02, 0.1], "replicas": 1, "families": families}
    run_study(resolve_study({**small, "name": "first"}), tmp_path / "first", device="cpu")
    monkeypatch.setattr("biasvar.training.students.tune_once", None)  # it must not be called
    run = run_study(resolve_study({**small, "name": "second", "share": ["first"]}), tmp_path / "second", device="cpu")
    there = open_run(tmp_path / "first").tuning
    assert run.tuning.equals(there)
    assert run.arm("kd")["shared_from"] == ["first"]


def test_predictions_are_kept_at_the_epochs_asked_for(small, tmp_path):
    small["schedule"]["epochs"] = 3
    small["arms"]["kd"]["predictions"] = {"epochs": [1, 2], "train": True}
    run = run_study(resolve_study(small), tmp_path / "run", device="cpu")
    folders = tmp_path / "run/predictions/arm=kd"
    held = {(path.parts[-4], path.parts[-3], path.parts[-2]) for path in folders.rglob("*.parquet")}
    epochs = ["epoch=0001", "epoch=0002", "epoch=0003"]
    assert held == {
        *(("split=test", "membership=all", epoch) for epoch in epochs),
        *(("split=train", f"membership={m}", epoch) for m in ("member", "nonmember") for epoch in epochs),
        ("split=validation", "membership=all", "epoch=0003"),
    }
    early, late = (run.predictions("kd", epoch=epoch) for epoch in (1, 3))
    assert early.epoch == 1
    assert not np.allclose(early.mean_log_probs, late.mean_log_probs)
    assert run.predictions("ce").epoch == 3
    metrics = run.metrics.query("arm == 'kd' and split == 'test' and replica == 0").set_index("epoch")
    bias_and_variance = run.decomposition("kd", epoch=1).totals()
    both = run.metrics.query("arm == 'kd' and split == 'test' and epoch == 1")["nll"].mean()
    assert bias_and_variance.loss.value == pytest.approx(both, rel=1e-6)
    assert list(metrics.index) == [1, 2, 3]


def test_a_title_or_a_label_may_change_without_training_anew(small, tmp_path, untouched):
    run_study(resolve_study(small), tmp_path / "run", device="cpu")
    untouched.clear()
    small["title"], small["arms"]["kd"]["label"] = "A better title", "KD, τ 4"
    small["teachers"]["main"]["label"] = "The teacher"
    run = run_study(resolve_study(small), tmp_path / "run", device="cpu")
    assert untouched == []
    assert (run.manifest["title"], run.arm("kd")["label"]) == ("A better title", "KD, τ 4")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package's sources."""
    root = tmp_path_factory.mktemp("code") / "biasvar"
    shutil.copytree(Path(biasvar.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def edited(root, name, old, new):
    """The hash of the package with a part of one module replaced."""
    path = root / name
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))
    try:
        return reuse.hash_sources(root)
    finally:
        path.write_text(source)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("training/loop.py", "now = 0.0\n", "now = 0.0  # the rate of the last step\n"),
        ("training/loop.py", '"""The training loop', '"""A training loop'),
        ("training/loop.py", '    """Train a group of replicas for', '    """Train them for'),
        ("training/schedules.py", "\n\n\ndef ", "\n\n\n\n\ndef "),
        ("records/summary.py", '"""The record columns that', '"""Columns that'),
        ("data/hub.py", "\nimport ", "\nimport another_module\nimport "),
        ("files.py", "\nimport ", "\nimport another_module\nimport "),
        ("errors.py", "\nclass ", "\nclass Another(Exception): ...\n\n\nclass "),
        ("report/style.py", "\nimport ", "\nimport another_module\nimport "),
        ("study/reading.py", "\nfrom pathlib import ", "\nimport another_module\nfrom pathlib import "),
    ],
)
def test_what_decides_no_number_leaves_the_hash_of_the_code(package, name, old, new):
    assert edited(package, name, old, new) == reuse.hash_sources(package) == reuse.code_hash()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("training/loop.py", "now = 0.0\n", "now = 0.1\n"),
        ("training/recorder_rows.py", "PENDING_ELEMENTS = 2**20", "PENDING_ELEMENTS = 2**19"),
        ("losses/distillation.py", "\nimport ", "\nimport another_module\nimport "),
        ("analysis/tradeoff.py", "1.0 + others", "1.5 + others"),
        ("analysis/soft_labels/random.py", "\nimport ", "\nimport another_module\nimport "),
        ("data/draws.py", "rng.permutation(len(rows))", "rng.permutation(len(rows))[::-1]"),
        ("data/dataset.py", "np.float32(self.scale)", "np.float64(self.scale)"),
        ("seeding.py", "\nimport ", "\nimport another_module\nimport "),
        ("study/networks.py", "(16, 16, 32, 64)", "(16, 16, 32, 48)"),
        ("study/schema.py", "% self.teacher_count(teacher)", "% 1"),
    ],
)
def test_what_decides_numbers_changes_the_hash_of_the_code(package, name, old, new):
    assert edited(package, name, old, new) != reuse.hash_sources(package)


def test_a_new_module_counts_and_parts_without_numbers_are_there(package):
    before = reuse.hash_sources(package)
    (package / "training/another.py").write_text("x = 1")
    assert reuse.hash_sources(package) != before
    (package / "training/another.py").unlink()
    assert [part for part in reuse.NO_NUMBERS if not (package / part).exists()] == []
