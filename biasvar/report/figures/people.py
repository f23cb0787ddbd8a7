"""People's labels: students of each source of labels, and bias and variance against how much people disagree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import rank_correlation
from biasvar.analysis.statistics.intervals import interval_from
from biasvar.report import rows, style
from biasvar.report.arms import label_sources
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import final_accuracy, interval_columns
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "arm", "label", "kind", "quantity", "entropy", "entropy_low", "entropy_high", "estimate", "low",
    "high", "stderr", "n_replicas", "n",
]  # fmt: skip
STUDENT, BY_ENTROPY, CORRELATION = "students", "by entropy", "correlation"
TERMS = ("bias", "variance")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#9c4fb3")
MARKERS = "os^vPXh<"
KINDS = ("label", "votes", "smoothing")
MOST_BINS = 5
LEAST_ROWS = 10


def collect(runs: list[Run]) -> pd.DataFrame:
    """Final accuracy by source of labels, and means of bias and variance over rows of like human entropy."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    arms = [arm for arm in label_sources.finished(run) if _shown(run, arm)]
    votes = _votes(run, arms)
    if votes is None or len(arms) < 2:
        return []
    entropies = human_entropy(run, votes)
    found = []
    for arm in arms:
        about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "kind": label_sources.kind(run, arm)}
        accuracy = {**label_sources.accuracy(run, arm)}
        found.append({**about, "part": STUDENT, **accuracy})
        found += [{**about, "part": BY_ENTROPY, **row} for row in _by_entropy(run, arm, entropies)]
        found += [{**about, "part": CORRELATION, **row} for row in _correlations(run, arm, entropies)]
    return found


def _shown(run: Run, arm: str) -> bool:
    said = label_sources.source(run, arm)
    return (
        said["kind"] in KINDS and not said.get("labelled") and label_sources.measure(run, arm) == label_sources.AVERAGE
    )


def _votes(run: Run, arms: list[str]) -> str | None:
    """The soft label that holds all votes as they are, the least smoothed where there are several."""
    found = []
    for arm in arms:
        said = label_sources.source(run, arm)
        if said["kind"] == "votes" and said.get("votes") in (None, "all"):
            found.append((float(said.get("concentration") or 0.0), str(run.arm(arm)["soft_label"])))
    return min(found)[1] if found else None


def human_entropy(run: Run, name: str) -> pd.Series[float]:
    """Entropy in nats of people's votes on each sample, by sample id."""
    stored = run.soft_labels(name)
    soft = stored.values.astype(np.float64)
    logs = np.log(soft, out=np.zeros_like(soft), where=soft > 0)
    return pd.Series(np.abs((soft * logs).sum(axis=-1)), index=stored.sample_ids)


def bins_of(entropy: np.ndarray) -> np.ndarray:
    """The bin of each value: its own value where there are few, else like-sized bins, 0 apart if many are 0.

    >>> bins_of(np.array([0.0, 0.637, 0.637, 1.099])).tolist()
    [0, 1, 1, 2]
    """
    values, place = np.unique(entropy.round(4), return_inverse=True)
    if len(values) <= MOST_BINS:
        return place
    edges = np.unique(np.quantile(entropy, np.linspace(0, 1, MOST_BINS + 1)[1:-1]))
    return np.searchsorted(edges, entropy, side="left")


def _by_entropy(run: Run, arm: str, entropies: pd.Series[float]) -> list[dict[str, Any]]:
    """Means over the rows of each bin, for replicas that did not train on them."""
    terms = stored.terms(run, arm, "train", "nonmember")
    if terms is None or terms.decomposition.group_counts is None:
        return []
    entropy = entropies.reindex(terms.sample_ids).to_numpy()
    known = np.flatnonzero(np.isfinite(entropy))
    bins = np.full(len(entropy), -1)
    bins[known] = bins_of(entropy[known])
    groups = len(terms.decomposition.group_counts)
    found = []
    for one in range(bins.max(initial=-1) + 1):
        inside = bins == one
        if inside.sum() < LEAST_ROWS:
            continue
        totals = terms.decomposition.totals(inside)
        own = entropy[inside]
        about = {"entropy": own.mean(), "entropy_low": own.min(), "entropy_high": own.max()}
        for name in TERMS:
            total = getattr(totals, name)
            stderr = math.hypot(total.stderr_replicas, total.stderr_samples)
            interval = interval_from(total.value, stderr, groups - 1, total.n_replicas)
            found.append({**about, "quantity": name, "n": total.n_samples, **interval_columns(interval)})
    return found


def _correlations(run: Run, arm: str, entropies: pd.Series[float]) -> list[dict[str, Any]]:
    """Spearman's correlation over rows of entropy with bias and with variance, by replicas that did not train on it."""
    terms = stored.terms(run, arm, "train", "nonmember")
    if terms is None:
        return []
    entropy = entropies.reindex(terms.sample_ids).to_numpy()
    found = []
    for name in TERMS:
        values = np.asarray(getattr(terms.decomposition, name))
        known = np.isfinite(values) & np.isfinite(entropy)
        interval = rank_correlation(entropy[known], values[known])
        rows_and_replicas = {"n": int(known.sum()), "n_replicas": len(final_accuracy(run, arm))}
        found.append({"quantity": name, **interval_columns(interval), **rows_and_replicas})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run the accuracies, and below, where training rows were predicted, bias and variance against entropy."""
    runs = list(dict.fromkeys(frame["run"]))
    heights = []
    for run in runs:
        part = frame[frame["run"] == run]
        terms = 2.9 if (part["part"] == BY_ENTROPY).any() else 0.0
        heights.append((0.9 + 0.24 * part["arm"].nunique(), terms))
    figure = style.new_figure(height=sum(map(sum, heights)))
    blocks = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=[sum(pair) for pair in heights])[:, 0]
    for block, run, (upper, lower) in zip(blocks, runs, heights, strict=True):
        part = frame[frame["run"] == run]
        arms = list(dict.fromkeys(part["arm"]))
        top, bottom = block.subfigures(2, 1, height_ratios=[upper, lower]) if lower else (block, None)
        ax = top.subplots()
        _accuracies(ax, part[part["part"] == STUDENT], arms)
        ax.set_title((f"{run}: " if len(runs) > 1 else "") + "Students of each source of labels")
        if bottom is not None:
            binned = part[part["part"] == BY_ENTROPY]
            for panel, name in zip(bottom.subplots(1, 2), TERMS, strict=True):
                _against(panel, binned[binned["quantity"] == name], arms)
                panel.set_title(name.capitalize())
                panel.set_xlabel("entropy of people's votes (nats)")
                panel.set_ylabel("nats")
    return figure


def _look(arms: list[str], arm: str) -> tuple[str, str]:
    place = arms.index(arm)
    return COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]


def _accuracies(ax: Axes, part: pd.DataFrame, arms: list[str]) -> None:
    for y, row in enumerate(each(part)):
        color, marker = _look(arms, row.arm)
        ax.plot([100 * row.low, 100 * row.high], [y, y], color=color, linewidth=1.7, solid_capstyle="butt")
        ax.plot(100 * row.estimate, y, marker, color=color, markersize=6)
    ax.set_yticks(range(len(part)), list(part["label"]))
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    rows.scale(ax, "test accuracy (%)", ticks=6)


def _against(ax: Axes, part: pd.DataFrame, arms: list[str]) -> None:
    width = float(part["entropy"].max() - part["entropy"].min()) or 1.0
    for arm, one in part.groupby("arm", sort=False):
        color, marker = _look(arms, str(arm))
        shift = 0.012 * width * (arms.index(str(arm)) - (len(arms) - 1) / 2)  # so that intervals stand side by side
        bars = [one["estimate"] - one["low"], one["high"] - one["estimate"]]
        ax.errorbar(
            one["entropy"] + shift, one["estimate"], yerr=bars, color=color, marker=marker, markersize=4.5,
            linewidth=1.2, elinewidth=1.0,
        )  # fmt: skip


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, which rows, what the bins are."""
    students, terms = frame[frame["part"] == STUDENT], frame[frame["part"] == BY_ENTROPY]
    text = (
        f"Above: accuracy against true labels on n = {sizes(int(n) for n in students['n'].unique())} test rows, mean "
        f"over {sizes(int(n) for n in students['n_replicas'].unique())} replicas and 95 % t interval. "
    )
    if len(terms):
        one = terms[(terms["arm"] == terms["arm"].iloc[0]) & (terms["quantity"] == TERMS[0])]
        bins = "; ".join(
            f"{row.entropy_low:.2f}" + (f" to {row.entropy_high:.2f}" if row.entropy_high > row.entropy_low else "")
            + f": {row.n:,}" for row in each(one)
        )  # fmt: skip
        text += (
            "Below: bias and variance, corrected, against true labels, of the students (three at least) that did not "
            f"train on the row, means over training rows of like entropy of the votes (nats: rows, {bins}); 95 % t "
            "intervals of the errors over replicas and over rows together. "
        )
        text += _over_rows(frame[frame["part"] == CORRELATION])
    return text + conditions_in(frame, runs)


def _over_rows(part: pd.DataFrame) -> str:
    """Each run's rank correlations over rows, as a range over its arms, with a space behind."""
    said = []
    for run, of_run in part.dropna(subset=["estimate"]).groupby("run", sort=False):
        ranges = [
            f"{name} {signed(float(one['estimate'].min()), 2)} to {signed(float(one['estimate'].max()), 2)}"
            for name, one in of_run.groupby("quantity", sort=False)
        ]
        about = f"{run}: " if part["run"].nunique() > 1 else ""
        half = float((of_run["high"] - of_run["low"]).max()) / 2
        said.append(f"{about}{', '.join(ranges)} over the sources of labels, each ± {half:.2f} or less")
    if not said:
        return ""
    return (
        "Rank correlation of the votes' entropy with the row's own term, over rows with two such students at least "
        f"(95 %): {'; '.join(said)}; the error of a row's term over replicas pulls it towards 0. "
    )


FIGURE = Figure(
    name="people",
    title="Labels that people gave",
    how_to_read="Above, which source of labels teaches best. Below, whether rows that people disagree about are those "
    "where students are wrong on average (bias) or differ from one another (variance).",
    needs="students of people's votes beside students of other labels; for the lower panels predictions of training "
    "rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
