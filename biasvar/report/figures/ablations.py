"""Accuracy against temperature and against alpha, all else equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import core_arms
from biasvar.report.arms.series import ONE_RATE, rates_in_words, series
from biasvar.report.figure import Figure
from biasvar.report.marks import legends, lines, looks
from biasvar.report.marks.panels import fitted
from biasvar.report.statistics import by_setting
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import INTERVAL, columns, final_level
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

AXES = {"temperature": "temperature τ", "alpha": "weight of the soft labels α"}
COLUMNS = by_setting.COLUMNS
NAMES = {"temperature": "temperature", "alpha": "the weight of the soft labels"}
BANDS = ("baseline", "smoothing")


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, setting and arm of a series; rows of setting "" for the arms drawn as level lines."""
    found = [row for run in runs for row in _of_run(run)]
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _of_run(run: Run) -> list[dict[str, Any]]:
    found = []
    for setting in AXES:
        for one in series(run, setting):
            rows = [
                by_setting.accuracy_row(run, one, arm, value) for arm, value in zip(one.arms, one.values, strict=True)
            ]
            found += [row for row in rows if row is not None]
    if not found:
        return []
    for arm in core_arms(run):
        accuracy = final_level(run, arm, "accuracy")
        if run.entry(arm).plays not in BANDS or accuracy is None:
            continue
        named = columns(accuracy, (*INTERVAL, "run", "arm", "label", "loss", "split", "quantity"))
        found.append({**named, "n": accuracy.n_samples, "setting": "", "failed": 0, "regime": "none"})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a panel for each setting, each with its own scale."""
    runs = list(dict.fromkeys(frame["run"]))
    settings = [name for name in AXES if (frame["setting"] == name).any()]
    styles, styles_of_arms = drawn.series_looks(frame), style.styles_of(frame)
    levels = frame[frame["setting"] == ""]
    shown = looks.put_on(frame[frame["setting"] != ""], styles, by="series", hollow="failed", scale=100.0)
    across = style.abreast(len(settings))
    entries = len(styles) + levels["arm"].nunique() + 2
    figure = style.new_figure(
        height=0.95 + 3.0 * (len(runs) * len(settings) // across) + 0.19 * entries * style.narrow()
    )
    panels = figure.subplots(len(runs) * len(settings) // across, across, squeeze=False)
    for axes, run in zip(panels.reshape(len(runs), len(settings)), runs, strict=True):
        for ax, setting in zip(axes, settings, strict=True):
            part = shown[(shown["run"] == run) & (shown["setting"] == setting)]
            if part.empty:
                ax.set_axis_off()
                continue
            lines.against(ax, part, line="series")
            for row in each(levels[levels["run"] == run]):
                color = styles_of_arms[row.arm].color
                lines.level(ax, 100 * row.estimate, 100 * row.low, 100 * row.high, color=color)
            ax.set_xlabel(AXES[setting])
            ax.set_ylabel(f"accuracy, {part['split'].iloc[0]} rows (%)" if ax is axes[0] or across == 1 else "")
            head = (f"{run}, " if len(runs) > 1 else "") + f"at {drawn.held_settings(part)}"
            ax.set_title(fitted(head, 38), weight="normal")
    plain = {arm: styles_of_arms[arm] for arm in dict.fromkeys(levels["arm"])}
    named = legends.lines(styles, markers=True, width=1.5) + legends.lines(plain, width=1.5)
    named += _interval_entries(shown, levels)
    legends.below(figure, named, columns=3)
    return figure


def _interval_entries(shown: pd.DataFrame, levels: pd.DataFrame) -> list[Any]:
    """What bars, and the dotted lines beside level ones, are over."""
    entries = [legends.replica_bars(shown["split"], width=1.4)] * bool(shown["low"].notna().any())
    if levels["low"].notna().any():
        dotted = style.Look(style.MUTED, "", lines.EDGE, "the same of level lines")
        entries += legends.lines({"": dotted}, width=0.8)
    return entries


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what differs and what does not, intervals, teacher regimes, failures, draw and data."""
    joined = frame[frame["setting"] != ""]
    regimes = "; ".join(style.regime_label(name) for name in dict.fromkeys(joined["regime"]))
    where = "both panels" if joined["setting"].nunique() > 1 else "it"
    bands = frame[frame["setting"] == ""]
    level = f" Level lines: {', '.join(dict.fromkeys(bands['label']))}, which have neither." if len(bands) else ""
    return (
        f"Accuracy on n = {sizes(frame['n'])} {' and '.join(dict.fromkeys(frame['split']))} rows after the last epoch. "
        f"A line joins arms that differ in the one setting only, at {rates_in_words(joined, runs)} ({regimes}); the "
        f"arm at the reference setting is in {where}.{level} Dots are means over replicas, bars and dotted lines 95 % "
        "t intervals over replicas for these rows; replicas are paired, so differences between dots are known better "
        f"than the bars say.{drawn.hollow_note(joined)} {conditions_in(frame, runs)}"
    )


def title_of(frame: pd.DataFrame) -> str:
    """Accuracy against what varies."""
    return f"Accuracy against {_varied(frame)}"


def _varied(frame: pd.DataFrame) -> str:
    """The settings that vary, in words."""
    return " and ".join(words for name, words in NAMES.items() if (frame["setting"] == name).any())


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What lines above others stand for, and what their learning rates leave open."""
    joined = frame[frame["setting"] != ""]
    rates = rates_in_words(joined, runs)
    said = (
        f"All dots of a line have one learning rate, which may suit some settings better: {_varied(frame)} rescales "
        "the gradient."
        if rates == ONE_RATE
        else f"Learning rates: {rates}."
    )
    return (
        "A loss whose line lies above another's at every setting wins without having been tuned; one that wins at a "
        f"single setting only may owe it to the choice of that setting. {said}"
    )


FIGURE = Figure(
    name="ablations",
    title="Accuracy against a setting of the soft labels",
    title_of=title_of,
    how_to_read=how_to_read,
    needs="arms that differ in the temperature or in alpha only",
    collect=collect,
    draw=draw,
    caption=caption,
)
