"""What claims rest on in each redraw of a study, and their mean over redraws."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.records.redraws import redraws_of_runs
from biasvar.report import style
from biasvar.report.claims.over_redraws import parts_over_redraws, redrawn_in_words
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, scales
from biasvar.report.text.captions import conditions, unadjusted
from biasvar.report.text.numbers import decimals, signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "unit", "id", "part", "test", "redraw", "estimate", "low", "high", "stderr", "n_redraws", "threshold",
    "direction", "failed",
]  # fmt: skip
MEAN = "mean"
UNITS = {"accuracy": "difference of accuracy", "share": "share of samples", "nats": "nats per sample"}
DOT = "#9a9a9a"
HIGHER = 1.5  # of a row of a forest: dots lie over bars here
_ROW = HIGHER * forest.ROW_HEIGHT
_AT_THE_AXIS = re.compile(r"^(test accuracy|share of regularization samples[^,;]*|mean over epochs|mean \w+), ")
CLAIMED = {"greater": ">", "less": "<", "differs": "|"}


def collect(runs: list[Run]) -> pd.DataFrame:
    """For each part of a claim a row a redraw, with its error over replicas, and one of the mean over redraws."""
    redraws = redraws_of_runs(runs)
    rows: list[dict[str, Any]] = []
    for number, part in enumerate(parts_over_redraws(redraws) if redraws else []):
        shared = {
            "run": redraws.name if redraws else "", "unit": part.unit, "id": part.claim["id"], "part": number,
            "test": part.test, "threshold": part.threshold, "direction": part.direction, "failed": bool(part.excuse),
            "n_redraws": len(part.estimates),
        }  # fmt: skip
        for folder, estimate, error in zip(part.folders, part.estimates, part.errors, strict=True):
            rows.append({**shared, "redraw": folder, "estimate": estimate, "stderr": error})
        if len(part.estimates):
            over = part.over
            ends = {"estimate": over.estimate, "low": over.low, "high": over.high, "stderr": over.stderr}
            rows.append({**shared, "redraw": MEAN, **ends})
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each unit, so that scales agree; in it a row for each part of a claim."""
    frame = frame.assign(
        row=[f"{name} · {_short(test)}" for name, test in zip(frame["id"], frame["test"], strict=True)]
    )
    panels = [(str(unit), part) for unit, part in frame.groupby("unit", sort=False)]
    heights = [HIGHER * forest.ROW_HEIGHT * _places(part).total + 0.55 for _, part in panels]
    figure = style.new_figure(height=sum(heights) + (0.8 if style.narrow() else 0.4))
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (unit, part) in zip(axes, panels, strict=True):
        _panel(ax, part)
        scales.values(ax, UNITS.get(unit, unit), ticks=5)
    entries = [
        legends.dot("o", "a redraw", color=DOT, size=4.0), legends.dot("D", "mean over redraws", color=style.INK),
        legends.dot(">", "threshold; its arrow points to the claimed side", color=style.BAD),
    ]  # fmt: skip
    legends.below(figure, entries, columns=style.abreast(3))
    return figure


def _places(part: pd.DataFrame) -> forest.Places:
    return forest.places(part, row="part", group="unit").named(_names(part), above=True, room=0.6, row=_ROW)


def _names(part: pd.DataFrame) -> list[str]:
    first = part.drop_duplicates("part")
    return [name + (" †" if failed else "") for name, failed in zip(first["row"], first["failed"], strict=True)]


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    where = _places(part)
    rows = where.on(part).assign(color=style.INK, marker="D", hollow=part["failed"])
    mean, single = rows[rows["redraw"] == MEAN], rows[rows["redraw"] != MEAN]
    ax.set_xlim(*_limits(part))
    ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    below = single.assign(
        marker="o", color=DOT, hollow=False, y=single["y"] + 0.28
    )  # of the bar, which would hide them
    forest.dots(ax, below, size=3.8)
    forest.draw(ax, mean, size=5.0, width=2.0)
    ax.vlines(mean["threshold"], mean["y"] - 0.42, mean["y"] + 0.42, color=style.BAD, linewidth=1.2, zorder=2)
    for (_, side), at in mean.assign(side=mean["direction"].map(CLAIMED)).groupby(["direction", "side"], sort=False):
        ax.plot(at["threshold"], at["y"] - 0.42, str(side), color=style.BAD, markersize=4.5, clip_on=False)
    numbers = zip(mean["estimate"], mean["low"], mean["high"], mean["stderr"], strict=True)
    said = [_numbers(*row) for row in numbers]
    forest.beside(ax, mean, [text.split(" ")[0] for text in said] if style.narrow() else said, above=style.narrow())
    forest.name_rows([ax], where, _names(part))


def _limits(part: pd.DataFrame) -> tuple[float, float]:
    """The range of a panel: every dot, every interval and every threshold, and 0."""
    ends = pd.DataFrame(
        {"estimate": part["threshold"], "low": part["threshold"], "high": part["threshold"], "failed": 0}
    )
    return scales.limits(pd.concat([part.assign(failed=0)[list(ends)], ends]), anchor=0.0, room=0.03)


def _numbers(mean: float, low: float, high: float, stderr: float) -> str:
    places = min(decimals(stderr), 4)
    return f"{signed(mean, places)} [{signed(low, places)}, {signed(high, places)}]"


def _short(test: str) -> str:
    """A test without what all rows share: what is measured stands at the axis, what it is over in the caption."""
    return _AT_THE_AXIS.sub("", test.rpartition(", over ")[0]).partition("; ")[0].removesuffix(", at one learning rate")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What a dot and a bar are over, n, thresholds, failures, draw and data."""
    redraws = redraws_of_runs(runs)
    drawn = redrawn_in_words(redraws) if redraws else ""
    tests = frame[frame["redraw"] == MEAN]
    failed = tests["failed"].any()
    return (
        f"n = {sizes(tests['n_redraws'])} redraws: {drawn} drawn anew from a seed of their own. A grey dot is one "
        "redraw, the mean over its replicas; a diamond the mean over redraws with its 95 % t interval, as numbers at "
        f"the right. Panels are by unit. {unadjusted(len(tests))}"
        + (" † some redraw has failed replicas or is not finished: the claim is undecided." if failed else "")
        + f" In each redraw: {conditions(runs[:1])}"
    )


FIGURE = Figure(
    name="redraws",
    title="What redrawing split, teachers and replicas does to each claim",
    how_to_read="A claim holds beyond one split and one teacher if the whole bar lies on the claimed side of its red "
    "line. Where grey dots lie on both sides of the line, one draw of the study could have said either.",
    needs="a directory of redraws (a study with redraws)",
    collect=collect,
    draw=draw,
    caption=caption,
)
