"""Accuracy against what it took: seconds of training, settings tried, gradient steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import COMPARED, arms_with_role, failed_arms, left_out, taken_note, taken_over
from biasvar.report.arms.teachers import teacher_in_words
from biasvar.report.figure import Figure
from biasvar.report.figures.methods import MOST_NAMES
from biasvar.report.marks import blocks, forest, labels, legends, looks, panels, scales
from biasvar.report.statistics.budgets import COLUMNS as BUDGET
from biasvar.report.statistics.budgets import budgets
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.estimates import final_level
from biasvar.report.text.captions import conditions_in, runs_in
from biasvar.report.text.numbers import counted, short_number, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

MOST_ARMS = 24
MOST_LISTED = 12  # arms that a caption names
COLUMNS = [
    *BUDGET, "split", "accuracy", "accuracy_low", "accuracy_high", "accuracy_stderr", "n_replicas", "n_samples",
    "replicas", "failed",
]  # fmt: skip


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run and arm: its budget, its seconds, and its accuracy with the 95 % interval over replicas."""
    found = []
    for run in runs:
        budget = budgets(run).set_index("arm", drop=False)
        left = {*failed_arms(run), *taken_over(run, runs)}
        arms = [arm for arm in arms_with_role(run, ("main", "regime")) if arm in budget.index and arm not in left]
        for arm in arms[:MOST_ARMS]:
            accuracy = final_level(run, arm, "accuracy")
            row = budget.loc[arm].to_dict()
            if accuracy is not None and math.isfinite(row["seconds"]):
                found.append(row | _numbers(accuracy))
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _numbers(accuracy: Any) -> dict[str, Any]:
    names = {"estimate": "accuracy", "low": "accuracy_low", "high": "accuracy_high", "stderr": "accuracy_stderr"}
    same = ("split", "n_replicas", "n_samples", "replicas", "failed")
    return {new: getattr(accuracy, old) for old, new in (names | {name: name for name in same}).items()}


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each run: seconds to the right on a logarithmic axis, accuracy upwards, a name at each point.

    On a narrow screen many arms have rows instead, with accuracy beside seconds.
    """
    styles, frame = unstyled(frame)
    frame = frame.assign(before=frame[["teacher_seconds", "search_seconds"]].sum(axis=1))  # what must be trained first
    runs = list(dict.fromkeys(frame["run"]))
    if style.narrow() and frame.groupby("run")["arm"].nunique().max() > MOST_NAMES:
        return _drawn_in_rows(frame, styles)
    heights = [4.4 if (frame["run"] == run).sum() > 7 else 3.4 for run in runs]
    figure, block_of = blocks.stacked(runs, heights, more=0.35 + 0.2 * style.narrow())
    legends.below(figure, _entries(frame), handletextpad=0.6)
    panels = {run: block_of[run].subplots() for run in runs}
    for run, ax in panels.items():
        _points(ax, frame[frame["run"] == run], styles)
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)  # names are placed in panels of their final size
    for run, ax in panels.items():
        _names(ax, frame[frame["run"] == run], styles)
    return figure


def _entries(frame: pd.DataFrame) -> list[Any]:
    """What markers and dotted lines are."""
    first = style.Look(style.MUTED, "", ":", "its teacher's training, once for all arms")
    entries = legends.lines({"": first}, width=1.0) if (frame["before"] > 0).any() else []
    return [*drawn.regime_entries(frame), legends.replica_bars(frame["split"]), *entries]


def _drawn_in_rows(frame: pd.DataFrame, styles: dict[str, style.Look]) -> Drawing:
    """For each run the arms one under another, the most accurate first: accuracy, and beside it seconds."""
    frame = frame.sort_values("accuracy", ascending=False, kind="stable")
    runs = list(dict.fromkeys(frame["run"]))
    parts = {run: looks.put_on(frame[frame["run"] == run], styles, by="arm") for run in runs}
    names = {run: [str(label) for label in part["label"]] for run, part in parts.items()}
    places = {run: forest.places(part).named(names[run], above=True) for run, part in parts.items()}
    heights = [forest.height(places[run], 2, on_narrow=2) for run in runs]
    entries = _entries(frame)
    figure, block_of = blocks.stacked(runs, heights, more=0.2 * len(entries))
    for run, block in block_of.items():
        right, seconds = forest.panels(block, places[run], names[run], 2, on_narrow=2)
        rows = places[run].on(parts[run])
        ends = {name: 100 * rows[f"accuracy{end}"] for name, end in
                (("estimate", ""), ("low", "_low"), ("high", "_high"))}  # fmt: skip
        forest.draw(right, rows.assign(**ends))
        scales.values(right, f"accuracy on {rows['split'].iloc[0]}\nrows (%)", ticks=3)
        after = rows["seconds"] + rows["before"]
        seconds.hlines(rows["y"], rows["seconds"], after, colors=list(rows["color"]), linewidth=1.0, linestyles=":")
        forest.draw(seconds, rows.assign(estimate=rows["seconds"], low=math.nan, high=math.nan))
        seconds.plot(after[rows["before"] > 0], rows.loc[rows["before"] > 0, "y"], "|", color=style.MUTED, markersize=6)
        _seconds_axis(seconds, rows, wide=False)
    legends.below(figure, entries, handletextpad=0.6)
    return figure


def _points(ax: Axes, part: pd.DataFrame, styles: dict[str, style.Look]) -> None:
    shown = looks.put_on(part, styles, by="arm")
    ax.vlines(shown["seconds"], 100 * shown["accuracy_low"], 100 * shown["accuracy_high"],
              colors=list(shown["color"]), linewidth=1.6, zorder=2)  # fmt: skip
    for row in each(shown):
        y = 100 * row.accuracy
        ax.plot(row.seconds, y, row.marker, color=row.color, markersize=6.5, markeredgecolor="white",
                markeredgewidth=0.5, zorder=4)  # fmt: skip
        if row.before > 0:
            end = row.seconds + row.before
            ax.plot([row.seconds, end], [y, y], ":", color=row.color, linewidth=1.0, zorder=1)
            ax.plot(end, y, "|", color=row.color, markersize=6, zorder=1)
    _seconds_axis(ax, part)
    ax.set_ylabel(f"accuracy on {part['split'].iloc[0]} rows (%)")


def _seconds_axis(ax: Axes, part: pd.DataFrame, *, wide: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.set_xlim(*_range(part))
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if style.narrow() else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    timed = part["timed"].iloc[0]
    processor = " on the processor" if timed == "processor" else ""
    ax.set_xlabel(panels.fitted(f"seconds of training and recording{processor}, one replica", 34 if wide else 22))


def _range(part: pd.DataFrame) -> tuple[float, float]:
    """From the cheapest arm to the dearest with its teacher, with room for names."""
    low = float(part["seconds"].min())
    high = float((part["seconds"] + part["before"]).max())
    wide = high / low
    return low / max(wide**0.22, 1.4), high * max(wide**0.08, 1.2)


def _names(ax: Axes, part: pd.DataFrame, styles: dict[str, style.Look]) -> None:
    rows = each(part)
    places = [(row.seconds, 100 * row.accuracy) for row in rows]
    bars = [((row.seconds, 100 * row.accuracy_low), (row.seconds, 100 * row.accuracy_high)) for row in rows]
    lines = [((x, y), (x + row.before, y)) for (x, y), row in zip(places, rows, strict=True)]
    known = [bar for bar in [*bars, *lines] if np.isfinite(bar).all()]
    colors = [styles[row.arm].color for row in rows]
    labels.beside_points(ax, places, [str(row.label) for row in rows], bars=known, colors=colors)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, intervals, what the seconds are and on what machine, the search budget, draw and data."""
    shown = runs_in(frame, runs)
    teachers = frame.dropna(subset=["teacher_seconds"])
    searches = ", and of the search of its layer weights" if frame["search_seconds"].notna().any() else ""
    lines = (
        f" A dotted line adds the training of one network of the arm's teacher{searches}, up to the tick; a teacher is "
        f"trained once for all the arms that it teaches ({_teachers(teachers, shown)})."
        if len(teachers)
        else ""
    )
    return (
        f"Accuracy on n = {sizes(frame['n_samples'])} rows after the last epoch, means over replicas with 95 % t "
        f"intervals over replicas for these rows. {_seconds(frame, shown)}, from the first step to the last record: "
        f"what is recorded counts{_kept_rows(frame, shown)}. Counted too are a teacher's answers where an arm asks for "
        f"them in training. The axis is logarithmic.{lines} {_search(frame)}"
        f"{left_out(runs)}{taken_note(runs)} {conditions_in(frame, runs)}"
    )


def _kept_rows(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Which of the arms keep rows through training, where some do and others do not."""
    names, drawn_arms = [], 0
    for run in runs:
        kept = {arm for arm, split, _ in run.recorded() if split == "train"}
        part = frame[frame["run"] == run.name]
        names += [str(row.label) for row in each(part) if row.arm in kept]
        drawn_arms += len(part)
    if len(names) in (0, drawn_arms):
        return ""
    said = "; ".join(names) if len(names) <= MOST_LISTED else f"{len(names)} of the {drawn_arms} arms"
    return (
        f", rows through training too, which some arms keep and others do not ({said}), so that "
        "arms of the same arithmetic lie apart"
    )


def _teachers(frame: pd.DataFrame, runs: list[Run]) -> str:
    once = frame.drop_duplicates(["run", "teacher"])
    several = once["run"].nunique() > 1
    return "; ".join(
        (f"{row.run}: " if several else "")
        + f"{teacher_in_words(row, runs)}, {counted(int(row.teacher_networks), 'network')} of "
        f"{short_number(row.teacher_seconds)} s"
        for row in each(once)
    )


def _seconds(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Whose seconds they are, of what, on what machine."""
    timed = set(frame["timed"])
    if timed == {"processor"}:
        return (
            f"Seconds are those of the processor that one replica took, on average ({_machine(runs)}), which hardly "
            "depend on what else the machine did"
        )
    both = "" if timed == {"clock"} else ", of the processor where the axis says so"
    return (
        f"Seconds are those that one replica took in this run, on average{both} ({_machine(runs)}; whatever else the "
        "machine did meanwhile counts)"
    )


def _machine(runs: list[Run]) -> str:
    said = []
    for run in runs:
        threads = counted(int(run.manifest.get("threads") or 1), "thread")
        several = int(run.manifest.get("devices") or 1)
        device = f"{f'{several} x ' if several > 1 else ''}{run.manifest.get('device') or 'device not noted'}"
        said.append(f"{device}, {threads} for each group of replicas")
    return " and ".join(dict.fromkeys(said))


def _search(frame: pd.DataFrame) -> str:
    """How many settings each family was given on validation rows, and how many gradient steps each arm."""
    tried = frame.drop_duplicates(["run", "family"])[["settings_tried", "tuning_replicas"]].drop_duplicates()
    tried = tried[tried["settings_tried"] > 0]
    each_family = " or ".join(
        f"{counted(int(one.settings_tried), 'learning rate')} on {counted(int(one.tuning_replicas), 'replica')}"
        for one in each(tried)
    )
    steps = frame["steps"].dropna()
    said = f"Every family of losses was tried at {each_family}, on validation rows." if len(tried) else ""
    return said + (f" Gradient steps of a replica: {sizes(steps)}." if len(steps) else "")


FIGURE = Figure(
    name="costs",
    title="Accuracy against seconds of training",
    how_to_read="Further up is more accurate, further left is cheaper. What stands to the lower right of another arm "
    "is both dearer and worse. On a narrow screen many arms stand in rows.",
    needs="a study that noted how long its arms took",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
