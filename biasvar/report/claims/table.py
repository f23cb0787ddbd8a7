"""The table of claims: what the papers say, what came out here, and the verdict by a rule fixed beforehand.

All tests of a run form one family for Holm's procedure. A claim holds if the interval at its Holm level lies beyond the
smallest effect of interest in the claimed direction, does not hold if it lies wholly short of it, and is undecided
otherwise. The interval is over replicas, test rows and teachers, as far as they were drawn; that over replicas alone
stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

import pandas as pd

from biasvar.analysis.statistics.verdicts import holm_levels
from biasvar.records import Run
from biasvar.records.arms import FailedReplica
from biasvar.report.arms.description import arm_label
from biasvar.report.claims import (
    bias_variance,
    dfa,
    infodrop_measures,
    label_revision,
    measures,
    proximal_measures,
    sample_measures,
    soft_label_measures,
    teacher_free,
)
from biasvar.report.claims.across_data import Tested, across_runs
from biasvar.report.claims.measurement import Measurement, Roles
from biasvar.report.claims.statements import designs_tried, unconfirmed
from biasvar.report.claims.words import FAILS, HOLDS, UNDECIDED, detail, in_words, limits_in_words, without_spread
from biasvar.report.statistics.teacher_accuracy import own_accuracies
from biasvar.report.truth import JUDGED, PeopleRun
from biasvar.report.truth import in_words as truth_in_words
from biasvar.study.claims import LEDGER, Claim

MEASURES = measures.MEASURES | soft_label_measures.MEASURES | proximal_measures.MEASURES | infodrop_measures.MEASURES
MEASURES |= teacher_free.MEASURES | label_revision.MEASURES | dfa.MEASURES | sample_measures.MEASURES
MEASURES |= bias_variance.MEASURES
Test = tuple[Claim, Roles, list[Measurement], str]
COLUMNS = (
    *("id", "claim", "regime", "arms", "teachers", "test", "effect", "low", "high", "low_replicas", "high_replicas"),
    *("stderr", "stderr_samples", "stderr_teachers", "stderr_crossed", "df", "n", "n_replicas", "n_samples"),
    *("n_teachers", "threshold", "direction", "unit", "level", "verdict", "said", "overall", "detail"),
    *("designs_tried", "source", "run"),
)


def claims_table(runs: list[Run]) -> pd.DataFrame:
    """Every claim that the runs' studies test: one row a part, in the order of the ledger.

    `effect`, `low` and `high` are the estimate and its interval at `level` over all that was drawn, on the scale of
    `unit`, with the error `stderr_crossed` and its `df`; `low_replicas` and `high_replicas` the interval over replicas
    alone, for these rows and these teachers, with the error `stderr` (what else it may be is said in `test`).
    `stderr_samples` and `stderr_teachers` are the errors over rows and over teachers. `verdict` is the part's, `said`
    the same with what it holds for, `overall` the claim's under that regime: it holds if all its parts do, and does
    not if one does not. Claims that one data set does not decide have rows of several runs together at the end, whose
    tests are a family by themselves. `designs_tried` is what the study says of them, if
    anything, and `teachers` how accurate the teachers of these arms are themselves.
    """
    found = [(run, list(measured_claims(run))) for run in runs]
    rows = [row for run, tests in found for row in _run_rows(run, tests)]
    for one in across_runs(Tested(run, *test) for run, tests in found for test in tests):
        rows += [{**row, "run": one.name} for row in _run_rows(one.runs[0], [(one.claim, one.roles, one.parts, "")])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _run_rows(run: Run, tests_of_claims: Sequence[Test]) -> list[dict[str, Any]]:
    tests = [part for _, _, parts, _ in tests_of_claims for part in parts]
    levels = iter(holm_levels([part.p_value for part in tests])) if tests else iter(())
    rows: list[dict[str, Any]] = []
    tried = designs_tried(run) if tests_of_claims else None
    for claim, roles, parts, excuse in tests_of_claims:
        base = {
            "id": claim.id, "claim": claim.sentence, **said_of_arms(run, claim, roles), "source": claim.origin,
            "run": run.name, "designs_tried": None if tried is None else tried.count,
        }  # fmt: skip
        if not parts:
            rows.append({**base, "verdict": UNDECIDED, "said": UNDECIDED, "overall": UNDECIDED, "detail": excuse})
            continue
        mine = [{**base, **_row(run, claim, roles, part, float(next(levels)), excuse)} for part in parts]
        rows += [{**row, "overall": overall({row["verdict"] for row in mine})} for row in mine]
    return rows


def overall(verdicts: Set[str]) -> str:
    """The verdict on a claim from those on its parts."""
    return FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS


def said_of_arms(run: Run, claim: Claim, roles: Roles) -> dict[str, str]:
    """The columns that say which arms a test compares, the regime of their teacher, and how accurate that is itself."""
    arms = [arm for arm in _arms(roles) if arm in run.arms]
    own = own_accuracies(run, arms)
    return {"regime": _regime(run, claim, roles), "arms": ", ".join(_arms(roles)), "teachers": own}


def measured_claims(run: Run) -> Iterator[Test]:
    """Each claim with the roles of one test, its parts, and why it is undecided whatever they say ("" if it is not).

    With people's labels as the truth, those of `JUDGED` alone.
    """
    asked = run.manifest.get("claims") or {}
    for claim in LEDGER:
        if isinstance(run, PeopleRun) and claim.id not in JUDGED:
            continue
        for roles in asked.get(claim.id, []):
            missing = [arm for arm in _arms(roles) if arm not in run.arms or run.entry(arm).status != "complete"]
            if missing:
                said = ", ".join(arm_label(run, arm) if arm in run.arms else arm for arm in missing)
                yield claim, roles, [], f"not trained to the end yet: {said}"
                continue
            failed = {arm: items for arm in _arms(roles) if (items := _spoiling(run.entry(arm).failed, claim))}
            excuse = "; ".join(
                f"{len(items)} of {run.entry(arm).replicas} replicas of {arm_label(run, arm)} failed "
                f"({', '.join(sorted({item.reason for item in items}))})"
                for arm, items in failed.items()
            )
            parts = MEASURES[claim.id](run, roles)
            excuse = excuse or unconfirmed(run, claim)
            yield claim, roles, parts, excuse or ("" if parts else "the records lack what this claim is measured by")


def _spoiling(failed: Sequence[FailedReplica], claim: Claim) -> list[FailedReplica]:
    """The failed replicas that leave a claim undecided."""
    return [item for item in failed if not claim.chance_is_an_outcome or item.reason != "at chance"]


def _arms(roles: Roles) -> list[str]:
    return [arm for value in roles.values() for arm in ([value] if isinstance(value, str) else value)]


def _regime(run: Run, claim: Claim, roles: Roles) -> str:
    if claim.regime:
        return claim.regime
    regimes = [run.entry(arm).regime for arm in _arms(roles) if arm in run.arms]
    return next((regime for regime in regimes if regime != "none"), "none")


def _row(run: Run, claim: Claim, roles: Roles, part: Measurement, alpha: float, excuse: str) -> dict[str, Any]:
    (verdict, scale), row = part.verdict(alpha), part.row
    alone = part.verdict(alpha, replicas=True)[0].effect if row.crossed is not None else verdict.effect
    outcome = UNDECIDED if excuse or part.undecided or without_spread(part) else verdict.outcome
    return {
        "test": part.test,
        "effect": row.estimate,
        "low": scale(verdict.effect.low),
        "high": scale(verdict.effect.high),
        "low_replicas": scale(alone.low),
        "high_replicas": scale(alone.high),
        "stderr": row.stderr,
        "stderr_samples": row.stderr_samples,
        "stderr_teachers": row.stderr_teachers,
        "stderr_crossed": part.crossed.stderr,
        "df": part.crossed.df,
        "n": part.n,
        "n_replicas": row.n_replicas,
        "n_samples": row.n_samples,
        "n_teachers": row.n_teachers,
        "threshold": part.threshold,
        "direction": part.direction,
        "unit": part.unit,
        "level": 1 - alpha,
        "verdict": outcome,
        "said": in_words(outcome, limits_in_words(run, _arms(roles), part)) + truth_in_words(run),
        "detail": excuse or detail(claim.id, part, verdict, alpha),
    }
