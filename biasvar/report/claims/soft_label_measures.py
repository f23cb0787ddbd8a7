"""What the claims on biased soft labels (L1 to L6) are measured by; see `biasvar.report.claims.measures`."""

from __future__ import annotations

import math

import numpy as np

from biasvar.analysis.statistics.comparison import rank_correlation
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.claims.measures import falling, versus
from biasvar.report.statistics import accuracy_prediction, label_indicators
from biasvar.report.statistics.estimates import final_accuracy, measured, over_replicas
from biasvar.study.claims import ABOVE_ONE, ACCURACY, BAD, BELOW_ONE, CORRELATION, NEAR


def good_student(run: Run, roles: Roles) -> list[Measurement]:
    """The student's accuracy less that of training on true labels, and the teacher's accuracy (L1)."""
    near = _near(run, roles)
    if not near:
        return []
    student = roles["student"]
    soft_label = (run.study or {}).get("soft_labels", {}).get(run.entry(student).soft_label, {})
    teacher = run.manifest.get("teachers", {}).get(soft_label.get("teacher"), {})
    value = teacher.get("accuracy_test", math.nan)
    n = int((run.samples["split"] == "test").sum())
    stderr = math.sqrt(max(value * (1 - value), 0.0) / n) if n else math.nan
    row = measured(
        run, [student], interval_from(value, stderr, math.inf, 1), math.inf,
        quantity="teacher's accuracy", rows="held-out", split="test", n_samples=n, n_teachers=1,
    )  # fmt: skip
    test = (
        f"test accuracy of {teacher.get('label') or soft_label.get('teacher')} "
        "(one teacher; the error is over test rows)"
    )
    return [*near, Measurement(test, row, BAD, "less", "accuracy")]


def _near(run: Run, roles: Roles) -> list[Measurement]:
    student, truth = roles["student"], roles["truth"]
    gain = (final_accuracy(run, student) - final_accuracy(run, truth)).dropna()
    if gain.empty:
        return []
    row = over_replicas(run, student, gain, **_ON_TEST, control=truth)
    return [Measurement(f"test accuracy, {versus(run, student, truth)}", row, -NEAR, "greater", "accuracy")]


_ON_TEST = {"quantity": "accuracy", "rows": "held-out", "split": "test"}


def indicators_predict(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of Delta + gamma with the student, and its size less that of the teacher's accuracy (L2).

    Both with the bootstrap draws over soft labels that the figure of the predictors shows.
    """
    arms = list(roles["arms"])
    ranked = accuracy_prediction.correlations(label_indicators.candidate_table(run, arms, roles["truth"]))
    if not {"sum", accuracy_prediction.RIVAL} <= set(ranked.names) or ranked.n < accuracy_prediction.LEAST:
        return []
    rho, draws = (
        float(ranked.rho[ranked.names.index("sum")]),
        ranked.draws[ranked.names.index("sum")],
    )
    lead, leads = ranked.lead("sum")
    over = (
        f"over {ranked.n} soft labels (n counts them; the error is a bootstrap's over their {ranked.origins} origins)"
    )

    def part(test: str, value: float, drawn: np.ndarray, threshold: float, direction: str) -> Measurement:
        interval = interval_from(value, float(np.nanstd(drawn, ddof=1)), math.inf, ranked.n)
        row = measured(run, arms, interval, math.inf, quantity="sum and accuracy", n_teachers=ranked.n)
        return Measurement(f"{test} {over}", row, threshold, direction, "rank correlation", draws=drawn)

    return [
        part("rank correlation of Δ + γ (best k) with student accuracy", rho, draws, -CORRELATION, "less"),
        part("its size less that of the teacher's accuracy", lead, leads, 0.0, "greater"),
    ]


def gap_closes(run: Run, roles: Roles) -> list[Measurement]:
    """The slope in log n of the gap to true labels, where Delta + gamma is surely below .9 (L3)."""
    arms, truths = list(roles["arms"]), list(roles["truths"])
    table = label_indicators.table(run, str(run.entry(arms[-1]).soft_label))
    upper = float(table["sum_high"].min())
    if not upper < BELOW_ONE:
        return []
    sizes = [int((run.soft_labels(str(run.entry(arm).soft_label)).values != 0).any(-1).sum()) for arm in arms]
    gaps = np.stack(
        [
            (final_accuracy(run, truth) - final_accuracy(run, arm)).to_numpy()
            for arm, truth in zip(arms, truths, strict=True)
        ]
    )
    x = np.log(sizes) - np.mean(np.log(sizes))
    row = over_replicas(run, arms[-1], (x @ gaps) / (x @ x), **_ON_TEST, control=truths[-1])
    test = f"slope of the gap to true labels in log n, {sizes[0]} to {sizes[-1]} rows (Δ + γ at most {upper:.2f})"
    return [Measurement(test, row, -ACCURACY, "less", "accuracy")]


def not_necessary(run: Run, roles: Roles) -> list[Measurement]:
    """A student near training on true labels although Delta + gamma is surely above 1.1 (L4).

    At every k; of students that fit candidate sets, at theirs.
    """
    student = roles["student"]
    judged = label_indicators.judged(run, student)
    total, low, n = float(judged["sum"]), float(judged["sum_low"]), int(judged["n"])
    if math.isnan(total):
        return []
    interval = Interval(total, low, float(judged["sum_high"]), (total - low) / 1.96, n, 0.95)
    row = measured(run, [student], interval, math.inf, quantity="sum", n_samples=n)
    test = f"Δ + γ of {arm_label(run, student)}, {judged['rule']} (the error is its lower bound's)"
    return [*_near(run, roles), Measurement(test, row, ABOVE_ONE, "greater", "share")]


def falls_over_grid(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of accuracy with Delta and with gamma over a grid (L5)."""
    arms = list(roles["arms"])
    accuracy = [float(final_accuracy(run, arm).mean()) for arm in arms]
    parts: list[Measurement] = []
    for key, sign in (("delta", "Δ"), ("gamma", "γ")):
        interval = rank_correlation([_support(run, arm)[key] for arm in arms], accuracy)
        test = f"rank correlation of {sign} with student accuracy over a grid of {interval.n} (n counts cells)"
        parts += falling(run, arms, interval, key, test)
    return parts if len(parts) == 2 else []


def _support(run: Run, arm: str) -> dict[str, float]:
    """Realised indicators of the candidates, the entries above 0."""
    table = label_indicators.table(run, str(run.entry(arm).soft_label))
    above = table[table["k"].isna()].iloc[0]
    return {key: float(above[key]) for key in ("delta", "gamma")}


def gap_below_one(run: Run, roles: Roles) -> list[Measurement]:
    """The mean gap to true labels where Delta + gamma < .9, less that where it is above (L6)."""
    arms, truth = list(roles["arms"]), final_accuracy(run, roles["truth"])
    gaps: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for arm in arms:
        below = float(label_indicators.judged(run, arm)["sum"]) < BELOW_ONE
        gaps[below].append((truth - final_accuracy(run, arm)).to_numpy())
    if not all(gaps.values()):
        return []
    row = over_replicas(
        run, arms[0], np.mean(gaps[True], axis=0) - np.mean(gaps[False], axis=0), **_ON_TEST, control=roles["truth"]
    )
    test = f"gap to true labels where Δ + γ < {BELOW_ONE:g} ({len(gaps[True])} scales) − above ({len(gaps[False])})"
    return [Measurement(test, row, -ACCURACY, "less", "accuracy")]


MEASURES: dict[str, Measure] = {
    "L1": good_student,
    "L2": indicators_predict,
    "L3": gap_closes,
    "L4": not_necessary,
    "L5": falls_over_grid,
    "L6": gap_below_one,
}
"""What each claim is measured by."""
