"""The studies of the standard protocols: what the script writes, a file for every published pair, the losses named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from biasvar.losses import SelfDistillationLoss
from biasvar.report import published
from biasvar.study import load_study

FOLDER = Path(__file__).parents[1] / "experiments" / "protocols"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "base.yaml")
NAMES = {"CIFAR-100": "cifar100", "CINIC-10": "cinic10", "ImageNet": "imagenet", "Tiny-ImageNet": "tiny_imagenet_32"}


@pytest.fixture(scope="module")
def make():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("make")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("make", None)


def test_the_files_are_what_the_script_writes(make, tmp_path):
    written = [path.relative_to(tmp_path) for path in make.write(tmp_path)]
    assert {*written} == {path.relative_to(FOLDER) for path in FILES} | {Path("README.md")}
    for path in written:
        assert (tmp_path / path).read_text() == (FOLDER / path).read_text(), f"run {FOLDER / 'make.py'}"


def test_every_published_pair_has_a_study():
    theirs = [(NAMES[pair["data"]], pair["teacher"], pair["student"]) for pair in published.pairs()]
    ours = [
        (study.data.name, study.teachers["main"].model, study.student.model)
        for study in map(load_study, FILES)
        if "main" in study.teachers
    ]
    assert sorted(theirs) == sorted(ours)
    alone = [(NAMES[entry["data"]], entry["student"]) for entry in published.teacher_free()]
    assert sorted(alone) == sorted(
        (study.data.name, study.student.model) for study in map(load_study, FILES) if "main" not in study.teachers
    )


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "cifar100"], ids=lambda path: path.stem)
def test_pairs_of_the_benchmark_have_its_settings(path):
    study = load_study(path)
    light = study.student.model in ("mobilenetv2", "shufflenetv1", "shufflenetv2")
    assert study.learning_rate.value == (0.01 if light else 0.05)
    teacher, schedule = study.teachers["main"], study.schedule
    assert (teacher.epochs, teacher.batch_size, teacher.learning_rate) == (240, 64, 0.05)
    assert (schedule.epochs, schedule.batch_size, schedule.milestones, schedule.gamma) == (
        240,
        64,
        [150, 180, 210],
        0.1,
    )
    assert (schedule.momentum, schedule.nesterov, schedule.weight_decay) == (0.9, False, 5e-4)
    assert (study.data.crop, study.data.flip, study.replicas) == (4, True, 5)
    arms = study.arms
    assert {name: (arm.get("temperature"), arm.get("alpha")) for name, arm in arms.items()} == {
        "ce": (None, None), "kd": (4, 2.25), "kd_crd": (4, 0.9), "wsl": (4, 2.25),
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "imagenet"], ids=lambda path: path.stem)
def test_pairs_of_imagenet_have_the_settings_of_the_released_code(path):
    study = load_study(path)
    schedule, streamed = study.schedule, study.data.streamed
    assert (schedule.epochs, schedule.batch_size, schedule.milestones, schedule.gamma) == (100, 256, [30, 60, 90], 0.1)
    assert (schedule.momentum, schedule.nesterov, schedule.weight_decay) == (0.9, True, 1e-4)
    assert (streamed.image_size, streamed.resize, streamed.area, streamed.augment) == (224, 256, (0.08, 1.0), True)
    assert study.learning_rate.value == study.teachers["main"].learning_rate == 0.1
    assert {(arm.get("temperature"), arm.get("alpha")) for arm in study.arms.values()} == {(None, None), (2, 2.5)}


def test_the_losses_of_published_kd_are_those_named():
    torch.manual_seed(0)

    def by_hand(student, teacher, labels, label_weight, temperature):
        soft = F.kl_div(F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1), reduction="none")
        cross = F.cross_entropy(student, labels, reduction="none")
        return label_weight * cross + (1 - label_weight) * temperature**2 * soft.sum(1)

    for folder, arm, classes, label_weight, temperature in (
        ("cifar100", "kd_crd", 100, 0.1, 4),
        ("dfa_cifar100", "kd", 100, 0.8, 4),
        ("dfa_cinic10", "kd", 10, 0.8, 16),
    ):
        student, teacher = torch.randn(2, 30, classes, dtype=torch.float64) * 4
        labels = torch.arange(30) % classes
        study = load_study(next(path for path in FILES if path.parent.name == folder))
        keys = ("variant", "alpha", "temperature", "multiplier")
        loss = SelfDistillationLoss(**{key: study.arms[arm].get(key) for key in keys}, reduction="none")
        expected = by_hand(student, teacher, labels, label_weight, temperature)
        torch.testing.assert_close(loss(student, teacher, labels), expected, rtol=1e-12, atol=1e-12)
