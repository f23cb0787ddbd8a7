"""Which indicator of a soft label predicts the student: candidates ranked, and the best of them against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import rows, style
from biasvar.report.arms import label_sources
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.statistics import accuracy_prediction, label_indicators
from biasvar.report.statistics.changes import each
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

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


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of part "ranking", one a candidate, and of part "soft label", one a soft label with all its candidates."""
    parts = [part for run in runs for part in _of_run(run)]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _of_run(run: Run) -> list[pd.DataFrame]:
    truth, arms = accuracy_prediction.compared_arms(run)
    if truth is None:
        return []
    found = accuracy_prediction.soft_labels(run)
    ranked = accuracy_prediction.ranking(found)
    ends = [label_sources.accuracy(run, arm) for arm in arms]
    found = found.assign(accuracy_low=[end["low"] for end in ends], accuracy_high=[end["high"] for end in ends])
    shared: dict[str, Any] = {"run": run.name, "truth": arm_label(run, truth), "n": ends[0]["n"]}
    both = (ranked.assign(part=RANKING, **shared), found.assign(part=SOFT_LABEL, **shared))
    return [part.reindex(columns=COLUMNS).dropna(axis="columns", how="all") for part in both]


def ranking_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The ranking alone, a row a candidate: rank correlation, its size and its lead over accuracy, with intervals."""
    ranked = frame[frame["part"] == RANKING]
    return ranked[["run", *COLUMNS[2:13]]].reset_index(drop=True)


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a row with the ranking and the lead over the soft label's accuracy, and six scatter panels below."""
    runs = list(dict.fromkeys(frame["run"]))
    figure = style.new_figure(height=7.3 * len(runs) + 0.8)
    blocks = figure.subfigures(len(runs), 1, squeeze=False)[:, 0]
    for block, run in zip(blocks, runs, strict=True):
        part = frame[frame["run"] == run]
        top, bottom = block.subfigures(2, 1, height_ratios=[2.75, 4.55])
        _ranking(top.subplots(1, 2), part[part["part"] == RANKING])
        if len(runs) > 1:
            top.suptitle(run, x=0.01, ha="left", weight="bold", fontsize=11)
        grid = bottom.subplots(2, 3, sharey=True)
        for ax, (name, label) in zip(grid.flat, SHOWN.items(), strict=True):
            _scatter(ax, part, name, label)
        for ax in grid[:, 0]:
            ax.set_ylabel("students' accuracy (%)")
    figure.legend(handles=_handles(frame), loc="outside lower left", ncols=4, columnspacing=1.2, handletextpad=0.3)
    return figure


def _ranking(axes: Any, part: pd.DataFrame) -> None:
    first, second = axes
    for y, row in enumerate(each(part)):
        rival = row.candidate == accuracy_prediction.RIVAL
        color = style.BAD if rival else style.INK
        if not rival:
            said = f"{signed(row.versus, 3)} [{signed(row.versus_low, 3)}, {signed(row.versus_high, 3)}]"
            second.text(1.03, y, said, va="center", fontsize=9, transform=second.get_yaxis_transform())
        for ax, value, low, high in (
            (first, row.size, row.low, row.high),
            (second, row.versus, row.versus_low, row.versus_high),
        ):
            if pd.notna(value):
                ax.plot([low, high], [y, y], color=color, linewidth=1.7, solid_capstyle="butt")
                ax.plot(value, y, "o", color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.4)
    signs = ["−" if row.rho < 0 else "+" for row in each(part)]
    names = [f"{row.name}  ({sign})" for row, sign in zip(each(part), signs, strict=True)]
    first.set_yticks(range(len(part)), names)
    second.set_yticks(range(len(part)), [""] * len(part))
    for ax in axes:
        ax.set_ylim(len(part) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    first.set_xlim(min(-0.05, float(part["low"].min()) - 0.03), 1.03)
    first.set_title("Rank correlation")
    second.set_title("Lead over the label's accuracy")
    rows.scale(first, "|ρ| with students' accuracy", ticks=5)
    rows.scale(second, "difference of |ρ|", ticks=5)


def _scatter(ax: Axes, part: pd.DataFrame, name: str, label: str) -> None:
    points = part[part["part"] == SOFT_LABEL]
    for row in each(points):
        _, marker, color = label_sources.KINDS[row.kind]
        bounds = [[100 * (row.accuracy - row.accuracy_low)], [100 * (row.accuracy_high - row.accuracy)]]
        ax.errorbar(
            getattr(row, name), 100 * row.accuracy, yerr=bounds, marker=marker, color=color, elinewidth=0.9,
            markersize=6.5 if marker in "X*P^sh" else 5.5, markeredgecolor="white", markeredgewidth=0.4, alpha=0.9,
        )  # fmt: skip
    ranked = part[part["candidate"] == name]
    if len(ranked):
        ax.set_title(f"ρ = {signed(float(ranked['rho'].iloc[0]), 2)}", weight="normal")
    ax.set_xlabel(label)
    ax.set_ylim(0, min(103.0, 112 * float(points["accuracy_high"].max())))
    ax.margins(x=0.07)
    ax.locator_params(axis="x", nbins=4)


def _handles(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    there = set(frame["kind"].dropna())
    return [
        Line2D([], [], linestyle="none", marker=marker, color=color, markersize=7, label=label)
        for kind, (label, marker, color) in label_sources.KINDS.items()
        if kind in there
    ]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is left out, what the intervals are, what the candidates are."""
    ranked = frame[frame["part"] == RANKING]
    points = frame[frame["part"] == SOFT_LABEL]
    several = ranked["run"].nunique() > 1
    counts = sizes(int(n) for n in points["n_replicas"].unique())
    return (
        f"{_counts(ranked, several)}: each taught its students alone, by cross-entropy (soft labels of some rows only "
        "and the truth itself are left out). Above: size of Spearman's rank correlation over soft labels between the "
        "candidate and the students' mean test accuracy, its sign behind the name; at the right that size less the "
        f"red one's. Bars: 95 % percentiles of {accuracy_prediction.RESAMPLES:,} bootstrap draws of the "
        f"{sizes(int(n) for n in ranked['n_origins'].unique())} origins of soft labels (those of one teacher, or of "
        "the same people, are drawn together), with the sign of the whole kept; they leave out the error over replicas."
        f"{_lead(ranked, several)} Below: a marker is one soft label, the bar a 95 % t interval "
        f"over {counts} replicas for these n = {sizes(int(n) for n in points['n'].unique())} test rows. Indicators on "
        "the pool's training rows, ties at random; best k: the smallest Δ + γ among top-k sets and the entries above "
        "0; κ the largest. Accuracy of the soft label: share of rows whose first class is the truth. Distance: total "
        "variation to one-hot truth. ECE: 15 equal-width bins. Reduction of variance: corrected, on test rows, against "
        f"{' and '.join(dict.fromkeys(ranked['truth'].str.lower()))}. {conditions_in(frame, runs)}"
    )


def _counts(ranked: pd.DataFrame, several: bool) -> str:
    found = ranked.drop_duplicates("run")
    if not several:
        return f"{int(found['n_soft_labels'].iloc[0])} soft labels"
    return "Soft labels (" + "; ".join(f"{row.run}: {int(row.n_soft_labels)}" for row in each(found)) + ")"


def _lead(ranked: pd.DataFrame, several: bool) -> str:
    """Whether Delta + gamma beats the soft label's accuracy, in numbers, with a space before it."""
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
