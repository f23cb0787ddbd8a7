"""A study file from somebody else: what it names by import path is refused before anything is imported."""

from __future__ import annotations

import sys

import pytest
import yaml

from biasvar.run import main
from biasvar.study.import_path import no_code, source_hash

PLACES = {
    "a method": ("arms.ce.loss", lambda study, path: study["arms"]["ce"].update(loss=path)),
    "the students' network": ("student", lambda study, path: study.update(student={"model": path})),
    "an arm's network": ("arms.ce.student", lambda study, path: study["arms"]["ce"].update(student={"model": path})),
    "a teacher's network": ("teachers.main", lambda study, path: study["teachers"]["main"].update(model=path)),
}


@pytest.fixture
def strange(tmp_path, tiny_study, monkeypatch):
    """A study beside a module that leaves a trace where it is imported."""
    (tmp_path / "strange_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    tiny_study |= {"backend": "sequential", "teachers": {"main": {"hidden": [4]}}}
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    yield tiny_study
    sys.modules.pop("strange_module", None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dry", [["--dry-run"], ["--jobs", "1"]])
def test_every_kind_of_import_path_is_refused_before_it_runs(strange, tmp_path, capsys, place, dry):
    key, put = PLACES[place]
    put(strange, "strange_module:Thing")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(strange))
    assert main(["study.yaml", "--no-code", *dry]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{key}: " in said
    assert "strange_module:Thing is code that would be imported and run, which --no-code refuses" in said
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "runs").exists()
    assert main(["study.yaml", *dry]) == 2  # the module has no Thing, and is found out by importing it
    assert (tmp_path / "ran").exists()


def test_overrides_and_files_below_are_refused_too(strange, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(strange))
    (tmp_path / "above.yaml").write_text("extends: study.yaml\narms: {ce: {loss: 'strange_module:Thing'}}\n")
    for arguments in (["above.yaml"], ["study.yaml", "--set", "arms.kd.loss=strange_module:Thing"]):
        assert main([*arguments, "--no-code", "--dry-run"]) == 2
        assert "--no-code refuses" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_all_of_them_are_named_at_once_and_a_study_without_is_taken(strange, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(strange))
    assert main(["study.yaml", "--no-code", "--dry-run"]) == 0
    strange["arms"]["ce"]["loss"] = "strange_module:Loss"
    strange["student"] = {"model": "strange_module:net"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(strange))
    assert main(["study.yaml", "--no-code", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "strange_module:Loss" in said
    assert "strange_module:net" in said


def test_what_asks_for_a_source_is_refused_too(strange, tmp_path):
    with no_code(), pytest.raises(ValueError, match="--no-code refuses"):
        source_hash("strange_module:Thing")
    assert not (tmp_path / "ran").exists()


def test_help_says_that_a_dry_run_imports(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--no-code" in said
    assert "also by --dry-run" in said
