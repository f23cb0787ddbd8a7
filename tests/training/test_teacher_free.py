"""Tf-KD as arms: whose students teach whom, teachers that are stopped, permuted classes, and what a run notes."""

from __future__ import annotations

import copy
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from biasvar.errors import StudyError
from biasvar.losses import DistillationLoss, SelfDistillationLoss
from biasvar.records import open_run
from biasvar.run import describe
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.methods import Batch
from biasvar.training.permuting import check_permuted, draw_non_target_orders
from biasvar.training.students import Students
from biasvar.training.teacher_training import train_teacher
from tests.conftest import TINY
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted

SELF = {"loss": "tfkd_self", "variant": "paper", "alpha": 0.5, "temperature": 1}
REG = {"loss": "tfkd_reg", "variant": "code", "alpha": 0.1, "temperature": 20, "multiplier": 10}
ARMS = {
    "ce": {"loss": "cross_entropy"},
    "ce_big": {"loss": "cross_entropy", "student": {"hidden": [20]}},
    "self": SELF | {"teacher": "ce"},
    "reversed": SELF | {"teacher": "ce", "student": {"hidden": [20]}},
    "defective": SELF | {"teacher": "poor"},
    "permuted": SELF | {"teacher": "main", "permute": "non_target"},
    "kd": SELF | {"teacher": "main"},
    "reg": REG,
}
TEACHERS = {
    "main": {"hidden": [16], "epochs": 4},
    "poor": {"hidden": [16], "epochs": 4, "stop": 1},
    "short": {"hidden": [16], "epochs": 1},
}


def tiny(**changes):
    entry = copy.deepcopy(TINY) | {"teachers": copy.deepcopy(TEACHERS), "arms": copy.deepcopy(ARMS)}
    del entry["defaults"]
    return entry | changes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(resolve_study(tiny()), tmp_path_factory.mktemp("tfkd") / "run", device="cpu")


def clean(run, arm):
    """The clean pass over the test rows after the last epoch, by replica and sample."""
    frame = run.records(arm=arm, split="test", view="clean", epochs=[4])
    return frame.set_index(["replica", "sample_id"]).sort_index()


@pytest.mark.parametrize("arm", ["self", "reversed"])
def test_every_replica_learns_from_the_earlier_student_of_its_own_number(run, arm):
    taught, earlier = clean(run, arm), np.exp(-clean(run, "ce")["student_loss"])  # both at temperature 1
    np.testing.assert_allclose(taught["teacher_prob"], earlier, rtol=1e-4, atol=1e-6)
    by_replica = earlier.unstack("replica")
    assert (by_replica[0] - by_replica[1]).abs().max() > 0.01  # or any pairing would do
    assert run.arm(arm)["regime"] == "students of another arm"
    assert run.arm(arm)["uses"] == ["ce"]


def test_reversed_distillation_trains_the_bigger_network(run):
    assert run.arm("reversed")["student"]["hidden"] == [20]
    start = [Students(open_study(resolve_study(tiny()), run.directory, torch.device("cpu")), arm, 0.1, [0]) for arm in
             ("reversed", "ce_big")]  # fmt: skip
    for one, other in zip(*(students.net.parameters().values() for students in start), strict=True):
        assert torch.equal(one, other)  # it differs from its control by the teacher alone


def test_a_teacher_that_is_stopped_is_the_whole_schedules_after_so_many_epochs(run):
    context = open_study(resolve_study(tiny()), run.directory, torch.device("cpu"))
    seen = {}

    def note(net, epoch):
        seen[epoch] = {name: value.clone() for name, value in net.parameters().items()}

    train_teacher(context, "main", [0], note)
    poor, short = (train_teacher(context, name, [0]).parameters() for name in ("poor", "short"))
    for name, value in poor.items():
        torch.testing.assert_close(value, seen[1][name], rtol=0, atol=0)
    assert max(float((poor[name] - short[name]).abs().max()) for name in poor) > 1e-3  # another rate
    entry = run.manifest["teachers"]["poor"]
    assert entry["stop"] == 1
    assert entry["regime"] == "fixed, all training rows, stopped after 1 of 4 epochs"
    assert entry["accuracy_test"] < run.manifest["teachers"]["main"]["accuracy_test"]


def test_orders_keep_the_label_and_shuffle_the_others_evenly():
    labels = np.random.default_rng(0).integers(0, 4, 6000)
    orders = draw_non_target_orders(labels, 4, seed=3)
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    assert (orders[np.arange(6000), labels] == labels).all()
    np.testing.assert_array_equal(draw_non_target_orders(labels[:50], 4, seed=3), orders[:50])
    assert (draw_non_target_orders(labels, 4, seed=4) != orders).any()
    counts = Counter(map(tuple, orders[labels == 2].tolist()))
    assert len(counts) == 6  # 3! orders of the others
    assert max(counts.values()) < 1.4 * min(counts.values())


def test_one_class_that_is_not_the_target_changes_places_with_none():
    two = SimpleNamespace(dataset=SimpleNamespace(name="made", num_classes=2))
    with pytest.raises(ValueError, match=r"permute: made has 2 classes, .* needed: three classes or more"):
        check_permuted(two)
    check_permuted(SimpleNamespace(dataset=SimpleNamespace(name="made", num_classes=3)))


@pytest.mark.parametrize("loss", ["tfkd_self", "distillation"])
def test_permuted_classes_are_those_of_the_sample_in_every_epoch(loss, tmp_path):
    settings = {"teacher": "main", "temperature": 3.0, "alpha": 0.5, "permute": "non_target"}
    variant = {"variant": "code", "multiplier": 2.0} if loss == "tfkd_self" else {}
    study = resolve_study(tiny(arms={"arm": {"loss": loss, **settings, **variant}}))
    run_study(study, tmp_path / "run", device="cpu")
    context = open_study(study, tmp_path / "run", torch.device("cpu"))
    students = Students(context, "arm", 0.1, [0, 1])
    rng = np.random.default_rng(1)
    ids = torch.as_tensor(np.stack([rng.choice(students.rows.ids[r], 7, replace=False) for r in range(2)]))
    labels = context.labels[ids]
    logits, teacher = (torch.as_tensor(rng.normal(size=(2, 7, 10)), dtype=torch.float32) for _ in range(2))
    orders = draw_non_target_orders(context.dataset.labels, 10, study.seed)
    shuffled = torch.empty_like(teacher)
    for r in range(2):
        for b in range(7):
            for place in range(10):
                shuffled[r, b, place] = teacher[r, b, orders[int(ids[r, b]), place]]
    true = labels[..., None]
    torch.testing.assert_close(shuffled.softmax(-1).gather(-1, true), teacher.softmax(-1).gather(-1, true))
    expected = {
        "tfkd_self": SelfDistillationLoss(alpha=0.5, temperature=3.0, variant="code", multiplier=2.0, reduction="none"),
        "distillation": DistillationLoss(alpha=0.5, temperature=3.0, reduction="none"),
    }[loss](logits, shuffled, labels)
    logits.requires_grad_()
    for epoch in (1, 4):
        batch = Batch(
            ids=ids, inputs=logits, labels=labels, epoch=epoch, rate=0.1, logits=logits, teacher_logits=teacher
        )
        torch.testing.assert_close(students.objective(batch)[0].detach(), expected)


def test_permuting_changes_the_students_and_nothing_of_the_record_of_the_teacher(run):
    kd, permuted = clean(run, "kd"), clean(run, "permuted")
    np.testing.assert_array_equal(kd["teacher_prob"], permuted["teacher_prob"])
    assert (kd["student_prob"] - permuted["student_prob"]).abs().max() > 1e-3


def test_a_virtual_teacher_is_no_teacher_that_is_recorded_at_its_temperature(run):
    assert run.arm("reg")["record_temperature"] == run.arm("ce")["record_temperature"] == 4.0
    assert run.arm("reg")["regime"] == "none"
    said = describe(resolve_study(tiny()), run.directory)
    assert "reg: tfkd_reg, variant code, alpha 0.1, temperature 20, multiplier 10, correct probability 0.99" in said
    assert "permuted: tfkd_self, teacher main, temperature 1, alpha 0.5, variant paper, non_target classes perm" in said


def test_seconds_of_a_group_are_noted_where_it_was_trained_at_one_go(run, tmp_path, monkeypatch):
    for key in ("group_seconds", "group_processor_seconds"):
        (seconds,) = run.arm("ce")[key]
        assert 0 < seconds < 600
    study = resolve_study(tiny(backend="sequential", replicas=2, arms={"ce": ARMS["ce"], "reg": REG}))
    interrupted(monkeypatch, study, tmp_path / "parts")
    resumed = run_study(study, tmp_path / "parts", device="cpu")
    first, second = resumed.arm("ce")["group_seconds"]
    assert first is None  # it went on from its checkpoint
    assert second > 0
    assert all(value > 0 for value in resumed.arm("reg")["group_seconds"])
    assert resumed.arm("ce")["seconds"] >= second


def test_every_arm_goes_on_where_it_stopped(run, tmp_path, monkeypatch):
    study = resolve_study(tiny())
    for after in (1, 5):  # in the first arm, and in one that another arm's students teach
        interrupted(monkeypatch, study, tmp_path / str(after), after=after)
        assert contents(run_study(study, tmp_path / str(after), device="cpu").directory) == contents(run.directory)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("arms.self.multiplier", 2.0, r"arms\.self\.multiplier: only the code has one; leave it out, or take variant"),
        ("arms.reg.alpha", 1.5, r"arms\.reg\.alpha: .*less than or equal to 1, not 1\.5"),
        ("arms.self.alpha", 1.5, r"arms\.self\.alpha: .*less than or equal to 1, not 1\.5"),
        ("arms.reg.variant", "papers", r"arms\.reg\.variant: must be 'paper' or 'code', not 'papers', did you mean"),
        ("arms.reg.correct_probability", 0, r"arms\.reg\.correct_probability: .*greater than 0"),
        ("arms.reg.teacher", "main", r"arms\.reg\.teacher: "),
        ("arms.permuted.permute", "target", r"arms\.permuted\.permute: must be 'non_target', not 'target'"),
        ("arms.self.teacher", "cee", r"arms\.self\.teacher: no teacher named 'cee'.*or an arm, whose students teach"),
        ("teachers.poor.stop", 5, r"teachers\.poor: stop: must be an epoch of its 4 epochs, not 5"),
        ("teachers.poor.stop", 0, r"teachers\.poor\.stop: .*greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(place, value, message):
    section, name, key = place.split(".")
    study = tiny()
    study[section][name][key] = value
    with pytest.raises(StudyError, match=message):
        resolve_study(study)


def test_a_student_that_teaches_itself_is_refused():
    study = tiny()
    study["arms"]["self"]["teacher"] = "self"
    with pytest.raises(StudyError, match=r"arms\.self: needs its own record"):
        resolve_study(study)


def test_a_run_of_these_arms_opens(run):
    assert {*open_run(run.directory).arms} == {*ARMS}
