"""The commands as somebody types them: their list, and one line for Ctrl-C at any moment, imports included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import biasvar
from biasvar.__main__ import COMMANDS, main
from biasvar.messages import command
from biasvar.report.__main__ import main as report
from biasvar.run import main as run

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc whether signals are answered")
STARTED = {
    "run": "import sys; from biasvar.__main__ import run; sys.exit(run())",
    "report": "import sys; from biasvar.__main__ import report; sys.exit(report())",
}


def said(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "biasvar", *arguments], capture_output=True, text=True)


def test_the_commands_are_listed_each_with_what_it_does():
    done = said()
    assert (done.returncode, done.stderr) == (0, "")
    for name, what in COMMANDS.items():
        assert f"  {name:<7} {what}\n" in done.stdout
    assert "python -m biasvar run experiments/digits.yaml" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert said("--help").stdout == done.stdout


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"biasvar {biasvar.__version__}\n"


def test_an_unknown_command_is_told_the_nearest(capsys):
    assert main(["rnu"]) == 2
    assert capsys.readouterr().err == (
        "biasvar: error: no command named 'rnu', did you mean 'run'? there is: run, report\n"
    )


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_changes_no_exit_status(stream):
    line = f"{sys.executable} -m biasvar --version {stream}>&-"
    assert subprocess.run(["sh", "-c", line], capture_output=True).returncode == 0


def test_a_command_is_handed_its_arguments_and_says_how_it_is_called():
    done = said("report", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere does not exist; name a run directory, as `python -m biasvar run` makes it" in done.stderr
    assert said("run", "--help").stdout.startswith("usage: python -m biasvar run ")


@pytest.mark.parametrize(
    ("called", "then"),
    [
        ("/bin/biasvar", "biasvar run"),
        ("/bin/biasvar-report", "biasvar-run"),
        ("/x/biasvar/__main__.py", "python -m biasvar run"),
        ("/x/biasvar/report/__main__.py", "python -m biasvar.run"),
        ("-c", "python -m biasvar.run"),
    ],
)
def test_a_command_to_type_is_in_the_form_that_was_typed(called, then, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called])
    assert command("run") == then


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study that trains for some seconds, and a complete run of a small one."""
    place = tmp_path_factory.mktemp("commands")
    study = {
        "name": "tiny", "replicas": 2, "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150},
        "student": {"hidden": [8]}, "draw": {"rows": 90}, "schedule": {"epochs": 2, "batch_size": 40},
        "learning_rate": 0.1, "teachers": {"main": {"hidden": [16], "epochs": 2}},
        "arms": {"ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation", "temperature": 2, "alpha": 0.5}},
    }  # fmt: skip
    (place / "done.yaml").write_text(yaml.safe_dump(study))
    assert run([str(place / "done.yaml"), "--out", str(place / "done"), "--device", "cpu", "--jobs", "1"]) == 0
    study |= {"schedule": {"epochs": 4000, "batch_size": 40}, "record": {"epochs": 4000}}
    study |= {"evaluate_every": 100, "checkpoint_every": 100}
    (place / "long.yaml").write_text(yaml.safe_dump(study))
    return place


def test_a_report_says_how_its_claims_came_out_and_where_to_open_it(folder, tmp_path, capsys):
    """On stderr: what it prints is the page's path alone, for scripts."""
    assert report([str(folder / "done"), "--figures", "flags", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'index.html'}\n"
    assert told.err.splitlines()[-1] == f"Open it in a browser: {(tmp_path / 'index.html').as_uri()}"


def interrupted(arguments: list[str], folder: Path, after: float) -> tuple[int, str]:
    """A command's status and stderr when Ctrl-C comes so many seconds after its own first line of code."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), start_new_session=True,
    )  # fmt: skip
    with process:
        while process.poll() is None and not answers(process.pid, signal.SIGTERM):  # which Python itself leaves alone
            time.sleep(0.001)
        time.sleep(after)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def answers(pid: int, number: int) -> bool:
    """True if a process has a handler for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def check(arguments: list[str], folder: Path, after: float) -> bool:
    """Interrupt a command and hold it to one line; returns True if it had ended before."""
    status, errors = interrupted(arguments, folder, after)
    if status == 0:
        return True
    assert status == 130, (after, status, errors)
    (line,) = (line for line in errors.splitlines() if line)
    assert line.startswith("interrupted"), (after, errors)
    return False


RUN, REPORT = ["long.yaml", "--out", "long", "--device", "cpu", "--jobs"], ["done", "--figures", "flags", "--out"]
COMMAND_LINES = {
    "python -m biasvar.run": ["-m", "biasvar.run", *RUN, "1"],
    "python -m biasvar.run, two jobs": ["-m", "biasvar.run", *RUN, "2"],
    "biasvar-run": ["-c", STARTED["run"], *RUN, "1"],
    "python -m biasvar run": ["-m", "biasvar", "run", *RUN, "1"],
    "python -m biasvar.report": ["-m", "biasvar.report", *REPORT, "page"],
    "biasvar-report": ["-c", STARTED["report"], *REPORT, "page"],
}


@LINUX
@pytest.mark.parametrize("after", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("line", ["python -m biasvar.run", "biasvar-report"])
def test_an_interrupt_is_one_line(line, after, folder):
    check(COMMAND_LINES[line], folder, after)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("line", list(COMMAND_LINES))
def test_an_interrupt_is_one_line_at_every_moment(line, folder):
    """From the first line of the command to its end, or to the middle of a training."""
    ended = [check(COMMAND_LINES[line], folder, 0.16 * step) for step in range(25)]
    assert not all(ended)
