"""Files and folders that are whole or absent, and locks: how everything that outlives a process is written.

A file or folder is written under a temporary name beside its place, synced to the disk and renamed, so that a reader
sees the old content or the new, whenever the writer dies.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from biasvar.errors import BiasvarError, DiskFullError, RecordError, ShortageError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; one process at a time there
    fcntl = None  # type: ignore[assignment]

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
_TEMPORARY = re.compile(r"\..+\.(\d+)@([A-Za-z0-9-]*)\.tmp")
_NO_SPACE = {
    errno.ENOSPC: "No space left",
    errno.EDQUOT: "The disk quota is used up",
    errno.EFBIG: "The largest size allowed for a file is reached",
}


Data = bytes | memoryview | Callable[[BinaryIO], object]


def load_yaml(text: str) -> Any:
    """The content of a YAML text of plain values, read by libyaml where PyYAML came with it, ten times as fast."""
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_bytes(path: str | Path, data: Data, *, exclusive: bool = False) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old file or the new one, whole, and never a part.

    The bytes go to a temporary file with a leading dot in the same directory, which is synced and renamed; then the
    directory is synced, so that the file also outlives a power cut. Missing directories are made. ``exclusive`` never
    replaces a file: of any number of writers of one path, in whatever processes, one succeeds. ``data`` may be a
    function that writes to the open file, for what does not fit in memory.

    Raises OSError (no permission), FileExistsError with ``exclusive``, DiskFullError if the disk is full; the temporary
    file is then gone and what was at ``path`` is untouched.
    """
    with writing(path, exclusive=exclusive) as file:
        if callable(data):
            data(file)
        else:
            file.write(data)


@contextmanager
def writing(path: str | Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
    """An open file that is put at ``path``, as `write_bytes` does, when the block ends; after an error it is gone."""
    path = Path(path)
    try:
        _make_directory(path.parent)
        # The number keeps two writers apart, threads too; by the process a later one tells what a killed one left.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{os.getpid()}@{_HOST}.tmp")
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            (_create if exclusive else os.replace)(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(path.parent)
    except OSError as error:
        if is_full(error) and not isinstance(error, DiskFullError):
            raise disk_full(error, path) from error
        raise


def _create(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless the name is taken: FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # Over a network the answer to a link that was made can be lost, and asking again then finds it there.
        if os.stat(temporary).st_nlink < 2:
            raise
    except (OSError, AttributeError, NotImplementedError):
        # A file system without hard links: to look and to rename is one step only under a lock, of the folder here. A
        # system that has neither refuses the lock, and nothing is written.
        with locked(path.parent):
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            os.rename(temporary, path)
        return
    temporary.unlink()


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as readable JSON, atomically. NumPy values become plain ones; NaN and infinity become null."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def plain(value: Any) -> Any:
    """``value`` as types that JSON has.

    >>> import numpy
    >>> plain({"alpha": numpy.float64(2.25), "epochs": (1, 2), "accuracy": float("nan")})
    {'alpha': 2.25, 'epochs': [1, 2], 'accuracy': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if type(value).__module__ == "numpy":  # not imported here: `--help` answers without it
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def remove_leftovers(directory: Path) -> None:
    """Delete the temporary files of writers on this machine that were killed."""
    for path in list(directory.rglob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match[2] == _HOST and not _is_running(int(match[1])):
            path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A new hidden name beside `place`, where a folder can be made and renamed to it; removed at the end if it is left.

    Missing parents are made. `remove_folders_left` finds what a killed process left.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = place.with_name(f".{place.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_folder(folder: Path, place: Path) -> None:
    """Give a folder that is whole its name on the same disk; an OSError if another folder with files has that name."""
    os.rename(folder, place)
    sync(place.parent)


def move_files(folder: Path, place: Path, names: Sequence[str]) -> None:
    """Move files from one folder to another on the same disk, in that order, each replacing what has its name."""
    for name in names:
        os.replace(folder / name, place / name)


def remove_folders_left(place: Path) -> None:
    """Delete the temporary folders beside `place`; only for who holds its lock."""
    for folder in place.parent.glob(f".{place.name}.*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path, *, required: bool = True, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, exclusive or `shared`, of a directory itself, or of a file, which is made and stays.

    True if the lock is held. False on a system without locks and, unless `required`, on a file system without them.

    Raises:
        BlockingIOError: Somebody else holds it, and this is not to wait.
        OSError: The path cannot be opened, or the file system has no locks and one is required.
    """
    if fcntl is None:  # pragma: no cover
        yield False
        return
    # A lock's file stays: removing it would let a waiter hold the lock of a file that nobody else sees.
    is_directory = path.is_dir()
    descriptor = os.open(path, os.O_RDONLY) if is_directory else os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            raise
        except OSError:  # pragma: no cover - some network file systems
            if required:
                raise
            held = False
        yield held
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the entries of a directory."""
    if os.name == "nt":  # pragma: no cover - a directory cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(error: OSError) -> bool:
    """True if an OSError means that the disk or a quota is full, or the largest size of a file is reached.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(OSError(errno.EACCES, "Permission denied"))
    (True, False)
    """
    return error.errno in _NO_SPACE


def disk_full(error: OSError, path: str | Path) -> DiskFullError:
    """The error for a file that could not be written because of `error`, one for which `is_full` is true.

    >>> print(str(disk_full(OSError(errno.ENOSPC, "No space left on device"), "/no/such/file")).split(" on the ")[0])
    No space left
    """
    place = Path(os.path.abspath(path))
    return DiskFullError(f"{_NO_SPACE[error.errno or 0]} on {_file_system(place)}: {place} was not written")


_SHORT = {
    errno.EMFILE: "too many files are open in this process: raise its limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.EAGAIN: "no more threads or processes can be started: end some, or raise the limit (`ulimit -u`)",
    errno.ENOMEM: "memory is short: free some",
    errno.EACCES: "permission to read it is denied: ask its owner for it",
    errno.EPERM: "permission to read it is denied: ask its owner for it",
    errno.EIO: "the disk or the network that holds it does not answer: check the device",
    errno.ETIMEDOUT: "the network that holds it does not answer: check the connection",
    errno.ESTALE: "the network that holds it does not answer: mount it again",
}
_SHORT_WORDS = {  # of libraries that raise errors without a number
    errno.EAGAIN: ("can't start new thread", "Resource temporarily unavailable"),
    errno.ENOMEM: ("Cannot allocate memory", "out of memory", "malloc of size", "realloc of size", "bad_alloc"),
    errno.EMFILE: ("Too many open files",),
    errno.EACCES: ("Permission denied",),
    errno.EIO: ("Input/output error",),
}


def short_of(error: BaseException) -> str | None:
    """What the machine was short of, and the cure, if an error is of a shortage or of access; None for any other.

    No file is damaged then, whatever was read.

    >>> short_of(OSError(errno.EMFILE, "Too many open files"))
    'too many files are open in this process: raise its limit (`ulimit -n`)'
    >>> short_of(ValueError("no number")) is None
    True
    """
    if isinstance(error, MemoryError):
        return _SHORT[errno.ENOMEM]
    if isinstance(error, OSError) and error.errno in _SHORT:
        return _SHORT[error.errno]
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return f"{_NO_SPACE[error.errno or 0].lower()}: free some space"
    told = isinstance(error, OSError | RuntimeError) or type(error).__module__.split(".")[0] in ("pyarrow", "builtins")
    if isinstance(error, ValueError | KeyError) or not (told or "safetensors" in type(error).__module__.lower()):
        return None
    return next((_SHORT[n] for n, words in _SHORT_WORDS.items() if any(word in str(error) for word in words)), None)


def unreadable(path: str | Path, error: BaseException, kind: str, cure: str = "restore it") -> BiasvarError:
    """The error for a file that could not be read: a shortage if it was one, else a file that is damaged.

    Args:
        path: The file.
        error: What was raised.
        kind: What it was read as, such as "Parquet".
        cure: What to do about a damaged file.
    """
    short = short_of(error)
    asked = re.search(r"alloc of size (\d+)", str(error))
    # A file that claims more than the machine has, and than could have been packed into it, is short of nothing.
    if short is not None and not (asked and _is_absurd(int(asked[1]), Path(path))):
        return ShortageError(f"{path} could not be read, {short}; the file is as it was")
    reason = (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
    return RecordError(f"{path} cannot be read as {kind} ({reason}); it is damaged or cut short: {cure}")


def _is_absurd(size: int, path: Path) -> bool:
    """True for a size in memory that no content of a file can have on this machine."""
    return size > 1000 * path.stat().st_size and size > memory_of_machine()


def memory_of_machine() -> int:
    """Bytes of memory that the machine has; where the system does not say, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # pragma: no cover - Windows
        return 2**62


def in_bytes(number: float) -> str:
    """A number of bytes with a fitting unit.

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


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, under another user
        return True
    return True


def _make_directory(directory: Path) -> None:
    """Make a directory and its parents, each entry synced into the one above."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync(directory.parent)
