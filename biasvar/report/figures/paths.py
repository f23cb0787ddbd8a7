"""Bias and variance of local targets, teachers that train along, and of the students that follow them, by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, looks, multiples, scales
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
DISTANCE = "distance"
COURSES = {
    "student": multiples.Course("student, with 95 % interval", band=True),
    "teacher": multiples.Course("local target", "--", 1.4),
    DISTANCE: multiples.Course("distance", band=True),
}
AXES = {
    "bias": "bias\n(nats, root scale)",
    "variance": "variance\n(nats, root scale)",
    DISTANCE: "distance, KL\n(student ‖ target)\n(nats, log scale)",
}
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
    """For each run a panel of bias, one of variance and one of the distance for each arm."""
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.assign(row=shown["term"], course=shown["whose"].mask(shown["term"] == DISTANCE, DISTANCE))
    runs = list(dict.fromkeys(frame["run"]))
    arms = {run: multiples.heads(frame[frame["run"] == run].assign(control=False))[0] for run in runs}
    rows = {run: [term for term in AXES if ((frame["run"] == run) & (frame["term"] == term)).any()] for run in runs}
    entries = multiples.entries(COURSES, ["student", "teacher"], None)
    heights = [multiples.height(len(arms[run]), len(rows[run])) for run in runs]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        names = {term: AXES[term] for term in rows[run]}
        panels = multiples.grid(block, part, arms=arms[run], rows=names, courses=COURSES)
        for (term, _), ax in panels.items():
            _scale(ax, part[part["term"] == term], term)
    multiples.below(figure, entries)
    return figure


def _scale(ax: Axes, part: pd.DataFrame, term: str) -> None:
    """The scale of the panels of a term, which `part` holds: logarithmic for the distance, which falls by decades."""
    if term != DISTANCE:
        scales.root(ax.yaxis, *multiples.whole(part))
        return
    least = float(part["estimate"].min())
    scales.logarithmic(ax, between=False)
    ax.set_ylim(0.7 * least, 1.2 * float(np.nanmax(part[["estimate", "high"]].to_numpy(dtype=float))))


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, target, correction, interval, what the distance is, failures, draw and data."""
    counts = sizes(frame.loc[frame["term"] != DISTANCE, "n"])
    return (
        f"Means over n = {counts} test rows at the epochs after which predictions were kept, not augmented, against "
        "the true labels at temperature 1, cross-entropy in nats, corrected for the finite number of replicas. Panels "
        "of one quantity share its scale; on a root scale equal heights are equal steps of the square root. Local "
        "target: the answers of the teachers that train along, one for each replica, at the end of the epoch. The "
        "distance is that of the student's answer in the training pass and the teacher's answer after its step, a mean "
        "over the steps of an epoch. Bands: 95 % t intervals over replicas, for these rows; the error over rows is in "
        f"the CSV.{drawn.dagger_note(frame)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="paths",
    title="The path of local targets, and of the students that follow it",
    how_to_read="Each column is an arm, epoch by epoch: dashed what the students are taught, solid what they have "
    "learnt. A target whose bias falls is a path from easy to right; a target of little variance is much the same "
    "whatever the draw. The lower the distance, the nearer the target stays to the student.",
    needs="predictions of teachers that train along, after two epochs or more",
    collect=collect,
    draw=draw,
    caption=caption,
)
