"""Pictures drawn in processes of their own, while the next ones' numbers are collected here."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from biasvar.interrupts import ENDING, ending_later, hear_in_worker

Answer = TypeVar("Answer")
Said = list[tuple[Warning | str, type[Warning], str, int]]
"""Warnings of another process: message, category, file, line."""


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Piece(Generic[Answer]):
    """A piece of work that was begun; `result` waits for its end."""

    work: Callable[[], Answer]
    of: SideBySide
    ended: Callable[[], None] | None = None
    answer: list[Answer] = field(default_factory=list)
    said: Said = field(default_factory=list)

    def result(self) -> Answer:
        """What the work returned, or raised; its warnings are given here, so that they come in one order."""
        self.of.wait_for(self)
        for message, category, filename, line in self.said:
            warnings.warn_explicit(message, category, filename, line, registry=self.of.given)
        self.said = []
        if not self.answer:  # it failed there, and does so here with what it says
            self.answer.append(self.work())
        return self.answer[0]


class SideBySide:
    """Runs pieces of work in at most `jobs` processes, each a copy (fork) of this one, so that nothing is read again.

    This process counts as one of them whenever it does anything but wait. A piece that fails in its process, or whose
    process is ended from outside, is done again in this one when its result is asked for: an error is raised, and a
    shortage of memory met, as if everything had been done here. Used as a context; at its end no process is left, and
    an error gives way to one of a piece that was begun before it.

    Args:
        jobs: 1, or a system that cannot fork safely: each piece is done where it is begun.
    """

    def __init__(self, jobs: int) -> None:
        safe = sys.platform == "linux" and not multiprocessing.current_process().daemon
        self._jobs = jobs if safe else 1
        self._begun: list[Piece[Any]] = []
        self._running: dict[Any, tuple[Piece[Any], Any]] = {}
        self.given: dict[Any, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for piece in self._begun if isinstance(error, Exception) else ():
                piece.result()
        finally:
            for connection, (_, process) in self._running.items():
                process.terminate()
                process.join()
                connection.close()
            self._running.clear()

    def begin(self, work: Callable[[], Answer], ended: Callable[[], None] | None = None) -> Piece[Answer]:
        """Begin a piece of work; `ended` is called once when it has ended, well or not."""
        piece = Piece(work, self, ended)
        if self._jobs <= 1:
            piece.answer.append(work())
            _call(ended)
            return piece
        here, there = multiprocessing.Pipe(duplex=False)
        self._begun.append(piece)
        readers = [here, *self._running]
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_in_child, args=(readers, there, work), daemon=True)
        with ending_later(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of forks beside threads: those here only show progress
            process.start()
            self._running[here] = (piece, process)
        there.close()
        while len(self._running) >= self._jobs:
            self._take_ended()
        return piece

    def wait_for(self, piece: Piece[Any]) -> None:
        """Wait until a piece has ended."""
        while any(piece is under_way for under_way, _ in self._running.values()):
            self._take_ended()

    def _take_ended(self) -> None:
        """Wait until at least one piece has ended, and take what its process sends."""
        connections: list[Any] = list(wait(list(self._running)))
        for connection in connections:
            piece, process = self._running[connection]
            try:
                answer, piece.said = connection.recv()
                piece.answer.append(answer)
            except EOFError:
                pass  # it failed
            process.join()
            del self._running[connection]
            connection.close()
            _call(piece.ended)


def _call(function: Callable[[], None] | None) -> None:
    if function is not None:
        function()


def _in_child(readers: list[Any], there: Any, work: Callable[[], Any]) -> None:
    """In the other process: do the work and send what came of it; nothing is sent, and nothing said, if it fails.

    Args:
        readers: The parent's ends of this and of earlier pipes: while a copy is open, nobody hears that it has ended.
    """
    for reader in readers:
        reader.close()
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    hear_in_worker()
    gc.disable()  # it ends soon, and a look through all that the parent has would copy it
    try:
        with warnings.catch_warnings(record=True) as caught:
            answer = work()
        there.send((answer, [(one.message, one.category, one.filename, one.lineno) for one in caught]))
    except BaseException:
        os._exit(1)
    os._exit(0)
