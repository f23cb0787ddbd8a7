"""ProKT's two losses against torch's KL and cross-entropy added up as in the code, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from biasvar import losses

TIGHT = {"rtol": 1e-12, "atol": 1e-14}


@pytest.fixture(params=["normal", "zero rows", "large"])
def batch(request):
    """Teacher, student, labels; rows of zero logits are what zero heads answer."""
    generator = torch.Generator().manual_seed(5)
    teacher = torch.randn(12, 7, generator=generator, dtype=torch.float64) * 2
    student = torch.randn(12, 7, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, 7, (12,), generator=generator)
    if request.param == "zero rows":
        teacher[:4], student[2:8] = 0, 0
    if request.param == "large":
        teacher, student = teacher * 40, student * 40
    return teacher.requires_grad_(), student.requires_grad_(), labels


def kl(first, second, tau=1.0):
    """KL(first || second) of logits, summed over classes, a mean over rows, by torch's own function."""
    return F.kl_div(F.log_softmax(second / tau, -1), F.softmax(first / tau, -1), reduction="sum") / len(first)


@pytest.mark.parametrize("pull", [0.0, 0.3, 0.99])
def test_the_teachers_step_is_that_of_the_code(batch, pull):
    teacher, student, labels = batch
    ours = losses.ProximalTeacherLoss(pull=pull)(teacher, student, labels)
    theirs = (1 - pull) * F.cross_entropy(teacher, labels) + pull * kl(student.detach(), teacher)
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close(*(torch.autograd.grad(x, teacher)[0] for x in (ours, theirs)), **TIGHT)


def test_no_gradient_flows_into_what_is_constant(batch):
    teacher, student, labels = batch
    losses.ProximalTeacherLoss(pull=0.5)(teacher, student, labels).backward()
    assert student.grad is None
    teacher.grad = None
    losses.LocalTargetLoss()(student, teacher).backward()
    assert teacher.grad is None


def test_the_dual_step_and_its_multiplier_are_those_of_the_code(batch):
    teacher, student, labels = batch
    loss = losses.ProximalTeacherLoss(dual={"multiplier": 1.0, "rate": 0.1, "bound": 1.0})
    b = 1.0
    for _ in range(30):
        distance = kl(student.detach(), teacher)
        theirs = F.cross_entropy(teacher, labels) + b * (distance - 1.0)
        ours = loss(teacher, student, labels)
        torch.testing.assert_close(ours, theirs, **TIGHT)
        (gradient,) = torch.autograd.grad(ours, teacher)
        torch.testing.assert_close(gradient, torch.autograd.grad(theirs, teacher)[0], **TIGHT)
        loss.update(loss.divergence(teacher, student).mean())
        b = max(0.0, b + 0.1 * (distance.item() - 1.0))
        assert loss.multiplier.item() == pytest.approx(b, rel=1e-12, abs=1e-14)
        teacher = (teacher - 5.0 * gradient).detach().requires_grad_()


def test_the_multiplier_stays_at_0_or_above():
    loss = losses.ProximalTeacherLoss(dual={"multiplier": 0.1, "rate": 1.0, "bound": 1.0})
    loss.update(torch.tensor(0.2))
    assert loss.multiplier == 0
    loss.update(torch.tensor(1.5))
    assert loss.multiplier == pytest.approx(0.5)
    assert losses.PullConstraint() == losses.PullConstraint(1.0, 1e-3, 1.0)
    assert list(loss.state_dict()) == ["multiplier"]


def test_teachers_that_train_together_have_a_multiplier_each():
    generator = torch.Generator().manual_seed(1)
    teacher, student = torch.randn(2, 3, 8, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (3, 8), generator=generator)
    dual = {"rate": 0.5, "bound": 0.1}
    together = losses.ProximalTeacherLoss(dual=dual, replicas=3, reduction="none")
    alone = [losses.ProximalTeacherLoss(dual=dual, reduction="none") for _ in range(3)]
    for _ in range(3):
        each = zip(alone, teacher, student, labels, strict=True)
        values = torch.stack([loss(t, s, y) for loss, t, s, y in each])
        torch.testing.assert_close(together(teacher, student, labels), values)
        together.update(together.divergence(teacher, student).mean(-1))
        for loss, t, s in zip(alone, teacher, student, strict=True):
            loss.update(loss.divergence(t, s).mean())
    assert len(set(together.multiplier.tolist())) == 3
    with pytest.raises(ValueError, match=r"teacher_logits must have shape \(3, ..., C\)"):
        together(teacher[:2], student[:2], labels[:2])
    with pytest.raises(ValueError, match=r"divergence must have the shape of the multiplier, \(3,\), got \(\)"):
        together.update(torch.tensor(1.0))


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_the_students_step_is_that_of_the_code(batch, tau):
    teacher, student, labels = batch
    ours = losses.LocalTargetLoss(temperature=tau)(student, teacher)
    theirs = kl(teacher.detach(), student, tau)  # without tau^2
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (ours, theirs)), **TIGHT)
    both = losses.LocalTargetLoss(temperature=tau, soft=0.4, hard=0.6)(student, teacher, labels)
    torch.testing.assert_close(both, 0.4 * theirs + 0.6 * F.cross_entropy(student, labels), **TIGHT)


@given(st.integers(0, 10_000), st.floats(0.0, 0.95))
def test_the_teachers_optimum_is_a_mixture_of_label_and_student(seed, pull):
    """argmin of (1 - l) CE(y, q) + l KL(s || q) over distributions q is (1 - l) y + l s: there the gradient is 0."""
    rng = np.random.default_rng(seed)
    student = torch.as_tensor(rng.normal(size=(1, 5)))
    label = int(rng.integers(5))
    best = (1 - pull) * torch.eye(5, dtype=torch.float64)[label] + pull * student.softmax(-1)
    logits = best.clamp(min=1e-300).log().requires_grad_()
    loss = losses.ProximalTeacherLoss(pull=pull)(logits, student, torch.tensor([label]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.ProximalTeacherLoss(), "pull must be given, a number in .0, 1., or dual"),
        (lambda: losses.ProximalTeacherLoss(pull=1.0), r"pull must lie in \[0, 1\), not 1"),
        (lambda: losses.ProximalTeacherLoss(pull=-0.1), r"pull must lie in \[0, 1\), not -0.1"),
        (lambda: losses.ProximalTeacherLoss(pull=float("nan")), r"pull must lie in \[0, 1\)"),
        (lambda: losses.ProximalTeacherLoss(pull=True), "pull must be a number"),
        (lambda: losses.ProximalTeacherLoss(pull=0.5, dual={}), "pull must be left out where dual is given"),
        (lambda: losses.ProximalTeacherLoss(dual={"rat": 1}), "dual has no key 'rat', did you mean 'rate'"),
        (lambda: losses.ProximalTeacherLoss(dual={"rate": -1}), "dual.rate must be at least 0"),
        (lambda: losses.ProximalTeacherLoss(dual={"bound": "1"}), "dual.bound must be a number, not '1'"),
        (lambda: losses.ProximalTeacherLoss(pull=0.1).update(torch.tensor(1.0)), "update needs dual"),
        (lambda: losses.LocalTargetLoss(soft=0.0), "soft must be above 0, or hard"),
        (lambda: losses.LocalTargetLoss(temperature=0.0), r"temperature must lie between 1e-15 and 1e\+15"),
        (lambda: losses.LocalTargetLoss(hard=-1.0), "hard must be at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_missing_is_named():
    with pytest.raises(TypeError, match=r"student_logits must be given, a torch.Tensor, where the pull is above 0"):
        losses.ProximalTeacherLoss(pull=0.5)(torch.zeros(1, 2), None, torch.tensor([0]))
    with pytest.raises(
        TypeError, match=r"labels must be given, a torch.Tensor: the teacher's loss has a cross-entropy"
    ):
        losses.ProximalTeacherLoss(pull=0.5)(torch.zeros(1, 2), torch.zeros(1, 2), None)
    with pytest.raises(TypeError, match=r"labels must be given, a torch.Tensor, where hard is above 0"):
        losses.LocalTargetLoss(hard=1.0)(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(TypeError, match="dual must be a PullConstraint or a mapping"):
        losses.ProximalTeacherLoss(dual=1.0)
    value = losses.ProximalTeacherLoss(pull=0.0)(torch.zeros(1, 2), None, torch.tensor([0]))
    assert value.item() == pytest.approx(np.log(2))
