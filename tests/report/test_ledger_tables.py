"""The tables of published claims: made of their files alone, and those that are committed equal what the files say."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from biasvar.errors import BiasvarError
from biasvar.report import ledger
from biasvar.report.__main__ import main
from biasvar.report.claims.table import COLUMNS
from biasvar.report.figures import load
from biasvar.report.published_pictures import BEGIN, END, pages, pictures
from biasvar.study.claims import LEDGER

FIGURES = Path(__file__).parents[2] / "figures"
MARKED = f"# Found\n\n{ledger.BEGIN}\nold\n{ledger.END}\n\nAfter.\n"


def row(**changed: object) -> dict[str, object]:
    known = {
        "id": "W2", "claim": "x", "regime": "fixed, all training rows", "arms": "kd, ce", "test": "mean variance | KD",
        "effect": -0.0664, "low": -0.09, "high": -0.03, "low_replicas": -0.08, "high_replicas": -0.04, "stderr": 0.005,
        "stderr_samples": 0.007, "stderr_crossed": 0.0084, "n": 16, "n_replicas": 16, "n_samples": 497,
        "n_teachers": None, "threshold": -0.01, "direction": "less", "unit": "nats", "level": 0.99, "verdict": "holds",
        "said": "holds with this teacher", "overall": "holds", "detail": "", "designs_tried": 6,
    }  # fmt: skip
    return known | changed


def publish(
    root: Path,
    name: str,
    rows: list[dict[str, object]],
    revision: int | None = 2,
    labels: dict[str, str] | None = None,
) -> None:
    (root / name).mkdir(parents=True)
    pd.DataFrame(rows).to_csv(root / name / "claims.csv", index=False)
    arms = {arm: {"label": label} for arm, label in (labels or {}).items()}
    said = {"runs": {name: {"title": name, "arms": arms}}} | (
        {} if revision is None else {"ledger": {"revision": revision}}
    )
    (root / name / "summary.json").write_text(json.dumps(said))


def linked(path: str, to: str) -> None:
    """A copy of tables and texts; of pictures, a link: whether they are there is all that counts."""
    (os.symlink if path.endswith(".png") else shutil.copy2)(path, to)


def test_the_committed_tables_are_those_of_the_committed_reports(tmp_path: Path) -> None:
    copy = shutil.copytree(FIGURES, tmp_path / "figures", copy_function=linked)
    assert main(["--ledger", str(copy)]) == 0
    for name in (ledger.README, ledger.NUMBERS):
        made, kept = ((folder / name).read_text(encoding="utf-8") for folder in (copy, FIGURES))
        assert made == kept, f"figures/{name} is not what biasvar-report --ledger figures makes: run it"


def test_a_readme_shows_the_pictures_of_its_folders(tmp_path: Path) -> None:
    page = tmp_path / "some" / "README.md"
    for place, title in (("some/b", "Study <b>"), ("some/a", "Study a")):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"runs": {"r": {"title": title}}}))
        for name in ("flags.png", "accuracy.png", "not_ours.png"):
            (folder / name).write_bytes(b"")
    page.write_text(f"Mine.\n{BEGIN}\nold\n{END}\nMine too.\n", encoding="utf-8")
    assert list(pages(tmp_path)) == [page]
    shown = pictures(page.parent)
    assert [line for line in shown.splitlines() if line.startswith("###")] == ["### a: Study a", "### b: Study <b>"]
    assert re.findall(r'src="([^"]+)"', shown) == ["a/accuracy.png", "a/flags.png", "b/accuracy.png", "b/flags.png"]
    assert shown.count(load("flags").title) == 4  # two headings, two alternative texts
    assert shown.count(str(load("flags").how_to_read)) == 1
    (tmp_path / "some/a/summary.json").write_text("{")
    with pytest.raises(BiasvarError, match="is no whole report"):
        pictures(page.parent)


def test_one_row_a_claim_with_every_report(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    other = row(arms="kd_own, ce", regime="per replica", effect=0.0119, stderr=0.006, stderr_crossed=None, said="")
    publish(tmp_path, "digits", [row(), row(arms="b, ce"), other | {"verdict": "undecided", "overall": "undecided"}])
    publish(tmp_path, "old/images", [row(overall="does not hold", verdict="does not hold")], revision=None)
    publish(tmp_path, "none", [row()][:0] or [row(id="ZZ")])
    assert ledger.write_ledger(tmp_path) == tmp_path / "README.md"
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Found\n")
    assert text.endswith(f"{ledger.END}\n\nAfter.\n")
    assert "old\n" not in text
    table = {line.split("**")[1]: line for line in text.splitlines() if line.startswith("| **")}
    assert list(table) == [claim.id for claim in LEDGER]
    assert table["W2"].endswith(
        "| [digits](digits): holds (all training rows −0.0664 ± 0.0084, all training rows −0.0664 ± 0.0084 nats); "
        "undecided (per replica +0.0119 ± 0.0060 nats)<br>[old/images](old/images) ¹: **does not hold** "
        "(−0.0664 ± 0.0084 nats) |"
    )
    assert table["W1"].endswith("| not tested yet |")
    numbers = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert (
        "| [digits](digits) | mean variance \\| KD | −0.0664 nats | −0.0900 to −0.0300 (99 %) | −0.0800 to −0.0400 | "
        "16 replicas, 497 rows, 6 designs tried | holds with this teacher |"
    ) in numbers
    assert numbers.count("Not tested yet.") == len(LEDGER) - 1


def test_effects_of_one_claim_in_two_units_say_each_its_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    publish(tmp_path, "digits", [row(), row(arms="se, ce", unit="squared error")])
    ledger.write_ledger(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "holds (−0.0664 ± 0.0084 nats, −0.0664 ± 0.0084 squared error) |" in text


def said_of(tmp_path: Path, identity: str, rows: list[dict[str, object]], **labels: str) -> str:
    """What the overview says of one claim, of one report with these tests."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    publish(
        tmp_path, "r", [row(id=identity, unit="accuracy", stderr_crossed=0.001) | test for test in rows], labels=labels
    )
    text = ledger.write_ledger(tmp_path).read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith(f"| **{identity}**"))
    return line.split("[r](r): ")[1].removesuffix(" |")


def part(arms: str, test: str, effect: float, verdict: str, overall: str) -> dict[str, object]:
    about = {"arms": arms, "test": f"test accuracy, {test}", "effect": effect, "verdict": verdict, "overall": overall}
    return about | {"regime": "none"}


FAILS, OPEN, HOLDS = "does not hold", "undecided", "holds"


def test_beside_a_verdict_stand_the_parts_that_decided_it(tmp_path: Path) -> None:
    a, b = "self, reg, kd", "self_2, reg_2, kd"
    rows = [
        part(a, "Self − KD, over 4 copies of each teacher (n counts them), not worse", -0.01, FAILS, FAILS),
        part(a, "Self − KD, over 4 copies of each teacher (n counts them), not better", -0.01, HOLDS, FAILS),
        part(a, "Reg, code − KD, not worse", -0.02, FAILS, FAILS),
        part(b, "Self 2 − KD, not worse", -0.003, OPEN, FAILS),
        part(b, "Self 2 − KD, not better", -0.003, HOLDS, FAILS),
        part(b, "Reg 2 − KD, not worse", 0.007, HOLDS, FAILS),
        part(b, "Reg 2 − KD, not better", 0.007, FAILS, FAILS),
    ]
    assert said_of(tmp_path / "fails", "T7", rows) == (
        "**does not hold** (Self: −0.0100 ± 0.0010; Reg, code: −0.0200 ± 0.0010; Reg 2: +0.0070 ± 0.0010 accuracy)"
    )
    rows = [part(a, "WSL − KD", 0.01, HOLDS, OPEN), part(a, "WSL − WSL, shuffled (x, y)", 0.002, OPEN, OPEN)]
    assert said_of(tmp_path / "open", "W9", rows) == "undecided (WSL − WSL, shuffled: +0.0020 ± 0.0010 accuracy)"
    rows = [part(a, "WSL − KD", 0.01, HOLDS, HOLDS), part(a, "WSL − WSL shuffled", 0.02, HOLDS, HOLDS)]
    assert said_of(tmp_path / "holds", "W9", rows) == "holds (+0.0100 ± 0.0010 accuracy)"
    rows = [part("a", "A − B", 0.01, HOLDS, OPEN), part("a", "", 0.27, OPEN, OPEN)]
    rows[1]["test"] = "accuracy of A (one teacher)"
    assert said_of(tmp_path / "quantity", "L1", rows) == "undecided (accuracy of A: +0.2700 ± 0.0010 accuracy)"


def test_opposite_verdicts_name_their_arms_where_the_teacher_does_not_tell(tmp_path: Path) -> None:
    rows = [part("ls, ce", "LS, .1 − CE", 0.02, HOLDS, HOLDS), part("ls_2, ce", "LS | 2 − CE", -0.02, FAILS, FAILS)]
    assert said_of(tmp_path / "arms", "S1", rows) == (
        "holds (LS, .1: +0.0200 ± 0.0010 accuracy); **does not hold** (LS \\| 2: −0.0200 ± 0.0010 accuracy)"
    )
    rows[1]["regime"] = "per replica"
    assert said_of(tmp_path / "teachers", "S1", rows) == (
        "holds (none +0.0200 ± 0.0010 accuracy); **does not hold** (per replica −0.0200 ± 0.0010 accuracy)"
    )
    rows = [part("a, b", "A − B", 0.02, HOLDS, HOLDS), part("a, c", "A − C, c", -0.02, FAILS, FAILS)]
    assert said_of(tmp_path / "controls", "P1", rows, a="A", b="B", c="C, c") == (
        "holds (A − B: +0.0200 ± 0.0010 accuracy); **does not hold** (A − C, c: −0.0200 ± 0.0010 accuracy)"
    )
    rows = [
        part(f"ce_width3_share{share}, ce_width16_share{share}", "maximum − at width 3, by cross-entropy", *of)
        for share, *of in (("0", 0.02, HOLDS, HOLDS), ("0p2", -0.02, FAILS, FAILS))
    ]
    assert said_of(tmp_path / "sweep", "Y2", rows) == (
        "holds (ce_share0: +0.0200 ± 0.0010 accuracy); **does not hold** (ce_share0p2: −0.0200 ± 0.0010 accuracy)"
    )
    rows.append(rows[1] | {"test": "test accuracy, maximum − at width 16, by cross-entropy", "effect": -0.01})
    assert said_of(tmp_path / "parts", "Y2", rows).endswith(
        "(ce_share0p2, at width 3: −0.0200 ± 0.0010; ce_share0p2, at width 16: −0.0100 ± 0.0010 accuracy)"
    )


def test_arms_are_told_by_their_labels_whatever_these_hold(tmp_path: Path) -> None:
    labels = {"ce": "CE", "a": "KD (τ 4; own, x)", "b": "KD (τ 4; own, x) − long, over 3", "c": "KD"}
    rows = [
        part("a, ce", "KD (τ 4; own, x) − CE, over 4 copies of each teacher (n counts them)", 0.02, HOLDS, HOLDS),
        part("b, ce", "KD (τ 4; own, x) − long, over 3 − CE; the best of 2", -0.02, FAILS, FAILS),
    ]
    assert said_of(tmp_path / "two", "T1", rows, **labels) == (
        "holds (KD (τ 4; own, x): +0.0200 ± 0.0010 accuracy); "
        "**does not hold** (KD (τ 4; own, x) − long, over 3: −0.0200 ± 0.0010 accuracy)"
    )
    rows = [
        part("c, a", "KD − KD (τ 4; own, x) (n counts replicas)", 0.02, OPEN, OPEN),
        part("c, a", "KD − mean of 5 draws (of c)", 0.01, OPEN, OPEN),
        part("c, a", "", 0.3, OPEN, OPEN) | {"test": "rank of KD (τ 4; own, x), chosen on half"},
    ]
    assert said_of(tmp_path / "parts", "D2", rows, **labels) == (
        "undecided (test accuracy, KD − KD (τ 4; own, x): +0.0200 ± 0.0010; test accuracy, KD − mean of 5 draws: "
        "+0.0100 ± 0.0010; rank of KD (τ 4; own, x): +0.3000 ± 0.0010 accuracy)"
    )


def test_all_numbers_that_decided_are_shown(tmp_path: Path) -> None:
    rows = [part(f"a{i}, ce", f"A{i} − CE", -0.01 * i, FAILS, FAILS) for i in range(1, 7)]
    said = said_of(tmp_path, "T1", rows)
    assert said.count(" ± 0.0010") == 6
    assert "more" not in said


def test_under_the_table_stands_once_what_the_errors_are(tmp_path: Path) -> None:
    said_of(tmp_path, "S1", [part("ls, ce", "LS − CE", 0.02, HOLDS, HOLDS)])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text[text.index(ledger.BEGIN) : text.index("| claim |")]))
    assert {"stderr_crossed", "stderr", "stderr_samples", "stderr_teachers", "low", "low_replicas"} <= named
    assert named <= set(COLUMNS)
    assert text.count("± is one standard error: over all that was drawn (replicas, test rows") == 1
    assert text.index("| **S1**") < text.index("± is one standard error") < text.index(ledger.END)


def test_a_design_that_an_earlier_revision_found_by_search_confirms_nothing(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    (searched,) = (claim for claim in LEDGER if claim.id == "L1" and claim.searched)
    publish(tmp_path, "a", [row(id=searched.id)], revision=1)
    publish(tmp_path, "b", [row(id=searched.id)], revision=2)
    ledger.write_ledger(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "[a](a) ¹: holds ² (" in text
    assert "[b](b): holds (" in text
    assert "² Found on a seed on which designs had been tried" in text


def test_what_is_no_set_of_reports_is_refused_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ledger", str(tmp_path)]) == 2
    assert "holds no published report" in capsys.readouterr().err
    publish(tmp_path, "digits", [row()])
    with pytest.raises(BiasvarError, match="must hold the lines"):
        ledger.write_ledger(tmp_path)
    page = tmp_path / "README.md"
    page.write_text(f"{MARKED}{ledger.PAPERS_END}\n", encoding="utf-8")
    with pytest.raises(BiasvarError, match=r"must hold the lines <!-- papers: .* and <!-- end of papers -->"):
        ledger.write_ledger(tmp_path)
    page.write_text(MARKED, encoding="utf-8")
    (tmp_path / "digits" / "summary.json").write_text("{")
    assert main(["--ledger", str(tmp_path)]) == 2
    assert "digits is no whole report" in capsys.readouterr().err
    pd.DataFrame([row()]).drop(columns="overall").to_csv(tmp_path / "digits" / "claims.csv")
    (tmp_path / "digits" / "summary.json").write_text('{"runs": {}}')
    assert main(["--ledger", str(tmp_path)]) == 2
    assert "lacks the columns overall" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == MARKED
    assert not (tmp_path / "claims.md").exists()
    assert main(["run", "--ledger", str(tmp_path)]) == 2
    assert "--ledger takes no runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"effect": "abc"}, r"row 2, column effect: must be a number, not 'abc'"),
        ({"low": "x"}, r"row 2, column low: must be a number, not 'x'"),
        ({"overall": "foo"}, r"column overall: must be one of holds, does not hold, undecided, not 'foo'"),
        ({"verdict": None}, r"column verdict: must be one of holds, "),
        ({"id": None}, r"row 2, column id: must be a text, not nan"),
        ({"designs_tried": "many"}, r"column designs_tried: must be a count, not 'many'"),
        ({"n_replicas": float("inf")}, r"column n_replicas: must be a count, not inf"),
    ],
)
def test_a_garbled_table_is_named_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], said: str
) -> None:
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    publish(tmp_path, "digits", [row(), row(**changed)])
    assert main(["--ledger", str(tmp_path)]) == 2
    assert re.search(rf"digits/claims.csv, {said}|digits/claims.csv, row 2, {said}", capsys.readouterr().err)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == MARKED
    assert not (tmp_path / "claims.md").exists()


@pytest.mark.parametrize("column", ["low", "threshold", "direction", "level"])
def test_a_column_that_only_the_numbers_need_is_missed_before_anything_is_written(tmp_path: Path, column: str) -> None:
    (tmp_path / "README.md").write_text(MARKED, encoding="utf-8")
    publish(tmp_path, "digits", [row()])
    pd.DataFrame([row()]).drop(columns=column).to_csv(tmp_path / "digits" / "claims.csv", index=False)
    with pytest.raises(BiasvarError, match=f"claims.csv lacks the columns {column}; publish"):
        ledger.write_ledger(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == MARKED


def test_garbled_summaries_and_pages_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marked = f"{MARKED}\n{ledger.PAPERS_BEGIN}\n{ledger.PAPERS_END}\n"
    page = tmp_path / "README.md"
    page.write_text(marked, encoding="utf-8")
    publish(tmp_path, "digits", [row()])
    summary = tmp_path / "digits" / "summary.json"
    for ledger_said in ('{"revision": 1e400}', "[]"):
        summary.write_text(f'{{"runs": {{"digits": {{}}}}, "ledger": {ledger_said}}}')
        with pytest.raises(BiasvarError, match="digits is no whole report"):
            ledger.write_ledger(tmp_path)
    summary.write_text('{"runs": {"digits": {}}}')
    (tmp_path / "lone").mkdir()
    for runs in ("[{}]", '"abc"'):
        (tmp_path / "lone" / "summary.json").write_text(f'{{"runs": {runs}}}')
        with pytest.raises(BiasvarError, match="lone is no whole report"):
            ledger.write_ledger(tmp_path)
    page.write_bytes(marked.encode() + b"\xe9")
    with pytest.raises(BiasvarError, match=r"README.md is no text in UTF-8"):
        ledger.write_ledger(tmp_path)
    assert main(["--ledger", str(tmp_path), "--formats", "pdf"]) == 2
    assert "--ledger takes no runs" in capsys.readouterr().err
