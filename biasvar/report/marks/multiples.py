"""Small multiples of courses: a panel for each arm, in it a few lines of its own and the control's in grey."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.marks import legends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

ABREAST, OF_MANY, ON_NARROW = 4, 5, 2
DENSE = 3  # side by side on a narrow screen, of many arms whose panels may be small
MANY = 8  # arms
LETTERS = {2: 15, DENSE: 12, 4: 20, 5: 16}  # of a line of a panel's title, by how many stand side by side
GREY = "#8f8f8f"
FAILED = "† replicas at chance or not finite"
HIGH, HEAD, FOOT = 1.2, 0.4, 0.3  # inches: a panel, the heads of a row of arms, and the names of its axis
LOW = 0.75  # inches: a small panel
LINE = 1.0  # inches of an arm whose quantities stand side by side, with its head
ENTRY = 0.19  # inches a line of a legend takes


@dataclass(frozen=True)
class Course:
    """One kind of line of every panel: how it is drawn, and what it is in words."""

    label: str
    linestyle: Literal["-", "--", "-.", ":"] = "-"
    width: float = 1.8
    band: bool = False


def abreast(arms: int, *, small: bool = False) -> int:
    """How many arms stand side by side, in panels that may be small if there are many."""
    most = OF_MANY if arms > MANY or arms == OF_MANY else ABREAST
    return style.abreast(min(arms, most), on_narrow=DENSE if small and arms > MANY else ON_NARROW)


def turned(rows: int) -> bool:
    """Whether so many quantities stand side by side, in one line of panels for each arm."""
    return style.narrow() and rows > ON_NARROW


def height(arms: int, rows: int, *, small: bool = False) -> float:
    """Inches that panels of so many arms take, with so many rows of panels for each, which may be small."""
    if turned(rows):
        return 2 * HEAD + FOOT + arms * LINE
    high = LOW if small and style.narrow() and arms > MANY else HIGH
    return math.ceil(arms / abreast(arms, small=small)) * (HEAD + FOOT + high * rows)


def grid(
    figure: FigureBase, frame: pd.DataFrame, *, arms: Mapping[str, str], rows: Mapping[str, str],
    courses: Mapping[str, Course], control: str | None = None, dots: bool = False, small: bool = False,
) -> dict[tuple[str, str], Axes]:  # fmt: skip
    """Draw the panels; returns them by row and arm. Panels of one row of quantities share its scale.

    Args:
        figure: the figure, or the part of one, that is filled.
        frame: columns arm, row, course, epoch, estimate, low, high, color; also those of the control.
        arms: the arms that get panels, with their heads.
        rows: the quantities, from above, with the names of their axes.
        courses: the lines of a panel; the first is the one that the control has in grey too.
        control: the arm whose line stands in every panel of another.
        dots: whether each epoch is marked.
        small: whether panels may be small where there are many on a narrow screen.
    """
    if turned(len(rows)):
        return _turned(figure, frame, arms=arms, rows=rows, courses=courses, control=control, dots=dots)
    across = abreast(len(arms), small=small)
    deep = math.ceil(len(arms) / across)
    heads = {name: style.panel_title(text, width=LETTERS.get(across, 20)) for name, text in arms.items()}
    axes = figure.subplots(deep * len(rows), across, squeeze=False, sharex=True)
    panels: dict[tuple[str, str], Axes] = {}
    lines = _lines(frame)
    for place, arm in enumerate(arms):
        down, right = divmod(place, across)
        for number, row in enumerate(rows):
            ax = axes[down * len(rows) + number, right]
            panels[row, arm] = ax
            _panel(ax, lines, row, arm, courses, control=control, dots=dots)
            if number == 0:
                ax.set_title(heads[arm], fontsize=9.5)
            ax.set_ylabel(rows[row] if right == 0 else "")
            last = number == len(rows) - 1
            lowest = place + across >= len(arms)
            ax.set_xlabel("epoch" if last and lowest else "")
            ax.tick_params(labelleft=right == 0, labelbottom=last and lowest)
    for ax in axes.ravel()[[ax not in panels.values() for ax in axes.ravel()]]:
        ax.set_axis_off()
    return panels


def _turned(
    figure: FigureBase, frame: pd.DataFrame, *, arms: Mapping[str, str], rows: Mapping[str, str],
    courses: Mapping[str, Course], control: str | None, dots: bool,
) -> dict[tuple[str, str], Axes]:  # fmt: skip
    """The panels of `grid` with an arm's quantities side by side under its name, themselves named at the top."""
    axes = figure.subplots(len(arms), len(rows), squeeze=False, sharex=True)
    panels: dict[tuple[str, str], Axes] = {}
    lines = _lines(frame)
    for place, (line, (arm, name)) in enumerate(zip(axes, arms.items(), strict=True)):
        line[0].set_title(name, fontsize=9.5)
        for ax, (row, said) in zip(line, rows.items(), strict=True):
            panels[row, arm] = ax
            _panel(ax, lines, row, arm, courses, control=control, dots=dots)
            if place == 0:
                ax.annotate(said, (0, 1), (-24, 18), xycoords="axes fraction", textcoords="offset points", fontsize=8.5)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    return panels


def _lines(frame: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """The rows of each line by row, arm and course, in the order of epochs: taken apart once, not by every panel."""
    parts = frame.sort_values("epoch", kind="stable").groupby(["row", "arm", "course"], sort=False)
    return {(str(row), str(arm), str(course)): part for (row, arm, course), part in parts}


def _panel(
    ax: Axes, lines: Mapping[tuple[str, str, str], pd.DataFrame], row: str, arm: str, courses: Mapping[str, Course], *,
    control: str | None, dots: bool,
) -> None:  # fmt: skip
    if control not in (None, arm):
        first = next(iter(courses))
        _line(ax, lines.get((row, control, first)), courses[first], dots=False, color=GREY)
    for name, course in reversed(list(courses.items())):
        _line(ax, lines.get((row, arm, name)), course, dots=dots)
    ax.locator_params(axis="x", nbins=4, integer=True)


def heads(frame: pd.DataFrame) -> tuple[dict[str, str], str | None]:
    """The arms with their labels (a dagger for failed replicas), and the control, None where it is alone."""
    failed = set(frame.loc[frame["failed"] > 0, "arm"])
    pairs = frame[["arm", "label"]].drop_duplicates().itertuples(index=False)
    labels = {str(arm): f"{label}{' †' if arm in failed else ''}" for arm, label in pairs}
    control = next((str(arm) for arm in frame.loc[frame["control"], "arm"]), None)
    return labels, control if len(labels) > 1 else None


def entries(
    courses: Mapping[str, Course], there: Sequence[str], control: str | None, *, failed: bool = False
) -> list[Any]:
    """Entries of a legend: the lines that are there, the grey one, and with `failed` what hollow dots and † are."""
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], color=style.INK, linestyle=course.linestyle, linewidth=course.width, label=course.label)
        for name, course in courses.items()
        if name in there
    ]
    first = courses[next(iter(courses))]
    grey = [] if control is None else [Line2D([], [], color=GREY, linewidth=first.width, label=f"{control}, in grey")]
    return found + grey + [legends.dot("o", FAILED, hollow=True)] * failed


def below(figure: FigureBase, lines: Sequence[Any]) -> None:
    """The legend under the panels."""
    legends.below(figure, lines, columns=1 if style.narrow() else 2)


def below_height(count: int) -> float:
    """Inches that the legend takes."""
    return 0.15 + ENTRY * (count if style.narrow() else math.ceil(count / 2))


def _line(ax: Axes, part: pd.DataFrame | None, look: Course, *, dots: bool, color: str = "") -> None:
    if part is None:
        return
    shade = color or str(part["color"].iloc[0])
    if look.band and not color:
        ax.fill_between(part["epoch"], part["low"], part["high"], color=shade, alpha=0.18, linewidth=0)
    hollow = not color and "failed" in part and bool((part["failed"] > 0).any())
    marker = "o" if dots or hollow or len(part) == 1 else ""
    ax.plot(
        part["epoch"], part["estimate"].astype(float), color=shade, linestyle=look.linestyle, marker=marker,
        linewidth=look.width, markersize=3.0, zorder=2 if color else 3,
        markerfacecolor="white" if hollow else shade,
    )  # fmt: skip


def settled(frame: pd.DataFrame, *, after: float = 0.25, least: float = 0.4) -> tuple[float, float]:
    """The range of `whole`, or of the epochs after a part of all if what goes before takes more than `least` of it.

    What the lines come from then lies below the axis.
    """
    low, high = whole(frame)
    late = frame[frame["epoch"] >= after * frame["epoch"].max()]
    begins, ends = whole(late)
    if begins - low <= least * (high - low):
        return low, high
    return begins, ends if frame["estimate"].max() <= ends else high


def whole(frame: pd.DataFrame) -> tuple[float, float]:
    """The range of all lines, and of the bands: up to the lines' range above them, a quarter of it below."""
    found = frame[["estimate", "low", "high"]].to_numpy(dtype=float)
    middle = found[:, 0][np.isfinite(found[:, 0])]
    low, high = (float(middle.min()), float(middle.max())) if len(middle) else (0.0, 1.0)
    room = (high - low) or 0.2 * abs(high) or 0.2
    bounds = found[np.isfinite(found)]
    if len(bounds):
        low, high = max(float(bounds.min()), low - 0.25 * room), min(float(bounds.max()), high + room)
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin
