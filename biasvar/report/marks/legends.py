"""Entries of legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from biasvar.report import style

if TYPE_CHECKING:
    from biasvar.report.style import Look

BELOW: dict[str, Any] = {"loc": "outside lower left", "columnspacing": 1.6}
"""Where a figure's legend goes: under everything, from the left."""


def dot(marker: str, label: str, *, color: str = style.MUTED, hollow: bool = False, size: float | None = None) -> Any:
    """A marker without a line, grey unless a colour is given."""
    from matplotlib.lines import Line2D

    face = "white" if hollow else color
    return Line2D(
        [], [], linestyle="none", marker=marker, color=color, markerfacecolor=face, markersize=size, label=label
    )


def lines(looks: Mapping[str, Look], labels: Iterable[str] | None = None, *, markers: bool = False) -> list[Any]:
    """A line for each look, with its marker or without, named by `labels` or by the looks themselves."""
    from matplotlib.lines import Line2D

    named = [look.label for look in looks.values()] if labels is None else list(labels)
    return [
        Line2D([], [], color=look.color, linestyle=look.linestyle, linewidth=2.0, marker=look.marker if markers else "",
               label=label)
        for look, label in zip(looks.values(), named, strict=True)
    ]  # fmt: skip
