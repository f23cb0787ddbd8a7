"""Label revision: what is no distribution was revised without a word."""

import numpy as np
import pytest

from biasvar.analysis.soft_labels.revision import revise_labels


def test_only_distributions_are_revised():
    logits = np.array([[2.0, -1.0, 0.5], [0.1, 3.0, -2.0]])
    for soft, message in (
        (logits, "cannot be negative; row 0, 1"),
        (np.abs(logits), "must sum to 1 within 0.001; row 0, 1"),
        ([[0.5, np.nan, 0.5]] * 2, "must be finite; row 0, 1"),
    ):
        with pytest.raises(ValueError, match=message):
            revise_labels(soft, [0, 1])
    with pytest.raises(ValueError, match="margin must be a number"):
        revise_labels([[0.5, 0.5]], [0], margin=True)


def test_zeros_stay_and_sums_are_divided_out():
    np.testing.assert_array_equal(revise_labels([[0.0, 1.0]], [1]), [[0.0, 1.0]])
    exact = np.array([[0.2, 0.7, 0.1]])
    np.testing.assert_allclose(revise_labels(exact * 1.0005, [0]), revise_labels(exact, [0]), rtol=1e-14)
