"""Whole files or none: every file of a run is written beside its place, synced, and moved there."""

from __future__ import annotations

import json
import math
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.errors import disk_full, is_full

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; one process at a time there
    fcntl = None  # type: ignore[assignment]

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
_TEMPORARY = re.compile(r"\..+\.(\d+)@([A-Za-z0-9-]*)\.tmp")
# Few distinct values in a file: worth a dictionary. Everything else only grows by one.
_DICTIONARY = (
    *("replica", "label", "student_prediction", "teacher_prediction", "group", "count", "multiplicity"),
    *("arm", "split", "view", "pool", "family", "epoch"),
)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old file or the new one, whole, and never a part.

    The bytes go to a temporary file with a leading dot in the same directory, which is synced and renamed; then the
    directory is synced, so that the file also outlives a power cut. Missing directories are made.

    Raises OSError (no permission), DiskFullError if the disk is full; the temporary file is then gone and what was at
    ``path`` is untouched.
    """
    path = Path(path)
    try:
        _write(path, data)
    except OSError as error:
        if is_full(error):
            raise disk_full(error, path) from error
        raise


def _write(path: Path, data: bytes | memoryview) -> None:
    _make_directory(path.parent)
    # The process in the name keeps two writers apart and lets a later one tell what was left behind by a killed one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{_HOST}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as readable JSON, atomically. NumPy values become plain ones; NaN and infinity become null."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def plain(value: Any) -> Any:
    """``value`` in the words of JSON.

    >>> plain({"alpha": np.float64(2.25), "epochs": (1, 2), "accuracy": float("nan")})
    {'alpha': 2.25, 'epochs': [1, 2], 'accuracy': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table_bytes(table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> pa.Buffer:
    """The Parquet file of ``table``: the same content and metadata give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(dict(sorted((metadata or {}).items())) or None),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _DICTIONARY if name in table.column_names],
        write_statistics=[name for name in ("sample_id", "replica", "group") if name in table.column_names],
    )
    return sink.getvalue()


def write_table(path: str | Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Write ``table`` as one Parquet file, zstd, atomically and with reproducible bytes.

    ``metadata`` is the file's key-value metadata, see :func:`biasvar.records.schema.metadata_of`.
    """
    write_bytes(path, memoryview(table_bytes(table, metadata)))


def remove_leftovers(directory: Path) -> None:
    """Delete the temporary files of writers on this machine that were killed."""
    for path in list(directory.rglob(".*.tmp")):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match[2] == _HOST and not _is_running(int(match[1])):
            path.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, so that two processes may change one manifest in turn."""
    if fcntl is None:  # pragma: no cover
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":  # pragma: no cover - a directory cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
