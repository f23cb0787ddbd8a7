"""Bias, variance, risk and accuracy of the arms of a sweep, by both decompositions where they can be had."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from biasvar.analysis.decomposition.result import Decomposition
from biasvar.records import Run
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import Estimate, final_level, from_total

LOSSES = ("cross_entropy", "squared_error")
PARTS = {"bias": "bias", "variance": "variance", "risk": "loss"}
"""What a figure calls a term, and its name among the totals; risk = noise + bias + variance."""


@lru_cache(maxsize=512)
def sweep_terms(run: Run, arm: str) -> list[tuple[str, Estimate]]:
    """(loss, estimate) of bias, variance and risk on held-out rows after the last epoch, and accuracy.

    Terms are corrected for the finite number of replicas. Squared error, of the class probabilities against the one-hot
    label summed over classes as in Yang et al. 2020, needs every replica by itself: it is left out where the run holds
    means over several.
    """
    split = next((one for one in ("test", "validation") if stored.terms(run, arm, one) is not None), None)
    if split is None:
        return []
    last = stored.terms(run, arm, split)
    assert last is not None
    found = [("cross_entropy", row) for row in _of(run, arm, last.decomposition, split, last.epoch)]
    squared = stored.terms(run, arm, split, loss="squared_error")
    if squared is not None:
        found += [("squared_error", row) for row in _of(run, arm, squared.decomposition, split, squared.epoch)]
    accuracy = final_level(run, arm, "accuracy")
    return [*found, *([("accuracy", accuracy)] if accuracy is not None else [])]


def _of(run: Run, arm: str, terms: Decomposition, split: str, epoch: int) -> list[Estimate]:
    totals, groups = terms.totals(), terms.group_counts
    df = (0 if groups is None else int(np.count_nonzero(groups.sum(axis=1)))) - 1
    about: dict[str, Any] = {"rows": "held-out", "split": split, "epoch": epoch}
    return [from_total(run, arm, getattr(totals, of), df, quantity=part, **about) for part, of in PARTS.items()]
