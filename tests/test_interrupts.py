"""Signals that end a command: what raises, what does not, and what stays as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from biasvar import study
from biasvar.interrupts import ending_as_interrupts, uninterrupted
from biasvar.report import page
from biasvar.report.__main__ import main as report
from biasvar.run import main as run

needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signals")


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_process_is_an_interrupt_once(number, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda asked: signal.SIG_DFL)
    before = signal.signal(number, signal.SIG_DFL)
    monkeypatch.undo()
    with ending_as_interrupts():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # the same once more, as a group is sent it
    assert signal.getsignal(number) is signal.SIG_DFL
    signal.signal(number, before)


@needs_signals
def test_what_somebody_else_answers_stays():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    with ending_as_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [1]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with ending_as_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look():
        with ending_as_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


LATE = """
import os, signal, sys
from biasvar.interrupts import begin_command, end_command

class Late:
    def __init__(self):
        self.kill, self.own, self.number = os.kill, os.getpid(), signal.SIGTERM

    def __del__(self):
        self.kill(self.own, self.number)

late = Late()  # goes when modules do, at the very end
begin_command("interrupted")
print("the line", file=sys.stderr)
sys.exit(end_command(int(sys.argv[1])))
"""


@needs_signals
@pytest.mark.parametrize("status", [130, 0])
def test_a_signal_at_the_end_changes_nothing_of_what_was_done(status):
    command = [sys.executable, "-c", LATE, str(status)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (status, "the line\n")


FORGOTTEN = """
import os, signal, sys
from biasvar.interrupts import begin_command, end_command, ending_as_interrupts

begin_command("interrupted")
try:
    with ending_as_interrupts():
        exec("os.kill(os.getpid(), signal.SIGINT)")
except KeyboardInterrupt:
    sys.exit(end_command(130))
"""


@needs_signals
def test_an_interrupt_in_source_that_is_executed_is_answered_like_any_other(tmp_path):
    (tmp_path / "forgotten.py").write_text(FORGOTTEN)
    command = [sys.executable, "-m", "forgotten"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # where it is ignored
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "")


def test_what_answers_signals_is_back_after_the_last_lines_of_a_command():
    before = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == before


HELD = """
import os, signal
from biasvar.interrupts import ending_as_interrupts, ending_held

with ending_as_interrupts():
    try:
        with ending_held():
            os.kill(os.getpid(), signal.SIGTERM)
            print("reached")
        print("not reached")
    except KeyboardInterrupt:
        print("then interrupted")
"""


@needs_signals
def test_a_signal_waits_for_the_end_of_a_block():
    """In a process of its own: one with more threads may be given the signal in another of them."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["reached", "then interrupted", ""]


LATER = """
import os, signal, threading
from biasvar.interrupts import ending_as_interrupts, ending_later

ended = threading.Event()
other = threading.Thread(target=ended.wait)
other.start()
with ending_as_interrupts():
    try:
        with ending_later():
            signal.pthread_kill(other.ident, signal.SIGTERM)
            for _ in range(10**6):
                pass
            print("reached")
        for _ in range(10**6):
            pass
        print("not reached")
    except KeyboardInterrupt:
        print("then interrupted")
ended.set()
"""


@needs_signals
def test_a_signal_to_another_thread_waits_for_the_end_of_a_fork():
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["reached", "then interrupted", ""]


@needs_signals
def test_a_report_that_is_ended_says_so(monkeypatch, capsys):
    """A scheduler ends it while it opens its runs."""
    monkeypatch.setattr(page, "open_runs", lambda directories: os.kill(os.getpid(), signal.SIGTERM))
    assert report(["runs/any"]) == 130
    assert capsys.readouterr().err == "\ninterrupted; no file was changed\n"


@needs_signals
def test_a_run_that_is_ended_while_it_reads_its_study_says_so(monkeypatch, capsys):
    monkeypatch.setattr(study, "load_study", lambda path, overrides, **_: os.kill(os.getpid(), signal.SIGTERM))
    assert run(["study.yaml"]) == 130
    assert capsys.readouterr().err == "\ninterrupted before anything was trained\n"
