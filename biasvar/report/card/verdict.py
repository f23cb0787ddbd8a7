"""The conditions and bounds on learning a classifier from soft labels, each with its interval and source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from biasvar.analysis import Indicators, StudentCondition, samples_sufficient
from biasvar.report.card.collect import Collected

LEVEL = 0.95
ERROR, RISK = 0.1, 0.05
DIMENSION, HYPOTHESES = 10, 1e6
PAPER = "Yuan et al. 2023, as reported"
DERIVED = "derived, not the paper's"


@dataclass(frozen=True)
class Verdict:
    """One row: a question, what answers it and where that comes from.

    Attributes:
        verdict: "holds", "does not hold", "undecided", or "" for a number that decides nothing.
        question, formula: in words and in symbols.
        value, low, high: with its interval at `LEVEL`, after any choice; NaN where there is none.
        at: the rule for the sets, "" where there are none.
        n: samples.
        source: the paper's or derived.
        detail: what the row does not say.
    """

    verdict: str
    question: str
    formula: str
    value: float
    low: float
    high: float
    at: str
    n: int
    source: str
    detail: str


def verdicts(collected: Collected) -> list[Verdict]:
    """The rows of the verdict, the paper's condition first."""
    tops, n = collected.tops, len(collected.samples.labels)
    rules = len(tops.sets)
    choice = "" if rules == 1 else f"the best of {rules} k; the interval allows for the choice"
    best = tops.best(level=LEVEL)
    worst = tops.best(by="worst_class_sum", level=LEVEL)
    names = _rule(best), _rule(worst)
    rows = [
        Verdict(
            _below_one(best["sum_low"], best["sum_high"], tops, "sum"), "Top-k condition", "Δ + γ < 1",
            best["sum"], best["sum_low"], best["sum_high"], names[0], n, PAPER,
            _join("sufficient, not necessary", choice),
        ),
        Verdict(
            _below_one(worst["worst_class_sum_low"], worst["worst_class_sum_high"], tops, "worst_class_sum"),
            "Top-k condition in every class", "max over c of (Δ_c + γ_c) < 1", worst["worst_class_sum"],
            worst["worst_class_sum_low"], worst["worst_class_sum_high"], names[1], n, DERIVED,
            _join("what the overall Δ can hide", choice),
        ),
    ]  # fmt: skip
    if collected.masses is not None:
        mass = collected.masses.best(level=LEVEL)
        count = len(collected.masses.sets)
        said = "" if count == 1 else f"the best of {count} thresholds; the interval allows for the choice"
        rows.append(
            Verdict(
                _below_one(mass["sum_low"], mass["sum_high"], collected.masses, "sum"), "The same for threshold sets",
                "Δ + γ < 1", mass["sum"], mass["sum_low"], mass["sum_high"], _rule(mass), n, DERIVED, said,
            )
        )  # fmt: skip
    rows += _students(tops.student_condition(level=LEVEL))
    return rows + _bounds(tops, best, choice, n)


def _students(student: StudentCondition) -> list[Verdict]:
    """What a student trained by cross-entropy comes to."""
    share = student.per_sample
    above, below = int((student.low > 0).sum()), int((student.high < 0).sum())
    weakest = int(student.margins.argmin())
    margin, low, high = (float(ends[weakest]) for ends in (student.margins, student.low, student.high))
    counted = f"{above:,} of {len(student.margins):,} classes clearly above 0" + (f", {below:,} below" if below else "")
    outcome = {"holds": "holds", "fails": "does not hold"}.get(student.per_class, "undecided")
    return [
        Verdict(
            outcome, "Cross-entropy students, class by class", "argmax of the mean soft label of each class = class",
            margin, low, high, "", share.n, DERIVED,
            f"smallest margin of the truth over a wrong label; {counted}; where labels vary by chance within a class",
        ),
        Verdict(
            "", "Cross-entropy students, sample by sample", "share whose only largest entry is the truth",
            share.estimate, share.low, share.high, "", share.n, DERIVED,
            "the limit of a student that fits every sample, for soft labels that are a function of the input",
        ),
    ]  # fmt: skip


def _bounds(tops: Indicators, best: Any, choice: str, n: int) -> list[Verdict]:
    """What the condition carries over, and how many samples suffice."""
    steep = tops.best(by="kappa", level=LEVEL)
    ends = [steep["kappa"], steep["kappa_low"], steep["kappa_high"]]
    at = _rule(steep)
    classes = tops.sets[0].num_classes
    natarajan = [_samples(kappa, dimension=DIMENSION, num_classes=classes) for kappa in ends]
    finite = [_samples(kappa, hypotheses=HYPOTHESES) for kappa in ends]
    value, low, high = (_transfer(best[name]) for name in ("sum", "sum_low", "sum_high"))
    example = f"error below {ERROR:g} with probability {1 - RISK:g}"
    return [
        Verdict(
            "", "Excess risk carried over", "1 / (1 − Δ − γ)", value, low, high, _rule(best), n, DERIVED,
            "error of a classifier at most this times its excess share of missed sets",
        ),
        Verdict(
            "", "Exponent", "κ = (√(1 − max(Δ, γ)) − √min(Δ, γ))²", ends[0], ends[1], ends[2], at, n, DERIVED,
            _join("1 at best, 0 where nothing is bounded; at Δ = 0 Liu and Dietterich's 1 − γ", choice),
        ),
        Verdict(
            "", "Samples that suffice, infinite class", f"Natarajan dimension {DIMENSION}, K = {classes:,}",
            natarajan[0], natarajan[2], natarajan[1], at, n,
            f"Liu and Dietterich 2014 at Δ = 0, else {DERIVED}", f"{example}; far above what practice needs",
        ),
        Verdict(
            "", "Samples that suffice, finite class", f"{HYPOTHESES:,.0f} classifiers",
            finite[0], finite[2], finite[1], at, n, DERIVED, example,
        ),
    ]  # fmt: skip


def _below_one(low: float, high: float, indicators: Indicators, name: str) -> str:
    """ "holds" if the chosen rule is below 1 beyond its interval, "does not hold" if every rule is above it."""
    if high < 1.0:
        return "holds"
    table = indicators.table(level=1.0 - (1.0 - LEVEL) / len(indicators.sets))
    return "does not hold" if bool((table[f"{name}_low"] >= 1.0).all()) else "undecided"


def _samples(kappa: float, **hypotheses: Any) -> float:
    # The bounds depend on Delta and gamma through kappa alone, which at Delta = 0 is 1 - gamma.
    return samples_sufficient(0.0, 1.0 - kappa, error=ERROR, risk=RISK, **hypotheses)


def _transfer(total: float) -> float:
    return 1.0 / (1.0 - total) if total < 1.0 else math.inf


def _rule(row: Any) -> str:
    if not pd.isna(row["k"]):
        return f"k = {int(row['k'])}"
    return f"mass ≥ {row['threshold']:g}" if row["threshold"] else "mass > 0"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
