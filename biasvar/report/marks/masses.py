"""Bars of the labels with most mass, with their names written on them: small enough for the space under an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biasvar.report.marks import legends
from biasvar.report.marks.labels import text_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

WIDEST = 14  # letters of a name on an axis
WIDEST_BY_IMAGE = 11  # and beside an image
LEGEND = 0.5  # inches
SIZE = 9.0  # of the texts, points
TRUE_COLOR, OTHER_COLOR = "#7fb6e6", "#d9d9d9"


def draw(ax: Axes, names: Sequence[str], masses: Sequence[float], truth: Sequence[bool], *, width: float) -> None:
    """One bar for each label from above, the truth's in blue; the axes keep room for four.

    Args:
        ax: the axes to draw on, without ticks.
        names, masses: of the labels; a mass below 0, as of a score, has no bar.
        truth: which of them is the true class.
        width: of the axes, points; names are shortened to leave room for their numbers.
    """
    span = max(1.0, *(abs(float(mass)) for mass in masses))
    for place, (name, mass, mine) in enumerate(zip(names, masses, truth, strict=True)):
        ax.barh(-place, max(float(mass), 0.0) / span, color=TRUE_COLOR if mine else OTHER_COLOR, height=0.86)
        number = f"{mass:.2f}"
        said = _beside(short(str(name), WIDEST_BY_IMAGE), number, 0.96 * width)
        ax.text(0.02, -place, said, va="center", fontsize=SIZE)
        ax.text(1.0, -place, number, va="center", ha="right", fontsize=SIZE)
    ax.set_xlim(0.0, 1.02)
    ax.set_ylim(-3.5, 0.5)


def _beside(name: str, number: str, width: float) -> str:
    """As much of a name as fits beside its number."""
    left = width - text_size(number, SIZE)[0]
    return next((said for n in range(len(name), 1, -1) if text_size(said := short(name, n), SIZE)[0] <= left), name[:1])


def room(figure: Figure, across: int) -> float:
    """Points that the bars of a sample have in width where so many samples stand side by side."""
    return 72.0 * float(figure.get_figwidth()) / across - 6.0


def legend(figure: FigureBase, what: str) -> None:
    """Says under the figure what the bars are and whose are blue; takes `LEGEND` inches."""
    entries = [legends.patch(TRUE_COLOR, "the true class"), legends.patch(OTHER_COLOR, "another class")]
    legends.below(figure, entries, title=f"bars: {what}", alignment="left", title_fontsize=9)


def short(name: str, letters: int = WIDEST) -> str:
    """A name of at most so many letters.

    >>> short("an extremely long name")
    'an extremely …'
    """
    return name if len(name) <= letters else name[: letters - 1] + "…"
