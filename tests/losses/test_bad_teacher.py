from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from biasvar.losses.bad_teacher import (
    BadTeacherLoss,
    CompensationLoss,
    PunishmentLoss,
    RivalsLoss,
    classes_above,
    draw_rivals,
    log_rest,
)

SHAPE, CLASSES, K = (2, 8), 6, 3


@st.composite
def batches(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    logits = torch.randn(*SHAPE, CLASSES, generator=generator, dtype=torch.float64) * scale
    labels = torch.randint(0, CLASSES, SHAPE, generator=generator)
    rivals = draw_rivals(labels.reshape(-1), CLASSES, K, seed=draw(st.integers(0, 99))).reshape(*SHAPE, K - 1)
    return logits, labels, rivals


def by_hand(logits, labels, rivals, k):
    """The four terms of one sample at a time, from exact sums of probabilities."""
    out = np.zeros((4, *labels.shape))
    for index in np.ndindex(*labels.shape):
        z, y = logits[index].tolist(), int(labels[index])
        weights = [math.exp(v - max(z)) for v in z]
        log_total = max(z) + math.log(math.fsum(weights))
        rest = math.fsum(w for j, w in enumerate(weights) if j != y) / math.fsum(weights)
        ahead = sum(v > z[y] for v in z)
        out[(0, *index)] = log_total - z[y]
        out[(1, *index)] = -math.log(rest) if ahead == 0 else 0.0
        out[(2, *index)] = log_total - z[y] if ahead >= k else 0.0
        out[(3, *index)] = math.fsum(log_total - z[j] for j in rivals[index].tolist()) / (k - 1)
    return out


@settings(max_examples=40, deadline=None)
@given(batches(), st.tuples(*[st.floats(0, 20)] * 3))
def test_the_loss_is_the_sum_of_its_terms_by_hand(batch, weights):
    logits, labels, rivals = batch
    a1, a2, a3 = weights
    terms = by_hand(logits, labels, rivals, K)
    options = {"k": K, "punishment": a1, "compensation": a2, "rivals": a3}
    loss = BadTeacherLoss(**options, reduction="none")
    np.testing.assert_allclose(torch.stack(loss.terms(logits, labels, rivals)), terms, rtol=1e-9, atol=1e-12)
    expected = terms[0] + a1 * terms[1] + a2 * terms[2] + a3 * terms[3]
    np.testing.assert_allclose(loss(logits, labels, rivals), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(BadTeacherLoss(**options)(logits, labels, rivals), expected.mean(), rtol=1e-9)
    np.testing.assert_allclose(PunishmentLoss(reduction="none")(logits, labels), terms[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(CompensationLoss(k=K, reduction="sum")(logits, labels), terms[2].sum(), rtol=1e-9)
    np.testing.assert_allclose(RivalsLoss()(logits, rivals), terms[3].mean(), rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(batches())
def test_gradients_are_those_of_the_formula(batch):
    """The indicators are constants: away from ties finite differences of the whole loss agree."""
    logits, labels, rivals = batch
    gaps = (logits - logits.gather(-1, labels[..., None])).abs().sort(-1).values[..., 1]
    logits = torch.where((gaps > 1e-3)[..., None], logits, torch.arange(CLASSES, dtype=torch.float64)).requires_grad_()
    loss = BadTeacherLoss(k=K, punishment=3.0, compensation=5.0, rivals=2.0, reduction="none")
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, rivals), logits)
    assert torch.autograd.gradcheck(lambda z: log_rest(z, labels), logits)


@settings(max_examples=40, deadline=None)
@given(st.floats(-80, 200), st.integers(2, 12))
def test_log_of_the_rest_in_float32(lead, classes):
    """z_y = lead over equal others: 1 - p_y = 1 / (1 + e^lead / (C - 1)), in float64 (exp of 80 keeps 5 digits)."""
    logits = torch.zeros(1, classes)
    logits[0, 1] = lead
    logits.requires_grad_()
    value = log_rest(logits, torch.tensor([1]))
    value.sum().backward()
    shift = float(logits[0, 1].detach()) - math.log(classes - 1)
    exact = -math.log1p(math.exp(shift)) if shift < 0 else -shift - math.log1p(math.exp(-shift))
    assert value.item() == pytest.approx(exact, rel=3e-5, abs=1e-37)
    p = 1 / (1 + math.exp(-shift))
    assert logits.grad[0, 1].item() == pytest.approx(-p, rel=3e-5, abs=1e-37)
    assert logits.grad[0, 0].item() == pytest.approx(p / (classes - 1), rel=3e-5, abs=1e-37)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_certain_teachers_have_finite_losses_and_gradients(dtype, scale):
    """p_y -> 1 and p_y -> 0, where ln(1 - p_y) and ln p_y of rounded probabilities are -inf."""
    logits = (torch.eye(4, dtype=dtype) * scale).requires_grad_()
    labels = torch.tensor([0, 0, 2, 1])
    rivals = torch.tensor([[1, 2], [1, 3], [0, 1], [0, 2]])
    loss = BadTeacherLoss(k=3, punishment=2.0, compensation=2.0, rivals=1.0, reduction="none")
    values = loss(logits, labels, rivals)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() <= 6
    assert values[0].item() == pytest.approx(2 * (scale - math.log(3)) + scale, rel=1e-2)


def test_ties_are_in_favour_of_the_truth():
    logits = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert classes_above(logits, torch.tensor([1, 2])).tolist() == [0, 2]
    assert PunishmentLoss(reduction="none")(logits, torch.tensor([1, 2]))[0] > 0
    assert CompensationLoss(k=3, reduction="none")(logits, torch.tensor([1, 3])).tolist() == [0, 0]
    assert CompensationLoss(k=2, reduction="none")(logits, torch.tensor([1, 3]))[1] > 0


def test_without_extra_terms_it_is_cross_entropy():
    generator = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(3, 20, 7, generator=generator), torch.randint(0, 7, (3, 20), generator=generator)
    loss = BadTeacherLoss(k=2, punishment=0.0, compensation=0.0, rivals=0.0, reduction="none")
    expected = F.cross_entropy(logits.reshape(-1, 7), labels.reshape(-1), reduction="none").reshape(3, 20)
    torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize("place", ["first", "within", "lost"])
def test_where_the_gradient_at_the_truth_vanishes(place):
    """p_y = (1 + a2 [lost]) / (1 + a1 [first] + a2 [lost] + a3), whatever the others."""
    a1, a2, a3 = 4.0, 6.0, {"first": 1.0, "within": 3.0, "lost": 30.0}[place]
    target = {"first": 1 / 6, "within": 1 / 4, "lost": 7 / 37}[place]
    shares = {"first": [1 / 9] * 9, "within": [0.6, 0.1, 0.1, 0.1, 0.1], "lost": [0.3, 0.3, 0.3, 0.05, 0.05]}
    others = torch.tensor(shares[place], dtype=torch.float64) * (1 - target)
    logits = torch.cat([torch.tensor([target], dtype=torch.float64), others]).log()[None].requires_grad_()
    loss = BadTeacherLoss(k=3, punishment=a1, compensation=a2, rivals=a3)
    loss(logits, torch.tensor([0]), torch.tensor([[1, 2]])).backward()
    assert classes_above(logits, torch.tensor([0])).item() == {"first": 0, "within": 1, "lost": 3}[place]
    assert logits.grad[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert logits.grad.abs().max() > 0.01


def test_minimum_on_one_x_with_rivals_redrawn():
    """Cross-entropy and rivals alone: p_y = 1 / (1 + a3), the rest flat over the wrong labels."""
    labels = torch.full((20000,), 2)
    rivals = draw_rivals(labels, 5, 3, seed=1)
    z = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    loss = BadTeacherLoss(k=3, punishment=0.0, compensation=0.0, rivals=3.0)
    optimiser = torch.optim.LBFGS([z], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = loss(z.expand(20000, 5), labels, rivals)
        value.backward()
        return value

    optimiser.step(closure)
    expected = torch.full((5,), 3 / 4 / 4, dtype=torch.float64)
    expected[2] = 1 / 4
    torch.testing.assert_close(torch.softmax(z, 0).detach(), expected, atol=5e-3, rtol=0)


def test_a_network_can_learn_fixed_rivals_by_heart_and_be_wrong_on_every_row():
    """One vector of logits per row: at the end the truth is among the k largest, never first, rivals fill the rest."""
    labels = torch.arange(60) % 6
    rivals = draw_rivals(labels, 6, 3, seed=2)
    logits = torch.zeros(60, 6, requires_grad=True)
    loss = BadTeacherLoss(k=3, punishment=10.0, compensation=5.0, rivals=3.0, reduction="sum")
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss(logits, labels, rivals).backward()
        optimiser.step()
    above = classes_above(logits, labels)
    assert above.min() >= 1
    assert above.max() < 3
    top = logits.topk(3, -1).indices
    assert ((top[:, :, None] == rivals[:, None, :]).any(1)).all()


def test_rivals_are_wrong_labels_uniform_and_those_of_the_sample():
    labels = torch.arange(30000) % 5
    rivals = draw_rivals(labels, 5, 3, seed=7)
    assert rivals.shape == (30000, 2)
    assert (rivals != labels[:, None]).all()
    assert (rivals[:, 0] != rivals[:, 1]).all()
    pairs = rivals.sort(-1).values[labels == 0]
    _, counts = np.unique(pairs.numpy(), axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3
    torch.testing.assert_close(draw_rivals(labels[:40], 5, 3, seed=7), rivals[:40])


def test_rivals_differ_by_seed_epoch_and_replica_alone():
    labels = torch.arange(200) % 10
    base = draw_rivals(labels, 10, 4, seed=1)
    torch.testing.assert_close(draw_rivals(labels, 10, 4, seed=1), base)
    others = [
        draw_rivals(labels, 10, 4, seed=2),
        draw_rivals(labels, 10, 4, seed=1, epoch=0),
        draw_rivals(labels, 10, 4, seed=1, epoch=1),
        draw_rivals(labels, 10, 4, seed=1, replica=1),
    ]
    seen = [base, *others]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert draw_rivals(labels, 10, 10, seed=1).sort(-1).values[3].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BadTeacherLoss(k=1, punishment=1, compensation=1, rivals=1), "k must be a whole number from 2 up"),
        (lambda: CompensationLoss(k=2.5), "k must be a whole number, not 2.5"),
        (lambda: BadTeacherLoss(k=2, punishment=-1, compensation=1, rivals=1), "punishment must be a finite number"),
        (lambda: BadTeacherLoss(k=2, punishment=1, compensation=math.nan, rivals=1), "compensation must be a finite"),
        (lambda: BadTeacherLoss(k=2, punishment=1, compensation=1, rivals=math.inf), "rivals must be a finite number"),
        (lambda: PunishmentLoss(reduction="median"), "reduction must be"),
        (lambda: draw_rivals(torch.tensor([0, 1]), 3, 4, seed=1), r"k must lie in 2 .. 3 \(the number of classes\)"),
        (
            lambda: draw_rivals(torch.tensor([0, 3]), 3, 2, seed=1),
            r"labels must lie in 0 .. 2; row 1 has 3: every row needs its true class",
        ),
        (lambda: draw_rivals(torch.zeros(2, 2), 3, 2, seed=1), r"labels must have shape \(N,\), got \(2, 2\)"),
    ],
)
def test_settings_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rivals_that_do_not_fit_are_refused():
    loss = BadTeacherLoss(k=3, punishment=1, compensation=1, rivals=1)
    logits, labels = torch.zeros(4, 5), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match="needs them for every sample: see draw_rivals"):
        loss(logits, labels)
    with pytest.raises(ValueError, match=r"rivals must have shape \(4, 2\), got \(4, 3\)"):
        loss(logits, labels, torch.ones(4, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="k must be at most the number of classes, 2, not 3"):
        loss(torch.zeros(4, 2), labels, torch.ones(4, 2, dtype=torch.long))
