"""Numbers of a clean evaluation pass: metrics, and the mean log-probabilities that are decomposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biasvar.analysis.statistics.chance import chance_limit
from biasvar.records.stored_means import exact_log_probs
from biasvar.records.summary import calibration_error


@dataclass(frozen=True)
class CleanPass:
    """Logits and log-probabilities of R replicas on n samples.

    The recorder computes log-probabilities of its own from the same logits: it takes them at a temperature too, and to
    full relative precision near 1, so that its columns differ from these in the last bit.

    Attributes:
        logits: float64 (R, n, C); 0 throughout for a replica that has one that is not finite.
        log_probs: float64 (R, n, C), their log-softmax.
        finite: bool (R,), whether all logits of a replica were finite.
    """

    logits: np.ndarray
    log_probs: np.ndarray
    finite: np.ndarray

    @staticmethod
    def of(logits: np.ndarray, known: np.ndarray | None = None) -> CleanPass:
        """From float64 logits (R, n, C); where `known` (R,) is False a replica counts as not finite anyway."""
        finite = np.isfinite(logits).all((1, 2))
        finite = finite if known is None else finite & known
        logits = np.where(finite[:, None, None], logits, 0.0)
        return CleanPass(logits, exact_log_probs(logits), finite)

    @property
    def narrow(self) -> bool:
        """True if float32 holds every logit, as it does those of networks that compute in it."""
        with np.errstate(over="ignore"):
            return np.array_equal(self.logits.astype(np.float32), self.logits)


@dataclass(frozen=True)
class RowScores:
    """What metrics are computed from, (R, n) each: right answers, confidences, and log-probabilities of the labels."""

    right: np.ndarray
    confidence: np.ndarray
    truth: np.ndarray

    @staticmethod
    def of(said: CleanPass, labels: np.ndarray) -> RowScores:
        """Of n samples with their labels (n,)."""
        right = said.logits.argmax(-1) == labels
        truth = np.take_along_axis(said.log_probs, np.broadcast_to(labels, right.shape)[..., None], -1)[..., 0]
        return RowScores(right, np.exp(said.log_probs.max(-1)), truth)

    @staticmethod
    def joined(parts: Sequence[RowScores]) -> RowScores:
        """Of the samples of all parts."""
        if len(parts) == 1:
            return parts[0]
        names = ("right", "confidence", "truth")
        return RowScores(*(np.concatenate([getattr(part, name) for part in parts], axis=1) for name in names))

    def metrics(self, finite: np.ndarray) -> dict[str, np.ndarray]:
        """ "accuracy", "nll" (nats) and "ece", each (R,); NaN for a replica that is not finite."""
        numbers = {
            "accuracy": self.right.mean(1),
            "nll": -self.truth.mean(1),
            "ece": np.array([calibration_error(c, r) for c, r in zip(self.confidence, self.right, strict=True)]),
        }
        return {name: np.where(finite, values, np.nan) for name, values in numbers.items()}


def evaluation_metrics(said: CleanPass, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, mean cross-entropy (nats) and expected calibration error of each replica.

    A replica whose logits are not finite gets NaN.

    Args:
        said: Of n samples.
        labels: int (n,).

    Returns:
        "accuracy", "nll" and "ece", each (R,).
    """
    return RowScores.of(said, labels).metrics(said.finite)


def group_means(said: CleanPass, use: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (G, n) and mean log-probabilities (G, n, C) of R replicas by group.

    Args:
        said: Of n samples.
        use: bool (R, n), which samples of a replica count; those of a replica that is not finite never do.
        group: int (R,), the group of each replica.
        groups: G.
    """
    use = use & said.finite[:, None]
    counts = np.zeros((groups, use.shape[1]), dtype=np.int64)
    sums = np.zeros((groups, *said.log_probs.shape[1:]))
    for r, g in enumerate(group):
        counts[g] += use[r]
        sums[g] += np.where(use[r][:, None], said.log_probs[r], 0.0)
    return counts, sums / np.maximum(counts, 1)[..., None]


def group_logits(said: CleanPass, use: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (R, n) and float32 logits (R, n, C) of R replicas that are each a group of their own, as `group_means`."""
    use = use & said.finite[:, None]
    counts, logits = np.zeros(use.shape, dtype=np.int64), np.zeros(said.logits.shape, dtype=np.float32)
    counts[group], logits[group] = use, np.where(use[..., None], said.logits, 0.0)
    return counts, logits


def failures(accuracy: np.ndarray, finite: np.ndarray, n: int, num_classes: int) -> list[str]:
    """Why each replica failed: "not finite", "at chance", or "" if it did not.

    At chance: the accuracy on n samples is not above `chance_limit`.
    """
    reasons = np.where(accuracy <= chance_limit(n, num_classes), "at chance", "")
    return [str(reason) for reason in np.where(finite, reasons, "not finite")]
