"""Pictures in processes of their own: the same files, errors in their order, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import pytest

from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report.__main__ import main
from biasvar.report.page import write_report
from biasvar.report.side_by_side import SideBySide, usable_cores

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")


def test_one_job_works_here_and_at_once():
    with SideBySide(1) as aside:
        piece = aside.begin(os.getpid)
        assert piece.answer == [os.getpid()] == [piece.result()]


@needs_fork
def test_two_jobs_work_in_other_processes_of_which_none_is_left():
    ended = []
    with SideBySide(2) as aside:
        pieces = [aside.begin(os.getpid, partial(ended.append, number)) for number in range(5)]
        answers = [piece.result() for piece in pieces]
    assert len({*answers, os.getpid()}) == 6
    assert sorted(ended) == list(range(5))
    assert not multiprocessing.active_children()


@needs_fork
def test_an_error_comes_here_and_the_first_one_first():
    def fail(number: int) -> None:
        time.sleep(0.2 - 0.1 * number)
        raise RecordError(f"piece {number}")

    def work() -> None:
        with SideBySide(3) as aside:
            for number in range(2):
                aside.begin(partial(fail, number))
            raise ValueError("a later one, of this process")

    with pytest.raises(RecordError, match="piece 0"):
        work()
    assert not multiprocessing.active_children()


@needs_fork
def test_a_process_that_is_killed_is_done_without():
    here = os.getpid()

    def killed() -> str:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done here"

    with SideBySide(2) as aside:
        assert aside.begin(killed).result() == "done here"


@needs_fork
def test_an_interrupt_ends_what_is_under_way():
    def work() -> None:
        with SideBySide(3) as aside:
            aside.begin(partial(time.sleep, 60))
            aside.begin(partial(time.sleep, 60))
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


@needs_fork
def test_warnings_come_in_the_order_of_the_pieces():
    def warn(number: int) -> None:
        time.sleep(0.2 - 0.1 * number)
        warnings.warn(f"piece {number}", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught, SideBySide(3) as aside:
        warnings.simplefilter("always")
        pieces = [aside.begin(partial(warn, number)) for number in range(2)]
        for piece in pieces:
            piece.result()
    assert [str(one.message) for one in caught] == ["piece 0", "piece 1"]
    assert {one.filename for one in caught} == {__file__}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@needs_fork
def test_a_report_has_the_same_bytes_however_many_processes_draw(study_run: Run, tmp_path: Path):
    names = ["bias_variance", "accuracy", "rounds", "weights"]
    for jobs in (1, 3):
        write_report([study_run], tmp_path / str(jobs), figures=names, formats=["png", "svg"], jobs=jobs)
    assert files(tmp_path / "1") == files(tmp_path / "3")
    assert len(files(tmp_path / "1")) == 3 * 3 + 3


@needs_fork
def test_ctrl_c_ends_a_report_and_its_processes_in_one_line(study_run: Run, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "biasvar.report",
        str(study_run.directory),
        "--jobs",
        "3",
        "--out",
        f"{tmp_path}/out",
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with process:
        while not list(tmp_path.glob(".report-*/*.png")):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1]
    lines = [line for line in said.splitlines() if not line.startswith("biasvar: report: ")]  # progress
    assert (process.returncode, lines) == (130, ["", "interrupted; no file was changed"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_jobs_are_at_least_one(capsys):
    assert usable_cores() >= 1
    assert main(["runs/any", "--jobs", "0"]) == 2
    assert capsys.readouterr().err == "biasvar: error: --jobs must be at least 1, not 0\n"
