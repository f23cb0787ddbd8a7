"""What measures a claim: rows of the table of estimates, and the smallest effect that counts.

A measure takes the run and one entry of the study's `claims` (role -> arm) and gives the parts that the claim asserts,
all of which must hold. Errors are over replicas, on the same samples; where there is one, the error over samples stands
beside it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import stdtr

from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import CLEAR, change
from biasvar.report.statistics.estimates import (
    Estimate,
    accuracy_combination,
    decomposition_term,
    measured,
    over_pairs,
    over_replicas,
    term_change,
)
from biasvar.report.statistics.flag_meaning import flag_auc
from biasvar.report.statistics.over_teachers import association, shares_and_accuracy
from biasvar.study.claims import ACCURACY, AUC, CORRELATION, SHARE, TERM, TRADE_OFF


def versus(run: Run, a: str, b: str) -> str:
    """Two arms in words, the first less the second."""
    return f"{arm_label(run, a)} − {arm_label(run, b)}"


def change_of_term(term: str, direction: str) -> Measure:
    """Mean change of corrected bias or variance, treatment against control; test rows."""

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        treatment, control = roles["treatment"], roles["control"]
        row, base = term_change(run, treatment, control, term), decomposition_term(run, control, term)
        if row is None or base is None:
            return []
        smallest = TERM * abs(base.estimate)
        threshold = -smallest if direction == "less" else smallest
        return [Measurement(f"mean {term}, {versus(run, treatment, control)}", row, threshold, direction, "nats")]

    return measure


def sample_trade_offs(run: Run, roles: Roles) -> list[Measurement]:
    """Share of samples whose change of bias or of variance clearly has the other sign than the mean's (W3)."""
    treatment, control = roles["treatment"], roles["control"]
    changes = change(run, treatment, control)
    if changes is None or changes.change.deleted_bias is None or changes.change.deleted_variance is None:
        return []
    paired, frame = changes.change, changes.frame
    clear = CLEAR * frame[["se_bias", "se_variance"]].to_numpy().T
    sign = np.sign([[paired.bias.mean()], [paired.variance.mean()]])  # of the means over all replicas, also below

    def share(bias: Any, variance: Any) -> Any:
        """Of changes (..., N), with or without a group of replicas."""
        return (sign * np.stack([bias, variance], axis=-2) < -clear).any(-2).mean(-1)

    effect = float(share(paired.bias, paired.variance))
    sizes = np.asarray(paired.group_counts).max(axis=1)
    deleted = share(paired.deleted_bias, paired.deleted_variance)
    stderr = float(jackknife_stderr(np.float64(effect), deleted, sizes, least=3))
    samples = math.sqrt(effect * (1 - effect) / changes.n_samples)
    one_term = float(stdtr(changes.df, -CLEAR))
    chance = 1 - (1 - one_term) ** 2  # two terms, taken as independent
    row = measured(
        run, [treatment], interval_from(effect, math.hypot(stderr, samples), changes.df, changes.n_replicas),
        changes.df, quantity="share against the mean", rows="held-out", split="test", epoch=changes.epoch,
        control=control, n_replicas=changes.n_replicas, n_samples=changes.n_samples,
    )  # fmt: skip
    test = (
        f"share of samples that clearly go against the mean, {versus(run, treatment, control)} "
        f"(both errors in quadrature; without any effect about {chance:.1%} would)"
    )
    return [Measurement(test, row, TRADE_OFF, "greater", "share")]


def _shares(run: Run, arm: str) -> Any:
    """Share of regularization samples in the training view: a frame of epochs by replicas."""
    frame = stored.metrics_of(run, arm, "train", "augmented")
    return frame.dropna(subset="share_opposing").pivot(index="epoch", columns="replica", values="share_opposing")


def share_through_training(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples in the last tenth of the epochs less that in the first, same replica (W4)."""
    arm = roles["arm"]
    shares = _shares(run, arm)
    if len(shares) < 2:
        return []
    last = shares.index.max()
    late, early = shares[shares.index > 0.9 * last], shares[shares.index <= max(0.1 * last, shares.index.min())]
    row = over_replicas(
        run, arm, late.mean() - early.mean(), quantity="share_opposing", rows="training pass", split="train"
    )
    test = f"share of regularization samples, last tenth − first tenth of the epochs, {arm_label(run, arm)}"
    return [Measurement(test, row, SHARE, "differs", "share")]


def share_and_accuracy(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation over teachers of the share of regularization samples with the student's accuracy (W5)."""
    arms = list(roles["arms"])
    frame = shares_and_accuracy(run, arms)
    if frame.empty:
        return []
    interval = association(frame)
    over = f"over {interval.n} teachers (n counts teachers; the error is over them)"
    return falling(run, arms, interval, "share", f"rank correlation of the share with student accuracy {over}")


def falling(run: Run, arms: list[str], interval: Interval, what: str, test: str) -> list[Measurement]:
    """A rank correlation over teachers of `what` with the student's accuracy, claimed to be negative."""
    rho = interval.estimate
    if math.isnan(rho) or abs(rho) == 1:
        return []
    stderr = (1 - rho**2) * math.sqrt((1 + rho**2 / 2) / (interval.n - 3))
    own = replace(interval, stderr=stderr)  # at the value itself, also where the interval is a neighbour's
    row = measured(run, arms, own, math.inf, f"{what} and accuracy", n_teachers=interval.n)
    return [Measurement(test, row, -CORRELATION, "less", "rank correlation", fisher=True)]


def flag_meaning(run: Run, roles: Roles) -> list[Measurement]:
    """AUC of the flag for bias up and variance down, on replicas it was not read from (W6)."""
    treatment, control = roles["treatment"], roles["control"]
    frame = flag_auc(run, treatment, control)
    if frame.empty:
        return []
    area = frame.set_index("score").loc["opposing"].to_dict()
    changes = change(run, treatment, control)
    df = int(area["n_replicas"]) - 2 if changes is None else changes.df - 1  # each half gives up one
    row = measured(
        run, [treatment], interval_from(area["auc"], area["stderr_replicas"], df, int(area["n_replicas"])), df,
        quantity="AUC of the flag", rows="held-out", split="test", epoch=int(area["epoch"]), control=control,
        stderr_samples=float(area["stderr_samples"]), n_replicas=int(area["n_replicas"]),
        n_samples=int(area["n_samples"]),
    )  # fmt: skip
    test = f"AUC of the flag for bias up and variance down, {versus(run, treatment, control)}, split replicas"
    return [Measurement(test, row, 0.5 + AUC, "greater", "AUC")]


def accuracy_difference(*pairs: tuple[str, str], direction: str, threshold: float | None = None) -> Measure:
    """Final test accuracy of one role's arm less another's, paired by replica; one part a pair of roles."""
    limit = threshold if threshold is not None else (-ACCURACY if direction == "less" else ACCURACY)

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        found = []
        for a, b in pairs:
            row = accuracy_combination(run, [roles[a]], [roles[b]])
            if row is not None:
                test = f"test accuracy, {versus(run, roles[a], roles[b])}{_over_copies(row)}"
                found.append(Measurement(test, row, limit, direction, "accuracy"))
        return found

    return measure


def share_difference(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples, mean over recorded epochs, paired by replica (W10)."""
    treatment, control = roles["treatment"], roles["control"]
    difference = (_shares(run, treatment).mean() - _shares(run, control).mean()).dropna()
    if difference.empty:
        return []
    row = over_pairs(
        run, treatment, control, difference, quantity="share_opposing", rows="training pass", split="train"
    )
    test = f"share of regularization samples, mean over epochs, {versus(run, treatment, control)}{_over_copies(row)}"
    return [Measurement(test, row, SHARE, "greater", "share")]


def harm_with_temperature(run: Run, roles: Roles) -> list[Measurement]:
    """The smoothed teacher's effect on accuracy at a higher temperature less that at temperature 1 (M1)."""
    row = accuracy_combination(
        run, [roles["treatment"], roles["control_t1"]], [roles["control"], roles["treatment_t1"]]
    )
    if row is None:
        return []
    temperature = run.entry(roles["treatment"]).temperature
    test = f"test accuracy, effect of the smoothed teacher at τ {temperature:g} − at τ 1, at one learning rate"
    return [Measurement(test + _over_copies(row), row, -ACCURACY, "less", "accuracy")]


def _over_copies(row: Estimate) -> str:
    """How a test says that its error is over copies of teachers."""
    return "" if row.n_teachers is None else f", over {row.n_teachers} copies of each teacher (n counts them)"


MEASURES: dict[str, Measure] = {
    "W1": change_of_term("bias", "greater"),
    "W2": change_of_term("variance", "less"),
    "W3": sample_trade_offs,
    "W4": share_through_training,
    "W5": share_and_accuracy,
    "W6": flag_meaning,
    "W7": accuracy_difference(("masked", "full"), ("masked", "random"), direction="less"),
    "W8": accuracy_difference(("treatment", "control"), direction="greater"),
    "W9": accuracy_difference(("treatment", "scaled"), ("treatment", "shuffled"), direction="greater"),
    "W10": share_difference,
    "W11": accuracy_difference(("treatment", "control"), direction="less"),
    "W12": accuracy_difference(("treatment", "control"), direction="less"),
    "M1": harm_with_temperature,
    "M2": accuracy_difference(("treatment", "control"), direction="greater", threshold=-ACCURACY),
}
"""What each claim is measured by; the others are in `biasvar.report.claims.soft_label_measures`."""
