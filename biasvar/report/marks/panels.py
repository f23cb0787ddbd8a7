"""Panels of a forest that share their rows: beside one another, on a narrow screen under one another."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biasvar.report import style
from biasvar.report.marks import forest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

AXIS = 0.65  # inches of a panel's title, ticks and axis name
LETTERS = 24  # of a line above or under a panel on a narrow screen


def height(rows: float, count: int) -> float:
    """Inches that so many panels with rows of that height take, with their titles and axes."""
    return (rows + AXIS) * (count if style.abreast(count) == 1 else 1)


def sharing_rows(figure: FigureBase, where: forest.Places, labels: Sequence[str], count: int) -> list[Axes]:
    """So many panels with the same rows, named at the left: once, where the panels are under one another in each."""
    across = style.abreast(count)
    axes = list(figure.subplots(count // across, across, squeeze=False).flat)
    for named in [axes] if across > 1 else [[ax] for ax in axes]:
        forest.name_rows(named, where, labels)
    return axes


def fitted(text: str, letters: int = LETTERS) -> str:
    """A title or the name of an axis, on a narrow screen broken into lines of at most so many letters."""
    return textwrap.fill(text, letters) if style.narrow() else text


def name_feet(axes: np.ndarray, text: str) -> None:
    """Ticks and the name of a shared horizontal axis, under the lowest panel of each column that is switched on."""
    for column in axes.T:
        for ax in [ax for ax in column if ax.axison][-1:]:
            ax.tick_params(axis="x", labelbottom=True)
            ax.set_xlabel(text)
