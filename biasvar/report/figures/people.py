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
from biasvar.report.marks import blocks, forest, legends, panels, scales
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import final_accuracy, interval_columns
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "arm", "label", "kind", "quantity", "entropy", "entropy_low", "entropy_high", "estimate", "low",
    "high", "stderr", "n_replicas", "n",
]  # fmt: skip
STUDENT, BY_ENTROPY, CORRELATION = "students", "by entropy", "correlation"
TERMS = ("bias", "variance")
DOT, BETWEEN = 0.09, 0.11  # inches from bin to bin of a source of labels, and more from source to source
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
    """For each run a row a source of labels: accuracy, and bias and variance where people agree and where not."""
    runs = list(dict.fromkeys(frame["run"]))
    parts = {run: _binned(frame[frame["run"] == run]) for run in runs}
    shades = {run: _shades(rows) for run, rows in parts.items()}
    row = {run: max(forest.ROW_HEIGHT, BETWEEN + DOT * len(shades[run])) for run in runs}
    counts = {run: 1 + len(TERMS) * bool(shades[run]) for run in runs}
    heights = [
        panels.height(row[run] * parts[run]["arm"].nunique(), counts[run])
        + (0.75 + 0.2 * -(-len(shades[run]) // _columns(shades[run])) if shades[run] else 0.3)
        for run in runs
    ]
    figure, block_of = blocks.stacked(runs, heights)
    for run, block in block_of.items():
        rows = parts[run].assign(marker="o", hollow=False)
        students = rows[rows["part"] == STUDENT].assign(color=style.INK)
        where = forest.places(students)
        axes = panels.sharing_rows(block, where, list(students["label"]), counts[run])
        percent = students.assign(**{name: 100.0 * students[name] for name in ("estimate", "low", "high")})
        forest.draw(axes[0], where.on(percent), size=6.0)
        scales.values(axes[0], "test accuracy (%)", ticks=4)
        for ax, name in zip(axes[1:], TERMS, strict=False):
            binned = rows[(rows["part"] == BY_ENTROPY) & (rows["quantity"] == name)]
            dots = where.on(binned.assign(color=[shades[run][place] for place in binned["bin"]]))
            dots["y"] += DOT / row[run] * (dots["bin"] - (len(shades[run]) - 1) / 2)
            forest.draw(ax, dots, size=4.5, width=1.3)
            scales.values(ax, f"{name} (nats)", ticks=4)
        if shades[run]:
            _name_shades(block, rows[rows["part"] == BY_ENTROPY], shades[run])
    return figure


def _binned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the place of each bin of entropies among those of its source of labels, from 0; -1 without one."""
    place = rows[rows["part"] == BY_ENTROPY].groupby(["arm", "quantity"])["entropy"].rank(method="first") - 1
    return rows.assign(bin=place.reindex(rows.index).fillna(-1).astype(int))


def _shades(rows: pd.DataFrame) -> list[str]:
    """A colour for each bin: the more people disagree, the darker."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis_r"](shade)) for shade in np.linspace(0.1, 0.85, int(rows["bin"].max()) + 1)]


def _columns(shades: Sequence[str]) -> int:
    return style.abreast(min(len(shades), 4))


def _name_shades(block: SubFigure, binned: pd.DataFrame, shades: Sequence[str]) -> None:
    bins = binned.groupby("bin").agg(low=("entropy_low", "min"), high=("entropy_high", "max"))
    entries = [
        legends.dot("o", _range(row.low, row.high), color=color) for row, color in zip(each(bins), shades, strict=True)
    ]
    title = panels.fitted("rows by how far people disagree: entropy of their votes (nats)", 42)
    legends.below(block, entries, columns=_columns(shades), title=title, alignment="left", title_fontsize=9)


def _range(low: float, high: float) -> str:
    """The entropies of a bin in words."""
    return f"{low:.2f} to {high:.2f}" if high > low else "0: all agree" if low == 0 else f"{low:.2f}"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, which rows, what the bins are."""
    students, terms = frame[frame["part"] == STUDENT], frame[frame["part"] == BY_ENTROPY]
    text = (
        f"Accuracy against true labels on n = {sizes(students['n'])} test rows, mean "
        f"over {sizes(students['n_replicas'])} replicas and 95 % t interval. "
    )
    if len(terms):
        one = terms[(terms["arm"] == terms["arm"].iloc[0]) & (terms["quantity"] == TERMS[0])]
        bins = "; ".join(f"{_range(row.entropy_low, row.entropy_high)}: {row.n:,}" for row in each(one))
        text += (
            "Bias and variance, corrected, against true labels, of the students (three at least) that did not "
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
    how_to_read="At the left, which source of labels teaches best. Where darker dots lie further right, the rows that "
    "people disagree about are those where students are wrong on average (bias) or differ from one another (variance).",
    needs="students of people's votes beside students of other labels; for bias and variance predictions of "
    "training rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
