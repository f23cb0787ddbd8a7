"""How each row of a frame looks, as columns that every mark reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.report.style import Look


def put_on(
    frame: pd.DataFrame, looks: Mapping[str, Look], *, by: str, hollow: str | None = None, scale: float = 1.0
) -> pd.DataFrame:
    """The frame with columns `color`, `marker`, `linestyle`, `hollow`, after the look of what `by` names in each row.

    Args:
        frame: the rows that a mark is to draw.
        looks: colour, marker and line by the values of the column `by`.
        by: the column whose values the looks belong to.
        hollow: a column that is above 0 in the rows to draw hollow; without it none is.
        scale: what `estimate`, `low` and `high` are multiplied by: 100 for percent.

    Raises:
        KeyError: a value of `by` has no look.
    """
    names = frame[by].astype(str)
    chosen = {name: looks[name] for name in dict.fromkeys(names)}
    drawn = frame.assign(
        color=[chosen[name].color for name in names],
        marker=[chosen[name].marker for name in names],
        linestyle=[chosen[name].linestyle for name in names],
        hollow=frame[hollow] > 0 if hollow else False,
    )
    drawn.attrs = {}  # pandas would copy them with every row
    if scale != 1.0:
        bounds = [name for name in ("estimate", "low", "high") if name in drawn]
        drawn[bounds] = scale * drawn[bounds].astype(float)
    return drawn.reset_index(drop=True)
