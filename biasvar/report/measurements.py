"""What each claim of the ledger is measured by: an effect with its errors, from the records of a run.

A measurement function takes the run and one entry of the study's `claims` (role -> arm) and gives the parts that the
claim asserts, all of which must hold. Errors are over replicas, on the same samples; where there is one, the error over
samples stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import Interval
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report import cache
from biasvar.report.changes import CLEAR, change
from biasvar.report.flags import flag_auc
from biasvar.report.sweep import association, sweep

ACCURACY, SHARE, CORRELATION, AUC = 0.002, 0.02, 0.2, 0.10
TERM = 0.05  # of the control's bias or variance


@dataclass(frozen=True)
class Measurement:
    """One part of a claim.

    Attributes:
        test: What is compared, in words.
        effect: The estimate.
        stderr: Its standard error, over replicas unless `test` says otherwise.
        df: Degrees of freedom of the error.
        n: Replicas (teachers, for a correlation) it rests on.
        threshold: The effect must lie beyond this, on the side that `direction` says; for "differs", beyond it on
            either side of 0.
        direction: "greater", "less" or "differs".
        unit: "nats", "accuracy", "share", "rank correlation" or "AUC".
        stderr_samples: The error over samples, NaN where there is none.
        fisher: The effect and its error are Fisher's z of a correlation.
        draws: Bootstrap draws of the effect, whose percentiles are then the interval; None for a t interval.
    """

    test: str
    effect: float
    stderr: float
    df: float
    n: int
    threshold: float
    direction: str
    unit: str
    stderr_samples: float = math.nan
    fisher: bool = False
    draws: np.ndarray | None = None


Roles = Mapping[str, Any]
Measure = Callable[[Run, Roles], list[Measurement]]


def _label(run: Run, arm: str) -> str:
    return str(run.arm(arm).get("label") or arm)


def _versus(run: Run, a: str, b: str) -> str:
    return f"{_label(run, a)} − {_label(run, b)}"


def _over_replicas(
    test: str, interval: Interval, threshold: float, direction: str, unit: str, stderr_samples: float = math.nan
) -> Measurement:
    """A mean over replicas, as `mean_interval` gives it."""
    df = interval.n - 1
    return Measurement(
        test, interval.estimate, interval.stderr, df, interval.n, threshold, direction, unit, stderr_samples
    )


def term_change(term: str, direction: str) -> Measure:
    """Mean change of corrected bias or variance, treatment against control; test rows."""

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        treatment, control = roles["treatment"], roles["control"]
        found, base = change(run, treatment, control), cache.decomposition(run, control)
        if found is None or base is None:
            return []
        total = getattr(found.totals, term)
        smallest = TERM * abs(getattr(base.totals(), term).value)
        threshold = -smallest if direction == "less" else smallest
        return [
            Measurement(
                f"mean {term}, {_versus(run, treatment, control)}", total.value, total.stderr_replicas,
                found.n_replicas - 1, found.n_replicas, threshold, direction, "nats", total.stderr_samples,
            )
        ]  # fmt: skip

    return measure


def sample_trade_offs(run: Run, roles: Roles) -> list[Measurement]:
    """Share of samples whose change of bias or of variance clearly has the other sign than the mean's (W3)."""
    treatment, control = roles["treatment"], roles["control"]
    found = change(run, treatment, control)
    if found is None or found.change.deleted_bias is None or found.change.deleted_variance is None:
        return []
    part, frame = found.change, found.frame
    clear = CLEAR * frame[["se_bias", "se_variance"]].to_numpy().T
    sign = np.sign([[part.bias.mean()], [part.variance.mean()]])  # of the means over all replicas, also below

    def share(bias: Any, variance: Any) -> Any:
        """Of changes (..., N), with or without a group of replicas."""
        return (sign * np.stack([bias, variance], axis=-2) < -clear).any(-2).mean(-1)

    effect = float(share(part.bias, part.variance))
    sizes = np.asarray(part.group_counts).max(axis=1)
    deleted = share(part.deleted_bias, part.deleted_variance)
    stderr = float(jackknife_stderr(np.float64(effect), deleted, sizes, least=3))
    samples = math.sqrt(effect * (1 - effect) / found.n_samples)
    one = float(stdtr(found.n_replicas - 1, -CLEAR))
    chance = 1 - (1 - one) ** 2  # two terms, taken as independent
    return [
        Measurement(
            f"share of samples that clearly go against the mean, {_versus(run, treatment, control)} "
            f"(both errors in quadrature; without any effect about {chance:.1%} would)",
            effect, math.hypot(stderr, samples), found.n_replicas - 1, found.n_replicas, 0.05, "greater", "share",
        )
    ]  # fmt: skip


def _shares(run: Run, arm: str) -> Any:
    """Share of regularization samples in the training view: a frame of epochs by replicas."""
    frame = cache.metrics(run).query("arm == @arm and split == 'train' and view == 'augmented'")
    return frame.dropna(subset="share_opposing").pivot(index="epoch", columns="replica", values="share_opposing")


def share_through_training(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples in the last tenth of the epochs less that in the first, same replica (W4)."""
    arm = roles["arm"]
    shares = _shares(run, arm)
    if len(shares) < 2:
        return []
    last = shares.index.max()
    late, early = shares[shares.index > 0.9 * last], shares[shares.index <= max(0.1 * last, shares.index.min())]
    interval = mean_interval((late.mean() - early.mean()).to_numpy())
    return [
        _over_replicas(
            f"share of regularization samples, last tenth − first tenth of the epochs, {_label(run, arm)}",
            interval,
            SHARE,
            "differs",
            "share",
        )
    ]


def share_and_accuracy(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation over teachers of the share of regularization samples with the student's accuracy (W5)."""
    frame = sweep(run, list(roles["arms"]))
    if frame.empty:
        return []
    interval = association(frame)
    if math.isnan(interval.estimate) or abs(interval.estimate) == 1:
        return []
    stderr = math.sqrt((1 + interval.estimate**2 / 2) / (interval.n - 3))
    return [
        Measurement(
            f"rank correlation of the share with student accuracy over {interval.n} teachers "
            "(n counts teachers; the error is over them)",
            math.atanh(interval.estimate), stderr, math.inf, interval.n, -math.atanh(CORRELATION), "less",
            "rank correlation", fisher=True,
        )
    ]  # fmt: skip


def flag_meaning(run: Run, roles: Roles) -> list[Measurement]:
    """AUC of the flag for bias up and variance down, on replicas it was not read from (W6)."""
    treatment, control = roles["treatment"], roles["control"]
    frame = flag_auc(run, treatment, control)
    if frame.empty:
        return []
    row = frame.set_index("score").loc["opposing"].to_dict()
    return [
        Measurement(
            f"AUC of the flag for bias up and variance down, {_versus(run, treatment, control)}, split replicas",
            float(row["auc"]), float(row["stderr_replicas"]), float(row["n_replicas"] - 2), int(row["n_replicas"]),
            0.5 + AUC, "greater", "AUC", float(row["stderr_samples"]),
        )
    ]  # fmt: skip


def _accuracy(run: Run, arm: str) -> Any:
    """Final test accuracy by replica."""
    frame = cache.metrics(run).query("arm == @arm and split == 'test' and view == 'clean'")
    return frame[frame["epoch"] == frame["epoch"].max()].set_index("replica")["accuracy"]


def _right(run: Run, arm: str) -> Any:
    """By test sample: the share of replicas that are right."""
    frame = cache.records(run, arm, "test", "clean", None, ("sample_id", "label", "student_prediction"))
    if frame is None:
        return None
    return (frame["student_prediction"] == frame["label"]).groupby(frame["sample_id"]).mean()


def _accuracy_difference(
    run: Run, plus: list[str], minus: list[str], threshold: float, direction: str, test: str
) -> list[Measurement]:
    """Sum of accuracies of some arms less that of others, paired by replica."""
    by_replica = sum(_accuracy(run, arm) for arm in plus) - sum(_accuracy(run, arm) for arm in minus)
    by_replica = by_replica.dropna()
    if by_replica.empty:
        return []
    interval = mean_interval(by_replica.to_numpy())
    right = {arm: _right(run, arm) for arm in (*plus, *minus)}
    samples = math.nan
    if all(value is not None for value in right.values()):
        by_sample = sum(right[arm] for arm in plus) - sum(right[arm] for arm in minus)
        samples = mean_interval(by_sample.to_numpy()).stderr
    return [_over_replicas(test, interval, threshold, direction, "accuracy", samples)]


def accuracy_difference(*pairs: tuple[str, str], direction: str, threshold: float | None = None) -> Measure:
    """Final test accuracy of one role's arm less another's, paired by replica; one part a pair of roles."""
    limit = threshold if threshold is not None else (-ACCURACY if direction == "less" else ACCURACY)

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        parts: list[Measurement] = []
        for a, b in pairs:
            test = f"test accuracy, {_versus(run, roles[a], roles[b])}"
            parts += _accuracy_difference(run, [roles[a]], [roles[b]], limit, direction, test)
        return parts

    return measure


def share_difference(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples, mean over recorded epochs, paired by replica (W10)."""
    treatment, control = roles["treatment"], roles["control"]
    difference = (_shares(run, treatment).mean() - _shares(run, control).mean()).dropna()
    if difference.empty:
        return []
    interval = mean_interval(difference.to_numpy())
    return [
        _over_replicas(
            f"share of regularization samples, mean over epochs, {_versus(run, treatment, control)}",
            interval,
            SHARE,
            "greater",
            "share",
        )
    ]


def harm_with_temperature(run: Run, roles: Roles) -> list[Measurement]:
    """The smoothed teacher's effect on accuracy at a higher temperature less that at temperature 1 (M1)."""
    plus, minus = [roles["treatment"], roles["control_t1"]], [roles["control"], roles["treatment_t1"]]
    temperature = run.arm(roles["treatment"]).get("temperature")
    test = f"test accuracy, effect of the smoothed teacher at τ {temperature:g} − at τ 1, at one learning rate"
    return _accuracy_difference(run, plus, minus, -ACCURACY, "less", test)
