"""Bias, variance, flags and weights of held-out rows by the kinds that the user has given them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from biasvar.records import Run
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import Estimate, group_terms, over_replicas

RECORDED = {"opposing": "share_opposing", "wsl_weight": "wsl_weight"}
"""Columns of the record whose means are shown, and what the means are called."""
_PLACES = (("test", "clean"), ("validation", "clean"), ("train", "augmented"))


def kind_estimates(run: Run, arm: str) -> dict[str, list[Estimate]]:
    """An arm's mean corrected bias and variance, share of flagged rows and mean WSL weight, by kind of sample.

    Terms are those of `class_terms`; flags and weights are of the last recorded epoch of the first of the clean passes
    over test and validation rows and the training pass that has any, one mean a replica. Empty for a run without kinds.
    """
    table = run.kinds
    if table is None:
        return {}
    kinds = {str(split): rows.set_index("sample_id")["kind"] for split, rows in table.groupby("split", sort=False)}
    held_out = kinds.get("test" if stored.terms(run, arm) else "validation")
    terms = {} if held_out is None else group_terms(run, arm, held_out)
    found = {str(kind): list(estimates) for kind, estimates in terms.items()}
    for kind, one in _recorded(run, arm, kinds):
        found.setdefault(kind, []).append(one)
    return found


def _recorded(run: Run, arm: str, kinds: dict[str, pd.Series[str]]) -> list[tuple[str, Estimate]]:
    found = []
    for split, view in _PLACES:
        frame = stored.records(run, arm, split, view, None, ("replica", "sample_id", *RECORDED))
        if frame is None or frame.empty or split not in kinds:
            continue
        frame = frame.assign(kind=kinds[split].reindex(frame["sample_id"]).to_numpy()).dropna(
            subset=["kind", *RECORDED]
        )
        for kind, rows in frame.groupby("kind", sort=False):
            about: dict[str, Any] = {
                "split": split, "rows": "held-out" if split != "train" else "training pass",
                "epoch": int(rows["epoch"].max()), "n_samples": int(rows["sample_id"].nunique()),
            }  # fmt: skip
            for column, quantity in RECORDED.items():
                means = rows[column].astype(np.float64).groupby(rows["replica"]).mean()
                found.append((str(kind), over_replicas(run, arm, means, quantity, **about)))
        return found
    return found
