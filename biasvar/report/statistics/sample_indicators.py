"""What a test row's own soft label says of it, and the change of its bias and variance: two papers joined by sample.

A soft label misses a row where the truth is not among its k largest entries; else the row's ambiguity is the largest
share of its class whose k largest entries hold the same wrong label (the class-wise ambiguity of Yuan et al. 2023, over
the labels of this row alone).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from biasvar.analysis import Change, measure_indicators, rank_correlation
from biasvar.analysis.batches import checked_batch
from biasvar.analysis.decomposition.crossing import over_rows
from biasvar.analysis.indicators.sets import member_mask, rank_labels
from biasvar.analysis.soft_labels.transforms import tempered
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.records.schema import teacher_path
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import SampleChange, change
from biasvar.report.statistics.terms_over_teachers import changes_by_teacher

SMALLEST_K = 2  # a set of one label has no rival beside the truth
LEAST_GROUPS = {"bias": 2, "variance": 3}


@dataclass(frozen=True, eq=False)
class Marks:
    """What soft labels say of rows: whether they miss the truth, and how ambiguous they are, NaN where they miss it."""

    missed: np.ndarray
    ambiguity: np.ndarray


@dataclass(frozen=True)
class Joined:
    """A statistic of the rows' changes and marks, with its errors.

    Attributes:
        crossed: over rows and replicas, or rows and teachers where copies of them are shared.
        stderr_replicas: over replicas alone, with `df`, for these rows and teachers.
        k: of the sets. n_missed, n_others: rows on each side.
    """

    crossed: Crossed
    stderr_replicas: float
    df: int
    epoch: int
    n_replicas: int
    k: int
    n_missed: int
    n_others: int


Statistic = Callable[[np.ndarray, Marks], float]


def gap(values: np.ndarray, marks: Marks) -> float:
    """The mean over rows whose soft label misses the truth, less that over the others; NaN without either."""
    sides = (values[marks.missed], values[~marks.missed])
    return float(sides[0].mean() - sides[1].mean()) if all(map(len, sides)) else math.nan


def association(values: np.ndarray, marks: Marks) -> float:
    """The rank correlation with the ambiguity, over rows whose soft label has the truth; NaN where one is constant."""
    there = ~marks.missed
    return rank_correlation(values[there], marks.ambiguity[there]).estimate if there.any() else math.nan


def marks_of(soft: np.ndarray, labels: np.ndarray, sample_ids: np.ndarray, k: int) -> Marks:
    """The marks of soft labels (N, C); ties of entries are broken at random by sample id."""
    batch = checked_batch(soft, labels, sample_ids=sample_ids)
    inside = member_mask(batch, rank_labels(batch, k, 0), k, "random")
    rows = np.arange(len(labels))
    missed = ~inside[rows, labels]
    sizes = np.bincount(labels, minlength=soft.shape[1])
    members = np.zeros((len(sizes), len(sizes)))
    np.add.at(members, labels, inside)
    rivals = np.where(inside, (members / np.maximum(sizes, 1)[:, None])[labels], 0.0)
    rivals[rows, labels] = 0.0
    return Marks(missed, np.where(missed, np.nan, rivals.max(axis=1)))


def best_k(soft: np.ndarray, labels: np.ndarray, sample_ids: np.ndarray) -> int | None:
    """k from `SMALLEST_K` to C - 1 with the smallest sum of unreliability and ambiguity; None for two classes."""
    ks = range(SMALLEST_K, soft.shape[1])
    if not ks:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties are broken at random, and the caption says so
        found = measure_indicators(soft, labels, ks=ks, sample_ids=sample_ids, mean_labels=False)
    sums = [counts.delta + float(np.nanmax(counts.gammas)) for counts in found.sets]
    return ks[int(np.argmin(sums))]


@lru_cache(maxsize=64)
def joined(run: Run, treatment: str, control: str, term: str) -> Joined | None:
    """The statistic of a term's change and the marks of the treatment's soft labels: `gap` of bias, `association` of
    variance.

    The teacher's answers to test rows at the treatment's temperature, the mean over its networks, are the soft labels.
    Errors: over rows, of the two means or Bonett and Wright's of the correlation, with the marks as they are; over
    replicas, or teachers with their replicas, the jackknife, in which a teacher that is left out has no part in the
    marks either.

    Returns:
        None where a paired change or the teacher's answers are missing, or for two classes.
    """
    changed = change(run, treatment, control)
    networks = _answers(run, treatment, changed)
    last = stored.terms(run, treatment)
    if changed is None or networks is None or last is None:
        return None
    ids = changed.frame["sample_id"].to_numpy()
    labels = last.labels[np.isin(last.sample_ids, ids)]
    k = best_k(networks.mean(axis=0), labels, ids)
    if k is None:
        return None
    statistic = gap if term == "bias" else association

    def value(of: np.ndarray, keep: np.ndarray) -> float:
        return statistic(of, marks_of(networks[keep].mean(axis=0), labels, ids, k))

    everyone = np.ones(len(networks), dtype=bool)
    by_teacher = changes_by_teacher(run, treatment, control, "test", "all")
    whole = changed.change if by_teacher is None else by_teacher[0]
    of_term = np.asarray(getattr(whole, term))
    if of_term.shape != labels.shape:
        return None
    marks, estimate = marks_of(networks.mean(axis=0), labels, ids, k), value(of_term, everyone)
    parts = {"rows": _over_rows(of_term, marks, estimate, statistic)}
    own = _jackknifed(changed.change, term, value, _kept(len(networks), changed.change, changed.n_replicas))
    if by_teacher is None:
        parts["replicas"] = own
    else:
        copies = by_teacher[2]
        alone = [np.arange(len(networks)) % copies != t for t in range(copies)]
        parts["teachers"] = _jackknifed(whole, term, value, alone)
        met = by_teacher[1]
        if met is not None and met.group_counts is not None:
            parts["replicas"] = _jackknifed(met, term, value, [everyone] * len(met.group_counts))
    crossed = combined(estimate, parts)
    missed = int(marks.missed.sum())
    return Joined(crossed, own.stderr, int(own.df), changed.epoch, changed.n_replicas, k, missed, len(labels) - missed)


def _answers(run: Run, arm: str, changed: SampleChange | None) -> np.ndarray | None:
    """(T, N, C) soft labels of the rows of a change, by the networks of the arm's teacher; None where they are not."""
    entry = run.entry(arm)
    if changed is None or not entry.teacher or not teacher_path(run.directory, entry.teacher).is_file():
        return None
    kept = run.teacher(entry.teacher)
    place = np.searchsorted(kept.sample_ids, changed.frame["sample_id"].to_numpy())
    logits = kept.logits if kept.logits.ndim == 3 else kept.logits[None]
    warmth = entry.temperature or 1.0
    return np.stack([tempered(one[place], warmth, values="logits") for one in logits])


def _kept(networks: int, changed: Change, replicas: int) -> list[np.ndarray]:
    """Which networks have a part in the marks where a group of replicas is left out: all but their own teachers."""
    assert changed.group_counts is not None
    groups = len(changed.group_counts)
    own = networks == replicas > 1
    return [np.arange(networks) % groups != g if own else np.ones(networks, dtype=bool) for g in range(groups)]


def _jackknifed(
    changed: Change, term: str, value: Callable[[np.ndarray, np.ndarray], float], kept: list[np.ndarray]
) -> Component:
    assert changed.group_counts is not None
    sizes = changed.group_counts.sum(axis=1)
    there = np.flatnonzero(sizes)
    if len(there) < LEAST_GROUPS[term]:
        return Component(math.nan, max(len(there) - 1, 1), len(there))
    full = value(getattr(changed, term), np.ones(len(kept[0]), dtype=bool))
    deleted = np.array([value(getattr(changed, f"deleted_{term}")[g], kept[g]) for g in there])
    error = jackknife_stderr(np.float64(full), deleted, sizes[there], least=LEAST_GROUPS[term])
    return Component(float(error), len(there) - 1, len(there))


def _over_rows(values: np.ndarray, marks: Marks, estimate: float, statistic: Statistic) -> Component:
    if statistic is association:
        n = int((~marks.missed).sum())
        found = rank_correlation(values[~marks.missed], marks.ambiguity[~marks.missed])
        return Component(found.stderr, max(n - 3, 1), n)
    influence = np.zeros(len(values))
    for side in (marks.missed, ~marks.missed):
        influence[side] = (values[side] - values[side].mean()) / max(side.sum(), 1) if side.any() else 0.0
    return over_rows(len(values) * influence)
