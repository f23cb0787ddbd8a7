"""Arrows at the edge of an axis, for what lies outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biasvar.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

INSET = 0.025  # from the edge, of the length of the axis
TEXT_INSET = 0.06


def across(ax: Axes, frame: pd.DataFrame, limits: tuple[float, float], *, said: bool) -> None:
    """An arrow at the left or right edge, at its height `y`, for every row; with the number it points at if `said`."""
    transform = ax.get_yaxis_transform()
    for y, value, color in zip(frame["y"], frame["estimate"], frame["color"], strict=True):
        right = value > limits[1]
        ax.plot(1 - INSET if right else INSET, y, ">" if right else "<", markersize=5.5, markerfacecolor="white",
                markeredgecolor=color, transform=transform, clip_on=False)  # fmt: skip
        if said:
            ax.text(1 - TEXT_INSET if right else TEXT_INSET, y, f"{value:.3g}".replace("-", "−"), color=style.MUTED,
                    fontsize=9, ha="right" if right else "left", va="center", transform=transform)  # fmt: skip


def upright(ax: Axes, frame: pd.DataFrame, limits: tuple[float, float], *, x: str) -> None:
    """An arrow at the lower or upper edge, at its place in the column `x`, for every row."""
    transform = ax.get_xaxis_transform()
    for place, value, color in zip(frame[x], frame["estimate"], frame["color"], strict=True):
        up = value > limits[1]
        ax.plot(place, 1 - INSET if up else INSET, "^" if up else "v", markersize=5.5, markerfacecolor="white",
                markeredgecolor=color, transform=transform, clip_on=False)  # fmt: skip
