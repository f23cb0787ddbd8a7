"""One driver a run, and workers that end with theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from biasvar.errors import RecordError
from biasvar.training import drivers
from biasvar.training.drivers import check_undriven, driving, is_driven, working

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs locks of files")
CONTEXT = multiprocessing.get_context("spawn")


def drive(directory, said):
    with driving(directory) as word:
        said.put(word)
        time.sleep(60)


def work(directory, word, said):
    """A worker that ends half a second after its driver."""
    with working(directory):
        said.put(is_driven(directory, word))
        while is_driven(directory, word):
            time.sleep(0.05)
        time.sleep(0.5)
        (directory / "late").touch()


@pytest.fixture
def killed_driver(tmp_path):
    """A driver in another process, and its word."""
    said = CONTEXT.Queue()
    process = CONTEXT.Process(target=drive, args=(tmp_path, said))
    process.start()
    yield process, said.get(timeout=60)
    process.kill()
    process.join()


def test_a_second_driver_is_told_who_holds_the_run(tmp_path, killed_driver, monkeypatch):
    monkeypatch.setattr(drivers, "SECONDS_REFUSED", 0.2)
    process, word = killed_driver
    assert is_driven(tmp_path, word)
    with pytest.raises(RecordError, match=rf"is being trained by process {process.pid} on .*same command goes on"):
        driving(tmp_path).__enter__()
    with pytest.raises(RecordError, match="is being trained by process"):
        check_undriven(tmp_path)  # nor may one that needs no workers elsewhere
    assert is_driven(tmp_path, word)  # who was refused changed nothing


def test_a_driver_that_is_killed_holds_nothing(tmp_path, killed_driver):
    process, word = killed_driver
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_driven(tmp_path, word)
    with driving(tmp_path) as other:
        assert is_driven(tmp_path, other)
        assert not is_driven(tmp_path, word)
    assert not is_driven(tmp_path, other)


def test_the_next_driver_waits_for_workers_of_one_that_was_killed(tmp_path, killed_driver):
    process, word = killed_driver
    said = CONTEXT.Queue()
    worker = CONTEXT.Process(target=work, args=(tmp_path, word, said))
    worker.start()
    assert said.get(timeout=60)
    process.kill()
    process.join()
    with driving(tmp_path):
        assert (tmp_path / "late").exists()
    worker.join()


def test_workers_that_do_not_end_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "SECONDS_LEFT", 0.2)
    with working(tmp_path), pytest.raises(RecordError, match="workers of a driver that ended still write into"):
        driving(tmp_path).__enter__()


def test_a_folder_that_no_driver_holds_is_not_driven(tmp_path):
    assert not is_driven(tmp_path, "somebody")
    check_undriven(tmp_path)
    assert list(tmp_path.iterdir()) == []
