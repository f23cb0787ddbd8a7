"""The debiased calibration error: closed forms, loops, coverage by simulation, what is refused."""

import math

import numpy as np
import pytest
from scipy.stats import foldnorm, t

from biasvar.analysis import calibration_error, calibration_interval, reliability_table
from biasvar.analysis.statistics.proportions import clopper_pearson


def test_one_bin_is_the_mean_gap():
    """All confidences alike: accuracy less confidence, with the error of a share, and Kumar's p (1 - p) / (n - 1)."""
    correct = np.arange(100) < 70
    found = calibration_interval(np.full(100, 0.9), correct)
    error = math.sqrt(0.7 * 0.3 / 99)
    lean = foldnorm.mean(0.2 / error, scale=error) - 0.2
    assert found.estimate == pytest.approx(0.2 - lean, abs=1e-12)
    assert found.stderr == pytest.approx(error)
    assert found.high == pytest.approx(0.2 + t.ppf(0.975, 99) * error)
    shrunk = 0.2 - 1.5 * error
    most = foldnorm.mean(shrunk / error, scale=error) - shrunk
    assert found.low == pytest.approx(0.2 - most - t.ppf(0.975, 99) * error)
    squared = calibration_interval(np.full(100, 0.9), correct, norm=2)
    assert squared.estimate == pytest.approx(math.sqrt(0.2**2 - 0.7 * 0.3 / 99))
    variance = (2 * 0.2) ** 2 * error**2 + 2 * error**4
    assert squared.high == pytest.approx(math.sqrt(squared.estimate**2 + t.ppf(0.975, 99) * math.sqrt(variance)))


def test_the_squared_error_is_without_lean_and_the_absolute_one_has_less():
    rng = np.random.default_rng(0)
    squares, plain, less = [], [], []
    for _ in range(400):
        confidence = rng.choice([0.55, 0.7, 0.85, 0.95], 200)
        correct = rng.random(200) < confidence - 0.06
        # Where the estimate under the root is cut at 0 it is 0: the mean of squares then leans upwards a little.
        squares.append(calibration_interval(confidence, correct, norm=2).estimate ** 2)
        plain.append(calibration_error(confidence, correct) - 0.06)
        less.append(calibration_interval(confidence, correct).estimate - 0.06)
    assert np.mean(squares) == pytest.approx(0.06**2, rel=0.25)
    assert np.mean(plain) > 0.01
    assert abs(np.mean(less)) < 0.5 * np.mean(plain)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.08])
def test_intervals_cover(shift):
    rng, repeats = np.random.default_rng(1), 200
    covered = np.zeros(2)
    for _ in range(repeats):
        confidence = 1 - rng.random(400) ** 2 * 0.6
        correct = rng.random(400) < confidence - shift
        for norm in (1, 2):
            found = calibration_interval(confidence, correct, norm=norm)
            covered[norm - 1] += found.low <= shift <= found.high
    assert (covered / repeats >= 0.91).all()  # 3 standard errors of 200 trials at .95 are .046


def test_clusters_are_covered_and_rows_are_not():
    rng, repeats = np.random.default_rng(2), 150
    covered = {(norm, with_clusters): 0.0 for norm in (1, 2) for with_clusters in (True, False)}
    clusters = np.repeat(np.arange(100), 10)
    for _ in range(repeats):
        confidence = np.repeat(1 - rng.random(100) ** 2 * 0.6, 10)
        luck = np.where(rng.random(1000) < 0.7, np.repeat(rng.random(100), 10), rng.random(1000))
        correct = luck < confidence - 0.08
        for norm, with_clusters in covered:
            found = calibration_interval(confidence, correct, norm=norm, clusters=clusters if with_clusters else None)
            covered[norm, with_clusters] += (found.low <= 0.08 <= found.high) / repeats
            assert found.n == (100 if with_clusters else 1000)
    assert min(covered[1, True], covered[2, True]) >= 0.9
    assert max(covered[1, False], covered[2, False]) <= 0.9


def test_rows_that_are_clusters_of_one_change_nothing():
    rng = np.random.default_rng(3)
    confidence, correct = rng.random(300), rng.random(300) < 0.6
    names = rng.permutation(300)
    for norm in (1, 2):
        one, two = (calibration_interval(confidence, correct, norm=norm, clusters=c) for c in (None, names))
        for name in ("estimate", "low", "high", "stderr", "n"):
            assert getattr(two, name) == pytest.approx(getattr(one, name))
    tables = [reliability_table(confidence, correct, clusters=c).to_numpy() for c in (None, names)]
    np.testing.assert_allclose(*tables)


def test_tables_of_clusters_have_wider_intervals():
    clusters = np.repeat(np.arange(40), 5)
    correct = clusters % 4 > 0
    table = reliability_table(np.full(200, 0.8), correct, clusters=clusters)
    low, high = clopper_pearson(30, 40, 0.05)  # five copies of each of 40
    assert table["accuracy_low"][0] == pytest.approx(low, abs=0.03)
    assert table["accuracy_high"][0] == pytest.approx(high, abs=0.03)


def test_what_is_refused():
    for options, message in (
        ({"norm": 3}, "norm must be 1 .* got 3"),
        ({"bins": 0}, "bins must be"),
        ({"binning": "area"}, "binning must be one of"),
        ({"level": 1.0}, "level must lie"),
        ({"clusters": [1]}, r"one name a row, shape \(2,\)"),
        ({"clusters": [1, None]}, "row 1 has none"),
    ):
        with pytest.raises(ValueError, match=message):
            calibration_interval([0.9, 0.6], [True, False], **options)
    with pytest.raises(ValueError, match="correct must be true or false"):
        calibration_interval([0.9, 0.6], [3, 1])
    single = calibration_interval([0.9], [True])
    assert math.isnan(single.low)
    assert single.n == 1
