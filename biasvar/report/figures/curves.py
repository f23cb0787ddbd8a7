"""The learning curves of the main arms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks, scales
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
    "metric", "value",
]  # fmt: skip
# Split, view and metric of each panel, with its title, in reading order.
PANELS = {
    ("train", "augmented", "accuracy"): "Training accuracy",
    ("validation", "clean", "accuracy"): "Validation accuracy",
    ("test", "clean", "accuracy"): "Test accuracy",
    ("validation", "clean", "nll"): "Validation NLL",
    ("test", "clean", "nll"): "Test NLL",
}
TITLES = {(metric, split): title for (split, _, metric), title in PANELS.items()}
LEAST_EPOCHS = 3  # two would be a straight line
MOST_BESIDE = 14  # arms whose names fit beside the panels; more go below


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, split, metric and evaluated epoch; nothing for runs without three epochs."""
    parts = []
    for run in runs:
        metrics = stored.metrics(run)
        metrics = metrics[metrics["arm"].isin(arms_with_role(run, ("main",)))]
        for split, view, metric in PANELS:
            there = metrics[(metrics["split"] == split) & (metrics["view"] == view) & metrics[metric].notna()]
            if there["epoch"].nunique() >= LEAST_EPOCHS:
                parts.append(to_frame(by_epoch(run, there, metric)).assign(view=view))
    found = pd.concat(parts, ignore_index=True) if parts else to_frame([]).assign(view="")
    names = {"estimate": "value", "quantity": "metric", "n_samples": "n"}
    return style.styled(found.rename(columns=names)[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A block for each run: accuracy above, NLL below; a short legend takes the place that is left over."""
    shown = looks.put_on(frame.rename(columns={"value": "estimate"}), style.styles_of(frame), by="arm")
    runs = list(dict.fromkeys(frame["run"]))
    figure, block_of = blocks.stacked(runs, [_height(frame[frame["run"] == run]) for run in runs])
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        panels = lines.grid(block, part, row="metric", column="split", share_x=False)
        for key, ax in panels.items():
            if key in TITLES and ax.has_data():
                _panel(ax, part[(part["metric"] == key[0]) & (part["split"] == key[1])], key)
        entries, beside = drawn.line_entries(frame[frame["run"] == run]), panels.get(("nll", "train"))
        if beside is not None and len(entries) <= MOST_BESIDE:
            beside.legend(handles=entries, loc="center left", borderaxespad=0, handlelength=2.4, labelspacing=0.25)
        else:
            legends.below(block, entries, columns=3)
    return figure


def _height(frame: pd.DataFrame) -> float:
    arms = frame["arm"].nunique()
    below = 0.0 if arms <= MOST_BESIDE else 0.19 * math.ceil(arms / 3)
    return below + (5.6 if frame["metric"].nunique() > 1 else 3.4)


def _panel(ax: Axes, part: pd.DataFrame, key: tuple[str, str]) -> None:
    low, high = scales.settled(part, "estimate")
    if key[0] == "nll":
        scales.logarithmic(ax)
        ax.set_ylim(max(low, 0.9 * part["estimate"].min()), high)
        ax.set_ylabel("nats")
    else:
        ax.set_ylim(low, min(high, 1.005))
    ax.set_title(TITLES[key])
    ax.set_xlabel("epoch")
    ax.locator_params(axis="x", nbins=4, integer=True)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by split, interval, what was not chosen, failures, draw and data."""
    counts = "; ".join(f"{split}, n = {sizes(part['n'])}" for split, part in frame.groupby("split", sort=False))
    likelihood = "; that of NLL is logarithmic" if (frame["metric"] == "nll").any() else ""
    rows = "" if any_own(frame, runs) else ", on the replica's own draw"
    return (
        f"Rows: {counts}. Means over replicas with 95 % t intervals of the mean, main arms. Training accuracy is taken "
        f"in the training pass, before each update{rows}. The vertical axes are fitted to what "
        f"follows the first quarter of the epochs{likelihood}. No epoch is chosen by these curves: "
        "every other figure that looks at one epoch looks at the last."
        f"{drawn.dagger_note(frame)} {conditions(runs)}"
    )


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What lines that still move, and a gap between training and test, stand for."""
    rows = "training rows are" if any_own(frame, runs) else "draw is"
    return (
        "Each line is an arm through its epochs. Lines that are still moving at the right end mean that the schedule "
        f"was short; a training accuracy far above test means that the {rows} learnt by heart."
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
