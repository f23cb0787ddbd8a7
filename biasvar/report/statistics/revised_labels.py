"""A teacher's soft labels before and after label revision, by true class, and by whether the teacher is right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.soft_labels.revision import revise_labels
from biasvar.analysis.statistics.intervals import interval_from
from biasvar.records import ArmEntry, Run
from biasvar.report.arms.revision import eta, is_revised, revised_rows
from biasvar.report.arms.roles import arms_with_role, failed_arms

GROUPS = ("wrong", "right")
SERIES = ("label", "teacher", "revised")


@dataclass(frozen=True, eq=False)
class Revised:
    """The answers of a teacher to the rows that students may train on; T networks, N rows, C classes.

    Attributes:
        labels: (N,) true classes.
        before, after: (T, N, C) soft labels at the temperature at which they are revised.
        wrong: (T, N) True where the teacher's first class is not the label.
    """

    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    wrong: np.ndarray

    @property
    def one_hot(self) -> np.ndarray:
        """(T, N, C) the labels as distributions."""
        return np.broadcast_to(np.eye(self.before.shape[-1])[self.labels], self.before.shape)

    def lead(self, soft: np.ndarray) -> np.ndarray:
        """What the truth has more than the teacher's first class, of every wrong answer, in no order."""
        first = np.take_along_axis(soft, self.before.argmax(-1)[..., None], -1)[..., 0]
        true = np.take_along_axis(soft, np.broadcast_to(self.labels[:, None], (*soft.shape[:-1], 1)), -1)[..., 0]
        gap: np.ndarray = (true - first)[self.wrong]
        return gap


def revising_arm(run: Run) -> str | None:
    """The first main arm whose labels are revised and whose teacher's answers are stored; others after main ones."""
    main = arms_with_role(run, ("main",))
    for arm in [*main, *(arm for arm in run.arms if arm not in main)]:
        entry = run.entry(arm)
        there = entry.teacher and (run.directory / "teachers" / f"{entry.teacher}.parquet").is_file()
        if is_revised(entry) and there and arm not in failed_arms(run):
            return arm
    return None


def revised_labels(run: Run, entry: ArmEntry) -> Revised:
    """The soft labels that an arm's students are taught, and its teacher's own."""
    teacher, samples = run.teacher(str(entry.teacher)), run.samples.set_index("sample_id")
    pool = samples[samples["split"] == "train"]
    if (pool["pool"] == "student").any():
        pool = pool[pool["pool"] == "student"]
    mine = np.isin(teacher.sample_ids, pool.index.to_numpy())
    labels = pool.loc[teacher.sample_ids[mine], "label"].to_numpy()
    logits = teacher.logits.reshape(-1, *teacher.logits.shape[-2:])[:, mine].astype(np.float64) / temperature(entry)
    before = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    rows: Any = revised_rows(entry)
    truth = np.broadcast_to(labels, before.shape[:2])
    flat = revise_labels(before.reshape(-1, before.shape[-1]), truth.ravel(), margin=1.0 - eta(entry), rows=rows)
    return Revised(labels, before, np.asarray(flat).reshape(before.shape), before.argmax(-1) != truth)


def temperature(entry: ArmEntry) -> float:
    """At which an arm's labels are revised; the public port knows none."""
    return 1.0 if entry.temperature is None or entry.setting("preset") is not None else entry.temperature


def mean_answer(values: np.ndarray, where: np.ndarray) -> dict[str, Any]:
    """The mean of values (T, N) over the answers at which `where` (T, N) holds, with its t interval over rows.

    The answers of all networks to one row stay together: with S_i their sum and n_i their number, the error is
    sqrt(m / (m - 1) sum_i (S_i - mean n_i)^2) / sum_i n_i over the m rows that have any.
    """
    counts = where.sum(axis=0)
    rows, answers = int((counts > 0).sum()), int(counts.sum())
    if not answers:
        nothing = dict.fromkeys(("probability", "low", "high", "stderr"), math.nan)
        return {**nothing, "n_rows": 0, "n_answers": 0}
    sums = np.where(where, values, 0.0).sum(axis=0)
    mean = float(sums.sum() / answers)
    spread = float(((sums - mean * counts) ** 2).sum())
    error = math.sqrt(rows / (rows - 1) * spread) / answers if rows > 1 else math.nan
    found = interval_from(mean, error, rows - 1, rows)
    return {
        "probability": mean, "low": found.low, "high": found.high, "stderr": error, "n_rows": rows,
        "n_answers": answers,
    }  # fmt: skip
