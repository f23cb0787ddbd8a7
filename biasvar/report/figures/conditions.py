"""Arms taught by soft labels alone: the condition for top-k sets, the one for cross-entropy, and how students ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn, soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas, listed_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics import label_indicators
from biasvar.report.statistics.changes import each
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "kind", "fit", "quantity", "estimate", "low", "high", "stderr", "n_replicas", "n", "k",
    "rule", "failed", "replicas", "truth",
]  # fmt: skip
SUM, MARGIN, ACCURACY = "sum", "margin", "accuracy"
PANELS = {
    SUM: ("Sets: below\u00a01", "unreliability plus ambiguity, Δ\u00a0+\u00a0γ", 1.0),
    MARGIN: ("Mean label: above\u00a00", "margin of the mean label", 1.0),
    ACCURACY: ("Students", "accuracy, %", 100.0),
}
"""Title, axis and factor of each panel."""
FITS = {
    soft_labels.AVERAGE: "Students fit the average",
    soft_labels.CANDIDATES: "Students fit any candidate",
    soft_labels.SQUARED: "Students fit by squared error",
}
LIMITS = {SUM: 1.0, MARGIN: 0.0}
MOST_ROWS = 40  # arms of a figure; of more, each group shows its share


def collect(runs: list[Run]) -> pd.DataFrame:
    """For each arm a row of Delta + gamma, one of the smallest margin over classes, one of students' accuracy."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    shown = listed_arms(run)
    arms = [arm for arm in soft_labels.finished_arms(run) if arm in shown]
    # Nothing can be said within a class that has no row with a soft label.
    arms = [arm for arm in arms if not np.isnan(label_indicators.judged(run, arm)["sum"])]
    if len(arms) < 2:
        return []
    truth = soft_labels.truth_arm(run)
    rows = []
    for arm in arms:
        name, judged = str(run.entry(arm).soft_label), label_indicators.judged(run, arm)
        student, rows_there = label_indicators.expected(run, name), int(judged["n"])
        about = {
            "run": run.name, "arm": arm, "label": arm_label(run, arm), "kind": soft_labels.kind(run, arm),
            "fit": soft_labels.fit(run, arm), "failed": len(failed_replicas(run, arm)), "truth": arm == truth,
            "replicas": int(run.entry(arm).replicas or 0),
        }  # fmt: skip
        total = {"estimate": judged["sum"], "low": judged["sum_low"], "high": judged["sum_high"]}
        ends = {"estimate": student.margins, "low": student.low, "high": student.high}
        margin = {key: float(values.min()) for key, values in ends.items()}
        rule = {"k": judged["k"], "rule": judged["rule"]}
        rows += [
            {**about, "quantity": SUM, **total, **rule, "n": rows_there},
            {**about, "quantity": MARGIN, **margin, "n": rows_there},
            {**about, "quantity": ACCURACY, **soft_labels.accuracy(run, arm)},
        ]
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """Three panels that share their rows, one row an arm."""
    frame = _shown(_by_fit(frame))
    names, entries = drawn.row_names(frame), drawn.kind_entries(frame["kind"])
    if (frame["failed"] > 0).any():
        entries.append(legends.dot("o", "† replicas at chance or not finite", hollow=True))
    columns = style.abreast(3)
    where = forest.places(frame, group="heading").named(names, above=True)
    legend = 0.5 + 0.19 * -(-len(entries) // columns)
    figure = style.new_figure(height=legend + forest.height(where, 3, on_narrow=3))
    axes = forest.panels(figure, where, names, 3, on_narrow=3)
    rows = where.on(frame)
    for ax, (quantity, (title, label, scale)) in zip(axes, PANELS.items(), strict=True):
        rows_here = rows[rows["quantity"] == quantity]
        rows_here = looks.put_on(rows_here, soft_labels.KINDS, by="kind", hollow="failed", scale=scale)
        forest.draw(ax, rows_here, size=6.4)
        if quantity in LIMITS:
            _limit(ax, LIMITS[quantity], where)
        if quantity == ACCURACY:
            ax.set_xlim(-3, 103)
            for row in each(rows_here[rows_here["truth"]]):
                ax.axvspan(row.low, row.high, color=style.FAINT, linewidth=0, zorder=0)
        ax.set_title(style.panel_title(title, width=12))
        scales.values(
            ax, style.panel_title(label, width=14 if style.narrow() else 20), ticks=style.abreast(4, on_narrow=2)
        )
    legends.below(figure, entries, columns=columns, columnspacing=1.2, handletextpad=0.3)
    return figure


def _limit(ax: Axes, at: float, where: forest.Places) -> None:
    """The red line of a condition; where names stand above their rows, in pieces that leave these free."""
    if not where.names:
        ax.axvline(at, color=style.BAD, linewidth=1.2, zorder=1)
        return
    middles = np.array(list(where.heights.values()))
    ax.vlines([at] * len(middles), middles - 0.35, middles + 0.45, color=style.BAD, linewidth=1.2, zorder=1)


def _by_fit(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `heading`: the run where there are several, and what the students fit."""
    several = frame["run"].nunique() > 1
    fits = frame["fit"].map(FITS) if frame["fit"].nunique() > 1 or not several else ""
    headed = frame.assign(heading=(frame["run"] + (": " if len(fits) else "") if several else "") + fits)
    parts = headed.groupby("run", sort=False)
    in_order = [part[part["fit"] == fit] for _, part in parts for fit in FITS]
    return pd.concat(in_order, ignore_index=True)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn: of many arms, in each group those with least and most, and those nearest to 1."""
    sums = frame[frame["quantity"] == SUM]
    if len(sums) <= MOST_ROWS:
        return frame
    share = max(3, MOST_ROWS // sums["heading"].nunique())
    kept: set[tuple[str, str]] = set()
    for _, part in sums.groupby("heading", sort=False):
        values = part["estimate"]
        ends = [*part.index[part["truth"].astype(bool)], values.idxmin(), values.idxmax()]
        nearest = (values - LIMITS[SUM]).abs().sort_values(kind="stable").index
        chosen = part.loc[list(dict.fromkeys([*ends, *nearest]))[:share]]
        kept |= set(zip(chosen["run"], chosen["arm"], strict=True))
    return frame[[pair in kept for pair in zip(frame["run"], frame["arm"], strict=True)]]


def _left_to_csv(frame: pd.DataFrame) -> str:
    """How many arms are drawn and which, as a sentence with a space before it; empty if all are."""
    every, drawn_rows = (part[part["quantity"] == SUM] for part in (frame, _shown(_by_fit(frame))))
    if len(drawn_rows) == len(every):
        return ""
    return (
        f" Drawn are {len(drawn_rows)} of {len(every)} arms: true labels, and in each group the lowest and the highest "
        "Δ + γ and those nearest to 1; the CSV has all."
    )


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What each condition is about, at which k, n, intervals, and where the two disagree with the students."""
    sums = frame[frame["quantity"] == SUM]
    ends = frame[frame["quantity"] == ACCURACY]
    failed = drawn.failure_note(frame)
    return (
        "Left: Δ + γ on n = "
        f"{sizes(sums['n'])} training rows with a soft label, the smallest over k and the set "
        "of entries above 0; for students of candidate sets at their own k. Its bars hold after that choice. "
        "Middle: mean mass on the truth less that on the class's strongest wrong label, the smallest over classes, "
        "with 95 % intervals for all classes and labels together. Students trained by cross-entropy come to the mean "
        "soft label, of which the theory of sets does not speak: above 0 they find the truth where soft labels vary by "
        "chance within a class (derived, not the paper's). Right: students' accuracy on n = "
        f"{sizes(ends['n'])} test rows, 95 % t interval over "
        f"{sizes(ends['n_replicas'])} replicas; grey: true labels.{_left_to_csv(frame)}{_lowest(frame)}"
        + (f" † Hollow: {failed}." if failed else "")
        + f" {conditions_in(frame, runs)}"
    )


def _lowest(frame: pd.DataFrame) -> str:
    """The best students whose Delta + gamma is surely above 1, with a space before it."""
    said = []
    for run, part in frame.groupby("run", sort=False):
        by = {quantity: part[part["quantity"] == quantity].set_index("arm") for quantity in PANELS}
        above = by[SUM].index[by[SUM]["low"] > 1.0]
        if len(above):
            best = by[ACCURACY].loc[above, "estimate"].idxmax()
            total, margin, accuracy = (float(by[quantity].loc[best, "estimate"]) for quantity in PANELS)
            said.append(
                (f"{run}: " if frame["run"].nunique() > 1 else "")
                + f"{by[SUM].loc[best, 'label']}, Δ + γ {total:.2f}, margin {signed(margin, 2)}, accuracy "
                f"{100 * accuracy:.1f} %"
            )
    return f" The best students with Δ + γ surely above 1: {'; '.join(said)}." if said else ""


FIGURE = Figure(
    name="conditions",
    title="Two conditions on soft labels, and their students",
    how_to_read="The first condition holds left of its red line, the second right of its own. Good students right of "
    "the first line show that it is not necessary; bad ones left of it, that rows were few or that they fit something "
    "else than sets.",
    needs="two or more arms taught by soft labels alone, every class among them",
    collect=collect,
    draw=draw,
    caption=caption,
)
