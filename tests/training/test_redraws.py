"""Studies drawn several times: seeds, run directories, going on, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import biasvar
from biasvar.errors import RecordError, StudyError
from biasvar.records import open_redraws
from biasvar.report.claims.over_redraws import redrawn_in_words
from biasvar.run import main
from biasvar.seeding import derived_seed
from biasvar.study import resolve_study
from biasvar.study.redraws import redraws_of
from biasvar.training.redraws import run_redraws

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tiny_study):
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    tiny_study["teachers"] = {"main": {"hidden": [16], "epochs": 2}}
    tiny_study["schedule"]["epochs"] = 2
    tiny_study["redraws"] = 3
    return tiny_study


def tree(folder: Path) -> dict[str, str]:
    """The hash of every file, without what says when: manifests have seconds in them."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_redraws_differ_in_their_seed_alone_and_count_for_no_identity(study):
    more = resolve_study({**study, "redraws": 5})
    resolved = resolve_study(study)
    assert resolved.hash == more.hash == resolve_study({**study, "redraws": None}).hash
    redraws = redraws_of(resolved)
    assert [redraw.seed for redraw in redraws] == [derived_seed(3, "redraw", k) for k in range(3)]
    assert [redraw.hash for redraw in redraws] == [redraw.hash for redraw in redraws_of(more)[:3]]
    assert len({redraw.hash for redraw in redraws} | {resolved.hash}) == 4
    plain = resolve_study({**study, "redraws": None, "seed": redraws[1].seed})
    assert redraws[1] == plain
    assert redraws_of(plain) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"redraws": 1}, "redraws: must be greater than or equal to 2"),
        ({"redraws": 0}, "redraws: must be greater than or equal to 2"),
        ({"redraws": True}, "redraws: must be a number"),
        ({"redraws": 2.5}, "redraws: must be a valid integer"),
        ({"share": ["other"]}, "share: not with redraws"),
    ],
)
def test_what_a_study_may_not_say(study, change, message):
    with pytest.raises(StudyError, match=message):
        resolve_study({**study, **change})


def test_each_redraw_is_a_run_with_its_own_split_teacher_and_replicas(study, tmp_path):
    redraws = run_redraws(resolve_study(study), tmp_path / "out", device="cpu")
    assert [run.directory.name for run in redraws.runs] == ["redraw=000", "redraw=001", "redraw=002"]
    assert redraws.missing == []
    assert (redraws.name, redraws.count, redraws.manifest["status"]) == ("tiny", 3, "complete")
    tests = [frozenset(run.samples.query("split == 'test'")["sample_id"]) for run in redraws.runs]
    assert len(set(tests)) == 3
    assert redrawn_in_words(redraws) == "splits, teachers and replicas"
    common = sorted(frozenset.intersection(*(frozenset(run.samples["sample_id"]) for run in redraws.runs)))[:50]
    teachers = [run.teacher("main") for run in redraws.runs]
    shown = [found.logits[..., np.searchsorted(found.sample_ids, common), :] for found in teachers]
    assert not np.allclose(shown[0], shown[1])
    for run in redraws.runs:
        assert run.study["redraws"] is None
        alone = resolve_study({**study, "redraws": None, "seed": run.manifest["seed"]})
        assert run.manifest["study_hash"] == alone.hash
    with pytest.raises(RecordError, match=r"each a run .*redraw=000, redraw=001, redraw=002.*open_redraws"):
        biasvar.open_run(tmp_path / "out")


def test_more_redraws_are_added_and_those_that_are_there_stay(study, tmp_path):
    run_redraws(resolve_study({**study, "redraws": 2}), tmp_path / "out", device="cpu")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if "redraw=" in str(path)}
    before = tree(tmp_path / "out/redraw=001")
    redraws = run_redraws(resolve_study(study), tmp_path / "out", device="cpu")
    assert len(redraws.runs) == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert tree(tmp_path / "out/redraw=001") == before
    with pytest.raises(RecordError, match=r"holds 3 redraws, and redraws: 2 asks for fewer"):
        run_redraws(resolve_study({**study, "redraws": 2}), tmp_path / "out", device="cpu")


@pytest.mark.slow
def test_the_command_goes_on_after_it_was_killed_to_the_same_bytes(study, tmp_path, capsys):
    study["schedule"]["epochs"] = 30
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "biasvar.run", str(path), "--jobs", "1", "--device", "cpu", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen([*command, str(tmp_path / "cut")], env=environment, cwd=tmp_path)
    until = time.monotonic() + 120
    while not (tmp_path / "cut/redraw=001/metrics").exists() and time.monotonic() < until and killed.poll() is None:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    halfway = open_redraws(tmp_path / "cut")
    assert halfway.manifest["status"] == "running"
    assert halfway.missing == ["redraw=002"]
    for out in ("cut", "whole"):
        assert main([*command[3:], str(tmp_path / out)]) == 0
        assert "3 redraws of 2 arms of 4 replicas" in capsys.readouterr().out
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    manifests = [json.loads((tmp_path / out / "manifest.json").read_text()) for out in ("cut", "whole")]
    assert manifests[0] == manifests[1]


@pytest.fixture
def study_file(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return ["study.yaml", "--device", "cpu", "--jobs", "1"]


def test_a_directory_holds_redraws_of_one_study_or_a_run(study_file, capsys):
    def refused(*arguments: str) -> str:
        assert main([*study_file, *arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    assert main([*study_file, "--out", "many", "--set", "redraws=2"]) == 0
    assert main([*study_file, "--out", "one", "--set", "redraws=null"]) == 0
    capsys.readouterr()
    before = tree(Path("many")), tree(Path("one"))
    assert "one holds a run, 'tiny', no redraws" in refused("--out", "one")
    assert "this study is one draw" in refused("--out", "many", "--set", "redraws=null")
    said = refused("--out", "many", "--set", "redraws=2", "--set", "arms.kd.temperature=3")
    assert "many holds redraws, 'tiny', of a study that differs: arms.kd.temperature was 2.0 and is 3.0" in said
    assert "is a file" in refused("--out", "study.yaml")
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    assert "not empty and holds no redraws (it has notes.txt)" in refused("--out", "other")
    assert (tree(Path("many")), tree(Path("one"))) == before


def test_a_dry_run_says_how_often_it_draws_and_checks_every_redraw(study_file, capsys):
    assert main([*study_file, "--dry-run"]) == 0
    said = capsys.readouterr().out
    seeds = ", ".join(str(derived_seed(3, "redraw", k)) for k in range(3))
    assert "3 redraws of all of it, redraw=000 to redraw=002, each with its own split" in said
    assert seeds in said
    assert main([*study_file, "--dry-run", "--set", "data.validation=12"]) == 2
    assert "has no row of class" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_failed_replicas_are_said_with_their_redraw(study_file, capsys):
    assert main([*study_file, "--set", "redraws=2", "--set", "learning_rate.value=1e6"]) == 0
    assert "warning: redraw=001, arm ce: 4 of 4 replicas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds is .* must be a list of whole numbers"),
        ({"seeds": ["a"]}, "seeds is .* must be a list of whole numbers"),
        ({"name": 3}, "name is 3, it must be a text"),
        ({"seeds": [1, 2]}, "is a run of seed .* redraw 0 has seed 1"),
        ({"schema_version": 99}, "newer than this biasvar reads"),
    ],
)
def test_a_damaged_manifest_is_named(study, tmp_path, change, message):
    run_redraws(resolve_study({**study, "redraws": 2}), tmp_path / "out", device="cpu")
    path = tmp_path / "out/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=message):
        open_redraws(tmp_path / "out")


def test_a_run_of_another_study_among_redraws_is_named(study, tmp_path):
    redraws = run_redraws(resolve_study({**study, "redraws": 2}), tmp_path / "out", device="cpu")
    path = redraws.runs[1].directory / "manifest.json"
    claims = {"W8": [{"treatment": "kd", "control": "ce"}]}
    path.write_text(json.dumps({**json.loads(path.read_text()), "claims": claims}))
    with pytest.raises(RecordError, match=r"redraw=001 is a run that tests other claims than redraw=000"):
        open_redraws(tmp_path / "out")
