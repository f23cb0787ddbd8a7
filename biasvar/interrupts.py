"""Signals that ask a command to end: all of them end it as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; the end that a scheduler or `kill` asks for; a terminal that was closed."""
SAME = 5.0  # seconds in which a signal is the same one again: a process and its group are often sent it both


_at_once: Callable[[int, Any], None] | None = None  # what answers signals in a command while no work is under way


def begin_command(line: str) -> None:
    """From here on, signals that end a process end this one at once, with one line on stderr and status 130.

    For a command while Python imports: an import that is cut off by KeyboardInterrupt leaves half a module behind, or
    another error. `ending_as_interrupts` takes over while there is work that has to be left whole. Signals that are
    ignored stay so.
    """
    global _at_once

    def end(number: int, frame: Any) -> None:
        os.write(2, f"\n{line}\n".encode())
        os._exit(130)

    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _at_once):
            signal.signal(number, end)
    _at_once = end


def end_command(status: int) -> int:
    """Write out what was printed; a signal that comes now, while Python ends, changes nothing of what was done.

    Signals are ignored, since Python forgets what answers them before it has ended. `python -m` also ends by the
    signal, not with the status, if an interrupt once came in source that `exec` was running (a data class being made,
    say), answered or not; running any other source makes it forget that.
    """
    exec("")
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # one that was closed from the start is None
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


@contextmanager
def uninterrupted() -> Iterator[None]:
    """In the block signals that end a process are ignored, for the last lines of a command that has done its work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # of code that is not Python
                signal.signal(number, handler)


@contextmanager
def importing() -> Iterator[None]:
    """In the block, signals end a command at once (`begin_command`); without a command nothing changes."""
    if _at_once is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, _at_once)]
    for number in taken:
        signal.signal(number, _at_once)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def ending_as_interrupts() -> Iterator[None]:
    """In the block SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does; a second signal soon after is no other.

    Signals that are ignored (`nohup`) or answered by somebody else stay so. Outside the main thread nothing changes.

    Raises:
        KeyboardInterrupt: Also in place of an error that such an interrupt ended as.
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

    before = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number, handler in before.items() if handler in (signal.SIG_DFL, _at_once)]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number in taken:
            signal.signal(number, before[number])


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


@contextmanager
def ending_later() -> Iterator[None]:
    """`ending_held`, and a signal that another thread is given is answered at the end of the block too.

    For the start of a process: an exception in what Python and its libraries do around a fork is printed and forgotten,
    and one between a process and the list it belongs on leaves it alone.
    """
    if threading.current_thread() is not threading.main_thread():
        with ending_held():
            yield
        return
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number, handler in before.items() if callable(handler)]
    for number in taken:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with ending_held():
            yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
        for number in heard:
            signal.raise_signal(number)


def hear_in_worker() -> None:
    """In a worker: Ctrl-C is its parent's to answer; SIGTERM, by which the parent ends it, and SIGHUP are heard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(ENDING) - {signal.SIGINT})
