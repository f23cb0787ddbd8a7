from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import biasvar
from biasvar import losses

TAU, ALPHA = 3.0, 2.25


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 20, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 20, 7, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, 7, (3, 20), generator=generator)
    return student, teacher, labels


def by_hand(student, teacher, labels, weight, tau=TAU, alpha=ALPHA):
    """The loss of one sample at a time, from probabilities."""
    out = np.zeros(labels.shape)
    for index in np.ndindex(*labels.shape):
        zs, zt, i = student[index].detach().numpy(), teacher[index].numpy(), int(labels[index])
        p = np.exp(zs) / np.exp(zs).sum()
        ps, pt = np.exp(zs / tau) / np.exp(zs / tau).sum(), np.exp(zt / tau) / np.exp(zt / tau).sum()
        out[index] = -np.log(p[i]) - alpha * weight[index] * tau**2 * (pt * np.log(ps)).sum()
    return out


def test_cross_entropy_and_smoothing_are_those_of_torch(batch):
    student, _, labels = batch
    flat = student.reshape(-1, 7), labels.reshape(-1)
    expected = F.cross_entropy(*flat, reduction="none")
    torch.testing.assert_close(losses.CrossEntropyLoss(reduction="none")(student, labels).reshape(-1), expected)
    expected = F.cross_entropy(*flat, reduction="none", label_smoothing=0.2)
    loss = losses.LabelSmoothingLoss(smoothing=0.2, reduction="none")
    torch.testing.assert_close(loss(student, labels).reshape(-1), expected)
    torch.testing.assert_close(losses.LabelSmoothingLoss(smoothing=0.2)(student, labels), expected.mean())
    torch.testing.assert_close(losses.CrossEntropyLoss(reduction="sum")(*flat), F.cross_entropy(*flat, reduction="sum"))


def test_squared_error_is_the_brier_score(batch):
    """By hand, by the loss on scores, and its gradient 2 p_k (d_k - sum_j p_j d_j) with d = p - onehot."""
    student, _, labels = batch
    loss = losses.SquaredErrorLoss(reduction="none")
    for index in np.ndindex(*labels.shape):
        p = [math.exp(z) for z in student[index].tolist()]
        difference = [a / math.fsum(p) - (j == int(labels[index])) for j, a in enumerate(p)]
        assert loss(student, labels)[index].item() == pytest.approx(math.fsum(d * d for d in difference), rel=1e-12)
    one_hot = F.one_hot(labels, 7).double()
    torch.testing.assert_close(losses.SquaredErrorLoss()(student, labels), losses.ScoreLoss()(student, one_hot))
    p = student.detach().softmax(-1)
    expected = 2 * p * (p - one_hot - (p * (p - one_hot)).sum(-1, keepdim=True))
    found = torch.autograd.grad(losses.SquaredErrorLoss(reduction="sum")(student, labels), student)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("margin", [1.0, 40.0, 200.0])
def test_squared_error_of_a_sure_student_does_not_cancel(margin):
    """Three classes, the other two alike: (2q)^2 + 2q^2 = 6 q^2 with q = 1 / (e^margin + 2)."""
    logits = torch.tensor([[margin, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = losses.SquaredErrorLoss()(logits, torch.tensor([0]))
    q = 1 / (math.exp(margin) + 2)
    assert value.item() == pytest.approx(6 * q**2, rel=1e-12)
    value.backward()  # d/dz_0: -p_0 sum_j q (4q + 2q)
    assert logits.grad[0, 0].item() == pytest.approx(-math.exp(margin) * q * 12 * q**2, rel=1e-12)


def test_distillation_is_tau_squared_cross_entropy_form(batch):
    student, teacher, labels = batch
    loss = losses.DistillationLoss(temperature=TAU, alpha=ALPHA, reduction="none")
    np.testing.assert_allclose(
        loss(student, teacher, labels).detach(), by_hand(student, teacher, labels, np.ones((3, 20))), rtol=1e-12
    )
    weights = torch.rand(3, 20, dtype=torch.float64)
    given = loss(student, teacher, labels, weights).detach()
    np.testing.assert_allclose(given, by_hand(student, teacher, labels, weights.numpy()), rtol=1e-12)


def test_distillation_gradient_is_bias_plus_variance_gradient(batch):
    student, teacher, labels = batch
    loss = losses.DistillationLoss(temperature=TAU, alpha=1.0, reduction="sum")
    both = torch.autograd.grad(loss(student, teacher, labels), student)[0]
    ce = torch.autograd.grad(losses.CrossEntropyLoss(reduction="sum")(student, labels), student)[0]
    terms = biasvar.tradeoff_terms(student.detach(), teacher, labels, temperature=TAU)
    soft_at_truth = (both - ce).gather(-1, labels[..., None])[..., 0]
    torch.testing.assert_close(soft_at_truth, terms.bias_gradient + terms.variance_gradient)


@pytest.mark.parametrize("epsilon", [1e-7, 0.0])
def test_wsl_loss_and_gradient_follow_the_formula(epsilon):
    """1,000 classes, tau 2, alpha 2.5 as in the authors' code; the weight is a constant for the gradient."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(16, 1000, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(16, 1000, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, 1000, (16,), generator=generator)
    loss = losses.WeightedSoftLabelLoss(temperature=2.0, alpha=2.5, epsilon=epsilon)
    value = loss(student, teacher, labels)
    gradient = torch.autograd.grad(value, student)[0]

    ce_s, ce_t = F.cross_entropy(student, labels, reduction="none"), F.cross_entropy(teacher, labels, reduction="none")
    weight = 1 - torch.exp(-(ce_s.detach() / (ce_t + epsilon)))
    soft = -(F.softmax(teacher / 2, 1) * F.log_softmax(student / 2, 1)).sum(1) * 2**2
    expected = (ce_s + 2.5 * weight * soft).mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, student)[0], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(
        loss.weights(student, teacher, labels), biasvar.wsl_weights(student.detach(), teacher, labels, epsilon=epsilon)
    )


def test_wsl_is_finite_at_epsilon_zero_whatever_the_teacher():
    sure, unsure = torch.tensor([[80.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    loss = losses.WeightedSoftLabelLoss(temperature=4.0, alpha=1.0, epsilon=0.0)
    labels = torch.tensor([0])
    assert loss.weights(unsure, sure, labels).item() == 1
    assert loss.weights(sure, sure, labels).item() == pytest.approx(1 - math.exp(-1))  # equal losses, however small
    certain = sure * 10  # exp(-800) is 0 in float64: nothing left to learn
    assert loss.weights(certain, certain, labels).item() == 0
    student = unsure.clone().requires_grad_()
    loss(student, sure, labels).backward()
    assert torch.isfinite(student.grad).all()


def test_weights_of_confident_samples_survive_float32_logits():
    """In float32 the student's loss is 0 here; the weight and the flag come from float64."""
    student, teacher, labels = torch.tensor([[20.0, 0, 0]]), torch.tensor([[18.0, 0, 0]]), torch.tensor([0])
    loss = losses.WeightedSoftLabelLoss(temperature=1.0, alpha=1.0)
    expected = biasvar.wsl_weights(student.double(), teacher.double(), labels)
    torch.testing.assert_close(loss.weights(student, teacher, labels).double(), expected, rtol=1e-6, atol=0)
    kept = losses.MaskedDistillationLoss(temperature=1.0, alpha=1.0, keep="other")
    assert kept.weights(student, teacher, labels).item() == 0


def test_no_gradient_reaches_the_teacher(batch):
    student, teacher, labels = batch
    teacher = teacher.clone().requires_grad_()
    losses.WeightedSoftLabelLoss(temperature=TAU, alpha=ALPHA)(student, teacher, labels).backward()
    assert teacher.grad is None


def test_masks_are_the_flag_its_complement_and_a_random_one_of_the_same_size(batch):
    student, teacher, labels = batch
    flags = biasvar.regularization_samples(
        biasvar.tradeoff_terms(student.detach(), teacher, labels, temperature=TAU)
    ).double()
    make = {keep: losses.MaskedDistillationLoss(temperature=TAU, alpha=ALPHA, keep=keep) for keep in losses.KEEP}
    torch.testing.assert_close(make["regularization"].weights(student, teacher, labels), flags)
    torch.testing.assert_close(make["other"].weights(student, teacher, labels), 1 - flags)
    keys = torch.rand(3, 20, generator=torch.Generator().manual_seed(2))
    random = make["random"].weights(student, teacher, labels, keys)
    torch.testing.assert_close(random.sum(-1), (1 - flags).sum(-1))
    assert not torch.equal(random, 1 - flags)
    torch.testing.assert_close(random, make["random"].weights(student, teacher, labels, keys))
    other = make["random"].weights(student, teacher, labels)
    torch.testing.assert_close(other.sum(-1), (1 - flags).sum(-1))
    full = losses.MaskedDistillationLoss(temperature=TAU, alpha=ALPHA, keep="other", reduction="none")
    np.testing.assert_allclose(
        full(student, teacher, labels).detach(), by_hand(student, teacher, labels, 1 - flags.numpy()), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.CrossEntropyLoss(reduction="median"), "reduction must be"),
        (lambda: losses.LabelSmoothingLoss(smoothing=1.0), r"smoothing must lie in \[0, 1\)"),
        (lambda: losses.DistillationLoss(temperature=0.0, alpha=1.0), r"temperature must lie between 1e-15 and 1e\+15"),
        (lambda: losses.DistillationLoss(temperature=1.0, alpha=-1.0), "alpha must be at least 0"),
        (lambda: losses.WeightedSoftLabelLoss(temperature=1.0, alpha=1.0, epsilon=-1.0), "epsilon must be"),
        (lambda: losses.MaskedDistillationLoss(temperature=1.0, alpha=1.0, keep="some"), "keep must be one of"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
