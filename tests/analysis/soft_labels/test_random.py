"""Random soft labels: what they promise in the mean, and that draws belong to samples; projection against slow ways."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.stats import dirichlet, kstest

from biasvar.analysis import (
    add_noise,
    ambiguity,
    effectiveness,
    partial_labels,
    project_to_simplex,
    random_soft_labels,
    unreliability,
)
from biasvar.seeding import normals, uniforms, words
from tests.analysis.reference import quick


def test_words_are_those_of_splitmix64():
    """One row is a SplitMix64 stream: the plain generator from the same state gives the same words."""
    mask = 2**64 - 1

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    state = 0
    for word in (3, *b"test", 2):
        state = mix(((state + 0x9E3779B97F4A7C15) & mask) ^ word)
    state = mix(state ^ mix((41 + 0x9E3779B97F4A7C15) & mask))
    expected = []
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) & mask
        expected.append(mix(state))
    assert words(3, "test", [7, 41], 5, epoch=2)[1].tolist() == expected
    # The published first word of the generator from seed 0.
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_draws_are_uniform_normal_and_apart():
    ids = np.arange(20_000)
    u = uniforms(0, "a", ids, 3)
    assert u.min() > 0
    assert u.max() < 1
    assert kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert kstest(normals(1, "a", ids, 2).ravel(), "norm").pvalue > 1e-3
    others = [uniforms(1, "a", ids, 3), uniforms(0, "b", ids, 3), uniforms(0, "a", ids, 3, epoch=1), np.roll(u, 1, 0)]
    for other in others:
        assert abs(np.corrcoef(u.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(60_000)
    assert abs(np.corrcoef(u.T) - np.eye(3)).max() < 4 / np.sqrt(20_000)
    for bad in (
        {"seed": -1},
        {"seed": 2**64},
        {"seed": True},
        {"epoch": 0.5},
        {"sample_ids": [0.5]},
        {"sample_ids": 3},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            words(**({"seed": 0, "purpose": "a", "sample_ids": [1], "width": 2} | bad))


@pytest.mark.parametrize("make", ["partial", "noise", "random"])
def test_rows_keep_their_draw_in_any_order(make):
    labels, ids = np.arange(40) % 4, np.arange(40) * 3
    order = np.random.default_rng(0).permutation(40)[:25]

    def made(part, epoch=None, seed=0):
        if make == "partial":
            options = {"drop": 0.3, "add": 0.4, "seed": seed, "sample_ids": ids[part], "epoch": epoch}
            return partial_labels(labels[part], 4, **options).soft_labels
        if make == "noise":
            return add_noise(np.eye(4)[labels[part]], 0.5, seed=seed, sample_ids=ids[part], epoch=epoch)
        return random_soft_labels(ids[part], 4, seed=seed, epoch=epoch)

    whole = made(slice(None))
    np.testing.assert_array_equal(made(order), whole[order])
    for other in (made(slice(None), epoch=0), made(slice(None), epoch=1), made(slice(None), seed=1)):
        assert not np.array_equal(other, whole)
    assert not np.array_equal(made(slice(None), epoch=0), made(slice(None), epoch=1))


@pytest.mark.parametrize(("drop", "add"), [(0.1, 0.1), (0.4, 0.2), (0.0, 0.5), (1.0, 0.2)])
def test_partial_labels_have_the_indicators_they_were_made_with(drop, add):
    classes, n = 4, 40_000
    labels = np.arange(n) % classes
    empty = drop * (1 - add) ** (classes - 1)
    made = partial_labels(labels, classes, drop=drop, add=add, seed=5)
    error = 4 * np.sqrt(0.25 / n)
    assert abs(made.was_empty.mean() - empty) < error
    assert abs(made.delta - (drop - empty)) < error
    wrong = made.candidates[np.arange(classes) != labels[:, None]].mean()
    assert abs(wrong - (add + empty)) < error
    assert made.candidates[made.was_empty].all()
    # What decides on learning does not move: truth in and rival out, and the reverse.
    rival = made.candidates[np.arange(n), (labels + 1) % classes]
    truth = made.candidates[np.arange(n), labels]
    assert abs((truth & ~rival).mean() - (1 - drop) * (1 - add)) < error
    assert abs((rival & ~truth).mean() - drop * add) < error
    assert unreliability(made.soft_labels, labels, threshold=0).value == pytest.approx(made.delta)
    assert ambiguity(made.soft_labels, labels, threshold=0).value == pytest.approx(made.gamma)
    if drop < 1:
        redrawn = partial_labels(labels, classes, drop=drop, add=add, seed=5, empty="redraw")
        assert abs(redrawn.delta - (drop - empty) / (1 - empty)) < error
        wrong = redrawn.candidates[np.arange(classes) != labels[:, None]].mean()
        assert abs(wrong - add / (1 - empty)) < error
        np.testing.assert_array_equal(redrawn.was_empty, made.was_empty)
        same = ~made.was_empty
        np.testing.assert_array_equal(redrawn.candidates[same], made.candidates[same])


def test_tensors_stay_tensors():
    labels = torch.arange(12) % 3
    made = partial_labels(labels, 3, drop=0.2, add=0.2, seed=0)
    assert made.soft_labels.dtype == torch.float64
    np.testing.assert_array_equal(
        made.soft_labels, partial_labels(labels.numpy(), 3, drop=0.2, add=0.2, seed=0).soft_labels
    )
    noisy = add_noise(torch.eye(3), 0.1, seed=0)
    np.testing.assert_array_equal(noisy, add_noise(np.eye(3), 0.1, seed=0))
    assert isinstance(random_soft_labels(torch.arange(3), 4, seed=0), torch.Tensor)
    scores = torch.randn(5, 4, generator=torch.manual_seed(0))
    projected = project_to_simplex(scores)
    assert isinstance(projected, torch.Tensor)
    np.testing.assert_allclose(projected, project_to_simplex(scores.numpy()))


def test_a_teacher_that_knows_nothing():
    labels = np.arange(20_000) % 5
    for concentration in (0.05, 1.0, 30.0):
        soft = random_soft_labels(np.arange(20_000), 5, seed=2, concentration=concentration)
        np.testing.assert_allclose(soft.sum(axis=1), 1.0)
        beta = dirichlet([concentration] * 5)
        np.testing.assert_allclose(soft.mean(axis=0), beta.mean(), atol=0.02)
        np.testing.assert_allclose(soft.var(axis=0), beta.var(), rtol=0.06)
        table = effectiveness(soft, labels, ks=[1, 3])
        np.testing.assert_allclose(table["delta"], [0.8, 0.4], atol=0.015)
        np.testing.assert_allclose(table["marginal"], [0.2, 0.6], atol=0.03)
    tiny = random_soft_labels(np.arange(200), 5, seed=0, concentration=1e-4)
    np.testing.assert_allclose(tiny.max(axis=1), 1.0, atol=0.2)


@quick
@given(st.integers(0, 10_000), st.integers(2, 8), st.sampled_from([0.1, 1.0, 30.0]), st.sampled_from([0.0, 1e6]))
def test_projection_is_that_of_a_root_search(seed, classes, spread, shift):
    scores = np.random.default_rng(seed).normal(size=(4, classes)) * spread + shift
    projected = project_to_simplex(scores)
    np.testing.assert_allclose(projected.sum(axis=1), 1.0, atol=1e-12)
    for row, ours in zip(scores, projected, strict=True):
        level = brentq(lambda t, row=row: np.maximum(row - t, 0).sum() - 1, row.min() - 2, row.max(), xtol=1e-14)
        np.testing.assert_allclose(ours, np.maximum(row - level, 0), atol=1e-8)
    np.testing.assert_allclose(project_to_simplex(projected), projected, atol=1e-12)
    order = np.random.default_rng(seed).permutation(classes)
    np.testing.assert_allclose(project_to_simplex(scores[:, order]), projected[:, order], atol=1e-9)


def test_projection_is_the_nearest_distribution():
    for row in np.random.default_rng(0).normal(size=(5, 6)):
        found = minimize(
            lambda p, row=row: ((p - row) ** 2).sum(),
            np.full(6, 1 / 6),
            bounds=[(0, 1)] * 6,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(project_to_simplex(row), found.x, atol=1e-6)
    np.testing.assert_array_equal(project_to_simplex([[2.0, 2.0, -1.0]]), [[0.5, 0.5, 0.0]])
    assert project_to_simplex(np.zeros((2, 3, 4))).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: partial_labels([0], 3, drop=1.5, add=0.1, seed=0), "drop must be a probability"),
        (lambda: partial_labels([0], 3, drop=0.5, add=-0.1, seed=0), "add must be a probability"),
        (lambda: partial_labels([0], 3, drop=0.5, add=0.1, seed=0, empty="truth"), "all, redraw"),
        (lambda: partial_labels([0], 3, drop=1.0, add=0.0, seed=0, empty="redraw"), "every candidate set empty"),
        (lambda: partial_labels([0], 1, drop=0.5, add=0.1, seed=0), "num_classes must be at least 2"),
        (lambda: partial_labels([[0]], 3, drop=0.5, add=0.1, seed=0), r"labels must have shape \(N,\)"),
        (lambda: partial_labels([], 3, drop=0.5, add=0.1, seed=0), "at least one"),
        (lambda: partial_labels([3], 3, drop=0.5, add=0.1, seed=0), "0 .. 2"),
        (lambda: partial_labels([0], 3, drop=0.5, add=0.1, seed=0, sample_ids=[1, 2]), r"sample_ids must have shape"),
        (lambda: add_noise([[1.0, 0.0]], -1.0, seed=0), "scale must be"),
        (lambda: add_noise([[1.0, np.nan]], 1.0, seed=0), "finite; row 0"),
        (lambda: add_noise([1.0, 0.0], 1.0, seed=0), r"shape \(N, K\)"),
        (lambda: random_soft_labels([0], 3, seed=0, concentration=0.0), "concentration must be"),
        (lambda: random_soft_labels([0], 1, seed=0), "num_classes"),
        (lambda: project_to_simplex([[1.0]]), "at least two classes"),
        (lambda: project_to_simplex(3.0), "at least two classes"),
        (lambda: project_to_simplex([["a", "b"]]), "real numbers"),
        (lambda: project_to_simplex([1.0, np.inf]), "finite; row 0"),
        (lambda: project_to_simplex([[0.0, 0.0], [1.0, np.nan]]), "finite; row 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
