"""The table of claims: what the papers say, what came out here, and the verdict by a rule fixed beforehand.

`LEDGER` fixes each claim's words, direction, statistic and smallest effect of interest; a study file says only which of
its arms play which role. All tests of a run form one family for Holm's procedure. A claim holds if the interval at its
Holm level lies beyond the smallest effect of interest in the claimed direction, does not hold if it lies wholly short
of it, and is undecided otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.verdicts import OUTCOMES, Verdict, decision_p_value, holm_levels, judge
from biasvar.records import Run
from biasvar.report import measurements as m
from biasvar.report import soft_label_measures as s

HOLDS, FAILS, UNDECIDED = OUTCOMES
COLUMNS = (
    *("id", "claim", "regime", "arms", "test", "effect", "low", "high", "stderr", "stderr_samples", "n", "threshold"),
    *("direction", "unit", "level", "verdict", "overall", "detail", "source", "run"),
)


@dataclass(frozen=True)
class Claim:
    """One claim of the ledger; `remembered` marks words that were not checked against the paper's text."""

    id: str
    sentence: str
    source: str
    measure: m.Measure
    remembered: bool = False


ZHOU, MUELLER = "Zhou et al. 2021", "Müller et al. 2019, Chandrasegaran et al. 2022"
YUAN = "Yuan et al. 2023"

LEDGER = (
    Claim("W1", "Distillation raises bias against cross-entropy.", ZHOU, m.term_change("bias", "greater"), True),
    Claim("W2", "Distillation lowers variance.", ZHOU, m.term_change("variance", "less"), True),
    Claim("W3", "The trade-off differs from sample to sample.", ZHOU, m.sample_trade_offs),
    Claim("W4", "The trade-off changes through training.", ZHOU, m.share_through_training),
    Claim(
        "W5", "At fixed temperature, more regularization samples go with worse distillation.", ZHOU,
        m.share_and_accuracy,
    ),
    Claim("W6", "Regularization samples are those whose bias rises and whose variance falls.", ZHOU, m.flag_meaning),
    Claim(
        "W7", "Filtering regularization samples out completely hurts, and more than filtering as many at random.", ZHOU,
        m.accuracy_difference(("masked", "full"), ("masked", "random"), direction="less"),
    ),
    Claim("W8", "WSL beats KD.", ZHOU, m.accuracy_difference(("treatment", "control"), direction="greater")),
    Claim(
        "W9", "WSL's gain comes from which samples it weights: it beats its mean weight, and its weights shuffled.",
        ZHOU, m.accuracy_difference(("treatment", "scaled"), ("treatment", "shuffled"), direction="greater"),
    ),
    Claim("W10", "A label-smoothed teacher gives more regularization samples.", ZHOU, m.share_difference),
    Claim(
        "W11", "A label-smoothed teacher gives a worse student.", ZHOU,
        m.accuracy_difference(("treatment", "control"), direction="less"),
    ),
    Claim(
        "W12", "A label-smoothed teacher gives a worse student even under WSL.", ZHOU,
        m.accuracy_difference(("treatment", "control"), direction="less"),
    ),
    Claim("M1", "The harm of a label-smoothed teacher grows with temperature.", MUELLER, m.harm_with_temperature),
    Claim(
        "M2", "At temperature 1 a label-smoothed teacher does not hurt.", MUELLER,
        m.accuracy_difference(("treatment", "control"), direction="greater", threshold=-m.ACCURACY),
    ),
    Claim("L1", "Teachers below 30 % accuracy can teach good students.", YUAN, s.good_student),
    Claim(
        "L2", "The indicators predict the student better than the teacher's accuracy does.", YUAN, s.indicators_predict
    ),
    Claim("L3", "Δ + γ < 1 suffices: the gap to true labels closes as rows grow.", YUAN, s.gap_closes),
    Claim("L4", "Δ + γ < 1 is not necessary for a good student.", YUAN, s.not_necessary),
    Claim("L5", "With partial labels accuracy falls as Δ or γ grows.", YUAN, s.falls_over_grid),
    Claim("L6", "With additive noise students stay good while Δ + γ < 1.", YUAN, s.gap_below_one),
)  # fmt: skip


def claims_table(runs: list[Run]) -> pd.DataFrame:
    """Every claim that the runs' studies test: one row a part, in the order of the ledger.

    `effect`, `low` and `high` are the estimate and its interval at `level`, on the scale of `unit`; `stderr` is its
    error over replicas (what else it may be is said in `test`), `stderr_samples` that over samples. `verdict` is the
    part's, `overall` the claim's under that regime: it holds if all its parts do, and does not if one does not.
    """
    rows = [row for run in runs for row in _run_rows(run)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _run_rows(run: Run) -> list[dict[str, Any]]:
    found = list(_measured(run))
    tests = [part for _, _, parts, _ in found for part in parts]
    p_values = [_p_value(part) for part in tests]
    levels = iter(holm_levels(p_values)) if tests else iter(())
    rows: list[dict[str, Any]] = []
    for claim, roles, parts, excuse in found:
        base = {
            "id": claim.id, "claim": claim.sentence, "regime": _regime(run, claim, roles),
            "arms": ", ".join(_arms(roles)), "source": _source(claim), "run": run.name,
        }  # fmt: skip
        if not parts:
            rows.append({**base, "verdict": UNDECIDED, "overall": UNDECIDED, "detail": excuse})
            continue
        mine = [{**base, **_row(part, float(next(levels)), excuse)} for part in parts]
        teachers = {run.arm(arm).get("teacher") for arm in _arms(roles)} - {None}
        if len(teachers) > 1 and not any(part.fisher or part.draws is not None for part in parts):
            for row in mine:
                row["detail"] = "; ".join(filter(None, [row["detail"], "rests on one teacher of each kind"]))
        verdicts = {row["verdict"] for row in mine}
        overall = FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS
        rows += [{**row, "overall": overall} for row in mine]
    return rows


def _measured(run: Run) -> Iterator[tuple[Claim, m.Roles, list[m.Measurement], str]]:
    """Each claim with the roles of one test, its parts, and why it is undecided whatever they say ("" if it is not)."""
    asked = run.manifest.get("claims") or {}
    for claim in LEDGER:
        for roles in asked.get(claim.id, []):
            missing = [arm for arm in _arms(roles) if arm not in run.arms or run.arm(arm).get("status") != "complete"]
            if missing:
                yield claim, roles, [], f"not trained to the end yet: {', '.join(missing)}"
                continue
            failed = {
                arm: items for arm in _arms(roles) if (items := _spoiling(run.arm(arm).get("failed_replicas"), claim))
            }
            excuse = "; ".join(
                f"{len(items)} of {run.arm(arm)['replicas']} replicas of {arm} failed "
                f"({', '.join(sorted({item['reason'] for item in items}))})"
                for arm, items in failed.items()
            )
            parts = claim.measure(run, roles)
            yield claim, roles, parts, excuse or ("" if parts else "the records lack what this claim is measured by")


def _spoiling(failed: list[dict[str, Any]] | None, claim: Claim) -> list[dict[str, Any]]:
    """The failed replicas that leave a claim undecided; to end at chance is an outcome where soft labels are tried."""
    return [item for item in failed or [] if claim.source != YUAN or item["reason"] != "at chance"]


def _arms(roles: m.Roles) -> list[str]:
    return [arm for value in roles.values() for arm in ([value] if isinstance(value, str) else value)]


def _regime(run: Run, claim: Claim, roles: m.Roles) -> str:
    if claim.id == "W5":
        return "fixed, one teacher an arm"
    regimes = [run.arm(arm).get("regime", "none") for arm in _arms(roles) if arm in run.arms]
    return next((regime for regime in regimes if regime != "none"), "none")


def _source(claim: Claim) -> str:
    return f"{claim.source} (as remembered, not checked against the text)" if claim.remembered else claim.source


def _shifted(part: m.Measurement) -> tuple[float, str, float]:
    """Effect, direction and smallest effect for `judge`, whose thresholds lie on the claimed side of 0."""
    if part.direction == "differs":
        return part.effect, "differs", part.threshold
    return part.effect - part.threshold, part.direction, 0.0


def _p_value(part: m.Measurement) -> float:
    effect, direction, smallest = _shifted(part)
    return decision_p_value(
        effect, part.stderr, part.df, direction=direction, smallest_effect=smallest, draws=_shifted_draws(part)
    )


def _shifted_draws(part: m.Measurement) -> np.ndarray | None:
    """Draws of the effect, less what `_shifted` takes off it."""
    return None if part.draws is None else part.draws - part.threshold


def _judge(part: m.Measurement, stderr: float, level: float) -> Verdict:
    effect, direction, smallest = _shifted(part)
    return judge(
        effect, stderr, part.df, part.n, direction=direction, smallest_effect=smallest, alpha=level,
        draws=_shifted_draws(part),
    )  # fmt: skip


def _row(part: m.Measurement, alpha: float, excuse: str) -> dict[str, Any]:
    verdict = _judge(part, part.stderr, alpha)
    offset = 0.0 if part.direction == "differs" else part.threshold
    scale = math.tanh if part.fisher else float
    outcome = UNDECIDED if excuse else verdict.outcome
    return {
        "test": part.test,
        "effect": scale(part.effect),
        "low": scale(verdict.effect.low + offset),
        "high": scale(verdict.effect.high + offset),
        "stderr": part.stderr * (1 - math.tanh(part.effect) ** 2 if part.fisher else 1),
        "stderr_samples": part.stderr_samples,
        "n": part.n,
        "threshold": scale(part.threshold),
        "direction": part.direction,
        "unit": part.unit,
        "level": 1 - alpha,
        "verdict": outcome,
        "detail": excuse or _detail(part, verdict, alpha, offset, scale),
    }


def _detail(part: m.Measurement, verdict: Verdict, alpha: float, offset: float, scale: Any) -> str:
    """What an undecided test would take, and whether a decided one still is with the error over samples added."""
    if math.isnan(part.effect) or math.isnan(part.stderr):
        return "the effect or its error could not be computed"
    unit = "teachers" if part.fisher else "replicas" if part.draws is None else "soft labels"
    if verdict.outcome == UNDECIDED:
        needed = verdict.replicas_needed
        many = "more than a study can have" if needed is None or needed > 100_000 else f"about {needed:,}"
        detectable = f"{scale(verdict.detectable + offset):.3g}".replace("-", "−")
        text = f"smallest detectable effect {detectable}; {many} {unit} would decide"
        if part.stderr_samples > part.stderr:  # NaN compares as no
            text += f"; the error over test samples is larger (±{part.stderr_samples:.2g}), which no replica lowers"
        return text
    if math.isnan(part.stderr_samples):
        return ""
    both = _judge(part, math.hypot(part.stderr, part.stderr_samples), alpha)
    same = both.outcome == verdict.outcome
    return (
        "the same with the error over test samples added"
        if same
        else "undecided with the error over test samples added"
    )
