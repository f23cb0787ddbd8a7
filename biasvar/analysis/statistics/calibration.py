"""Calibration of soft labels: confidence against accuracy in bins, and entropy sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.batches import checked_batch
from biasvar.analysis.clusters import as_clusters, spread_of
from biasvar.analysis.inputs import as_soft_labels
from biasvar.analysis.statistics.checks import as_real, refuse_rows
from biasvar.analysis.statistics.intervals import check_level
from biasvar.analysis.statistics.proportions import clopper_pearson, share_interval
from biasvar.arguments import checked

if TYPE_CHECKING:
    import pandas as pd

BINNINGS = ("width", "mass")
_ROUNDING = 1e-9  # a softmax may exceed 1 by the rounding of its sum


def entropy(distributions: Any) -> np.ndarray:
    """-sum_k q_k ln q_k over the last axis of distributions (..., K), in nats, 0 .. ln K; 0 ln 0 is 0.

    Raises:
        ValueError: for what is no distribution: naming the row (of all leading axes in one) and the rule.

    >>> entropy([[0.5, 0.5], [0.0, 1.0]]).round(4).tolist()
    [0.6931, 0.0]
    """
    from scipy.special import entr

    values = as_real(distributions, "distributions", bools=False)
    if not values.ndim or values.shape[-1] < 2:
        raise ValueError(f"distributions must have shape (..., K) with at least two classes, got {values.shape}")
    rows = values.reshape(-1, values.shape[-1])
    rows = as_soft_labels(rows, "distributions") if len(rows) else rows
    return np.asarray(entr(rows).sum(axis=-1).reshape(values.shape[:-1]))


@checked
def calibration_error(confidence: Any, correct: Any, *, bins: int = 15, binning: str = "width") -> float:
    """Expected calibration error: sum over bins of (n_b / n) |accuracy_b - mean confidence_b|.

    ``confidence`` (n,) in [0, 1] is the probability of the predicted class, ``correct`` (n,) whether it was right. With
    ``binning="width"`` bins are equally wide and closed on the right; with "mass" they hold equally many samples, equal
    confidences together. Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3 (equal
    width). It leans upwards, by chance alone: `calibration_interval` takes that off and has an interval.

    Raises:
        ValueError: as `reliability_table`.

    >>> round(calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False]), 3)
    0.1
    """
    confidence, right = checked_confidences(confidence, correct)
    place = binned(confidence, bins, binning)
    return float(np.abs(np.bincount(place, weights=right - confidence, minlength=bins)).sum() / len(confidence))


@checked
def reliability_table(
    confidence: Any,
    correct: Any,
    *,
    bins: int = 15,
    binning: str = "width",
    level: float = 0.95,
    clusters: Any = None,
) -> pd.DataFrame:
    """The reliability diagram as a table, one row for every bin that is not empty.

    Columns: bin, low and high (its edges; of equal-mass bins the least and greatest confidence in it), n, confidence
    (mean), accuracy, accuracy_low, accuracy_high (Clopper-Pearson, each bin by itself). ``calibration_error`` of the
    same bins is the mean of |accuracy - confidence| weighted by n.

    Args:
        confidence: `(n,)` in [0, 1]. correct: `(n,)` bool, or 0 and 1.
        bins, binning: as for `calibration_error`.
        clusters: `(n,)` whole numbers or texts, what rows share: intervals are then those of
            `biasvar.analysis.statistics.proportions.clustered_ends`.

    Raises:
        ValueError: for no samples, confidences outside [0, 1] or NaN, correctness other than 0 and 1, shapes that
            disagree, bins, binning or level out of range.

    >>> reliability_table([0.9, 0.9, 0.6, 0.6], [True, True, True, False], bins=5)[["n", "accuracy"]].values.tolist()
    [[2.0, 0.5], [2.0, 1.0]]
    """
    import pandas as pd

    check_level(level)
    confidence, right = checked_confidences(confidence, correct)
    place = binned(confidence, bins, binning)
    n, got = np.bincount(place, minlength=bins), right
    there = np.flatnonzero(n)
    right = np.bincount(place, weights=right, minlength=bins)[there]
    sums = np.bincount(place, weights=confidence, minlength=bins)[there]
    n = n[there]
    if binning == "width":
        low, high = there / bins, (there + 1) / bins
    else:
        low, high = (np.array([pick(confidence[place == b]) for b in there]) for pick in (np.min, np.max))
    if clusters is None:
        ends = clopper_pearson(right, n, 1.0 - level)
    else:
        numbers = as_clusters(clusters, len(confidence))[0]
        found = []
        for b in there:
            rows = place == b
            spread = spread_of(numbers[rows], got[rows])
            found.append(share_interval(int(got[rows].sum()), int(rows.sum()), spread, level))
        ends = np.array([one.low for one in found]), np.array([one.high for one in found])
    columns = {"bin": there, "low": low, "high": high, "n": n, "confidence": sums / n, "accuracy": right / n}
    return pd.DataFrame(columns | {"accuracy_low": ends[0], "accuracy_high": ends[1]})


@dataclass(frozen=True, eq=False)
class LabelQuality:
    """Soft labels sample by sample, `(n,)` each.

    Attributes:
        prediction: the class of the largest entry (the first of several).
        confidence: that entry.
        correct: whether it is the truth.
        true_mass: mass on the truth.
        entropy: -sum q ln q, in nats, 0 .. ln K.
        distance: total variation distance to the truth, 1 - true_mass.

    >>> found = label_quality([[0.7, 0.3], [0.6, 0.4]], [0, 1])
    >>> found.accuracy, found.true_mass.tolist(), found.distance.round(2).tolist()
    (0.5, [0.7, 0.4], [0.3, 0.6])
    """

    prediction: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    true_mass: np.ndarray
    entropy: np.ndarray
    distance: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float(self.correct.mean())


@checked
def label_quality(
    soft_labels: Any, labels: Any, *, where: Any = None, normalize: bool = False, first_row: int = 0
) -> LabelQuality:
    """Prediction, confidence, entropy and mass on the truth of every soft label; what calibration is computed from.

    Args:
        soft_labels: `(n, K)` distributions, or rows to `normalize`; in batches, with `first_row` counted on for
            messages.
        labels: `(n,)` true classes.
        where: bool `(n,)`, the rows that count (True); the result has those only.

    Raises:
        ValueError: as `biasvar.unreliability`.

    >>> label_quality([[0.5, 0.5], [0.0, 1.0]], [0, 1]).entropy.round(4).tolist()
    [0.6931, 0.0]
    """
    batch = checked_batch(soft_labels, labels, where=where, normalize=normalize, first_row=first_row)
    rows = np.arange(len(batch.labels))
    prediction = batch.values.argmax(axis=1)
    mass = batch.mass[rows, batch.labels].astype(np.float64)
    return LabelQuality(
        prediction=prediction,
        confidence=batch.mass[rows, prediction].astype(np.float64),
        correct=prediction == batch.labels,
        true_mass=mass,
        entropy=entropy(batch.mass),
        distance=1.0 - mass,
    )


def checked_confidences(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and 0 or 1 for each, float64 `(n,)`, checked."""
    values, right = as_real(confidence, "confidence", bools=False), as_real(correct, "correct")
    if values.ndim != 1 or not len(values) or right.shape != values.shape:
        raise ValueError(
            f"confidence and correct must both be (n,) with at least one row, got {values.shape} and {right.shape}"
        )
    outside = ~((values >= 0.0) & (values <= 1.0 + _ROUNDING))
    refuse_rows(outside, "confidence", "must lie in 0 .. 1 (the probability of the predicted class)", values)
    neither = (right != 0.0) & (right != 1.0)
    refuse_rows(neither, "correct", "must be true or false, 1 or 0 (of class numbers, give prediction == label)", right)
    return values, right


def binned(confidence: np.ndarray, bins: int, binning: str) -> np.ndarray:
    """The bin of every confidence, `(n,)`."""
    if binning not in BINNINGS:
        raise ValueError(f"binning must be one of {', '.join(BINNINGS)}, got {binning!r}")
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or not 1 <= bins <= 10**9:
        raise ValueError(f"bins must be a whole number from 1 to 10^9, got {bins!r}")
    if binning == "width":
        return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    below = np.searchsorted(np.sort(confidence), confidence, side="left")
    return below * bins // len(confidence)
