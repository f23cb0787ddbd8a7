"""Indicators of the stored soft labels that students learned from, and how accurate those students became."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.indicators.accumulator import measure_indicators
from biasvar.analysis.indicators.intervals import delta_interval
from biasvar.analysis.indicators.result import Indicators
from biasvar.analysis.indicators.student_condition import StudentCondition, student_condition
from biasvar.analysis.statistics.calibration import calibration_error, entropy
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.records import Run
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import final_accuracy

CANDIDATES = (
    *("delta", "gamma", "sum", "worst_class_sum", "kappa", "teacher_accuracy", "distance", "ece", "entropy"),
    "variance_reduction",
)
"""What may predict the student: see `candidates_of`."""


@lru_cache(maxsize=256)
def table(run: Run, name: str) -> pd.DataFrame:
    """Indicators of one of the run's soft labels on the rows that have one: by k < K, and of the entries above 0.

    The columns of `biasvar.effectiveness`, and `reason`: "", or, where some class has no row, why only Delta, a
    share of all rows, has a value and all else is NaN. Where each replica has its own soft labels, those of all
    replicas together. Intervals hold after a choice of the row.
    """
    values, labels = _rows(run, name)
    scores = bool((values < 0).any())
    indicators = _measured(values, labels, scores)
    level = 1 - 0.05 / len(indicators.sets)
    empty = np.flatnonzero(np.bincount(labels, minlength=values.shape[1]) == 0)
    if not len(empty):
        return indicators.table(level=level).assign(reason="")
    classes = f"class{'es' if len(empty) > 1 else ''} {', '.join(map(str, empty))}"
    reason = f"no row of {classes} has a label, and nothing can be said within a class that has no row"
    return _unreliability_only(indicators, level).assign(reason=reason)


def _unreliability_only(found: Indicators, level: float) -> pd.DataFrame:
    """`Indicators.table` with a value for Delta alone."""
    deltas = [delta_interval(counts, "exact", level) for counts in found.sets]
    there = {
        "k": pd.array([counts.k for counts in found.sets], dtype="Int64"),
        "threshold": [math.nan if counts.threshold is None else counts.threshold for counts in found.sets],
        "delta": [one.estimate for one in deltas], "delta_low": [one.low for one in deltas],
        "delta_high": [one.high for one in deltas], "n": [one.n for one in deltas],
    }  # fmt: skip
    unknown = (f"{name}{end}" for name in ("gamma", "sum", "worst_class_sum", "kappa") for end in ("", "_low", "_high"))
    return pd.DataFrame({**there, **dict.fromkeys(unknown, math.nan)})


def _rows(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, C) soft labels and (n,) true labels of the rows that have one, replica after replica."""
    stored = run.soft_labels(name)
    values = stored.values if stored.values.ndim == 3 else stored.values[None]
    labels = np.tile(stored.labels, len(values))
    values = values.reshape(-1, values.shape[-1]).astype(np.float64)
    there = (values != 0).any(axis=1)
    return values[there], labels[there]


def _measured(values: np.ndarray, labels: np.ndarray, scores: bool) -> Indicators:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties are broken at random, and the caption says so
        return measure_indicators(
            values, labels, ks=range(1, values.shape[1]), thresholds=None if scores else [0.0], scores=scores,
            normalize=not scores,
        )  # fmt: skip


def best(run: Run, name: str) -> dict[str, Any]:
    """The row of the table with the smallest sum, as plain numbers; "k" is NaN where it is the entries above 0.

    The first row where no sum has a value; "reason" says why.
    """
    by_rule = table(run, name)
    row = by_rule.iloc[int(by_rule["sum"].fillna(math.inf).argmin())]
    return {**{str(key): value for key, value in row.items()}, "kappa": float(by_rule["kappa"].max())}


def judged(run: Run, arm: str) -> dict[str, Any]:
    """The indicators that an arm's students are set against, like `best`, with the choice in words under "rule".

    Students of candidate sets (`measure: candidates`) learn from the sets of one k, or from the entries above 0: the
    theory speaks of those, and no other k counts. Others see the whole soft label: the k with the smallest sum.
    """
    entry = run.entry(arm)
    name = str(entry.soft_label)
    if entry.setting("measure") != "candidates":
        return {**best(run, name), "rule": "the smallest over k"}
    k, found = entry.setting("k"), table(run, name)
    row = found[found["k"].isna() if k is None else found["k"] == k].iloc[0]
    rule = "of the entries above 0, which its students fit" if k is None else f"at k = {k}, which its students fit"
    return {**{str(key): value for key, value in row.items()}, "rule": rule}


@lru_cache(maxsize=256)
def expected(run: Run, name: str) -> StudentCondition:
    """The condition for students trained by cross-entropy: is the truth the largest entry of the mean soft label?

    Over the rows that have a soft label. The theory of top-k sets does not speak of such students.
    """
    values, labels = _rows(run, name)
    scores = bool((values < 0).any())
    return student_condition(values, labels, scores=scores, normalize=not scores)


def soft_label_arms(run: Run) -> list[str]:
    """The arms whose students learned from nothing but stored soft labels."""
    stored = run.soft_label_names
    return [arm for arm in run.arms if run.entry(arm).soft_label in stored]


@lru_cache(maxsize=256)
def candidates_of(run: Run, arm: str, truth: str) -> dict[str, float]:
    """What may predict an arm's students, from its soft labels and the truth.

    Args:
        truth: the arm whose students learned from true labels.

    Returns:
        The `CANDIDATES`: delta, gamma and sum at the k with the smallest sum and the largest kappa (all four at their k
        where students fit candidate sets: `judged`), the share of rows whose first class is the truth (ties at random),
        mean total variation distance to the one-hot label, expected calibration error, mean entropy in nats (of scores:
        of their softmax), and the mean corrected variance of the truth's students less that of the arm's, on test rows.
    """
    name = str(run.entry(arm).soft_label)
    found, row = table(run, name), judged(run, arm)
    values, labels = _rows(run, name)
    scores = bool((values < 0).any())
    soft = np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True)) if scores else values
    right = soft.argmax(1) == labels
    mine, theirs = stored.decomposition(run, arm), stored.decomposition(run, truth)
    reduction = math.nan
    if mine is not None and theirs is not None:
        reduction = theirs.totals().variance.value - mine.totals().variance.value
    first = found[found["k"] == 1].iloc[0]
    return {
        **{key: float(row[key]) for key in ("delta", "gamma", "sum", "kappa")},
        "worst_class_sum": float(found["worst_class_sum"].min()),
        "teacher_accuracy": 1.0 - float(first["delta"]),
        "distance": float(1.0 - soft[np.arange(len(labels)), labels].mean()),
        "ece": float(calibration_error(soft.max(1), right)),
        "entropy": float(entropy(soft).mean()),
        "variance_reduction": reduction,
    }


def candidate_table(run: Run, arms: list[str], truth: str) -> pd.DataFrame:
    """One row an arm: its soft label's `CANDIDATES`, its students' mean accuracy, the error of that and n.

    `origin` is the teacher or the people that several soft labels may come from, else the arm itself.
    """
    rows, sources = [], (run.study or {}).get("soft_labels") or {}
    for arm in arms:
        interval, said = mean_interval(final_accuracy(run, arm)), sources.get(run.entry(arm).soft_label) or {}
        about = {"arm": arm, "label": run.entry(arm).label, "accuracy": interval.estimate}
        about |= {"origin": said.get("teacher") or said.get("people") or arm}
        about |= {"stderr": interval.stderr, "n_replicas": interval.n}
        rows.append({**about, **candidates_of(run, arm, truth)})
    return pd.DataFrame(rows)
