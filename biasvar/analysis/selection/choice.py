"""The rows that a score chooses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, check_real
from biasvar.arguments import checked
from biasvar.messages import did_you_mean, first_few
from biasvar.seeding import uniforms

WHICH = ("highest", "lowest")


def kept_rows(rows: int, keep: float) -> int:
    """How many of so many rows a share keeps: the nearest whole number, upwards from a half."""
    return int(np.floor(keep * rows + 0.5))


@checked
def select_rows(
    scores: Any,
    labels: Any,
    *,
    keep: float,
    which: Literal["highest", "lowest"] = "highest",
    per_class: bool = False,
    sample_ids: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """bool (N,): the rows with the highest, or the lowest, scores.

    Rows of equal scores are taken in an order drawn from (seed, sample_id).

    Args:
        scores: (N,) numbers.
        labels: int (N,).
        keep: The share that is chosen, in (0, 1].
        which: End of the scores that is chosen.
        per_class: That share of every class, not of all rows.
        sample_ids: int (N,), default 0 to N - 1.
        seed: Of the order of equal scores.

    Raises:
        ValueError: A setting out of range; scores that are not finite (naming rows); a choice that keeps nothing, or
            rows of one class only.

    >>> select_rows([0.1, 0.9, 0.5, 0.7], [0, 0, 1, 1], keep=0.5).tolist()
    [False, True, False, True]
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep must be a share in (0, 1], not {keep:g}")
    if which not in WHICH:
        raise ValueError(f"which must be one of {', '.join(WHICH)}, not {which!r}{did_you_mean(which, WHICH)}")
    given = to_numpy(as_array(scores, "scores"))
    check_real(given, "scores")
    values, truth = given.astype(np.float64), to_numpy(as_array(labels, "labels"))
    if values.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"scores and labels must have one shape (N,), got {values.shape} and {truth.shape}")
    ids = np.arange(len(values)) if sample_ids is None else to_numpy(as_array(sample_ids, "sample_ids"))
    if ids.shape != values.shape:
        raise ValueError(f"sample_ids must have the shape of the scores, {values.shape}, not {ids.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"scores must be finite; those of samples {first_few(ids[~np.isfinite(values)])} are not")
    order = np.lexsort([uniforms(seed, "selection ties", ids, 1)[:, 0], -values if which == "highest" else values])
    chosen = np.zeros(len(values), dtype=bool)
    for part in [truth == label for label in np.unique(truth)] if per_class else [np.ones(len(values), dtype=bool)]:
        own = order[part[order]]
        chosen[own[: kept_rows(len(own), keep)]] = True
    if not chosen.any():
        raise ValueError(f"keep {keep:g} of {len(values)} rows keeps nothing; take a larger share")
    kept = np.unique(truth[chosen])
    if len(kept) < 2:
        raise ValueError(
            f"keep {keep:g} of {len(values)} rows keeps {int(chosen.sum())} of class {kept[0]} only; take a larger "
            "share, or per_class: true"
        )
    return chosen
