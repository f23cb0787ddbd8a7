"""The estimators of Yang et al. 2020, from networks trained on disjoint splits, written out as their code has them."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from biasvar.analysis import Accumulator, decompose
from tests.analysis import reference


def mse_estimator(logits, labels, batch=4):
    """(risk, bias squared, variance), means over the test set: train.py's log after its last network.

    Per test row x and networks j = 1 .. T with softmax outputs f_j: sums of f_j and of |f_j|^2 over networks, batch by
    batch; variance = (sum |f_j|^2 / T - |sum f_j / T|^2) T / (T - 1), and bias squared is the mean loss less it.
    """
    outputs = softmax(np.asarray(logits, float), axis=-1)
    count, rows, classes = outputs.shape
    total, total_square = np.zeros((rows, classes)), np.zeros(rows)
    risk = variance = 0.0
    for j, output in enumerate(outputs, 1):
        variance = 0.0
        for start in range(0, rows, batch):
            cut = slice(start, start + batch)
            target = np.eye(classes)[labels[cut]]
            risk += ((output[cut] - target) ** 2).sum() / rows
            total[cut] += output[cut]
            total_square[cut] += np.linalg.norm(output[cut], axis=1) ** 2
            variance += total_square[cut].sum() / j - np.linalg.norm(total[cut] / j) ** 2
    variance = variance / rows * count / (count - 1.0)
    return risk / count, risk / count - variance, variance


def ce_estimator(logits, labels):
    """(risk, bias, variance), means over the test set: evaluate_bv_ce.py, without any correction for few networks.

    ybar is proportional to exp(mean of the log-softmax); bias = mean of -log ybar at the label, variance = mean over
    networks of KL(ybar || softmax outputs).
    """
    logs = log_softmax(np.asarray(logits, float), axis=-1)
    ybar = np.exp(logs.mean(axis=0))
    ybar /= ybar.sum(axis=1, keepdims=True)
    at_label = np.arange(len(labels)), labels
    divergence = [(ybar * (np.log(ybar) - log)).sum(axis=1).mean() for log in logs]
    return -logs.mean(axis=0)[at_label].mean(), -np.log(ybar[at_label]).mean(), np.mean(divergence)


def streamed(logits, labels, loss, convert):
    accumulator = Accumulator(logits.shape[1], logits.shape[2], loss=loss)
    for replica in reversed(range(len(logits))):
        for ids in np.array_split(np.arange(logits.shape[1]), 3):
            accumulator.update(convert(logits[replica, ids]), ids, replica=replica)
    return accumulator.result(convert(labels))


WAYS = {
    "whole": lambda logits, labels, loss, convert: decompose(convert(logits), convert(labels), loss=loss),
    "streamed": streamed,
}


@pytest.mark.parametrize("networks", [2, 5, 20])
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_per_sample_terms_average_to_the_authors_estimates(networks, way, convert):
    logits, labels, _ = reference.arrays(networks, replicas=networks, rows=30, classes=10, spread=3.0)
    squared = WAYS[way](logits, labels, "squared_error", convert).corrected()
    entropy = WAYS[way](logits, labels, "cross_entropy", convert)
    for terms, expected in ((squared, mse_estimator(logits, labels)), (entropy, ce_estimator(logits, labels))):
        ours = [terms.noise + terms.bias + terms.variance, terms.bias, terms.variance]
        np.testing.assert_allclose([float(term.mean()) for term in ours], expected, rtol=1e-11)
        totals = terms.totals()
        found = [term.value for term in (totals.loss, totals.bias, totals.variance)]
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_networks_that_end_in_a_softmax_are_given_as_probabilities():
    logits, labels, _ = reference.arrays(3, replicas=5, rows=30, classes=10)
    outputs = softmax(logits, axis=-1).astype(np.float32)
    terms = decompose(outputs, labels, loss="squared_error", values="probabilities").corrected().totals()
    found = [term.value for term in (terms.loss, terms.bias, terms.variance)]
    np.testing.assert_allclose(found, mse_estimator(np.log(outputs), labels), rtol=1e-6)


def test_of_several_partitions_each_is_corrected_by_itself():
    """Networks that are the means of their rows, of 2 classes; the truth is the variance over fresh sets of rows."""
    rng = np.random.default_rng(0)
    draws, splits, rows, partitions = 4000, 4, 5, 3
    pool = 0.5 + 0.1 * rng.normal(size=(draws, splits * rows))
    parts = np.stack([rng.permuted(pool, axis=1).reshape(draws, splits, rows).mean(2) for _ in range(partitions)])
    outputs = np.stack([parts, 1.0 - parts], axis=-1).transpose(0, 2, 1, 3)  # partitions, splits, draws, classes
    truth = 2 * 0.1**2 / rows

    def variance(f):
        found = decompose(f, np.zeros(draws, int), loss="squared_error", errors=False, values="probabilities")
        return found.corrected().variance

    each = np.mean([variance(part) for part in outputs], axis=0)
    pooled = variance(outputs.reshape(partitions * splits, draws, 2))
    assert abs(each.mean() - truth) < 3 * each.std(ddof=1) / draws**0.5
    assert pooled.mean() < truth - 10 * pooled.std(ddof=1) / draws**0.5
