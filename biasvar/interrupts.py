"""Signals that ask a command to end: all of them end it as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; the end that a scheduler or `kill` asks for; a terminal that was closed."""
SAME = 5.0  # seconds in which a signal is the same one again: a process and its group are often sent it both


@contextmanager
def ending_as_interrupts() -> Iterator[None]:
    """In the block SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does.

    Signals that are ignored (`nohup`) or answered by somebody else stay so. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[float] = []

    def interrupt(number: int, frame: Any) -> None:
        now = time.monotonic()
        if heard and now - heard[-1] < SAME:
            return
        heard.append(now)
        raise KeyboardInterrupt

    taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def ending_held() -> Iterator[None]:
    """Signals that end a process wait for the end of the block, and do not reach processes that are started in it.

    They wait in this thread: another one may be given them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_in_worker() -> None:
    """In a worker: Ctrl-C is its parent's to answer; SIGTERM, by which the parent ends it, and SIGHUP are heard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(ENDING) - {signal.SIGINT})
