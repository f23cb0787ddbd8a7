"""What a page says of a run's claims: when they were fixed, by which rules, and how many designs were tried."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report.arms.own_claims import NOT_FIXED
from biasvar.report.claims.statements import designs_tried, fixing, tried_in_words, unconfirmed
from biasvar.report.claims.table import claims_table
from biasvar.report.page import open_runs, write_report
from biasvar.report.text.claims import rules
from biasvar.study.claims import JUDGED, LEDGER, ledger_hash
from tests.report.made_claims import answers, candidates, write_claims_run

OURS, OTHER = ledger_hash(["L4"]), "0123456789abcdef"
CLAIMS = {claim.id: claim for claim in LEDGER}
ON = {"date": "2026-11-28", "ledger": OURS}


def made(study: dict[str, Any], *, claims: Any = None, kind: str = "study", **manifest: Any) -> Run:
    """A run of which only the manifest and the study file are read."""
    asked = {"L4": [{}]} if claims is None else claims
    run = Run(Path("made"), {"kind": kind, "name": "made", "arms": {}, "claims": asked, **manifest})
    run.__dict__["study"] = {"seed": 3, **study}
    run.__dict__["arms"] = list(manifest.get("arms", {}))
    return run


def begun(day: str = "2026-11-29", ledger: str = OURS, fixed: Any = ON) -> dict[str, Any]:
    return {"begun": {"date": day, "ledger": ledger, "claims_fixed": fixed}}


@pytest.mark.parametrize(
    ("fixed", "noted", "before", "words"),
    [
        (ON, begun(), True, "were fixed on 2026-11-28 by the definitions used here"),
        (ON, begun("2026-11-28"), True, "noted this when it began, on 2026-11-28"),
        (ON, begun(ledger=OTHER), True, "by the definitions used here, and the run noted this"),
        (None, begun(fixed=None), False, "The study file does not say when its claims were fixed."),
        (None, begun(), False, "The study file does not say when its claims were fixed."),
        (ON, begun(fixed=None), False, "the statement was added after the run began, on 2026-11-29."),
        (ON, {}, False, "the statement was added after the run began."),
        (ON, begun(fixed={**ON, "date": "2026-01-01"}), False, "the statement was changed after the run began"),
        (ON, begun("2026-11-27"), False, "but the run began before that day, on 2026-11-27."),
        (
            {**ON, "ledger": OTHER}, begun(fixed={**ON, "ledger": OTHER}), False,
            "fixed on 2026-11-28, but it names other claim definitions (0123456789abcdef) than those used here (OURS).",
        ),
        (
            {**ON, "ledger": OTHER}, begun(ledger=OTHER, fixed={**ON, "ledger": OTHER}), False,
            "(0123456789abcdef, which were those in force when the run began) than those used here (OURS).",
        ),
        (
            {**ON, "ledger": OTHER}, begun(), False,
            "than those used here (OURS), and the statement was changed after the run began",
        ),
    ],
)  # fmt: skip
def test_claims_were_fixed_before_a_run_only_if_all_of_it_is_true(fixed, noted, before, words):
    about = fixing(made({"claims_fixed": fixed}, **noted))
    assert about.before is before
    assert words.replace("OURS", OURS) in about.in_words
    assert ("noted this when it began" in about.in_words) is before


def test_arms_of_other_runs_are_left_out_of_the_statement():
    arms = {"ce": {"shared_from": ["older"]}, "kd": {"shared_from": []}, "wsl": {}}
    words = fixing(made({"claims_fixed": ON}, arms=arms, **begun())).in_words
    assert "; this does not hold of the arms that were taken over from older: ce." in words


@pytest.mark.parametrize("kind", ["recorder", "import"])
def test_claims_of_runs_without_a_study_were_fixed_by_nobody(kind):
    run = made({"claims_fixed": ON, "designs_tried": {"count": 6, "seeds": [3]}}, kind=kind)
    found = fixing(run)
    assert (found.fixed, found.before, found.in_words) == (None, False, NOT_FIXED)
    assert designs_tried(run) is None
    assert unconfirmed(run, CLAIMS["L4"]) == ""
    assert fixing(made({"claims_fixed": ON}, claims={})) is None
    assert NOT_FIXED in str(rules([run])["fixed"])


@pytest.mark.parametrize("claim", ["L1", "L2", "L4"])
@pytest.mark.parametrize(
    ("tried", "data", "noted", "words"),
    [
        (None, {"test": 50}, False, ""),
        ({"count": 1, "seeds": [3]}, {"test": 50}, False, ""),
        ({"count": 6, "seeds": [3]}, {"test": 50}, False, "found by trying 6 designs on this seed (3): run it with an"),
        ({"count": 6, "seeds": [7, 3]}, {"test": 50}, False, "designs on this seed (3)"),
        ({"count": 6, "seeds": [7]}, {"test": 50}, False, ""),
        ({"count": 6, "seeds": [7]}, {"test": 50}, None, ""),  # of a run of an earlier version
        ({"count": 6, "seeds": [7]}, {"test": 50}, True, "found by trying 6 designs on these test rows, with any seed"),
        ({"count": 6, "seeds": [7]}, {"test": None}, None, "all of the official test split"),
        ({"count": 6, "seeds": [7]}, {"test": 50, "split": "train"}, False, ""),
    ],
)
def test_what_was_found_by_searching_waits_for_another_seed_and_other_rows(claim, tried, data, noted, words):
    run = made({"designs_tried": tried, "data": data}, data={"test_is_whole_split": noted})
    said = unconfirmed(run, CLAIMS[claim])
    assert said.startswith(words) if words.startswith("found") else words in said
    assert bool(said) is bool(words)
    assert unconfirmed(run, CLAIMS["L3"]) == unconfirmed(run, CLAIMS["W8"]) == ""


def test_the_designs_tried_in_words():
    def said(tried: Any) -> str:
        return tried_in_words(made({"designs_tried": tried}))

    assert said(None) == ""
    assert said({"count": 1, "seeds": [3]}) == "No other design of the study was tried."
    assert said({"count": 6, "seeds": [3]}) == "6 designs of the study were tried, on seed 3; this run has that seed."
    assert said({"count": 6, "seeds": [9, 8]}).endswith("on seeds 8, 9; this run has another.")
    assert said({"count": 6, "seeds": [3, 8]}).endswith("on seeds 3, 8; this run has one of them.")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"claims_fixed": 5}, "claims_fixed: must be a valid dictionary"),
        ({"claims_fixed": {**ON, "date": "2026-02-30"}}, "claims_fixed.date: must be a day such as '2026-11-28'"),
        ({"designs_tried": {"count": 0, "seeds": [1]}}, "designs_tried.count: must be greater than or equal to 1"),
    ],
)
def test_a_statement_that_was_broken_in_a_runs_study_file_is_one_line(said, message):
    run = made(said)
    with pytest.raises(RecordError, match=f"study.yaml is damaged: {message}") as refused:
        (fixing if "claims_fixed" in said else designs_tried)(run)
    assert "\n" not in str(refused.value)


def test_a_claim_found_by_searching_is_undecided_and_the_same_numbers_hold_with_another_seed(tmp_path):
    """Two runs of the same numbers: only the seed on which designs were tried differs."""
    labels = pd.Series(range(4)).sample(4000, replace=True, random_state=0).to_numpy()
    right = {"true": answers(0.8, seed=0), "sets": answers(0.8, seed=1)}
    arms = {"sets": {"soft_label": "wide"}, "true": {"soft_label": "truth"}}
    for name, seeds, verdict in (("same", [0], "undecided"), ("other", [5], "holds")):
        run = write_claims_run(
            tmp_path / name, right, claims={"L4": [{"student": "sets", "truth": "true"}]}, arms=arms,
            soft_labels={"wide": candidates(0.5, 0.95, labels, seed=2)}, train_labels=labels,
            designs_tried={"count": 6, "seeds": seeds}, data={"test": 1000},
        )  # fmt: skip
        table = claims_table([run])
        assert set(table["overall"]) == {verdict}, table.T.to_string()
        assert set(table["designs_tried"]) == {6}
        assert table["detail"].str.contains("found by trying 6 designs on this seed").all() == (verdict == "undecided")
        assert table["effect"].notna().all()  # the numbers stand there all the same


@pytest.fixture
def stated(study_run: Run, tmp_path: Path) -> Path:
    """A copy of the small run in which the study file and the manifest say something of its claims."""
    directory = tmp_path / "run"
    shutil.copytree(study_run.directory, directory)
    path = directory / "study.yaml"
    fixed = {**ON, "ledger": ledger_hash(study_run.manifest["claims"])}
    content = yaml.safe_load(path.read_text()) | {"claims_fixed": fixed, "designs_tried": {"count": 6, "seeds": [3]}}
    path.write_text(yaml.safe_dump(content))
    return directory


def page(directory: Path, out: Path) -> tuple[str, dict[str, Any]]:
    write_report(open_runs([directory]), out, figures=["effects"], formats=[])
    return (out / "index.html").read_text(), json.loads((out / "summary.json").read_text())


def test_the_page_says_by_which_rules_and_since_when(stated: Path, study_run: Run, tmp_path: Path) -> None:
    text, summary = page(stated, tmp_path / "out")
    assert JUDGED in text
    ours = ledger_hash(study_run.manifest["claims"])
    fixed = {**ON, "ledger": ours}
    assert f"<dt>Fingerprint of the claims</dt><dd>{ours}</dd>" in text
    assert "the statement was added after the run began" in text
    assert "6 designs of the study were tried, on seed 3; this run has that seed." in text
    assert text.count("; 6 designs tried") == 2  # W1 and W8
    for name in ("W1", "W8"):
        assert f'<p class="rule">{CLAIMS[name].rule.replace(chr(39), "&#39;")}</p>' in text
    assert (pd.read_csv(tmp_path / "out/claims.csv")["designs_tried"] == 6).all()
    assert summary["ledger"] == {"revision": 2, "hash": ours}
    assert summary["runs"]["small"]["claims_fixed"] == fixed
    assert summary["runs"]["small"]["claims_fixed_before_the_run"] is False
    assert summary["runs"]["small"]["designs_tried"] == {"count": 6, "seeds": [3]}

    manifest = json.loads((stated / "manifest.json").read_text())
    manifest["begun"] = begun(fixed=fixed)["begun"]
    (stated / "manifest.json").write_text(json.dumps(manifest))
    text, summary = page(stated, tmp_path / "again")
    assert "The study file says that its claims were fixed on 2026-11-28 by the definitions" in text
    assert "the run noted this when it began, on 2026-11-29" in text
    assert summary["runs"]["small"]["claims_fixed_before_the_run"] is True

    text, summary = page(study_run.directory, tmp_path / "plain")
    assert "The study file does not say when its claims were fixed." in text
    assert "designs" not in text
    assert "Every claim was fixed" not in text
    assert pd.read_csv(tmp_path / "plain/claims.csv")["designs_tried"].isna().all()


def test_several_runs_are_named(stated: Path, study_run: Run) -> None:
    other = open_runs([stated, study_run.directory])
    said = rules(other)["fixed"]
    assert [line["run"] for line in said] == [run.name for run in other]
    assert [line["run"] for line in rules([study_run, other[1]])["fixed"]] == [""]  # what both say is said once
