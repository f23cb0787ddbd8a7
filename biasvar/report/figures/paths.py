"""Bias and variance of local targets, teachers that train along, and of the students that follow them, by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks, scales
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import TERMS, Estimate, by_epoch, decomposition_term, from_total, to_frame
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "whose", "term", "epoch", "value", "low", "high", "stderr_replicas",
    "stderr_samples", "n_replicas", "n", "failed",
]  # fmt: skip
WHOSE = {"teacher": "Local target", "student": "Student"}
DISTANCE = "distance"
AXES = {"bias": "bias (nats)", "variance": "variance (nats)", DISTANCE: "KL(student ‖ target)"}
DECADES = 1000.0  # a scale goes down to this part of its highest value: networks that start from 0 hardly vary at first
MOST_MARKERS = 15  # epochs; beyond, they would cover the lines
ROLES = ("main", "control", "regime")


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, whose answers, term and epoch, where both were kept after two epochs or more."""
    every = [_of_arm(run, arm) for run in runs for arm in arms_with_role(run, ROLES)]
    found = [frame for frame in every if len(frame)]  # an empty one has no types, and would take those of the others
    frame = pd.concat(found, ignore_index=True) if found else _framed([], "")
    return style.styled(frame[COLUMNS], runs)


def _of_arm(run: Run, arm: str) -> pd.DataFrame:
    epochs = stored.prediction_epochs(run, arm, of="teacher")
    if len(epochs) < 2:
        return _framed([], "")
    taught: list[Estimate | None] = []
    for epoch in epochs:
        found = stored.totals(run, arm, "test", "all", epoch, of="teacher")
        for term in TERMS if found is not None else ():
            about = {"quantity": term, "rows": "held-out", "split": "test", "epoch": epoch}
            taught.append(from_total(run, arm, getattr(found[0], term), found[1] - 1, **about))  # type: ignore[index]
    learned = [decomposition_term(run, arm, term, epoch=epoch) for epoch in epochs for term in TERMS]
    metrics = stored.metrics_of(run, arm, "train", "augmented").dropna(subset="teacher_divergence")
    apart = _framed(by_epoch(run, metrics, "teacher_divergence"), "teacher").assign(term=DISTANCE)
    return pd.concat([_framed(taught, "teacher"), _framed(learned, "student"), apart], ignore_index=True)


def _framed(found: list[Estimate | None] | list[Estimate], whose: str) -> pd.DataFrame:
    names = {"quantity": "term", "estimate": "value", "stderr": "stderr_replicas", "n_samples": "n"}
    return to_frame(found).rename(columns=names).assign(whose=whose)[COLUMNS]


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run bias, variance and their distance below one another, targets on the left, students on the right."""
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    few = shown.groupby(["run", "term"])["epoch"].nunique().max() <= MOST_MARKERS
    runs = list(dict.fromkeys(frame["run"]))
    figure, block_of = blocks.stacked(runs, [6.0] * len(runs), more=0.4)
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        part = part.sort_values("term", key=lambda terms: terms.map(list(AXES).index), kind="stable")
        panels = lines.grid(block, part, row="term", column="whose", share_y="row", markers=few)
        for (term, whose), ax in panels.items():
            if not ax.has_data():
                ax.legend(
                    handles=drawn.line_entries(frame[frame["run"] == run], markers=few), loc="center left",
                    borderaxespad=0, handlelength=2.4, labelspacing=0.3,
                )  # fmt: skip
                continue
            _scale(ax, part[part["term"] == term])
            if term == TERMS[0]:
                ax.set_title(WHOSE[whose], fontsize=9.5)
            if whose == "teacher":
                ax.set_ylabel(AXES[term])
            ax.set_xlabel("epoch" if term == DISTANCE or (whose == "student" and term == TERMS[-1]) else "")
    if not shown["term"].eq(DISTANCE).any():
        legends.below(figure, drawn.line_entries(frame, markers=few), columns=3)
    return figure


def _scale(ax: Axes, part: pd.DataFrame) -> None:
    """The scale of a row of panels, which `part` holds: logarithmic where it spans much."""
    values = part[["estimate", "low", "high"]].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    least, low, high = float(part["estimate"].min()), float(values.min()), float(values.max())
    if least > 0 and high > 8 * least:
        bottom = max(low, 0.5 * least, high / DECADES)
        scales.logarithmic(ax, between=high < 30 * bottom)
        ax.set_ylim(0.9 * bottom, 1.1 * high)
    else:
        margin = 0.05 * (high - low) or 0.05
        ax.set_ylim(low - margin, high + margin)
        ax.locator_params(axis="y", nbins=5)
    ax.locator_params(axis="x", nbins=5, integer=True)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, target, correction, interval, what the distance is, failures, draw and data."""
    counts = sizes(frame.loc[frame["term"] != DISTANCE, "n"])
    return (
        f"Means over n = {counts} test rows at the epochs after which predictions were kept, clean view, against the "
        "true labels at temperature 1, cross-entropy in nats, corrected for the finite number of replicas. Local "
        "target: the answers of the teachers that train along, one for each replica, at the end of the epoch. The "
        "distance is that of the student's answer in the training pass and the teacher's answer after its step, a mean "
        "over the steps of an epoch. Bands: 95 % t intervals over replicas, for these rows; the error over rows is in "
        f"the CSV.{drawn.dagger_note(frame)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="paths",
    title="The path of local targets, and of the students that follow it",
    how_to_read="On the left what the students are taught at each epoch, on the right what they have learnt. A target "
    "whose bias falls is a path from easy to right; a target of little variance is much the same whatever the draw. "
    "The lower the distance, the nearer the target stays to the student.",
    needs="predictions of teachers that train along, after two epochs or more",
    collect=collect,
    draw=draw,
    caption=caption,
)
