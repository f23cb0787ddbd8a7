"""Many points in a plane, coloured by a share; where they are too many, cells of a grid that tell their number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import FigureBase

MOST_POINTS = 1_500
"""Beyond so many, points of one panel would hide one another."""
NEVER, MIDDLE, ALWAYS = "#d55e00", "#b9aea6", "#1f5f99"
_BIGGEST = 5.2  # points: the side of the cell that holds most
_SMALLEST = 1.5


def collected(
    x: np.ndarray, y: np.ndarray, share: np.ndarray, names: np.ndarray, *, bins: int = 40, x_scale: Any = None,
    y_scale: Any = None, y_range: tuple[float, float] | None = None, most: int = MOST_POINTS,
) -> pd.DataFrame:  # fmt: skip
    """The points (N,), one row each, or of more than `most` the cells of a grid, even on the scales, over `y_range`.

    Columns: kind ("sample" or "cell"), name (of a sample), x, y (of a cell: its middle), share (of a cell: the mean),
    count. Scales are pairs of functions, to even steps and back; None for a plain axis.
    """
    if len(x) <= most:
        return pd.DataFrame({"kind": "sample", "name": names, "x": x, "y": y, "share": share, "count": 1})
    (to_x, from_x), (to_y, from_y) = (scale or (lambda v: v, lambda v: v) for scale in (x_scale, y_scale))
    places, middles = [], []
    for values, back, ends in ((to_x(x), from_x, None), (to_y(y), from_y, y_range)):
        low, high = ends or (float(values.min()), float(values.max()))
        width = (high - low) / bins or 1.0
        place = np.minimum(((values - low) / width).astype(np.int64), bins - 1)
        places.append(place)
        middles.append(back(low + width * (np.arange(bins) + 0.5)))
    cell = places[0] * bins + places[1]
    there, cell = np.unique(cell, return_inverse=True)
    count = np.bincount(cell)
    return pd.DataFrame(
        {
            "kind": "cell",
            "name": None,
            "x": middles[0][there // bins],
            "y": middles[1][there % bins],
            "share": np.bincount(cell, share) / count,
            "count": count,
        }
    )


def colors() -> Any:
    """The colours of shares from 0 (never) to 1 (always); told apart with the common colour-blindnesses."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("never to always", [NEVER, MIDDLE, ALWAYS])


def draw(ax: Axes, frame: pd.DataFrame, *, top: float) -> Any:
    """The points or cells of a frame of `collected`; a cell's square grows with the logarithm of its count.

    Args:
        ax: the axes to draw on.
        frame: columns kind, x, y, share, count.
        top: the count of the largest square, the same in all panels.

    Returns:
        What a colour bar is made for.
    """
    frame = frame.sort_values("share", ascending=False, kind="stable")  # the rarer ones, which are wrong, on top
    cells = bool((frame["kind"] == "cell").any())
    side = side_of(frame["count"].to_numpy(), top) if cells else np.full(len(frame), 3.2)
    return ax.scatter(
        frame["x"], frame["y"], c=frame["share"], s=side**2, marker="s" if cells else "o", cmap=colors(), vmin=0.0,
        vmax=1.0, linewidths=0, alpha=None if cells else 0.75, rasterized=True, zorder=2,
    )  # fmt: skip


def side_of(count: Any, top: float) -> np.ndarray:
    """Points of the side of a cell with so many samples, where the fullest has `top`."""
    return _SMALLEST + (_BIGGEST - _SMALLEST) * np.log10(np.maximum(count, 1)) / max(np.log10(max(top, 2.0)), 1e-9)


def bar(figure: FigureBase, mesh: Any, axes: Any, label: str) -> None:
    """The colour bar at the right of the axes, on a narrow screen above them."""
    where = "top" if style.narrow() else "right"
    found = figure.colorbar(mesh, ax=axes, location=where, fraction=0.03, pad=0.01, aspect=30)
    found.set_ticks([0.0, 0.5, 1.0], labels=["0 %", "50 %", "100 %"])
    found.set_label(label)
    found.outline.set_visible(False)


def columns(panels: int) -> int:
    """How many panels stand side by side: at most three, and none alone in its row where that can be.

    >>> [columns(panels) for panels in range(1, 7)]
    [1, 2, 3, 2, 3, 3]
    """
    return style.abreast(2 if panels == 4 else min(panels, 3))


def grid(panels: int, *, more: float) -> tuple[Drawing, Any]:
    """A figure with axes (rows, columns) for so many panels on the same scales; `more` inches of height beside them."""
    across = columns(panels)
    rows = -(-panels // across)
    extra = 0.8 if style.narrow() else 0.0
    figure = style.new_figure(height=more + extra + 2.75 * rows, width=style.FULL_WIDTH if across > 1 else 5.4)
    axes = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    for ax in list(axes.flat)[panels:]:
        ax.set_axis_off()
    return figure, axes


def legend(figure: Drawing, entries: list[Any]) -> None:
    """A legend over everything in the figure, from the left; the names of shared axes stand below."""
    if entries:
        columns = 4 if figure.bbox.width >= 6.0 * figure.dpi else 3 if len(entries) < 4 else 2
        columns = style.abreast(columns, on_narrow=2)
        figure.legend(handles=entries, loc="outside upper left", ncols=columns, handletextpad=0.2, columnspacing=1.2)


def sizes(top: float) -> list[Any]:
    """Entries of a legend that say how many samples a square stands for; none where nothing is a cell."""
    from matplotlib.lines import Line2D

    counts = sorted({1, round(10 ** (np.log10(top) / 2)), int(top)}) if top > 1 else []
    return [
        Line2D([], [], linestyle="none", marker="s", color=style.MUTED, markeredgewidth=0,
               markersize=float(side_of(count, top)), label=f"{count:,} sample{'s' if count > 1 else ''}")
        for count in counts
    ]  # fmt: skip
