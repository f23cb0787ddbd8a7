"""Lines with bands: the mark of everything that has a course."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report.marks import arrows, scales, scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGE = (0, (1.0, 2.0))  # dotted, of an interval's ends
_NAME_APART = 11.0  # points, from the middle of a name at a line's end to the next


def draw(
    ax: Axes, frame: pd.DataFrame, *, x: str = "epoch", line: str = "arm", markers: bool = False, band: float = 0.16,
    bars: float = 0.0, width: float = 1.5, size: float = 4.0,
) -> None:  # fmt: skip
    """A line through `estimate` for every value of the column `line`, with its interval from `low` to `high`.

    Args:
        ax: the axes to draw on.
        frame: columns x, estimate, low, high, color, marker, linestyle, hollow.
        x: the column on the horizontal axis.
        line: the column that says which rows make one line.
        markers: whether every point has its marker (a line of one point has it anyway).
        band: how opaque the intervals are as a band; 0 for none.
        bars: width of the intervals as bars, points; 0 for none.
        width: of the lines, points.
        size: of the markers, points.
    """
    for _, rows in frame.groupby(line, sort=False):
        rows = rows.sort_values(x)
        look = rows.iloc[0]
        if band:
            ax.fill_between(rows[x], rows["low"], rows["high"], color=look["color"], alpha=band, linewidth=0)
        if bars:
            ax.vlines(rows[x], rows["low"], rows["high"], colors=look["color"], linewidth=bars, zorder=2)
        ax.plot(
            rows[x], rows["estimate"], color=look["color"], linestyle=look["linestyle"], linewidth=width,
            marker=look["marker"] if markers or len(rows) == 1 else "", markersize=size, zorder=3,
            markerfacecolor="white" if look["hollow"] else look["color"],
        )  # fmt: skip


def name_ends(ax: Axes, frame: pd.DataFrame, names: Mapping[Any, str], *, x: str, line: str, high: float) -> None:
    """The name of each line at its right end, in its colour, beside the axes; names that would touch are moved apart.

    Args:
        ax: the axes, with their limits.
        frame, x, line: see `draw`.
        names: what each value of the column `line` is called.
        high: how high the axes are, points.
    """
    ends = frame.sort_values(x).groupby(line, sort=False).last().sort_values("estimate")
    bottom, top = ax.get_ylim()
    gap = _NAME_APART / high
    places: list[float] = []
    for value in np.clip((ends["estimate"] - bottom) / (top - bottom), 0.0, 1.0):
        places.append(max(float(value), places[-1] + gap) if places else float(value))
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], 1.0 + gap / 2 if i == len(places) - 1 else places[i + 1] - gap)
    for place, (name, color) in zip(places, ends["color"].items(), strict=True):
        ax.text(1.02, place, names[name], color=color, va="center", ha="left", fontsize=9, transform=ax.transAxes)


def against(
    ax: Axes, frame: pd.DataFrame, *, x: str = "value", line: str, limits: tuple[float, float] | None = None,
    dotted: bool = False,
) -> None:  # fmt: skip
    """A line with dots and their bars for every value of `line`, against a setting in powers of two.

    Dots at one setting stand side by side; there is none where the estimate is NaN. Hollow ones have no bar and set no
    scale; one outside it becomes an arrow at the edge, past which the line does not go.

    Args:
        ax: the axes to draw on.
        frame: columns x, estimate, low, high, failed, color, marker, linestyle, hollow.
        x: the column with the setting.
        line: the column that says which rows make one line.
        limits: the range of the axis; of the estimates and their bars without it.
        dotted: whether lines are thin and dotted, where their course is not what is to be read.
    """
    limits = limits or scales.limits(frame)
    names = list(dict.fromkeys(frame[line]))
    places = frame[line].map(names.index) - (len(names) - 1) / 2
    scales.doublings(ax, frame[x])
    frame = frame.assign(x=frame[x] * 2.0 ** (0.09 * places)).sort_values("x")
    frame = frame[np.isfinite(frame["estimate"])]
    inside = frame["estimate"].between(*limits)
    for name in names:
        rows = frame[inside & (frame[line] == name)]
        if len(rows):
            first = rows.iloc[0]
            kind, width = (":", 0.9) if dotted else (first["linestyle"], 1.3)
            ax.plot(rows["x"], rows["estimate"], color=first["color"], linestyle=kind, linewidth=width)
    dots = frame[inside].assign(low=frame["low"].where(~frame["hollow"]))
    scatter.draw(ax, dots, x="x", y="estimate", low="low", high="high", width=1.4, edge=0.5, alpha=1.0)
    arrows.upright(ax, frame[~inside], limits, x="x")
    ax.set_ylim(*limits)


def level(ax: Axes, estimate: float, low: float, high: float, *, color: str) -> None:
    """A level line with dotted edges of its interval for what has no setting; the vertical axis makes room for it."""
    low, high = (bound if np.isfinite(bound) else estimate for bound in (low, high))
    ax.axhline(estimate, color=color, linewidth=1.1, zorder=1)
    for edge in (low, high) if low < high else ():
        ax.axhline(edge, color=color, linewidth=0.8, linestyle=EDGE, zorder=1)
    bottom, top = ax.get_ylim()
    margin = 0.02 * (top - bottom)
    ax.set_ylim(min(bottom, low - margin), max(top, high + margin))
