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
    from matplotlib.axes import Axes
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
ROWS = {"accuracy": "accuracy (%)", "nll": "loss (NLL,\nnats, root scale)"}
ON_SMALL = {"accuracy": "accuracy\n(%)", "nll": "loss (nats,\nroot scale)"}
"""The names of the axes, and those of small panels."""
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
    metrics = [name for name in ROWS if (frame["metric"] == name).any()]
    heights = [multiples.height(len(heads), len(metrics), small=True) for heads, _ in arms.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        heads, control = arms[run]
        small = multiples.abreast(len(heads), small=True) == multiples.DENSE and style.narrow()
        rows = {name: (ON_SMALL if small else ROWS)[name] for name in metrics}
        panels = multiples.grid(block, part, arms=heads, rows=rows, courses=courses, control=control, small=True)
        for (row, arm), ax in panels.items():
            of_row = part[part["row"] == row]
            if row == "nll":
                low, high = multiples.whole(of_row)
                scales.root(ax.yaxis, max(low, 0.0), high, most=4 if small else 6)
            else:
                low, high = multiples.settled(of_row)
                ax.set_ylim(low, min(high, 1.02))
                _in_percent(ax)
                _say_where_from(ax, of_row[(of_row["arm"] == arm) & (of_row["course"] == there[0])], low)
    multiples.below(figure, entries)
    return figure


def _in_percent(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def _say_where_from(ax: Axes, line: pd.DataFrame, low: float) -> None:
    """The first value of a line that comes from below the axis, in a corner where no line is."""
    first = line.sort_values("epoch").head(1)
    if len(first) and first["estimate"].iloc[0] < low:
        ax.text(
            0.98, 0.05, f"from {100 * first['estimate'].iloc[0]:.0f} %", ha="right", color=style.MUTED, fontsize=9,
            transform=ax.transAxes, path_effects=style.halo(),
        )  # fmt: skip


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
        f"{_begins(frame)}{drawn.dagger_note(frame)} {conditions(runs)}"
    )


def _begins(frame: pd.DataFrame) -> str:
    """That axes of accuracy begin above the first epochs, with a space before it; empty if they do not."""
    accuracy = frame[frame["metric"] == "accuracy"].rename(columns={"value": "estimate"})
    cut = [multiples.settled(part)[0] > part["estimate"].min() for _, part in accuracy.groupby("run")]
    if not any(cut):
        return ""
    return (
        " The axis of accuracy begins above 0, where a quarter of the epochs is over: lines come from below it, the "
        "arm's solid one from the number in the corner."
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
