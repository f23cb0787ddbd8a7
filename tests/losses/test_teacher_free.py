"""The losses of Tf-KD against torch's own KLDivLoss as the authors' code uses it, closed forms, and label smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from biasvar.analysis import virtual_teacher
from biasvar.losses import LabelSmoothingLoss, SelfDistillationLoss, VirtualTeacherLoss

TABLE = [(0.95, 20.0, 1.0), (0.95, 6.0, 50.0), (0.4, 20.0, 50.0), (0.1, 20.0, 100.0), (0.5, 1.0, 1.0), (1.0, 40.0, 3.0)]


def batch(rows=24, classes=10, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(0, classes, (rows,), generator=generator)


def element_mean(log_probs, target):
    """torch's KLDivLoss with its default reduction, the mean over all N K elements."""
    with pytest.warns(UserWarning, match="batchmean"):
        return nn.KLDivLoss()(log_probs, target)


def of_the_code(kind, student, teacher, labels, alpha, tau, multiplier, correct=0.99):
    """The losses as the released code computes them, from its description in the sheet, with torch's losses."""
    hard = F.cross_entropy(student, labels)
    if kind == "self":
        soft = element_mean(F.log_softmax(student / tau, 1), F.softmax(teacher / tau, 1)) * tau**2 * multiplier
    else:
        classes = student.shape[1]
        virtual = torch.full_like(student, (1 - correct) / (classes - 1)).detach()
        virtual[torch.arange(len(labels)), labels] = correct
        soft = element_mean(F.log_softmax(student, 1), F.softmax(virtual / tau, 1)) * multiplier
    return (1 - alpha) * hard + alpha * soft


def of_the_paper(kind, student, teacher, labels, alpha, tau, correct=0.99):
    """Equations 7 and 9, row by row, from probabilities."""
    total = 0.0
    for z, t, y in zip(student, teacher, labels.tolist(), strict=True):
        classes = len(z)
        if kind == "self":
            target = torch.exp(t / tau) / torch.exp(t / tau).sum()
        else:
            rest = (1 - correct) / (classes - 1)
            virtual = torch.tensor([correct if k == y else rest for k in range(classes)], dtype=torch.float64)
            virtual = virtual ** (1 / tau)
            target = virtual / virtual.sum()
        tempered = torch.exp(z / tau) / torch.exp(z / tau).sum()
        soft = torch.special.xlogy(target, target).sum() - (target * torch.log(tempered)).sum()
        total = total - (1 - alpha) * torch.log(torch.exp(z)[y] / torch.exp(z).sum()) + alpha * soft
    return total / len(labels)


def gradient(loss, student):
    return torch.autograd.grad(loss, student)[0]


def check_equal(found, expected, student):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    mine, theirs = gradient(found, student), gradient(expected, student)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12 * float(theirs.abs().max()))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("alpha", "tau", "multiplier"), TABLE)
def test_the_code_variants_are_what_the_code_computes(alpha, tau, multiplier, classes):
    student, teacher, labels = batch(classes=classes)
    setting = {"alpha": alpha, "temperature": tau, "variant": "code", "multiplier": multiplier}
    expected = of_the_code("self", student, teacher, labels, alpha, tau, multiplier)
    check_equal(SelfDistillationLoss(**setting)(student, teacher, labels), expected, student)
    for correct in (0.99, 0.9):
        expected = of_the_code("reg", student, teacher, labels, alpha, tau, multiplier, correct)
        check_equal(VirtualTeacherLoss(**setting, correct=correct)(student, labels), expected, student)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("alpha", "tau"), [row[:2] for row in TABLE])
def test_the_paper_variants_are_the_equations(alpha, tau, classes):
    student, teacher, labels = batch(classes=classes, seed=1)
    setting = {"alpha": alpha, "temperature": tau, "variant": "paper"}
    expected = of_the_paper("self", student, teacher, labels, alpha, tau)
    check_equal(SelfDistillationLoss(**setting)(student, teacher, labels), expected, student)
    for correct in (0.99, 1.0):
        expected = of_the_paper("reg", student, teacher, labels, alpha, tau, correct)
        check_equal(VirtualTeacherLoss(**setting, correct=correct)(student, labels), expected, student)


def test_at_temperature_1_the_paper_is_cross_entropy_with_a_mixed_label():
    """Equation 6: L_KD at tau 1 is H((1 - alpha) q + alpha p_t, p), up to the teacher's entropy."""
    student, teacher, labels = batch(seed=2)
    mixed = 0.7 * F.one_hot(labels, 10).double() + 0.3 * teacher.softmax(-1)
    expected = -(mixed * student.log_softmax(-1)).sum(-1) - 0.3 * torch.special.entr(teacher.softmax(-1)).sum(-1)
    loss = SelfDistillationLoss(alpha=0.3, temperature=1.0, variant="paper", reduction="none")
    torch.testing.assert_close(loss(student, teacher, labels), expected, rtol=1e-12, atol=1e-13)


def test_a_teacher_that_agrees_leaves_the_label_alone():
    student, _, labels = batch(seed=3)
    for variant in ("paper", "code"):
        loss = SelfDistillationLoss(alpha=0.3, temperature=5.0, variant=variant)
        value = loss(student, student.detach(), labels)
        torch.testing.assert_close(value, 0.7 * F.cross_entropy(student, labels), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("alpha", "tau", "multiplier", "eps", "scale", "within"),
    [
        (0.1, 20.0, 100.0, 0.100, 1.0, 5e-5),
        (0.95, 40.0, 1.0, 0.160, 0.0595, 5e-5),
        (0.95, 10.0, 1.0, 0.160, 0.0595, 2e-4),
        (0.1, 20.0, 50.0, 0.0526, 0.95, 5e-5),
    ],
)
def test_the_code_of_reg_is_label_smoothing(alpha, tau, multiplier, eps, scale, within):
    student, _, labels = batch(rows=256, classes=100, seed=4)
    loss = VirtualTeacherLoss(alpha=alpha, temperature=tau, variant="code", multiplier=multiplier)
    found_eps, found_scale = loss.equivalent_smoothing(100)
    assert found_eps == pytest.approx(eps, abs=5e-4)
    assert found_scale == pytest.approx(scale, abs=5e-5)
    mine = gradient(loss(student, labels), student)
    smooth = found_scale * gradient(LabelSmoothingLoss(smoothing=found_eps)(student, labels), student)
    assert float((mine - smooth).norm() / smooth.norm()) < within
    assert float(F.cosine_similarity(mine.ravel(), smooth.ravel(), 0)) > 1 - 1e-7
    # What is left is that the virtual teacher is not quite uniform: w (1 / K - d).
    rest = 1 / 100 - virtual_teacher(labels, 100, temperature=tau, variant="code")
    torch.testing.assert_close((mine - smooth) * 256, alpha * multiplier / 100 * rest, rtol=1e-9, atol=1e-14)
    # Under the paper's reading, which tempers the student too, it is none.
    paper = VirtualTeacherLoss(alpha=alpha, temperature=tau, variant="paper")
    other = gradient(paper(student, labels), student)
    factor = float((other * smooth).sum() / smooth.square().sum())
    assert float((other - factor * smooth).norm() / other.norm()) > 20 * within
    with pytest.raises(ValueError, match="variant 'paper' is no label smoothing"):
        paper.equivalent_smoothing(100)


def test_label_smoothing_of_the_code():
    """Their target is built in float32: .9 at the label, .1 / (K - 1) elsewhere."""
    student, _, labels = batch(classes=100, seed=5)
    target = torch.full((24, 100), 0.1 / 99).scatter_(1, labels[:, None], 0.9)
    expected = -(target * student.log_softmax(1)).sum() / 24
    found = LabelSmoothingLoss(smoothing=0.1, variant="code")(student, labels)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(gradient(found, student), gradient(expected, student), rtol=1e-5, atol=1e-8)
    paper = LabelSmoothingLoss(smoothing=0.1 * 100 / 99)(student, labels)
    torch.testing.assert_close(found, paper, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        LabelSmoothingLoss(smoothing=0.0, variant="code")(student, labels), F.cross_entropy(student, labels)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 50), st.floats(0.05, 200), st.floats(0.0, 1.0), st.sampled_from(["paper", "code"]), st.booleans())
def test_the_virtual_teacher_is_its_formula(classes, tau, correct, variant, tensors):
    correct = max(correct, 1 / classes)
    labels = np.arange(classes)
    d = np.full((classes, classes), (1 - correct) / (classes - 1))
    d[labels, labels] = correct
    with np.errstate(divide="ignore"):
        power = d / tau if variant == "code" else np.log(d) / tau
    expected = np.exp(power - power.max(-1, keepdims=True))
    expected /= expected.sum(-1, keepdims=True)
    given = torch.as_tensor(labels) if tensors else labels
    found = virtual_teacher(given, classes, temperature=tau, correct=correct, variant=variant)
    assert isinstance(found, torch.Tensor) == tensors
    assert str(found.dtype).endswith("float64")
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize(
    ("classes", "tau", "code", "paper"),
    [(10, 20, 0.10454, 0.13498), (100, 10, 0.011029, 0.024696), (100, 40, 0.010248, 0.012551),
     (1000, 20, 0.001051, 0.001776)],
)  # fmt: skip
def test_the_virtual_teacher_at_the_label(classes, tau, code, paper):
    """The table of what the code makes of the paper's teacher."""
    for variant, expected in (("code", code), ("paper", paper)):
        found = virtual_teacher([3], classes, temperature=tau, variant=variant)
        assert found[0, 3] == pytest.approx(expected, rel=1e-3)
    uniform = virtual_teacher([3], classes, temperature=1e9, variant="paper")
    np.testing.assert_allclose(uniform, 1 / classes, rtol=1e-7)


def test_the_losses_take_the_teacher_that_analysis_makes():
    student, _, labels = batch(seed=6)
    for variant in ("paper", "code"):
        teacher = virtual_teacher(labels, 10, temperature=7.0, correct=0.9, variant=variant)
        tempered = student / 7.0 if variant == "paper" else student
        soft = F.kl_div(tempered.log_softmax(-1), teacher, reduction="none").sum(-1) / (1 if variant == "paper" else 10)
        expected = 0.8 * F.cross_entropy(student, labels, reduction="none") + 0.2 * soft
        loss = VirtualTeacherLoss(alpha=0.2, temperature=7.0, variant=variant, correct=0.9, reduction="none")
        torch.testing.assert_close(loss(student, labels), expected, rtol=1e-12, atol=1e-14)


def test_no_gradient_reaches_the_teacher_and_rows_may_be_left_out():
    student, teacher, labels = batch(rows=6, seed=7)
    teacher.requires_grad_()
    loss = SelfDistillationLoss(alpha=0.5, temperature=2.0, variant="code")
    loss(student, teacher, labels).backward()
    assert teacher.grad is None
    where = torch.tensor([True, True, False, True, False, True])
    odd = teacher.detach().clone()
    odd[~where] = math.nan
    torch.testing.assert_close(
        loss(student, odd, labels.masked_fill(~where, -100), where=where),
        loss(student[where], teacher[where], labels[where]),
    )


def test_a_virtual_teacher_without_rest_may_meet_a_masked_class():
    student = torch.tensor([[1.0, 0.0, -math.inf]], requires_grad=True)
    loss = VirtualTeacherLoss(alpha=0.5, temperature=20.0, variant="paper", correct=1.0)
    value = loss(student, torch.tensor([0]))
    p, q = (torch.tensor([1.0, 0.0]).div(tau).softmax(0)[0] for tau in (1, 20))
    torch.testing.assert_close(value, -0.5 * p.log() - 0.5 * q.log())
    value.backward()
    assert torch.isfinite(student.grad).all()


BASE = {"alpha": 0.5, "temperature": 2.0, "variant": "paper"}


@pytest.mark.parametrize("make", [SelfDistillationLoss, VirtualTeacherLoss])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], not 1.5"),
        ({"alpha": "half"}, "alpha must be a number"),
        ({"temperature": 0.0}, r"temperature must lie between 1e-15 and 1e\+15"),
        ({"variant": "codes"}, "variant must be one of paper, code, not 'codes', did you mean 'code'"),
        ({"multiplier": 2.0}, "multiplier must be 1 with variant 'paper', which has none, not 2"),
        ({"multiplier": 0.0, "variant": "code"}, "multiplier must be above 0 and finite, not 0"),
        ({"reduction": "median"}, "reduction must be"),
    ],
)
def test_settings_out_of_range_are_refused(make, setting, message):
    with pytest.raises(ValueError, match=message):
        make(**(BASE | setting))


def test_teachers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"correct must lie above 0 and be at most 1, not 1\.1"):
        VirtualTeacherLoss(**BASE, correct=1.1)
    with pytest.raises(ValueError, match=r"correct must be at least 1/20 with 20 classes, .*, not 0\.04"):
        VirtualTeacherLoss(**BASE, correct=0.04)(torch.zeros(1, 20), torch.tensor([3]))
    for arguments, message in (
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0"),
        ({"correct": 0.0}, "correct must be at least 1/3 with 3 classes"),
        ({"correct": 0.3}, r"correct must be at least 1/3 .*, not 0\.3"),
        ({"variant": "papr"}, "did you mean 'paper'"),
        ({"labels": [[0, 1]]}, r"labels must have shape \(N,\), got \(1, 2\)"),
        ({"labels": [0, 3]}, r"labels must lie in 0 .. 2; row 1"),
    ):
        given = {"labels": [0, 1], "num_classes": 3, "temperature": 4.0, "variant": "paper"} | arguments
        with pytest.raises(ValueError, match=message):
            virtual_teacher(given.pop("labels"), given.pop("num_classes"), **given)
