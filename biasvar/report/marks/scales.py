"""The range and the ticks of axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def sound(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that may set a scale: those with `failed` at 0, or all if there is none."""
    rows = frame[frame["failed"] == 0]
    return rows if len(rows) else frame


def limits(frame: pd.DataFrame, *, anchor: float | None = None, room: float = 0.0) -> tuple[float, float]:
    """The range of an axis of values: all intervals of sound rows with a margin, and `anchor`, without one.

    `room` is a share of the range that is added at both ends.
    """
    values = sound(frame)[["estimate", "low", "high"]].to_numpy(dtype=float).ravel()
    values = np.append(values[np.isfinite(values)], [] if anchor is None else [anchor])
    if not len(values):
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    low, high = (low if low == anchor else low - margin), (high if low < high == anchor else high + margin)
    return low - room * (high - low), high + room * (high - low)


def values(ax: Axes, label: str, *, ticks: int = 4) -> None:
    """Names a horizontal axis of values and keeps its ticks few and short."""
    from matplotlib.ticker import FuncFormatter

    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))


def logarithmic(ax: Axes, *, between: bool = True) -> None:
    """A logarithmic vertical axis in plain numbers, with a few ticks between the powers of ten unless it spans many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if between else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def root(axis: Axis, low: float, high: float, *, most: int = 6) -> None:
    """A square-root scale, of both signs, from `low` to `high`: small values have room, 0 is there, large ones fit.

    Ticks are round numbers in plain digits, at most `most` where they would touch.
    """
    signed = (lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    axis._set_axes_scale("function", functions=signed)  # type: ignore[attr-defined]
    axis.set_view_interval(low, high, ignore=True)
    ticks = _round_numbers(low, high, most)
    axis.set_ticks(ticks, [f"{value:g}".replace("-", "−") for value in ticks])
    axis.set_ticks([], minor=True)


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    """Round numbers of both signs between two, no two nearer on a square-root scale than a part of the range."""
    from matplotlib.ticker import MaxNLocator

    steps = [0.0] + [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    place = {value: float(np.sign(value) * np.sqrt(abs(value))) for one in steps for value in (one, -one)}
    inside = sorted((value for value in place if low <= value <= high), key=lambda value: (value != 0, -abs(value)))
    least = (np.sqrt(abs(high)) * np.sign(high) - np.sqrt(abs(low)) * np.sign(low)) / most
    kept: list[float] = []
    for value in inside:  # 0 first, then from the ends inwards
        if all(abs(place[value] - place[other]) >= least for other in kept):
            kept.append(value)
    if len(kept) < 3:  # a range too short for these
        kept = [float(f"{value:.10g}") for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]
    return sorted(kept)


def doublings(ax: Axes, settings: Iterable[float], *, apart: float = 0.11) -> None:
    """A horizontal axis in powers of two with a tick at each setting, in plain numbers, where ticks do not touch.

    A setting of 0 stands one doubling below the least of the others. Ticks are at least `apart` of the range from one
    another.
    """
    found = sorted({float(value) for value in settings})
    least = next((value for value in found if value > 0), 1.0)
    if found[0] > 0:
        ax.set_xscale("log", base=2)
    else:
        ax.set_xscale("symlog", base=2, linthresh=least)
    places = [float(np.log2(value / least)) if value > 0 else -1.0 for value in found]
    span = places[-1] - places[0]
    kept: list[int] = []
    for i, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= max(apart * span, 0.2):
            kept.append(i)
    ax.set_xticks([found[i] for i in kept], [f"{found[i]:g}" for i in kept])
    ax.set_xticks([], minor=True)
    room = 2 ** (0.08 * span + 0.1)
    ax.set_xlim(found[0] / room if found[0] > 0 else -0.3 * least, max(found[-1], least) * room)


def log_counts(ax: Axes) -> None:
    """A logarithmic vertical axis of counts with plain numbers (math in texts is off in the report)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log")
    ax.set_ylim(bottom=0.5)
    ax.yaxis.set_major_locator(LogLocator(numticks=5))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
