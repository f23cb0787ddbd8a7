"""Bias and variance of every arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.intervals import interval_from
from biasvar.report import cache, rows, style
from biasvar.report.figure import Figure, conditions, failed_replicas, listed_arms, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "role", "regime", "split", "epoch", "term", "estimate", "low", "high",
    "stderr_replicas", "stderr_samples", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip
HELD_OUT = ("test", "validation")


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and term, with the 95 % interval over replicas."""
    found = [row for run in runs for arm in listed_arms(run) for row in _rows(run, arm)]
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _rows(run: Run, arm: str) -> list[dict[str, Any]]:
    stored = ((split, cache.terms(run, arm, split)) for split in HELD_OUT)
    split, found = next(((split, terms) for split, terms in stored if terms is not None), ("", None))
    if found is None or not (found.decomposition.counts > 1).any():
        return []
    groups = found.decomposition.group_counts
    df = int(np.count_nonzero(groups.sum(axis=1))) - 1 if groups is not None else 0
    totals = found.decomposition.totals()
    entry = run.arm(arm)
    about = {
        "run": run.name,
        "arm": arm,
        "label": style.arm_label(run, arm),
        "loss": entry.get("loss") or "",
        "role": entry.get("role") or "main",
        "regime": entry.get("regime") or "none",
        "split": split,
        "epoch": found.epoch,
        "failed": len(failed_replicas(run, arm)),
    }
    rows = []
    for term in ("bias", "variance"):
        total = getattr(totals, term)
        interval = interval_from(total.value, total.stderr_replicas, df, total.n_replicas)
        numbers = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
        errors = {"stderr_replicas": total.stderr_replicas, "stderr_samples": total.stderr_samples}
        counts = {"n_replicas": total.n_replicas, "n_samples": total.n_samples}
        rows.append({**about, "term": term, **numbers, **errors, **counts, "replicas": entry.get("replicas") or df + 1})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """Two panels that share their rows: bias and variance."""
    _, _, total = rows.layout(frame)
    figure = style.new_figure(height=1.35 + rows.ROW_HEIGHT * total)
    axes = list(figure.subplots(1, 2))
    places = rows.prepare(axes, frame)
    baselines = set(frame.loc[frame["loss"] == "cross_entropy", "arm"].head(1))
    for ax, term in zip(axes, ("bias", "variance"), strict=True):
        part = frame[frame["term"] == term]
        ax.set_xlim(*rows.limits(part, anchor=0.0))
        rows.dots(ax, part, places)
        ax.set_title(term.capitalize())
        for value in part.loc[part["arm"].isin(baselines) & (part["run"].nunique() == 1), "estimate"]:
            ax.axvline(value, color=style.MUTED, linewidth=0.8, linestyle=":", zorder=1)
        rows.scale(ax, "nats per sample", ticks=5)
    handles = rows.regime_handles(frame)
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=2, columnspacing=1.6, handletextpad=0.3)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, target, correction, interval, failures, draw and data."""
    count = sizes(frame["n_samples"])
    splits = " and ".join(dict.fromkeys(frame["split"]))
    note = rows.failure_note(frame)
    when = " after the last epoch" if (frame["epoch"] > 0).any() else ""
    regimes = (frame["regime"] != "none").any()
    baseline = (frame["loss"] == "cross_entropy").any() and frame["run"].nunique() == 1
    return (
        f"Means over n = {count} {splits} rows{when}, against the true labels at temperature 1; "
        "cross-entropy, in nats, corrected for the finite number of replicas (noise is 0 by construction with one "
        "label a row, so none is drawn). Bars are 95 % t intervals over replicas of the jackknifed total for these "
        "rows; the error over rows is in the CSV."
        + (" The marker is the teacher's regime, which decides what the variance is conditional on." if regimes else "")
        + (" The dotted line is cross-entropy's value." if baseline else "")
        + (f" † Hollow: {note}; these do not set the scale." if note else "")
        + f" {conditions(runs)}"
    )


FIGURE = Figure(
    name="bias_variance",
    title="Bias and variance of every arm",
    how_to_read="Further left is better in both panels: less bias is a mean prediction nearer the truth, less variance "
    "is predictions that agree more between trainings. Arms whose bars are apart differ; arms whose bars touch may "
    "differ too, since replicas are paired.",
    needs="predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
