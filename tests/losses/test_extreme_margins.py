"""The flag and the WSL weight of sure networks: one definition for arrays and losses, held against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

import biasvar
from biasvar.analysis.tradeoff import true_log_prob
from biasvar.losses import MaskedDistillationLoss, WeightedSoftLabelLoss

MARGINS = [-200, -40.5, -1, 0, 0.5, 10, 30, 36, 36.5, 37, 37.5, 38, 44, 45, 60, 100, 150, 199.5, 200]
CLASSES = 4


def pairs(dtype):
    """Logits of every pair of margins, with unequal wrong classes; the true class is 2."""
    student, teacher = (m.ravel() for m in np.meshgrid(MARGINS, MARGINS))
    wrong = np.array([0.0, -1.0, 0.0, -2.5])

    def logits(margins):
        rows = np.tile(wrong, (len(margins), 1))
        rows[:, 2] = margins
        return rows.astype(dtype)

    return logits(student), logits(teacher), np.full(len(student), 2)


def exact_loss(row, tau=1.0):
    with mpmath.workdps(200):
        z = [mpmath.mpf(float(value)) / mpmath.mpf(tau) for value in row]
        return mpmath.log1p(sum(mpmath.exp(other - z[2]) for i, other in enumerate(z) if i != 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tensors", [False, True], ids=["numpy", "torch"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_log_probability_keeps_its_precision(dtype, tensors, temperature):
    logits, _, labels = pairs(dtype)
    given = (torch.from_numpy(logits), torch.from_numpy(labels)) if tensors else (logits, labels)
    values = np.asarray(true_log_prob(*given, temperature))
    expected = np.array([float(-exact_loss(row, temperature)) for row in logits])
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, expected, rtol=3e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_losses_and_arrays_give_the_exact_flag(dtype, temperature):
    student, teacher, labels = pairs(dtype)
    exact = np.array(
        [exact_loss(s, temperature) < exact_loss(t, temperature) for s, t in zip(student, teacher, strict=True)]
    )
    terms = biasvar.tradeoff_terms(student, teacher, labels, temperature=temperature)
    np.testing.assert_array_equal(biasvar.regularization_samples(terms), exact)
    loss = MaskedDistillationLoss(temperature=temperature, alpha=1.0, keep="regularization")
    kept = loss.weights(torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(labels))
    np.testing.assert_array_equal(kept.numpy() == 1, exact)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-7])
def test_losses_and_arrays_give_the_exact_weight(dtype, epsilon):
    student, teacher, labels = pairs(dtype)
    with mpmath.workdps(200):
        exact = np.array(
            [
                float(-mpmath.expm1(-exact_loss(s) / (exact_loss(t) + mpmath.mpf(epsilon))))
                for s, t in zip(student, teacher, strict=True)
            ]
        )
    np.testing.assert_allclose(biasvar.wsl_weights(student, teacher, labels, epsilon=epsilon), exact, rtol=1e-13)
    loss = WeightedSoftLabelLoss(temperature=4.0, alpha=1.0, epsilon=epsilon)
    weights = loss.weights(torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(labels))
    assert weights.dtype == getattr(torch, dtype)
    tolerance = {"float32": 1e-7, "float64": 1e-13}[dtype]
    rounding = 1e-45 if epsilon < 1e-9 else 2.0**-52 / epsilon  # of torch's log-softmax, far below a weight's effect
    np.testing.assert_allclose(weights.numpy(), exact, rtol=tolerance, atol=rounding)


def test_a_flag_and_a_weight_below_1_less_1_by_e_mean_the_same_at_epsilon_0():
    student, teacher = torch.tensor([[45.0, 0.0, 0.0]]), torch.tensor([[44.0, 0.0, 0.0]])
    label = torch.tensor([0])
    terms = biasvar.tradeoff_terms(student, teacher, label, temperature=1.0)
    assert biasvar.regularization_samples(terms).all()
    weight = WeightedSoftLabelLoss(temperature=1.0, alpha=1.0, epsilon=0.0).weights(student, teacher, label)
    assert weight.item() == pytest.approx(-np.expm1(-np.exp(-1.0)))  # the losses are as e^-45 to e^-44
    mask = MaskedDistillationLoss(temperature=1.0, alpha=1.0, keep="other").weights(student, teacher, label)
    assert mask.item() == 0
