"""What masks leave of an arm's soft labels: hardly any makes it an arm of true labels."""

from __future__ import annotations

from functools import lru_cache

from biasvar.records import Run
from biasvar.report.statistics import stored

HARDLY = 0.01  # of the rows that an arm trains on


@lru_cache(maxsize=32)
def hardly_taught(run: Run) -> dict[str, float]:
    """The arms whose mask leaves soft labels to fewer than `HARDLY` of their rows, and that share, mean over epochs."""
    found = {}
    for arm in run.arms:
        keep = run.entry(arm).setting("keep")
        if keep not in ("regularization", "other"):
            continue
        flagged = float(stored.metrics_of(run, arm, "train", "augmented")["share_opposing"].mean())
        share = flagged if keep == "regularization" else 1.0 - flagged
        if share < HARDLY:
            found[arm] = share
    return found
