"""Intervals, correlations and areas against SciPy, scikit-learn, the bootstrap and hand calculation."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from biasvar.analysis import (
    auc_interval,
    interval_from,
    jackknife_interval,
    mean_interval,
    paired_mean_difference,
    rank_correlation,
    replicas_needed,
    roc_auc,
)
from tests.analysis.reference import jackknife, quick


def test_means_and_paired_differences_are_those_of_t_tests():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12))
    ours = paired_mean_difference(a, torch.tensor(b), level=0.9)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high))
    assert ours.n == 12
    assert ours.level == 0.9
    ours = mean_interval(a)
    expected = scipy.stats.ttest_1samp(a, 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high))
    assert ours.stderr == pytest.approx(scipy.stats.sem(a))


def test_too_little_data_gives_nan_and_never_a_silent_average():
    one = mean_interval([2.0])
    assert one.estimate == 2.0
    assert math.isnan(one.low)
    assert math.isnan(one.stderr)
    assert math.isnan(mean_interval([1.0, math.nan, 2.0]).estimate)
    assert math.isnan(interval_from(0.0, 1.0, math.nan, 3).low)
    for call in (
        lambda: mean_interval([]),
        lambda: mean_interval([[1.0]]),
        lambda: paired_mean_difference([1.0], [1.0, 2.0]),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
    with pytest.raises(ValueError, match="level must lie"):
        mean_interval([1.0, 2.0], level=95)


@quick
@given(st.integers(0, 10_000), st.booleans())
def test_rank_correlation_is_scipys(seed, tied):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 14))
    y = y + x
    if tied:
        x, y = np.round(x), np.round(y)
    ours = rank_correlation(x, y)
    expected = scipy.stats.spearmanr(x, y).statistic
    assert ours.estimate == pytest.approx(expected)
    half = 1.959964 * math.sqrt((1 + expected**2 / 2) / 11)
    if abs(expected) < 0.99:
        assert ours.low == pytest.approx(math.tanh(math.atanh(expected) - half), abs=1e-6)
        assert ours.high == pytest.approx(math.tanh(math.atanh(expected) + half), abs=1e-6)
    assert ours.n == 14


def test_clusters_are_averaged_first():
    x = [1.0, 3.0, 5.0, 5.0, 1.0, 0.0, 9.0]
    y = [2.0, 4.0, 1.0, 3.0, 9.0, 5.0, 6.0]
    teachers = list("aabbcde")
    ours = rank_correlation(x, y, clusters=teachers)
    assert ours == rank_correlation([2.0, 5.0, 1.0, 0.0, 9.0], [3.0, 2.0, 9.0, 5.0, 6.0])
    assert ours.n == 5
    with pytest.raises(ValueError, match="one label for each of the 7"):
        rank_correlation(x, y, clusters=[1, 2])


def test_rank_correlations_at_the_edge():
    perfect = rank_correlation(range(8), range(8))
    assert perfect.estimate == pytest.approx(1.0)
    assert 0.5 < perfect.low < perfect.estimate <= perfect.high
    assert perfect.stderr > 0
    reverse = rank_correlation(range(8), range(8, 0, -1))
    assert reverse.high == pytest.approx(-perfect.low)
    assert math.isnan(rank_correlation([1, 2, 3], [1, 2, 3]).estimate)
    assert math.isnan(rank_correlation([1, 2, 3, 4], [1, 1, 1, 1]).estimate)
    with pytest.raises(ValueError, match="y holds NaN at 1 of 4"):
        rank_correlation([1, 2, 3, 4], [1, 2, math.nan, 4])


@quick
@given(st.integers(0, 10_000), st.booleans())
def test_the_area_is_scikit_learns(seed, tied):
    rng = np.random.default_rng(seed)
    target = np.arange(30) < rng.integers(1, 30)
    score = rng.normal(size=30) + target
    score = np.round(score) if tied else score
    assert roc_auc(score, target) == pytest.approx(roc_auc_score(target, score))
    assert auc_interval(torch.tensor(score), torch.tensor(target)).estimate == pytest.approx(
        roc_auc_score(target, score)
    )
    assert roc_auc(-score, target) == pytest.approx(1 - roc_auc(score, target))


def test_the_error_of_the_area_is_delongs_components_and_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    target = np.arange(160) < 60
    score = np.round(rng.normal(size=160) + target, 1)
    ours = auc_interval(score, target)
    kernel = np.sign(score[target][:, None] - score[~target][None]) / 2 + 0.5
    variance = kernel.mean(1).var(ddof=1) / 60 + kernel.mean(0).var(ddof=1) / 100
    assert ours.stderr == pytest.approx(math.sqrt(variance))
    values = []
    for _ in range(1000):
        positive, negative = rng.choice(score[target], 60), rng.choice(score[~target], 100)
        values.append(roc_auc(np.concatenate([positive, negative]), target))
    assert ours.stderr == pytest.approx(np.std(values), rel=0.1)
    assert ours.low == pytest.approx(ours.estimate - 1.959964 * ours.stderr)
    assert ours.n == 160


def test_areas_at_the_edge():
    assert math.isnan(roc_auc([1.0, 2.0], [True, True]))
    only = auc_interval([1.0, 2.0], [False, False])
    assert math.isnan(only.estimate)
    assert only.n == 2
    single = auc_interval([0.0, 1.0, 2.0], [False, False, True])
    assert single.estimate == 1.0
    assert math.isnan(single.low)
    assert roc_auc([True, False, True], [True, False, False]) == 0.75
    close = auc_interval([0, 1, 2, 3, 1.5, 4, 5, 6], np.arange(8) > 3)
    assert close.high == 1.0
    for score, target, message in (
        ([0.1, math.nan], [True, False], "score holds NaN"),
        ([0.1, 0.2], [1, 0], "target must be a bool array"),
        ([0.1, 0.2], [True], "target must be a bool array"),
    ):
        with pytest.raises(ValueError, match=message):
            roc_auc(score, target)


def test_jackknife_intervals():
    deleted, sizes = [1.0, 1.4, 0.8, 1.1], [2, 2, 2, 1]
    ours = jackknife_interval(1.05, deleted, sizes)
    assert ours.stderr == pytest.approx(jackknife(1.05, deleted, sizes))
    assert ours.high == pytest.approx(1.05 + scipy.stats.t.ppf(0.975, 3) * ours.stderr)
    assert ours.n == 7
    x = np.random.default_rng(4).normal(size=9)
    mean = jackknife_interval(x.mean(), (x.sum() - x) / 8)
    expected = mean_interval(x)
    assert (mean.low, mean.high, mean.n) == pytest.approx((expected.low, expected.high, expected.n))
    assert math.isnan(jackknife_interval(1.0, [1.0], [4]).low)
    with pytest.raises(ValueError, match="one size for each of the 4"):
        jackknife_interval(1.0, deleted, [1])


def exact_power(n, size, level):
    critical = scipy.stats.t.ppf(0.5 + level / 2, n - 1)
    with np.errstate(divide="ignore"):  # SciPy 1.13 divides by zero on its way
        return scipy.stats.nct.sf(critical, n - 1, size * math.sqrt(n))


@pytest.mark.parametrize(
    ("effect", "power", "level"), [(1.0, 0.8, 0.95), (-0.3, 0.8, 0.95), (0.5, 0.9, 0.99), (3.0, 0.5, 0.9)]
)
def test_replicas_needed_is_the_smallest_number_with_the_power(effect, power, level):
    pilot = np.random.default_rng(5).normal(size=10)
    n = replicas_needed(pilot, effect, power=power, level=level)
    size = abs(effect) / pilot.std(ddof=1)
    assert exact_power(n, size, level) >= power
    assert n == 2 or exact_power(n - 1, size, level) < power


def test_replicas_needed_keeps_its_promise_in_simulation():
    pilot = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])  # sd 1
    n = replicas_needed(pilot, 0.8)
    draws = np.random.default_rng(6).normal(0.8, 1.0, size=(4000, n))
    t = draws.mean(1) / draws.std(1, ddof=1) * math.sqrt(n)
    found = (t > scipy.stats.t.ppf(0.975, n - 1)).mean()
    assert 0.78 < found < 0.86


def test_replicas_needed_at_the_edge():
    assert replicas_needed([1.0, 1.0, 1.0], 0.5) == 2
    for pilot, effect, options, message in (
        ([1.0], 1.0, {}, "at least 2 paired"),
        ([1.0, math.nan], 1.0, {}, "pilot holds NaN"),
        ([1.0, 2.0], 0.0, {}, "effect must be"),
        ([1.0, 2.0], math.nan, {}, "effect must be"),
        ([1.0, 2.0], 1.0, {"power": 1.0}, "power must lie"),
        ([1.0, 2.0], 1.0, {"level": 0.0}, "level must lie"),
    ):
        with pytest.raises(ValueError, match=message):
            replicas_needed(pilot, effect, **options)


def test_four_observations_are_enough_for_a_rank_correlation():
    four = rank_correlation([1, 2, 3, 4], [1, 3, 2, 4])
    assert four.estimate == pytest.approx(0.8)
    assert four.low < 0.8 < four.high
    assert math.isnan(rank_correlation([1, 2, 3], [1, 3, 2]).estimate)


def test_a_group_without_replicas_takes_no_degree_of_freedom():
    assert jackknife_interval(1.5, [1.0, 2.0, 7.0], [1, 1, 0]) == jackknife_interval(1.5, [1.0, 2.0])
