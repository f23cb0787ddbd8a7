"""A symmetric logarithmic scale for terms of samples: linear near 0, since corrected ones may be negative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINEAR = 0.01
"""Nats: linear up to here and logarithmic beyond, a decade as wide as from 0 to here."""
_LEAST = 10.0 / 9.0  # matplotlib's symlog has 0 to `LINEAR` that wide for linscale 1


def scaled(value: Any) -> Any:
    """Values in even steps of the axis that `put_on` makes."""
    size = np.abs(value) / LINEAR
    return np.sign(value) * np.where(size > 1.0, _LEAST + np.log10(np.maximum(size, 1.0)), size * _LEAST)


def unscaled(value: Any) -> Any:
    """The values of even steps."""
    size = np.abs(value)
    return np.sign(value) * LINEAR * np.where(size > _LEAST, 10.0 ** (size - _LEAST), size / _LEAST)


def put_on(ax: Axes, which: str, low: float, high: float) -> None:
    """Makes the axis "x" or "y" symmetric logarithmic from low to high, with ticks that do not touch."""
    getattr(ax, f"set_{which}scale")("symlog", linthresh=LINEAR)
    ticks = [t for t in (-10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0) if low <= t <= high]
    names = [f"{t:g}".replace("-", "−").replace("0.1", ".1") for t in ticks]
    getattr(ax, f"set_{which}ticks")(ticks, names)
    getattr(ax, f"set_{which}ticks")([], minor=True)
    getattr(ax, f"set_{which}lim")(low, high)


def limits(values: np.ndarray) -> tuple[float, float]:
    """The range of values with a margin, even on the scale."""
    low, high = float(scaled(values.min())), float(scaled(values.max()))
    room = 0.03 * (high - low) or 0.5
    return float(unscaled(low - room)), float(unscaled(high + room))
