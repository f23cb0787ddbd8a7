"""Bias and variance of the arms that a study turns on, through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.roles import COMPARED, core_arms, left_out, reference_arm, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, looks, multiples, scales
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import TERMS, Estimate, decomposition_term, to_frame
from biasvar.report.text.captions import conditions_in, runs_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "rows", "term", "epoch", "value", "low", "high", "stderr_replicas",
    "stderr_samples", "n_replicas", "n", "failed", "control",
]  # fmt: skip
ROWS = {"held-out": ("test", "all"), "member": ("train", "member"), "nonmember": ("train", "nonmember")}
SAID = {"held-out": "test rows", "nonmember": "training rows, not drawn", "member": "training rows, drawn"}
COURSES = {
    "held-out": multiples.Course("test rows, with 95 % interval", band=True),
    "nonmember": multiples.Course("training rows that the replica did not draw", "--", 1.3),
    "member": multiples.Course("training rows that it drew", ":", 1.5),
}
MOST_MARKERS = 15  # epochs; beyond, they would cover the lines


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, kind of rows, term and epoch, where predictions were stored after two epochs or more."""
    found = [
        row for run in runs for arm in core_arms(run) if arm not in taken_over(run, runs) for row in _of_arm(run, arm)
    ]
    names = {"quantity": "term", "estimate": "value", "stderr": "stderr_replicas", "n_samples": "n"}
    frame = to_frame(found).rename(columns=names)
    controls = {run.name: reference_arm(run) for run in runs}
    frame["control"] = [controls[run] == arm for run, arm in zip(frame["run"], frame["arm"], strict=True)]
    return style.styled(frame[COLUMNS], runs)


def _of_arm(run: Run, arm: str) -> list[Estimate | None]:
    found = []
    for rows, (split, membership) in ROWS.items():
        epochs = stored.prediction_epochs(run, arm, split, membership)
        for epoch in epochs if len(epochs) > 1 else []:
            found += [decomposition_term(run, arm, term, rows, epoch) for term in TERMS]
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a panel of bias and one of variance for each arm, with the control's test rows in grey."""
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.rename(columns={"term": "row", "rows": "course"})
    few = shown.groupby(["run", "course"])["epoch"].nunique().max() <= MOST_MARKERS
    runs = list(dict.fromkeys(frame["run"]))
    arms = {run: multiples.heads(frame[frame["run"] == run]) for run in runs}
    kinds = [name for name in COURSES if (frame["rows"] == name).any()]
    control = next((str(label) for label in frame.loc[frame["control"], "label"]), None)
    entries = multiples.entries(
        COURSES, kinds, control and f"{control}, test rows", failed=bool((frame["failed"] > 0).any())
    )
    heights = [multiples.height(len(panels), len(TERMS)) for panels, _ in arms.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    names = {term: f"{term}\n(nats, root scale)" for term in TERMS}
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        heads, grey = arms[run]
        panels = multiples.grid(block, part, arms=heads, rows=names, courses=COURSES, control=grey, dots=bool(few))
        for (term, _), ax in panels.items():
            scales.root(ax.yaxis, *multiples.whole(part[part["row"] == term]))
    multiples.below(figure, entries)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by kind of rows, target, correction, interval, teacher regimes, what was left out, draw and data."""
    kinds = [name for name in COURSES if name in set(frame["rows"])]
    said = "; ".join(f"{SAID[name]}, n = {sizes(frame.loc[frame['rows'] == name, 'n'])}" for name in kinds)
    regimes = [style.regime_label(name) for name in dict.fromkeys(frame["regime"]) if name != "none"]
    taught = f" Teachers: {'; '.join(regimes)}." if regimes else ""
    training = (
        " A training row is decomposed over the replicas that drew it or over those that did not; a teacher on all "
        "training rows has seen it either way."
        if len(kinds) > 1
        else ""
    )
    return (
        f"Means over samples ({said}) at the epochs after which predictions were stored, not augmented, against the "
        "true labels at temperature 1, cross-entropy in nats, corrected for the finite number of replicas. Bands: 95 % "
        "t intervals over replicas of the jackknifed total, for these rows; the error over rows is in the CSV. On a "
        "root scale equal heights are equal steps of the square root."
        f"{taught}{training}{taken_note(runs)}{left_out(runs_in(frame, runs))} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="training",
    title="Bias and variance through training",
    how_to_read="Each column is an arm, epoch by epoch: above how far its mean prediction is from the truth (bias), "
    "below how much its replicas disagree (variance). Below the grey line of cross-entropy the arm is better. A gap "
    "between training rows that were drawn and those that were not is what was learnt by heart.",
    needs="predictions stored after at least two epochs (`predictions: {epochs: ...}` in the study file)",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
