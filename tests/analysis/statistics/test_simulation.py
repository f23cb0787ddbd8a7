"""Closed forms within Monte Carlo error, and coverage of the intervals, on Gaussian logits."""

import math

import numpy as np
import pytest

from biasvar.analysis import auc_interval, decompose, interval_from, mean_interval, rank_correlation


def gaussian_terms(mean, sd):
    """Bias against class 0 and variance for logits (z, 0), z normal: the mean prediction is softmax of the mean logits.

    m_1 - m_2 = E z, so ybar = sigmoid(mean) exactly; variance = E log(1 + e^z) - log(1 + e^mean), by Gauss-Hermite.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    softplus = np.sum(np.logaddexp(0, mean + sd * nodes) * weights) / weights.sum()
    return np.logaddexp(0, -mean), softplus - np.logaddexp(0, mean)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 2.0), (4.0, 1.5)])
def test_two_classes_with_gaussian_logits(mean, sd):
    z = mean + sd * np.random.default_rng(0).normal(size=(200, 3000))
    result = decompose(np.stack([z, np.zeros_like(z)], axis=-1), np.zeros(3000, int), errors=False).corrected()
    bias, variance = gaussian_terms(mean, sd)
    for ours, truth in ((result.bias, bias), (result.variance, variance)):
        error = ours.std(ddof=1) / math.sqrt(3000)
        assert abs(ours.mean() - truth) < 4 * error + 0.005 * variance  # the correction is exact to 1 / R


@pytest.mark.parametrize(("replicas", "least"), [(8, 0.83), (16, 0.86)])
def test_intervals_of_total_variance_cover_nearly_as_often_as_they_say(replicas, least):
    """With t quantiles on R - 1 degrees of freedom; the 84-90 % the design measured is with normal quantiles."""
    rng = np.random.default_rng(replicas)
    truth = gaussian_terms(1.0, 1.0)[1]
    hits = 0
    for _ in range(400):
        # Rows share part of each replica's deviation, as one training does.
        z = 1.0 + math.sqrt(0.5) * (rng.normal(size=(replicas, 1)) + rng.normal(size=(replicas, 12)))
        total = decompose(np.stack([z, np.zeros_like(z)], -1), np.zeros(12, int)).corrected().totals().variance
        interval = interval_from(total.value, total.stderr_replicas, replicas - 1, replicas)
        hits += interval.low <= truth <= interval.high
    assert least <= hits / 400 <= 0.985


def covers(make, truth, runs=400):
    hits = sum(i.low <= truth <= i.high for i in map(make, range(runs)))
    return hits / runs


def test_coverage_of_the_mean():
    assert 0.92 <= covers(lambda s: mean_interval(np.random.default_rng(s).normal(2.0, 3.0, size=6)), 2.0) <= 0.98


def test_coverage_of_the_rank_correlation():
    rho = 0.6

    def make(seed):
        x, y = np.random.default_rng(seed).normal(size=(2, 25))
        return rank_correlation(x, rho * x + math.sqrt(1 - rho**2) * y)

    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's correlation of a bivariate normal
    assert 0.92 <= covers(make, truth) <= 0.985


def test_coverage_of_the_area_under_the_curve():
    def make(seed):
        rng = np.random.default_rng(seed)
        target = np.arange(90) < 40
        return auc_interval(rng.normal(size=90) + target, target)

    truth = 0.5 * (1 + math.erf(1 / math.sqrt(2) / math.sqrt(2)))  # Phi(1 / sqrt 2)
    assert 0.91 <= covers(make, truth) <= 0.98
