"""Losses of ensembles, taken one row at a time, and the diversity that is a variance only for the matching combiner."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from biasvar.analysis import decompose, ensemble_diversity
from tests.analysis import reference
from tests.analysis.decomposition.test_bregman import POWER, divergence

LOSSES = ("cross_entropy", "squared_error", "zero_one", POWER)


def loss_of(p, label, loss):
    if loss == "cross_entropy":
        return -np.log(p[label])
    if loss == "zero_one":
        return float(np.argmax(p) != label)
    return ((p - np.eye(4)[label]) ** 2).sum() if loss == "squared_error" else divergence(POWER, np.eye(4)[label], p)


def mean_probability(p, label, loss):
    return loss_of(p.mean(0), label, loss)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_the_ensemble_of_the_mean_probability_by_definition(loss, masked, convert):
    logits, labels, _ = reference.arrays(1, replicas=7, rows=30)
    where = np.random.default_rng(0).random((7, 30)) < 0.5 if masked else np.ones((7, 30), bool)
    where[:, 3] = not masked
    found = ensemble_diversity(
        convert(logits), convert(labels), loss=loss, combiner="mean_probability", where=where, groups=16
    )
    p = np.exp(log_softmax(logits, axis=-1))
    for i in range(30):
        of_row = p[where[:, i], i]
        if not len(of_row):
            assert np.isnan(float(found.ensemble[i]))
            assert np.isnan(float(found.diversity[i]))
            continue
        members = np.mean([loss_of(each, labels[i], loss) for each in of_row])
        ensemble = mean_probability(of_row, labels[i], loss)
        assert float(found.members[i]) == pytest.approx(members, abs=1e-12)
        assert float(found.ensemble[i]) == pytest.approx(ensemble, abs=1e-12)
        assert float(found.diversity[i]) == pytest.approx(members - ensemble, abs=1e-12)
        present = np.flatnonzero(where[:, i])
        if len(present) < 3:
            assert np.isnan(float(found.diversity_stderr[i]))
            continue
        left = [p[np.setdiff1d(present, [r]), i] for r in present]
        deleted = [
            np.mean([loss_of(each, labels[i], loss) for each in rest]) - mean_probability(rest, labels[i], loss)
            for rest in left
        ]
        expected = reference.jackknife(members - ensemble, deleted, [1] * len(present))
        assert float(found.diversity_stderr[i]) == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert type(found.ensemble) is type(convert(logits))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_diversity_of_the_matching_combiner_is_the_variance(loss):
    logits, labels, _ = reference.arrays(2, replicas=6)
    split = decompose(logits, labels, loss=loss)
    found = ensemble_diversity(logits, labels, loss=loss)
    np.testing.assert_allclose(found.diversity, split.net_variance, atol=1e-12)
    np.testing.assert_allclose(found.ensemble, split.bias, atol=1e-12)
    totals = split.totals()
    assert found.total_members.value == pytest.approx(totals.loss.value)
    assert found.total_diversity.stderr_replicas == pytest.approx(totals.net_variance.stderr_replicas)
    assert found.total_diversity.n_samples == 9
    assert "6 members on 9 samples" in repr(found)


def test_for_cross_entropy_the_mean_probability_is_another_ensemble():
    logits, labels, q = reference.arrays(3, rows=200)
    geometric = np.exp(log_softmax(log_softmax(logits, axis=-1).mean(0), axis=-1))
    matching = ensemble_diversity(logits, labels)
    np.testing.assert_allclose(matching.ensemble, -np.log(geometric[np.arange(200), labels]), rtol=1e-12)
    arithmetic = ensemble_diversity(logits, labels, combiner="mean_probability")
    assert (arithmetic.diversity >= -1e-15).all()
    assert np.abs(arithmetic.diversity - matching.diversity).max() > 0.1
    soft = ensemble_diversity(logits, q, combiner="mean_probability")
    assert np.abs(soft.diversity - arithmetic.diversity).max() > 0.1  # it depends on the target
    np.testing.assert_allclose(ensemble_diversity(logits, q).diversity, matching.diversity)
    squared = [
        ensemble_diversity(logits, q, loss="squared_error", combiner=c) for c in ("matching", "mean_probability")
    ]
    np.testing.assert_allclose(squared[0].ensemble, squared[1].ensemble, atol=1e-13)


def test_members_that_are_sure_of_something_else():
    logits = np.array([[[0.0, 2000.0, 0.0]], [[0.0, 1000.0, 0.0]]])
    found = ensemble_diversity(logits, [0], combiner="mean_probability")
    assert found.ensemble[0] == pytest.approx(1000 + np.log(2))
    assert found.diversity[0] == pytest.approx(500 - np.log(2))
    with pytest.raises(ValueError, match="combiner must be one of matching, mean_probability, got 'vote'"):
        ensemble_diversity(logits, [0], combiner="vote")
    with pytest.raises(ValueError, match="must be finite"):
        ensemble_diversity(np.where(logits == 0, np.nan, logits), [0], combiner="mean_probability")
