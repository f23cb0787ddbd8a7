"""The script behind `make models`: teachers alone, hashed, beside what was published, and students later."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
import yaml

from biasvar.records import open_run
from biasvar.run import main as biasvar_run
from experiments import models


@pytest.fixture
def published(tmp_path, tiny_study, monkeypatch):
    """Studies in a folder of their own: two with figures, one without, one at full size, one whose data are missing."""
    experiments, figures = tmp_path / "experiments", tmp_path / "figures"
    monkeypatch.setattr(models, "ROOT", experiments)
    monkeypatch.setattr(models, "PUBLISHED", figures)
    monkeypatch.setenv("BIASVAR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    tiny_study |= {"teachers": {name: tiny_study["teachers"][name] for name in ("main", "own", "disjoint")}}
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd", "kd_own")}
    tiny_study |= {"replicas": 2, "teachers": tiny_study["teachers"] | {"both": {"mean_of": ["main", "disjoint"]}}}
    bare = {key: value for key, value in tiny_study.items() if key not in ("teachers", "defaults", "arms")}
    bare["arms"] = {"ce": {"loss": "cross_entropy"}}
    studies = {
        "tiny": tiny_study,
        "absent": {**tiny_study, "data": {"name": "fashion_mnist", "test": 300, "reserved": 150}},
        "bare": bare,
        "unpublished": tiny_study,
    }
    (experiments / "full").mkdir(parents=True)
    for name, study in studies.items():
        (experiments / f"{name}.yaml").write_text(yaml.safe_dump({**study, "name": name}))
    (experiments / "full" / "tiny.yaml").write_text(yaml.safe_dump({**tiny_study, "seed": 4}))
    figures.mkdir()
    runs = {name: {"arms": {}} for name in ("tiny", "absent", "bare")}
    (figures / "summary.json").write_text(json.dumps({"runs": runs}))
    return tmp_path


def made(folder, *names):
    assert models.main([*names, "--out", str(folder), "--jobs", "1"]) == 0
    return pd.read_csv(folder / "teachers.csv", keep_default_na=False).set_index("teacher")


def test_teachers_are_trained_and_hashed_and_missing_data_skipped_by_name(published, capsys):
    out = published / "out"
    table = made(out)
    said = capsys.readouterr().out
    assert "absent: skipped, its data are not there: " in said
    assert "bare: no teachers" in said
    assert "absent: skipped" in (out / "log.txt").read_text()
    assert "unpublished" not in said
    assert set(table["study"]) == {"tiny"}
    assert sorted(table.index) == ["both", "disjoint", "main", "own"]
    for name in ("main", "disjoint"):
        row = table.loc[name]
        assert row["sha256"] == hashlib.sha256((out / "tiny" / row["file"]).read_bytes()).hexdigest()
        assert row["as_published"] == "not published"
        assert row["sha256"][:12] in said
    assert table.loc["own", ["networks", "note", "sha256"]].tolist() == [
        2,
        "one a replica, trained with the students",
        "",
    ]
    assert table.loc["both", "note"] == "no weights of its own"
    run = open_run(out / "tiny")
    assert run.manifest["status"] == "running"
    assert run.arms == []
    again = made(published / "again")
    assert again[["file", "sha256"]].equals(table[["file", "sha256"]])


def test_it_goes_on_where_it_was_and_with_the_students(published):
    out = published / "out"
    table = made(out, "tiny")
    kept, lost = (out / "tiny" / table.loc[name, "file"] for name in ("main", "disjoint"))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert made(out, "tiny")["sha256"].equals(table["sha256"])
    assert kept.stat().st_mtime_ns == before
    assert hashlib.sha256(lost.read_bytes()).hexdigest() == table.loc["disjoint", "sha256"]

    study = str(published / "experiments" / "tiny.yaml")
    assert biasvar_run([study, "--out", str(out / "tiny"), "--jobs", "1", "--device", "cpu"]) == 0
    assert biasvar_run([study, "--out", str(published / "whole"), "--jobs", "1", "--device", "cpu"]) == 0
    run, whole = open_run(out / "tiny"), open_run(published / "whole")
    assert run.manifest["status"] == "complete"
    assert kept.stat().st_mtime_ns == before
    assert run.arm("kd")["weights_sha256"] == whole.arm("kd")["weights_sha256"]
    assert run.arm("kd_own")["weights_sha256"] == whole.arm("kd_own")["weights_sha256"]
    assert made(out, "tiny").loc["main", "sha256"] == table.loc["main", "sha256"]


def test_it_says_whether_an_accuracy_is_the_published_one(published):
    out = published / "out"
    accuracy = made(out, "tiny").loc[["main", "disjoint"], "accuracy_test"].astype(float)
    told = pd.DataFrame({"run": "tiny", "teacher": ["main"], "teacher_accuracy": [round(accuracy["main"], 10)]})
    told.to_csv(published / "figures" / "teachers.csv", index=False)
    wrong = {"teacher_accuracy": {"teacher": "disjoint", "value": accuracy["disjoint"] + 0.01}}
    runs = {"runs": {"tiny": {"arms": {"kd": wrong, "ce": {"teacher_accuracy": None}}}}}
    (published / "figures" / "summary.json").write_text(json.dumps(runs))
    table = made(out, "tiny")
    assert table.loc[["main", "disjoint", "both"], "as_published"].tolist() == ["equal", "differs", "not published"]


def test_a_study_that_fails_stops_no_other(published, monkeypatch, capsys):
    study = published / "experiments" / "absent.yaml"
    study.write_text(study.read_text().replace("fashion_mnist", "digits").replace("test: 300", "test: 3000"))
    assert models.main(["--out", str(published / "out"), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "absent: failed, " in said
    assert "tiny: trained into " in said
    with pytest.raises(SystemExit):
        models.main(["tinny"])
    assert "did you mean 'tiny'?" in capsys.readouterr().err


def test_each_redraw_has_teachers_of_its_own(published):
    file = published / "experiments" / "tiny.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "redraws": 2}))
    table = made(published / "out", "tiny").loc["main"]
    assert table["redraw"].tolist() == ["redraw=000", "redraw=001"]
    assert table["sha256"].nunique() == 2
    for _, row in table.iterrows():
        path = published / "out" / "tiny" / row["redraw"] / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    assert json.loads((published / "out" / "tiny" / "manifest.json").read_text())["status"] == "running"


def test_every_published_study_is_found():
    """The rule finds the file of every study that a summary names, but those renamed since."""
    names = {name for path in models.PUBLISHED.rglob("summary.json") for name in json.loads(path.read_text())["runs"]}
    assert {name for name in names if " by " not in name} == set(models.published_studies())
