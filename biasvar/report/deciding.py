"""Which tests of a claim a table in short shows beside a verdict: those that decided it, by name where one is needed.

The tests are rows of a report's `claims.csv`: `arms` are the ids of the arms of one comparison, `test` says in words
what was measured ("test accuracy, A − B, over 16 copies of each teacher"), a row for each part of the claim, `verdict`
is the part's and `overall` the comparison's. Which arms a part is of is told by their labels, from `summary.json`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pandas as pd

from biasvar.report.claims.words import HOLDS
from biasvar.study.claims import Claim

NUMBER = ["effect", "stderr"]
_ASIDE = re.compile(r" \([^()]*\)|;.*$|, over \d.*$")
_QUANTITY = re.compile(r"^[^,−]+, ")


@dataclass(frozen=True)
class _Part:
    """A test in words taken apart: "mean bias, ", "A", "A − B"."""

    quantity: str
    treatment: str
    compared: str


def deciding(claim: Claim, tests: pd.DataFrame, labels: Mapping[str, str]) -> list[dict[Any, Any]]:
    """The tests that decided the comparisons of one claim in one report, as records with a `name`.

    A comparison that holds has its first part; one that does not, every part that fails; one that is undecided, every
    part that is. Parts with the same number ("not worse" and "not better") count once. `name` is "" where the regime
    of the teacher tells all verdicts apart and every number is its comparison's first, else which arm or part it is:
    the label of the treatment, with the control's where that alone differs, and the quantity where the parts have
    several; for a claim of many arms, what their ids have in common.

    Args:
        labels: Of each arm, by its id. Tests are read by them, so that a label may hold commas and brackets.
    """
    shown: list[dict[Any, Any]] = []
    plain = not tests.groupby("regime", dropna=False)["overall"].nunique().gt(1).any()
    for _, parts in tests.groupby("arms", sort=False):
        overall = parts["overall"].iloc[0]
        hits = parts.iloc[:1] if overall == HOLDS else parts[parts["verdict"] == overall]
        decided = (hits if len(hits) else parts.iloc[:1]).drop_duplicates(NUMBER).to_dict("records")
        first = parts.iloc[0].to_dict()
        alone = len(decided) == 1 and _number(decided[0]) == _number(first)
        plain &= alone
        # The words with which what was measured begins in all of them tell nothing.
        words = [_apart(row, labels).quantity.split(", ") for row in (first, *decided)]
        same = [*takewhile(lambda piece: len({*piece}) == 1, zip(*words, strict=False))]
        others = parts.to_dict("records")
        shown += [row | _names(claim, row, others, alone, len(same), labels) for row in decided]
    short = Counter(row["short"] for row in shown)
    return [row | {"name": "" if plain else row["short" if short[row["short"]] == 1 else "long"]} for row in shown]


def _names(
    claim: Claim,
    row: dict[Any, Any],
    parts: Sequence[dict[Any, Any]],
    alone: bool,
    same: int,
    labels: Mapping[str, str],
) -> dict[str, str]:
    """What tells a test from the other parts of its comparison ("short"), and, if that is not enough, from all."""
    rest = [part for part in parts if _number(part) != _number(row)]
    shared = _shared(str(row["arms"]).split(", ")) if "arms" in claim.roles else ""
    if shared:
        elsewhere = {piece for other in rest for piece in _pieces(other)}
        own = [] if alone else [piece for piece in _pieces(row) if piece not in elsewhere]
        return dict.fromkeys(("short", "long"), ", ".join([shared, *own]))
    mine = _apart(row, labels)
    quantity = ", ".join(mine.quantity.split(", ")[same:])
    others = [_apart(other, labels) for other in rest]
    control_alone = any((mine.quantity, mine.treatment) == (other.quantity, other.treatment) for other in others)
    long = quantity + mine.compared
    return {"short": long if control_alone else quantity + mine.treatment, "long": long}


def _apart(row: Mapping[Any, Any], labels: Mapping[str, str]) -> _Part:
    """The test of a row by the longest labels in it of two of its arms, or of one; by its words where it has none."""
    test = str(row["test"])
    arms = {labels.get(arm, arm) for arm in str(row["arms"]).split(", ")}
    pairs = [(a, f"{a}{sign}{b}") for a in arms for b in arms for sign in (" − ", " / ")]
    for treatment, compared in (*sorted(pairs, key=_longest), *sorted(((arm, arm) for arm in arms), key=_longest)):
        found = compared in test and re.search(rf"(?<!\w){re.escape(compared)}(?!\w)", test)
        if found:
            control = _ASIDE.sub("", test[found.end() :])  # one that is no arm: "A − mean of 5 draws"
            compared += control if compared == treatment and control.startswith(" − ") else ""
            return _Part(_ASIDE.sub("", test[: found.start()]), treatment, compared)
    words = _ASIDE.sub("", test)
    begun = _QUANTITY.match(words)
    quantity = begun[0] if begun else ""
    compared = words.removeprefix(quantity)
    return _Part(quantity, compared.split(" − ")[0], compared)


def _longest(pair: tuple[str, str]) -> tuple[int, str]:
    return -len(pair[1]), pair[1]


def _number(row: Any) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in NUMBER)


def _shared(arms: list[str]) -> str:
    """What the ids of a sweep's arms have in common: "ce_share0p2" of "ce_width3_share0p2, ce_width4_share0p2"."""
    words = [arm.split("_") for arm in arms]
    return "_".join(word for word in words[0] if all(word in other for other in words))


def _pieces(row: Mapping[Any, Any]) -> list[str]:
    return re.split(r", | − ", _ASIDE.sub("", str(row["test"])))
