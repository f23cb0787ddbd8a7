"""Soft labels against their formulas and torch."""

import math

import numpy as np
import pytest
import torch

from biasvar.analysis import from_votes, smooth_labels, tempered


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothing_is_that_of_the_cross_entropy_of_torch(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = torch.tensor(rng.normal(size=(6, 4))), torch.tensor(rng.integers(0, 4, 6))
    soft = smooth_labels(labels, 4, smoothing)
    assert soft.dtype == torch.float64
    ours = -(soft * torch.log_softmax(logits, dim=1)).sum(1)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    np.testing.assert_allclose(ours, expected)
    np.testing.assert_array_equal(smooth_labels(labels.tolist(), 4, smoothing), soft)


def test_tempered_is_the_softmax_of_scaled_logits():
    logits = np.random.default_rng(1).normal(size=(2, 3, 4)) * 5
    np.testing.assert_allclose(tempered(logits, 4.0), torch.softmax(torch.tensor(logits) / 4, -1))
    np.testing.assert_allclose(tempered(torch.tensor(logits), 1.0).sum(-1), 1.0)
    np.testing.assert_array_equal(tempered([[1e4, -1e4]], 0.5), [[1.0, 0.0]])


def test_votes_become_shares_and_a_prior_pulls_them_together():
    counts = np.array([[3, 1, 0], [0, 0, 2]])
    np.testing.assert_allclose(from_votes(counts), [[0.75, 0.25, 0], [0, 0, 1]])
    np.testing.assert_allclose(
        from_votes(torch.tensor(counts), concentration=6.0), [[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]
    )
    np.testing.assert_allclose(from_votes([[0, 0, 0]], concentration=1.0), 1 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smooth_labels([0], 2, 1.5), "smoothing must lie"),
        (lambda: smooth_labels([0], 1, 0.1), "num_classes must be at least 2"),
        (lambda: smooth_labels([[0]], 2, 0.1), r"labels must have shape \(N,\)"),
        (lambda: smooth_labels([0, 2], 2, 0.1), "row 1"),
        (lambda: tempered([1.0, 2.0], 0.0), "temperature must be"),
        (lambda: tempered([[1.0]], 1.0), "at least two classes"),
        (lambda: tempered([[True, False]], 1.0), "real numbers"),
        (lambda: from_votes([1, 2]), r"counts must have shape \(N, K\)"),
        (lambda: from_votes([[1, -1]]), "row 0 breaks this"),
        (lambda: from_votes([[1.0, math.nan]]), "row 0 breaks this"),
        (lambda: from_votes([[1, 1], [0, 0]]), "row 1 has no votes"),
        (lambda: from_votes([[1, 1]], concentration=-1.0), "concentration must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
