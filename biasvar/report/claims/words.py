"""Verdicts in words: what they hold for, and what stands beside their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from biasvar.analysis.statistics.verdicts import OUTCOMES, Verdict
from biasvar.records import Run
from biasvar.report.arms.teachers import teacher_count, teacher_of
from biasvar.report.claims.measurement import Measurement
from biasvar.report.claims.needs import would_decide

HOLDS, FAILS, UNDECIDED = OUTCOMES
HERE = "for this data, network and size"
EQUIVALENT = {"W8": "gains less than .2 points"}
"""What "does not hold" says of a claim whose smallest effect makes it a statement of equivalence."""

_INFINITIVES = {HOLDS: "hold", FAILS: "not hold", UNDECIDED: "be undecided"}
_NARROWER = ("replicas", "cells", "soft labels")
"""What the narrower interval of a test is over."""


def in_words(outcome: str, limits: str) -> str:
    """A verdict with what it holds for: "holds with this teacher", "does not hold for this data, network and size"."""
    if outcome == HOLDS:
        return f"{outcome} {limits}".strip()
    if outcome == FAILS:
        return f"{outcome} {limits}, {HERE}" if limits else f"{outcome} {HERE}"
    return outcome


def limits_in_words(run: Run, arms: Sequence[str], part: Measurement) -> str:
    """What a verdict rests on: given teachers, and given features, which something else made of the samples.

    Features are what the samples of the data set themselves are (a column of numbers), not what a student learns:
    those of a pretrained network, for instance, know more than the training rows.
    """
    given = "on given features" if (run.manifest.get("data") or {}).get("features") else ""
    return " ".join(filter(None, (teachers_in_words(run, arms, part), given)))


def teachers_in_words(run: Run, arms: Sequence[str], part: Measurement) -> str:
    """ "with this teacher", "with these teachers" where the error of a part is not over teachers; "" where it is.

    It is, too, where every replica has a teacher of its own, where no teacher is fixed, and over data sets.
    """
    over_teachers = part.fisher and part.row.crossed is None
    if over_teachers or part.draws is not None or {"teachers", "data sets"} & part.crossed.components.keys():
        return ""
    fixed = {name for arm in arms if (name := teacher_of(run, arm)) and _is_fixed(run, name)}
    numbers = sum(teacher_count(run, name) for name in fixed)
    return "" if not fixed else "with this teacher" if numbers == 1 else "with these teachers"


def detail(claim: str, part: Measurement, verdict: Verdict, alpha: float) -> str:
    """What an undecided test would take, and what the replicas alone say where that is another verdict."""
    row = part.row
    if part.undecided:
        return part.undecided
    if math.isnan(row.estimate) or math.isnan(part.crossed.stderr):
        return "the effect or its error could not be computed"
    if without_spread(part):
        return "no replica and no row differs: an error of 0 says nothing of others"
    said = []
    if verdict.outcome == UNDECIDED:
        scale = part.verdict(alpha)[1]
        detectable = f"{scale(verdict.detectable):.3g}".replace("-", "−")
        said += [f"smallest detectable effect {detectable}", would_decide(part.gap, part.on_scale, 1 - alpha)]
    elif verdict.outcome == FAILS and claim in EQUIVALENT:
        said.append(EQUIVALENT[claim])
    if row.crossed is not None and part.draws is None and not math.isnan(row.stderr):
        alone = part.verdict(alpha, replicas=True)[0].outcome
        if alone != verdict.outcome:
            said.insert(0, f"would {_INFINITIVES[alone]} {_beside(part)}{_too_few(part)}")
    if _lacks_rows(part):
        said.append("not over test rows: this measure has no error over them here")
    return "; ".join(said)


def without_spread(part: Measurement) -> bool:
    """True if a difference of accuracies is the same everywhere: then nothing tells how far others lie."""
    return part.unit == "accuracy" and part.crossed.stderr == 0.0


def _lacks_rows(part: Measurement) -> bool:
    """True if a number was measured on held-out rows and its error leaves them out."""
    of_replicas = {"replicas", "teachers"} & part.crossed.components.keys()
    held_out = part.row.rows == "held-out" and part.row.n_samples > 0
    return bool(of_replicas) and held_out and "rows" not in part.crossed.components


def _beside(part: Measurement) -> str:
    """What the narrower interval of a part holds for, the one that is not over all that was drawn."""
    found = part.crossed.components
    if "data sets" in found:
        return "for these soft labels"
    return "with these replicas, on these rows" if "cells" in found else "on these rows, with these teachers"


def _too_few(part: Measurement) -> str:
    """What the wider interval is over besides and errs by most, as "; 497 test rows are too few to speak of others"."""
    others = {name: found for name, found in part.crossed.components.items() if name not in _NARROWER}
    if not others:
        return ""
    name = max(others, key=lambda one: others[one].stderr)
    many = f"{others[name].n:,} {'test rows' if name == 'rows' else name}"
    return f"; {many} are too few to speak of others"


def _is_fixed(run: Run, name: str) -> bool:
    return teacher_count(run, name) < int(run.manifest.get("replicas") or 0)
