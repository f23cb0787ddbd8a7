"""Label revision: a soft label mixed with the truth so that the truth always leads."""

from __future__ import annotations

from typing import Any, Literal

import array_api_compat

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.batches import ROUNDING
from biasvar.analysis.inputs import as_array, as_labels, as_logits, as_soft_labels
from biasvar.arguments import checked
from biasvar.messages import did_you_mean

ROWS = ("all", "wrong")


@checked
def revise_labels(
    soft_labels: Any, labels: Any, *, margin: float = 0.2, rows: Literal["all", "wrong"] = "all"
) -> Array:
    """beta p + (1 - beta) one-hot, beta = (1 - margin) / (p_max - p_true + 1), float64 `(N, K)` (Lan et al. 2024).

    Where the soft label's first class is wrong, the truth leads it afterwards by exactly `margin`; where it is right,
    beta = 1 - margin. Ratios between wrong classes stay as they are. The paper writes eta = 1 - margin and takes 0.8
    (formula and value from summaries of the paper). Whether it revises right soft labels too is not known, so `rows`
    offers both.

    Args:
        soft_labels: `(N, K)` distributions; a sum that is off by more than rounding is divided out.
        labels: `(N,)` true classes.
        margin: From 0, where the truth ties with the teacher's wrong class, to below 1.
        rows: "all", or "wrong": those whose first class is not the label; the others stay as they are.

    Raises:
        ValueError: for a margin out of range, arrays that do not fit, rows that are no distributions (naming them).

    >>> revise_labels([[0.1, 0.9], [0.9, 0.1]], [0, 0], margin=0.2).round(3).tolist()
    [[0.6, 0.4], [0.92, 0.08]]
    >>> revise_labels([[0.1, 0.9], [0.9, 0.1]], [0, 0], margin=0.2, rows="wrong").round(3).tolist()
    [[0.6, 0.4], [0.9, 0.1]]
    """
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"margin must lie in [0, 1), got {margin}; it is 1 - eta of the paper, whose eta is 0.8")
    if rows not in ROWS:
        raise ValueError(f"rows must be one of {', '.join(ROWS)}, not {rows!r}{did_you_mean(rows, ROWS)}")
    soft = as_logits(soft_labels, "soft_labels", "(N, K)")
    xp = namespace(soft)
    divided, soft = as_soft_labels(soft), xp.astype(soft, xp.float64)
    soft = xp.where(xp.abs(xp.sum(soft, axis=-1) - 1.0)[:, None] > ROUNDING, divided, soft)
    truth = as_labels(as_array(labels, "labels"), soft, (soft.shape[0],), soft.shape[1])
    classes = xp.arange(soft.shape[1], device=array_api_compat.device(soft))
    one_hot = xp.astype(classes[None] == truth[:, None], xp.float64)
    gap = xp.max(soft, axis=-1) - xp.sum(soft * one_hot, axis=-1)
    beta = ((1.0 - margin) / (gap + 1.0))[:, None]
    revised = beta * soft + (1.0 - beta) * one_hot
    if rows == "all":
        return revised
    return xp.where((xp.argmax(soft, axis=-1) == truth)[:, None], soft, revised)
