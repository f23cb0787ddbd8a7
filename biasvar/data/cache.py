"""A folder of results, made once: whole or absent, whoever else makes it at the same time, however a maker dies."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; two makers then both work, and one result stays
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")


def cached(place: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """What `read` makes of the folder at `place`, after `fill` has filled it if it is not there or cannot be read.

    The folder is filled under another name beside its place, synced and renamed. Others who want it meanwhile wait.
    What a killed maker left behind is removed by the next one.

    Args:
        place: The folder, named by what it is made from, so that it never needs to change.
        fill: Writes files into an empty folder.
        read: Raises OSError, ValueError, KeyError or EOFError on a folder that is damaged; it is then made anew.

    Raises:
        OSError: The folder cannot be written: no permission, a full disk. Says which setting helps.
    """
    found = _try(read, place)
    if found is not None:
        return found
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place) as alone:
            found = _try(read, place)
            if found is not None:  # made by another process while this one waited
                return found
            if alone:
                for leftover in place.parent.glob(f".{place.name}.*.tmp"):
                    shutil.rmtree(leftover, ignore_errors=True)
            return _make(place, fill, read)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"cannot keep decoded images in {place.parent} ({why}); set BIASVAR_CACHE to a folder that can be written",
        ) from error


def _make(place: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    temporary = _beside(place)
    temporary.mkdir()
    try:
        fill(temporary)
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        try:
            os.rename(temporary, place)
        except OSError:
            made = _try(read, place)
            if made is not None:  # by another process meanwhile, on a file system without locks
                return made
            damaged = _beside(place)
            os.rename(place, damaged)
            os.rename(temporary, place)
            shutil.rmtree(damaged, ignore_errors=True)
        _sync(place.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read(place)


def _beside(place: Path) -> Path:
    """A new name that no reader looks at."""
    return place.with_name(f".{place.name}.{uuid.uuid4().hex[:12]}.tmp")


def _try(read: Callable[[Path], T], place: Path) -> T | None:
    try:
        return read(place) if place.is_dir() else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Hold the lock of a place; False where the file system has no locks."""
    if fcntl is None:  # pragma: no cover
        yield False
        return
    # The lock's file stays: removing it would let a waiter hold the lock of a file that nobody else sees.
    descriptor = os.open(place.with_name(f".{place.name}.lock"), os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        except OSError:  # pragma: no cover - some network file systems
            held = False
        yield held
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    if os.name == "nt":  # pragma: no cover - a directory cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
