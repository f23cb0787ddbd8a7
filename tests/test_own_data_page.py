"""docs/own_data.md: its program runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import biasvar
from biasvar.run import main
from biasvar.study.schema import Data
from biasvar.study.streaming import Streamed
from biasvar.study.teachers import Teacher
from tests.data.made import tree

PAGE = (Path(__file__).parents[1] / "docs" / "own_data.md").read_text(encoding="utf-8")


def test_the_program_runs_and_its_run_has_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    exec(compile(program, "own_data.md", "exec"), {"__name__": "page"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["ce", "kd"]
    run = biasvar.open_run("runs/mine")
    assert run.manifest["teachers"]["given"]["regime"] == "fixed, trained elsewhere"
    assert run.manifest["teachers"]["given"]["accuracy_test"] > 0.85
    assert len(run.decomposition("kd").bias) == round(0.2 * 1797)


def of_a_study(key):
    """The piece of a study on the page that has a key."""
    pieces = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)]
    (piece,) = (piece for piece in pieces if key in piece)
    return piece


def test_the_study_of_streamed_images_is_read_as_the_page_says():
    data = Data(**of_a_study("data")["data"])
    assert data.streamed == Streamed(workers=8)
    assert (data.validation, data.test) == (10_000, None)


@pytest.mark.slow
def test_the_study_of_streamed_images_runs(tmp_path, monkeypatch, capsys):
    """On few and small images, for one epoch."""
    monkeypatch.chdir(tmp_path)
    study = of_a_study("data")
    study["data"]["name"] = str(tree(tmp_path / "imagenet"))
    study["data"]["validation"], study["replicas"] = 9, 2
    study["data"]["streamed"] |= {"image_size": 32, "resize": 36, "workers": 0}
    study["schedule"] |= {"epochs": 1, "batch_size": 18}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["study.yaml", "--device", "cpu"]) == 0
    assert "runs/photographs: 2 arms of 2 replicas" in capsys.readouterr().out
    assert len(biasvar.open_run("runs/photographs").decomposition("ls").bias) == 15


def test_the_teachers_of_the_page_are_teachers():
    teachers = {name: Teacher(**given) for name, given in of_a_study("teachers")["teachers"].items()}
    assert not any(teacher.is_trained for teacher in teachers.values())
