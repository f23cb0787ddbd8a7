"""Which indicator of a soft label predicts how well its students do: rank correlations over soft labels, compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import spearman
from biasvar.analysis.statistics.intervals import percentile_ends
from biasvar.records import Run
from biasvar.report.arms import soft_labels
from biasvar.report.arms.roles import failed_replicas
from biasvar.report.statistics import label_indicators
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.seeding import resampling

LEAST = 8  # soft labels
RESAMPLES = 2000
NAMES = {
    "delta": "unreliability Δ, best k",
    "gamma": "ambiguity γ, best k",
    "sum": "Δ + γ, best k",
    "worst_class_sum": "Δ + γ of the worst class",
    "kappa": "exponent κ",
    "teacher_accuracy": "accuracy of the soft label",
    "distance": "distance to the truth",
    "ece": "calibration error (ECE)",
    "entropy": "mean entropy",
    "variance_reduction": "reduction of variance",
}
"""The candidates as a figure names them."""

RIVAL = "teacher_accuracy"


def compared_arms(run: Run) -> tuple[str | None, list[str]]:
    """The arm of true labels, and one arm for each soft label to compare: whole, fitted by cross-entropy, not failed.

    Soft labels of some rows only are left out, since their students saw fewer rows; so is the truth itself.
    """
    truth = soft_labels.truth_arm(run)
    arms, seen = [], set()
    for arm in soft_labels.finished_arms(run):
        said, name = soft_labels.definition(run, arm), run.entry(arm).soft_label
        usable = soft_labels.fit(run, arm) == soft_labels.AVERAGE and not said.get("labelled")
        if usable and arm != truth and name not in seen and not failed_by_accident(run, arm):
            arms.append(arm)
            seen.add(name)
    return (truth, arms) if truth is not None and len(arms) >= LEAST else (None, [])


def failed_by_accident(run: Run, arm: str) -> bool:
    """True if a replica is not finite; one at chance is what a soft label without information must give."""
    return any(not math.isfinite(value) for value in final_accuracy(run, arm)) and bool(failed_replicas(run, arm))


@lru_cache(maxsize=8)
def compared_soft_labels(run: Run) -> pd.DataFrame:
    """One row a soft label: arm, label, kind, mean accuracy of its students with its error, and the candidates."""
    truth, arms = compared_arms(run)
    if truth is None:
        return pd.DataFrame()
    frame = label_indicators.candidate_table(run, arms, truth)
    return frame.assign(kind=[soft_labels.kind(run, arm) for arm in frame["arm"]])


@dataclass(frozen=True)
class Correlations:
    """Spearman's correlations of candidates with the students' accuracy over soft labels, and bootstrap draws of them.

    Attributes:
        names: V candidates.
        rho: (V,) over all soft labels.
        draws: (V, B), over soft labels drawn with replacement, those of one origin (a teacher, the same people)
            together, and ranked anew; NaN where a draw has one value only.
        n, origins: soft labels, and how many origins they have.
    """

    names: tuple[str, ...]
    rho: np.ndarray
    draws: np.ndarray
    n: int
    origins: int

    def size(self, name: str) -> tuple[float, np.ndarray]:
        """|rho| and its draws: rho in the direction that it has over all, so that a size near 0 is not pushed up."""
        place = self.names.index(name)
        return abs(float(self.rho[place])), self.draws[place] * np.sign(self.rho[place])

    def lead(self, name: str) -> tuple[float, np.ndarray]:
        """The size less that of the accuracy of the soft label, and its draws; NaN where that is no candidate."""
        if RIVAL not in self.names or name == RIVAL:
            return math.nan, np.full(self.draws.shape[1], np.nan)
        (mine, draws), (rival, of_rival) = self.size(name), self.size(RIVAL)
        return mine - rival, draws - of_rival


def correlations(frame: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> Correlations:
    """Of every candidate that varies and has a value for every soft label; see `compared_soft_labels` for the frame.

    The draws depend on the soft labels and not on the order of their rows or on the other candidates.
    """
    frame = frame.sort_values("arm")
    names = tuple(name for name in NAMES if frame[name].notna().all() and frame[name].nunique() > 1)
    values = frame[[*names, "accuracy"]].to_numpy(dtype=np.float64).T
    members = list(frame.reset_index(drop=True).groupby("origin").indices.values())
    drawn = resampling(seed).integers(len(members), size=(resamples, len(members)))
    draws = [spearman(values[:, np.concatenate([members[i] for i in row])]) for row in drawn]
    return Correlations(names, spearman(values), np.stack(draws, axis=1), len(frame), len(members))


def ranking(frame: pd.DataFrame, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """How well each candidate predicts the students' accuracy over the rows of `compared_soft_labels`, best first.

    Columns: candidate, name, rho (Spearman's), size (|rho|) with low and high, versus (size less that of the accuracy
    of the soft label) with versus_low and versus_high, n_soft_labels, n_origins. Percentiles of the draws of
    `correlations`; low may lie below 0.
    """
    of_all = correlations(frame, resamples=resamples, seed=seed)
    table = []
    for name, rho in zip(of_all.names, of_all.rho, strict=True):
        row: dict[str, Any] = {"candidate": name, "name": NAMES[name], "rho": rho}
        for key, low, high, (value, draws) in (
            ("size", "low", "high", of_all.size(name)), ("versus", "versus_low", "versus_high", of_all.lead(name)),
        ):  # fmt: skip
            ends = percentile_ends(draws, level) if math.isfinite(value) else (math.nan, math.nan)
            row |= {key: value, low: ends[0], high: ends[1]}
        table.append({**row, "n_soft_labels": of_all.n, "n_origins": of_all.origins})
    return pd.DataFrame(table).sort_values("size", ascending=False, ignore_index=True)
