"""The claims as the page lists them: by verdict, and with their numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.claims.statements import fixing, tried_in_words
from biasvar.report.claims.words import FAILS, HERE
from biasvar.report.text.numbers import counted, decimals, level, signed
from biasvar.study.claims import JUDGED, LEDGER, REVISION

LEVELS = ("times", "AUC")
"""Units of numbers that are no differences, and have no sign."""
BOUNDS = {"rank correlation": (-1.0, 1.0), "AUC": (0.0, 1.0)}
"""Between what the numbers of a unit lie."""
DIFFERENCES_OF_SHARES = ("W3", "W4", "W10")
"""The claims on the difference of two shares of samples; those on sums and ratios of shares may exceed 1."""
VERDICTS = ("holds", "does not hold", "undecided")
BY_TEACHER, BY_COMPARISON = "differently under different teachers", "differently in different comparisons"

OWN_RULES = (
    "A claim may ask for more, such as a least number of teachers, and is undecided without it whatever its interval; "
    "what it asks for stands with it."
)


def outcome(claims: pd.DataFrame) -> str:
    """How many claims came out how, in one sentence; empty without any.

    Tests of a claim that come out differently do so under teachers that saw other rows, or in comparisons of other
    arms under one such teacher.
    """
    if claims.empty:
        return ""
    sets = [_verdict(part) for _, part in claims.groupby(["run", "id"], sort=False)]
    count = Counter(sets)
    parts = [
        (count["holds"], "holds", "hold"),
        (count["does not hold"], "does not hold", "do not hold"),
        (count["undecided"], "is undecided", "are undecided"),
        *((count[how], f"comes out {how}", f"come out {how}") for how in (BY_TEACHER, BY_COMPARISON)),
    ]
    said = [f"{number} {one if number == 1 else more}" for number, one, more in parts if number]
    listed = " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]
    return f"Of {counted(len(sets), 'claim')}, {listed}."


def _verdict(tests: pd.DataFrame) -> str:
    """The verdict of all tests of a claim; else among what they come out differently."""
    if tests["overall"].nunique() == 1:
        return str(tests["overall"].iloc[0])
    alike_under_each = (tests.groupby("regime")["overall"].nunique() == 1).all()
    return BY_TEACHER if alike_under_each else BY_COMPARISON


def _chips(tests: pd.DataFrame) -> list[dict[str, str]]:
    """The verdicts on one claim, each with the regimes in which it came out so."""
    chips = []
    for verdict in VERDICTS:
        where = []
        for regime, part in tests.groupby("regime", sort=False):
            hits = part[part["overall"] == verdict]
            if len(hits):
                of_several = f": {len(hits)} of {len(part)} comparisons" if len(part) > 1 else ""
                limits = next((f" {words}" for said in hits["said"] if (words := _limits(said))), "")
                where.append(f"{style.regime_label(str(regime))}{limits}{of_several}")
        if where:
            limit = f" {HERE}" if verdict == FAILS else ""
            chips.append({"verdict": verdict, "where": "; ".join(where) + limit})
    return chips


def _limits(said: Any) -> str:
    """ "with this teacher", "with these teachers on given features", or "": what a verdict in words rests on."""
    return " ".join(re.findall(r"with this teacher|with these teachers|on given features", str(said)))


def rules(runs: Sequence[Run]) -> dict[str, Any]:
    """By which rules the claims are judged, and what each run's study says of when they were fixed and how found.

    What several runs have in common is said once.
    """
    said = {run.name: f"{about.in_words} {tried_in_words(run)}".strip() for run in runs if (about := fixing(run))}
    alike = len(set(said.values())) == 1
    fixed = [{"run": "" if alike else name, "said": text} for name, text in said.items()]
    return {"judged": f"{JUDGED} {OWN_RULES}", "revision": REVISION, "fixed": fixed[:1] if alike else fixed}


def claim_groups(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the claims table, grouped by claim: those first on which anything was decided."""
    groups = []
    several = claims["run"].nunique() > 1
    said = {claim.id: claim.rule for claim in LEDGER}
    for (run, identity), part in claims.groupby(["run", "id"], sort=False):
        first = part.iloc[0]
        rows = [claim_row(row) for row in part.to_dict("records")]
        about = {"id": identity, "claim": first["claim"], "source": first["source"], "run": run if several else ""}
        about |= {"rule": said.get(str(identity), ""), "tried": _tried(first["designs_tried"])}
        about["anchor"] = f"{run}-{identity}" if several else identity
        chips = _chips(part.drop_duplicates(["regime", "arms"]))
        groups.append({**about, "rows": rows, "chips": chips})
    return sorted(groups, key=lambda group: group["chips"][0]["verdict"] == "undecided")


def claim_row(row: dict[Any, Any]) -> dict[str, str]:
    """A row of the claims table as texts."""
    effect, low, high = (float(row[key]) for key in ("effect", "low", "high"))
    places = decimals(float(row["stderr"]))
    known = math.isfinite(effect)
    sense = {"greater": "above", "less": "below", "differs": "beyond ±"}.get(str(row["direction"]), "")
    bound = math.isfinite(float(row["threshold"])) and sense
    threshold = f"{float(row['threshold']):.3g}".replace("-", "−")
    confidence = float(row["level"])
    alone = [float(row.get(key, math.nan)) for key in ("low_replicas", "high_replicas")]
    beside = math.isfinite(alone[0]) and alone != [low, high]
    verdict = str(row["verdict"])
    said = level if row["unit"] in LEVELS else signed
    return {
        "verdict": verdict,
        "said": _text(row.get("said", "")).removeprefix(verdict).strip(),
        "alone": _interval(alone[0], alone[1], row, places) if beside else "",
        "regime": style.regime_label(str(row["regime"])),
        "test": _text(row["test"]),
        "teachers": _text(row.get("teachers", "")),
        "effect": said(effect, places) if known else "–",
        "interval": _interval(low, high, row, places) if math.isfinite(low) else "",
        "level": f"{100 * confidence:.4g} %" if math.isfinite(confidence) else "",
        "unit": _text(row["unit"]),
        "n": _counts(row) if known else "",
        "needs": f"{sense}{'' if sense.endswith('±') else ' '}{threshold}" if bound else "",
        "detail": _text(row["detail"]),
    }


def _interval(low: float, high: float, row: dict[Any, Any], places: int) -> str:
    """An interval in words; one of few replicas can reach beyond what there is, is cut there, and says so.

    >>> _interval(0.02, 1.11, {"id": "W3", "unit": "share"}, 2)
    '+0.02 to +1 (cut from +1.11)'
    >>> _interval(0.02, 1.11, {"id": "Y4", "unit": "share"}, 2)
    '+0.02 to +1.11'
    """
    said = level if row["unit"] in LEVELS else signed
    least, most = BOUNDS.get(str(row["unit"]), (-math.inf, math.inf))
    if row["unit"] == "share" and row["id"] in DIFFERENCES_OF_SHARES:
        least, most = -1.0, 1.0
    beyond = [said(end, places) for end in (low, high) if not least <= end <= most]
    ends = [said(end, 0) if end in (least, most) else said(end, places) for end in (max(low, least), min(high, most))]
    return f"{ends[0]} to {ends[1]}" + (f" (cut from {' and '.join(beyond)})" if beyond else "")


def _counts(row: dict[Any, Any]) -> str:
    """What the number rests on: redraws, cells or soft labels by their number, else replicas, rows and teachers."""
    n, rows, teachers, replicas = (row.get(key, math.nan) for key in ("n", "n_samples", "n_teachers", "n_replicas"))
    of_rows = pd.notna(rows) and pd.notna(row.get("stderr_samples"))
    if pd.isna(rows) or (row["unit"] == "rank correlation" and not of_rows):
        return f"{n:,.0f}"
    said = [counted(int(replicas), "replica")] if replicas > 0 else []
    said += [counted(int(rows), "row")] if rows > 0 and of_rows else []
    said += [counted(int(teachers), "teacher")] if pd.notna(teachers) else []
    return ", ".join(said)


def _tried(count: Any) -> str:
    return counted(int(count), "design") + " tried" if pd.notna(count) and count > 1 else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
