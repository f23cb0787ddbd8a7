"""Points in a plane, with error bars where the frame has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.report.marks import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(
    ax: Axes, frame: pd.DataFrame, *, x: str, y: str, low: str | None = None, high: str | None = None,
    size: float = 5.5, width: float = 0.9, edge: float = 0.4, alpha: float = 0.9,
) -> None:  # fmt: skip
    """A point for every row of the frame, and a vertical bar from `low` to `high`.

    Args:
        ax: the axes to draw on.
        frame: columns x, y, color, marker, hollow.
        x, y: the columns on the two axes.
        low, high: the columns with the ends of the bars; without them there are none.
        size: diameter of the points, points.
        width: of the bars, points.
        edge: width of their edge, points: white around full ones, in their colour around hollow ones.
        alpha: how opaque the points are.
    """
    drawn = frame[np.isfinite(frame[x].astype(float)) & np.isfinite(frame[y].astype(float))]
    if drawn.empty:
        return
    if low is not None and high is not None:
        bars = drawn[drawn[low].notna() & drawn[high].notna()]
        ax.vlines(bars[x], bars[low], bars[high], colors=list(bars["color"]), linewidth=width, alpha=alpha, zorder=2)
    points.draw(ax, drawn, x=x, y=y, size=size, edge=edge, alpha=alpha)
    ax.set(xlabel="", ylabel="")
