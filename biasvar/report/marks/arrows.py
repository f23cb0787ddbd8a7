"""Arrows at the edge of an axis, for what lies outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biasvar.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.path import Path

INSET = 0.025  # from the edge, of the length of the axis
TEXT_INSET = 6.5  # points, of a number from the middle of its arrow
SIZE = 8.5  # points, an arrow's length
HEAD = 4.5  # points, of an arrowhead where a bar is cut

_RIGHT = ((-1.0, 0.2), (0.1, 0.2), (0.1, 0.68), (1.0, 0.0), (0.1, -0.68), (0.1, -0.2), (-1.0, -0.2), (-1.0, 0.2))


def arrow(*, level: bool, forth: bool) -> Path:
    """A marker with a shaft, which points right or left, or up or down: a triangle alone is that of a teacher regime.

    Args:
        level: whether it points right or left.
        forth: whether it points right or up.
    """
    from matplotlib.path import Path

    sign = 1.0 if forth else -1.0
    return Path([(sign * x, y) if level else (y, sign * x) for x, y in _RIGHT])


def across(ax: Axes, frame: pd.DataFrame, limits: tuple[float, float], *, said: bool) -> None:
    """An arrow at the left or right edge, at its height `y`, for every row; with the number it points at if `said`.

    Arrows are full, those of rows that are `hollow` are hollow. They point to the nearer edge.
    """
    transform = ax.get_yaxis_transform()
    for y, value, color, hollow in frame[["y", "estimate", "color", "hollow"]].itertuples(index=False):
        right = value > (limits[0] + limits[1]) / 2
        ax.plot(1 - INSET if right else INSET, y, marker=arrow(level=True, forth=right), markersize=SIZE,
                markerfacecolor="white" if hollow else color, markeredgecolor=color, transform=transform,
                clip_on=False)  # fmt: skip
        if said:
            ax.annotate(
                f"{value:.3g}".replace("-", "−"), (1 - INSET if right else INSET, y), xycoords=transform,
                xytext=(-TEXT_INSET if right else TEXT_INSET, 0), textcoords="offset points", color=style.MUTED,
                fontsize=9, ha="right" if right else "left", va="center", path_effects=style.halo(),
            )  # fmt: skip


def upright(ax: Axes, frame: pd.DataFrame, limits: tuple[float, float], *, x: str) -> None:
    """An arrow at the lower or upper edge, at its place in the column `x`, for every row; hollow where the row is."""
    transform = ax.get_xaxis_transform()
    for place, value, color, hollow in frame[[x, "estimate", "color", "hollow"]].itertuples(index=False):
        up = value > limits[1]
        ax.plot(place, 1 - INSET if up else INSET, marker=arrow(level=False, forth=up), markersize=SIZE,
                markerfacecolor="white" if hollow else color, markeredgecolor=color, transform=transform,
                clip_on=False)  # fmt: skip


def cut(ax: Axes, frame: pd.DataFrame, low: str, high: str, *, upright: bool = False) -> None:
    """A full arrowhead at the edge of the axes, which have their limits, for every end of a bar that lies beyond it.

    Bars are level, at the column `y`, from `low` to `high`; with `upright` they stand at the column `x`.
    """
    edges = ax.get_ylim() if upright else ax.get_xlim()
    transform = ax.get_xaxis_transform() if upright else ax.get_yaxis_transform()
    for at, marker, gone in (
        (0.0, "v" if upright else "<", frame[low] < edges[0]),
        (1.0, "^" if upright else ">", frame[high] > edges[1]),
    ):
        rows = frame[gone]
        for place, color in zip(rows["x" if upright else "y"], rows["color"], strict=True):
            where = (place, at) if upright else (at, place)
            ax.plot(*where, marker, color=color, markersize=HEAD, markeredgewidth=0, transform=transform, clip_on=False,
                    zorder=3)  # fmt: skip
