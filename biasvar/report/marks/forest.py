"""Dots with intervals in rows, one under another: the mark of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.marks import arrows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_HEIGHT = 0.195  # inches, enough for 9.5 points


@dataclass(frozen=True)
class Places:
    """Where the rows of a forest lie.

    Attributes:
        heights: the height of each (group, row), downwards, in rows.
        headings: the height of each group's heading; empty if there is one group.
        total: all of it, in rows.
        keys: the columns that name a group and a row.
    """

    heights: dict[tuple[str, str], float]
    headings: dict[str, float]
    total: float
    keys: tuple[str, str]

    def on(self, frame: pd.DataFrame, *, shift: float = 0.0) -> pd.DataFrame:
        """The frame with a column `y`: the height of each row's place, moved by `shift` rows to dodge another."""
        pairs = zip(frame[self.keys[0]], frame[self.keys[1]], strict=True)
        return frame.assign(y=[self.heights[pair] + shift for pair in pairs])


def places(
    frame: pd.DataFrame, *, group: str = "run", row: str = "arm", gap: float = 0.5, headed: bool | None = None
) -> Places:
    """The places of all rows of a frame in its order, `gap` rows between groups.

    Groups have headings where there are several of them, unless `headed` says otherwise.
    """
    heights: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    groups = list(dict.fromkeys(frame[group]))
    y = 0.0
    for name in groups:
        if len(groups) > 1 if headed is None else headed:
            headings[str(name)] = y
            y += 1.0
        for key in dict.fromkeys(frame.loc[frame[group] == name, row]):
            heights[name, key] = y
            y += 1.0
        y += gap
    return Places(heights, headings, y - gap, (group, row))


def name_rows(axes: Sequence[Axes], where: Places, labels: Sequence[str]) -> None:
    """The names of the rows and the headings of the groups at the left of the first of some axes that share them."""
    first = axes[0]
    for ax in axes:
        ax.set_ylim(where.total - 0.4, -0.6)
        ax.set_yticks(list(where.heights.values()), labels if ax is first else [""] * len(labels))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    for name, y in where.headings.items():
        first.text(-0.02, y, name, ha="right", va="center", weight="bold", transform=first.get_yaxis_transform())


def draw(
    ax: Axes,
    frame: pd.DataFrame,
    *,
    limits: tuple[float, float] | None = None,
    reference: float | None = None,
    size: float = 5.0,
    width: float = 1.6,
    said: bool = True,
) -> None:
    """A dot at `estimate` and a bar from `low` to `high` for every row of the frame, at its height `y`.

    Rows with a NaN estimate are left out, bars with a NaN bound too.

    Args:
        ax: the axes to draw on.
        frame: columns y, estimate, low, high, color, marker, hollow.
        limits: the range of the horizontal axis; what lies outside it becomes a hollow arrow at the edge, and a bar
            that reaches beyond it ends in a full one. Without it the axis holds everything.
        reference: where to draw a vertical line, such as 0 for differences.
        size: diameter of the dots, points.
        width: of the bars, points.
        said: whether an arrow has its value written beside it.
    """
    frame = frame[np.isfinite(frame["estimate"].astype(float))]
    if reference is not None:
        ax.axvline(reference, color=style.MUTED, linewidth=0.9, zorder=1)
    if limits is not None:
        ax.set_xlim(*limits)
        inside = frame["estimate"].between(*limits)
        arrows.across(ax, frame[~inside], limits, said=said)
        frame = frame[inside]
    bars(ax, frame, width=width)
    if limits is not None:
        arrows.cut(ax, frame, "low", "high")
    dots(ax, frame, size=size)


def bars(ax: Axes, frame: pd.DataFrame, *, low: str = "low", high: str = "high", width: float = 1.6) -> None:
    """Horizontal bars between the columns `low` and `high`, one collection."""
    drawn = frame[frame[low].notna() & frame[high].notna()]
    if len(drawn):
        ax.hlines(drawn["y"], drawn[low], drawn[high], colors=list(drawn["color"]), linewidth=width, zorder=2)


def dots(ax: Axes, frame: pd.DataFrame, *, x: str = "estimate", size: float = 5.0) -> None:
    """Dots at the column `x`: full ones with a thin white edge, hollow ones with an edge in their colour."""
    import seaborn

    if frame.empty:
        return
    hollow = frame["hollow"].to_numpy(dtype=bool)
    drawn = frame.assign(face=np.where(hollow, "white", frame["color"]))
    seaborn.scatterplot(
        drawn, x=x, y="y", hue="face", palette={name: name for name in drawn["face"].unique()}, style="marker",
        markers={name: name for name in drawn["marker"].unique()}, s=size**2, legend=False, ax=ax, zorder=3,
        edgecolor=list(np.where(hollow, frame["color"], "white")), linewidth=list(np.where(hollow, 1.2, 0.4)),
        clip_on=False,  # one that lies on the edge of the axis is whole
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")


def beside(ax: Axes, frame: pd.DataFrame, texts: Sequence[str]) -> None:
    """A text at the right of the axes for every row of the frame, at its height."""
    for y, text in zip(frame["y"], texts, strict=True):
        ax.text(1.02, y, text, va="center", fontsize=9, transform=ax.get_yaxis_transform())
