"""Extreme logits against 60-digit arithmetic: what float64 must still get right."""

import mpmath
import numpy as np
import pytest
import torch

from biasvar.analysis import Accumulator, decompose, decompose_groups, tradeoff_terms, wsl_weights
from biasvar.analysis.arrays import log_softmax

mpmath.mp.dps = 60


def exact_log_softmax(z):
    z = [mpmath.mpf(float(v)) for v in z]
    total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z))
    return [v - total for v in z]


def exact_terms(logits, label):
    logs = [exact_log_softmax(z) for z in logits]
    m = [mpmath.fsum(row[k] for row in logs) / len(logs) for k in range(len(logs[0]))]
    variance = -mpmath.log(mpmath.fsum(mpmath.exp(v) for v in m))
    return -m[label] - variance, variance


CASES = {
    "one-hot, agreeing": [[1e4, 0, -1e4], [9e3, 0, -1e4]],
    "one-hot, opposed": [[1e4, -1e4, 0], [-1e4, 1e4, 0]],
    "three opposed": [[1e4, 0, 0], [0, 1e4, 0], [0, 0, 1e4]],
    "uniform": [[0, 0, 0], [5, 5, 5], [-1e4, -1e4, -1e4]],
    "uniform and one-hot": [[0, 0, 0], [1e4, 0, 0]],
    "mild": [[1, 2, 3], [3, 2, 1.5]],
    "confident, nearly equal": [[12, 0, 1], [12.002, 0.001, 1], [11.999, 0, 1.003]],
    "very confident": [[40, 0, 1], [41, 0, 1]],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_extreme_logits(case, label):
    logits = np.array(CASES[case], dtype=float)
    result = decompose(logits[:, None], [label])
    bias, variance = exact_terms(logits, label)
    scale = 1e-15 * max(1.0, float(bias + variance))
    assert abs(result.variance[0] - variance) <= 4 * scale
    # The bias keeps its relative precision even where the truth has all but 1e-17 of the mass.
    assert abs(result.bias[0] - bias) <= 1e-14 * abs(bias) + (4 * scale if bias > 1 else 0)
    assert result.variance[0] >= 0


def test_small_variances_of_confident_replicas():
    rng = np.random.default_rng(0)
    base = np.array([9.0, 0.0, 1.0, -2.0])
    rows = base + rng.normal(size=(8, 50, 4)) * np.geomspace(0.05, 1.5, 50)[:, None]
    result = decompose(rows, np.zeros(50, int))
    exact = np.array([float(exact_terms(rows[:, i], 0)[1]) for i in range(50)])
    assert exact.min() < 1e-6
    np.testing.assert_allclose(result.variance, exact, rtol=1e-11)


def streamed(logits, labels, **options):
    accumulator = Accumulator(logits.shape[1], logits.shape[2], **options)
    for replica in logits:
        accumulator.update(replica)
    return accumulator.result(labels)


def from_groups(logits, labels):
    return decompose_groups(np.ones(logits.shape[:2]), log_softmax(logits), labels)


def of_tensors(logits, labels):
    return decompose(torch.as_tensor(logits), torch.as_tensor(labels))


def with_where(logits, labels):
    return decompose(logits, labels, where=np.ones(logits.shape[:2], bool))


# How far the largest logit lies above the others, for variances of 1e-9 to 2e-18.
GAPS = (20.0, 25.0, 30.0, 35.0, 40.0, 42.0)


def confident_logits(seed=0):
    base = np.array([[gap, 0.0, -1.0, 1.0] for gap in GAPS])
    return base + np.random.default_rng(seed).normal(size=(8, len(GAPS), 4))


def without_errors(logits, labels):
    return decompose(logits, labels, errors=False)


@pytest.mark.parametrize("way", [decompose, without_errors, with_where, of_tensors, streamed, from_groups])
def test_variances_of_confident_rows_keep_their_relative_precision(way):
    logits, labels = confident_logits(), np.zeros(len(GAPS), int)
    result = way(logits, labels)
    exact = np.array([exact_terms(logits[:, i], 0) for i in range(len(GAPS))], dtype=float)
    assert exact[0, 1] > 1e-10
    assert exact[-1, 1] < 1e-17
    np.testing.assert_allclose(np.stack([result.bias, result.variance], axis=1), exact, rtol=1e-13)
    if result.deleted_bias is None:
        return
    for g in range(8):
        left = np.delete(logits, g, axis=0)
        exact = np.array([exact_terms(left[:, i], 0) for i in range(len(GAPS))], dtype=float)
        deleted = np.stack([result.deleted_bias[g], result.deleted_variance[g]], axis=1)
        np.testing.assert_allclose(deleted, exact, rtol=1e-13)


def test_what_confident_replicas_leave_beside_one_that_is_not_keeps_its_precision():
    logits = confident_logits()
    logits[5] = [-600.0, 0.0, 0.0, 0.0]
    left = np.delete(logits, 5, axis=0)
    exact = np.array([exact_terms(left[:, i], 0) for i in range(len(GAPS))], dtype=float)
    result = decompose(logits, np.zeros(len(GAPS), int))
    np.testing.assert_allclose(result.deleted_bias[5], exact[:, 0], rtol=1e-13)
    np.testing.assert_allclose(result.deleted_variance[5], exact[:, 1], rtol=1e-13)


@pytest.mark.parametrize("way", [decompose, streamed])
def test_squared_variances_of_confident_rows(way):
    logits = confident_logits()[:, :2]
    result = way(logits, np.zeros(2, int), loss="squared_error")
    for i in range(2):
        p = [[mpmath.exp(v) for v in exact_log_softmax(z)] for z in logits[:, i]]
        mean = [mpmath.fsum(row[k] for row in p) / 8 for k in range(4)]
        exact = float(mpmath.fsum((row[k] - mean[k]) ** 2 for row in p for k in range(4)) / 8)
        assert exact < 1e-17
        # Deviations of probabilities near 1 are known to 1e-16 each.
        assert abs(result.variance[i] / exact - 1) < 1e-6


def test_float32_logits_are_cast_before_the_softmax():
    rng = np.random.default_rng(1)
    logits = (np.array([14.0, 0.0, 1.0]) + rng.normal(size=(8, 20, 3)) * 0.3).astype(np.float32)
    exact = [float(exact_terms(logits[:, i], 0)[1]) for i in range(20)]
    np.testing.assert_allclose(decompose(logits, np.zeros(20, int)).variance, exact, rtol=1e-4)


@pytest.mark.parametrize("logits", [[1e4, 0, 0], [50, 0, 1], [0, 0, 0], [-1e4, 1e4, 0], [1, 1, -745]])
def test_log_softmax_to_full_relative_precision(logits):
    ours = log_softmax(np.array(logits, float))
    for value, exact in zip(ours, exact_log_softmax(logits), strict=True):
        assert abs(value - exact) <= 1e-15 * abs(exact) + 1e-300


def test_gradients_survive_where_probabilities_round_to_one():
    student, teacher = [60.0, 0.0, 1.0], [55.0, 0.0, 1.0]
    p, q = exact_log_softmax(student), exact_log_softmax(teacher)
    terms = tradeoff_terms([student], [teacher], [0], temperature=1.0)
    a = mpmath.expm1(p[0])
    b = mpmath.expm1(p[0]) - mpmath.expm1(q[0]) - a
    assert abs(terms.bias_gradient[0] - a) <= 1e-14 * abs(a)
    assert abs(terms.variance_gradient[0] - b) <= 1e-14 * abs(b)
    assert abs(terms.bias_norm[0] - mpmath.sqrt(a**2 + sum(mpmath.exp(v) ** 2 for v in p[1:]))) <= 1e-13 * abs(a)
    weight = wsl_weights([student], [teacher], [0], epsilon=0.0)[0]
    assert abs(weight - (1 - mpmath.exp(-p[0] / q[0]))) <= 1e-14
