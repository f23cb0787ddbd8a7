"""Bars of the labels with most mass, with their names written on them: small enough for the space under an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 14  # letters of a name on an axis
WIDEST_BY_IMAGE = 11  # and beside an image
TRUE_COLOR, OTHER_COLOR = "#7fb6e6", "#d9d9d9"


def draw(ax: Axes, names: Sequence[str], masses: Sequence[float], truth: Sequence[bool], *, size: float = 8.0) -> None:
    """One bar for each label from above, the truth's in blue and bold; the axes keep room for four.

    Args:
        ax: the axes to draw on, without ticks.
        names, masses: of the labels; a mass below 0, as of a score, has no bar.
        truth: which of them is the true class.
        size: of the texts, points.
    """
    span = max(1.0, *(abs(float(mass)) for mass in masses))
    for place, (name, mass, mine) in enumerate(zip(names, masses, truth, strict=True)):
        ax.barh(-place, max(float(mass), 0.0) / span, color=TRUE_COLOR if mine else OTHER_COLOR, height=0.86)
        ax.text(
            0.02, -place, short(str(name), WIDEST_BY_IMAGE), va="center", fontsize=size,
            weight="bold" if mine else "normal",
        )  # fmt: skip
        ax.text(1.0, -place, f"{mass:.2f}", va="center", ha="right", fontsize=size)
    ax.set_xlim(0.0, 1.02)
    ax.set_ylim(-3.5, 0.5)


def short(name: str, letters: int = WIDEST) -> str:
    """A name of at most so many letters.

    >>> short("an extremely long name")
    'an extremely …'
    """
    return name if len(name) <= letters else name[: letters - 1] + "…"
