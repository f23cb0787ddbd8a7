"""What data guarantee: the counterexample in which the overall indicators hide a class, and formulas by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from biasvar.analysis import ambiguity, average_error, learnability, measure_indicators, unreliability


def hidden_class(n: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """One-hot soft labels of 3 classes: class 0 in 20 % of rows, of which 60 % are shown as class 1."""
    labels = np.array([0, 1, 1, 2, 2] * (n // 5))
    shown = labels.copy()
    first = np.flatnonzero(labels == 0)
    shown[first[: round(0.6 * len(first))]] = 1
    return np.eye(3)[shown], labels


def missing(counts: list[int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot soft labels of n samples a class, of which the next class is shown in `counts[c]`."""
    labels = np.repeat(np.arange(len(counts)), n)
    place = np.tile(np.arange(n), len(counts))
    shown = np.where(place < np.array(counts)[labels], (labels + 1) % len(counts), labels)
    return np.eye(len(counts))[shown], labels


def test_a_class_that_the_average_hides_takes_the_guarantee_away():
    soft, labels = hidden_class()
    found = measure_indicators(soft, labels, ks=[1])
    assert found.best()["sum_high"] < 0.8  # the overall condition looks safe
    sure = found.guarantee()
    assert not sure.stands
    assert (sure.failing, sure.undecided) == ((0,), ())
    bounds = sure.bounds(error=0.1, hypotheses=1e6)
    assert (bounds.samples, bounds.transfer, bounds.kappa) == (math.inf, math.inf, 0)
    # Whoever misses fewest sets calls class 0 class 1, at any n: error .20, within what the average allows.
    misses = {
        rule: np.mean(soft[np.arange(len(labels)), np.array(rule)[labels]] == 0) for rule in ((0, 1, 2), (1, 1, 2))
    }
    assert misses[1, 1, 2] < misses[0, 1, 2]
    assert np.mean(np.array([1, 1, 2])[labels] != labels) == 0.2 <= sure.average_error.estimate
    assert sure.average_error.estimate == pytest.approx(0.12 / 0.4)
    assert sure.average_error.high < 0.4
    # Indicators given to learnability are taken by class.
    by_class = learnability(unreliability(soft, labels, k=1), ambiguity(soft, labels, k=1), error=0.1, hypotheses=1e6)
    assert not by_class.holds
    assert by_class.failing == (0,)
    assert by_class.samples == math.inf
    assert by_class.average_error == pytest.approx(0.3)
    assert learnability(0.12, unreliability(soft, labels, k=1).per_class.max()).holds  # numbers bound every input


def test_numbers_of_a_guarantee_that_stands_are_the_formulas():
    n, counts = 400, [20, 4, 10]
    soft, labels = missing(counts, n)
    sure = measure_indicators(soft, labels, ks=[1]).guarantee()
    # Nine shares hold together: in each class that of misses and those of two wrong labels.
    high = [binomtest(count, n).proportion_ci(1 - 0.05 / 9).high for count in counts]
    sums = [2 * value for value in high]
    gap, a = 1 - max(sums), max(high)
    kappa = (math.sqrt(a + gap) - math.sqrt(a)) ** 2
    assert sure.stands
    assert sure.sums[2] == pytest.approx(sums)
    bounds = sure.bounds(error=0.1, risk=0.05, hypotheses=1000)
    assert bounds.kappa == pytest.approx(kappa)
    assert bounds.transfer == pytest.approx(1 / gap)
    assert bounds.samples == pytest.approx((math.log(1000) + math.log(20)) / (kappa * 0.1))
    theta = math.log(2 / (2 - kappa)) * 0.1
    natarajan = 4 / theta * (7 * (math.log(28) + 2 * math.log(3) + math.log(1 / theta)) + math.log(20) + 1)
    assert sure.bounds(error=0.1, risk=0.05, dimension=7).samples == pytest.approx(natarajan)
    assert sure.bounds(estimates=True).sum == pytest.approx(0.1)
    assert sure.average_error.estimate == pytest.approx((34 / 1200) / 0.95)


def test_a_class_too_small_to_tell_is_undecided_and_named():
    soft, labels = missing([0, 0, 0], 400)
    keep = (labels != 2) | (np.arange(len(labels)) >= 1195)
    sure = measure_indicators(soft[keep], labels[keep], ks=[1]).guarantee()
    assert not sure.stands
    assert (sure.failing, sure.undecided) == ((), (2,))
    assert sure.bounds(error=0.1, hypotheses=10).samples == math.inf


def test_the_rule_that_guarantees_most_is_taken_and_its_ends_allow_for_the_choice():
    soft, labels = missing([20, 4, 10], 400)
    soft = 0.9 * soft + 0.1 * np.roll(soft, 1, axis=1)
    one = measure_indicators(soft, labels, ks=[1]).guarantee()
    two = measure_indicators(soft, labels, ks=[1, 2]).guarantee()
    assert two.k == 1
    assert two.sums[2].max() > one.sums[2].max()
    assert two.sums[2] == pytest.approx(measure_indicators(soft, labels, ks=[1]).guarantee(level=0.975).sums[2])


def test_what_learnability_takes():
    soft, labels = hidden_class(500)
    marginal = ambiguity(soft, labels, k=1, version="marginal")
    with pytest.raises(ValueError, match="not the marginal one"):
        learnability(unreliability(soft, labels, k=1), marginal)
    assert learnability(unreliability(soft, labels, k=1), 0.3).failing == ()
    assert learnability([0.1, 0.6, 0.7], [0.0, 0.6, 0.4]).failing == (1, 2)
    with pytest.raises(ValueError, match="delta must lie between 0 and 1"):
        average_error(1.2, 0.1)
    with pytest.raises(ValueError, match="gamma must lie between 0 and 1"):
        average_error(0.2, math.nan)
    assert average_error(0.5, 1.0) == average_error(0.9, 0.5) == 1.0
