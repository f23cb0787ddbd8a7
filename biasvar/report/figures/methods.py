"""Every method in the plane of (change of bias, change of variance) against cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import COMPARED, baselines_in_words, left_out, taken_note
from biasvar.report.figure import Figure
from biasvar.report.marks import arrows, blocks, forest, labels, legends, looks, scales
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.method_changes import COLUMNS, TERMS, compared_methods, first_arms, method_changes
from biasvar.report.text.captions import conditions_in, when_evaluated
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

MOST_ARMS = 24
MOST_NAMES = 8
"""Names that a plane has room for on a narrow screen; where there are more, each method has a row instead."""
BEYOND = 0.5
"""How far an interval may widen an axis, as a share of the range of the points: the rest of it is cut off."""
THICK, THIN = 2.4, 0.8  # points, of bars
ENDS = ("low", "high", "low_replicas", "high_replicas")
CORNERS = {
    (0, 0): "less bias,\nless variance",
    (1, 0): "more bias,\nless variance",
    (0, 1): "less bias,\nmore variance",
    (1, 1): "more bias,\nmore variance",
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and term: the change of corrected bias or variance, with its intervals."""
    parts = [method_changes(run, first_arms(run, compared_methods(run, runs), MOST_ARMS)) for run in runs]
    filled = [part for part in parts if len(part)] or parts[:1]
    return style.styled(pd.concat(filled, ignore_index=True)[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A plane for each run; each point has its name, each line in grey one change of loss.

    On a narrow screen many methods have rows instead, in a panel for each term.
    """
    if style.narrow() and frame.groupby("run")["arm"].nunique().max() >= MOST_NAMES:
        return _drawn_in_rows(frame)
    styles, frame = unstyled(frame)
    runs = list(dict.fromkeys(frame["run"]))
    wide = {run: _wide(frame[frame["run"] == run]) for run in runs}
    named = {run: _named(wide[run], styles) for run in runs}
    heights = [5.0 if len(wide[run]) > 7 else 3.9 for run in runs]
    entries = [*drawn.regime_entries(frame), *_line_entries(frame)]
    figure, block_of = blocks.stacked(runs, heights, more=0.35 + 0.2 * style.abreast(3, on_narrow=4))
    legends.below(figure, entries, handletextpad=0.6)
    planes = {run: block_of[run].subplots() for run in runs}
    for run, ax in planes.items():
        _frame(ax, wide[run], styles)
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)  # names are placed in planes of their final size
    for run, ax in planes.items():
        _name(ax, wide[run], named[run])
    return figure


def _drawn_in_rows(frame: pd.DataFrame) -> Drawing:
    """For each run the methods one under another, in a panel for each term."""
    styles, frame = unstyled(frame)
    runs = list(dict.fromkeys(frame["run"]))
    parts = {run: looks.put_on(frame[frame["run"] == run], styles, by="arm") for run in runs}
    names = {run: _with_loss(part) for run, part in parts.items()}
    places = {run: forest.places(part).named(names[run], above=True) for run, part in parts.items()}
    heights = [forest.height(places[run], len(TERMS), on_narrow=len(TERMS)) for run in runs]
    entries = [*drawn.regime_entries(frame), *bar_entries(frame)]
    figure, block_of = blocks.stacked(runs, heights, more=0.2 * len(entries))
    for run, block in block_of.items():
        axes = forest.panels(block, places[run], names[run], len(TERMS), on_narrow=len(TERMS))
        for ax, term in zip(axes, TERMS, strict=True):
            rows = places[run].on(parts[run][parts[run]["term"] == term])
            alone = rows.assign(low=rows["low_replicas"], high=rows["high_replicas"])
            limits = _limits(_wide(parts[run]), "x" if term == TERMS[0] else "y")
            forest.draw(ax, rows, limits=limits, reference=0.0, width=THIN)
            forest.bars(ax, alone, width=THICK)
            scales.values(ax, f"change of {term} from\ncross-entropy (nats)", ticks=3)
    legends.below(figure, entries, handletextpad=0.6)
    return figure


def _with_loss(part: pd.DataFrame) -> list[str]:
    """The names of the arms with the change of the loss, bias and variance together."""
    loss = part.groupby("arm")["estimate"].sum().to_dict()
    return [f"{row.label}: loss {signed(loss[row.arm], 3)}" for row in each(part.drop_duplicates("arm"))]


def _named(wide: pd.DataFrame, styles: dict[str, style.Look]) -> list[style.Look]:
    """The looks of what has a name in a plane: cross-entropy at the origin, then every point."""
    control = str(wide["control"].iloc[0])
    name = styles[control].label if control in styles else control
    arms = zip(wide["arm"], wide["label"].astype(str), strict=True)
    return [style.Look(style.INK, "+", "", name), *(replace(styles[arm], label=label) for arm, label in arms)]


def _line_entries(frame: pd.DataFrame) -> list[Any]:
    """What thin and thick bars and the slanted lines are."""
    level = style.Look("#c4c4c4", "", "--", "equal change of the loss, bias + variance")
    return [*bar_entries(frame), *legends.lines({"": level}, width=1.0)]


def bar_entries(frame: pd.DataFrame) -> list[Any]:
    """What thin and thick bars are, of a frame with `n_teachers`."""
    teachers = bool(frame["n_teachers"].notna().any())
    return [
        legends.replica_bars(frame["split"], width=THICK),
        legends.row_bars(frame["split"], teachers=teachers, width=THIN),
    ]


def _wide(part: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, with x for bias and y for variance."""
    about = part.drop_duplicates("arm").set_index("arm")[["label", "control"]]
    for axis, term in (("x", "bias"), ("y", "variance")):
        rows = part[part["term"] == term].set_index("arm")[["estimate", *ENDS]]
        about = about.join(rows.rename(columns={"estimate": axis} | {end: f"{axis}_{end}" for end in ENDS}))
    return about[np.isfinite(about["x"]) & np.isfinite(about["y"])].reset_index()


def _frame(ax: Axes, wide: pd.DataFrame, styles: dict[str, style.Look]) -> None:
    """Everything but names: limits, lines of equal change of loss, bars, points."""
    ax.set_xlim(*_limits(wide, "x"))
    ax.set_ylim(*_limits(wide, "y"))
    ax.grid(visible=False)
    ax.set_xlabel("change of bias (nats)")
    ax.set_ylabel("change of variance (nats)")
    _contours(ax)
    ax.axhline(0, color=style.MUTED, linewidth=0.9, zorder=1)
    ax.axvline(0, color=style.MUTED, linewidth=0.9, zorder=1)
    points = looks.put_on(wide, styles, by="arm")
    thin = 0.6 if len(points) <= MOST_NAMES else 0.3  # many bars cross each other, and names lie on them
    for low, high, width, alpha in ((*ENDS[:2], THIN, thin), (*ENDS[2:], THICK, 0.75)):
        look: dict[str, Any] = {"colors": list(points["color"]), "linewidth": width, "alpha": alpha, "zorder": 2}
        known = points.fillna({f"{axis}_{end}": points[axis] for axis in "xy" for end in (low, high)})
        ax.hlines(known["y"], known[f"x_{low}"], known[f"x_{high}"], **look)
        ax.vlines(known["x"], known[f"y_{low}"], known[f"y_{high}"], **look)
    arrows.cut(ax, points, "x_low", "x_high")
    arrows.cut(ax, points, "y_low", "y_high", upright=True)
    for x, y, color, marker in zip(points["x"], points["y"], points["color"], points["marker"], strict=True):
        ax.plot(x, y, marker, color=color, markersize=6.5, markeredgecolor="white", markeredgewidth=0.5, zorder=4)
    ax.plot(0, 0, "+", color=style.INK, markersize=10, markeredgewidth=1.8, zorder=4)


def _limits(wide: pd.DataFrame, axis: str) -> tuple[float, float]:
    """The range of the points and of 0, widened for the intervals as far as `BEYOND`."""
    points = np.append(wide[axis].to_numpy(dtype=float), 0.0)
    span = float(np.ptp(points)) or 1e-3
    low = np.nanmin([points.min(), max(np.nanmin([*wide[f"{axis}_low"], 0.0]), points.min() - BEYOND * span)])
    high = np.nanmax([points.max(), min(np.nanmax([*wide[f"{axis}_high"], 0.0]), points.max() + BEYOND * span)])
    room = 0.1 * (high - low) or span
    return float(low - room), float(high + room)


def _contours(ax: Axes) -> None:
    """Lines on which bias and variance together, the loss, change by the same amount; see `_label_contours`."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for level in _levels(ax):
        ax.plot([left, right], [level - left, level - right], scalex=False, scaley=False, zorder=0, color="#c4c4c4",
                linewidth=0.7 if level else 1.5, linestyle="--" if level else "-")  # fmt: skip
        said = signed(level, _places(_levels(ax)))
        beside: dict[str, Any] = {"fontsize": 9, "color": style.MUTED}
        if bottom <= level - right <= top - 0.05 * (top - bottom):
            ax.text(right, level - right, f" {said}", ha="left", va="center", **beside)
        elif left <= level - top <= right:
            ax.text(level - top, top, said, ha="center", va="bottom", **beside)


def _inner_contours(ax: Axes) -> list[tuple[float, str]]:
    """Height at the left edge and size of the lines that end at neither the top nor the right edge."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    levels = _levels(ax)
    inner = [level for level in levels if level - right < bottom and level - top < left]
    return [(level - left, signed(level, _places(levels))) for level in inner]


def _levels(ax: Axes) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    levels = MaxNLocator(9).tick_values(left + bottom, right + top)
    step = levels[1] - levels[0]
    return [float(step * round(level / step)) for level in levels if left + bottom < level < right + top]


def _places(levels: list[float]) -> int:
    """Decimals that tell neighbouring levels apart."""
    step = levels[1] - levels[0] if len(levels) > 1 else 1.0
    return next((n for n in range(6) if abs(round(step, n) - step) < 1e-6 * step), 6)


def _name(ax: Axes, wide: pd.DataFrame, named: Sequence[style.Look]) -> None:
    """The corners in words, the lines that end inside, and the names of the points, none on another."""
    width, height = (72 * side / ax.figure.dpi for side in ax.get_window_extent().size)
    corners = [_corner(ax, words, right, up, width, height) for (right, up), words in CORNERS.items()]
    reserved = [box for box in corners if box is not None]
    bottom, top = ax.get_ylim()
    quiet: dict[str, Any] = {"fontsize": 9, "color": style.MUTED, "zorder": 1}
    for y, said in _inner_contours(ax):
        wide_as, high_as = labels.text_size(said, 9.0)
        box = labels.Box(3.0, height * (y - bottom) / (top - bottom) - high_as / 2, wide_as, high_as)
        if all(box.shared(other) == 0.0 for other in reserved) and box.bottom > 0.0:
            background = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            at = (3.0 / width, y)
            ax.text(*at, said, transform=ax.get_yaxis_transform(), ha="left", va="center", bbox=background, **quiet)
            reserved.append(box)
    rows = wide.to_dict("records")
    bars = [((row["x_low"], row["y"]), (row["x_high"], row["y"])) for row in rows]
    bars += [((row["x"], row["y_low"]), (row["x"], row["y_high"])) for row in rows]
    known = [bar for bar in bars if np.isfinite(bar).all()]
    left, right = ax.get_xlim()
    known += [((left, 0.0), (right, 0.0)), ((0.0, bottom), (0.0, top))]  # which would strike a name through
    labels.beside_points(
        ax, [(0.0, 0.0), *zip(wide["x"], wide["y"], strict=True)], [look.label for look in named], bars=known,
        reserved=reserved, colors=[look.color for look in named],
    )  # fmt: skip


def _corner(ax: Axes, words: str, right: int, up: int, width: float, height: float) -> labels.Box | None:
    """Write what a corner of the plane stands for; returns the place that it takes. None if it is too small for it."""
    wide_as, high_as = labels.text_size(words, 9.0)
    left, bottom = (width - wide_as - 5.0 if right else 5.0), (height - high_as - 4.0 if up else 4.0)
    zero, level = (float(x) for x in ax.transAxes.inverted().transform(ax.transData.transform((0.0, 0.0))))
    short = left < width * zero if right else left + wide_as > width * zero
    low = bottom < height * level if up else bottom + high_as > height * level
    if short or low:  # the words would lie across a line that they tell the sides of
        return None
    at = ((width - 5.0 if right else 5.0) / width, (height - 4.0 if up else 4.0) / height)
    ax.text(*at, words, transform=ax.transAxes, fontsize=9, style="italic", color=style.MUTED, zorder=1,
            ha="right" if right else "left", va="top" if up else "bottom")  # fmt: skip
    return labels.Box(left, bottom, wide_as, high_as)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, correction, what the bars are over, what is cut or left out, draw and data."""
    splits = " and ".join(dict.fromkeys(frame["split"]))
    many = any(len(compared_methods(run, runs)) > MOST_ARMS for run in runs)
    return (
        f"Change from cross-entropy (+, at the origin; {baselines_in_words(frame, runs)}) on "
        f"n = {sizes(frame['n_samples'])} {splits} rows {when_evaluated(frame, runs)}, against "
        "the true labels at temperature 1; cross-entropy, in nats, corrected for the finite number of replicas, paired "
        "by replica. Grey lines join equal changes of the loss, bias + variance, whose size stands at "
        "their end; on the full one the loss is cross-entropy's. Thin bars are 95 % t intervals over "
        f"{_over(frame)}; thick ones are over replicas alone, for these rows and these teachers. Neither is adjusted "
        "for the number of arms. An arrowhead marks one that reaches beyond the panel; its end is in the CSV."
        + (f" Of runs with more arms {MOST_ARMS}, the main ones first." if many else "")
        + f"{left_out(runs)}{taken_note(runs)} {conditions_in(frame, runs)}"
    )


def _over(frame: pd.DataFrame) -> str:
    """What the wide intervals are over, in words."""
    copies = frame["n_teachers"].dropna()
    if copies.empty:
        return "replicas and rows"
    return f"rows and replicas, or the {sizes(copies)} copies of the teacher that replicas share"


FIGURE = Figure(
    name="methods",
    title="What each method does to bias and variance",
    how_to_read="Each point is a method. Left of the upright line its mean prediction is nearer the truth than "
    "cross-entropy's, below the level line its replicas agree more; below the full grey line the two together, the "
    "loss, are smaller. A bar that crosses a line is not told from it. On a narrow screen many methods stand in "
    "rows, with a panel for each of the two changes and their sum beside the name.",
    needs="predictions of a cross-entropy arm and of another arm on the same held-out rows by the same replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
