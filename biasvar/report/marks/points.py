"""Dots that differ in colour and marker, as one collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(
    ax: Axes, frame: pd.DataFrame, *, x: str, y: str, size: float, edge: float | Sequence[float], **look: Any
) -> None:
    """A dot for every row of the frame, one at least: full ones with a white edge, hollow ones in their colour.

    Drawn by matplotlib alone: seaborn takes a second to import, with all of scipy.stats.

    Args:
        ax: the axes to draw on.
        frame: columns x, y (no NaN), color, marker, hollow.
        x, y: the columns on the two axes.
        size: diameter of the dots, points.
        edge: width of their edges, points.
        look: further settings of the collection.
    """
    from matplotlib.markers import MarkerStyle

    markers = {name: MarkerStyle(name) for name in frame["marker"].unique()}
    paths = {name: marker.get_path().transformed(marker.get_transform()) for name, marker in markers.items()}
    hollow = frame["hollow"].to_numpy(dtype=bool)
    dots = ax.scatter(
        frame[x], frame[y], s=size**2, edgecolor=list(np.where(hollow, frame["color"], "white")), linewidth=edge,
        zorder=3, **look,
    )  # fmt: skip
    dots.set_facecolor(list(np.where(hollow, "white", frame["color"])))
    dots.set_paths([paths[name] for name in frame["marker"]])
