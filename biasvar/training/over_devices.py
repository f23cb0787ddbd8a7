"""Several devices of a machine that train one network together, a process each, joined by Lightning Fabric.

This process is number 0 and runs the study. The others are started here, open the study themselves, must find what
process 0 found, and then train their share of whatever process 0 trains (`biasvar.training.following`); none of them
writes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from biasvar.errors import BiasvarError
from biasvar.interrupts import ending_later, hear_in_worker
from biasvar.messages import one_line
from biasvar.records.manifest import read_manifest
from biasvar.study import Study
from biasvar.training.checks import open_study
from biasvar.training.context import StudyContext
from biasvar.training.continuing import fingerprints_of_people
from biasvar.training.custom_networks import source_hashes
from biasvar.training.engine import engine_in
from biasvar.training.fabric_ranks import Disconnected, FabricRanks, fabric, joined
from biasvar.training.following import FOLLOW
from biasvar.training.memory import keep_freed_memory
from biasvar.training.ranks import ONE, Ranks
from biasvar.training.reuse import code_hash

LAST_WORDS = 10.0  # seconds that a process which failed has to say why
SHOCK = 60.0  # seconds in which process 0 must have noticed that another was lost: on CUDA it may wait for it for ever


@contextmanager
def over_devices(context: StudyContext, devices: int) -> Iterator[Ranks]:
    """The processes that train on so many devices, until the end of the block; with one device this one alone.

    Raises:
        BiasvarError: Lightning is not there; a process cannot open the study, or finds other data, settings or code
            than this one; a process is lost later, or fails.
    """
    if devices == 1:
        yield ONE
        return
    fabric()  # so that one that is not there is known before anything is started
    store = distributed.TCPStore("127.0.0.1", 0, devices, is_master=True, wait_for_workers=False)
    others = [_Other(context, number, devices, store.port) for number in range(1, devices)]
    finished = False
    try:
        _agree(context, others)
        for other in others:
            other.send("join")
        with joined(context, 0, devices, store, _First) as ranks:
            ranks.others = others
            try:
                with _watched(others):
                    yield ranks
                for other in others:
                    other.send(None)
                finished = True
            finally:
                for other in others if not finished else ():
                    other.end(finished)  # before the connections, which could wait for it
    finally:
        for other in others:
            other.end(finished)


@contextmanager
def _watched(others: Sequence[_Other]) -> Iterator[None]:
    """In the block, this process ends with one line where another was lost and it has not noticed for a minute."""
    over = threading.Event()

    def watch() -> None:
        sentinels = [other._process.sentinel for other in others]
        while not over.is_set():
            if wait(sentinels, 1.0) and not over.wait(SHOCK):
                lost = next(other for other in others if not other._process.is_alive())
                os.write(2, f"\nbiasvar: error: {lost.lost()}\n".encode())
                os._exit(2)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


class _Other:
    """A process that trains beside this one, as this one sees it."""

    def __init__(self, context: StudyContext, number: int, devices: int, port: int) -> None:
        self.number, self.name = number, f"process {number} of {devices} (numbered from 0)"
        method = multiprocessing.get_context("spawn")
        self._pipe, theirs = method.Pipe()
        device = str(context.device) if context.device.type == "cpu" else f"{context.device.type}:{number}"
        self._process = method.Process(
            target=_follow, args=(theirs, context.study, context.directory, device, number, devices, port)
        )
        with ending_later():
            self._process.start()
        theirs.close()

    def send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise self.lost() from None

    def answer(self) -> Any:
        """What it says next.

        Raises:
            BiasvarError: It failed, or ended.
        """
        wait([self._pipe, self._process.sentinel])
        if not self._pipe.poll():
            raise self.lost()
        try:
            kind, said = self._pipe.recv()
        except EOFError:
            raise self.lost() from None
        if kind == "lost":
            raise Disconnected(f"{self.name}: {said}")
        if kind == "failed":
            raise BiasvarError(f"{self.name} failed: {said}; {GOES_ON}")
        return said

    def fate(self) -> BiasvarError | None:
        """Why it cannot go on, if it has said so or ended by now."""
        try:
            while self._pipe.poll() or not self._process.is_alive():
                self.answer()
        except BiasvarError as error:
            return error
        return None

    def lost(self) -> BiasvarError:
        self._process.join(LAST_WORDS)
        code = self._process.exitcode
        how = f"by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"with status {code}"
        return BiasvarError(f"{self.name} was lost, it ended {how}; {GOES_ON}")

    def end(self, finished: bool) -> None:
        """Wait for its end, or end it where it is: it writes nothing."""
        if finished:
            self._process.join(LAST_WORDS)
        self._process.terminate()
        self._process.join(LAST_WORDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


GOES_ON = "the same command goes on from what was recorded"


def _agree(context: StudyContext, others: Sequence[_Other]) -> None:
    """Raise BiasvarError unless all processes found the same study, data and code; nothing is written before."""
    here = facts_of(context)
    for other in others:
        there = other.answer()
        for what, value in here.items():
            if there.get(what) != value:
                raise BiasvarError(
                    f"{other.name} found another {what} than process 0: {_short(there.get(what))}, not "
                    f"{_short(value)}; nothing was written. Do all see the same files, and are these not being changed?"
                )


def facts_of(context: StudyContext) -> dict[str, Any]:
    """What must be the same in all processes, by its name in words."""
    study = context.study
    return {
        "study": study.hash,
        "fingerprint of the data": context.dataset.fingerprint,
        "fingerprint of people's labels": fingerprints_of_people(context),
        "source of methods and networks": source_hashes(study),
        "biasvar": code_hash(),
        "torch": torch.__version__,
    }


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _follow(pipe: Connection, study: Study, directory: Path, device: str, rank: int, world: int, port: int) -> None:
    """What such a process does, from its start to its end."""
    hear_in_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        torch.set_num_threads(study.threads)
        keep_freed_memory()
        context = open_study(study, directory, torch.device(device))
        pipe.send(("ready", facts_of(context)))
        if pipe.recv() != "join":
            return
        store = distributed.TCPStore("127.0.0.1", port, world, is_master=False)
        with joined(context, rank, world, store, FabricRanks) as context.ranks, closing(context):
            while (message := pipe.recv()) is not None:
                task, arguments = message
                context.engine = engine_in(read_manifest(directory))  # settled by process 0 before its first task
                try:
                    FOLLOW[task](context, *arguments)
                except Exception as error:
                    _say_and_end(pipe, error)
                pipe.send(("done", None))
    except EOFError:  # process 0 is gone
        return
    except Exception as error:
        _say_and_end(pipe, error)


def _say_and_end(pipe: Connection, error: Exception) -> None:
    """Tell process 0 why this one fails, and end it: the others hear of it by the connections that end."""
    kind = "lost" if isinstance(error, Disconnected) else "failed"
    said = f"{'' if isinstance(error, BiasvarError) else f'{type(error).__name__}: '}{one_line(error)}"
    pipe.send((kind, said))
    pipe.close()
    os._exit(1)


def _end_with_parent() -> None:
    """End this process when process 0 has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _First(FabricRanks):
    """Process 0, which tells the others what to train."""

    others: Sequence[_Other] = ()

    @contextmanager
    def beside(self, task: str, arguments: tuple[Any, ...]) -> Iterator[None]:
        if task not in FOLLOW:
            yield
            return
        for other in self.others:
            other.send((task, arguments))
        try:
            yield
        except Disconnected as error:
            raise self._whose(error) from error
        for other in self.others:
            other.answer()

    def _whose(self, error: Disconnected) -> BiasvarError:
        """The error of the process that failed first, where this one only lost its connection."""
        wait([other._process.sentinel for other in self.others], LAST_WORDS)
        fates = [fate for other in self.others if (fate := other.fate()) is not None]
        return next((fate for fate in fates if not isinstance(fate, Disconnected)), fates[0] if fates else error)
