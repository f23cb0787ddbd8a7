"""Where the data of a study lie: relative to the study file, and what older studies for one working directory get."""

from __future__ import annotations

import pickle

import pytest
import torch
import yaml

from biasvar.run import main
from biasvar.study import load_study
from biasvar.training.checks import open_study
from tests.data.made import pictures, write


@pytest.fixture
def there(tmp_path, tiny_study, monkeypatch):
    """A study file in a folder, and a working directory elsewhere."""
    for folder in ("studies/data", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    tiny_study["data"] |= {"name": "data/faces.parquet", "test": 20, "validation": 10, "reserved": 10}
    tiny_study["draw"] = {"kind": "bootstrap"}
    (tmp_path / "studies/study.yaml").write_text(yaml.safe_dump(tiny_study))
    return tmp_path


def faces(path, seed):
    write(path, pictures(200, seed=seed), [i % 3 for i in range(200)])


def test_a_path_is_relative_to_the_study_file(there, capsys):
    faces(there / "studies/data/faces.parquet", 0)
    study = load_study("../studies/study.yaml")
    assert study.data.path == str(there / "studies/data/faces.parquet")
    assert open_study(study, there / "run", torch.device("cpu")).dataset.path == study.data.path
    assert pickle.loads(pickle.dumps(study)).data.path == study.data.path  # as a worker gets it
    assert main(["../studies/study.yaml", "--dry-run"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "the dry run takes a step of " in line


def test_what_only_the_working_directory_has_is_taken_from_there_and_said(there, capsys):
    faces(there / "elsewhere/data/faces.parquet", 0)
    assert main(["../studies/study.yaml", "--dry-run"]) == 0
    said, line = capsys.readouterr().err.splitlines()
    assert "the dry run takes a step of " in line
    assert "data.name data/faces.parquet: not beside the study file, taken from the working directory (" in said


def test_of_two_the_one_beside_the_study_file_is_taken_and_said(there, capsys):
    faces(there / "studies/data/faces.parquet", 0)
    faces(there / "elsewhere/data/faces.parquet", 1)
    study = load_study("../studies/study.yaml")
    assert study.data.path == str(there / "studies/data/faces.parquet")
    assert "the one beside the study file is taken" in capsys.readouterr().err


def test_a_missing_file_is_named_with_its_whole_path(there, capsys):
    assert main(["../studies/study.yaml", "--dry-run"]) == 2
    assert f"at {there / 'studies/data/faces.parquet'}" in capsys.readouterr().err


def test_a_path_in_a_file_below_is_relative_to_that_file(there, capsys):
    faces(there / "studies/data/faces.parquet", 0)
    (there / "above.yaml").write_text("extends: studies/study.yaml\ndata: {test: 30}\n")
    (there / "other.yaml").write_text("extends: studies/study.yaml\ndata: {name: digits, test: 300}\n")
    assert load_study(there / "above.yaml").data.path == str(there / "studies/data/faces.parquet")
    assert load_study(there / "other.yaml").data.path is None
    faces(there / "elsewhere/mine.parquet", 0)
    set_here = load_study(there / "studies/study.yaml", overrides=["data.name=mine.parquet"])
    assert set_here.data.path == str(there / "elsewhere/mine.parquet")
    assert capsys.readouterr().err == ""


def test_the_place_is_no_part_of_the_identity_and_travels_with_the_resolved_study(there):
    faces(there / "studies/data/faces.parquet", 0)
    study = load_study("../studies/study.yaml")
    faces(there / "elsewhere/data/faces.parquet", 0)
    (there / "studies/data/faces.parquet").unlink()
    assert load_study("../studies/study.yaml").hashes == study.hashes
    assert "path" not in study.model_dump()["data"]
    (there / "elsewhere/resolved.yaml").write_text(study.to_yaml())
    faces(there / "studies/data/faces.parquet", 0)
    again = load_study("resolved.yaml")
    assert (again, again.data.path, again.hash) == (study, study.data.path, study.hash)


def test_a_place_without_a_path_is_refused(there, tiny_study):
    tiny_study["data"] |= {"name": "digits", "path": "x.parquet"}
    (there / "studies/study.yaml").write_text(yaml.safe_dump(tiny_study))
    with pytest.raises(ValueError, match=r"path: digits is a data set's name; to give a path, give it as data.name"):
        load_study("../studies/study.yaml")
