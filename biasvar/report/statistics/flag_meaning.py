"""How well the flag tells samples whose bias rises and whose variance falls: areas under the curve.

The target is measured by retraining, the flag is read from gradients; both are compared on the same rows, but never on
the same replicas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from biasvar.analysis import decompose_groups, interval_from, paired_change, roc_auc
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records.schema import CRITERIA
from biasvar.records.summary import criterion_flags
from biasvar.report.statistics.changes import has_predictions

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.records.reader import Predictions, Run

BASELINES = {"teacher_prob": -1.0, "student_prob": 1.0, "margin": 1.0}
"""Scores that need no gradient, with the sign under which larger is taken to mean positive. The signs are the flag's
own: it asks whether the student's probability of the truth is above the teacher's, so the student's counts upwards and
the teacher's downwards. Fixed before any result was seen; an area below .5 says that a score ranks the other way."""

REFERENCE = "target_other_half"
"""The target itself as the half of the replicas gives it that the scores come from: how far it agrees with itself. A
yardstick, not a limit: a score with many values may rank better than this one with two."""

COLUMNS = (
    *("score", "kind", "auc", "low", "high", "stderr_samples", "stderr_replicas", "low_samples", "high_samples"),
    *("low_replicas", "high_replicas", "n_samples", "n_replicas", "positives", "epoch"),
)
_RECORD = (
    *("replica", "sample_id", "student_loss", "teacher_prob", "bias_gradient", "variance_gradient"),
    *("bias_gradient_norm", "variance_gradient_norm", "opposing"),
)


@dataclass(frozen=True)
class _Half:
    """One half of the replicas: scores `(S, N)` and target `(N,)`, and both with each of its g groups left out."""

    scores: np.ndarray
    target: np.ndarray
    deleted_scores: np.ndarray
    deleted_target: np.ndarray
    sizes: np.ndarray


@lru_cache(maxsize=64)
def flag_auc(run: Run, treatment: str, control: str, *, split: str = "test", level: float = 0.95) -> pd.DataFrame:
    """Area under the ROC of every flag, and of plain baselines, for bias up and variance down.

    Target of a sample: corrected change of bias (treatment - control) > 0 and corrected change of variance < 0. Score
    of a criterion: the share of the treatment's replicas that flag the sample in the clean pass at the last epoch.
    Baselines: the teacher's probability of the truth at the treatment's temperature, the control student's at
    temperature 1, and the control student's margin (log-probability of the truth minus that of the best other class),
    each the mean over replicas, oriented as `BASELINES` says. The replicas are split by the parity of their
    jackknife group (replica r is in group r mod G): scores from one half, target from the other, then swapped; the
    area is the mean of the two. `REFERENCE` scores the target by itself across the halves.

    Errors: over samples, DeLong's with both swaps of a sample kept together; over replicas, the jackknife within each
    half (a group leaves both arms, its scores and its changes), the halves added as independent. `low`, `high`: both
    errors added in quadrature, t with G - 2 degrees of freedom; `low_samples`, `high_samples` and `low_replicas`,
    `high_replicas`: each error alone (normal; t). All are clipped to [0, 1].

    Args:
        run: with predictions and a clean record of both arms at one epoch, the treatment's scored against a teacher.
        treatment, control: arms with the same draws.

    Returns:
        One row a score with the columns `COLUMNS`; `positives` is the share of samples in the target, averaged
        over the halves. Empty where the run lacks what is needed, or has fewer than 4 jackknife groups.
    """
    import pandas as pd

    inputs = _inputs(run, treatment, control, split)
    if inputs is None:
        return pd.DataFrame(columns=list(COLUMNS))
    predictions, sums, per_group = inputs
    halves = [_half(predictions, sums, parity) for parity in (0, 1)]
    keep = np.all([_usable(half) for half in halves], axis=0)
    names = [*CRITERIA, *BASELINES, REFERENCE]
    kinds = ["criterion"] * len(CRITERIA) + ["baseline"] * len(BASELINES) + ["reference"]
    groups = len(per_group)
    rows = []
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        area, stderr_samples, stderr_replicas = _area(halves, place, keep)
        both = math.hypot(stderr_samples, stderr_replicas)
        intervals = [
            interval_from(area, error, df, groups, level)
            for error, df in ((both, groups - 2), (stderr_samples, math.inf), (stderr_replicas, groups - 2))
        ]
        low, high = ([float(np.clip(getattr(x, end), 0.0, 1.0)) for x in intervals] for end in ("low", "high"))
        positives = float(np.mean([half.target[keep].mean() for half in halves])) if keep.any() else math.nan
        values = (name, kind, area, low[0], high[0], stderr_samples, stderr_replicas, low[1], high[1], low[2], high[2])
        rows.append((*values, int(keep.sum()), int(per_group.sum()), positives, predictions[0].epoch))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _inputs(
    run: Run, treatment: str, control: str, split: str
) -> tuple[tuple[Predictions, Predictions], np.ndarray, np.ndarray] | None:
    """Both arms' predictions, sums of each score over the replicas of a group (S, G, N), and replicas a group (G,)."""
    recorded = run.recorded()
    for arm in (treatment, control):
        if not has_predictions(run, arm, split) or (arm, split, "clean") not in recorded:
            return None
    first, second = run.predictions(treatment, split=split), run.predictions(control, split=split)
    if not np.array_equal(first.sample_ids, second.sample_ids) or not np.array_equal(first.counts, second.counts):
        return None
    groups = len(first.counts)
    if groups < 4 or any(first.epoch not in run.record_epochs(arm, split, "clean") for arm in (treatment, control)):
        return None
    frame = run.records(list(_RECORD), arm=treatment, split=split, view="clean", epochs=first.epoch)
    other = run.records(
        ["replica", "sample_id", "student_loss"], arm=control, split=split, view="clean", epochs=second.epoch
    )
    if frame["variance_gradient"].isna().all():
        return None
    columns = _by_replica(frame, _RECORD[2:], first.sample_ids)
    control_columns = _by_replica(other, ("student_loss",), first.sample_ids)
    replicas = np.unique(frame["replica"].to_numpy())
    per_group = np.bincount(replicas % groups, minlength=groups)
    if columns is None or control_columns is None or not np.array_equal(replicas, np.unique(other["replica"])):
        return None
    if not np.array_equal(per_group, second.counts.max(axis=1)):
        return None
    flags = [np.asarray(criterion_flags(columns, name), dtype=np.float64) for name in CRITERIA]
    signed = [BASELINES["teacher_prob"] * columns["teacher_prob"], np.exp(-control_columns["student_loss"])]
    values = np.stack([*flags, *signed])
    missing = np.isnan(columns["variance_gradient"]) | np.isnan(columns["bias_gradient"])
    values[:, missing] = np.nan
    sums = np.stack([values[:, replicas % groups == group].sum(axis=1) for group in range(groups)], axis=1)
    margin = second.counts * _margin(second)
    return (first, second), np.concatenate([sums, margin[None]]), per_group


def _by_replica(frame: pd.DataFrame, columns: tuple[str, ...], ids: np.ndarray) -> dict[str, np.ndarray] | None:
    """Columns as float64 (R, N), samples in the order of `ids`; None unless every replica has every sample once."""
    replicas, samples = frame["replica"].to_numpy(), frame["sample_id"].to_numpy()
    order = np.lexsort((samples, replicas))
    count = len(np.unique(replicas))
    if not np.array_equal(samples[order], np.tile(ids, count)):
        return None
    arrays = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns}
    return {name: values[order].reshape(count, len(ids)) for name, values in arrays.items()}


def _margin(predictions: Predictions) -> np.ndarray:
    """Log-probability of the truth minus the largest other, (G, N)."""
    means = predictions.mean_log_probs
    is_true = np.arange(means.shape[2]) == predictions.labels[:, None]
    truth = means[:, is_true]
    return truth - np.where(is_true, -np.inf, means).max(axis=2)


def _half(predictions: tuple[Predictions, Predictions], sums: np.ndarray, parity: int) -> _Half:
    parts = [
        decompose_groups(x.counts[parity::2], x.mean_log_probs[parity::2], x.labels).corrected() for x in predictions
    ]
    change = paired_change(*parts)
    target = (change.bias > 0) & (change.variance < 0)
    assert change.deleted_bias is not None
    assert change.deleted_variance is not None
    deleted_target = (change.deleted_bias > 0) & (change.deleted_variance < 0)
    counts, own = predictions[0].counts[parity::2], sums[:, parity::2]
    total = own.sum(axis=1)
    scores = total / counts.sum(axis=0)
    left = counts.sum(axis=0) - counts
    deleted = (total[:, None] - own) / np.where(left > 0, left, 1)
    # The reference is the target itself; a row without a change has neither.
    blank = np.where(np.isfinite(change.bias), 0.0, np.nan)
    scores = np.concatenate([scores, (target + blank)[None]])
    deleted = np.concatenate([deleted, (deleted_target + blank)[None]])
    return _Half(scores, target, deleted, deleted_target, counts.max(axis=1))


def _usable(half: _Half) -> np.ndarray:
    return np.isfinite(half.scores).all(axis=0)


def _area(halves: list[_Half], place: int, keep: np.ndarray) -> tuple[float, float, float]:
    """The area of one score with its errors over samples and over replicas."""
    whole = [(halves[i].scores[place, keep], halves[1 - i].target[keep]) for i in (0, 1)]
    if any(target.all() or not target.any() for _, target in whole):
        return math.nan, math.nan, math.nan
    area = float(np.mean([roc_auc(*pair) for pair in whole]))
    influence = 0.5 * _influence(*whole[0]) + 0.5 * _influence(*whole[1])
    squares = 0.0
    for i, (half, other) in enumerate(zip(halves, halves[::-1], strict=True)):
        deleted = [
            0.5 * roc_auc(half.deleted_scores[place, g][keep], other.target[keep])
            + 0.5 * roc_auc(whole[1 - i][0], half.deleted_target[g][keep])
            for g in range(len(half.sizes))
        ]
        squares += float(jackknife_stderr(np.float64(area), np.array(deleted), half.sizes, least=3)) ** 2
    return area, math.sqrt(float(np.sum(influence**2))), math.sqrt(squares)


def _influence(score: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What each sample adds to the area's deviation; the sum of squares is DeLong's variance."""
    result = np.zeros(len(score))
    for chosen in (target, ~target):
        own, other = score[chosen], np.sort(score[~chosen])
        below = np.searchsorted(other, own, side="left") + np.searchsorted(other, own, side="right")
        place = below / (2.0 * len(other))
        if not chosen[target].all():
            place = 1.0 - place
        n = len(own)
        result[chosen] = (place - place.mean()) / math.sqrt(n * (n - 1)) if n > 1 else math.nan
    return result
