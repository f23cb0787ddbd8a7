"""Influence against removal and retraining, Hessians against autograd, conjugate gradients against Cholesky."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import spearmanr

from biasvar.analysis import Evidence, select_rows
from biasvar.analysis.selection import softmax_head
from biasvar.analysis.selection.scores import SCORES, gradient_norm, influence, loss, margin, random, self_influence
from biasvar.analysis.selection.softmax_head import SoftmaxHead


def data(n, classes=3, width=4, seed=0):
    """Overlapping classes with a tenth of wrong labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    x = rng.normal(size=(n, width)) + 1.2 * np.random.default_rng(99).normal(size=(classes, width))[labels]
    return x, np.where(rng.random(n) < 0.1, rng.integers(classes, size=n), labels)


def fitted(x, y, decay, start=None, weights=None, classes=3):
    """The weights (C, D + 1) that minimise sum_i w_i CE_i / N + decay / 2 |W|^2, by L-BFGS to full precision."""
    h = np.hstack([x, np.ones((len(x), 1))])
    w = np.ones(len(x)) if weights is None else weights
    one_hot = np.eye(classes)[y]

    def objective(flat):
        theta = flat.reshape(classes, -1)
        log_probs = log_softmax(h @ theta.T, axis=1)
        value = -(w * log_probs[np.arange(len(y)), y]).sum() / len(x) + decay / 2 * (flat**2).sum()
        return value, ((w[:, None] * (np.exp(log_probs) - one_hot)).T @ h / len(x) + decay * theta).ravel()

    start = np.zeros(classes * h.shape[1]) if start is None else start.ravel()
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-11, "ftol": 1e-16, "maxiter": 5000}
    )
    return found.x.reshape(classes, -1)


def evidence_of(theta, x, y, held_x, held_y, decay, **more):
    def answers(rows):
        return np.hstack([rows, np.ones((len(rows), 1))]) @ theta.T

    held_out = SoftmaxHead(held_x, answers(held_x), held_y)
    return Evidence(
        sample_ids=np.arange(len(y)), labels=y, logits=answers(x), features=x, held_out=held_out, damping=decay, **more
    )


@pytest.fixture(scope="module")
def trained():
    decay = 0.01
    (x, y), (held_x, held_y) = data(200), data(300, seed=1)
    theta = fitted(x, y, decay)
    return x, y, held_x, held_y, decay, theta


def test_influence_agrees_with_removal_and_retraining(trained):
    """N = 200: the change of the held-out loss by leaving each sample out against -(1/N) of its influence."""
    x, y, held_x, held_y, decay, theta = trained
    h = np.hstack([held_x, np.ones((len(held_x), 1))])

    def held_out_loss(weights):
        return -log_softmax(h @ weights.T, axis=1)[np.arange(len(held_y)), held_y].mean()

    before = held_out_loss(theta)
    changes = []
    for row in range(len(x)):
        left = np.ones(len(x))
        left[row] = 0.0
        changes.append(held_out_loss(fitted(x, y, decay, theta, left)) - before)
    expected = -influence(evidence_of(theta, x, y, held_x, held_y, decay)) / len(x)
    assert spearmanr(changes, expected)[0] > 0.95
    slopes = []
    for row in range(0, 200, 20):
        ends = [np.where(np.arange(200) == row, 1.0 + step, 1.0) for step in (0.01, -0.01)]
        more, less = (held_out_loss(fitted(x, y, decay, theta, weights)) for weights in ends)
        slopes.append((less - more) / 0.02)
    np.testing.assert_allclose(expected[::20], slopes, rtol=0.01, atol=1e-7)


def test_conjugate_gradients_are_exact(trained):
    x, y, held_x, held_y, decay, theta = trained
    for score in (influence, self_influence):
        by_cholesky, by_gradients = (
            score(evidence_of(theta, x, y, held_x, held_y, decay, exact=exact)) for exact in (True, False)
        )
        np.testing.assert_allclose(by_gradients, by_cholesky, rtol=1e-7, atol=1e-10)


def test_many_parameters_are_solved_by_conjugate_gradients(trained, monkeypatch):
    x, y, held_x, held_y, decay, theta = trained
    evidence = evidence_of(theta, x, y, held_x, held_y, decay)
    exact = influence(evidence)
    monkeypatch.setattr(softmax_head, "MOST_EXACT", 14)  # 3 x 5 parameters
    monkeypatch.setattr(SoftmaxHead, "hessian", None)
    np.testing.assert_allclose(influence(evidence), exact, rtol=1e-7)


def test_gradients_and_hessian_are_those_of_autograd(trained):
    x, y, _, _, decay, theta = trained
    x, y = x[:7], y[:7]
    h = torch.as_tensor(np.hstack([x, np.ones((7, 1))]))
    head = SoftmaxHead(x, h.numpy() @ theta.T, y)

    def mean(flat):
        return torch.nn.functional.cross_entropy(h @ flat.reshape(3, -1).T, torch.as_tensor(y))

    flat = torch.as_tensor(theta.ravel())
    hessian = torch.autograd.functional.hessian(mean, flat) + decay * torch.eye(len(flat), dtype=torch.float64)
    np.testing.assert_allclose(head.hessian(decay), hessian, atol=1e-14)
    np.testing.assert_allclose(head.mean_gradient().ravel(), torch.autograd.functional.jacobian(mean, flat), atol=1e-15)
    vectors = np.random.default_rng(0).normal(size=(3, 5, 2))
    product = hessian.numpy() @ vectors.reshape(15, 2)
    np.testing.assert_allclose(head.times_hessian(vectors, decay).reshape(15, 2), product, atol=1e-13)
    for row, size in enumerate(gradient_norm(Evidence(np.arange(7), y, head.logits, x))):
        own = torch.autograd.functional.jacobian(
            lambda w, i=row: torch.nn.functional.cross_entropy(
                h[i : i + 1] @ w.reshape(3, -1).T, torch.as_tensor(y[i : i + 1])
            ),
            flat,
        )
        assert size == pytest.approx(float(own.norm()), rel=1e-12)


def test_self_influence_is_the_quadratic_form_row_by_row(trained):
    x, y, held_x, held_y, decay, theta = trained
    evidence = evidence_of(theta, x, y, held_x, held_y, decay)
    inverse = np.linalg.inv(evidence.head.hessian(decay))
    gradients = [np.outer(e, h).ravel() for e, h in zip(evidence.head.errors, evidence.head.inputs, strict=True)]
    expected = [g @ inverse @ g for g in gradients]
    np.testing.assert_allclose(self_influence(evidence), expected, rtol=1e-9)
    assert (self_influence(evidence) > 0).all()


def test_scores_of_logits_by_hand():
    evidence = Evidence(np.array([5, 9]), np.array([0, 1]), logits=np.array([[2.0, 0.0, 1.0], [3.0, 1.0, 0.0]]))
    np.testing.assert_allclose(margin(evidence), [1.0, -2.0])
    np.testing.assert_allclose(
        loss(evidence), [np.log1p(np.exp(-2) + np.exp(-1)), 2 + np.log1p(np.exp(-2) + np.exp(-3))]
    )
    other = Evidence(np.array([9, 5]), np.array([1, 0]))
    np.testing.assert_array_equal(random(evidence), random(other)[::-1])
    assert not np.array_equal(random(evidence), random(Evidence(np.array([5, 9]), np.array([0, 1]), seed=1)))


@pytest.mark.parametrize("name", ["influence", "self_influence", "gradient_norm", "loss", "margin", "wsl_weight"])
def test_scores_say_what_they_lack(name):
    with pytest.raises(ValueError, match="needs"):
        SCORES[name](Evidence(np.arange(2), np.zeros(2, dtype=int)))


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("which", ["highest", "lowest"])
def test_the_chosen_rows_are_at_the_end_that_is_asked_for(which, per_class):
    rng = np.random.default_rng(3)
    scores, labels = rng.integers(20, size=200) / 7, rng.integers(4, size=200)
    chosen = select_rows(scores, labels, keep=0.3, which=which, per_class=per_class)
    sign = 1 if which == "highest" else -1
    groups = [labels == c for c in range(4)] if per_class else [np.ones(200, dtype=bool)]
    for group in groups:
        inside, outside = sign * scores[group & chosen], sign * scores[group & ~chosen]
        assert len(inside) == int(0.3 * group.sum() + 0.5)
        assert inside.min() >= outside.max()


def test_equal_scores_are_chosen_by_sample_and_seed_not_by_place():
    labels = np.arange(100) % 2
    ids = np.arange(100)
    first = select_rows(np.zeros(100), labels, keep=0.5, sample_ids=ids)
    turned = select_rows(np.zeros(100), labels[::-1], keep=0.5, sample_ids=ids[::-1])
    np.testing.assert_array_equal(first, turned[::-1])
    assert first.sum() == 50
    assert not first[:50].all()
    assert not np.array_equal(first, select_rows(np.zeros(100), labels, keep=0.5, sample_ids=ids, seed=1))
    assert select_rows(np.zeros(100), labels, keep=1.0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0.0}, r"keep must be a share in \(0, 1\], not 0"),
        ({"keep": 1.5}, r"keep must be a share in \(0, 1\]"),
        ({"keep": 0.01}, "keep 0.01 of 10 rows keeps nothing"),
        ({"keep": 0.1}, "keeps 1 of class 1 only; take a larger share, or per_class: true"),
        ({"keep": 0.5, "which": "higest"}, "which must be one of highest, lowest, not 'higest', did you mean"),
    ],
)
def test_choices_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        select_rows(np.arange(10.0), np.arange(10) % 2, **settings)


def test_scores_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match="those of samples 7 are not"):
        select_rows([1.0, np.nan], [0, 1], keep=0.5, sample_ids=[3, 7])
    with pytest.raises(ValueError, match="scores must hold real numbers"):
        select_rows(np.array(["a", "b"]), [0, 1], keep=0.5)
    with pytest.raises(ValueError, match=r"sample_ids must have the shape of the scores, \(2,\), not \(1,\)"):
        select_rows([1.0, 2.0], [0, 1], keep=0.5, sample_ids=[3])


def test_a_head_that_diverged_is_named():
    odd = np.array([[0.0, 1.0], [np.nan, 0.0], [2.0, 1.0]])
    for features, logits in ((odd, np.zeros((3, 2))), (np.zeros((3, 2)), odd)):
        with pytest.raises(ValueError, match="features and logits must be finite; those of rows 1 are not"):
            SoftmaxHead(features, logits, np.array([0, 1, 0]))


def test_a_hessian_without_damping_is_refused():
    head = SoftmaxHead(np.ones((4, 3)), np.zeros((4, 2)), np.zeros(4, dtype=int))
    with pytest.raises(ValueError, match=r"the Hessian is singular at damping 1e-300.* take a larger damping"):
        head.solver(1e-300)
    with pytest.raises(ValueError, match="damping must be above 0"):
        SoftmaxHead(np.zeros((2, 1)), np.zeros((2, 2)), np.zeros(2, dtype=int)).solver(0.0)
