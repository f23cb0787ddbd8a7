"""Bias and variance of the arms that a study turns on, through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import COMPARED, core_arms, left_out, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks, scales
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import TERMS, Estimate, decomposition_term, to_frame
from biasvar.report.text.captions import conditions_in, runs_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "rows", "term", "epoch", "value", "low", "high", "stderr_replicas",
    "stderr_samples", "n_replicas", "n", "failed",
]  # fmt: skip
ROWS = {
    "held-out": ("test", "all", "Test rows"),
    "member": ("train", "member", "Training rows, drawn"),
    "nonmember": ("train", "nonmember", "Training rows, not drawn"),
}
SETTLED = 0.25  # of the epochs; what comes before would flatten the rest
MOST_MARKERS = 15  # epochs; beyond, they would cover the lines


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, kind of rows, term and epoch, where predictions were stored after two epochs or more."""
    found = [
        row for run in runs for arm in core_arms(run) if arm not in taken_over(run, runs) for row in _of_arm(run, arm)
    ]
    names = {"quantity": "term", "estimate": "value", "stderr": "stderr_replicas", "n_samples": "n"}
    return style.styled(to_frame(found).rename(columns=names)[COLUMNS], runs)


def _of_arm(run: Run, arm: str) -> list[Estimate | None]:
    found = []
    for rows, (split, membership, _) in ROWS.items():
        epochs = stored.prediction_epochs(run, arm, split, membership)
        for epoch in epochs if len(epochs) > 1 else []:
            found += [decomposition_term(run, arm, term, rows, epoch) for term in TERMS]
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run bias above and variance below, a column for each kind of rows."""
    kinds = list(ROWS)
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.sort_values("rows", key=lambda names: names.map(kinds.index), kind="stable")
    few = shown.groupby(["run", "rows"])["epoch"].nunique().max() <= MOST_MARKERS
    runs = list(dict.fromkeys(frame["run"]))
    figure, block_of = blocks.stacked(runs, [4.0] * len(runs), more=0.85)
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        panels = lines.grid(block, part, row="term", column="rows", share_y="row", markers=few)
        for (term, kind), ax in panels.items():
            if ax.has_data():
                _scale(ax, part[part["term"] == term])
            if term == TERMS[0]:
                ax.set_title(ROWS[kind][2], fontsize=9.5)
            else:
                ax.set_xlabel("epoch")
            if kind == part["rows"].iloc[0]:
                ax.set_ylabel(f"{term} (nats)")
    legends.below(figure, drawn.line_entries(frame, markers=True), columns=3)
    return figure


def _scale(ax: Axes, part: pd.DataFrame) -> None:
    """The scale of a row of panels, which `part` holds: logarithmic where it spans much."""
    late = part[part["epoch"] >= SETTLED * part["epoch"].max()]
    values = late[["estimate", "low", "high"]].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    least = float(late["estimate"].min())
    low, high = float(values.min()), float(values.max())
    if least > 0 and high > 4 * least:  # a corrected bias may fall below 0
        scales.logarithmic(ax)
        ax.set_ylim(0.93 * max(low, 0.5 * least), 1.07 * high)
    else:
        margin = 0.05 * (high - low) or 0.05
        ax.set_ylim(low - margin, high + margin)
        ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=5, integer=True)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by kind of rows, target, correction, interval, teacher regimes, what was left out, draw and data."""
    kinds = [name for name in ROWS if name in set(frame["rows"])]
    said = "; ".join(f"{ROWS[name][2].lower()}, n = {sizes(frame.loc[frame['rows'] == name, 'n'])}" for name in kinds)
    regimes = [style.regime_label(name) for name in dict.fromkeys(frame["regime"]) if name != "none"]
    taught = f" Teachers: {'; '.join(regimes)} (marker and line)." if regimes else ""
    training = (
        " A training row is decomposed over the replicas that drew it or over those that did not; a teacher on all "
        "training rows has seen it either way."
        if len(kinds) > 1
        else ""
    )
    return (
        f"Means over samples ({said}) at the epochs after which predictions were stored, clean view, against the true "
        "labels at temperature 1, cross-entropy in nats, corrected for the finite number of replicas. Bands: 95 % t "
        "intervals over replicas of the jackknifed total, for these rows; the error over rows is in the CSV. The "
        "vertical axes are fitted to what follows the first quarter of the epochs."
        f"{taught}{training}{taken_note(runs)}{left_out(runs_in(frame, runs))} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="training",
    title="Bias and variance through training",
    how_to_read="Each line is an arm: how far its mean prediction is from the truth (bias) and how much its replicas "
    "disagree (variance), epoch by epoch. A gap between drawn and not drawn training rows is what was learnt by heart. "
    "A vertical axis that spans much is logarithmic, so that equal heights are equal ratios.",
    needs="predictions stored after at least two epochs (`predictions: {epochs: ...}` in the study file)",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
