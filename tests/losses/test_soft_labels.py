from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from biasvar.losses.soft_labels import (
    CandidateAverageLoss,
    CandidateSetLoss,
    ScoreLoss,
    SoftLabelLoss,
    top_candidates,
)

SHAPE = (2, 5, 6)


@st.composite
def batches(draw):
    """Logits from flat to very sure, soft labels, scores of any sign, and candidate sets from none to all."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1.0, 10.0, 100.0]))
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64) * scale
    soft = torch.softmax(torch.randn(SHAPE, generator=generator, dtype=torch.float64) * 3, -1)
    scores = soft + torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    candidates = torch.rand(SHAPE, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return logits, soft, scores, candidates


def slowly(logits, target, value):
    """One sample at a time, with log-probabilities from math.fsum."""
    out = np.zeros(logits.shape[:-1])
    for index in np.ndindex(*out.shape):
        z = logits[index].tolist()
        top = max(z)
        total = top + math.log(math.fsum(math.exp(v - top) for v in z))
        out[index] = value([v - total for v in z], z, target[index].tolist())
    return out


def set_by_hand(log_probs, _, candidates):
    chosen = [value for value, is_in in zip(log_probs, candidates, strict=True) if is_in]
    if not chosen or len(chosen) == len(candidates):
        return 0.0
    outside = math.fsum(math.exp(value) for value, is_in in zip(log_probs, candidates, strict=True) if not is_in)
    if outside < 0.5:
        return -math.log1p(-outside)
    return -max(chosen) - math.log(math.fsum(math.exp(value - max(chosen)) for value in chosen))


@settings(max_examples=30, deadline=None)
@given(batches())
def test_each_loss_is_its_formula(batch):
    logits, soft, scores, candidates = batch
    sums = {
        SoftLabelLoss: (soft, lambda lp, z, d: -math.fsum(a * b for a, b in zip(d, lp, strict=True))),
        ScoreLoss: (scores, lambda lp, z, s: math.fsum((math.exp(a) - b) ** 2 for a, b in zip(lp, s, strict=True))),
        CandidateAverageLoss: (
            candidates,
            lambda lp, z, c: -math.fsum(a for a, b in zip(lp, c, strict=True) if b) / max(sum(c), 1),
        ),
        CandidateSetLoss: (candidates, set_by_hand),
    }
    for make, (target, by_hand) in sums.items():
        expected = slowly(logits, target, by_hand)
        values = make(reduction="none")(logits, target)
        np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(make()(logits, target), values.mean())
        torch.testing.assert_close(make(reduction="sum")(logits, target), values.sum())
    expected = slowly(logits, scores, lambda lp, z, s: math.fsum((a - b) ** 2 for a, b in zip(z, s, strict=True)))
    np.testing.assert_allclose(ScoreLoss(output="logits", reduction="none")(logits, scores), expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(batches())
def test_gradients_are_finite_and_right(batch):
    logits, soft, scores, candidates = batch
    logits = (logits / 10).requires_grad_()
    for loss, target in (
        (SoftLabelLoss(reduction="none"), soft),
        (ScoreLoss(reduction="none"), scores),
        (ScoreLoss(output="logits", reduction="none"), scores),
        (CandidateAverageLoss(reduction="none"), candidates),
        (CandidateSetLoss(reduction="none"), candidates),
    ):
        assert torch.autograd.gradcheck(loss, (logits, target))


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_float32_stays_finite_for_students_that_are_sure(scale):
    logits = (torch.eye(4) * scale).requires_grad_()
    candidates = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    values = CandidateSetLoss(reduction="none")(logits, candidates)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(logits.grad).all()
    assert values[1].item() == pytest.approx(scale, rel=1e-6)
    assert logits.grad[2:].abs().max() == 0
    assert values[2:].abs().max() == 0


def test_set_loss_of_a_sure_student_is_not_rounded_to_zero():
    """1 - p is 1e-20 here: ln of the float32 sum of probabilities would be 0."""
    value = CandidateSetLoss()(torch.tensor([[0.0, math.log(1e-20)]]), torch.tensor([[True, False]]))
    assert value.item() == pytest.approx(1e-20, rel=1e-5)


def test_the_label_alone_gives_cross_entropy_everywhere():
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(40, 7, generator=generator), torch.randint(0, 7, (40,), generator=generator)
    one_hot = F.one_hot(labels, 7)
    expected = F.cross_entropy(logits, labels, reduction="none")
    for loss, target in (
        (SoftLabelLoss, one_hot.float()),
        (CandidateAverageLoss, one_hot.bool()),
        (CandidateSetLoss, one_hot.bool()),
    ):
        torch.testing.assert_close(loss(reduction="none")(logits, target), expected)


def test_uniform_candidates_are_the_uniform_soft_label():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(30, 6, generator=generator)
    candidates = torch.rand(30, 6, generator=generator) < 0.5
    candidates[:, 2] = True
    uniform = candidates / candidates.sum(-1, keepdim=True)
    torch.testing.assert_close(CandidateAverageLoss()(logits, candidates), SoftLabelLoss()(logits, uniform))


def test_what_the_losses_converge_to_on_one_x():
    """Truth 0 always a candidate, rivals 1 to 3 in turn; the truth carries 0.3, its one rival 0.7."""
    soft = torch.tensor([[0.3, 0.7, 0, 0], [0.3, 0, 0.7, 0], [0.3, 0, 0, 0.7]], dtype=torch.float64)

    def fitted(loss, target):
        z = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe")

        def closure():
            optimiser.zero_grad()
            value = loss(z.expand(3, 4), target)
            value.backward()
            return value

        optimiser.step(closure)
        return torch.softmax(z, -1).detach()

    torch.testing.assert_close(fitted(SoftLabelLoss(), soft), soft.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(fitted(ScoreLoss(), soft), soft.mean(0), atol=1e-4, rtol=0)
    average = torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6], dtype=torch.float64)
    torch.testing.assert_close(fitted(CandidateAverageLoss(), soft > 0), average, atol=1e-4, rtol=0)
    assert fitted(CandidateSetLoss(), soft > 0)[0] > 0.99


def test_no_gradient_reaches_the_targets():
    logits = torch.zeros(2, 3, requires_grad=True)
    target = torch.full((2, 3), 1 / 3, requires_grad=True)
    for loss in (SoftLabelLoss(), ScoreLoss(), ScoreLoss(output="logits")):
        loss(logits, target).backward()
    assert target.grad is None


def test_ties_for_a_place_among_the_candidates_go_to_the_lower_class():
    soft = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2], [0.1, 0.3, 0.1, 0.3, 0.2]])
    assert top_candidates(soft, 3).nonzero()[:, 1].view(2, 3).tolist() == [[0, 1, 2], [1, 3, 4]]
    assert top_candidates(soft, 5).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SoftLabelLoss(reduction="median"), ValueError, "reduction must be"),
        (lambda: ScoreLoss(output="p"), ValueError, "output must be one of probabilities, logits, not 'p'"),
        (lambda: top_candidates(torch.zeros(2, 3), 4), ValueError, r"k must lie in 1 .. 3 \(the number of classes\)"),
        (
            lambda: SoftLabelLoss()(torch.zeros(2, 3), torch.zeros(3)),
            ValueError,
            r"soft_labels must have the shape of the logits, \(2, 3\), got \(3,\)",
        ),
        (lambda: ScoreLoss()(torch.zeros(2, 3), torch.zeros(2, 4)), ValueError, r"scores must have .* got \(2, 4\)"),
        (
            lambda: CandidateSetLoss()(torch.zeros(2, 3), torch.zeros(2, 3)),
            TypeError,
            "candidates must be bool, not float32",
        ),
    ],
)
def test_bad_settings_and_shapes_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
