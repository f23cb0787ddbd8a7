"""Bias and variance of every arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import rows, style
from biasvar.report.arms.roles import listed_arms
from biasvar.report.figure import Figure, conditions, sizes
from biasvar.report.statistics.estimates import TERMS, decomposition_term, to_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "role", "regime", "split", "epoch", "term", "estimate", "low", "high",
    "stderr_replicas", "stderr_samples", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and term, with the 95 % interval over replicas."""
    found = [decomposition_term(run, arm, term) for run in runs for arm in listed_arms(run) for term in TERMS]
    frame = to_frame(found).rename(columns={"quantity": "term", "stderr": "stderr_replicas"})
    return style.styled(frame[COLUMNS], runs)


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
