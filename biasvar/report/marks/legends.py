"""Entries of legends."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from biasvar.report.style import Look

WIDEST = 50  # characters of an entry in two columns; longer ones are broken
WIDEST_ON_NARROW = 42  # of a line of entries


def below(figure: FigureBase, entries: Sequence[Any], *, columns: int | None = None, **spacing: Any) -> None:
    """A legend under everything in a figure or a part of one, from the left; nothing if it has no entries.

    It has two columns or as many as `columns` says, on a narrow screen one. Long entries are broken into lines.
    """
    if entries:
        close = columns in (None, 2)
        columns = style.abreast(columns or 2)
        widest = WIDEST_ON_NARROW // columns if style.narrow() else WIDEST
        for entry in entries if style.narrow() or columns == 2 else ():
            entry.set_label(textwrap.fill(str(entry.get_label()), widest))
        usual: dict[str, Any] = {"columnspacing": 1.6, "handletextpad": 0.3} if close else {"handlelength": 2.6}
        figure.legend(handles=list(entries), loc="outside lower left", ncols=columns, **(usual | spacing))


def replica_bars(splits: Iterable[str], *, width: float = 1.6) -> Any:
    """A bar of a width in points, for 95 % intervals over replicas on the rows of some splits."""
    return _bar(f"95 % over replicas, on these {' and '.join(dict.fromkeys(splits))} rows", width)


def row_bars(splits: Iterable[str], *, teachers: bool = False, width: float = 0.8) -> Any:
    """The same for 95 % intervals over rows, and over teachers where these are drawn too."""
    over = "replicas, or teachers, and" if teachers else "replicas and"
    return _bar(f"95 % over {over} {' and '.join(dict.fromkeys(splits))} rows", width)


def _bar(label: str, width: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.MUTED, linewidth=width, label=label)


def dot(marker: str, label: str, *, color: str = style.MUTED, hollow: bool = False, size: float | None = None) -> Any:
    """A marker without a line, grey unless a colour is given."""
    from matplotlib.lines import Line2D

    face = "white" if hollow else color
    return Line2D(
        [], [], linestyle="none", marker=marker, color=color, markerfacecolor=face, markersize=size, label=label
    )


def patch(color: str | tuple[float, float, float], label: str) -> Any:
    """A filled box, for a band or an area."""
    from matplotlib.patches import Patch

    return Patch(color=color, label=label)


def lines(
    looks: Mapping[str, Look], labels: Iterable[str] | None = None, *, markers: bool = False,
    hollow: Container[str] = (), width: float = 2.0,
) -> list[Any]:  # fmt: skip
    """A line for each look, with its marker or without, named by `labels` or by the looks themselves.

    `hollow` holds the names of looks whose markers are hollow.
    """
    from matplotlib.lines import Line2D

    named = [look.label for look in looks.values()] if labels is None else list(labels)
    return [
        Line2D([], [], color=look.color, linestyle=look.linestyle, linewidth=width, label=label,
               marker=look.marker if markers else "", markerfacecolor="white" if name in hollow else look.color)
        for (name, look), label in zip(looks.items(), named, strict=True)
    ]  # fmt: skip
