"""The command line of runs: what it prints, its exit status, and that bad input writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

import biasvar
from biasvar.run import main

TAKES_A_STEP = "biasvar: note: the dry run takes a step of {} on cpu; then it says what all of it would take"


@pytest.fixture
def study_file(tmp_path, tiny_study, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    tiny_study["schedule"]["epochs"] = 4
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    return tmp_path / "study.yaml"


def test_a_run_goes_where_it_is_told_and_a_second_is_left_alone(study_file, capsys):
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "runs/tiny: 2 arms of 4 replicas" in said.out
    assert said.err.splitlines()[-1] == "next, its page: python -m biasvar.report runs/tiny"
    manifest = study_file.parent / "runs/tiny/manifest.json"
    before = manifest.read_bytes()
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1"]) == 0
    assert manifest.read_bytes() == before
    assert json.loads(before)["status"] == "complete"
    assert yaml.safe_load((study_file.parent / "runs/tiny/study.yaml").read_text())["arms"]["kd"]["temperature"] == 2

    capsys.readouterr()
    assert main(["study.yaml", "--set", "arms.kd.temperature=3", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "holds another run" in error
    assert error.count("\n") == 1
    assert manifest.read_bytes() == before


def test_teachers_alone_first_and_the_students_by_the_same_command(study_file, capsys):
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1", "--teachers-only"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("runs/tiny: 2 teachers, ")
    assert said.endswith(" of training, no students; with the students, one for each replica: own\n")
    folder = study_file.parent / "runs/tiny"
    first = json.loads((folder / "manifest.json").read_text())
    assert (first["status"], sorted(first["teachers"])) == ("running", ["disjoint", "main"])
    assert {entry["status"] for entry in first["arms"].values()} == {"waiting"}
    assert not (folder / "records").exists()
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1"]) == 0
    done = json.loads((folder / "manifest.json").read_text())
    assert done["status"] == "complete"
    assert {name: done["teachers"][name] for name in first["teachers"]} == first["teachers"]
    assert "own" in done["teachers"]


def test_dry_run_says_what_would_happen_and_writes_nothing(study_file, capsys):
    assert main(["study.yaml", "--dry-run", "--set", "arms.kd.temperature=3", "--out", "elsewhere"]) == 0
    out = capsys.readouterr().out
    assert "into elsewhere" in out
    assert "kd: distillation, teacher main, temperature 3, alpha 0.5" in out
    assert list(study_file.parent.iterdir()) == [study_file]


def test_runs_that_share_arms_say_which_they_take_over(study_file, capsys):
    """A name that is not there may be misspelt; nothing else would tell."""
    assert main(["study.yaml", "--out", "runs/first", "--jobs", "1"]) == 0
    assert "taken over" not in capsys.readouterr().out
    raw = yaml.safe_load(study_file.read_text()) | {"name": "second", "share": ["first", "frist"]}
    study_file.write_text(yaml.safe_dump(raw))
    assert main(["study.yaml", "--out", "runs/second", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "share: runs/first is there; its arms of the same name and settings are taken over" in out
    assert "share: runs/frist is not there; all arms are trained" in out
    beside = study_file.parent / "runs" / "frist"
    beside.mkdir()
    (beside / "manifest.json").write_text("{}")  # no run that arms could be taken from
    assert main(["study.yaml", "--out", "runs/second", "--dry-run"]) == 0
    assert "share: runs/frist is not there; all arms are trained" in capsys.readouterr().out
    assert main(["study.yaml", "--out", "runs/second", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"; taken over: {', '.join(raw['arms'])}")


def test_a_reader_of_a_dry_run_may_stop_reading(study_file):
    command = f"{sys.executable} -m biasvar.run study.yaml --dry-run | true"
    done = subprocess.run(command, shell=True, cwd=study_file.parent, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [TAKES_A_STEP.format("3 teachers and 2 arms")]


def test_a_dry_run_says_that_hardly_an_epoch_is_evaluated(study_file, capsys):
    assert main(["study.yaml", "--dry-run", "--set", "evaluate_every=9"]) == 0
    assert "evaluate_every 9 is more than the 4 epochs: only the first" in capsys.readouterr().out
    assert main(["study.yaml", "--dry-run"]) == 0
    assert "evaluate_every" not in capsys.readouterr().out


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--executor",
            "nonsense",
            "--executor nonsense: no address of a Ray cluster; allowed are ray, auto, HOST:PORT",
        ),
        ("--executor", "", "--executor : no address of a Ray cluster"),
        ("--engine", "warp", "engine 'warp': there is auto, channels_last"),
        ("--device", "", "--device is empty"),
        ("--out", "", "--out is empty"),
        ("--out", "study.yaml/run", "study.yaml"),
    ],
)
def test_what_a_run_refuses_a_dry_run_does_too(study_file, capsys, dry, option, value, message):
    assert main(["study.yaml", *["--dry-run"] * dry, option, value]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("biasvar: error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert said.out == ""


def test_a_dry_run_refuses_the_directory_of_another_study(study_file, capsys):
    """As the run itself would, so that it is not found out once a queue has come to it."""
    assert main(["study.yaml", "--out", "runs/held"]) == 0
    assert main(["study.yaml", "--out", "runs/held", "--dry-run"]) == 0
    capsys.readouterr()
    for more in ([], ["--dry-run"]):
        assert main(["study.yaml", "--out", "runs/held", "--set", "schedule.batch_size=7", *more]) == 2
        assert "of a study that differs: schedule.batch_size was" in capsys.readouterr().err


def test_a_dry_run_opens_the_data(study_file, capsys):
    assert main(["study.yaml", "--dry-run", "--set", "data.test=5000"]) == 2
    assert "5000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.yaml"], "no study file at missing.yaml"),
        (["study.yaml", "--set", "arms.kd.temprature=3"], "did you mean 'temperature'"),
        (["study.yaml", "--set", "replicas=1"], "replicas: must be greater than or equal to 2"),
        (["study.yaml", "--device", "abacus"], "--device abacus: not usable here"),
        (["study.yaml", "--device", "meta"], "--device meta: not usable here"),
        (["study.yaml", "--jobs", "0"], "--jobs must be at least 1"),
        (["study.yaml", "--dry-run", "--jobs", "0"], "--jobs must be at least 1"),
        (["study.yaml", "--dry-run", "--device", "abacus"], "--device abacus: not usable here"),
        (["study.yaml", "--out", "study.yaml"], "is a file"),
        (["broken.yaml"], "is no valid YAML"),
        (["study.yaml", "--set", "teachers.main.rows=5000"], "5000 rows asked for"),
        (["study.yaml", "--set", "draw.rows=5000"], "rows must be between 1 and the pool's 1147"),
        (["study.yaml", "--set", "data.test=1700"], "leave any for the students"),
    ],
)
def test_bad_input_is_one_line_and_status_2(study_file, capsys, arguments, message):
    (study_file.parent / "broken.yaml").write_text("a: [1")
    before = sorted(study_file.parent.iterdir())
    assert main([*arguments, *([] if "--jobs" in arguments else ["--jobs", "1"])]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("biasvar: error: ")
    assert captured.err.count("\n") == 1
    assert sorted(study_file.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--devices", "--devices: must be a whole number, not 'x'"),
        ("--jobs", "--jobs: must be a whole number, not 'x'"),
        ("--cpus-per-task", "--cpus-per-task: must be a number, not 'x'"),
        ("--device", "--device x: not usable here; there is: cpu"),
    ],
)
def test_options_that_are_no_numbers_and_no_devices_are_one_line(study_file, capsys, option, said):
    try:
        status = main(["study.yaml", option, "x"])
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"biasvar: error: {said}")
    assert "privateuseone" not in captured.err  # nor any other device of torch's that nobody has


def test_the_version_is_said_without_a_study(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"biasvar {biasvar.__version__}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which nobody may make one")
def test_a_run_directory_that_cannot_be_made_is_said_in_words(study_file, capsys):
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1", "--out", "/proc/nowhere/run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("biasvar: error: --out /proc/nowhere/run cannot be made: /proc/nowhere: No such file")
    assert said.count("\n") == 1
    assert "Errno" not in said


def test_failed_replicas_are_said_aloud(study_file, capsys):
    arguments = ["study.yaml", "--jobs", "1", "--device", "cpu", "--set", "learning_rate.value=1e6"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "warning: arm ce: 4 of 4 replicas" in captured.err
    assert "undecided" in captured.err
