"""Dots with intervals in rows, one under another: the mark of every comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.marks import arrows, points
from biasvar.report.marks.labels import text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

ROW_HEIGHT = 0.195  # inches, enough for 9.5 points
MOST_ABREAST = 4
WIDEST_NAMES = 0.4  # of the picture's width; wider ones stand above their rows
NAME_SIZE = 9.0  # points
_LINE = 0.156  # inches, of each line of a name above a row
_OVER = 0.42  # of a row, from a name above it to the middle of the row
_OVER_SEVERAL = 0.5  # the same where a row holds several dots, one under another


@dataclass(frozen=True)
class Places:
    """Where the rows of a forest lie.

    Attributes:
        heights: the height of each (group, row), downwards, in rows.
        headings: the height of each group's heading; empty if there is one group.
        total: all of it, in rows.
        keys: the columns that name a group and a row.
        names: what the rows are called, where these names stand above their rows; else empty.
        over: from such a name to the middle of its row, in rows.
    """

    heights: dict[tuple[str, str], float]
    headings: dict[str, float]
    total: float
    keys: tuple[str, str]
    names: tuple[str, ...] = ()
    over: float = _OVER

    def on(self, frame: pd.DataFrame, *, shift: float = 0.0) -> pd.DataFrame:
        """The frame with a column `y`: the height of each row's place, moved by `shift` rows to dodge another."""
        pairs = zip(frame[self.keys[0]], frame[self.keys[1]], strict=True)
        return frame.assign(y=[self.heights[pair] + shift for pair in pairs])

    def named(
        self, names: Sequence[str], *, above: bool | None = None, room: float = 0.0, row: float = ROW_HEIGHT,
        widest: float = WIDEST_NAMES,
    ) -> Places:  # fmt: skip
        """The places with room for the names of the rows.

        Names that would take more than `widest` of the picture's width stand above their rows, on as many lines
        as they need; other places stay as they are.

        Args:
            names: of the rows, downwards.
            above: whether they stand above on a narrow screen; by default as their widths say.
            room: inches at the right that names above leave free, such as for a number.
            row: the height of a row, inches; higher ones hold several dots.
            widest: the share of the picture's width that names at the left may take.
        """
        width = style.NARROW_WIDTH if style.narrow() else style.FULL_WIDTH
        if above is None or not style.narrow():
            above = max(text_size(name, NAME_SIZE)[0] for name in names) > 72 * widest * width
        if not above:
            return self
        written = tuple(_wrapped(name, 72 * (width - 0.25 - room)) for name in names)
        heights, added = {}, []
        for (place, y), name in zip(self.heights.items(), written, strict=True):
            added.append((y, _LINE / row * (name.count("\n") + 1)))
            heights[place] = y + sum(more for _, more in added)
        headings = {name: y + sum(more for at, more in added if at < y) for name, y in self.headings.items()}
        total = self.total + sum(more for _, more in added)
        over = _OVER if row <= ROW_HEIGHT else _OVER_SEVERAL
        return replace(self, heights=heights, headings=headings, total=total, names=written, over=over)


def _wrapped(name: str, width: float) -> str:
    """A name on lines of no more than a width in points, broken between words."""
    lines = [""]
    for word in re.split(r"(?<=[_ ])", name):
        if lines[-1] and text_size((lines[-1] + word).rstrip(), NAME_SIZE)[0] > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


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


def panels(
    block: FigureBase, where: Places, labels: Sequence[str], count: int, *, most: int = MOST_ABREAST, on_narrow: int = 1
) -> list[Axes]:
    """Axes that share their rows, side by side, named at the left of the first.

    No more than `most` stand side by side, on a narrow screen `on_narrow`; rows are named anew in each line of them.
    """
    across = style.abreast(min(count, most), on_narrow=on_narrow)
    grid = block.subplots(-(-count // across), across, squeeze=False)
    for axes in grid:
        name_rows(axes, where, labels)
    for ax in grid.ravel()[count:]:
        ax.set_visible(False)
    return list(grid.ravel()[:count])


def height(
    where: Places, count: int = 1, *, most: int = MOST_ABREAST, on_narrow: int = 1, row: float = ROW_HEIGHT,
    more: float = 0.75,
) -> float:  # fmt: skip
    """The inches that such panels take with rows of a height, and `more` for title and axis of each line of them."""
    return -(-count // style.abreast(min(count, most), on_narrow=on_narrow)) * (more + row * where.total)


def name_rows(axes: Sequence[Axes], where: Places, labels: Sequence[str]) -> None:
    """The names of the rows and the headings of the groups at the left of the first of some axes that share them.

    Names that `Places.named` made room for stand above their rows.
    """
    first = axes[0]
    for ax in axes:
        shown = labels if ax is first and not where.names else [""] * len(labels)
        ax.set_ylim(where.total - 0.4, -0.6)
        ax.set_yticks(list(where.heights.values()), shown)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    if where.names:
        first.set_zorder(1)  # names run over the axes beside it
    for name, y in zip(where.names, where.heights.values() if where.names else (), strict=True):
        first.text(0, y - where.over, name, va="bottom", fontsize=NAME_SIZE, transform=first.get_yaxis_transform(),
                   in_layout=False, zorder=4, linespacing=1.05, path_effects=style.halo())  # fmt: skip
    for name, y in where.headings.items():
        _head(first, y, name)


def _head(ax: Axes, y: float, name: str) -> None:
    """A heading at the left of the axes; on a narrow screen from the left edge of the picture, over the axes."""
    if not style.narrow():
        ax.text(-0.02, y, name, ha="right", va="center", weight="bold", transform=ax.get_yaxis_transform())
        return
    ax.annotate(
        name, (0.012, y), xycoords=(ax.figure.transSubfigure, ax.transData), va="center", weight="bold",
        annotation_clip=False, in_layout=False, path_effects=style.halo(), zorder=5,
    )  # fmt: skip


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
        limits: the range of the horizontal axis; what lies outside it, or hollow on its edge, becomes an arrow there,
            and a bar that reaches beyond it ends in a smaller one. Without it the axis holds everything.
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
        room = (
            frame["hollow"].astype(bool) * arrows.INSET * (limits[1] - limits[0])
        )  # these set no scale, with no margin
        inside = frame["estimate"].between(limits[0] + room, limits[1] - room)
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
    frame = frame[frame[x].notna()]
    if frame.empty:
        return
    edges = list(np.where(frame["hollow"].to_numpy(dtype=bool), 1.2, 0.4))
    points.draw(ax, frame, x=x, y="y", size=size, edge=edges, clip_on=False)  # whole on the edge of the axis too
    ax.set(xlabel="", ylabel="")


def beside(ax: Axes, frame: pd.DataFrame, texts: Sequence[str], *, above: bool = False, **look: Any) -> None:
    """A text at the right of the axes for every row of the frame, at its height or, with `above`, over it."""
    for y, text in zip(frame["y"], texts, strict=True):
        at, side, rise = (1.0, "right", "bottom") if above else (1.02, "left", "center")
        ax.text(at, y - _OVER * above, text, ha=side, va=rise, fontsize=NAME_SIZE, zorder=4,
                transform=ax.get_yaxis_transform(), path_effects=style.halo() if above else None, **look)  # fmt: skip
