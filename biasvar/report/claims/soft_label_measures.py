"""What the claims on biased soft labels (L1 to L6) are measured by; see `biasvar.report.claims.measures`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from biasvar.analysis.indicators.learnability import additive_noise_indicators
from biasvar.analysis.statistics.comparison import rank_correlation, spearman
from biasvar.analysis.statistics.crossed import Component, combined
from biasvar.analysis.statistics.intervals import Interval
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.common import versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics import accuracy_prediction, label_indicators
from biasvar.report.statistics.accuracy_draws import accuracy_draws
from biasvar.report.statistics.estimates import accuracy_contrast, final_accuracy, measured
from biasvar.report.statistics.teacher_accuracy import accuracy_of_teacher
from biasvar.study.ledger.base import ABOVE_ONE, ACCURACY, BAD, BELOW_ONE, CORRELATION, DATA_SETS, NEAR

PREDICTS = (
    "rank correlation of Δ + γ (best k) with student accuracy",
    "size of that correlation less that of the teacher's accuracy",
)
"""What the parts of L2 compare."""
ONE_DATA_SET = f"one data set: the rule asks for {DATA_SETS}"


def good_student(run: Run, roles: Roles) -> list[Measurement]:
    """The student's accuracy less that of training on true labels, and the teacher's accuracy (L1)."""
    near = _near(run, roles)
    said = (run.study or {}).get("soft_labels", {}).get(run.entry(roles["student"]).soft_label, {})
    name = said.get("teacher")
    own = accuracy_of_teacher(run, name) if name else None
    if not near or own is None:
        return []
    row = measured(
        run, [roles["student"]], own.crossed.interval(), own.crossed.df, quantity="teacher's accuracy",
        rows="held-out", split="test", stderr_samples=own.crossed.components["rows"].stderr, n_samples=own.n_samples,
        n_teachers=own.n_networks, crossed=own.crossed,
    )  # fmt: skip
    over = "one teacher; the error is over test rows" if own.n_networks == 1 else f"{own.n_networks} networks"
    label = ((run.manifest.get("teachers") or {}).get(name) or {}).get("label") or name
    test = f"test accuracy of {label} ({over})"
    return [*near, Measurement(test, row, BAD, "less", "accuracy")]


def _near(run: Run, roles: Roles) -> list[Measurement]:
    """The student's test accuracy less that of training on true labels."""
    student, truth = roles["student"], roles["truth"]
    row = accuracy_contrast(run, {student: 1.0, truth: -1.0}, control=truth)
    if row is None:
        return []
    return [Measurement(f"test accuracy, {versus(run, student, truth)}", row, -NEAR, "greater", "accuracy")]


def indicators_predict(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of Delta + gamma with the student, and its size less that of the teacher's accuracy (L2).

    On one data set, which does not decide: see `biasvar.report.claims.across_data`. The draws are those over soft
    labels that the figure of the predictors shows, each moved as far as one over replicas and one over test rows moves.
    """
    arms = list(roles["arms"])
    table = label_indicators.candidate_table(run, arms, roles["truth"])
    ranked = accuracy_prediction.correlations(table)
    if not {"sum", accuracy_prediction.RIVAL} <= set(ranked.names) or ranked.n < accuracy_prediction.LEAST:
        return []
    predictors = table[["sum", accuracy_prediction.RIVAL]].to_numpy(dtype=np.float64).T
    moved = _moved(run, arms, predictors)
    places = [ranked.names.index(name) for name in ("sum", accuracy_prediction.RIVAL)]
    signs = np.sign(ranked.rho[places])  # of the whole, also in the draws
    over = (
        f"over {ranked.n} soft labels (n counts them; the error is a bootstrap's over their {ranked.origins} origins, "
        "replicas and test rows)"
    )

    def part(place: int, value: float, drawn: np.ndarray, weights: np.ndarray, limit: float, way: str) -> Measurement:
        most = float(np.abs(weights).sum())  # that the value can be
        also = {name: weights @ rhos for name, rhos in moved.items()}
        errors = {"soft labels": Component(float(np.nanstd(drawn, ddof=1)), math.inf, ranked.origins)}
        crossed = combined(value, errors | _components(run, arms, also))
        row = measured(
            run, arms, crossed.interval(), crossed.df, quantity="sum and accuracy", n_teachers=ranked.n, crossed=crossed
        )
        draws = np.clip(drawn + sum(one - one.mean() for one in also.values()), -most, most)
        test = f"{PREDICTS[place]} {over}"
        return Measurement(test, row, limit, way, "rank correlation", draws=draws, undecided=ONE_DATA_SET)

    rho, (lead, leads) = float(ranked.rho[places[0]]), ranked.lead("sum")
    return [
        part(0, rho, ranked.draws[places[0]], np.array([1, 0]), -CORRELATION, "less"),
        part(1, lead, leads, signs * [1, -1], 0.0, "greater"),
    ]


def _moved(run: Run, arms: Sequence[str], predictors: np.ndarray) -> dict[str, np.ndarray]:
    """By factor, draws (V, B) of the rank correlations of predictors (V, arms) with the arms' accuracies.

    With other replicas, and on other test rows; all NaN where a factor has no spread to draw from.
    """
    found = {}
    for factor, drawn in accuracy_draws(run, arms).items():
        known = bool(np.isfinite(drawn).all())
        rhos = [
            spearman(np.vstack([drawn.T, one])) if known else np.full(drawn.shape[1], math.nan) for one in predictors
        ]
        found[factor] = np.stack(rhos)
    return found


def _components(run: Run, arms: Sequence[str], moved: dict[str, np.ndarray]) -> dict[str, Component]:
    """The errors over replicas and test rows of a statistic, from its draws (B,)."""
    replicas = len(final_accuracy(run, arms[0]))
    rows = int((run.samples["split"] == "test").sum())
    return {
        name: Component(float(draws.std(ddof=1)), n - 1, n)
        for name, n in (("replicas", replicas), ("rows", rows))
        if (draws := moved.get(name)) is not None
    }


def gap_closes(run: Run, roles: Roles) -> list[Measurement]:
    """The slope in log n of the gap to true labels, and the gap at the largest n (L3).

    Judged where Delta + gamma of the soft labels of the most rows is surely below .9. With x = log n less its mean, the
    slope is the sum of x gap / sum of x^2, a weighted sum of accuracies.
    """
    arms, truths = list(roles["arms"]), list(roles["truths"])
    sizes = [int((run.soft_labels(str(run.entry(arm).soft_label)).values != 0).any(-1).sum()) for arm in arms]
    most = int(np.argmax(sizes))
    x = np.log(sizes) - np.mean(np.log(sizes))
    slopes: dict[str, float] = {}
    for arm, truth, weight in zip(arms, truths, x / (x @ x), strict=True):
        slopes[truth] = slopes.get(truth, 0.0) + float(weight)
        slopes[arm] = slopes.get(arm, 0.0) - float(weight)
    about: dict[str, Any] = {"control": truths[most]}
    slope = accuracy_contrast(run, slopes, **about)
    gap = accuracy_contrast(run, {truths[most]: 1.0, arms[most]: -1.0}, **about)
    if slope is None or gap is None:
        return []
    indicators = label_indicators.judged(run, arms[most])
    upper = float(indicators["sum_high"])
    surely = "Δ + γ not known" if math.isnan(upper) else f"Δ + γ at most {upper:.2f}"
    reason = "" if upper < BELOW_ONE else f"{surely}: the rule is for soft labels where that is below {BELOW_ONE:g}"
    if math.isnan(upper) and indicators["reason"]:
        reason = f"{surely}: {indicators['reason']}"
    told = f"slope of the gap to true labels in log n, {min(sizes):,} to {max(sizes):,} rows ({surely})"
    largest = f"gap to true labels at the largest n, {sizes[most]:,} rows: test accuracy, "
    return [
        Measurement(told, slope, -ACCURACY, "less", "accuracy", undecided=reason),
        Measurement(largest + versus(run, truths[most], arms[most]), gap, NEAR, "less", "accuracy", undecided=reason),
    ]


def not_necessary(run: Run, roles: Roles) -> list[Measurement]:
    """A student near training on true labels although Delta + gamma is surely above 1.1 (L4).

    At every k; of students that fit candidate sets, at theirs.
    """
    student = roles["student"]
    judged = label_indicators.judged(run, student)
    total, low, high, n = (float(judged[key]) for key in ("sum", "sum_low", "sum_high", "n"))
    if math.isnan(total):
        return []
    bound = low if total > ABOVE_ONE else high  # towards the threshold: the interval has sides of its own
    interval = Interval(total, low, high, abs(bound - total) / 1.96, int(n), 0.95)
    row = measured(run, [student], interval, math.inf, quantity="sum", n_samples=int(n))
    side = "lower" if total > ABOVE_ONE else "upper"
    test = f"Δ + γ of {arm_label(run, student)}, {judged['rule']} (the error is its {side} bound's)"
    near = _near(run, roles)
    return [*near, Measurement(test, row, ABOVE_ONE, "greater", "share")] if near else []


def falls_over_grid(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of accuracy with Delta and with gamma over a grid (L5).

    Its error is that of a correlation over cells (Fisher's z; cells as a sample of more like them) together with how
    far it moves with other replicas and on other test rows, which may move all cells at once.
    """
    arms = list(roles["arms"])
    accuracy = [float(final_accuracy(run, arm).mean()) for arm in arms]
    parts: list[Measurement] = []
    for key, sign in (("delta", "Δ"), ("gamma", "γ")):
        values = np.array([_support(run, arm)[key] for arm in arms])
        interval = rank_correlation(values, accuracy)
        if math.isnan(interval.estimate):
            return []
        parts.append(_over_cells(run, arms, values, interval, key, sign))
    return parts


def _over_cells(run: Run, arms: list[str], values: np.ndarray, interval: Interval, key: str, sign: str) -> Measurement:
    """The part of one indicator; a perfect correlation counts as its nearest neighbour, since it has no error."""
    n = interval.n
    bound = 1.0 - 12.0 / (n * (n * n - 1.0))
    rho = min(max(interval.estimate, -bound), bound)
    moved = {factor: rhos[0] for factor, rhos in _moved(run, arms, values[None]).items()}
    errors = {"cells": Component(interval.stderr, math.inf, n)} | _components(run, arms, moved)
    crossed = combined(rho, errors)
    row = measured(
        run, arms, replace(interval, estimate=rho), math.inf, f"{key} and accuracy", n_teachers=n, crossed=crossed,
        stderr_samples=errors["rows"].stderr if "rows" in errors else math.nan,
    )  # fmt: skip
    test = (
        f"rank correlation of {sign} with student accuracy over a grid of {n} (n counts cells; the error is over "
        "cells, replicas and test rows)"
    )
    return Measurement(test, row, -CORRELATION, "less", "rank correlation", fisher=True)


def _support(run: Run, arm: str) -> dict[str, float]:
    """Realised indicators of the candidates, the entries above 0."""
    table = label_indicators.table(run, str(run.entry(arm).soft_label))
    above = table[table["k"].isna()].iloc[0]
    return {key: float(above[key]) for key in ("delta", "gamma")}


def good_below_one(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy less that of true labels for every noise whose exact Delta + gamma is below .9, a part each (L6).

    The worst of them lies above the threshold if every one does, and each is tested by itself (an intersection-union
    test): so no interval of a worst of several is needed, whose choice would have to be paid for. Settings whose exact
    indicators nobody knows leave the claim undecided.
    """
    truth = roles["truth"]
    exact = {arm: _exact_sum(run, arm) for arm in roles["arms"]}
    known = {arm: total for arm, (total, _) in exact.items() if not math.isnan(total)}
    below = [arm for arm, total in known.items() if total < BELOW_ONE]
    unknown = [arm for arm in exact if arm not in known]
    reasons = dict.fromkeys(below, "") | {arm: exact[arm][1] for arm in unknown}
    if not reasons:
        lowest = min(known, key=known.__getitem__)
        reasons = {lowest: f"no setting has an exact Δ + γ below {BELOW_ONE:g}; the smallest is {known[lowest]:.3f}"}
    parts = []
    for arm, reason in reasons.items():
        row = accuracy_contrast(run, {arm: 1.0, truth: -1.0}, control=truth)
        if row is None:
            return []
        said = f" (exact Δ + γ {known[arm]:.2f}, {exact[arm][1]})" if arm in known else ""
        test = f"test accuracy, {versus(run, arm, truth)}{said}"
        parts.append(Measurement(test, row, -NEAR, "greater", "accuracy", undecided=reason))
    return parts


def _exact_sum(run: Run, arm: str) -> tuple[float, str]:
    """Delta + gamma of an arm's soft labels by the generator's formula, and at which k; NaN and the reason without.

    The smallest over k; of students that fit the sets of one k, at theirs. The sample's own would not do: its gamma is
    the largest of many pairs of classes and lies above the generator's.
    """
    entry = run.entry(arm)
    said = ((run.study or {}).get("soft_labels") or {}).get(entry.soft_label) or {}
    name = arm_label(run, arm)
    if said.get("kind") != "noise":
        kind = said.get("kind") or "unknown"
        return math.nan, f"the exact Δ + γ of {name} is not known: its soft labels are no Gaussian noise (kind: {kind})"
    if said.get("project"):
        return math.nan, f"the exact Δ + γ of {name} is not known: its noise is projected, which makes ties"
    if entry.setting("measure") == "candidates":
        if entry.setting("k") is None:
            return math.nan, f"the exact Δ + γ of {name} is not known: its students fit the entries above 0"
        ks = [int(entry.setting("k"))]
    else:
        ks = list(range(1, run.num_classes))
    sums = [sum(additive_noise_indicators(run.num_classes, k, float(said["scale"]))) for k in ks]
    best = int(np.argmin(sums))
    return sums[best], f"at k = {ks[best]}"


def _of_soft_labels(measure: Measure) -> Measure:
    """The measure where every arm but those of true labels learned from stored soft labels; else there is none."""

    def measured_if_there(run: Run, roles: Roles) -> list[Measurement]:
        named = [names for role, names in roles.items() if role not in ("truth", "truths")]
        arms = [arm for names in named for arm in ([names] if isinstance(names, str) else names)]
        there = all(run.entry(arm).soft_label in run.soft_label_names for arm in arms)
        return measure(run, roles) if there else []

    return measured_if_there


MEASURES: dict[str, Measure] = {
    "L1": good_student,
    "L2": _of_soft_labels(indicators_predict),
    "L3": _of_soft_labels(gap_closes),
    "L4": _of_soft_labels(not_necessary),
    "L5": _of_soft_labels(falls_over_grid),
    "L6": good_below_one,
}
"""What each claim is measured by."""
