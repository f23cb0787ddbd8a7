"""biasvar's losses as terms of torchdistill's criteria, and torchdistill's losses beside biasvar's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biasvar
from biasvar import losses

pytest.importorskip("torchdistill", reason="torchdistill is not installed: make test-integrations has it")

from torchdistill.losses.registry import get_high_level_loss, get_mid_level_loss

from biasvar.integrations.torchdistill import RecordedLoss
from biasvar.integrations.torchdistill_terms import TERMS

B, C = 12, 5
SETTINGS = {
    "BadTeacherLoss": {"k": 3, "punishment": 1.0, "compensation": 0.5, "rivals": 3.0},
    "CandidateAverageLoss": {},
    "CandidateSetLoss": {},
    "CompensationLoss": {"k": 2},
    "CrossEntropyLoss": {},
    "DistillationLoss": {"temperature": 4, "alpha": 2.25},
    "LabelSmoothingLoss": {"smoothing": 0.1},
    "LocalTargetLoss": {},
    "MaskedDistillationLoss": {"temperature": 4, "alpha": 2.25, "keep": "other"},
    "PortedRevisionLoss": {},
    "ProximalTeacherLoss": {"pull": 0.5},
    "PunishmentLoss": {},
    "RevisedDistillationLoss": {},
    "RivalsLoss": {},
    "ScoreLoss": {"output": "probabilities"},
    "SelfDistillationLoss": {"alpha": 0.95, "temperature": 20, "variant": "paper"},
    "SoftLabelLoss": {},
    "SquaredErrorLoss": {},
    "VirtualTeacherLoss": {"alpha": 0.1, "temperature": 20, "variant": "code"},
    "WeightedSoftLabelLoss": {"temperature": 4, "alpha": 2.25},
}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, B, C, generator=generator)
    labels = torch.randint(0, C, (B,), generator=generator)
    tables = {
        "soft_labels": torch.rand(20, C, generator=generator).softmax(-1),
        "scores": torch.randn(20, C, generator=generator),
        "candidates": torch.rand(20, C, generator=generator) < 0.5,
        "rivals": torch.randint(0, C, (20, 2), generator=generator),
        "weights": torch.rand(20, generator=generator),
    }
    return student.requires_grad_(), teacher, labels, torch.randperm(20, generator=generator)[:B], tables


def dictionaries(student, teacher, ids=None):
    student_io = {".": {"output": student}}
    return student_io | ({} if ids is None else {"sample_id": {"output": ids, "loss_weight": None}}), {
        ".": {"output": teacher}
    }


def term(name, **more):
    return get_mid_level_loss({"key": f"biasvar.{name}", "kwargs": {**SETTINGS[name], **more}})


def test_every_loss_of_the_package_is_a_term():
    assert sorted(TERMS) == sorted(SETTINGS)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_term_is_the_loss_itself(name, batch):
    student, teacher, labels, ids, tables = batch
    loss = getattr(losses, name)(**SETTINGS[name])
    given = {"student_logits": student, "logits": student, "teacher_logits": teacher, "labels": labels}
    names = loss.forward.__code__.co_varnames[1 : loss.forward.__code__.co_argcount]
    rows = {key: tables[key] for key in names if key in tables and key != "weights"}
    expected = loss(
        **{key: given[key] if key in given else rows[key][ids] for key in names if key in given or key in rows}
    )
    found = term(name, tables=rows)(*dictionaries(student, teacher, ids), labels)
    assert torch.equal(found, expected)
    assert found.requires_grad == (name != "ProximalTeacherLoss")  # which is one of the teacher, and holds it near


def test_a_table_by_sample_id_comes_from_a_file(tmp_path, batch):
    student, teacher, labels, ids, tables = batch
    np.save(tmp_path / "weights.npy", tables["weights"].double().numpy())
    found = dictionaries(student, teacher, ids)
    value = term("DistillationLoss", tables={"weights": str(tmp_path / "weights.npy")})(*found, labels)
    loss = losses.DistillationLoss(temperature=4, alpha=2.25)
    assert torch.equal(value, loss(student, teacher, labels, tables["weights"][ids]))
    assert torch.equal(found[0]["sample_id"]["loss_weight"], tables["weights"][ids])


def test_logits_are_found_where_a_module_gives_them_out(batch):
    student, teacher, labels, *_ = batch
    place = {"student_module_path": "head", "teacher_module_path": "body.fc", "teacher_module_io": "input"}
    value = term("SelfDistillationLoss", **place)(
        {"head": {"output": student}, ".": {"output": 2 * student}}, {"body.fc": {"input": teacher}}, labels
    )
    assert torch.equal(value, losses.SelfDistillationLoss(**SETTINGS["SelfDistillationLoss"])(student, teacher, labels))


def test_what_a_term_lacks_is_said_in_one_line(batch):
    student, teacher, labels, ids, tables = batch
    for more, name, message in (
        ({}, "SoftLabelLoss", r"biasvar.SoftLabelLoss needs tables: \{soft_labels: FILE.npy\}"),
        ({"tables": {"weight": [1]}}, "DistillationLoss", "takes no table 'weight'; it takes weights"),
        ({"tables": {"weights": [1]}}, "CrossEntropyLoss", "takes no table 'weights'; it takes none"),
    ):
        with pytest.raises(ValueError, match=message):
            term(name, **more)
    with pytest.raises(ValueError, match="temperature"):
        get_mid_level_loss({"key": "biasvar.DistillationLoss", "kwargs": {"temperature": -1, "alpha": 1}})
    weighted = term("DistillationLoss", tables={"weights": tables["weights"][:5]})
    with pytest.raises(ValueError, match=f"has 5 rows, none for sample id {int(ids.max())}"):
        weighted(*dictionaries(student, teacher, ids), labels)
    with pytest.raises(ValueError, match=r"no sample ids: criterion needs key: biasvar\.RecordedLoss"):
        weighted(*dictionaries(student, teacher), labels)
    with pytest.raises(ValueError, match="no output of module 'fc' of the student: its forward_hook"):
        term("CrossEntropyLoss", student_module_path="fc")(*dictionaries(student, teacher), labels)


# torchdistill's losses


def kd_loss(**settings):
    place = {
        f"{net}_module_{end}": value
        for net in ("student", "teacher")
        for end, value in (("path", "."), ("io", "output"))
    }
    return get_mid_level_loss({"key": "KDLoss", "kwargs": {**place, "temperature": 4.0, **settings}})


def entropy(teacher, tau=4.0):
    log_probs = (teacher / tau).log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1).mean()


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.25), (1.0, 0.5), (0.3, None), (0.9, None)])
def test_kd_loss_is_biasvars_where_alpha_weighs_the_label(batch, alpha, beta):
    """alpha CE + beta tau^2 KL = alpha (CE + beta / alpha tau^2 H(t, s)) - beta tau^2 H(t)."""
    student, teacher, labels, *_ = batch
    soft = 1 - alpha if beta is None else beta
    theirs = kd_loss(alpha=alpha, beta=beta)(*dictionaries(student, teacher), labels)
    ours = alpha * losses.DistillationLoss(temperature=4.0, alpha=soft / alpha)(student, teacher, labels)
    torch.testing.assert_close(theirs, ours - soft * 16 * entropy(teacher), rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value, student)[0] for value in (theirs, ours)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"alpha": 0, "beta": 7.0}, {"beta": 7.0}])
def test_kd_loss_without_alpha_drops_beta_and_the_square_of_the_temperature(batch, settings):
    student, teacher, labels, *_ = batch
    theirs = kd_loss(**settings)(*dictionaries(student, teacher), labels)
    soft = losses.DistillationLoss(temperature=4.0, alpha=1.0)(student, teacher, labels)
    kl = soft - torch.nn.functional.cross_entropy(student, labels) - 16 * entropy(teacher)
    torch.testing.assert_close(16 * theirs, kl, rtol=1e-4, atol=1e-5)
    without_labels = kd_loss(alpha=0.5)(*dictionaries(student, teacher), None)
    torch.testing.assert_close(without_labels, theirs)


def test_kd_loss_as_torchdistill_refuses_it(batch):
    student, teacher, labels, *_ = batch
    with pytest.raises(TypeError, match="unsupported operand"):
        kd_loss()  # alpha and beta both None
    with pytest.raises(RuntimeError, match="must match the size"):
        kd_loss(alpha=0.5, reduction="none")(*dictionaries(student, teacher), labels)


def test_torchdistills_terms_are_recorded_beside_biasvars(tmp_path, batch):
    student, teacher, labels, ids, _ = batch
    place = kd_loss(alpha=1.0, beta=2.25)
    criterion = get_high_level_loss({
        "key": "biasvar.RecordedLoss",
        "kwargs": {
            "recorder": {"directory": tmp_path / "run", "num_samples": 20, "num_classes": C, "temperature": 4.0},
            "sub_terms": {
                "kd": {"criterion": place, "weight": 1.0},
                "ls": {"criterion": {"key": "biasvar.LabelSmoothingLoss", "kwargs": {"smoothing": 0.1}}, "weight": 0.5},
            },
        },
    })  # fmt: skip
    assert isinstance(criterion, RecordedLoss)
    student_io, teacher_io = dictionaries(student, teacher)
    value = criterion({"student": student_io, "teacher": teacher_io}, {"sample_id": ids}, labels)
    smoothed = losses.LabelSmoothingLoss(smoothing=0.1)(student, labels)
    torch.testing.assert_close(value, place(student_io, teacher_io, labels) + 0.5 * smoothed)
    criterion.recorder.end_epoch()
    records = biasvar.open_run(tmp_path / "run").records()
    assert sorted(records["sample_id"]) == sorted(ids.tolist())
    assert (records["loss_weight"] == 1).all()
