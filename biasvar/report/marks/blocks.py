"""Figures of several blocks under one another, such as one for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

HEAD = 0.3  # inches


def stacked(
    names: Sequence[str], heights: Sequence[float], *, more: float = 0.0
) -> tuple[Figure, dict[str, SubFigure]]:
    """A figure with a block of a height in inches for each name, headed by it where there are several.

    `more` is the height of what stands beside the blocks, such as a legend.
    """
    figure = style.new_figure(height=sum(heights) + more)
    parts = figure.subfigures(len(names), 1, squeeze=False, height_ratios=heights)[:, 0]
    if len(names) > 1:
        for name, part in zip(names, parts, strict=True):
            part.suptitle(name, weight="bold", fontsize=10.5, x=0.01, ha="left")
    return figure, dict(zip(names, parts, strict=True))
