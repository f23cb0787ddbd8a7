"""The ledger: its rules in words and numbers, and the hash that names them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

from biasvar.study import claims, load_study
from biasvar.study.claims import LEDGER, REVISION, ledger_hash
from biasvar.study.ledger import base

RULE = re.compile(r"measured as [^;]+; holds if [^.].*[^.]")


def test_the_ledger_is_the_one_that_was_fixed():
    """Whoever changes a rule changes this hash too, on purpose, and studies that name the old one say so."""
    assert (REVISION, ledger_hash()) == (2, "9298d0aba05712b6")


def test_the_smallest_effects_are_those_that_were_fixed():
    assert (base.ACCURACY, base.TERM, base.SHARE, base.TRADE_OFF) == (0.002, 0.05, 0.02, 0.05)
    assert (base.CORRELATION, base.AUC, base.SELF_AUC, base.LEAST_TEACHERS_W5) == (0.2, 0.10, 0.75, 26)
    assert (base.NEAR, base.BAD, base.BELOW_ONE, base.ABOVE_ONE) == (0.03, 0.30, 0.9, 1.1)


def test_every_claim_says_how_it_is_measured_and_when_it_holds():
    for claim in LEDGER:
        assert RULE.fullmatch(claim.rule), claim.id
    rules = {claim.id: claim.rule for claim in LEDGER}
    for name, number in {
        "W1": "5 %", "W3": "0.05", "W4": "0.02", "W5": "26", "W6": "0.75", "W7": "−0.002", "W10": "0.02",
        "M2": "−0.002", "L1": "−0.03", "L2": "−0.2", "L3": "0.9", "L4": "1.1", "L6": "−0.03",
        "R2": "0.002", "R5": "−0.002",
    }.items():  # fmt: skip
        assert number in rules[name], rules[name]


def test_the_hash_is_of_everything_that_defines_a_claim(monkeypatch):
    content = {
        "revision": REVISION,
        "judged": claims.JUDGED,
        "claims": [{field.name: getattr(claim, field.name) for field in dataclasses.fields(claim)} for claim in LEDGER],
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert ledger_hash() == hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    seen = {ledger_hash()}
    for change in (
        {"rule": "x"},
        {"roles": ("a",)},
        {"regime": "x"},
        {"sentence": "x"},
        {"chance_is_an_outcome": True},
    ):
        with monkeypatch.context() as patch:
            patch.setattr(claims, "LEDGER", (dataclasses.replace(LEDGER[0], **change), *LEDGER[1:]))
            seen.add(ledger_hash())
    for name in ("REVISION", "JUDGED"):
        with monkeypatch.context() as patch:
            patch.setattr(claims, name, "x")
            seen.add(ledger_hash())
    assert len(seen) == 8
    assert ledger_hash() in seen


def test_shipped_studies_were_fixed_by_this_ledger_or_say_that_it_was_an_earlier_one():
    """A file that names another hash has to say so beside it; the page of its run does, too."""
    for path in sorted((Path(__file__).parents[1] / "experiments").rglob("*.yaml")):
        text = path.read_text()
        if "claims_fixed:" in text:
            fixed = load_study(path).claims_fixed
            assert fixed is not None
            assert (fixed.ledger == ledger_hash(load_study(path).claims)) != (
                "# by earlier claim definitions" in text
            ), path


def test_a_study_hashes_the_claims_that_it_tests_and_no_others(monkeypatch):
    some = ledger_hash(["W1", "L3"])
    assert some == ledger_hash({"L3": [], "W1": []}) != ledger_hash(["W1"])
    monkeypatch.setattr(claims, "LEDGER", (*LEDGER, dataclasses.replace(LEDGER[0], id="Z1")))
    assert ledger_hash(["W1", "L3"]) == some
    changed = tuple(dataclasses.replace(claim, rule="x") if claim.id == "L3" else claim for claim in LEDGER)
    monkeypatch.setattr(claims, "LEDGER", changed)
    assert ledger_hash(["W1", "L3"]) != some
