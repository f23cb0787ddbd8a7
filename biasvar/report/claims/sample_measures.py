"""What measures the claims on label smoothing, and on what a sample's soft label says of its bias and variance."""

from __future__ import annotations

from biasvar.analysis.statistics.intervals import interval_from
from biasvar.records import Run
from biasvar.report.claims.common import change_of_term, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import decomposition_term, measured
from biasvar.report.statistics.sample_indicators import Joined, joined
from biasvar.study.ledger.base import AMBIGUITY, LEAST_MISSED, TERM


def bias_of_missed(run: Run, roles: Roles) -> list[Measurement]:
    """Mean change of bias over rows whose soft label misses the truth, less that over the others (X1)."""
    treatment, control = roles["treatment"], roles["control"]
    found, base = joined(run, treatment, control, "bias"), decomposition_term(run, control, "bias")
    if found is None or base is None:
        return []
    test = (
        f"mean change of bias, {found.n_missed} rows whose soft label misses the truth among its {found.k} first less "
        f"{found.n_others} others, {versus(run, treatment, control)}"
    )
    few = min((found.n_missed, "that miss"), (found.n_others, "that have"))
    return [_part(run, roles, found, "bias", test, TERM * abs(base.estimate), "nats", few)]


def variance_and_ambiguity(run: Run, roles: Roles) -> list[Measurement]:
    """Rank correlation of a row's ambiguity with its change of variance, where its soft label has the truth (X2)."""
    treatment, control = roles["treatment"], roles["control"]
    found = joined(run, treatment, control, "variance")
    if found is None or abs(found.crossed.estimate) == 1.0:
        return []
    test = (
        f"rank correlation of ambiguity with the change of variance, {found.n_others} rows whose soft label has the "
        f"truth among its {found.k} first, {versus(run, treatment, control)}"
    )
    few = (found.n_others, "that have")
    return [_part(run, roles, found, "variance", test, AMBIGUITY, "rank correlation", few)]


def _part(
    run: Run, roles: Roles, found: Joined, term: str, test: str, smallest: float, unit: str, few: tuple[int, str]
) -> Measurement:
    crossed, parts = found.crossed, found.crossed.components
    teachers = parts.get("teachers")
    row = measured(
        run, [roles["treatment"]], interval_from(crossed.estimate, found.stderr_replicas, found.df, found.n_replicas),
        found.df, quantity=f"{term} and the soft label", rows="held-out", split="test", epoch=found.epoch,
        control=roles["control"], n_replicas=found.n_replicas, n_samples=found.n_missed + found.n_others,
        stderr_samples=parts["rows"].stderr, crossed=crossed,
        **({} if teachers is None else {"stderr_teachers": teachers.stderr, "n_teachers": teachers.n}),
    )  # fmt: skip
    reason = f"{few[0]} rows {few[1]} the truth; the rule asks for {LEAST_MISSED}" if few[0] < LEAST_MISSED else ""
    return Measurement(test, row, smallest, "greater", unit, fisher=unit != "nats", undecided=reason)


MEASURES: dict[str, Measure] = {
    "S1": change_of_term("bias", "greater"),
    "S2": change_of_term("variance", "less"),
    "X1": bias_of_missed,
    "X2": variance_and_ambiguity,
}
"""What each claim is measured by."""
