"""People's labels: students of each source of labels, and bias and variance against how much people disagree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics import calibration
from biasvar.analysis.statistics.comparison import rank_correlation
from biasvar.analysis.statistics.intervals import interval_from
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, forest, lines, looks, scales
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
    arms = [arm for arm in soft_labels.finished_arms(run) if _shown(run, arm)]
    votes = _votes(run, arms)
    if votes is None or len(arms) < 2:
        return []
    entropies = human_entropy(run, votes)
    rows = []
    for arm in arms:
        about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "kind": soft_labels.kind(run, arm)}
        accuracy = {**soft_labels.accuracy(run, arm)}
        rows.append({**about, "part": STUDENT, **accuracy})
        rows += [{**about, "part": BY_ENTROPY, **row} for row in _by_entropy(run, arm, entropies)]
        rows += [{**about, "part": CORRELATION, **row} for row in _correlations(run, arm, entropies)]
    return rows


def _shown(run: Run, arm: str) -> bool:
    said = soft_labels.definition(run, arm)
    return said["kind"] in KINDS and not said.get("labelled") and soft_labels.fit(run, arm) == soft_labels.AVERAGE


def _votes(run: Run, arms: list[str]) -> str | None:
    """The soft label that holds all votes as they are, the least smoothed where there are several."""
    candidates = []
    for arm in arms:
        said = soft_labels.definition(run, arm)
        if said["kind"] == "votes" and said.get("votes") in (None, "all"):
            candidates.append((float(said.get("concentration") or 0.0), str(run.entry(arm).soft_label)))
    return min(candidates)[1] if candidates else None


def human_entropy(run: Run, name: str) -> pd.Series[float]:
    """Entropy in nats of people's votes on each sample, by sample id."""
    stored = run.soft_labels(name)
    return pd.Series(calibration.entropy(stored.values), index=stored.sample_ids)


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
    rows = []
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
            rows.append({**about, "quantity": name, "n": total.n_samples, **interval_columns(interval)})
    return rows


def _correlations(run: Run, arm: str, entropies: pd.Series[float]) -> list[dict[str, Any]]:
    """Spearman's correlation over rows of entropy with bias and with variance, by replicas that did not train on it."""
    terms = stored.terms(run, arm, "train", "nonmember")
    if terms is None:
        return []
    entropy = entropies.reindex(terms.sample_ids).to_numpy()
    rows = []
    for name in TERMS:
        values = np.asarray(getattr(terms.decomposition, name))
        known = np.isfinite(values) & np.isfinite(entropy)
        interval = rank_correlation(entropy[known], values[known])
        rows_and_replicas = {"n": int(known.sum()), "n_replicas": len(final_accuracy(run, arm))}
        rows.append({"quantity": name, **interval_columns(interval), **rows_and_replicas})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run the accuracies, and below, where training rows were predicted, bias and variance against entropy."""
    runs = list(dict.fromkeys(frame["run"]))
    of_run = {run: _dressed(frame[frame["run"] == run]) for run in runs}
    upper = [0.9 + 0.24 * rows["arm"].nunique() for rows in of_run.values()]
    lower = [2.9 * (rows["part"] == BY_ENTROPY).any() for rows in of_run.values()]
    figure, block_of = blocks.stacked(runs, [sum(pair) for pair in zip(upper, lower, strict=True)])
    block: Any
    for (run, block), *ratios in zip(block_of.items(), upper, lower, strict=True):
        rows = of_run[run]
        top, bottom = block.subfigures(2, 1, height_ratios=ratios) if ratios[1] else (block, None)
        _accuracies(top.subplots(), rows[rows["part"] == STUDENT])
        if bottom is not None:
            for ax, name in zip(bottom.subplots(1, 2), TERMS, strict=True):
                _against_entropy(ax, rows[(rows["part"] == BY_ENTROPY) & (rows["quantity"] == name)])
                ax.set_title(name.capitalize())
    return figure


def _dressed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one run with a look for each of its sources of labels."""
    arms = enumerate(dict.fromkeys(frame["arm"]))
    own = {arm: style.Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], "-", arm) for i, arm in arms}
    return looks.put_on(frame, own, by="arm")


def _accuracies(ax: Axes, students: pd.DataFrame) -> None:
    where = forest.places(students)
    percent = students.assign(**{name: 100.0 * students[name] for name in ("estimate", "low", "high")})
    forest.name_rows([ax], where, list(students["label"]))
    forest.draw(ax, where.on(percent), size=7.0)
    ax.set_title("Students of each source of labels")
    scales.values(ax, "test accuracy (%)", ticks=6)


def _against_entropy(ax: Axes, binned: pd.DataFrame) -> None:
    """A line for each source of labels, its points beside those of the others so that intervals can be seen."""
    width = float(binned["entropy"].max() - binned["entropy"].min()) or 1.0
    place = pd.factorize(binned["arm"])[0]
    shifted = binned.assign(entropy=binned["entropy"] + 0.012 * width * (place - place.max() / 2))
    lines.draw(ax, shifted, x="entropy", markers=True, band=0.0, bars=1.0, width=1.2, size=4.5)
    ax.set_xlabel("entropy of people's votes (nats)")
    ax.set_ylabel("nats")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, which rows, what the bins are."""
    students, terms = frame[frame["part"] == STUDENT], frame[frame["part"] == BY_ENTROPY]
    text = (
        f"Above: accuracy against true labels on n = {sizes(students['n'])} test rows, mean "
        f"over {sizes(students['n_replicas'])} replicas and 95 % t interval. "
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
