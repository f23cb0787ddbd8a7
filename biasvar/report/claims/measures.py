"""What measures the claims on distillation: rows of the table of estimates, and the smallest effect that counts.

A measure takes the run and one entry of the study's `claims` (role -> arm) and gives the parts that the claim asserts,
all of which must hold. Errors are over replicas, on the same samples; where there is one, the error over samples stands
beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from biasvar.analysis.statistics.crossed import Component, combined
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.common import accuracy_difference, change_of_term, over_copies, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.against_mean import against_mean
from biasvar.report.statistics.changes import change
from biasvar.report.statistics.estimates import (
    accuracy_combination,
    measured,
    over_pairs,
    over_replicas,
)
from biasvar.report.statistics.flag_meaning import REFERENCE, flag_auc
from biasvar.report.statistics.over_teachers import association, shares_and_accuracy
from biasvar.report.statistics.shares import epochs_of, late_gap, late_share, mean_share, shares_by_epoch
from biasvar.study.ledger.base import ACCURACY, AUC, CORRELATION, LEAST_TEACHERS_W5, SELF_AUC, SHARE, TRADE_OFF


def sample_trade_offs(run: Run, roles: Roles) -> list[Measurement]:
    """Share of samples whose change of bias or variance clearly goes against the mean's, less its null (W3)."""
    treatment, control = roles["treatment"], roles["control"]
    changes = change(run, treatment, control)
    found = None if changes is None else against_mean(run, changes)
    if changes is None or found is None:
        return []
    errors = {
        "replicas": Component(found.stderr_replicas, changes.df, changes.n_replicas),
        "rows": Component(found.stderr_samples, changes.n_samples - 1, changes.n_samples),
    }
    effect = found.share - found.null
    row = measured(
        run, [treatment], interval_from(effect, found.stderr_replicas, changes.df, changes.n_replicas), changes.df,
        quantity="share against the mean", rows="held-out", split="test", epoch=changes.epoch, control=control,
        stderr_samples=found.stderr_samples, n_replicas=changes.n_replicas, n_samples=changes.n_samples,
        crossed=combined(effect, errors),
    )  # fmt: skip
    test = (
        f"share of samples that clearly go against the mean ({found.share:.1%}) less the share without any effect "
        f"({found.null:.1%}; means made equal, arms exchanged in half of the pairs), {versus(run, treatment, control)}"
    )
    return [Measurement(test, row, TRADE_OFF, "greater", "share")]


def share_through_training(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples in the last tenth of the epochs less that in the first, same replica (W4)."""
    arm = roles["arm"]
    shares = shares_by_epoch(run, arm)
    if len(shares) < 2:
        return []
    early = shares[shares.index <= max(0.1 * epochs_of(run, arm), shares.index.min())]
    gain = (late_share(run, arm) - early.mean()).dropna()
    if gain.empty:
        return []
    row = over_replicas(run, arm, gain, quantity="share_opposing", rows="training pass", split="train")
    test = f"share of regularization samples, last tenth − first tenth of the epochs, {arm_label(run, arm)}"
    return [Measurement(test, row, SHARE, "differs", "share")]


def share_and_accuracy(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation over teachers of the share of regularization samples with the student's accuracy (W5).

    The share is that of the last tenth of epochs; beside it the correlation of the mean over all epochs is told.
    """
    arms = list(roles["arms"])
    frame = shares_and_accuracy(run, arms)
    if frame.empty:
        return []
    interval = association(frame, "share_late")
    whole = association(frame).estimate
    over = f"over {interval.n} teachers (n counts teachers; the error is over them)"
    test = (
        f"rank correlation of the share in the last tenth of epochs with student accuracy {over}; of its mean over "
        f"{frame['n_epochs'].iloc[0]} epochs {whole:+.2f}".replace("-", "−")
    )
    reasons = [text for arm in arms if (text := late_gap(run, arm))][:1]
    if len({(run.entry(arm).temperature, run.entry(arm).alpha) for arm in arms}) > 1:
        reasons.append("the arms differ in temperature or alpha")
    if interval.n < LEAST_TEACHERS_W5:
        reasons.append(f"{interval.n} teachers; the rule asks for {LEAST_TEACHERS_W5} or more")
    return [replace(part, undecided="; ".join(reasons)) for part in falling(run, arms, interval, "share", test)]


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
    """AUC of the flag for bias up and variance down, on replicas it was not read from (W6).

    Judged only where that target can be measured: where the target of one half of the replicas finds that of the
    other with an AUC whose lower end is high enough.
    """
    treatment, control = roles["treatment"], roles["control"]
    frame = flag_auc(run, treatment, control)
    if frame.empty:
        return []
    area, own = (frame.set_index("score").loc[score].to_dict() for score in ("opposing", REFERENCE))
    changes = change(run, treatment, control)
    replicas, samples = int(area["n_replicas"]), int(area["n_samples"])
    df = replicas - 2 if changes is None else changes.df - 1  # each half gives up one
    errors = {
        "replicas": Component(area["stderr_replicas"], df, replicas),
        "rows": Component(area["stderr_samples"], samples - 1, samples),
    }
    row = measured(
        run, [treatment], interval_from(area["auc"], area["stderr_replicas"], df, replicas), df,
        quantity="AUC of the flag", rows="held-out", split="test", epoch=int(area["epoch"]), control=control,
        stderr_samples=float(area["stderr_samples"]), n_replicas=replicas, n_samples=samples,
        crossed=combined(area["auc"], errors),
    )  # fmt: skip
    reason = ""
    if not own["low"] >= SELF_AUC:
        reason = (
            f"the target itself cannot be measured with {replicas} replicas: against itself it has an AUC of "
            f"{own['auc']:.2f} ({own['low']:.2f} to {own['high']:.2f}), and the rule asks for a lower end of "
            f"{SELF_AUC:g}; {_replicas_to_measure(own['auc'], own['low'], replicas)}"
        )
    test = f"AUC of the flag for bias up and variance down, {versus(run, treatment, control)}, split replicas"
    return [Measurement(test, row, 0.5 + AUC, "greater", "AUC", undecided=reason)]


def _replicas_to_measure(area: float, low: float, replicas: int) -> str:
    """About how many replicas a target takes whose halves agree with this AUC, in words.

    Two halves of a normal score with correlation r agree in sign with an AUC of 1/2 + asin(r) / pi, and m times as many
    replicas turn r into m r / (1 + (m - 1) r) (Spearman and Brown); the interval's half width falls as 1 / sqrt(m).
    """
    if not (area > 0.5 and math.isfinite(low)):
        return "nothing suggests how many replicas would do"
    own, times = math.sin(math.pi * (min(area, 0.999) - 0.5)), 1.0
    while times < 1e4:
        agreed = 0.5 + math.asin(times * own / (1 + (times - 1) * own)) / math.pi
        if agreed - (area - low) / math.sqrt(times) >= SELF_AUC:
            return f"about {_rounded(max(times * replicas, replicas + 1))} replicas or more would do"
        times *= 1.02
    return "no number of replicas that a study can have would do"


def _rounded(value: float) -> str:
    """One digit and noughts."""
    power = 10 ** math.floor(math.log10(value))
    return f"{math.ceil(value / power) * power:,}"


def share_difference(run: Run, roles: Roles) -> list[Measurement]:
    """Share of regularization samples in the last tenth of epochs, paired by replica (W10).

    The difference of the means over all epochs is told beside it: the sign may turn in training.
    """
    treatment, control = roles["treatment"], roles["control"]

    def late(arm: str) -> pd.Series[Any]:
        return late_share(run, arm)

    row = over_pairs(run, treatment, control, late, quantity="share_opposing", rows="training pass", split="train")
    if row is None:
        return []
    first, second = (mean_share(run, arm) for arm in (treatment, control))
    epochs = min(len(shares_by_epoch(run, arm)) for arm in (treatment, control))
    area = f"{float((first - second).mean()):+.3f}".replace("-", "−")
    whole = f"; over all epochs (area) {area}" if epochs > 1 else ""
    test = (
        f"share of regularization samples in the last tenth of epochs, {versus(run, treatment, control)}"
        f"{whole}{over_copies(row)}"
    )
    reason = late_gap(run, treatment) or late_gap(run, control)
    return [Measurement(test, row, SHARE, "greater", "share", undecided=reason)]


def harm_with_temperature(run: Run, roles: Roles) -> list[Measurement]:
    """The smoothed teacher's effect on accuracy at a higher temperature less that at temperature 1 (M1)."""
    row = accuracy_combination(
        run, [roles["treatment"], roles["control_t1"]], [roles["control"], roles["treatment_t1"]]
    )
    if row is None:
        return []
    temperature = run.entry(roles["treatment"]).temperature
    asked = {"control": temperature, "treatment_t1": 1.0, "control_t1": 1.0}
    warm = "none" if temperature is None else f"{temperature:g}"
    test = f"test accuracy, effect of the smoothed teacher at τ {warm} − at τ 1, at one learning rate"
    reason = _other_temperatures(run, roles, asked)
    return [Measurement(test + over_copies(row), row, -ACCURACY, "less", "accuracy", undecided=reason)]


def harm_at_temperature_1(run: Run, roles: Roles) -> list[Measurement]:
    """The smoothed teacher's effect on accuracy at temperature 1 (M2)."""
    parts = accuracy_difference(("treatment", "control"), direction="greater", threshold=-ACCURACY)(run, roles)
    reason = _other_temperatures(run, roles, {"treatment": 1.0, "control": 1.0})
    return [replace(part, undecided=reason) for part in parts]


def _other_temperatures(run: Run, roles: Roles, asked: Mapping[str, float | None]) -> str:
    """Which arm has another temperature than its role asks for, or none, in words; "" if none has."""
    for role, temperature in asked.items():
        found = run.entry(roles[role]).temperature
        if temperature is None or found != temperature:
            if temperature is None:
                return f"{roles['treatment']} as treatment must have a temperature"
            return f"{roles[role]} as {role} must have temperature {temperature:g}, not {found or 'none'}"
    return ""


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
    "M2": harm_at_temperature_1,
}
"""What each claim is measured by."""
