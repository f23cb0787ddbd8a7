"""Numbers of a clean evaluation pass: the metrics that curves are drawn from, and what the decomposition needs."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from biasvar.records.summary import calibration_error


def evaluation_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, mean cross-entropy (nats) and expected calibration error of each replica.

    A replica whose logits are not finite gets NaN.

    Args:
        logits: float64 (R, n, C).
        labels: int (n,).

    Returns:
        "accuracy", "nll" and "ece", each (R,).
    """
    finite = np.isfinite(logits).all((1, 2))
    logits = np.where(finite[:, None, None], logits, 0.0)
    log_probs = log_softmax(logits, axis=-1)
    right = logits.argmax(-1) == labels
    confidence = np.exp(log_probs.max(-1))
    numbers = {
        "accuracy": right.mean(1),
        "nll": -np.take_along_axis(log_probs, np.broadcast_to(labels, right.shape)[..., None], -1)[..., 0].mean(1),
        "ece": np.array([calibration_error(c, r) for c, r in zip(confidence, right, strict=True)]),
    }
    return {name: np.where(finite, values, np.nan) for name, values in numbers.items()}


def group_means(logits: np.ndarray, use: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (G, n) and mean log-probabilities (G, n, C) of R replicas' logits, over those that `use` (R, n) selects.

    `group` (R,) says which of the G groups a replica belongs to.
    """
    log_probs = log_softmax(np.where(use[..., None], logits, 0.0), axis=-1)
    counts = np.zeros((groups, logits.shape[1]), dtype=np.int64)
    sums = np.zeros((groups, *logits.shape[1:]))
    for r, g in enumerate(group):
        counts[g] += use[r]
        sums[g] += np.where(use[r][:, None], log_probs[r], 0.0)
    return counts, sums / np.maximum(counts, 1)[..., None]


def failures(accuracy: np.ndarray, finite: np.ndarray, n: int, num_classes: int) -> list[str]:
    """What is wrong with each replica: "" if nothing, else "not finite" or "at chance".

    At chance: the accuracy on n samples lies less than 3 binomial standard errors above 1/C.
    """
    chance = 1 / num_classes
    limit = chance + 3 * np.sqrt(chance * (1 - chance) / n)
    reasons = np.where(accuracy <= limit, "at chance", "")
    return [str(reason) for reason in np.where(finite, reasons, "not finite")]
