"""For whom each method changes bias and variance: the changes against cross-entropy by kind of row."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import COMPARED, left_out, reference_arm, taken_note
from biasvar.report.figure import Figure
from biasvar.report.figures.methods import bar_entries
from biasvar.report.marks import blocks, forest, legends, looks, panels, scales
from biasvar.report.statistics.estimates import columns, term_change
from biasvar.report.statistics.kinds_of_rows import KINDS, LEAST_ROWS, TERMS, KindChange, kind_changes
from biasvar.report.statistics.method_changes import ABOUT, NUMBERS, compared_methods, first_arms
from biasvar.report.style import Look
from biasvar.report.text.captions import conditions_in, when_evaluated
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

MOST_ARMS = 20
COLUMNS = [*ABOUT, "compared", "question", "kind", "difference", "term", *NUMBERS]
SHADES = {"first": "#d3ae83", "middle": "#a3703a", "last": "#4a2a0c"}  # no arm has these
"""Of a question's kinds: the usual row's, one between, the unusual one's."""
_HEADS = {"difficulty": "Difficulty", "regularization samples": "Regularization", "reference teacher": "Teacher"}
_DOT, _BETWEEN = (0.1, 0.075), (0.12, 0.09)  # inches from kind to kind, and more from arm to arm; on narrow screens


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, kind of row and term; also the last kind's change less the first's, of every question."""
    found = []
    for run in runs:
        control = reference_arm(run)
        compared = compared_methods(run, runs) if control else []
        for arm in first_arms(run, compared, MOST_ARMS):
            about = {"compared": len(compared)}
            found += [about | _row(run, arm, str(control), change) for change in kind_changes(run, arm, str(control))]
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _row(run: Run, arm: str, control: str, change: KindChange) -> dict[str, Any]:
    whole = term_change(run, arm, control, change.term)
    assert whole is not None  # the arms are paired
    parts, over = change.crossed.components, change.crossed.interval()
    return columns(whole, ABOUT) | {
        "n_samples": change.n_samples, "question": change.question, "kind": change.kind,
        "difference": change.kind not in KINDS[change.question], "term": change.term,
        "estimate": change.crossed.estimate, "low": over.low, "high": over.high, "stderr": change.crossed.stderr,
        "df": change.crossed.df, "low_replicas": change.interval.low, "high_replicas": change.interval.high,
        "stderr_replicas": change.interval.stderr, "stderr_samples": parts["rows"].stderr,
        "stderr_teachers": parts["teachers"].stderr if "teachers" in parts else float("nan"),
    }  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    """A column of panels for each question, a row for each term; in them the arms, their kinds one under another."""
    shown = _told_apart(frame)
    runs = list(dict.fromkeys(shown["run"]))
    heights = [_height(shown[shown["run"] == run]) for run in runs]
    figure, block_of = blocks.stacked(runs, heights, more=2.3 if style.narrow() else 0.75)
    for run in runs:
        _block(block_of[run], shown[shown["run"] == run])
    if said := _left(shown):
        figure.suptitle(said, x=0.01, ha="left", fontsize=9, color=style.MUTED)
    entries, columns = _entries(shown)
    legends.below(figure, entries, columns=columns, handletextpad=0.5)
    return figure


def _left(shown: pd.DataFrame) -> str:
    """How many of the arms are drawn, where not all are; "" for a table that does not say how many there are."""
    said = []
    for run, part in shown.groupby("run", sort=False):
        drawn_arms, compared = part["arm"].nunique(), pd.to_numeric(part["compared"], errors="coerce").max()
        if compared > drawn_arms:
            name = f"{run}: " if shown["run"].nunique() > 1 else ""
            said.append(f"{name}{drawn_arms} of {compared:.0f} arms, the main ones first")
    call = "others: biasvar.plots.for_whom(run, arms=[...])"
    between = "\n" if style.narrow() else " "
    return f"{'; '.join(said)};{between}{call}" if said else ""


def _told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """The kinds without their differences, of the questions that leave more than one: one kind is told from none."""
    kinds = frame[~frame["difference"].astype(bool)]
    several = kinds.groupby("question")["kind"].transform("nunique") > 1
    return kinds[several] if several.any() else kinds


def _height(part: pd.DataFrame) -> float:
    """Inches of a run's panels."""
    down = part["question"].nunique() if _turned(part) else len(TERMS)
    return 0.9 + down * ((0.75 if style.narrow() else 0.45) + _arm_height() * _places(part).total)


def _places(part: pd.DataFrame) -> forest.Places:
    """The places of the arms; names that would leave the panels no room stand above their rows."""
    return forest.places(part).named(drawn.row_names(part), row=_arm_height(), widest=0.5 if _turned(part) else 0.25)


def _turned(part: pd.DataFrame) -> bool:
    """Whether the terms stand side by side: on a narrow screen, and where one question leaves room for it."""
    return style.narrow() or part["question"].nunique() == 1


def _arm_height() -> float:
    return _DOT[style.narrow()] * max(map(len, KINDS.values())) + _BETWEEN[style.narrow()]


def _block(block: SubFigure, part: pd.DataFrame) -> None:
    questions = [name for name in KINDS if name in set(part["question"])]
    shape = (len(TERMS), len(questions))
    grid = block.subplots(*(shape[::-1] if _turned(part) else shape), squeeze=False)
    where = _places(part)
    for across in grid:
        forest.name_rows(across, where, drawn.row_names(part))
    for term, across in zip(TERMS, grid.T if _turned(part) else grid, strict=True):
        of_term = part[part["term"] == term]
        for ax, question in zip(across, questions, strict=True):
            _panel(ax, where.on(of_term[of_term["question"] == question]), question)
            if term == TERMS[0]:
                ax.set_title(_HEADS[question])
            scales.values(ax, panels.fitted(f"change of {term} (nats)", 15), ticks=style.abreast(4, on_narrow=2))


def _panel(ax: Axes, rows: pd.DataFrame, question: str) -> None:
    """Thick bars over replicas, thin ones over all that was drawn; the axis holds the thick ones."""
    kinds = KINDS[question]
    rows = looks.put_on(rows, _looks(question), by="kind", hollow="failed")
    rows["y"] += [
        _DOT[style.narrow()] / _arm_height() * (kinds.index(kind) - (len(kinds) - 1) / 2) for kind in rows["kind"]
    ]
    limits = scales.limits(rows.assign(low=rows["low_replicas"], high=rows["high_replicas"]), anchor=0.0, room=0.08)
    ax.grid(visible=False, axis="y")
    forest.draw(ax, rows, limits=limits, reference=0.0, size=4.2, width=0.7)
    forest.bars(ax, rows, low="low_replicas", high="high_replicas", width=2.0)


def _looks(question: str) -> dict[str, Look]:
    """The look of each kind of a question."""
    kinds = KINDS[question]
    shades = ["first", *["middle"] * (len(kinds) - 2), "last"]
    return {kind: Look(SHADES[shade], "o", "-", kind) for kind, shade in zip(kinds, shades, strict=True)}


def _entries(shown: pd.DataFrame) -> tuple[list[Any], int]:
    """Legend entries, and their columns: one for each question, its name on top, and one for the bars, of one length.

    Beside three questions there is no room for it: the bars then stand under the first two of them.
    """
    found: list[list[Any]] = []
    for question in KINDS:
        there = shown[shown["question"] == question]
        if there.empty:
            continue
        counts = {kind: sizes(there.loc[there["kind"] == kind, "n_samples"]) for kind in dict.fromkeys(there["kind"])}
        named = [kind for kind in KINDS[question] if kind in counts]
        styles = _looks(question)
        entries = [legends.dot("", _HEADS[question])]
        entries += [legends.dot("o", f"{kind}, n = {counts[kind]}", color=styles[kind].color) for kind in named]
        found.append(entries)
    bars = bar_entries(shown)
    if style.narrow():
        return [entry for column in [*found, bars] for entry in column], 1
    if len(found) < 3:
        found.append(bars)
    most = max(map(len, found))
    if len(found) > 2 and bars not in found:
        for column, entry in zip(found, bars, strict=False):
            entry.set_label(textwrap.fill(str(entry.get_label()), 20))
            column += [*(legends.dot("", "") for _ in range(most - len(column))), entry]
        most += 1
    for column in found:
        column += [legends.dot("", "") for _ in range(most - len(column))]
    return [entry for column in found for entry in column], len(found)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What the kinds are, on which replicas they are told and measured, n, bars, what is cut, draw and data."""
    asked = set(_told_apart(frame)["question"])
    said = [words for question, words in _QUESTIONS.items() if question in asked]
    many = any(len(compared_methods(run, runs)) > MOST_ARMS for run in runs)
    copies = frame["n_teachers"].dropna()
    over = "replicas" if copies.empty else f"replicas, or the {sizes(copies)} copies of the teacher that they share"
    return (
        f"Change from cross-entropy on test rows {when_evaluated(frame, runs)}, against the true labels at temperature "
        "1, in nats, corrected for the finite number of replicas, paired by replica. Kinds of rows are told by "
        "cross-entropy's students of one half of the replicas and changes measured on those of the other half, and the "
        f"other way round, so that nothing regresses to the mean: {'; '.join(said)}. n is the mean of both halves; "
        f"kinds of fewer than {LEAST_ROWS} rows are left out, and questions that leave one kind. "
        "Thick bars are 95 % t intervals over replicas, for these "
        f"rows and these teachers, thin ones over rows and {over}; none is adjusted for their number. An arrowhead "
        "marks one that reaches beyond the panel; its end is in the CSV, which also has the last kind's change less "
        "the first's."
        + (f" Of runs with more arms {MOST_ARMS}, the main ones first." if many else "")
        + f"{left_out(runs)}{taken_note(runs)} {conditions_in(frame, runs)}"
    )


_QUESTIONS = {
    "difficulty": "difficulty, thirds of the rows by the mean loss of these students",
    "regularization samples": "regularization samples, flagged (b > |a|) by more than half of these students against "
    "the reference teacher",
    "reference teacher": "whether the reference teacher is right about the row, or all, some or none of its copies",
}

FIGURE = Figure(
    name="for_whom",
    title="For whom: changes of bias and variance by kind of row",
    how_to_read="Each colour is one kind of row. A dot left of the line says that the method lowers that term for such "
    "rows; a bar that crosses the line is not told from no change: the thick one for these rows, the thin one for "
    "others too.",
    needs="predictions of a cross-entropy arm and of another arm on the same test rows by the same six replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
