"""What weighted soft labels and KD gain here, beside what was found of the same data and networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.data.layout import KNOWN
from biasvar.report import published, style
from biasvar.report.arms.contrasts import WEIGHTING, contrasts
from biasvar.report.arms.roles import COMPARED, core_arms, reference_arms, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.figures.effects import difference
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "data", "pair", "group", "row", "arm", "treatment", "against", "control", "regime", "difference", "low",
    "high", "stderr", "n_replicas", "n_samples", "split", "failed", "same_source", "source",
]  # fmt: skip
COMPARISONS = (("WSL", "KD"), ("WSL", "student alone"), ("KD", "student alone"))
PUBLISHED = style.Look("#5a5a5a", "o", "", "published, both numbers from one source")
TWO_SOURCES = style.Look("#5a5a5a", "X", "", "published, numbers from two sources")


def collect(runs: list[Run]) -> pd.DataFrame:
    """Differences in percentage points: rows of run "" are published ones, of the data and the networks of some run.

    Empty where no run has an arm of WSL or KD on data and networks of which numbers were published.
    """
    own = [row for run in runs for row in _own(run) if not {row["arm"], row["control"]} <= taken_over(run, runs)]
    shown = {(row["data"], row["pair"]) for row in own}
    rows = []
    for row in published.gains().to_dict("records"):
        if (row["data"], row["pair"]) in shown:
            kept = {
                key: row[key] for key in ("data", "pair", "treatment", "against", "difference", "same_source", "source")
            }
            rows.append({"run": "", "row": _named(row), **kept})
    frame = pd.DataFrame(rows + own, columns=COLUMNS)
    frame["group"] = frame["data"] + ", " + frame["pair"]
    return style.styled(frame, runs)


def _named(row: Mapping[Any, Any]) -> str:
    """Whose number a published one is."""
    if row["by"] == "others":
        return f"reproduced ({row['who']})"
    return f"published ({row['who']})" if row["who"] else "published by the authors"


def _own(run: Run) -> list[dict[str, Any]]:
    theirs = published.gains()
    known = set(zip(theirs["data"], theirs["pair"], strict=True))
    by_kd = {one.treatment: one.control for one in contrasts(run) if one.question == WEIGHTING}
    alone = reference_arms(run).get("cross-entropy")
    rows = []
    for arm in core_arms(run):
        setting = networks_of(run, arm)
        treatment = {"weighting": "WSL", "distillation": "KD"}.get(str(run.entry(arm).plays))
        if treatment is None or setting not in known:
            continue
        for against, control in (("KD", by_kd.get(arm)), ("student alone", alone)):
            if control and (treatment, against) in COMPARISONS and (row := _row(run, arm, control)):
                about = {"data": setting[0], "pair": setting[1], "treatment": treatment, "against": against}
                rows.append({**row, **about})
    return rows


def networks_of(run: Run, arm: str) -> tuple[str, str]:
    """The data and the pair of teacher and student as published tables have them: CIFAR-100, ResNet-56 → 20."""
    entry, study = run.entry(arm), run.study or {}
    data = str((study.get("data") or {}).get("name"))
    student = entry.setting("student") or study.get("student") or {}
    teacher = (run.manifest.get("teachers") or {}).get(str(entry.teacher)) or {}
    title = KNOWN[data].title.partition(" (")[0] if data in KNOWN else data
    return title, published.pair_title(*(str(network.get("model")) for network in (teacher, student)))


def _row(run: Run, arm: str, control: str) -> dict[str, Any] | None:
    gap = difference(run, arm, control)
    if gap is None:
        return None
    kept = {
        name: gap[name] for name in ("arm", "control", "regime", "stderr", "n_replicas", "n_samples", "split", "failed")
    }
    points = {new: 100 * gap[old] for new, old in (("difference", "estimate"), ("low", "low"), ("high", "high"))}
    kept["stderr"] = 100 * kept["stderr"]
    return {"run": run.name, "row": f"{run.name}, {style.regime_label(gap['regime'])}", **kept, **points,
            "same_source": True}  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    """A group of rows for each data set and pair of networks: published differences, then those of the runs."""
    rows = _dressed(frame, style.styles_of(frame))
    parts = {pair: part for pair in COMPARISONS if len(part := rows[_part(rows, pair)])}
    if style.narrow():  # one under another, each with its own rows
        places = [_places(part) for part in parts.values()]
        heights = [forest.height(where) for where in places]
        figure = style.new_figure(height=0.8 + sum(heights))
        axes = list(figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0])
        for ax, where, part in zip(axes, places, parts.values(), strict=True):
            forest.name_rows([ax], where, _names(part))
    else:
        where = _places(rows)
        places = [where] * len(parts)
        figure = style.new_figure(height=0.95 + forest.height(where, len(parts)))
        axes = forest.panels(figure, where, _names(rows), len(parts))
    for ax, where, (pair, rows_of) in zip(axes, places, parts.items(), strict=True):
        part = where.on(rows_of)
        limits = scales.limits(part.assign(failed=part["failed"].fillna(0)), anchor=0.0, room=0.04)
        forest.draw(ax, part, limits=limits, reference=0.0, size=6.0)
        title = " − ".join(pair)
        ax.set_title(title if style.narrow() else style.panel_title(title, width=14))
        scales.values(ax, "percentage points", ticks=5)
    shown = [look for look in (PUBLISHED, TWO_SOURCES) if (rows["marker"] == look.marker)[rows["run"] == ""].any()]
    legends.below(figure, [legends.dot(look.marker, look.label, color=look.color) for look in shown])
    return figure


def _names(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows.drop_duplicates(["group", "row"])["row"]]


def _places(rows: pd.DataFrame) -> forest.Places:
    return forest.places(rows, group="group", row="row", gap=0.4, headed=True).named(_names(rows))


def _part(frame: pd.DataFrame, pair: tuple[str, str]) -> pd.Series:
    """Which rows are of a comparison."""
    return (frame["treatment"] == pair[0]) & (frame["against"] == pair[1])


def _dressed(frame: pd.DataFrame, styles: Mapping[str, style.Look]) -> pd.DataFrame:
    """The rows in the looks of their arms; published ones are grey, those of two sources crosses."""
    theirs, crossed = frame["run"] == "", frame["same_source"].eq(False)
    arms = frame["arm"].where(~theirs, crossed.map({True: "two", False: "one"}))
    named = frame.assign(arm=arms, estimate=frame["difference"], failed=frame["failed"].fillna(0))
    return looks.put_on(named, {**styles, "one": PUBLISHED, "two": TWO_SOURCES}, by="arm", hollow="failed")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Where published numbers were found, what the run's own are, n, intervals, data."""
    own = frame[frame["run"] != ""]
    return (
        "Grey: as found in the sources that the CSV names for each, none from memory; none came with an error. "
        f"Coloured: accuracy here on n = {sizes(own['n_samples'])} {' and '.join(dict.fromkeys(own['split']))} rows "
        f"after the last epoch, mean over {sizes(own['n_replicas'])} paired replicas with the 95 % t interval over "
        "replicas. Student alone: the cross-entropy arm. Rows of other data sets and networks are not shown."
        f"{taken_note(runs)} {conditions_in(own, runs)}"
    )


FIGURE = Figure(
    name="published",
    title="Beside published numbers",
    how_to_read="Grey marks have no bar because none was published. Schedules and teachers differ from row to row, and "
    "crosses subtract numbers of two sources, so compare signs and sizes, not digits.",
    needs="an arm of WSL or KD on data and networks of which numbers were found: "
    + "; ".join(dict.fromkeys(f"{row.data}, {row.pair}" for row in published.gains().itertuples())),
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
