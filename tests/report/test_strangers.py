"""Files and names from others: what a report may remove, and what a name may do to a table, a page or a terminal."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biasvar import import_predictions
from biasvar.messages import one_line, visible
from biasvar.report.__main__ import main
from biasvar.report.figures import FIGURES
from biasvar.report.output import as_text, write_table
from biasvar.run import main as run

NASTY = "=HYPERLINK(1)\x1b[31m<b>&\nnext\x00\u202eback\ud800"
SHOWN = r"=HYPERLINK(1)\x1b[31m<b>& next\x00\u202eback\ud800"
BAD = set("\x00\x1b\u202e\ud800")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Imported predictions of two arms whose names in the manifest are not meant well."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=40)
    directory = tmp_path / "run"
    for arm in ("plain", "sharp"):
        files = [2 * np.eye(3)[labels] + rng.normal(size=(40, 3)) for _ in range(3)]
        import_predictions(files, labels, directory=directory, arm=arm, class_names="abc", resume=arm == "sharp")
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["title"] = manifest["data"]["note"] = manifest["arms"]["plain"]["label"] = NASTY
    manifest["arms"]["sharp"]["label"] = "-1+cmd|' /C calc'!A0"
    manifest["class_names"][1] = NASTY
    path.write_text(json.dumps(manifest))
    return directory


def test_only_what_a_report_writes_is_removed(foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mine = {name: out / name for name in ("notes.txt", "data.csv", "run.py", ".hidden", "index.htm")}
    outside = tmp_path / "curves.csv"
    for path in (*mine.values(), outside, out / "rounds.svg"):
        path.write_text("kept")
    (out / "gallery.svg").symlink_to(outside)
    (out / "flags.csv").mkdir()
    absolute = str(tmp_path / "noise.csv")
    Path(absolute).write_text("kept")
    listed = [
        *mine,
        "../curves.csv",
        absolute,
        "rounds.svg",
        "gallery.svg",
        "flags.csv",
        "a/../notes.txt",
        3,
        None,
        ".",
    ]
    (out / "summary.json").write_text(json.dumps({"biasvar": "0.1", "files": listed}))
    assert main([str(foreign), "--out", str(out), "--figures", "accuracy"]) == 0
    assert all(path.read_text() == "kept" for path in (*mine.values(), outside, Path(absolute)))
    assert not (out / "rounds.svg").exists()  # of an earlier report
    assert not (out / "gallery.svg").is_symlink()  # the link alone
    assert (out / "flags.csv").is_dir()


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", '{"biasvar": 1, "files": "notes.txt"}', "", "\x00"])
def test_a_summary_that_is_none_removes_nothing(foreign: Path, tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "rounds.svg").write_text("kept")
    (out / "summary.json").write_text(content)
    assert main([str(foreign), "--out", str(out), "--figures", "accuracy", "--formats", "png"]) == 0
    assert (out / "rounds.svg").exists()


def test_every_file_that_a_report_or_a_card_writes_may_be_removed_again(written: Path, foreign: Path, tmp_path: Path):
    from biasvar.report.output import _OWN

    np.save(tmp_path / "soft.npy", np.random.default_rng(0).dirichlet(np.ones(3), 60))
    np.save(tmp_path / "labels.npy", np.arange(60) % 3)
    arguments = ["--soft-labels", str(tmp_path / "soft.npy"), "--labels", str(tmp_path / "labels.npy")]
    assert main([*arguments, "--out", str(tmp_path / "card"), "--formats", "png,svg,pdf"]) == 0
    names = {path.name for folder in (written, tmp_path / "card") for path in folder.iterdir()}
    assert not [name for name in names if not _OWN.fullmatch(name)]
    assert len(names) > len(FIGURES)


def test_names_stay_text_in_tables_pages_and_pictures(foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(foreign), "--out", str(out), "--formats", "svg"]) == 0
    page = (out / "index.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert r"\x1b[31m" in page
    for path in out.iterdir():
        assert not BAD & set(path.read_text()), path
    for path in out.glob("*.svg"):
        assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")
    labels = set()
    for path in out.glob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                assert not [cell for cell in row if cell[:1] in ("=", "+", "@", "-") and not is_number(cell)], path
                labels |= {cell for cell in row if "HYPERLINK" in cell}
    assert labels == {f"'{SHOWN}"}
    assert json.loads((out / "summary.json").read_text())["runs"]["run"]["arms"]["plain"]["label"] == SHOWN


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_card_shows_class_names_as_text(tmp_path: Path) -> None:
    np.save(tmp_path / "soft.npy", np.random.default_rng(0).dirichlet(np.ones(3), 60))
    np.save(tmp_path / "labels.npy", np.arange(60) % 3)
    arguments = ["--soft-labels", str(tmp_path / "soft.npy"), "--labels", str(tmp_path / "labels.npy")]
    names = f"{NASTY[:-1]},=1+1,c"
    assert main([*arguments, "--class-names", names, "--out", str(tmp_path / "card"), "--formats", "svg"]) == 0
    for path in (tmp_path / "card").iterdir():
        assert not BAD & set(path.read_text()), path
    assert "'=1+1" in (tmp_path / "card" / "classes.csv").read_text()


def test_a_table_keeps_its_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=a": ["=1", "-1.5", None, "+x", "\t=2"], "n": [-1.5, 2, np.nan, 4, 5]})
    write_table(tmp_path, "table", frame.assign(kind=pd.Categorical(["@", "b", "b", "b", "@"])))
    text = (tmp_path / "table.csv").read_text()
    assert text == "'=a,n,kind\n'=1,-1.5,'@\n-1.5,2,b\n,,b\n'+x,4,b\n' =2,5,'@\n"
    assert as_text(-2) == -2


def test_a_line_on_the_terminal_stays_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert visible("plain, é, 中文, a\u200db") == "plain, é, 中文, a\u200db"
    assert one_line(f"no {NASTY[:-1]}\r\n") == f"no {SHOWN[:-6]}"
    for command in (main, run):
        assert command([str(tmp_path / "a\x1b[2Jb\nc.yaml")]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert r"a\x1b[2Jb c.yaml" in said
