"""Accuracy against confidence in bins, and how many answers each bin holds: a reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from biasvar.report import style
from biasvar.report.marks import scales

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = "#d55e00"
CROWDED = 20  # times that the fullest bin may hold the emptiest before counts go on a logarithmic axis


def draw(ax: Axes, below: Axes, table: pd.DataFrame, *, color: str, logarithmic: bool | None = None) -> None:
    """Dots at the bins' mean confidence and accuracy with intervals, the gap to the diagonal, and counts below.

    Args:
        ax: of accuracy, from 0 to 1.
        below: of the counts; it shares the horizontal axis, confidence.
        table: of `biasvar.reliability_table`.
        color: of dots and counts.
        logarithmic: whether counts are on a logarithmic axis, the same for axes that share it; by `crowded` if None.
    """
    ax.plot([0, 1], [0, 1], color=style.MUTED, linestyle="--", linewidth=1.1, zorder=1)
    confidence, accuracy = table["confidence"], table["accuracy"]
    ends = np.maximum(np.stack([accuracy - table["accuracy_low"], table["accuracy_high"] - accuracy]), 0.0)
    ax.vlines(confidence, confidence, accuracy, color=GAP, linewidth=5, alpha=0.3, zorder=1)
    ax.errorbar(confidence, accuracy, yerr=ends, color=color, fmt="o", elinewidth=1.2, zorder=3)
    ax.set_ylim(-0.03, 1.05)
    ax.set_xlim(-0.02, 1.02)
    below.bar(table["low"], table["n"], width=table["high"] - table["low"], align="edge", color=color, alpha=0.5,
              edgecolor="white", linewidth=0.6)  # fmt: skip
    if crowded(table) if logarithmic is None else logarithmic:
        scales.log_counts(below)
    else:
        below.yaxis.set_major_locator(MaxNLocator(nbins=3))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def crowded(table: pd.DataFrame) -> bool:
    """True if the fullest bin holds so much that on a plain axis the emptiest would not be seen."""
    return bool(table["n"].max() > CROWDED * table["n"].min())
