"""One driver a run, and workers on other machines that end with theirs: by locks on a file system that all share.

The driver holds `.driver` in the run directory, and its word stands in it. A worker holds `.workers`, beside others,
while it has a task, and asks every second whether its driver is still there. The next driver waits for such workers of
one that was killed, so that nobody writes who was given his task by another. Both files stay, as files of locks do.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from biasvar.errors import RecordError
from biasvar.files import locked

DRIVER, WORKERS = ".driver", ".workers"
SECONDS_REFUSED = 3.0  # a worker that asks holds the lock for a moment, too short for this
SECONDS_LEFT = 60.0  # that workers of a driver that was killed may take to notice
SECONDS_TO_END = 10.0  # that a driver which ends waits for its own


@contextmanager
def driving(directory: Path) -> Iterator[str]:
    """Hold a run as the only driver; gives the word by which its workers know it.

    Raises:
        RecordError: Another process holds the run, or workers of one that ended do not end.
    """
    path = directory / DRIVER
    with ExitStack() as held:
        _take(held, directory)
        word = f"process {os.getpid()} on {socket.gethostname()} {uuid.uuid4().hex}"
        path.write_text(word)
        _wait_for_workers(directory)
        try:
            yield word
        finally:
            path.write_text("")  # whoever still has a task ends
            _without_workers(directory, SECONDS_TO_END)


def check_undriven(directory: Path) -> None:
    """Raise, as `driving` does, if a run is held by a driver; nothing is written."""
    if (directory / DRIVER).exists():
        with ExitStack() as held:
            _take(held, directory)
        _wait_for_workers(directory)


def is_driven(directory: Path, word: str) -> bool:
    """Whether the driver of that word still holds the run; on a file system without locks, whether the file says so."""
    path = directory / DRIVER
    try:
        if path.read_text() != word:
            return False
        with locked(path, required=False, shared=True, wait=False) as free:
            return not free
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


@contextmanager
def working(directory: Path) -> Iterator[None]:
    """In the block, a worker writes into the run."""
    with locked(directory / WORKERS, required=False, shared=True):
        yield


def _take(held: ExitStack, directory: Path) -> None:
    """Take the driver's lock for the time of the stack; RecordError if another process has it."""
    path = directory / DRIVER
    if not _taken(held, path, SECONDS_REFUSED):
        raise RecordError(
            f"{directory} is being trained by {_holder(path)}; wait for it, or end it: then the same command goes on "
            "from what was recorded"
        )


def _wait_for_workers(directory: Path) -> None:
    """Wait for workers that have not noticed yet that their driver has ended; RecordError if they do not end."""
    if not _without_workers(directory, SECONDS_LEFT):
        raise RecordError(
            f"workers of a driver that ended still write into {directory}; end them, or wait for them: then the same "
            "command goes on from what was recorded"
        )


def _taken(held: ExitStack, path: Path, seconds: float) -> bool:
    """Take a lock for the time of the stack; False if somebody else holds it so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            held.enter_context(locked(path, required=False, wait=False))
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _without_workers(directory: Path, seconds: float) -> bool:
    """Wait until no worker writes into the run; False if one does for so long."""
    with ExitStack() as held:
        return _taken(held, directory / WORKERS, seconds)


def _holder(path: Path) -> str:
    """Who says in the file to hold it."""
    with suppress(OSError):
        return path.read_text().rpartition(" ")[0] or "another process"
    return "another process"
