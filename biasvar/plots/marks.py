"""The report's marks: dots with intervals, lines with bands, points in a plane, for any frame; images of samples.

Those for a frame draw on `ax`, or on new axes, and return them. A frame without rows, without a column that is named,
or with no number where one belongs is a ValueError that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biasvar.messages import first_few, no_such
from biasvar.plots.given_axes import root_of
from biasvar.plots.showing import in_the_reports_look
from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

INTERVAL = ("estimate", "low", "high")


def forest(
    frame: pd.DataFrame, *, name: str = "arm", by: str | None = None, reference: float | None = None, xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A row for each row of the frame: a dot at `estimate`, a bar from `low` to `high`.

    Args:
        frame: Numbers `estimate`, `low`, `high` (NaN where there is none), and names.
        name: The column with the names of the rows.
        by: A column of names: each has its colour, and its entry in a legend. Without it all rows are black.
        reference: Where to draw a vertical line, such as 0 for differences.
        xlabel: What is measured, and its unit.

    >>> frame = pd.DataFrame({"arm": ["KD", "WSL"], "estimate": [-0.1, 0.1], "low": [-0.2, -0.1], "high": [0.0, 0.3]})
    >>> ax = forest(frame, reference=0.0, xlabel="change of variance (nats)")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['KD', 'WSL']
    """
    from biasvar.report.marks import forest as mark

    rows = _checked(frame, INTERVAL, [name] if by is None else [name, by])
    rows = _with_looks(rows.assign(one="", row=[str(number) for number in range(len(frame))]), by)
    with in_the_reports_look():
        ax = _axes(ax, height=0.8 + 0.26 * len(rows))
        where = mark.places(rows, group="one", row="row")
        mark.name_rows([ax], where, list(rows[name].astype(str)))
        mark.draw(ax, where.on(rows), reference=reference)
        ax.set_xlabel(xlabel)
        _name_colours(ax, frame, by)
        _settle(ax)
    return ax


def lines(
    frame: pd.DataFrame, *, x: str = "epoch", line: str = "arm", ylabel: str = "", ax: Axes | None = None
) -> Axes:
    """A line through `estimate` for each value of a column, with a band from `low` to `high` and its name in a legend.

    Args:
        frame: Numbers x, `estimate`, `low`, `high` (NaN where there is none), and names.
        x: The column on the horizontal axis.
        line: The column that says which rows make one line.
        ylabel: What is measured, and its unit.

    >>> frame = pd.DataFrame({"epoch": [1, 2], "arm": "KD", "estimate": [0.4, 0.3], "low": [0.3, 0.2], "high": 0.5})
    >>> ax = lines(frame, ylabel="bias (nats)")
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('epoch', ['KD'])
    """
    from biasvar.report.marks import legends
    from biasvar.report.marks import lines as mark

    rows = _with_looks(_checked(frame, (x, *INTERVAL), [line]), line)
    with in_the_reports_look():
        ax = _axes(ax, height=3.2)
        mark.draw(ax, rows, x=x, line=line)
        ax.set(xlabel=x, ylabel=ylabel)
        ax.locator_params(axis="x", integer=bool((rows[x] % 1 == 0).all()))
        ax.legend(handles=legends.lines(style.styles_of(frame, line)))
        _settle(ax)
    return ax


def scatter(
    frame: pd.DataFrame, *, x: str, y: str, by: str | None = None, low: str | None = None, high: str | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A point for each row of the frame, with a vertical bar from `low` to `high` where these are given.

    Args:
        frame: Numbers x, y, low and high, and names.
        x, y: The columns on the two axes, which are named after them.
        by: A column of names: each has its colour, and its entry in a legend. Without it all points are black.
        low, high: The columns with the ends of the bars; without them there are none.

    >>> frame = pd.DataFrame({"bias": [0.1, 0.4], "variance": [0.2, 0.1], "arm": ["KD", "WSL"]})
    >>> ax = scatter(frame, x="bias", y="variance", by="arm")
    >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.get_legend().get_texts())
    ('bias', 'variance', 2)
    """
    from biasvar.report.marks import scatter as mark

    if (low is None) != (high is None):
        raise ValueError("low and high go together: name both columns or none")
    ends = [] if low is None or high is None else [low, high]
    rows = _checked(frame, (x, y, *ends), [] if by is None else [by])
    rows = _with_looks(rows, by)
    with in_the_reports_look():
        ax = _axes(ax, height=4.0, width=5.0)
        mark.draw(ax, rows, x=x, y=y, low=low, high=high)
        ax.set(xlabel=x, ylabel=y)
        _name_colours(ax, frame, by)
        _settle(ax)
    return ax


def images(pictures: Sequence[ArrayLike], *, titles: Sequence[str] = (), abreast: int = 8) -> np.ndarray:
    """Images of samples in rows, each under its title and with grey values of its own.

    Args:
        pictures: Each (H, W) or (H, W, 1), dark being high, or (H, W, 3) in colours.
        titles: One for each picture, or none at all.
        abreast: How many stand side by side.

    Returns:
        An array of Axes (n,), one for each picture.

    Raises:
        ValueError: There is no picture, one has another shape, or there are not as many titles as pictures.

    >>> axes = images([[[0.0, 1.0], [1.0, 0.0]]], titles=["sample 3"])
    >>> len(axes), axes[0].get_title(loc="left")
    (1, 'sample 3')
    """
    from biasvar.report.marks import images as mark

    if not len(pictures):
        raise ValueError("pictures holds none")
    if len(titles) not in (0, len(pictures)):
        raise ValueError(f"there are {len(pictures)} pictures and {len(titles)} titles")
    if abreast < 1:
        raise ValueError(f"abreast must be at least 1, not {abreast}")
    shown = [np.asarray(picture) for picture in pictures]
    for number, picture in enumerate(shown):
        if picture.dtype.kind not in "buif" or not (picture.ndim == 2 or picture.shape[2:] in ((1,), (3,))):
            raise ValueError(f"picture {number} must be numbers (H, W), (H, W, 1) or (H, W, 3), not {picture.shape}")
    columns = min(abreast, len(shown))
    rows = -(-len(shown) // columns)
    lines_of_title = max((title.count("\n") + 1 for title in titles), default=0)
    with in_the_reports_look():
        width = style.FULL_WIDTH * columns / max(columns, 6)
        figure = _figure(height=rows * (width / columns + 0.2 * lines_of_title), width=width)
        axes: np.ndarray = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, picture, title in zip(axes, shown, [*titles] or [""] * len(shown), strict=False):
            mark.draw(ax, picture, frame=True)
            ax.set_title(title, fontsize=9, weight="normal")
        for ax in axes[len(shown) :]:
            ax.remove()
        figure.draw_without_rendering()
    return axes[: len(shown)]


def _checked(frame: pd.DataFrame, numbers: Iterable[str], names: Iterable[str]) -> pd.DataFrame:
    """The frame with its numbers as float64."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"frame must be a pandas DataFrame, not {type(frame).__name__}")
    if frame.empty:
        raise ValueError("frame has no rows")
    numbers, names = list(numbers), list(names)
    for column in (*numbers, *names):
        if column not in frame:
            raise ValueError(f"frame: {no_such(column, map(str, frame.columns), 'column', limit=None)}")
    checked = frame.copy()
    for column in numbers:
        try:
            checked[column] = frame[column].astype(float)
        except (TypeError, ValueError):
            shown = first_few(frame[column], 3)
            raise ValueError(f"frame: column {column!r} must hold numbers, not {shown}") from None
    return checked


def _with_looks(frame: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """The frame with the look of each row, by a column of names, or the same look for all."""
    from biasvar.report.marks import looks

    if by is None:
        return looks.put_on(frame.assign(one=""), {"": style.Look(style.INK, "o", "-", "")}, by="one")
    return looks.put_on(frame, style.styles_of(frame, by), by=by)


def _name_colours(ax: Axes, frame: pd.DataFrame, by: str | None) -> None:
    """A legend at the right of the axes."""
    from biasvar.report.marks import legends

    if by is not None:
        looks = style.styles_of(frame, by).values()
        entries = [legends.dot(look.marker, look.label, color=look.color) for look in looks]
        ax.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _axes(ax: Axes | None, *, height: float, width: float = style.FULL_WIDTH) -> Axes:
    if ax is not None:
        return ax
    axes: Axes = _figure(height=height, width=width).add_subplot()
    return axes


def _figure(*, height: float, width: float) -> Figure:
    from matplotlib import pyplot

    with style.made_by(pyplot.figure):
        return style.new_figure(height=height, width=width)


def _settle(ax: Axes) -> None:
    """Ticks take their look when they are first drawn."""
    root_of(ax).draw_without_rendering()
