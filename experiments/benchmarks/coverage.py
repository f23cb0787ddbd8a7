"""How often 95 % intervals of a change of bias and of variance hold the population's: over replicas, rows and teachers.

    python experiments/benchmarks/coverage.py [--draws 500] [--only rows|spread|teachers]

A made population of rows, each with its own logits and spread over replicas: confident rows with hardly any spread,
rows in between, and a few that are badly wrong, which carry most of the mean bias, as in real nets. Two arms are
paired: they share most of what a replica is, and a part of that moves all rows together. The truth is the mean over the
population, each row with 600 replicas of its own. From it R replicas of N rows are drawn, both arms decomposed and
corrected, and the intervals made that claims are judged by (`biasvar.analysis.crossed_total`); beside them those over
replicas alone, and those of `crossed_mean` on the jackknife's pseudo-values, which take off what replicas and rows
interact in. With teachers, what the treatment learned is moved by its teacher, on all rows together and on each row.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biasvar.analysis import Change, Interval, combined, crossed_mean, crossed_total, decompose, paired_change
from biasvar.analysis.statistics.intervals import interval_from

TERMS = ("bias", "variance")
TAILS = {"5 % wrong": (0.70, 0.25, 0.05), "none wrong": (0.0, 1.0, 0.0), "2 % wrong": (0.88, 0.10, 0.02)}
"""Shares of confident rows, of those in between and of badly wrong ones."""
MARGINS = ((8.0, 2.0), (2.0, 1.5), (-5.0, 1.5))
"""By how much the true class leads in each, with its spread over rows."""
SPREADS = (0.7, 1.0, 1.5)
"""Spread of a logit over replicas in each, times exp(.3 of a normal)."""
SHARED = 0.6
"""Correlation of the arms' replicas."""
SOFTER = 0.75
"""The treatment's logits and spreads are this much the control's."""


@dataclass(frozen=True)
class Population:
    """Rows to draw from.

    Attributes:
        wrong: a key of `TAILS`.
        common: spread over replicas of what moves all rows together.
        spread: factor of all spreads over replicas.
        teacher, teacher_rows: spread over teachers of what moves all rows of the treatment, and of each row's own part.
    """

    classes: int = 10
    wrong: str = "5 % wrong"
    common: float = 0.3
    spread: float = 1.0
    teacher: float = 0.0
    teacher_rows: float = 0.0
    rows: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        kind = rng.choice(3, self.rows, p=TAILS[self.wrong])
        labels = rng.integers(self.classes, size=self.rows)
        logits = rng.normal(size=(self.rows, self.classes))
        centre, width = np.array(MARGINS)[kind].T
        logits[np.arange(self.rows), labels] += centre + width * rng.normal(size=self.rows)
        treated = SOFTER * logits + 0.3 * rng.normal(size=logits.shape)
        sigma = self.spread * np.array(SPREADS)[kind] * np.exp(0.3 * rng.normal(size=self.rows))
        # A frozen dataclass takes what is made from its settings so.
        vars(self).update(labels=labels, _logits=(logits, treated), _sigma=sigma)

    def draw(
        self, rng: np.random.Generator, rows: np.ndarray, replicas: int, teachers: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (R, n, C) of control and treatment; each replica's teacher is one of `teachers` (R,).

        Without teachers each row has replicas and teachers of its own: right for its expectation, which is all that
        the truth needs.
        """
        size, apart = (replicas, len(rows), self.classes), teachers is None
        sigma = self._sigma[rows][:, None]
        own, common = self._pair(rng, size), self._pair(rng, (replicas, len(rows) if apart else 1, self.classes))
        scale = self._pair(rng, (replicas, len(rows) if apart else 1, 1))
        control, treatment = (
            logits[rows] * (1 + 0.3 * self.common * scale[arm])
            + (SOFTER if arm else 1.0) * sigma * own[arm]
            + self.common * common[arm]
            for arm, logits in enumerate(self._logits)
        )
        taught = self.taught(rng, rows, replicas if teachers is None else int(teachers.max()) + 1, apart)
        return control, treatment + (taught if teachers is None else taught[teachers])

    def taught(self, rng: np.random.Generator, rows: np.ndarray, teachers: int, apart: bool = False) -> np.ndarray:
        """What each teacher adds to the treatment, (T, n, C)."""
        if not self.teacher and not self.teacher_rows:
            return np.zeros((teachers, 1, 1))
        common = self.teacher * rng.normal(size=(teachers, len(rows) if apart else 1, self.classes))
        own = self._sigma[rows][:, None] * rng.normal(size=(teachers, len(rows), self.classes))
        return common + self.teacher_rows * own

    def truth(self, replicas: int = 600, at_once: int = 500) -> dict[str, float]:
        """The population's mean change of bias and of variance, and the kurtosis of the rows' change of bias."""
        rng = np.random.default_rng(self.seed + 1)
        parts = []
        for start in range(0, self.rows, at_once):
            rows = np.arange(start, min(start + at_once, self.rows))
            parts.append(changed(*self.draw(rng, rows, replicas), self.labels[rows], errors=False))
        bias, variance = (np.concatenate([getattr(part, term) for part in parts]) for term in TERMS)
        return {"bias": bias.mean(), "variance": variance.mean(), "kurtosis": kurtosis(bias)}

    def _pair(self, rng: np.random.Generator, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        first = rng.normal(size=size)
        return first, SHARED * first + math.sqrt(1 - SHARED**2) * rng.normal(size=size)


def changed(
    control: np.ndarray, treatment: np.ndarray, labels: np.ndarray, *, method: str = "ratio", groups: int = 16,
    errors: bool = True,
) -> Change:  # fmt: skip
    """The change of the corrected terms."""
    arms = (decompose(logits, labels, groups=groups, errors=errors, values="logits") for logits in (treatment, control))
    return paired_change(*(arm.corrected(method) for arm in arms))


def kurtosis(values: np.ndarray) -> float:
    """The mean fourth power of standardised values, 3 for normal ones."""
    return float(np.mean(((values - values.mean()) / values.std()) ** 4))


def intervals(change: Change, term: str) -> dict[str, Interval]:
    """The intervals that are compared, for replicas that each have a group of their own."""
    total = crossed_total(change, term)
    alone = total.components["replicas"]
    values, deleted = getattr(change, term), getattr(change, f"deleted_{term}")
    pseudo = crossed_mean(len(deleted) * values - (len(deleted) - 1) * deleted, ("replicas", "rows"))
    return {
        "replicas and rows": total.interval(),
        "pseudo-values": replace(pseudo, estimate=total.estimate).interval(),
        "replicas alone": interval_from(total.estimate, alone.stderr, alone.df, alone.n),
    }


def taught_intervals(
    population: Population, rng: np.random.Generator, rows: np.ndarray, replicas: int, teachers: int, crossed: bool
) -> dict[tuple[str, str], Interval]:
    """By name and term: over teachers and rows, and as if all replicas had teachers of their own.

    Replica r learned from teacher r mod T; or, crossed, every replica from every teacher.
    """
    labels = population.labels[rows]
    if crossed:
        plain = replace(population, teacher=0.0, teacher_rows=0.0)
        control, treatment = plain.draw(rng, rows, replicas, np.zeros(replicas, int))
        # The group of replica r with teacher t is number t + r T: modulo T its teacher.
        control = np.repeat(control, teachers, axis=0)
        treatment = np.repeat(treatment, teachers, axis=0) + np.tile(
            population.taught(rng, rows, teachers), (replicas, 1, 1)
        )
    else:
        control, treatment = population.draw(rng, rows, replicas, np.arange(replicas) % teachers)
    by_teacher = changed(control, treatment, labels, method="jackknife", groups=teachers)
    by_cell = changed(control, treatment, labels, groups=len(control))
    found = {}
    for term in TERMS:
        total = crossed_total(by_teacher, term, teachers=range(teachers))
        if crossed:
            order = np.arange(len(control)).reshape(replicas, teachers).T.ravel()
            by_replica = changed(control[order], treatment[order], labels, groups=replicas)
            parts = {**total.components, "replicas": crossed_total(by_replica, term).components["replicas"]}
            total = replace(combined(total.estimate, parts), df=total.df)
        found["teachers and rows", term] = total.interval()
        found["teachers ignored", term] = crossed_total(by_cell, term).interval()
    return found


Shares = dict[tuple[str, str], float]
"""By interval and term, the share of draws in which it holds the truth."""


def covered(
    population: Population, truth: dict[str, float], rows: int, replicas: int, draws: int, *, seed: int = 1,
    method: str = "ratio",
) -> Shares:  # fmt: skip
    """Over draws of replicas and rows."""
    rng, hits = np.random.default_rng(seed), Hits(truth)
    for _ in range(draws):
        chosen = rng.integers(population.rows, size=rows)
        arms = population.draw(rng, chosen, replicas, np.zeros(replicas, int))
        change = changed(*arms, population.labels[chosen], method=method)
        for term in TERMS:
            hits.add({(name, term): found for name, found in intervals(change, term).items()})
    return hits.shares()


def covered_by_teachers(
    population: Population, truth: dict[str, float], rows: int, replicas: int, teachers: int, draws: int, *,
    crossed: bool = False, seed: int = 1,
) -> Shares:  # fmt: skip
    """Over draws of teachers, replicas and rows."""
    rng, hits = np.random.default_rng(seed), Hits(truth)
    for _ in range(draws):
        chosen = rng.integers(population.rows, size=rows)
        hits.add(taught_intervals(population, rng, chosen, replicas, teachers, crossed))
    return hits.shares()


class Hits:
    """Counts intervals that hold the truth."""

    def __init__(self, truth: dict[str, float]) -> None:
        self._truth, self._all = truth, {}

    def add(self, found: dict[tuple[str, str], Interval]) -> None:
        for (name, term), interval in found.items():
            none = math.isnan(interval.low)  # as for a variance over two teachers
            hit = math.nan if none else float(interval.low <= self._truth[term] <= interval.high)
            self._all.setdefault((name, term), []).append(hit)

    def shares(self) -> Shares:
        return {key: float(np.mean(hits)) for key, hits in self._all.items()}


def over_rows(draws: int) -> None:
    """By tails, size and what all rows share: the tables of replicas and rows."""
    for wrong in TAILS:
        for classes in (3, 10):
            for common in (0.3, 1.0) if wrong == "5 % wrong" else (0.3,):
                population = Population(classes=classes, wrong=wrong, common=common)
                truth = population.truth()
                for rows in (50, 200, 500):
                    for replicas in (5, 8, 16):
                        where = f"{wrong}, kurtosis {truth['kurtosis']:.0f}, C {classes}, common {common}"
                        found = covered(population, truth, rows, replicas, draws)
                        show(f"{where}, N {rows}, R {replicas}", found)


def over_spreads(draws: int) -> None:
    """Replicas that differ much: what either correction leaves."""
    for spread in (1.0, 2.0, 3.0):
        population = Population(spread=spread)
        truth = population.truth()
        for replicas in (5, 8, 16):
            for method in ("ratio", "jackknife"):
                found = covered(population, truth, 200, replicas, draws, method=method)
                show(f"spread {spread}, N 200, R {replicas}, {method}", found)


def over_teachers(draws: int) -> None:
    """Replicas that share teachers, or meet each of them."""
    for teacher, own in ((0.3, 0.3), (1.0, 0.7)):
        population = Population(teacher=teacher, teacher_rows=own)
        truth = population.truth()
        for teachers in (2, 4, 8):
            for crossed, replicas in ((False, 8), (False, 16), (True, 4), (True, 8)):
                found = covered_by_teachers(population, truth, 200, replicas, teachers, draws, crossed=crossed)
                how = "crossed with" if crossed else "nested in"
                show(f"teacher {teacher}, {own}: R {replicas} {how} T {teachers}, N 200", found)


def show(where: str, found: Shares) -> None:
    """One line: each interval's share for bias and for variance."""
    names = dict.fromkeys(name for name, _ in found)
    shares = (f"{name} {found[name, 'bias']:.3f} {found[name, 'variance']:.3f}" for name in names)
    print(where, *shares, sep=" | ", flush=True)


PARTS = {"rows": over_rows, "spread": over_spreads, "teachers": over_teachers}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500, help="draws of replicas and rows for each line")
    parser.add_argument("--only", choices=list(PARTS), help="one of the tables")
    options = parser.parse_args(arguments)
    print("shares of intervals that hold the truth, for bias and for variance")
    for name, part in PARTS.items():
        if options.only in (None, name):
            part(options.draws)


if __name__ == "__main__":
    main()
