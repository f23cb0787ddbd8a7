"""The card's tables: what its CSV files hold, its figures draw and its page lists."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis import Indicators, calibration_error, calibration_interval, reliability_table
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.statistics.proportions import clopper_pearson, share_interval
from biasvar.report.card.collect import Collected, Samples, Worst
from biasvar.report.card.verdict import LEVEL, Verdict, verdicts

BINS = 15  # of confidence
ENTROPY_BINS = 40
PAIRS = 200  # rows of the table of pairs
MOST_CLASSES = 15  # of a heat map whose cells can still be read
LABELS_SHOWN = 3  # labels listed for each of the worst samples


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error of some bins: as it is, without its lean and with an interval, and its square's.

    `value` is the plain sum over bins, `debiased` the estimate without its upward lean, `low` to `high` its interval;
    `root`, `root_low` and `root_high` are of the root of the mean squared gap, debiased.
    """

    value: float
    debiased: float
    low: float
    high: float
    root: float
    root_low: float
    root_high: float


@dataclass(frozen=True, eq=False)
class Tables:
    """All numbers of a card, beside those of its opening paragraph.

    Attributes:
        verdict: conditions and bounds.
        top_sets, threshold_sets: the indicators by rule; None without thresholds.
        both_sets: the two together, as they are saved.
        k: the size of the top sets at which the sum of the indicators is smallest.
        pairs: confusable pairs by the k at which they are shown.
        matrices: by that k, the classes of its heat map and how often each label is in their sets.
        classes: indicators, accuracy and margin of every class at `k`.
        entropy, calibration, calibration_error: None of scores; the latter two by binning, "width" and "mass".
        worst: the worst samples with the labels that they name most; empty where none is worst.
    """

    verdict: list[Verdict]
    top_sets: pd.DataFrame
    threshold_sets: pd.DataFrame | None
    both_sets: pd.DataFrame
    k: int
    pairs: dict[int, pd.DataFrame]
    matrices: dict[int, tuple[np.ndarray, pd.DataFrame]]
    classes: pd.DataFrame
    entropy: pd.DataFrame | None
    calibration: dict[str, pd.DataFrame] | None
    calibration_error: dict[str, CalibrationError] | None
    worst: pd.DataFrame

    def files(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The tables that are saved, with their names."""
        yield "verdict", pd.DataFrame([vars(row) for row in self.verdict])
        yield "indicators", self.both_sets
        yield "pairs", pd.concat(list(self.pairs.values()))
        for k, (_, matrix) in self.matrices.items():
            yield f"co_occurrence_k{k}", matrix
        yield "classes", self.classes
        if self.entropy is not None:
            yield "entropy", self.entropy
        if self.calibration is not None:
            yield "calibration", pd.concat([bins.assign(binning=name) for name, bins in self.calibration.items()])
        if len(self.worst):
            yield "worst", self.worst


def tabulate(collected: Collected, names: list[str]) -> Tables:
    """Every table of a card from one pass over its soft labels.

    Args:
        names: of the classes, to stand beside their numbers.
    """
    tops, samples = collected.tops, collected.samples
    top_sets = _with_tie_range(tops.table(level=LEVEL), tops)
    threshold_sets = None if collected.masses is None else collected.masses.table(level=LEVEL)
    both_sets = top_sets
    if threshold_sets is not None:
        both_sets = pd.concat([top_sets, tops.with_margin(threshold_sets, LEVEL)])
    k = int(tops.best(level=LEVEL)["k"])
    # At k = 1 only mistakes are seen; which labels share the top is seen at 2.
    shown = [1, 2] if k == 1 and len(names) > 2 and 2 in [counts.k for counts in tops.sets] else [k]
    pairs, matrices = {}, {}
    for size in shown:
        counts = tops.counts(k=size)
        pairs[size] = _named(names, tops.pairs(k=size, top=PAIRS, level=LEVEL).assign(k=size), "true", "wrong")
        classes = heat_map_classes(counts, pairs[size])
        matrices[size] = classes, _named(names, _matrix(counts, classes), "true", "label")
    calibration, calibration_errors = _calibration(samples)
    return Tables(
        verdict=verdicts(collected, names),
        top_sets=top_sets,
        threshold_sets=threshold_sets,
        both_sets=_named(names, both_sets, "worst_class", "worst_true", "worst_wrong"),
        k=k,
        pairs=pairs,
        matrices=matrices,
        classes=_named(names, _classes(collected, k), "class", "rival", "margin_rival"),
        entropy=None if samples.entropy is None else _entropy(samples.entropy, samples.correct, len(names)),
        calibration=calibration,
        calibration_error=calibration_errors,
        worst=_worst(collected.worst, samples, names),
    )


def accuracy(collected: Collected) -> tuple[float, float, float]:
    """Share of samples whose largest entry (the first of several) is the truth, with its interval."""
    samples = collected.samples
    right = samples.correct
    found = share_interval(int(right.sum()), len(right), samples.spread(right), LEVEL)
    return found.estimate, found.low, found.high


def _named(names: list[str], frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with the classes' names beside their numbers."""
    return frame.assign(**{f"{column}_name": [names[c] for c in frame[column]] for column in columns})


def _with_tie_range(table: pd.DataFrame, tops: Indicators) -> pd.DataFrame:
    """The table with the least and greatest Delta and gamma that choices among ties could give."""
    ranges = [counts.tie_range() for counts in tops.sets]
    ends = {"low": 0, "high": 1}
    return table.assign(
        **{
            f"{name}_tie_{end}": [reach[key][place] for reach in ranges]
            for name, key in (("delta", "delta"), ("gamma", "class"))
            for end, place in ends.items()
        }
    )


def heat_map_classes(counts: SetCounts, pairs: pd.DataFrame) -> np.ndarray:
    """The classes of the heat map: all where that can be read, else those of the most confusable pairs."""
    if counts.num_classes <= MOST_CLASSES:
        return np.arange(counts.num_classes)
    classes: list[int] = []
    for true, wrong in pairs[["true", "wrong"]].to_numpy().tolist():
        new = [c for c in (true, wrong) if c not in classes]
        if len(classes) + len(new) > MOST_CLASSES:
            break
        # A class whose partner is there already goes next to it.
        place = classes.index(true if wrong in new else wrong) + 1 if len(new) == 1 else len(classes)
        classes[place:place] = new
    return np.array(classes, dtype=np.int64)


def _matrix(counts: SetCounts, classes: np.ndarray) -> pd.DataFrame:
    """How often each label is in the sets of each class."""
    return pd.DataFrame(
        [
            {"k": counts.k, "true": c, "label": j, "share": counts.members[c, j] / counts.class_sizes[c],
             "count": counts.members[c, j], "n": counts.class_sizes[c]}
            for c in classes for j in classes
        ]
    )  # fmt: skip


def _classes(collected: Collected, k: int) -> pd.DataFrame:
    """Indicators, accuracy and margin of the mean soft label, class by class."""
    table = collected.tops.per_class(k=k, level=LEVEL)
    samples, size = collected.samples, len(table)
    right = np.bincount(samples.labels, weights=samples.correct, minlength=size).astype(np.int64)
    n = table["n"].to_numpy()
    if samples.clusters is None:
        low, high = clopper_pearson(right, n, 1.0 - LEVEL)
    else:
        order = np.argsort(samples.labels, kind="stable")
        rows = np.split(order, np.cumsum(n)[:-1])
        shares = [
            share_interval(int(right[c]), int(n[c]), samples.spread(samples.correct, rows[c]), LEVEL)
            for c in range(size)
        ]
        low, high = np.array([one.low for one in shares]), np.array([one.high for one in shares])
    student = collected.tops.student_condition(level=LEVEL).to_frame()
    return table.assign(
        accuracy=right / table["n"], accuracy_low=low, accuracy_high=high, margin=student["margin"],
        margin_low=student["margin_low"], margin_high=student["margin_high"], margin_rival=student["rival"], k=k,
    )  # fmt: skip


def _entropy(entropy: np.ndarray, correct: np.ndarray, num_classes: int) -> pd.DataFrame:
    """Histogram of entropies over 0 .. ln K: low, high, n, n_correct."""
    bins = ENTROPY_BINS
    edges = np.linspace(0.0, math.log(num_classes), bins + 1)
    place = np.clip(np.ceil(entropy / edges[-1] * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    n, right = (np.bincount(place, weights=weights, minlength=bins) for weights in (None, correct.astype(float)))
    columns = {"low": edges[:-1], "high": edges[1:], "n": n.astype(np.int64), "n_correct": right.astype(np.int64)}
    return pd.DataFrame(columns)


def log_counts(entropy: pd.DataFrame) -> bool:
    """True if one bin of the histogram holds so much that on a plain axis the others would not be seen."""
    wrong = entropy["n"] - entropy["n_correct"]
    crowded = entropy["n"].max() > 0.3 * entropy["n"].sum() and (entropy["n"] > 0).sum() > 1
    return bool(crowded or 0 < wrong.max() < 0.1 * entropy["n"].max())


def _calibration(
    samples: Samples,
) -> tuple[dict[str, pd.DataFrame], dict[str, CalibrationError]] | tuple[None, None]:
    """Accuracy by confidence, and its expected error, in bins of equal width and of equal mass; None of scores."""
    if samples.confidence is None:
        return None, None
    confidence = samples.confidence.clip(0.0, 1.0)
    tables, errors = {}, {}
    for name in ("width", "mass"):
        of_bins: dict[str, Any] = {"bins": BINS, "binning": name}
        given = {**of_bins, "level": LEVEL, "clusters": samples.clusters}
        tables[name] = reliability_table(confidence, samples.correct, **given)
        plain = calibration_error(confidence, samples.correct, **of_bins)
        found, root = (calibration_interval(confidence, samples.correct, norm=norm, **given) for norm in (1, 2))
        errors[name] = CalibrationError(
            plain, found.estimate, found.low, found.high, root.estimate, root.low, root.high
        )  # fmt: skip
    return tables, errors


def _worst(worst: tuple[Worst, ...], samples: Samples, names: list[str]) -> pd.DataFrame:
    """One row per kind, sample and label it names most (the truth among them)."""
    rows: list[dict[str, Any]] = []
    for kind in worst:
        for place, (row, value, soft) in enumerate(zip(kind.rows, kind.values, kind.soft_labels, strict=True)):
            truth = int(samples.labels[row])
            order = np.argsort(-soft, kind="stable")
            listed = [label for label in order[:LABELS_SHOWN].tolist() if soft[label] != 0.0 or label == truth]
            if truth not in listed:
                listed.append(truth)
            rank = int(np.flatnonzero(order == truth)[0]) + 1
            about = {"kind": kind.title, "place": place, "row": int(row), "sample_id": int(samples.ids[row]),
                     "true": truth, "true_name": names[truth], "measure": kind.quantity, "value": float(value),
                     "rank_of_truth": rank}  # fmt: skip
            rows += [
                {**about, "label": label, "label_name": names[label], "mass": float(soft[label])} for label in listed
            ]
    return pd.DataFrame(rows)
