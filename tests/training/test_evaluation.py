"""The clean evaluation pass: each number from one log-softmax, equal to the bit to what its formula gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from biasvar.analysis.statistics.calibration import calibration_error
from biasvar.records.stored_means import exact_log_probs
from biasvar.study import resolve_study
from biasvar.training import evaluation
from biasvar.training.evaluation import CleanPass, evaluation_metrics, failures, group_means
from biasvar.training.execute import run_study

R, N, C = 4, 60, 5


@pytest.fixture
def logits():
    """Of four replicas, the third of which diverged."""
    values = 5 * np.random.default_rng(0).standard_normal((R, N, C))
    values[2, 7, 1] = np.nan
    return values


def test_metrics_are_their_formulas(logits):
    labels = np.random.default_rng(1).integers(0, C, N)
    numbers = evaluation_metrics(CleanPass.of(logits), labels)
    for r in (0, 1, 3):
        log_probs = log_softmax(logits[r], axis=-1)
        right = logits[r].argmax(-1) == labels
        assert numbers["accuracy"][r] == right.mean()
        assert numbers["nll"][r] == -log_probs[np.arange(N), labels].mean()
        assert numbers["ece"][r] == calibration_error(np.exp(log_probs.max(-1)), right)
    assert all(np.isnan(values[2]) for values in numbers.values())


def test_group_means_leave_out_what_is_not_used_and_replicas_that_diverged(logits):
    use = np.random.default_rng(2).random((R, N)) < 0.5
    counts, means = group_means(CleanPass.of(logits), use, np.array([0, 1, 1, 1]), 2)
    log_probs = log_softmax(logits, axis=-1)
    np.testing.assert_array_equal(counts, [use[0], use[1].astype(int) + use[3]])
    expected = np.where(use[..., None], log_probs, 0.0)
    np.testing.assert_array_equal(means[0], expected[0])
    np.testing.assert_array_equal(means[1], (expected[1] + expected[3]) / np.maximum(counts[1], 1)[:, None])


def test_a_pass_takes_one_log_softmax(tiny_study, tmp_path, monkeypatch):
    """Of validation and test rows at epochs 1 and 2 and of training rows at the last: metrics and predictions."""
    shapes = []

    def counting(logits):
        shapes.append(logits.shape)
        return exact_log_probs(logits)

    monkeypatch.setattr(evaluation, "exact_log_probs", counting)
    tiny_study["schedule"]["epochs"] = 2
    tiny_study["teachers"], tiny_study["arms"] = {}, {"ce": {"loss": "cross_entropy"}}
    tiny_study["predictions"] = {"epochs": "all"}
    run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu")
    assert shapes == [(4, 200, 10), (4, 300, 10), (4, 200, 10), (4, 300, 10), (4, 1297, 10)]


def test_failures_name_the_reason():
    accuracy = np.array([0.1, 0.9, np.nan])
    assert failures(accuracy, np.array([True, True, False]), 300, 10) == ["at chance", "", "not finite"]
