"""Calibration: what is no confidence, no correctness and no distribution is refused; values against loops."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.analysis import calibration_error, label_quality, reliability_table
from biasvar.analysis.statistics.calibration import entropy

BOTH = pytest.mark.parametrize("measure", [calibration_error, reliability_table])


@BOTH
@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.9, 0.8], [2, 5], r"correct must be true or false.* row 0, 1 does not \(the first is 2\)"),
        ([0.9, 0.8], [0.5, 1], "correct must be true or false.* row 0"),
        ([0.9, 0.8], [math.nan, 1], "correct must be true or false.* row 0"),
        ([0.9, 0.8], ["yes", "no"], "correct must hold real numbers"),
        ([0.9, 1.2], [1, 0], r"confidence must lie in 0 .. 1.*row 1 does not \(the first is 1.2\)"),
        ([-0.1, 0.2], [1, 0], "confidence must lie in 0 .. 1.*row 0"),
        ([0.9, math.nan], [1, 0], "confidence must lie in 0 .. 1.*row 1"),
        ([True, False], [1, 0], "confidence must hold real numbers, got dtype bool"),
        (["0.9", "0.8"], [1, 0], "confidence must hold real numbers"),
        ([0.9, 0.8], [1], r"must both be \(n,\)"),
        ([[0.9, 0.8]], [[1, 0]], r"must both be \(n,\)"),
        ([], [], r"must both be \(n,\)"),
        (0.9, 1, r"must both be \(n,\)"),
    ],
)
def test_confidences_and_correctness_are_checked(measure, confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        measure(confidence, correct)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": True}, "bins must be"),
        ({"bins": 0}, "bins must be"),
        ({"bins": "15"}, "bins must be"),
        ({"binning": "area"}, "binning must be one of width, mass, got 'area'"),
        ({"binning": ["width"]}, "binning must be text"),
    ],
)
def test_bins_are_checked(measure, options, message):
    with pytest.raises(ValueError, match=message):
        measure([0.9, 0.6], [True, False], **options)


def test_every_container_gives_the_same_error():
    confidence, correct = [0.9, 0.6, 0.6], [True, True, False]
    expected = (abs(1 - 0.9) + abs(1 - 1.2)) / 3
    for made in (
        (confidence, correct),
        (np.array(confidence), np.array(correct, dtype=np.int8)),
        (torch.tensor(confidence, dtype=torch.float64, requires_grad=True), torch.tensor(correct)),
        (pd.Series(confidence), pd.Series(correct)),
        (np.array(confidence), np.array(correct, dtype=np.float32)),
    ):
        assert calibration_error(*made) == pytest.approx(expected)
        assert reliability_table(*made)["n"].tolist() == [2, 1]
    assert calibration_error(torch.tensor([0.5, 0.75], dtype=torch.bfloat16), [1, 1]) == 0.375


def test_a_single_bin_compares_the_means():
    assert calibration_error([1.0, 0.5], [True, False], bins=1) == pytest.approx(0.25)
    assert reliability_table([1.0, 0.5], [True, False], bins=1)["n"].tolist() == [2]


def test_bins_are_closed_on_the_right_and_equal_confidences_stay_together():
    table = reliability_table([0.2, 0.20001, 0.0, 1.0], [0, 1, 1, 1], bins=5)
    assert table[["bin", "n"]].to_numpy().tolist() == [[0, 2], [1, 1], [4, 1]]
    table = reliability_table([0.3, 0.3, 0.3, 0.9], [0, 1, 1, 1], bins=4, binning="mass")
    assert table[["bin", "n"]].to_numpy().tolist() == [[0, 3], [3, 1]]


def test_entropy_asks_for_distributions_of_any_shape():
    assert entropy([0.5, 0.5]) == pytest.approx(math.log(2))
    stack = np.tile([[0.25, 0.75], [1.0, 0.0]], (3, 1, 1))
    assert entropy(stack).shape == (3, 2)
    assert entropy(stack)[2, 1] == 0  # 0 ln 0
    assert entropy(torch.tensor(stack)).tolist() == entropy(stack).tolist()
    assert entropy(stack[:0]).shape == (0, 2)
    for values, message in (
        ([[0.5, 0.5], [0.5, 0.4]], "distributions must sum to 1 .*row 1"),
        ([[1.5, -0.5]], "cannot be negative; row 0"),
        ([[math.nan, 1.0]], "must be finite; row 0"),
        ([[1.0]], "at least two classes"),
        (0.5, "at least two classes"),
        ([["a", "b"]], "real numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            entropy(values)


def test_quality_of_soft_labels_with_zeros():
    quality = label_quality([[0.0, 1.0], [0.5, 0.5]], [0, 1])
    assert quality.entropy.tolist() == pytest.approx([0.0, math.log(2)])
    assert quality.true_mass.tolist() == [0.0, 0.5]
    assert quality.correct.tolist() == [False, False]
