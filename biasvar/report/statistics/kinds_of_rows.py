"""Kinds of held-out rows, and the change of bias and variance in each: for whom a method does what it does.

Kinds are told by cross-entropy's replicas of one half, changes are measured on those of the other, and the other way
round. A row that looks hard because four students happened to be wrong about it says nothing of the other four, so that
a method that changes nothing changes nothing for any kind: no regression to the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis import decompose_groups
from biasvar.analysis.decomposition.crossing import over_rows
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.records.reader import Predictions
from biasvar.report.arms.teachers import groups_by_teacher
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import has_predictions

SPLIT = "test"
TERMS = ("bias", "variance")
KINDS = {
    "difficulty": ("easy", "middle", "hard"),
    "regularization samples": ("other", "regularization"),
    "reference teacher": ("right", "some copies wrong", "wrong"),
}
"""The kinds of rows by what is asked of them, from the usual row to the unusual one.

difficulty: thirds by the mean loss of cross-entropy's students. regularization samples: flagged (b > |a|) by more than
half of these students, against the reference teacher. reference teacher: about the row, all its copies.
"""
LEAST_GROUPS = 6  # of replicas: halves of three, of which an error leaves out one
LEAST_ROWS = 20  # of a kind, in each half
Kept = tuple[int, ...]
"""The groups of replicas that count."""


@dataclass(frozen=True)
class KindChange:
    """The change of one term over the rows of one kind.

    Attributes:
        question, kind: of `KINDS`; kind is "hard less easy" for the last kind's change less the first's.
        n_samples: rows of the kind (of a difference: of the smaller one), the mean of both halves.
        interval, df: over replicas alone, for these rows and these teachers.
        crossed: the same number with its error over all that was drawn.
    """

    question: str
    kind: str
    term: str
    n_samples: int
    interval: Interval
    df: int
    crossed: Crossed


def kind_changes(run: Run, treatment: str, control: str) -> list[KindChange]:
    """The changes from control to treatment by kind of row, and the last kind's less the first's, of every question.

    With halves h of the replicas, K_-h the rows of a kind by the control's replicas of the other half, and d_h a row's
    paired change of a corrected term on half h: the mean over h of the mean of d_h over K_-h. Copies of a teacher that
    replicas share have replicas in both halves. The error over replicas is the jackknife within each half, for which a
    replica leaves the terms and the kinds, the halves added as independent; over copies a copy's replicas leave both
    halves at once. The error over rows keeps a row's parts in both halves together; that thirds are cut at quantiles
    of these rows is not in it. Simulated without any effect (60 runs of 8 replicas and 400 rows of four classes), means
    are 0 within their error, stderr is 1.1 to 1.8 times their spread, and 95 % intervals hold 0 in 98 to 100 % of runs:
    the jackknife of kinds that are cut at a threshold is wide rather than narrow.

    Returns:
        Nothing where the arms were not predicted on the same test rows by the same replicas, each of them on every row,
        or in fewer than `LEAST_GROUPS` groups, or in groups that mix copies. A kind with fewer than `LEAST_ROWS` rows
        in a half is left out.
    """
    groups, copies = _shared_groups(run, treatment, control), groups_by_teacher(run, [treatment, control])
    mixed = copies > 1 and groups % copies > 0 and groups < int(run.manifest["replicas"])
    if groups < LEAST_GROUPS or mixed:
        return []
    design = _Design(run, treatment, control, groups, copies)
    return [change for question in KINDS for change in design.changes(question)]


@dataclass(frozen=True)
class _Design:
    """Two arms whose replicas lie in groups, group g of teacher g mod copies; copies below 2 are no factor."""

    run: Run
    treatment: str
    control: str
    groups: int
    copies: int

    def changes(self, question: str) -> Iterator[KindChange]:
        whole = self._halves_of(question, (), by_copy=True)
        if whole is None:
            return
        sizes = np.array([[np.count_nonzero(kinds == k) for k in range(len(KINDS[question]))] for kinds, _ in whole])
        shown = np.flatnonzero(sizes.min(axis=0) >= LEAST_ROWS)
        names, weights = _rows_of(question, shown)
        estimate, over = weights @ _means(whole, shown), self._errors(question, shown, weights)
        influences = np.einsum("kl,nlt->nkt", weights, _influences(whole, shown))
        counts = np.array([sizes.mean(axis=0)[shown[row != 0]].min() for row in weights])
        for i, name in enumerate(names):
            for j, term in enumerate(TERMS):
                df, value = self.groups - 2, float(estimate[i, j])
                interval = interval_from(value, float(over["replicas"][i, j]), df, self.groups)
                parts = {"replicas": Component(interval.stderr, df, self.groups)}
                if self.copies > 1:
                    parts = {"teachers": Component(float(over["teachers"][i, j]), self.copies - 1, self.copies)}
                used = influences[np.any(influences[:, i] != 0, axis=1), i, j]
                crossed = combined(value, {**parts, "rows": over_rows(len(used) * used)})
                yield KindChange(question, name, term, round(float(counts[i])), interval, df, crossed)

    def _errors(self, question: str, shown: np.ndarray, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        """Errors of all rows of the table by what is drawn, (rows, terms)."""
        plain = self._table(question, shown, ())
        halves = [[weights @ self._table(question, shown, (g,)) for g in half] for half in self._sides(())]
        parts = [jackknife_stderr(weights @ plain, np.array(half), _ones(half), least=3) for half in halves]
        found = {"replicas": np.hypot(*parts)}
        if self.copies > 1:
            left_out = [tuple(range(t, self.groups, self.copies)) for t in range(self.copies)]
            deleted = np.array([weights @ self._table(question, shown, gone, by_copy=True) for gone in left_out])
            whole = weights @ self._table(question, shown, (), by_copy=True)
            sizes = np.array([len(gone) for gone in left_out], dtype=float)[:, None, None]
            found["teachers"] = jackknife_stderr(whole, deleted, np.broadcast_to(sizes, deleted.shape), least=3)
        return found

    def _table(self, question: str, shown: np.ndarray, gone: Kept, *, by_copy: bool = False) -> np.ndarray:
        found = self._halves_of(question, gone, by_copy=by_copy)
        assert found is not None  # there is one of all replicas
        return _means(found, shown)

    def _halves_of(self, question: str, gone: Kept, *, by_copy: bool) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """Of each half without the groups that are gone: the kind of every row (N,), and its changes (N, terms)."""
        first, second = self._sides(gone)
        copies = self.copies if by_copy and self.copies > 1 else 0
        found = []
        for own, other in ((first, second), (second, first)):
            kinds = _kinds(self.run, self.control, question, other, tuple(sorted(first + second)))
            if kinds is None:
                return None
            treated, untreated = (_terms(self.run, arm, own, copies) for arm in (self.treatment, self.control))
            found.append((kinds, treated - untreated))
        return found

    def _sides(self, gone: Kept) -> tuple[Kept, Kept]:
        """The groups of both halves; the replicas of each copy are shared out in turn."""
        copies = max(self.copies, 1)
        half = [(g // copies + g % copies) % 2 for g in range(self.groups)]
        kept = [g for g in range(self.groups) if g not in gone]
        return tuple(g for g in kept if half[g] == 0), tuple(g for g in kept if half[g] == 1)


def _rows_of(question: str, shown: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the rows of a table, and their weights on the kinds shown: each kind, and the last less the first."""
    names, weights = [KINDS[question][k] for k in shown], np.eye(len(shown))
    if len(shown) > 1:
        names.append(f"{names[-1]} less {names[0]}")
        weights = np.vstack([weights, weights[-1] - weights[0]])
    return names, weights


def _means(halves: Iterable[tuple[np.ndarray, np.ndarray]], shown: np.ndarray) -> np.ndarray:
    """(kinds, terms): the mean over halves of the mean change over the rows of a kind; NaN where a half has none."""
    tables = [
        [values[kinds == k].mean(axis=0) if np.any(kinds == k) else np.full(len(TERMS), np.nan) for k in shown]
        for kinds, values in halves
    ]
    return np.mean(np.array(tables).reshape(-1, len(shown), len(TERMS)), axis=0)


def _influences(halves: list[tuple[np.ndarray, np.ndarray]], shown: np.ndarray) -> np.ndarray:
    """(N, kinds, terms): what each row adds to a mean's deviation; their sum of squares is its variance over rows."""
    total = np.zeros((len(halves[0][0]), len(shown), len(TERMS)))
    for kinds, values in halves:
        for place, k in enumerate(shown):
            there = kinds == k
            total[there, place] += (values[there] - values[there].mean(axis=0)) / there.sum() / len(halves)
    return total


def _ones(deleted: list[np.ndarray]) -> np.ndarray:
    return np.ones((len(deleted), *deleted[0].shape))


def _shared_groups(run: Run, treatment: str, control: str) -> int:
    """How many groups of replicas both arms' predictions of the same test rows have; 0 where they are not paired."""
    if not all(has_predictions(run, arm, SPLIT) for arm in (treatment, control)):
        return 0
    first, second = _predictions(run, treatment), _predictions(run, control)
    same = np.array_equal(first.sample_ids, second.sample_ids) and np.array_equal(first.counts, second.counts)
    return len(first.counts) if same and (first.counts == first.counts[:, :1]).all() and first.counts.all() else 0


@lru_cache(maxsize=4)
def _predictions(run: Run, arm: str) -> Predictions:
    return run.predictions(arm, split=SPLIT)


@lru_cache(maxsize=512)
def _terms(run: Run, arm: str, kept: Kept, copies: int) -> np.ndarray:
    """(N, terms) corrected bias and variance on some groups; with copies by the jackknife over them, else by R."""
    found, groups = _predictions(run, arm), list(kept)
    names = [str(g % copies) for g in groups] if copies else None
    counts, means = found.counts[groups], found.mean_log_probs[groups]
    plain = decompose_groups(counts, means, found.labels, errors=bool(copies), merge=names)
    terms = plain.corrected("jackknife" if copies else "ratio")
    return np.stack([terms.bias, terms.variance], axis=1)


@lru_cache(maxsize=256)
def _kinds(run: Run, control: str, question: str, told_by: Kept, everyone: Kept) -> np.ndarray | None:
    """(N,) the place of each row's kind among `KINDS`, told by some groups of the control's replicas.

    Args:
        told_by: the groups of the other half.
        everyone: those of both halves, whose teachers are asked.
    """
    found = _predictions(run, control)
    if question == "difficulty":
        groups, rows = list(told_by), np.arange(len(found.labels))
        weights = found.counts[groups, 0]
        losses = weights @ -found.mean_log_probs[groups][:, rows, found.labels] / weights.sum()
        ranks = np.empty(len(losses), dtype=np.int64)
        ranks[np.argsort(losses, kind="stable")] = rows
        return ranks * 3 // len(losses)
    column = "opposing" if question == "regularization samples" else "teacher_prediction"
    table = _recorded(run, control, column)
    if table is None:
        return None
    of_group = table.index.to_numpy() % len(found.counts)
    if column == "opposing":
        flagged = table.to_numpy()[np.isin(of_group, told_by)]
        return (flagged.mean(axis=0) > 0.5).astype(np.int64)
    right = table.to_numpy()[np.isin(of_group, everyone)] == found.labels
    return np.where(right.all(axis=0), 0, np.where(right.any(axis=0), 1, 2))


@lru_cache(maxsize=8)
def _recorded(run: Run, arm: str, column: str) -> pd.DataFrame | None:
    """A column of the clean record at the epoch of the predictions, replicas by rows; None where a value is missing."""
    found = _predictions(run, arm)
    columns: tuple[str, ...] = ("replica", "sample_id", column)
    frame = stored.records(run, arm, SPLIT, "clean", (found.epoch,), columns)
    if frame is None or frame.empty or frame[column].isna().any():
        return None
    values: Any = frame.assign(**{column: frame[column].astype(float)})
    table: pd.DataFrame = values.pivot(index="replica", columns="sample_id", values=column)
    whole = np.array_equal(table.columns, found.sample_ids) and not table.isna().any(axis=None)
    return table if whole else None
