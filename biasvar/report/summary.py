"""summary.json: the totals of every arm, the claims and the provenance of every run, as plain numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

import biasvar
from biasvar.analysis.decomposition.totals import Estimate
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.records import Run
from biasvar.report import cache

HELD_OUT = ("test", "validation")
PROVENANCE = (
    *("study_hash", "commit", "seed", "replicas", "draw", "data", "reference_teacher", "device", "threads", "versions"),
    "schema_version",
)


def summarise(runs: list[Run], claims: pd.DataFrame) -> dict[str, Any]:
    """Everything in summary.json; terms in nats, corrected, on held-out rows against the true labels."""
    return {"biasvar": biasvar.__version__, "runs": {run.name: _of_run(run, claims) for run in runs}}


def _of_run(run: Run, claims: pd.DataFrame) -> dict[str, Any]:
    mine = claims[claims["run"] == run.name].drop(columns="run")
    return {
        "title": run.manifest.get("title"),
        "kind": run.manifest.get("kind"),
        "status": run.manifest.get("status"),
        "arms": {arm: _of_arm(run, arm) for arm in run.arms},
        "claims": [{key: _plain(value) for key, value in row.items()} for row in mine.to_dict("records")],
        "provenance": {key: run.manifest.get(key) for key in PROVENANCE},
    }


def _of_arm(run: Run, arm: str) -> dict[str, Any]:
    entry = run.arm(arm)
    keys = ("label", "role", "loss", "teacher", "regime", "temperature", "alpha", "learning_rate", "status")
    found: dict[str, Any] = {key: entry.get(key) for key in keys}
    found["failed_replicas"] = entry.get("failed_replicas") or []
    metrics = cache.metrics(run)
    metrics = metrics[(metrics["arm"] == arm) & (metrics["view"] == "clean")]
    split = next((split for split in HELD_OUT if (metrics["split"] == split).any()), None)
    if split is None:
        return found
    last = metrics[(metrics["split"] == split) & (metrics["epoch"] == metrics["epoch"].max())]
    found |= {"split": split, "epoch": int(metrics["epoch"].max())}
    terms = cache.terms(run, arm, split)
    over_samples = {"accuracy": _accuracy_error(run, arm, split)}
    if terms is not None:
        totals = terms.decomposition.totals()
        found |= {"bias": _estimate(totals.bias), "variance": _estimate(totals.variance)}
        over_samples["nll"] = totals.loss.stderr_samples
    for name in ("accuracy", "nll", "ece"):
        if len(last):
            interval = mean_interval(last[name])
            stderr = {"stderr_replicas": interval.stderr, "stderr_samples": over_samples.get(name, math.nan)}
            counts = {"n_replicas": len(last), "n_samples": int(last["n"].max())}
            found[name] = {
                key: _plain(value) for key, value in ({"value": interval.estimate} | stderr | counts).items()
            }
    return found


def _accuracy_error(run: Run, arm: str, split: str) -> float:
    """The standard error over samples of the mean accuracy, from the clean record of the last epoch."""
    records = cache.records(run, arm, split, "clean", None, ("sample_id", "label", "student_prediction"))
    if records is None or len(records) < 2:
        return math.nan
    correct = (records["label"] == records["student_prediction"]).groupby(records["sample_id"]).mean()
    return float(correct.std(ddof=1) / math.sqrt(len(correct))) if len(correct) > 1 else math.nan


def _estimate(total: Estimate) -> dict[str, Any]:
    errors = {"stderr_replicas": total.stderr_replicas, "stderr_samples": total.stderr_samples}
    counts = {"n_replicas": total.n_replicas, "n_samples": total.n_samples}
    return {key: _plain(value) for key, value in ({"value": total.value} | errors | counts).items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it; NaN as null, numbers to ten digits, which is beyond what any of them is known to."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value
