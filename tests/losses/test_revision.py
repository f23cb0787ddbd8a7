"""Label revision: the formula sample by sample, the port row set by row set, both with gradients from autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biasvar.analysis import revise_labels
from biasvar.losses import (
    DistillationLoss,
    PortedRevisionLoss,
    RevisedDistillationLoss,
    WeightedSoftLabelLoss,
    revise_logits,
)
from biasvar.losses.revision import DISTANCES


def batch(seed=0, rows=40, classes=5, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * scale).unbind()
    return student.requires_grad_(), teacher, torch.randint(0, classes, (rows,), generator=generator)


def softmax(z):
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / math.fsum(e) for v in e]


def revised_by_hand(z, label, eta, rows):
    p = softmax(z)
    if rows == "wrong" and p.index(max(p)) == label:
        return p
    beta = eta / (max(p) - p[label] + 1)
    return [beta * v + (1 - beta) * (k == label) for k, v in enumerate(p)]


def apart_by_hand(student, teacher, label, eta, tau, distance, rows):
    target = revised_by_hand([z / tau for z in teacher], label, eta, rows)
    s = softmax([z / tau for z in student])
    if distance == "kl":
        return tau**2 * math.fsum(q * math.log(q / p) for q, p in zip(target, s, strict=True) if q > 0)
    if distance == "mse_probabilities":
        return math.fsum((q - p) ** 2 for q, p in zip(target, s, strict=True)) / len(s)
    total = math.log(math.fsum(math.exp(z / tau) for z in teacher))
    return math.fsum((z - tau * (math.log(q) + total)) ** 2 for z, q in zip(student, target, strict=True)) / len(s)


@pytest.mark.parametrize("rows", ["all", "wrong"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("eta", "tau"), [(0.8, 1.0), (0.2, 4.0), (1.0, 0.5)])
def test_each_distance_is_its_formula_row_by_row(distance, rows, eta, tau):
    student, teacher, labels = batch()
    loss = RevisedDistillationLoss(
        eta=eta, temperature=tau, distance=distance, rows=rows, alpha=2.0, ce=0.5, reduction="none"
    )
    values = loss(student, teacher, labels)
    expected = [
        -0.5 * math.log(softmax(z)[y]) + 2 * apart_by_hand(z, t, y, eta, tau, distance, rows)
        for z, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(values.detach(), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher, labels), (student,))


def ported(student, teacher, labels, *, eta=0.8, right=4.0, wrong=1.0):
    """The port from its description: three means, over the rows right, right and wrong."""
    parts = {True: [], False: []}
    for z, t, y in zip(student, teacher, labels.tolist(), strict=True):
        known = int(t.argmax()) == y
        target = torch.tensor(revised_by_hand(t.tolist(), y, eta, "all"), dtype=torch.float64)
        value = -torch.log_softmax(z, 0)[y] + right * ((z - t) ** 2).mean()
        parts[known].append(value if known else wrong * ((torch.softmax(z, 0) - target) ** 2).mean())
    return sum(torch.stack(values).mean() for values in parts.values() if values)


@pytest.mark.parametrize("share", ["some", "none", "all"])
@pytest.mark.parametrize("weights", [{}, {"eta": 0.3, "right": 0.5, "wrong": 3.0}])
def test_the_port_is_three_means_over_its_own_rows(share, weights):
    student, teacher, labels = batch(seed=3, classes=10)
    if share != "some":
        labels = teacher.argmax(-1) if share == "all" else teacher.argmin(-1)
    expected = ported(student, teacher, labels, **weights)
    (gradient,) = torch.autograd.grad(expected, student)
    loss = RevisedDistillationLoss.rld_port(**weights)
    value = loss(student, teacher, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(value, student)[0], gradient, rtol=1e-12, atol=1e-17)
    by_row = RevisedDistillationLoss.rld_port(**weights, reduction="none")(student, teacher, labels)
    torch.testing.assert_close(by_row.mean(), expected, rtol=1e-12, atol=0)


def test_the_port_takes_each_batch_of_several_replicas_by_itself():
    parts = [batch(seed=seed) for seed in (1, 2, 3)]
    together = [torch.stack(tensors).detach() for tensors in zip(*parts, strict=True)]
    values = PortedRevisionLoss(reduction="none")(*together).mean(-1)
    for value, part in zip(values, parts, strict=True):
        torch.testing.assert_close(value, ported(*part).detach(), rtol=1e-12, atol=0)


def test_the_port_counts_rows_as_often_as_they_are_there():
    student, teacher, labels = batch(seed=5)
    times = torch.arange(len(labels)) % 3
    rows = [row for row, n in enumerate(times.tolist()) for _ in range(n)]
    expected = ported(student[rows], teacher[rows], labels[rows])
    torch.testing.assert_close(PortedRevisionLoss()(student, teacher, labels, times), expected, rtol=1e-12, atol=0)
    values = PortedRevisionLoss(reduction="none")(student, teacher, labels, times)
    torch.testing.assert_close((times * values).sum() / times.sum(), expected, rtol=1e-12, atol=0)


def test_the_port_leaves_rows_out_of_its_means():
    student, teacher, labels = batch(seed=6)
    where = torch.arange(len(labels)) % 2 == 0
    expected = ported(student[where], teacher[where], labels[where])
    teacher = teacher.masked_fill(~where[:, None], torch.nan)
    torch.testing.assert_close(PortedRevisionLoss()(student, teacher, labels, where=where), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 10.0, 100.0]), st.sampled_from([0.0, 0.2, 0.5, 0.95]))
def test_the_truth_leads_by_the_margin_where_the_teacher_is_wrong(seed, scale, margin):
    """On random distributions: sums, bounds of beta, the margin, and ratios between wrong classes."""
    _, teacher, labels = batch(seed=seed, scale=scale)
    soft = torch.softmax(teacher, -1).numpy()
    labels = labels.numpy()
    every = revise_labels(soft, labels, margin=margin)
    some = revise_labels(soft, labels, margin=margin, rows="wrong")
    np.testing.assert_allclose(every.sum(1), 1, rtol=1e-12)
    assert (every >= 0).all()
    wrong = soft.argmax(1) != labels
    rows = np.arange(len(labels))
    lead = every[rows, labels] - every[rows, soft.argmax(1)]
    np.testing.assert_allclose(lead[wrong], margin, atol=1e-12)
    np.testing.assert_array_equal(some[wrong], every[wrong])
    np.testing.assert_allclose(some[~wrong], soft[~wrong], rtol=1e-12)
    np.testing.assert_allclose(every[~wrong], ((1 - margin) * soft + margin * np.eye(5)[labels])[~wrong], atol=1e-15)
    for new, old, label in zip(every, soft, labels, strict=True):
        np.testing.assert_allclose(np.delete(new, label) * old.max(), np.delete(old, label) * _factor(new, old, label))


def _factor(new, old, label):
    """What the largest wrong class was multiplied by, times p_max: all wrong classes must share it."""
    top = np.delete(np.arange(len(old)), label)[np.delete(old, label).argmax()]
    return new[top] / old[top] * old.max()


@pytest.mark.parametrize("rows", ["all", "wrong"])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_revised_logits_are_the_revised_label_at_the_temperature(rows, tau):
    student, teacher, labels = batch(seed=8)
    logits = revise_logits(teacher, labels, eta=0.7, temperature=tau, rows=rows)
    expected = revise_labels(torch.softmax(teacher / tau, -1), labels, margin=0.3, rows=rows)
    torch.testing.assert_close(torch.softmax(logits / tau, -1), expected)
    torch.testing.assert_close(logits.div(tau).logsumexp(-1), teacher.div(tau).logsumexp(-1))
    if rows == "wrong":
        right = teacher.argmax(-1) == labels
        torch.testing.assert_close(logits[right], teacher[right])
    kd = DistillationLoss(temperature=tau, alpha=1.0, reduction="none")(student, logits, labels)
    revised = RevisedDistillationLoss(eta=0.7, temperature=tau, rows=rows, reduction="none")(student, teacher, labels)
    entropy = -(expected * expected.log()).sum(-1) * tau**2
    torch.testing.assert_close(kd - entropy, revised)
    assert WeightedSoftLabelLoss(temperature=tau, alpha=1.0)(student, logits, labels).isfinite()


@pytest.mark.parametrize("distance", DISTANCES)
def test_without_an_eta_the_teacher_stays_as_it_is(distance):
    """As it does where only wrong labels are revised and none is wrong."""
    student, teacher, _ = batch()
    labels = teacher.argmax(-1)
    settings = {"temperature": 3.0, "distance": distance, "reduction": "none"}
    plain = RevisedDistillationLoss(eta=None, **settings)
    torch.testing.assert_close(
        plain(student, teacher, labels), RevisedDistillationLoss(rows="wrong", **settings)(student, teacher, labels),
        rtol=0, atol=0,
    )  # fmt: skip
    other = RevisedDistillationLoss(eta=0.8, **settings)(student, teacher, labels)
    assert (plain(student, teacher, labels) - other).abs().min() > 0
    # The label decides nothing but the cross-entropy.
    apart = RevisedDistillationLoss(eta=None, ce=0.0, **settings)
    torch.testing.assert_close(apart(student, teacher, labels), apart(student, teacher, 4 - labels), rtol=0, atol=0)


def test_a_class_of_no_probability_and_a_masked_class_are_no_trouble():
    teacher = torch.tensor([[0.0, 200.0, -torch.inf], [5.0, 0.0, -torch.inf]])
    labels = torch.tensor([0, 0])
    for distance in DISTANCES:
        student = torch.tensor([[1.0, 2.0, -torch.inf], [1.0, 2.0, -torch.inf]], requires_grad=True)
        value = RevisedDistillationLoss(distance=distance)(student, teacher, labels)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite()
        assert gradient[:, :2].isfinite().all()


def test_nothing_flows_into_the_teacher():
    student, teacher, labels = batch()
    teacher.requires_grad_()
    for loss in (*(RevisedDistillationLoss(distance=name) for name in DISTANCES), PortedRevisionLoss()):
        loss(student, teacher, labels).backward()
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RevisedDistillationLoss(eta=0.0), r"eta must lie in \(0, 1\]; .*, not 0"),
        (lambda: RevisedDistillationLoss(eta=1.1), r"eta must lie in \(0, 1\]"),
        (lambda: RevisedDistillationLoss(distance="mse"), "distance must be one of kl, mse_logits, mse_probabilities"),
        (lambda: RevisedDistillationLoss(rows="wrongs"), "rows must be one of all, wrong, not 'wrongs', did you mean"),
        (lambda: RevisedDistillationLoss(alpha=-1.0), "alpha must be at least 0"),
        (lambda: PortedRevisionLoss(right=-1.0), "right must be at least 0"),
        (lambda: revise_labels([[0.5, 0.5]], [0], margin=1.0), r"margin must lie in \[0, 1\), got 1"),
        (lambda: revise_labels([[0.5, 0.5]], [0], margin=-0.1), r"margin must lie in \[0, 1\)"),
        (lambda: revise_labels([[0.5, 0.5]], [0], rows="right"), "rows must be one of all, wrong, not 'right'"),
        (lambda: revise_logits(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)), "labels must have"),
    ],
)
def test_settings_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
