"""The learning curves of the main arms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import lines, style
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure, conditions, sizes
from biasvar.report.statistics import stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

# Split, view and metric of each panel, with its title, in reading order.
PANELS = {
    ("train", "augmented", "accuracy"): "Training accuracy",
    ("validation", "clean", "accuracy"): "Validation accuracy",
    ("test", "clean", "accuracy"): "Test accuracy",
    ("validation", "clean", "nll"): "Validation NLL",
    ("test", "clean", "nll"): "Test NLL",
}

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
            if there["epoch"].nunique() < LEAST_EPOCHS:
                continue
            part = lines.over_replicas(run, there, metric)
            parts.append(
                part.assign(split=split, view=view, metric=metric, value=part["estimate"]).drop(columns="estimate")
            )
    return style.styled(lines.together(parts), runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A block for each run: accuracy above, NLL below; a short legend takes the place that is left over."""
    runs = list(dict.fromkeys(frame["run"]))
    parts = [frame[frame["run"] == run] for run in runs]
    figure = style.new_figure(height=sum(_height(part) for part in parts))
    blocks: Any = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=[_height(part) for part in parts])
    for block, run, part in zip(blocks[:, 0], runs, parts, strict=True):
        if len(runs) > 1:
            block.suptitle(run, weight="bold", fontsize=10.5, x=0.01, ha="left")
        _block(block, part)
    return figure


def _height(frame: pd.DataFrame) -> float:
    arms = frame["arm"].nunique()
    below = 0.0 if arms <= MOST_BESIDE else 0.19 * math.ceil(arms / 3)
    return below + (5.6 if all(len(_part(frame, key)) for key in PANELS) else 3.4)


def _block(block: Any, frame: pd.DataFrame) -> None:
    shown = [(key, title) for key, title in PANELS.items() if len(_part(frame, key))]
    full = len(shown) == len(PANELS)
    places = (1, 2, 3, 5, 6) if full else range(1, len(shown) + 1)
    for place, (key, title) in zip(places, shown, strict=True):
        part = _part(frame, key)
        ax = block.add_subplot(2, 3, place) if full else block.add_subplot(1, len(shown), place)
        lines.curves(ax, part, "value")
        low, high = lines.window(part, "value")
        if key[2] == "nll":
            ax.set_yscale("log")
            lines.plain_log_ticks(ax)
            low = max(low, 0.9 * part["value"].min())
        ax.set_ylim(low, min(high, 1.005) if key[2] == "accuracy" else high)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", nbins=4)
        ax.set_ylabel("nats" if key[2] == "nll" else "")
    handles = lines.handles(frame)
    if full and len(handles) <= MOST_BESIDE:
        empty = block.add_subplot(2, 3, 4)
        empty.axis("off")
        empty.legend(handles=handles, loc="center left", borderaxespad=0, handlelength=2.4, labelspacing=0.25)
    else:
        block.legend(handles=handles, loc="outside lower left", ncols=3, handlelength=2.4)


def _part(frame: pd.DataFrame, key: tuple[str, str, str]) -> pd.DataFrame:
    split, view, metric = key
    wanted: Any = (frame["split"] == split) & (frame["view"] == view) & (frame["metric"] == metric)
    return frame[wanted]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by split, interval, what was not chosen, failures, draw and data."""
    counts = "; ".join(f"{split}, n = {sizes(part['n'])}" for split, part in frame.groupby("split", sort=False))
    return (
        f"Rows: {counts}. Means over replicas with 95 % t intervals of the mean, main arms. Training accuracy is taken "
        "in the training pass, before each update, on the replica's own draw. The vertical axes are fitted to what "
        "follows the first quarter of the epochs; that of NLL is logarithmic. No epoch is chosen by these curves: "
        "every other figure that looks at one epoch looks at the last."
        f"{lines.failures(frame)} {conditions(runs)}"
    )


FIGURE = Figure(
    name="curves",
    title="Training curves",
    how_to_read="Each line is an arm through its epochs. Lines that are still moving at the right end mean that the "
    "schedule was short; a training accuracy far above test means that the draw is learnt by heart.",
    needs="metrics at three epochs or more",
    collect=collect,
    draw=draw,
    caption=caption,
)
