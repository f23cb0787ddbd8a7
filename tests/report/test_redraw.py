"""A report drawn into the folder of an earlier one: what the earlier one wrote goes, anything else stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from biasvar.records import Run
from biasvar.report.__main__ import main
from biasvar.report.output import into_place


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def drawn(run: Run, out: Path, figures: str, formats: str = "png") -> set[str]:
    assert main([str(run.directory), "--out", str(out), "--figures", figures, "--formats", formats]) == 0
    listed: set[str] = set(json.loads((out / "summary.json").read_text())["files"])
    return listed


def test_files_of_an_earlier_report_go_and_others_stay(imported_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "report"
    first = drawn(imported_run, out, "bias_variance,accuracy", "png,svg")
    assert first == names(out)
    assert {"accuracy.csv", "accuracy.png", "accuracy.svg", "bias_variance.svg", "index.html"} < first
    (out / "notes.txt").write_text("mine")
    (out / "shares.png").write_bytes(b"a figure's name, but no report wrote it")
    (out / "more").mkdir()
    second = drawn(imported_run, out, "bias_variance")
    assert names(out) == second | {"notes.txt", "shares.png", "more"}
    assert "accuracy.png" not in names(out)
    assert "bias_variance.svg" not in names(out)  # of another format, and of the report before


def test_a_card_in_the_place_of_a_report_too(imported_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "report"
    drawn(imported_run, out, "accuracy")
    np.savez(tmp_path / "soft.npz", soft_labels=np.full((6, 3), 1 / 3) + 0.3 * np.eye(3)[[0, 1, 2] * 2] - 0.1)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2] * 2))
    arguments = ["--soft-labels", str(tmp_path / "soft.npz"), "--labels", str(tmp_path / "labels.npy")]
    assert main([*arguments, "--out", str(out), "--formats", "png"]) == 0
    assert "accuracy.png" not in names(out)
    assert names(out) == set(json.loads((out / "summary.json").read_text())["files"])


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"files": ["kept.png"]}',  # not ours: it does not say which biasvar wrote it
        '{"biasvar": "0.1.0"}',
        '{"biasvar": "0.1.0", "files": ["../kept.png", "sub/kept.png", "folder", 3, "..", "."]}',
    ],
)
def test_nothing_goes_that_a_report_did_not_write_there(content: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    (out / "sub").mkdir()
    for path in (out / "kept.png", out / "sub/kept.png", tmp_path / "kept.png", out / "folder/kept.png"):
        path.write_text("mine")
    (out / "summary.json").write_text(content)
    with into_place(out) as folder:
        (folder / "new.png").write_text("new")
        (folder / "summary.json").write_text('{"biasvar": "0.1.0"}')
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "kept.png", "out/folder/kept.png", "out/kept.png", "out/new.png", "out/sub/kept.png",
    ]  # fmt: skip
    assert json.loads((out / "summary.json").read_text())["files"] == ["new.png", "summary.json"]


def test_a_report_that_fails_removes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with into_place(out) as folder:
        (folder / "old.png").write_text("old")
        (folder / "summary.json").write_text('{"biasvar": "0.1.0"}')
    with pytest.raises(FileNotFoundError), into_place(out) as folder:
        (folder / "summary.json").read_text()
    assert names(out) == {"old.png", "summary.json"}
