"""The conditions and bounds on learning a classifier from soft labels, each with its interval and source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from biasvar.analysis import Guarantee, Indicators, StudentCondition
from biasvar.messages import first_few
from biasvar.report.card.collect import Collected
from biasvar.report.text.numbers import short_number

LEVEL = 0.95
ERROR, RISK = 0.1, 0.05
DIMENSION, HYPOTHESES = 10, 1e6
PAPER = "Yuan et al. 2023, as reported"
DERIVED = "derived, not the paper's"
NAMED = 5  # classes named of those that lack the condition


@dataclass(frozen=True)
class Verdict:
    """One row: a question, what answers it and where that comes from.

    Attributes:
        verdict: "holds", "does not hold", "undecided", or "" for a number that decides nothing.
        question, formula: in words and in symbols.
        value, low, high: with its interval at `LEVEL`, after any choice; NaN where there is none. A guarantee has its
            value at the upper ends and no interval, or no value where it does not stand.
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


def verdicts(collected: Collected, names: list[str]) -> list[Verdict]:
    """The rows of the verdict, the paper's condition first; `names` are those of the classes."""
    tops, n = collected.tops, len(collected.samples.labels)
    choice = _choice(len(tops.sets), "k")
    best, sure = tops.best(level=LEVEL), tops.guarantee(level=LEVEL)
    rows = [
        Verdict(
            _below_one(best["sum_low"], best["sum_high"], tops, "sum"), "Top-k condition", "Δ + γ < 1",
            best["sum"], best["sum_low"], best["sum_high"], _rule(best["k"], best["threshold"]), n, PAPER,
            _join("Δ is an average over classes, so that this alone guarantees no learning", choice),
        ),
        _in_every_class(sure, tops, names, choice),
    ]  # fmt: skip
    if collected.masses is not None:
        mass = collected.masses.best(level=LEVEL)
        rows.append(
            Verdict(
                _below_one(mass["sum_low"], mass["sum_high"], collected.masses, "sum"), "The same for threshold sets",
                "Δ + γ < 1", mass["sum"], mass["sum_low"], mass["sum_high"], _rule(mass["k"], mass["threshold"]), n,
                DERIVED, _join("an average over classes as well", _choice(len(collected.masses.sets), "thresholds")),
            )
        )  # fmt: skip
    rows += _students(tops.student_condition(level=LEVEL))
    return rows + _bounds(sure, names)


def _in_every_class(sure: Guarantee, tops: Indicators, names: list[str], choice: str) -> Verdict:
    """The condition in all classes at the rule of the guarantee, with the classes that lack it."""
    value, low, high = (float(ends.max()) for ends in sure.sums)
    return Verdict(
        _below_one(low, high, tops, "worst_class_sum"), "Top-k condition in every class",
        "max over c of (Δ_c + γ_c) < 1", value, low, high, _rule(sure.k, sure.threshold), sure.n, DERIVED,
        _join("sufficient, not necessary", lacking(sure, names), choice),
    )  # fmt: skip


def lacking(sure: Guarantee, names: list[str]) -> str:
    """The classes that fail the condition and those that may, in words; "" where the guarantee stands."""
    said = []
    for classes, what in ((sure.failing, "not met in"), (sure.undecided, "not shown for")):
        if classes:
            known = first_few((names[c] for c in classes), NAMED)
            said.append(f"{what} {'class' if len(classes) == 1 else 'classes'} {known}")
    return ", ".join(said)


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


def _bounds(sure: Guarantee, names: list[str]) -> list[Verdict]:
    """What the condition in every class carries over, and how many samples suffice; none where it is not shown.

    A guarantee is stated at the upper ends of all classes, and has no interval of its own.
    """
    classes, at = len(names), _rule(sure.k, sure.threshold)

    def at_ends(*, estimates: bool) -> list[float | None]:
        large = sure.bounds(error=ERROR, risk=RISK, dimension=DIMENSION, estimates=estimates)
        small = sure.bounds(error=ERROR, risk=RISK, hypotheses=HYPOTHESES, estimates=estimates)
        return [large.transfer, large.kappa, large.samples, small.samples]

    example = f"independent samples, error below {ERROR:g} with probability {1 - RISK:g}"
    abouts = (
        ("Excess risk carried over", "1 / (1 − max over c of (Δ_c + γ_c))", DERIVED,
         "error of a classifier at most this times its excess share of missed sets"),
        ("Exponent", "κ = (√(a + 1 − s) − √a)², s = max over c of (Δ_c + γ_c), a = max over c of min(Δ_c, γ_c)",
         DERIVED, "1 at best; at Δ = 0 Liu and Dietterich's 1 − γ"),
        ("Samples that suffice, infinite class", f"Natarajan dimension {DIMENSION}, K = {classes:,}",
         f"Liu and Dietterich 2014 at Δ = 0, else {DERIVED}", f"{example}; far above what practice needs"),
        ("Samples that suffice, finite class", f"{HYPOTHESES:,.0f} classifiers", DERIVED, example),
    )  # fmt: skip
    rows = []
    for about, value, estimate in zip(abouts, at_ends(estimates=False), at_ends(estimates=True), strict=True):
        question, formula, source, detail = about
        safe, likely = float(value or 0.0), short_number(float(estimate or 0.0))
        if sure.stands:
            said = _join(detail, f"at the upper ends of all classes ({likely} at the estimates)")
        else:
            safe, said = math.nan, f"no guarantee: the condition is {lacking(sure, names)}"
        rows.append(Verdict("", question, formula, safe, math.nan, math.nan, at, sure.n, source, said))
    average = sure.average_error
    rows.append(
        Verdict(
            "", "Largest error if Δ is only an average", "Δ / (1 − γ)", average.estimate, average.low, average.high,
            sure.average_rule.replace("threshold", "mass ≥"), sure.n, DERIVED,
            "of the classifier that misses fewest sets in the population, so that it speaks of no number of samples; "
            "assumes that no input exceeds γ, lets Δ vary between inputs, and can be reached",
        )
    )  # fmt: skip
    return rows


def _below_one(low: float, high: float, indicators: Indicators, name: str) -> str:
    """ "holds" if the chosen rule is below 1 beyond its interval, "does not hold" if every rule is above it."""
    if high < 1.0:
        return "holds"
    table = indicators.table(level=1.0 - (1.0 - LEVEL) / len(indicators.sets))
    return "does not hold" if bool((table[f"{name}_low"] >= 1.0).all()) else "undecided"


def _rule(k: Any, threshold: Any) -> str:
    if not (k is None or pd.isna(k)):
        return f"k = {int(k)}"
    return f"mass ≥ {threshold:g}" if threshold else "mass > 0"


def _choice(rules: int, what: str) -> str:
    return "" if rules == 1 else f"the best of {rules} {what}; the interval allows for the choice"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
