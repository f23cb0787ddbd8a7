"""Intervals of indicators: formulas, and coverage of known truths by simulation with the maximum counted."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from biasvar.analysis import ambiguity, effectiveness, measure_indicators, unreliability
from biasvar.analysis.indicators.bootstrap import bootstrap_intervals
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.indicators.intervals import count_intervals
from biasvar.analysis.statistics.proportions import clopper_pearson, hoeffding_radius

from .test_functions import draw


def test_hoeffding_is_the_formula():
    soft, labels = draw(5, n=400)
    delta = unreliability(soft, labels, k=2, interval="hoeffding", level=0.9)
    radius = math.sqrt(math.log(2 / 0.1) / (2 * 400))
    assert delta.interval.high == pytest.approx(delta.value + radius)
    gamma = ambiguity(soft, labels, k=2, interval="hoeffding")
    sizes = np.bincount(labels)
    ends = gamma.per_class + np.sqrt(np.log(2 * 20 / 0.05) / (2 * sizes))
    assert gamma.interval.high == pytest.approx(min(ends.max(), 1.0))
    marginal = ambiguity(soft, labels, k=2, interval="hoeffding", version="marginal")
    ends = marginal.per_class - np.sqrt(np.log(2 * 5 / 0.05) / (2 * (400 - sizes)))
    assert marginal.interval.low == pytest.approx(ends.max())
    # One-sided, as in the facts: 100 classes of 100 samples leave gamma's bound of little use.
    assert float(hoeffding_radius(100, 0.05, 9900)) == pytest.approx(0.247, abs=5e-4)


def test_exact_ends_are_those_of_scipy():
    low, high = clopper_pearson(np.array([0, 3, 10]), np.array([10, 10, 10]), 0.1)
    for place, count in enumerate((0, 3, 10)):
        expected = binomtest(count, 10).proportion_ci(0.9, method="exact")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high))


def test_the_worst_class_sum_takes_all_shares():
    soft, labels = draw(6, n=200)
    row = effectiveness(soft, labels, ks=[2]).iloc[0]
    counts = measure_indicators(soft, labels, ks=[2]).counts()
    ends = []
    for c in range(5):
        n = int(counts.class_sizes[c])
        missed = binomtest(int(counts.missed[c]), n).proportion_ci(1 - 0.05 / 25).high
        rival = max(
            binomtest(int(counts.members[c, j]), n).proportion_ci(1 - 0.05 / 25).high for j in range(5) if j != c
        )
        ends.append(missed + rival)
    assert row["worst_class_sum_high"] == pytest.approx(max(ends))


def test_the_bootstrap_from_arrays_is_that_of_the_sets():
    soft, labels = draw(7, n=150)
    for ties in ("random", "include", "exclude_zero"):
        options = {"k": 2, "ties": ties, "interval": "bootstrap", "resamples": 200, "seed": 3}
        delta, gamma = unreliability(soft, labels, **options), ambiguity(soft, labels, **options)
        sets = np.argsort(np.argsort(-soft, axis=1), axis=1) < 2
        expected = bootstrap_intervals(sets, labels, resamples=200, seed=3)
        assert delta.interval == expected.delta
        assert gamma.interval == expected.gamma
        assert gamma.value == expected.gamma.estimate
    table = effectiveness(soft, labels, ks=[2], thresholds=[0.3], interval="bootstrap", resamples=200, seed=3)
    assert table["sum_high"][0] == expected.sum.high
    assert table["kappa_low"][0] == expected.kappa.low
    expected = bootstrap_intervals(soft >= 0.3, labels, resamples=200, seed=3)
    assert table["worst_class_sum_low"][1] == expected.worst_class_sum.low
    for resamples in (50, 200.5, True):
        with pytest.raises(ValueError, match="resamples must be"):
            bootstrap_intervals(sets, labels, resamples=resamples)
    with pytest.raises(ValueError, match="level"):
        unreliability(soft, labels, k=1, interval="bootstrap", level=2)


def test_nothing_seen_still_has_a_width():
    sets = np.tile(np.eye(3, dtype=bool), (30, 1))
    found = bootstrap_intervals(sets, np.tile([0, 1, 2], 30), resamples=100)
    assert found.gamma.estimate == found.delta.estimate == 0
    assert found.gamma.low == 0
    assert found.kappa.estimate == 1


def simulated(rng, labels, base, k):
    """Sets of k labels by perturbed scores, and their probabilities by class from many draws."""
    scores = base[labels] + rng.gumbel(size=(len(labels), len(base)))
    return scores >= -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]


@pytest.mark.parametrize(("spread", "k"), [(0.0, 1), (1.0, 2)])
def test_intervals_cover_the_true_maximum(spread, k):
    """All rivals alike is the hard case: the estimate then is the luckiest of 30 and leans upwards most."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(6, 6)) * spread + 2.0 * np.eye(6)
    many = np.repeat(np.arange(6), 40_000)
    sets = simulated(rng, many, base, k)
    rates = np.stack([sets[many == c].mean(axis=0) for c in range(6)])
    wrong = (rates - 2 * np.eye(6)).max(axis=1)
    missed = 1 - np.diagonal(rates)
    truth = {"delta": missed.mean(), "gamma": wrong.max(), "worst_class_sum": (missed + wrong).max()}
    truth["sum"] = truth["delta"] + truth["gamma"]
    labels = np.repeat(np.arange(6), 60)
    covered = {(method, name): 0 for method in ("exact", "hoeffding", "bootstrap") for name in truth}
    repeats, lean = 60, []
    for _ in range(repeats):
        sets = simulated(rng, labels, base, k)
        members = np.stack([sets[labels == c].sum(axis=0) for c in range(6)])
        counts = SetCounts(k, None, members, members, members, np.full(6, 60), 0)
        lean.append(counts.gamma - truth["gamma"])
        found = {method: count_intervals(counts, method, 0.95) for method in ("exact", "hoeffding")}
        found["bootstrap"] = bootstrap_intervals(sets, labels, resamples=200, seed=0)
        for method, name in covered:
            interval = getattr(found[method], name)
            covered[method, name] += interval.low <= truth[name] <= interval.high
    # 3 standard errors of 60 trials at 0.95 are 0.085.
    assert min(covered.values()) / repeats >= 0.86
    assert min(v for (_, name), v in covered.items() if name != "delta") / repeats >= 0.93
    if not spread:
        assert np.mean(lean) > 0.04
