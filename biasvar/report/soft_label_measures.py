"""What the claims on biased soft labels (L1 to L6) are measured by; see `biasvar.report.measurements`."""

from __future__ import annotations

import math

import numpy as np

from biasvar.analysis.statistics.comparison import mean_interval, rank_correlation
from biasvar.records import Run
from biasvar.report import prediction, taught
from biasvar.report.measurements import ACCURACY, CORRELATION, Measurement, Roles

NEAR = 0.03  # of accuracy on true labels
BAD = 0.30  # accuracy of a bad teacher


def good_student(run: Run, roles: Roles) -> list[Measurement]:
    """The student's accuracy less that of training on true labels, and the teacher's accuracy (L1)."""
    parts = _near(run, roles)
    teacher = (run.study or {}).get("soft_labels", {}).get(run.arm(roles["student"]).get("soft_label"), {})
    entry = run.manifest.get("teachers", {}).get(teacher.get("teacher"), {})
    value = entry.get("accuracy_test", math.nan)
    n = int((run.samples["split"] == "test").sum())
    stderr = math.sqrt(max(value * (1 - value), 0.0) / n) if n else math.nan
    about = (
        f"test accuracy of {entry.get('label') or teacher.get('teacher')} (one teacher; the error is over test rows)"
    )
    return [*parts, Measurement(about, value, stderr, math.inf, 1, BAD, "less", "accuracy")] if parts else []


def _near(run: Run, roles: Roles) -> list[Measurement]:
    student, truth = roles["student"], roles["truth"]
    interval = mean_interval((taught.accuracy(run, student) - taught.accuracy(run, truth)).dropna().to_numpy())
    test = f"test accuracy, {_label(run, student)} − {_label(run, truth)}"
    return [_of(test, interval, -NEAR, "greater", "accuracy")] if interval.n else []


def indicators_predict(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of Delta + gamma with the student, and its size less that of the teacher's accuracy (L2).

    Both with the bootstrap draws over soft labels that the figure of the predictors shows.
    """
    found = prediction.correlations(taught.prediction_table(run, list(roles["arms"]), roles["truth"]))
    if not {"sum", prediction.RIVAL} <= set(found.names) or found.n < prediction.LEAST:
        return []
    rho, draws = float(found.rho[found.names.index("sum")]), found.draws[found.names.index("sum")]
    lead, leads = found.lead("sum")
    over = f"over {found.n} soft labels (n counts them; the error is a bootstrap's over their {found.origins} origins)"
    return [
        Measurement(
            f"rank correlation of Δ + γ (best k) with student accuracy {over}", rho, float(np.nanstd(draws, ddof=1)),
            math.inf, found.n, -CORRELATION, "less", "rank correlation", draws=draws,
        ),
        Measurement(
            f"its size less that of the teacher's accuracy {over}", lead, float(np.nanstd(leads, ddof=1)), math.inf,
            found.n, 0.0, "greater", "rank correlation", draws=leads,
        ),
    ]  # fmt: skip


def gap_closes(run: Run, roles: Roles) -> list[Measurement]:
    """The slope in log n of the gap to true labels, where Delta + gamma is surely below .9 (L3)."""
    arms, truths = list(roles["arms"]), list(roles["truths"])
    name = str(run.arm(arms[-1])["soft_label"])
    found = taught.table(run, name)
    upper = float(found["sum_high"].min())
    sizes = [int((run.soft_labels(str(run.arm(arm)["soft_label"])).values != 0).any(-1).sum()) for arm in arms]
    gaps = np.stack(
        [
            (taught.accuracy(run, truth) - taught.accuracy(run, arm)).to_numpy()
            for arm, truth in zip(arms, truths, strict=True)
        ]
    )
    x = np.log(sizes) - np.mean(np.log(sizes))
    interval = mean_interval((x @ gaps) / (x @ x))
    test = f"slope of the gap to true labels in log n, {sizes[0]} to {sizes[-1]} rows (Δ + γ at most {upper:.2f})"
    return [_of(test, interval, -ACCURACY, "less", "accuracy")] if upper < 0.9 else []


def not_necessary(run: Run, roles: Roles) -> list[Measurement]:
    """A student near training on true labels although Delta + gamma is surely above 1.1 (L4).

    At every k; of students that fit candidate sets, at theirs.
    """
    parts = _near(run, roles)
    row = taught.judged(run, roles["student"])
    if math.isnan(float(row["sum"])):
        return []
    stderr = (float(row["sum"]) - float(row["sum_low"])) / 1.96
    test = f"Δ + γ of {_label(run, roles['student'])}, {row['rule']} (the error is its lower bound's)"
    return [*parts, Measurement(test, float(row["sum"]), stderr, math.inf, int(row["n"]), 1.1, "greater", "share")]


def falls_over_grid(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of accuracy with Delta and with gamma over a grid (L5)."""
    arms = list(roles["arms"])
    accuracy = [float(taught.accuracy(run, arm).mean()) for arm in arms]
    parts = []
    for key, sign in (("delta", "Δ"), ("gamma", "γ")):
        realised = [float(_support(run, arm)[key]) for arm in arms]
        interval = rank_correlation(realised, accuracy)
        if math.isnan(interval.estimate):
            return []
        stderr = math.sqrt((1 + interval.estimate**2 / 2) / (interval.n - 3))
        parts.append(
            Measurement(
                f"rank correlation of {sign} with student accuracy over a grid of {interval.n} (n counts cells)",
                math.atanh(interval.estimate), stderr, math.inf, interval.n, -math.atanh(CORRELATION), "less",
                "rank correlation", fisher=True,
            )
        )  # fmt: skip
    return parts


def _support(run: Run, arm: str) -> dict[str, float]:
    """Realised indicators of the candidates, the entries above 0."""
    found = taught.table(run, str(run.arm(arm)["soft_label"]))
    row = found[found["k"].isna()].iloc[0]
    return {key: float(row[key]) for key in ("delta", "gamma")}


def gap_below_one(run: Run, roles: Roles) -> list[Measurement]:
    """The mean gap to true labels where Delta + gamma < .9, less that where it is above (L6)."""
    truth = taught.accuracy(run, roles["truth"])
    gaps: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for arm in roles["arms"]:
        below = float(taught.judged(run, arm)["sum"]) < 0.9
        gaps[below].append((truth - taught.accuracy(run, arm)).to_numpy())
    if not all(gaps.values()):
        return []
    interval = mean_interval(np.mean(gaps[True], axis=0) - np.mean(gaps[False], axis=0))
    test = f"gap to true labels where Δ + γ < 0.9 ({len(gaps[True])} scales) − above ({len(gaps[False])})"
    return [_of(test, interval, -ACCURACY, "less", "accuracy")]


def _label(run: Run, arm: str) -> str:
    return str(run.arm(arm).get("label") or arm)


def _of(test: str, interval: object, threshold: float, direction: str, unit: str) -> Measurement:
    from biasvar.analysis.statistics.intervals import Interval

    assert isinstance(interval, Interval)
    return Measurement(test, interval.estimate, interval.stderr, interval.n - 1, interval.n, threshold, direction, unit)
