"""Which tests of a claim a table in short shows beside a verdict: those that decided it, by name where one is needed.

The tests are rows of a report's `claims.csv`: `arms` are the ids of the arms of one comparison, `test` says in words
what was measured ("test accuracy, A − B, over 16 copies of each teacher"), a row for each part of the claim, `verdict`
is the part's and `overall` the comparison's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from biasvar.report.claims.words import HOLDS
from biasvar.study.claims import Claim

NUMBER = ["effect", "stderr"]
_ASIDE = re.compile(r" \([^()]*\)|;.*$|, over \d.*$")
_QUANTITY = re.compile(r"^[^,−]+(, mean over epochs)?, ")


def deciding(claim: Claim, tests: pd.DataFrame) -> list[dict[Any, Any]]:
    """The tests that decided the comparisons of one claim in one report, as records with a `name`.

    A comparison that holds has its first part; one that does not, every part that fails; one that is undecided, every
    part that is. Parts with the same number ("not worse" and "not better") count once. `name` is "" where the regime
    of the teacher tells all verdicts apart and every number is its comparison's first, else which arm or part it is:
    the label of the treatment, with the control's where that alone differs, and the quantity where the parts have
    several; for a claim of many arms, what their ids have in common.
    """
    shown: list[dict[Any, Any]] = []
    plain = not tests.groupby("regime", dropna=False)["overall"].nunique().gt(1).any()
    for _, parts in tests.groupby("arms", sort=False):
        overall = parts["overall"].iloc[0]
        hits = parts.iloc[:1] if overall == HOLDS else parts[parts["verdict"] == overall]
        decided = (hits if len(hits) else parts.iloc[:1]).drop_duplicates(NUMBER).to_dict("records")
        first = parts.iloc[0]
        alone = len(decided) == 1 and _number(decided[0]) == _number(first)
        plain &= alone
        quantities = {_quantity(str(row["test"])) for row in (first, *decided)}
        others = parts.to_dict("records")
        shown += [row | _names(claim, row, others, alone, len(quantities) == 1) for row in decided]
    short = Counter(row["short"] for row in shown)
    return [row | {"name": "" if plain else row["short" if short[row["short"]] == 1 else "long"]} for row in shown]


def _names(
    claim: Claim, row: dict[Any, Any], parts: Sequence[dict[Any, Any]], alone: bool, same_quantity: bool
) -> dict[str, str]:
    """What tells a test from the other parts of its comparison ("short"), and, if that is not enough, from all."""
    rest = [str(part["test"]) for part in parts if _number(part) != _number(row)]
    test = _ASIDE.sub("", str(row["test"]))
    shared = _shared(str(row["arms"]).split(", ")) if "arms" in claim.roles else ""
    if shared:
        elsewhere = {piece for other in rest for piece in _pieces(other)}
        own = [] if alone else [piece for piece in _pieces(test) if piece not in elsewhere]
        return dict.fromkeys(("short", "long"), ", ".join([shared, *own]))
    compared = test.removeprefix(_quantity(test)) if same_quantity else test
    treatment = compared.split(" − ")[0]
    control_alone = any(test.split(" − ")[0] == _ASIDE.sub("", other).split(" − ")[0] for other in rest)
    return {"short": compared if control_alone else treatment, "long": compared}


def _number(row: Any) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in NUMBER)


def _quantity(test: str) -> str:
    """How a test in words begins, up to its arms: "test accuracy, "; "" where no arm follows."""
    found = _QUANTITY.match(_ASIDE.sub("", test))
    return found[0] if found else ""


def _shared(arms: list[str]) -> str:
    """What the ids of a sweep's arms have in common: "ce_share0p2" of "ce_width3_share0p2, ce_width4_share0p2"."""
    words = [arm.split("_") for arm in arms]
    return "_".join(word for word in words[0] if all(word in other for other in words))


def _pieces(test: str) -> list[str]:
    return re.split(r", | − ", _ASIDE.sub("", test))
