"""The condition for students trained by cross-entropy, and calibration."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, entropy, ttest_1samp

from biasvar.analysis import (
    add_noise,
    calibration_error,
    effectiveness,
    label_quality,
    measure_indicators,
    partial_labels,
    random_soft_labels,
    reliability_table,
    smooth_labels,
    student_condition,
    unreliability,
)


def test_sets_and_students_ask_different_things():
    """Truth always second with .01, the rest spread: Delta = 0 at k = 2, and a student that learns nothing."""
    labels = np.arange(10_000) % 10
    rng = np.random.default_rng(0)
    soft = np.full((10_000, 10), 0.0)
    soft[np.arange(10_000), (labels + rng.integers(1, 10, 10_000)) % 10] = 0.99
    soft[np.arange(10_000), labels] = 0.01
    found = measure_indicators(soft, labels, ks=[2])
    assert found.unreliability().value == 0
    assert found.table()["sum"][0] < 0.2
    condition = found.student_condition()
    assert condition.per_sample.estimate == 0
    assert condition.per_class == "fails"
    assert (condition.margins < -0.08).all()
    for table in (found.table(), effectiveness(soft, labels, ks=[1, 2], thresholds=[0.5])):
        np.testing.assert_array_equal(table["margin"], condition.margins.min())
        np.testing.assert_array_equal(table["margin_low"], condition.low.min())
        np.testing.assert_array_equal(table["margin_high"], condition.high.min())
    rows = np.arange(500)
    sampled = effectiveness(soft[rows], labels[rows], ks=[2], interval="bootstrap", resamples=100)
    assert sampled["margin"][0] == pytest.approx(student_condition(soft[rows], labels[rows]).margins.min())
    assert "margin" not in measure_indicators(soft, labels, ks=[2], mean_labels=False).table()
    frame = condition.to_frame()
    assert frame["n"].tolist() == [1000] * 10
    np.testing.assert_array_equal(frame["rival"], condition.rivals)


def test_margins_are_t_intervals_of_plain_differences():
    labels = np.arange(90) % 3
    soft = random_soft_labels(np.arange(90), 3, seed=1)
    found = student_condition(soft, labels, level=0.9)
    for c in range(3):
        own = soft[labels == c]
        lead = {j: own[:, c] - own[:, j] for j in range(3) if j != c}
        ends = [ttest_1samp(values, 0).confidence_interval(1 - 0.1 / 6) for values in lead.values()]
        assert found.margins[c] == pytest.approx(min(values.mean() for values in lead.values()))
        assert found.rivals[c] == min(lead, key=lambda j: lead[j].mean())
        assert (found.low[c], found.high[c]) == pytest.approx((min(e.low for e in ends), min(e.high for e in ends)))
    share = (soft.argmax(axis=1) == labels).mean()
    assert found.per_sample.estimate == pytest.approx(share)
    assert found.per_sample.high == pytest.approx(binomtest(round(share * 90), 90).proportion_ci(0.9).high)
    assert found.per_class == "undecided"
    assert math.isnan(found.holds)
    again = student_condition(torch.tensor(soft), torch.tensor(labels), level=0.9)
    np.testing.assert_allclose(again.low, found.low)


def test_noise_drawn_once_or_anew():
    """Noise of scale 1 hides the truth of single labels; the mean of a class, or of a sample over draws, shows it."""
    labels = np.arange(300) % 5
    hard = smooth_labels(labels, 5, 0.0)
    once = student_condition(add_noise(hard, 1.0, seed=0), labels, scores=True)
    assert once.per_sample.estimate < 0.7
    assert once.per_class == "holds"
    draws = np.stack([add_noise(hard, 1.0, seed=0, epoch=e) for e in range(60)])
    anew = student_condition(draws, labels, scores=True)
    assert anew.draws == 60
    assert anew.per_sample.estimate > 0.98
    assert anew.holds > 0.8
    assert anew.fails == 0
    wrong = student_condition(draws, (labels + 1) % 5, scores=True)
    assert wrong.fails > 0.8
    assert wrong.holds == 0
    assert wrong.per_class == "fails"
    assert math.isnan(student_condition(draws[:1], labels, scores=True).holds)


def test_the_mean_of_partial_labels_names_the_truth_while_the_condition_holds():
    labels = np.arange(4000) % 4
    for drop, add, expected in ((0.3, 0.3, "holds"), (0.6, 0.7, "fails")):
        made = partial_labels(labels, 4, drop=drop, add=add, seed=0)
        assert student_condition(made.soft_labels, labels).per_class == expected


def test_ties_for_the_first_place_are_no_lead():
    found = student_condition([[0.5, 0.5], [0.0, 1.0], [0.2, 0.8]], [0, 1, 1])
    assert found.per_sample.estimate == pytest.approx(2 / 3)
    assert np.isnan(found.low[0])  # one sample has no error
    assert found.per_class == "undecided"
    empty = student_condition([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], [1, 1])
    assert np.isnan(empty.margins[[0, 2]]).all()
    for bad in (np.zeros((0, 2, 3)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"shape \(N, K\)"):
            student_condition(bad, [0, 1])


def test_quality_of_labels():
    soft = random_soft_labels(np.arange(50), 6, seed=3)
    labels = np.arange(50) % 6
    found = label_quality(soft, labels)
    np.testing.assert_allclose(found.entropy, entropy(soft, axis=1))
    np.testing.assert_allclose(found.true_mass, soft[np.arange(50), labels])
    np.testing.assert_allclose(found.distance, np.abs(soft - np.eye(6)[labels]).sum(axis=1) / 2)
    np.testing.assert_allclose(found.confidence, soft.max(axis=1))
    assert found.accuracy == pytest.approx(1 - unreliability(soft, labels, k=1).value)
    np.testing.assert_array_equal(label_quality(soft * 3, labels, normalize=True).correct, found.correct)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_reliability_adds_up_to_the_calibration_error(binning):
    rng = np.random.default_rng(4)
    confidence = np.round(rng.random(500), 2)
    correct = rng.random(500) < confidence**2
    table = reliability_table(confidence, correct, bins=10, binning=binning, level=0.9)
    gaps = (table["n"] * (table["accuracy"] - table["confidence"]).abs()).sum() / 500
    assert gaps == pytest.approx(calibration_error(confidence, correct, bins=10, binning=binning))
    assert table["n"].sum() == 500
    assert (table["low"] <= table["confidence"]).all()
    assert (table["confidence"] <= table["high"]).all()
    for row in table.itertuples():
        count = round(row.accuracy * row.n)
        expected = binomtest(count, row.n).proportion_ci(0.9, method="exact")
        assert (row.accuracy_low, row.accuracy_high) == pytest.approx((expected.low, expected.high))
    if binning == "mass":
        assert table["n"].between(40, 60).all()
        assert (table["low"].to_numpy()[1:] > table["high"].to_numpy()[:-1]).all()  # equal confidences stay together
    else:
        assert reliability_table([0.1, 1.0, 0.0], [1, 0, 1], bins=10)["bin"].tolist() == [0, 9]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration_error([0.5], [True], binning="x"), "width, mass"),
        (lambda: calibration_error([0.5], [True], bins=0), "bins must be"),
        (lambda: reliability_table([0.5], [True], bins=True), "bins must be"),
        (lambda: reliability_table([], []), r"must both be \(n,\)"),
        (lambda: reliability_table([0.5], [True, False]), r"must both be \(n,\)"),
        (lambda: reliability_table([1.5], [True]), "0 .. 1"),
        (lambda: reliability_table([0.5], [True], level=1.0), "level"),
        (lambda: label_quality([[0.5, 0.6]], [0], first_row=9), "row 9"),
        (lambda: label_quality([[0.5, 0.5]], [0, 1]), r"labels must have shape \(1,\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
