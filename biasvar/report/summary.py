"""summary.json: the totals of every arm, the claims and the provenance of every run, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

import biasvar
from biasvar.records import Run
from biasvar.report.claims.statements import designs_tried, fixing
from biasvar.report.output import json_value
from biasvar.report.statistics.budgets import budgets
from biasvar.report.statistics.estimates import METRICS, TERMS, Estimate, decomposition_term, final_level, final_metrics
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.report.truth import PeopleRun, by_labels
from biasvar.study.claims import REVISION, ledger_hash

DIGITS = 10  # beyond what any number here is known to
BUDGET = (
    *("family", "settings_tried", "tuning_replicas", "epochs", "steps", "timed", "seconds", "search_seconds"),
    *("teacher_networks", "teacher_seconds", "rise", "rise_stderr", "rise_from_epoch", "converged"),
)
"""What summary.json says of the budget of an arm of a study; seconds are those of one replica or network."""
PROVENANCE = (
    *("study_hash", "commit", "seed", "replicas", "draw", "data", "reference_teacher", "device", "threads", "versions"),
    *("schema_version", "sessions", "begun"),
)


def summarise(runs: list[Run], claims: pd.DataFrame) -> dict[str, Any]:
    """Everything in summary.json; terms in nats, corrected, on held-out rows.

    They are against the true labels, or of a run with people's labels as the truth, which `truth` names, against those.
    """
    together = claims[~claims["run"].isin([run.name for run in runs])]
    of_runs = {run.name: _of_run(run, claims) for run in runs}
    return {**header(runs), "runs": of_runs, "claims_over_data_sets": _rows(together)}


def header(runs: Sequence[Run]) -> dict[str, Any]:
    """What summary.json begins with: by which biasvar and which definitions of its claims it was made."""
    tested = {claim for run in runs for claim in run.manifest.get("claims") or ()}
    return {"biasvar": biasvar.__version__, "ledger": {"revision": REVISION, "hash": ledger_hash(tested)}}


def _rows(claims: pd.DataFrame) -> list[dict[str, Any]]:
    rows = claims.to_dict("records")
    return [{str(key): json_value(value, DIGITS) for key, value in row.items()} for row in rows]


def _of_run(run: Run, claims: pd.DataFrame) -> dict[str, Any]:
    mine = claims[claims["run"] == run.name].drop(columns="run")
    return {
        "title": run.manifest.get("title"),
        "kind": run.manifest.get("kind"),
        "status": run.manifest.get("status"),
        **({"truth": run.people.note} if isinstance(run, PeopleRun) else {}),
        **statements_of(run),
        "arms": {arm: _of_arm(run, arm) for arm in run.arms},
        "claims": _rows(mine),
        "provenance": {key: run.manifest.get(key) for key in PROVENANCE},
    }


def statements_of(run: Run) -> dict[str, Any]:
    """What the study says of its claims, and whether it was said before the run; null of runs without."""
    about, tried = fixing(run), designs_tried(run)
    return {
        "claims_fixed": None if about is None or about.fixed is None else about.fixed.model_dump(),
        "claims_fixed_before_the_run": None if about is None else about.before,
        "designs_tried": None if tried is None else tried.model_dump(),
    }


def _of_arm(run: Run, arm: str) -> dict[str, Any]:
    entry = run.arm(arm)
    keys = ("label", "role", "loss", "teacher", "regime", "temperature", "alpha", "learning_rate", "status")
    content: dict[str, Any] = {key: entry.get(key) for key in keys}
    content["failed_replicas"] = entry.get("failed_replicas") or []
    budget = budgets(run)
    budget = budget[budget["arm"] == arm]
    content["teacher_accuracy"] = _own_accuracy(run, arm)
    content["budget"] = json_value(budget[list(BUDGET)].iloc[0].to_dict(), DIGITS) if len(budget) else None
    final = final_metrics(run, arm)
    if final is None:
        return content
    content |= {"split": str(final["split"].iloc[0]), "epoch": int(final["epoch"].iloc[0])}
    rows = [decomposition_term(run, arm, term) for term in TERMS]
    rows += [final_level(by_labels(run), arm, metric) for metric in METRICS]
    content |= {row.quantity: _numbers(row) for row in rows if row is not None}
    return content | ({"views": {view: _on_view(run, arm, view) for view in run.views}} if run.views else {})


def _own_accuracy(run: Run, arm: str) -> dict[str, Any] | None:
    """How accurate an arm's teacher is itself on test rows."""
    own = accuracy_of_its_teacher(run, arm)
    if own is None:
        return None
    numbers = {"value": own.value, "stderr": own.stderr, "n_samples": own.n_samples, "n_networks": own.n_networks}
    return {"teacher": own.teacher, **{key: json_value(value, DIGITS) for key, value in numbers.items()}}


def _on_view(run: Run, arm: str, view: str) -> dict[str, Any]:
    """What an arm does on a further view of the test rows."""
    rows = [decomposition_term(run, arm, term, view=view) for term in TERMS]
    rows += [final_level(run, arm, metric, view) for metric in METRICS]
    return {row.quantity: _numbers(row) for row in rows if row is not None}


def _numbers(row: Estimate) -> dict[str, Any]:
    numbers = {"value": row.estimate, "stderr_replicas": row.stderr, "stderr_samples": row.stderr_samples}
    counts = {"n_replicas": row.n_replicas, "n_samples": row.n_samples}
    return {key: json_value(value, DIGITS) for key, value in (numbers | counts).items()}
