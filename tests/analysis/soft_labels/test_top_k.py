"""Soft labels from their largest entries: against a loop, and what cannot be completed is refused by row."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.analysis import from_top_k, unreliability

K = 12


def completed(indices, values, rest):
    """The definition, row by row."""
    rows = []
    for places, mass in zip(indices, values, strict=True):
        entries = {int(c): float(v) for c, v in zip(places, mass, strict=True) if c >= 0}
        total = sum(entries.values())
        share = max(1 - total, 0) / (K - len(entries)) if rest == "uniform" else 0.0
        row = np.array([entries.get(c, share) for c in range(K)])
        rows.append(row / row.sum())
    return np.array(rows)


def store(k=4, n=30, dtype=np.float64):
    soft = np.random.default_rng(0).dirichlet(np.full(K, 0.5), n).astype(dtype)
    indices = np.argsort(-soft, axis=1)[:, :k]
    return soft, indices, np.take_along_axis(soft, indices, axis=1)


@pytest.mark.parametrize("rest", ["uniform", "zero"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_rest_is_spread_as_said(rest, dtype):
    _, indices, values = store(dtype=dtype)
    indices[3, 2:] = -1  # a row with two entries
    values[3, 2:] = math.nan
    ours = from_top_k(indices, values, K, rest=rest)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, completed(indices, values, rest), rtol=1e-12)
    np.testing.assert_allclose(ours.sum(axis=1), 1, rtol=1e-12)


def test_all_entries_give_the_soft_label_itself():
    soft, indices, values = store(k=K)
    for rest in ("uniform", "zero"):
        np.testing.assert_allclose(from_top_k(indices, values, K, rest=rest), soft, rtol=1e-12)
    over = from_top_k([[0, 1]], [[0.5, 0.5008]], K, rest="uniform")  # rounding of float16
    np.testing.assert_allclose(over[0, :2], np.array([0.5, 0.5008]) / 1.0008)
    assert (over[0, 2:] == 0).all()


def test_containers():
    _, indices, values = store()
    expected = from_top_k(indices, values, K, rest="zero")
    made = from_top_k(torch.tensor(indices), torch.tensor(values, requires_grad=True), K, rest="zero")
    assert isinstance(made, torch.Tensor)
    np.testing.assert_array_equal(made.numpy(), expected)
    for kind in (pd.DataFrame, np.ndarray.tolist):
        np.testing.assert_array_equal(from_top_k(kind(indices), kind(values), K, rest="zero"), expected)
    labels = indices[:, 0]
    assert unreliability(expected, labels, k=1).value == 0


@pytest.mark.parametrize(
    ("indices", "values", "options", "message"),
    [
        ([[0, 12]], [[0.5, 0.5]], {}, r"indices must lie in 0 .. 11 \(-1: no entry\); row 0"),
        ([[0, 1], [0, -2]], [[0.5, 0.5]] * 2, {}, "indices must lie in .*row 1"),
        ([[0, 1], [4, 4]], [[0.5, 0.5]] * 2, {}, "indices of a row must be different classes; row 1 has a class twice"),
        ([[0, 1]], [[-0.1, -2.3]], {}, r"cannot be negative; row 0 .*of logarithms give np.exp\(values\)"),
        ([[0, 1]], [[0.5, math.nan]], {}, "values must be finite; row 0"),
        ([[0, 1]], [[0.5, 0.502]], {}, "sum to 1 at most, within 0.001; row 0"),
        ([[0, 1]], [[12, 3]], {}, "sum to 1 at most"),
        ([[0, 1]], [[0.0, 0.0]], {}, "every row needs a value above 0; row 0"),
        ([[-1, -1]], [[0.5, 0.5]], {}, "every row needs a value above 0; row 0"),
        ([[0.0, 1.0]], [[0.5, 0.5]], {}, "indices must be integers"),
        ([[0, 1]], [[True, False]], {}, "values must hold real numbers"),
        ([[0, 1]], [[0.5]], {}, r"must both have shape \(N, k\)"),
        ([0, 1], [0.5, 0.5], {}, r"must both have shape \(N, k\)"),
        (np.zeros((0, 2), int), np.zeros((0, 2)), {}, "at least one row"),
        ([[0, 1]], [[0.5, 0.5]], {"rest": "tail"}, "rest must be one of uniform, zero, got 'tail'"),
        ([[0, 1]], [[0.5, 0.5]], {"rest": None}, "rest must be text, not None"),
        ([[0, 1]], [[0.5, 0.5]], {"num_classes": 1}, "num_classes must be at least 2"),
        ([[0, 1]], [[0.5, 0.2]], {"num_classes": 2, "rest": "uniform"}, "needs a class that is not listed; row 0"),
        ([[0, 13]], [[0.5, 0.5]], {"first_row": 70}, "row 70 does not"),
    ],
)
def test_what_cannot_be_completed_is_refused(indices, values, options, message):
    with pytest.raises(ValueError, match=message):
        from_top_k(indices, values, **({"num_classes": K, "rest": "zero"} | options))
