"""The errors of biasvar, for bad input and for machines that ran out: what was wrong, where, and what helps."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

_NO_SPACE = {
    errno.ENOSPC: "No space left",
    errno.EDQUOT: "The disk quota is used up",
    errno.EFBIG: "The largest size allowed for a file is reached",
}


class BiasvarError(Exception):
    """Any error of biasvar that a user can act on; the command lines print it as one line and exit with status 2."""


class StudyError(BiasvarError, ValueError):
    """A study file that does not hold together: names the file, the key, and what is allowed there."""


class RecordError(BiasvarError, ValueError):
    """A run directory, or a file in it, that cannot be written or read as asked."""


class OutOfMemoryError(BiasvarError, MemoryError):
    """The machine or the device has too little memory for a study: says which settings to lower."""


class DiskFullError(BiasvarError, OSError):
    """A file that a full disk, or a used-up quota, did not take; what was at its place before is untouched."""


def is_full(error: OSError) -> bool:
    """Whether an error of the system means that a disk is full, or a quota or the largest size of a file is reached.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(OSError(errno.EACCES, "Permission denied"))
    (True, False)
    """
    return error.errno in _NO_SPACE


def disk_full(error: OSError, path: str | Path) -> DiskFullError:
    """The error for a file that could not be written because of `error`, one of those that `is_full` knows.

    >>> print(str(disk_full(OSError(errno.ENOSPC, "No space left on device"), "/no/such/file")).split(" on the ")[0])
    No space left
    """
    place = Path(os.path.abspath(path))
    return DiskFullError(f"{_NO_SPACE[error.errno or 0]} on {_file_system(place)}: {place} was not written")


def _file_system(place: Path) -> str:
    """The file system that holds an absolute path, by its mount point, with what is free on it."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return f"the file system of {place}"
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    return f"the file system at {place} ({in_bytes(usage.free)} of {in_bytes(usage.total)} are free)"


def in_bytes(number: float) -> str:
    """A number of bytes in the unit that suits it.

    >>> in_bytes(3 * 2**30), in_bytes(1536), in_bytes(12)
    ('3.0 GiB', '1.5 KiB', '12 bytes')
    """
    if number < 1024:
        return f"{number:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"
