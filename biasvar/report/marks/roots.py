"""A signed square-root scale: small and large values of either sign show, and 0 has a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAID = "square-root scale"
"""What the label of such an axis says of it."""
_TICKS = (0.01, 0.1, 1.0, 4.0, 16.0, 64.0)
_LEAST = 2  # ticks of an axis
_APART = 0.13  # of the axis: names of ticks that are nearer touch


def root(value: Any) -> Any:
    """The square root of the size, with the sign.

    >>> root(np.array([-4.0, 0.25])).tolist()
    [-2.0, 0.5]
    """
    return np.sign(value) * np.sqrt(np.abs(value))


def square(value: Any) -> Any:
    """The value that has such a root."""
    return np.sign(value) * np.square(value)


def put_on(ax: Axes, which: str, low: float, high: float, *, apart: float = _APART) -> None:
    """Gives the axis "x" or "y" the scale from low to high, with ticks `apart` of its length or more."""
    getattr(ax, f"set_{which}scale")("function", functions=(root, square))
    getattr(ax, f"set_{which}lim")(low, high)
    ticks = _ticks(low, high, apart)
    names = [f"{tick:g}".replace("-", "−").replace("0.", ".") for tick in ticks]
    getattr(ax, f"set_{which}ticks")(ticks, names)
    getattr(ax, f"set_{which}ticks")([], minor=True)


def _ticks(low: float, high: float, apart: float) -> list[float]:
    """0 where it is inside, then the largest on either side, then smaller ones where there is room."""
    from matplotlib.ticker import MaxNLocator

    least = apart * float(root(high) - root(low))
    wanted = [0.0, *(sign * tick for tick in reversed(_TICKS) for sign in (1.0, -1.0))]
    kept: list[float] = []
    for tick in wanted:
        if low <= tick <= high and all(abs(root(tick) - root(other)) >= least for other in kept):
            kept.append(tick)
    if len(kept) < _LEAST:  # a range between two of them
        steps = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        found = [float(f"{tick:.6g}") for tick in steps if low <= tick <= high]
        kept = found if len(found) > len(kept) else kept
    return sorted(kept)
