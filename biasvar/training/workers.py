"""The tasks of a study, and the executor that runs them: in this process, or in several.

A task is a function of plain values; the study, the data and the run directory are set up once a process. Only names
and numbers travel, results go to disk, so any executor with `submit(function, *args) -> Future` can stand in.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from biasvar.errors import BiasvarError
from biasvar.files import remove_leftovers
from biasvar.interrupts import ending_later, hear_in_worker
from biasvar.progress import tell_into
from biasvar.records import RunWriter
from biasvar.records.manifest import read_manifest
from biasvar.study import Study
from biasvar.training.checks import open_study
from biasvar.training.context import StudyContext
from biasvar.training.continuing import check_same_data
from biasvar.training.drivers import check_undriven
from biasvar.training.engine import engine_in
from biasvar.training.memory import keep_freed_memory, lost_workers
from biasvar.training.ranks import ONE, Ranks
from biasvar.training.students import ArmRun, train_once, tune
from biasvar.training.teacher_training import train_and_keep, write_teacher
from biasvar.training.teachers import write_views

MOST_LOSSES = 3  # workers that may be lost before a run gives up

_context: StudyContext | None = None
_writer: RunWriter | None = None
_fault: Exception | None = None  # why a worker could not be set up
_told: Sequence[MutableSequence[float]] = ()  # in a worker: the places that tasks tell into


def check_guarded() -> None:
    """Raise in a worker that is only importing the script of its parent, and runs a study by that.

    Raises:
        BiasvarError: The call does not stand under ``if __name__ == "__main__":``.
    """
    imported = sys.modules.get("__mp_main__")  # in place of `__main__` once it has been imported
    if imported is not None and imported is not sys.modules["__main__"]:
        raise BiasvarError(
            'run_study is called while a worker imports this script; put the call under `if __name__ == "__main__":`'
        )


class Executor(Protocol):
    """Runs tasks."""

    @property
    def told(self) -> Sequence[MutableSequence[float]]:
        """The places of `tell`, three numbers each, for as many tasks as are under way at a time."""
        ...

    def submit(self, place: int, function: Callable, /, *args: Any) -> Future:
        """Run a task that tells how far it is in one of the places of `told`."""
        ...

    def restart(self) -> None:
        """Start anew after a worker was lost; what was under way has to be submitted again."""


MakeExecutor = Callable[[Study, Path, torch.device, int, Ranks], AbstractContextManager[Executor]]


class _Inline:
    """Runs a task where it is submitted, and its part in the processes beside this one."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.told: list[MutableSequence[float]] = [[0.0, 0.0, 0.0]]

    def submit(self, place: int, function: Callable, /, *args: Any) -> Future:
        tell_into(self.told[place])
        future: Future = Future()
        with self._ranks.beside(function.__name__, args):
            future.set_result(function(*args))
        return future

    def restart(self) -> None:
        raise AssertionError("there is no worker to lose")


class _Pool:
    """Worker processes that set the study up once each."""

    def __init__(self, study: Study, directory: Path, device: torch.device, jobs: int) -> None:
        self._directory, self._settings, self._jobs = directory, (study, directory, str(device)), jobs
        self._losses = 0
        self._shared = _start_method().RawArray("d", 3 * jobs)
        self.told = _places(self._shared)
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._jobs, _start_method(), initializer=_set_up_worker,
            initargs=(dict(os.environ), self._shared, *self._settings),
        )  # fmt: skip

    def submit(self, place: int, function: Callable, /, *args: Any) -> Future:
        try:
            with ending_later():  # an interrupt in between would lose sight of a worker that was just started
                return self._pool.submit(_told_there, place, function, *args)
        except BrokenProcessPool as error:  # a worker was lost between two tasks: told like one lost during a task
            future: Future = Future()
            future.set_exception(error)
            return future

    def restart(self) -> None:
        self._losses += 1
        if self._losses > MOST_LOSSES:
            study, directory, _ = self._settings
            raise lost_workers(study, directory, self._jobs, self._losses)
        self.stop()
        self._pool = self._start()

    def stop(self) -> None:
        """End the workers where they are; what is on disk is whole."""
        for process in list((getattr(self._pool, "_processes", None) or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        remove_leftovers(self._directory)  # what they were writing


def _places(shared: Any) -> list[MutableSequence[float]]:
    """Memory that processes share, as the places that tasks tell into."""
    numbers = memoryview(shared).cast("B").cast("d")
    return [numbers[i : i + 3] for i in range(0, len(numbers), 3)]  # type: ignore[misc]


def _told_there(place: int, function: Callable, /, *args: Any) -> Any:
    """In a worker: run a task that tells how far it is in this place."""
    tell_into(_told[place])
    return function(*args)


def _start_method() -> Any:
    """How workers are started: on Linux by a server that has imported this module for all of them, else one by one."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    return server


@contextmanager
def make_executor(
    study: Study, directory: Path, device: torch.device, jobs: int, ranks: Ranks = ONE
) -> Iterator[Executor]:
    """An executor of `jobs` processes; with one, tasks run in this process. It ends with the block, done or not.

    `ranks`: the processes that train every network together; they are for one job.
    """
    check_undriven(directory)
    if jobs <= 1:
        set_up(study, directory, str(device), ranks)
        try:
            yield _Inline(ranks)
        finally:
            _here()[0].close()
        return
    pool = _Pool(study, directory, device, jobs)
    try:
        yield pool
    finally:
        pool.stop()


def _set_up_worker(environment: dict[str, str], shared: Any, study: Study, directory: Path, device: str) -> None:
    hear_in_worker()
    global _told
    _told = _places(shared)
    os.environ.update(environment)  # as it is now: the server may have started long ago
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _fault
    try:
        set_up(study, directory, device)
    except Exception as error:  # raised again by the first task, since an initializer that fails only breaks the pool
        _fault = error


def _end_with_parent() -> None:
    """End this worker when its parent has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def set_up(study: Study, directory: Path, device: str, ranks: Ranks = ONE) -> None:
    global _context, _writer
    torch.set_num_threads(study.threads)
    keep_freed_memory()
    _context = open_study(study, directory, torch.device(device))
    _context.ranks = ranks
    _writer = RunWriter(directory, manifest=read_manifest(directory), resume=True)
    _context.engine = engine_in(_writer.manifest)
    check_same_data(_context)  # they may have changed since this run began


def _here() -> tuple[StudyContext, RunWriter]:
    if _fault is not None:
        raise _fault
    assert _context is not None
    assert _writer is not None
    return _context, _writer


def train_teacher_group(name: str, number: int) -> None:
    """Train some replicas of a teacher and save their weights."""
    train_and_keep(_here()[0], name, number)


def finish_teacher(name: str) -> dict[str, Any]:
    """Write the clean logits of a trained teacher; returns what the manifest says of it."""
    return write_teacher(*_here(), name)


def ask_teacher(name: str, replica: int, number: int) -> None:
    """Keep what a network of a teacher says of the views of one replica."""
    write_views(_here()[0], name, replica, number)


def tune_rate(arm: str, rate: float, replicas: int) -> dict[str, Any]:
    """Validation accuracy and loss of an arm at one learning rate, by replica."""
    return tune(_here()[0], arm, rate, replicas)


def train_group(name: str, number: int, rate: float) -> dict[str, Any]:
    """Train a group of an arm's replicas to its end, once: which failed, and how long it took."""
    context, writer = _here()
    return train_once(ArmRun(writer, context, name, rate), number)
