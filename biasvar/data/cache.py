"""A folder of results, made once: whole or absent, whoever else makes it at the same time, however a maker dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from biasvar.files import locked, move_folder, remove_folders_left, sync, temporary_folder

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
        with locked(place.with_name(f".{place.name}.lock"), required=False) as alone:
            found = _try(read, place)
            if found is not None:  # made by another process while this one waited
                return found
            if alone:
                remove_folders_left(place)
            return _make(place, fill, read)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"cannot keep decoded images in {place.parent} ({why}); set BIASVAR_CACHE to a folder that can be written",
        ) from error


def _make(place: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    with temporary_folder(place) as temporary:
        temporary.mkdir()
        fill(temporary)
        for path in [*temporary.iterdir(), temporary]:
            sync(path)
        try:
            move_folder(temporary, place)
        except OSError:
            made = _try(read, place)
            if made is not None:  # by another process meanwhile, on a file system without locks
                return made
            with temporary_folder(place) as damaged:
                move_folder(place, damaged)
                move_folder(temporary, place)
    return read(place)


def _try(read: Callable[[Path], T], place: Path) -> T | None:
    try:
        return read(place) if place.is_dir() else None
    except (OSError, ValueError, KeyError, EOFError):
        return None
