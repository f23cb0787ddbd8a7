"""Which indicator of a soft label predicts the student: candidates ranked, and the best of them against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn, soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, forest, legends, looks, panels, scales, scatter
from biasvar.report.statistics import accuracy_prediction, label_indicators
from biasvar.report.statistics.changes import each
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "candidate", "name", "rho", "size", "low", "high", "versus", "versus_low", "versus_high",
    "n_soft_labels", "n_origins", "arm", "label", "kind", "accuracy", "accuracy_low", "accuracy_high", "stderr",
    "n_replicas", *label_indicators.CANDIDATES, "truth", "n",
]  # fmt: skip
SHOWN = {
    "sum": "Δ + γ, best k",
    "kappa": "exponent κ",
    "teacher_accuracy": "accuracy of the soft label",
    "distance": "distance to the truth",
    "entropy": "mean entropy (nats)",
    "variance_reduction": "reduction of variance (nats)",
}
RANKING, SOFT_LABEL = "ranking", "soft label"
ROW = 0.21  # inches
ACROSS = 3  # panels of soft labels beside one another


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of part "ranking", one a candidate, and of part "soft label", one a soft label with all its candidates."""
    parts = [part for run in runs for part in _of_run(run)]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _of_run(run: Run) -> list[pd.DataFrame]:
    truth, arms = accuracy_prediction.compared_arms(run)
    if truth is None:
        return []
    points = accuracy_prediction.compared_soft_labels(run)
    ranked = accuracy_prediction.ranking(points)
    ends = [soft_labels.accuracy(run, arm) for arm in arms]
    points = points.assign(accuracy_low=[end["low"] for end in ends], accuracy_high=[end["high"] for end in ends])
    shared: dict[str, Any] = {"run": run.name, "truth": arm_label(run, truth), "n": ends[0]["n"]}
    both = (ranked.assign(part=RANKING, **shared), points.assign(part=SOFT_LABEL, **shared))
    return [part.reindex(columns=COLUMNS).dropna(axis="columns", how="all") for part in both]


def ranking_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The ranking alone, a row a candidate: rank correlation, its size and its lead over accuracy, with intervals."""
    ranked = frame[frame["part"] == RANKING]
    return ranked[["run", *COLUMNS[2:13]]].reset_index(drop=True)


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a row with the ranking and the lead over the soft label's accuracy, and six scatter panels below."""
    runs = list(dict.fromkeys(frame["run"]))
    ranked = frame[frame["part"] == RANKING]
    above = panels.AXIS + ROW * ranked.groupby("run")["candidate"].nunique().max()
    names = list(SHOWN)[: ACROSS if style.narrow() else None]
    below = 2.25 * len(names) / ACROSS
    entries, columns = drawn.kind_entries(frame["kind"].dropna()), style.abreast(4)
    figure, block_of = blocks.stacked(
        runs, [above + below + blocks.HEAD] * len(runs), more=0.3 + 0.2 * len(entries) / columns
    )
    block: Any
    for run, block in block_of.items():
        points = frame[(frame["run"] == run) & (frame["part"] == SOFT_LABEL)]
        mine = ranked[ranked["run"] == run]
        top, bottom = block.subfigures(2, 1, height_ratios=[above, below])
        _ranking(top, mine)
        axes = bottom.subplots(len(names) // ACROSS, ACROSS, sharey=True, squeeze=False)
        for ax, name in zip(axes.flat, names, strict=True):
            _scatter(ax, points, name)
            ax.set_xlabel(panels.fitted(SHOWN[name], 14))
            for rho in mine.loc[mine["candidate"] == name, "rho"]:
                ax.set_title(f"ρ = {signed(float(rho), 2)}", weight="normal")
        for ax in axes[:, 0]:
            ax.set_ylabel("students' accuracy (%)")
    legends.below(figure, entries, columns=columns, columnspacing=1.2, handletextpad=0.3)
    return figure


def _ranking(top: SubFigure, ranked: pd.DataFrame) -> None:
    """The size of each candidate's rank correlation, and its lead over that of the soft label's accuracy."""
    rival = ranked["candidate"] == accuracy_prediction.RIVAL
    where = forest.places(ranked, row="candidate")
    rows = where.on(ranked.assign(color=np.where(rival, style.BAD, style.INK), marker="o", hollow=False))
    leads = rows.assign(estimate=rows["versus"], low=rows["versus_low"], high=rows["versus_high"])
    names = [f"{row.name}  ({'−' if row.rho < 0 else '+'})" for row in each(ranked)]
    first, second = forest.panels(top, where, names, 2, on_narrow=2)
    for tick, red in zip(first.get_yticklabels(), rival, strict=True):
        tick.set_color(style.BAD if red else style.INK)
    forest.draw(first, rows.assign(estimate=rows["size"]), reference=0.0)
    forest.draw(second, leads, reference=0.0)
    if not style.narrow():
        forest.beside(second, leads[~rival.to_numpy()], [_lead_in_numbers(row) for row in each(ranked[~rival])])
    first.set_xlim(min(-0.05, float(ranked["low"].min()) - 0.03), 1.03)
    ticks = style.abreast(4, on_narrow=2)
    if style.narrow():  # no room for a title and the name of the axis
        first.set_title("|ρ| with\nstudents'\naccuracy", weight="normal", fontsize=9)
        second.set_title("lead over\nthe label's\naccuracy", weight="normal", fontsize=9)
        scales.values(first, "", ticks=ticks)
        scales.values(second, "", ticks=ticks)
        return
    first.set_title("Rank correlation")
    second.set_title("Lead over the label's accuracy")
    scales.values(first, "|ρ| with students' accuracy", ticks=ticks + 1)
    scales.values(second, "difference of |ρ|", ticks=ticks)


def _lead_in_numbers(row: Any) -> str:
    return f"{signed(row.versus, 3)} [{signed(row.versus_low, 3)}, {signed(row.versus_high, 3)}]"


def _scatter(ax: Axes, points: pd.DataFrame, name: str) -> None:
    bounds = {end: 100.0 * points[end] for end in ("accuracy", "accuracy_low", "accuracy_high")}
    percent = looks.put_on(points.assign(**bounds), soft_labels.KINDS, by="kind")
    size = 4.5 if style.narrow() else 7.0
    scatter.draw(ax, percent, x=name, y="accuracy", low="accuracy_low", high="accuracy_high", size=size)
    ax.set_ylim(0, min(103.0, 1.12 * float(percent["accuracy_high"].max())))
    ax.margins(x=0.07)
    ax.locator_params(axis="x", nbins=style.abreast(4, on_narrow=2))


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is left out, what the intervals are, what the candidates are."""
    ranked = frame[frame["part"] == RANKING]
    points = frame[frame["part"] == SOFT_LABEL]
    several = ranked["run"].nunique() > 1
    counts = sizes(points["n_replicas"])
    return (
        f"{_counts(ranked, several)}: each taught its students alone, by cross-entropy (soft labels of some rows only "
        "and the truth itself are left out). Above: size of Spearman's rank correlation over soft labels between the "
        "candidate and the students' mean test accuracy, its sign behind the name; at the right that size less the "
        f"red one's. Bars: 95 % percentiles of {accuracy_prediction.RESAMPLES:,} bootstrap draws of the "
        f"{sizes(ranked['n_origins'])} origins of soft labels (those of one teacher, or of "
        "the same people, are drawn together), with the sign of the whole kept; they leave out the error over replicas."
        f"{_lead(ranked, several)} Below: a marker is one soft label, the bar a 95 % t interval "
        f"over {counts} replicas for these n = {sizes(points['n'])} test rows. Indicators on "
        "the pool's training rows, ties at random; best k: the smallest Δ + γ among top-k sets and the entries above "
        "0; κ the largest. Accuracy of the soft label: share of rows whose first class is the truth. Distance: total "
        "variation to one-hot truth. ECE: 15 equal-width bins. Reduction of variance: corrected, on test rows, against "
        f"{' and '.join(dict.fromkeys(ranked['truth'].str.lower()))}. {conditions_in(frame, runs)}"
    )


def _counts(ranked: pd.DataFrame, several: bool) -> str:
    by_run = ranked.drop_duplicates("run")
    if not several:
        return f"{int(by_run['n_soft_labels'].iloc[0])} soft labels"
    return "Soft labels (" + "; ".join(f"{row.run}: {int(row.n_soft_labels)}" for row in each(by_run)) + ")"


def _lead(ranked: pd.DataFrame, several: bool) -> str:
    """The lead of Delta + gamma over the soft label's accuracy in numbers, with a space before it."""
    said = []
    for row in each(ranked[ranked["candidate"] == "sum"].dropna(subset=["versus"])):
        ends = f"95 %: {signed(row.versus_low, 3)} to {signed(row.versus_high, 3)}"
        said.append((f"{row.run} " if several else "") + f"{signed(row.versus, 3)} ({ends})")
    return f" Lead of Δ + γ over the label's accuracy: {'; '.join(said)}." if said else ""


FIGURE = Figure(
    name="predictors",
    title="Which indicator of a soft label predicts the student?",
    how_to_read="The further right a candidate, the better it orders soft labels by how well their students do. A bar "
    "right of 0 in the second panel predicts better than the share of rows where the soft label is right, left of 0 "
    "worse; a bar across 0 is not told from it.",
    needs="eight or more soft labels of all rows, each with students trained on it alone, beside true labels",
    collect=collect,
    draw=draw,
    caption=caption,
)
