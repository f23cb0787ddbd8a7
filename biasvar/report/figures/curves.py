"""The learning curves of the main arms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role, reference_arm
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, looks, multiples, scales
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import by_epoch, to_frame
from biasvar.report.text.captions import any_own, conditions
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "epoch", "low", "high", "stderr", "n_replicas", "n", "failed", "split", "view",
    "metric", "value", "control",
]  # fmt: skip
SERIES = (
    ("train", "augmented", "accuracy"),
    ("validation", "clean", "accuracy"),
    ("test", "clean", "accuracy"),
    ("validation", "clean", "nll"),
    ("test", "clean", "nll"),
)
"""Split, view and metric of each line."""
ROWS = {"accuracy": "accuracy", "nll": "loss (NLL,\nnats, root scale)"}
COURSES = {
    "test": multiples.Course("test rows, with 95 % interval", band=True),
    "validation": multiples.Course("validation rows", "--", 1.2),
    "train": multiples.Course("training rows, in the training pass", ":", 1.5),
}
LEAST_EPOCHS = 3  # two would be a straight line


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, split, metric and evaluated epoch; nothing for runs without three epochs."""
    parts = []
    for run in runs:
        metrics = stored.metrics(run)
        metrics = metrics[metrics["arm"].isin(arms_with_role(run, ("main",)))]
        for split, view, metric in SERIES:
            there = metrics[(metrics["split"] == split) & (metrics["view"] == view) & metrics[metric].notna()]
            if there["epoch"].nunique() >= LEAST_EPOCHS:
                parts.append(to_frame(by_epoch(run, there, metric)).assign(view=view))
    found = pd.concat(parts, ignore_index=True) if parts else to_frame([]).assign(view="")
    names = {"estimate": "value", "quantity": "metric", "n_samples": "n"}
    controls = {run.name: reference_arm(run) for run in runs}
    found["control"] = [controls[run] == arm for run, arm in zip(found["run"], found["arm"], strict=True)]
    return style.styled(found.rename(columns=names)[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a panel of accuracy and one of the loss for each arm, with the control's test rows in grey."""
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.rename(columns={"metric": "row", "split": "course"})
    runs = list(dict.fromkeys(frame["run"]))
    rows = {name: text for name, text in ROWS.items() if (frame["metric"] == name).any()}
    there = [name for name in COURSES if (frame["split"] == name).any()]
    arms = {run: multiples.heads(frame[frame["run"] == run]) for run in runs}
    beside = any(control for _, control in arms.values())  # one alone stands in no other's panel
    named = next((str(label) for label in frame.loc[frame["control"], "label"]), None) if beside else None
    courses = {name: replace(course, label=_said(frame, name)) for name, course in COURSES.items() if name in there}
    entries = multiples.entries(
        courses,
        there,
        named and f"{named}, {courses[there[0]].label.split(',')[0]}",
        failed=bool((frame["failed"] > 0).any()),
    )
    heights = [multiples.height(len(heads), len(rows)) for heads, _ in arms.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        heads, control = arms[run]
        panels = multiples.grid(block, part, arms=heads, rows=rows, courses=courses, control=control)
        for (row, _), ax in panels.items():
            low, high = multiples.whole(part[part["row"] == row])
            if row == "nll":
                scales.root(ax.yaxis, max(low, 0.0), high)
            else:
                ax.set_ylim(low, min(high, 1.02))
    multiples.below(figure, entries)
    return figure


def _said(frame: pd.DataFrame, split: str) -> str:
    """What a line is, with the number of its rows."""
    name, _, more = COURSES[split].label.partition(",")
    others = " other rows" if split == "validation" and (frame["split"] == "test").any() else ""
    return f"{name}, n = {sizes(frame.loc[frame['split'] == split, 'n'])}{others}" + (f",{more}" if more else "")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by split, interval, what was not chosen, failures, draw and data."""
    counts = "; ".join(f"{split}, n = {sizes(part['n'])}" for split, part in frame.groupby("split", sort=False))
    rows = "" if any_own(frame, runs) else ", on the replica's own draw"
    return (
        f"Rows: {counts}. Means over replicas with 95 % t intervals of the mean, main arms. Training accuracy is taken "
        f"in the training pass, before each update{rows}. No epoch is chosen by these curves: "
        "every other figure that looks at one epoch looks at the last."
        f"{drawn.dagger_note(frame)} {conditions(runs)}"
    )


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What lines that still move, and a gap between training and test, stand for."""
    rows = "training rows are" if any_own(frame, runs) else "draw is"
    gap = (
        " Validation and test rows are different ones, easier or harder by chance, which no band tells: a gap between "
        "the two that every arm has, cross-entropy too, is the rows'."
        if {"validation", "test"} <= set(frame["split"])
        else ""
    )
    return (
        "Each column is an arm through its epochs, beside cross-entropy in grey. Lines that are still moving at the "
        "right end mean that the schedule was short; a training accuracy far above test means that the "
        f"{rows} learnt by heart.{gap}"
    )


FIGURE = Figure(
    name="curves",
    title="Training curves",
    how_to_read=how_to_read,
    needs="metrics at three epochs or more",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=("main",),
)
