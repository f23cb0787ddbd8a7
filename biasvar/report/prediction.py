"""Which indicator of a soft label predicts how well its students do: rank correlations over soft labels, compared."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pandas as pd

from biasvar.records import Run
from biasvar.report import sources, taught
from biasvar.report.figure import failed_replicas

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
    truth = sources.truth_arm(run)
    arms, seen = [], set()
    for arm in sources.finished(run):
        said, name = sources.source(run, arm), run.arm(arm)["soft_label"]
        usable = sources.measure(run, arm) == sources.AVERAGE and not said.get("labelled")
        if usable and arm != truth and name not in seen and not failed_by_accident(run, arm):
            arms.append(arm)
            seen.add(name)
    return (truth, arms) if truth is not None and len(arms) >= LEAST else (None, [])


def failed_by_accident(run: Run, arm: str) -> bool:
    """Whether a replica is not finite; one at chance is what a soft label that says nothing must give."""
    return any(not math.isfinite(value) for value in taught.accuracy(run, arm)) and bool(failed_replicas(run, arm))


@lru_cache(maxsize=8)
def soft_labels(run: Run) -> pd.DataFrame:
    """One row a soft label: arm, label, kind, mean accuracy of its students with its error, and the candidates."""
    truth, arms = compared_arms(run)
    if truth is None:
        return pd.DataFrame()
    frame = taught.prediction_table(run, arms, truth)
    return frame.assign(kind=[sources.kind(run, arm) for arm in frame["arm"]])


def ranking(frame: pd.DataFrame, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """How well each candidate predicts the students' accuracy over the rows of `soft_labels`, best first.

    Columns: candidate, name, rho (Spearman's), size (|rho|) with low and high, versus (size less that of the accuracy
    of the soft label) with versus_low and versus_high, n_soft_labels. A bootstrap over soft labels, percentiles; in
    every resample a correlation keeps the sign that it has in the whole, so that a size near 0 is not pushed up, and
    low may lie below 0. Candidates that do not vary, or have no value for some soft label, are left out.
    """
    names = [name for name in NAMES if frame[name].notna().all() and frame[name].nunique() > 1]
    values = frame[[*names, "accuracy"]].to_numpy(dtype=np.float64).T
    n = len(frame)
    whole = _correlations(values[:, None])[:, 0]
    rows = np.random.default_rng(seed).integers(n, size=(resamples, n))
    drawn = _correlations(values[:, rows]) * np.sign(whole)[:, None]
    rival = names.index(RIVAL) if RIVAL in names else None
    tail = 100 * (1 - level) / 2
    found = []
    for i, name in enumerate(names):
        low, high = np.nanpercentile(drawn[i], [tail, 100 - tail])
        row = {"candidate": name, "name": NAMES[name], "rho": whole[i], "size": abs(whole[i]), "low": low, "high": high}
        versus = {"versus": math.nan, "versus_low": math.nan, "versus_high": math.nan}
        if rival is not None and i != rival:
            ends = np.nanpercentile(drawn[i] - drawn[rival], [tail, 100 - tail])
            versus = {"versus": abs(whole[i]) - abs(whole[rival]), "versus_low": ends[0], "versus_high": ends[1]}
        found.append({**row, **versus, "n_soft_labels": n})
    return pd.DataFrame(found).sort_values("size", ascending=False, ignore_index=True)


def _correlations(values: np.ndarray) -> np.ndarray:
    """Spearman's correlation (V - 1, B) of each of the first variables (V, B, n) with the last; NaN if one is constant.

    Ranks are taken anew in every resample.
    """
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=2)
    ranks -= ranks.mean(axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt((ranks**2).sum(axis=2))
        found: np.ndarray = (ranks[:-1] * ranks[-1]).sum(axis=2) / (size[:-1] * size[-1])
    return found
