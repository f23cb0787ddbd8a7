"""How sure the answers of an arm's replicas are, and whether they are right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from biasvar.analysis import calibration_error, calibration_interval, reliability_table
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import Interval
from biasvar.records import Run
from biasvar.report.statistics.own_samples import Place, main_place, terms_at

BINS = 15
"""Of equal width, as those of the metrics."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Calibration of all answers of an arm's replicas together; errors are over samples, whose answers go together.

    Attributes:
        table: `biasvar.reliability_table`, intervals over samples.
        error: the expected calibration error of all answers in these bins.
        debiased: the same without its upward lean, with its 95 % interval (`biasvar.calibration_interval`).
        of_replicas: the mean over replicas of each one's own error, with its t interval.
        n_samples, n_replicas: what it rests on.
    """

    table: pd.DataFrame
    error: float
    debiased: Interval
    of_replicas: Interval
    n_samples: int
    n_replicas: int


@lru_cache(maxsize=64)
def reliability(run: Run, arm: str) -> Reliability | None:
    """Of the predictions on an arm's main place; None where none are kept, or only means over several replicas."""
    place: Place = main_place(run, arm)
    if terms_at(run, arm, place) is None:
        return None
    means, labels, _ = run.stored_means(arm, place.split, "all", None)
    if means.counts.max(initial=0) > 1:
        return None
    confidence = np.empty(means.counts.shape)
    right = np.empty(means.counts.shape, dtype=bool)
    for part in means.parts():
        values = means.read(part.start, part.stop)
        confidence[:, part] = np.exp(values.max(axis=-1)).clip(0.0, 1.0)
        right[:, part] = values.argmax(axis=-1) == labels[part]
    there = means.counts == 1
    own = [
        calibration_error(confidence[r, rows], right[r, rows], bins=BINS) for r, rows in enumerate(there) if rows.any()
    ]
    samples = np.broadcast_to(np.arange(there.shape[1]), there.shape)[there]
    samples = np.unique(samples, return_inverse=True)[1]
    sure, correct = confidence[there], right[there]
    return Reliability(
        reliability_table(sure, correct, bins=BINS, clusters=samples),
        calibration_error(sure, correct, bins=BINS),
        calibration_interval(sure, correct, bins=BINS, clusters=samples),
        mean_interval(np.array(own)),
        int(samples.max()) + 1,
        len(own),
    )
