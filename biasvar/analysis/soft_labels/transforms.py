"""Ways to make a soft label: smoothing a label, a teacher at a temperature, the votes of people, scores projected.

Those drawn at random (partial labels, noise, teachers that know nothing) are in `biasvar.analysis.soft_labels.random`.
"""

from __future__ import annotations

from typing import Any, Literal

import array_api_compat

from biasvar.analysis.arrays import Array, log_softmax, named, namespace
from biasvar.analysis.inputs import as_array, as_labels, as_logits, as_rows, positive
from biasvar.analysis.scale import check_scale, log_probabilities
from biasvar.arguments import checked


@checked
def smooth_labels(labels: Any, num_classes: int, smoothing: float) -> Array:
    """Label smoothing: (1 - smoothing) one-hot + smoothing / K, float64 `(N, K)` (Szegedy et al. 2016).

    Args:
        labels: `(N,)` class numbers.
        num_classes: K, at least 2.
        smoothing: mass spread evenly over all K classes, the true one included, 0 .. 1.

    Raises:
        ValueError: for labels, num_classes or smoothing out of range.

    >>> smooth_labels([1], 4, 0.2).round(2).tolist()
    [[0.05, 0.85, 0.05, 0.05]]
    """
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"smoothing must lie between 0 and 1, got {smoothing}")
    if not 2 <= num_classes <= 10**9:
        raise ValueError(f"num_classes must be at least 2 and at most 10^9, got {num_classes}")
    labels = as_array(labels, "labels")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {tuple(labels.shape)}")
    labels = as_labels(labels, labels, tuple(labels.shape), num_classes)
    xp = namespace(labels)
    classes = xp.arange(num_classes, device=array_api_compat.device(labels))
    one_hot = xp.astype(classes == labels[:, None], xp.float64)
    return (1.0 - smoothing) * one_hot + smoothing / num_classes


@checked
def tempered(logits: Any, temperature: float, *, values: Literal["logits", "probabilities"] | None = None) -> Array:
    """softmax(logits / temperature), float64 `(..., K)`: a teacher's soft label (Hinton et al. 2015).

    `values` as for `decompose`; of probabilities the logits are their logarithms, and one of 0 stays 0.

    Raises:
        ValueError: for logits that hold no real numbers or fewer than two classes, or that look like probabilities or
            votes, and for a temperature that is not positive.

    >>> tempered([[2.0, 0.0]], 2.0).round(4).tolist()
    [[0.7311, 0.2689]]
    """
    temperature = positive(temperature, "temperature")
    logits = as_rows(logits, "logits")
    check_scale(logits, "logits", values)
    xp = namespace(logits)
    if values == "probabilities":
        logits = log_probabilities(logits, "logits")
    logits = xp.astype(logits, xp.float64) / temperature
    bad = ~xp.isfinite(xp.max(logits, axis=-1))
    if bool(xp.any(bad)):
        raise ValueError(f"the largest of a row's logits must be finite; row {named(bad)} has NaN, +inf or only -inf")
    return xp.exp(log_softmax(logits))


@checked
def from_votes(counts: Any, *, concentration: float = 0.0) -> Array:
    """Shares of votes, (votes + concentration / K) / (all votes + concentration), float64 `(N, K)`.

    With concentration c this is the posterior mean under a symmetric Dirichlet prior worth c votes in all.

    Args:
        counts: `(N, K)` votes for each class, 0 or more; whole numbers or weights.
        concentration: c, 0 or more.

    Raises:
        ValueError: for negative or missing counts, and for rows without a vote if concentration is 0 (naming them).

    >>> from_votes([[3, 1, 0, 0]], concentration=4.0).tolist()
    [[0.5, 0.25, 0.125, 0.125]]
    """
    if not 0.0 <= concentration < float("inf"):
        raise ValueError(f"concentration must be a finite number from 0 up, got {concentration}")
    counts = as_logits(counts, "counts", "(N, K)")
    xp = namespace(counts)
    counts = xp.astype(counts, xp.float64)
    bad = ~xp.all((counts >= 0) & xp.isfinite(counts), axis=-1)
    if bool(xp.any(bad)):
        raise ValueError(f"counts must be finite and not negative; row {named(bad)} breaks this")
    total = xp.sum(counts, axis=-1, keepdims=True) + concentration
    empty = total[:, 0] == 0
    if bool(xp.any(empty)):
        raise ValueError(f"row {named(empty)} has no votes; leave it out or give a concentration above 0")
    return (counts + concentration / counts.shape[1]) / total


def project_to_simplex(scores: Any) -> Array:
    """The distribution nearest to each row of scores in Euclidean distance, float64 `(..., K)`.

    max(scores - t, 0) with the t for which it sums to 1. With the entries sorted downwards, u_1 >= u_2 >= ..., t = (u_1
    + ... + u_r - 1) / r for the last r at which u_r is above that value (Held, Wolfe and Crowder 1974); all rows at
    once by one sort and one running sum. A distribution is its own projection; entries far below the largest become 0,
    so that cross-entropy against the result stays bounded where raw scores, some of them negative, leave it unbounded.

    Args:
        scores: `(..., K)` finite numbers, K at least 2.

    Raises:
        ValueError: for scores that hold no real numbers, fewer than two classes, or values that are not finite.

    >>> project_to_simplex([[1.0, 0.5, -3.0]]).tolist()
    [[0.75, 0.25, 0.0]]
    """
    scores = as_rows(scores, "scores")
    xp = namespace(scores)
    scores = xp.astype(scores, xp.float64)
    bad = ~xp.all(xp.isfinite(scores), axis=-1)
    if bool(xp.any(bad)):
        raise ValueError(f"scores must be finite; row {named(bad[None] if scores.ndim == 1 else bad)} is not")
    # Relative to the largest entry, which is always kept, nothing of size is lost when scores are far from 0.
    scores = scores - xp.max(scores, axis=-1, keepdims=True)
    ordered = xp.sort(scores, axis=-1, descending=True)
    count = xp.arange(1, scores.shape[-1] + 1, dtype=xp.float64, device=array_api_compat.device(scores))
    level = (xp.cumulative_sum(ordered, axis=-1) - 1.0) / count
    kept = xp.sum(xp.astype(ordered > level, xp.int64), axis=-1, keepdims=True)
    return xp.clip(scores - xp.take_along_axis(level, kept - 1, axis=-1), min=0.0)
