"""Slow, plain re-statements that the fast code is held against: one row, one replica subset, one class at a time."""

import math

import numpy as np
from hypothesis import settings

# Derandomised: the suite must say the same thing every time it runs.
quick = settings(max_examples=40, deadline=None, derandomize=True)


def log_softmax(z):
    top = max(z)
    total = math.log(math.fsum(math.exp(v - top) for v in z))
    return [v - top - total for v in z]


def row_terms(logits, target, loss="cross_entropy"):
    """(noise, bias, variance) of one row from `(R, C)` logits by definition: KL or squared distances from means."""
    q = np.eye(logits.shape[1])[target] if np.ndim(target) == 0 else np.asarray(target)
    if len(logits) == 0:
        return math.nan, math.nan, math.nan
    logs = [log_softmax(list(map(float, z))) for z in logits]
    classes = range(logits.shape[1])
    if loss == "squared_error":
        p = [[math.exp(v) for v in row] for row in logs]
        mean = [math.fsum(row[k] for row in p) / len(p) for k in classes]
        variance = math.fsum((row[k] - mean[k]) ** 2 for row in p for k in classes) / len(p)
        return 1 - math.fsum(q**2), math.fsum((q[k] - mean[k]) ** 2 for k in classes), variance
    m = [math.fsum(row[k] for row in logs) / len(logs) for k in classes]
    log_average = log_softmax(m)
    kl = [math.fsum(math.exp(log_average[k]) * (log_average[k] - row[k]) for k in classes) for row in logs]
    noise = -math.fsum(v * math.log(v) for v in q if v > 0)
    bias = math.fsum(q[k] * (math.log(q[k]) - log_average[k]) for k in classes if q[k] > 0)
    return noise, bias, math.fsum(kl) / len(kl)


def terms(logits, target, *, loss="cross_entropy", where=None, leave_out=None, groups=16):
    """(N, 3) noise, bias, variance of every row, with jackknife group `leave_out` left out."""
    replicas = np.arange(len(logits))
    out = []
    for i in range(logits.shape[1]):
        keep = np.ones(len(logits), bool) if where is None else where[:, i].copy()
        if leave_out is not None:
            keep &= replicas % min(groups, len(logits)) != leave_out
        out.append(row_terms(logits[keep, i], target[i], loss))
    return np.array(out)


def mean_loss(logits, target, loss="cross_entropy"):
    """Mean over replicas of the loss expected over labels drawn from the target, (N,)."""
    _, rows, classes = logits.shape
    out = []
    for i in range(rows):
        q = np.eye(classes)[target[i]] if np.ndim(target[i]) == 0 else target[i]
        logs = [log_softmax(list(map(float, z))) for z in logits[:, i]]
        if loss == "cross_entropy":
            each = [-math.fsum(q[k] * row[k] for k in range(classes)) for row in logs]
        else:
            eye = np.eye(classes)
            each = [
                math.fsum(q[k] * math.fsum((eye[k] - np.exp(row)) ** 2) for k in range(classes))
                for row in map(np.array, logs)
            ]
        out.append(math.fsum(each) / len(each))
    return np.array(out)


def jackknife(values, deleted, sizes):
    """Busing's delete-m_j standard error, as printed, by pseudo-values."""
    keep = [j for j, m in enumerate(sizes) if m > 0]
    n, g = sum(sizes), len(keep)
    h = {j: n / sizes[j] for j in keep}
    centre = g * values - sum((1 - sizes[j] / n) * deleted[j] for j in keep)
    total = 0.0
    for j in keep:
        pseudo = h[j] * values - (h[j] - 1) * deleted[j]
        total += (pseudo - centre) ** 2 / (h[j] - 1)
    return math.sqrt(total / g)


def arrays(seed, replicas=6, rows=9, classes=4, spread=2.0):
    """Random logits (R, N, C), labels (N,), soft labels (N, C)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(1, rows, classes)) * spread + rng.normal(size=(replicas, rows, classes))
    return logits, rng.integers(0, classes, rows), rng.dirichlet(np.ones(classes), rows)
