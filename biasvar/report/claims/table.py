"""The table of claims: what the papers say, what came out here, and the verdict by a rule fixed beforehand.

All tests of a run form one family for Holm's procedure. A claim holds if the interval at its Holm level lies beyond the
smallest effect of interest in the claimed direction, does not hold if it lies wholly short of it, and is undecided
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from biasvar.analysis.statistics.verdicts import OUTCOMES, Verdict, holm_levels
from biasvar.records import Run
from biasvar.records.arms import FailedReplica
from biasvar.report.arms.teachers import teacher_count
from biasvar.report.claims import measures, soft_label_measures
from biasvar.report.claims.measurement import Measurement, Roles
from biasvar.study.claims import LEDGER, Claim

HOLDS, FAILS, UNDECIDED = OUTCOMES
MEASURES = measures.MEASURES | soft_label_measures.MEASURES
COLUMNS = (
    *("id", "claim", "regime", "arms", "test", "effect", "low", "high", "stderr", "stderr_samples", "n", "threshold"),
    *("direction", "unit", "level", "verdict", "overall", "detail", "source", "run"),
)


def claims_table(runs: list[Run]) -> pd.DataFrame:
    """Every claim that the runs' studies test: one row a part, in the order of the ledger.

    `effect`, `low` and `high` are the estimate and its interval at `level`, on the scale of `unit`; `stderr` is its
    error over replicas (what else it may be is said in `test`), `stderr_samples` that over samples. `verdict` is the
    part's, `overall` the claim's under that regime: it holds if all its parts do, and does not if one does not.
    """
    rows = [row for run in runs for row in _run_rows(run)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _run_rows(run: Run) -> list[dict[str, Any]]:
    tests_of_claims = list(_measured(run))
    tests = [part for _, _, parts, _ in tests_of_claims for part in parts]
    levels = iter(holm_levels([part.p_value for part in tests])) if tests else iter(())
    rows: list[dict[str, Any]] = []
    for claim, roles, parts, excuse in tests_of_claims:
        base = {
            "id": claim.id, "claim": claim.sentence, "regime": _regime(run, claim, roles),
            "arms": ", ".join(_arms(roles)), "source": claim.origin, "run": run.name,
        }  # fmt: skip
        if not parts:
            rows.append({**base, "verdict": UNDECIDED, "overall": UNDECIDED, "detail": excuse})
            continue
        mine = [{**base, **_row(part, float(next(levels)), excuse)} for part in parts]
        teachers = {teacher for arm in _arms(roles) if (teacher := run.entry(arm).teacher)}
        one_each = len(teachers) > 1 and any(teacher_count(run, teacher) == 1 for teacher in teachers)
        if one_each and not any(part.fisher or part.draws is not None for part in parts):
            for row in mine:
                row["detail"] = "; ".join(filter(None, [row["detail"], "rests on one teacher of each kind"]))
        verdicts = {row["verdict"] for row in mine}
        overall = FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS
        rows += [{**row, "overall": overall} for row in mine]
    return rows


def _measured(run: Run) -> Iterator[tuple[Claim, Roles, list[Measurement], str]]:
    """Each claim with the roles of one test, its parts, and why it is undecided whatever they say ("" if it is not)."""
    asked = run.manifest.get("claims") or {}
    for claim in LEDGER:
        for roles in asked.get(claim.id, []):
            missing = [arm for arm in _arms(roles) if arm not in run.arms or run.entry(arm).status != "complete"]
            if missing:
                yield claim, roles, [], f"not trained to the end yet: {', '.join(missing)}"
                continue
            failed = {arm: items for arm in _arms(roles) if (items := _spoiling(run.entry(arm).failed, claim))}
            excuse = "; ".join(
                f"{len(items)} of {run.entry(arm).replicas} replicas of {arm} failed "
                f"({', '.join(sorted({item.reason for item in items}))})"
                for arm, items in failed.items()
            )
            parts = MEASURES[claim.id](run, roles)
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


def _row(part: Measurement, alpha: float, excuse: str) -> dict[str, Any]:
    verdict, scale = part.verdict(part.row.stderr, alpha)
    return {
        "test": part.test,
        "effect": part.row.estimate,
        "low": scale(verdict.effect.low),
        "high": scale(verdict.effect.high),
        "stderr": part.row.stderr,
        "stderr_samples": part.row.stderr_samples,
        "n": part.n,
        "threshold": part.threshold,
        "direction": part.direction,
        "unit": part.unit,
        "level": 1 - alpha,
        "verdict": UNDECIDED if excuse else verdict.outcome,
        "detail": excuse or _detail(part, verdict, alpha),
    }


def _detail(part: Measurement, verdict: Verdict, alpha: float) -> str:
    """What an undecided test would take, and whether a decided one still is with the error over samples added."""
    row = part.row
    if math.isnan(row.estimate) or math.isnan(row.stderr):
        return "the effect or its error could not be computed"
    over_teachers = part.fisher or not math.isnan(row.stderr_teachers)
    unit = "teachers" if over_teachers else "replicas" if part.draws is None else "soft labels"
    if verdict.outcome == UNDECIDED:
        needed = verdict.replicas_needed
        many = "more than a study can have" if needed is None or needed > 100_000 else f"about {needed:,}"
        scale = part.verdict(row.stderr, alpha)[1]
        detectable = f"{scale(verdict.detectable):.3g}".replace("-", "−")
        text = f"smallest detectable effect {detectable}; {many} {unit} would decide"
        if row.stderr_samples > row.stderr:  # NaN compares as no
            text += f"; the error over test samples is larger (±{row.stderr_samples:.2g}), which no replica lowers"
        return text
    if math.isnan(row.stderr_samples):
        return ""
    both, _ = part.verdict(math.hypot(row.stderr, row.stderr_samples), alpha)
    same = both.outcome == verdict.outcome
    return f"{'the same' if same else 'undecided'} with the error over test samples added"
