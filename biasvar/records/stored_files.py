"""The record files of a run: those of some arms, splits, views and epochs, by their paths, and reading one of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.errors import BiasvarError, RecordError
from biasvar.files import unreadable
from biasvar.records import schema
from biasvar.records.column_kinds import check_kinds
from biasvar.records.epoch_parts import incomplete_epochs

SAMPLE_FOLDERS = ("records", *schema.PREDICTION_FOLDERS.values(), "view_predictions")
ARM_FOLDERS = (*SAMPLE_FOLDERS, "metrics")
MANY = 2**16
"""Rows of a file from which on threads read it sooner; a run of many arms has thousands of small files."""
UNREADABLE = (pa.ArrowException, OSError, MemoryError, RuntimeError)
"""What Arrow raises for a file that is no Parquet file, or that cannot be read for now."""


@dataclass(frozen=True)
class StoredFile:
    """A Parquet file of records or predictions and what its path says of it."""

    path: Path
    arm: str
    split: str
    part: str
    """The view of a record or of predictions on it, the membership of other predictions."""
    epoch: int
    group: int


def stored_files(
    directory: Path,
    folder: str,
    *,
    arm: Any = None,
    split: Any = None,
    part: Any = None,
    epochs: Any = None,
) -> list[StoredFile]:
    """The files under ``folder`` (of `SAMPLE_FOLDERS`) that match, by arm, split, part, epoch and group.

    None means all; a name or number, or a list of them, means those. Raises RecordError for one that is not there,
    with what is. An epoch of which only parts are there is left out with a warning, or refused if it is asked for.
    """
    root = directory / folder
    key = "view" if folder in ("records", "view_predictions") else "membership"
    files: list[StoredFile] = []
    arms = [arm] if _holds(root, arm) else _choose(_children(root, "arm="), arm, f"arm in the {folder} of {directory},")
    branches = [(name, *branch) for name in arms for branch in _branches(root / f"arm={name}", key)]
    splits = _choose(_distinct(branch[1] for branch in branches), split, f"split in the {folder} of {_said(arm)},")
    branches = [branch for branch in branches if branch[1] in splits]
    parts = _choose(_distinct(branch[2] for branch in branches), part, f"{key} in the {folder} of {_said(arm)},")
    branches = [branch for branch in branches if branch[2] in parts]
    for name, at, kind, path in branches:
        files += [StoredFile(file, name, at, kind, *numbers) for file, numbers in _epoch_files(path)]
    for *_, path in branches:
        _name_incomplete(path, {file.epoch for file in files}, epochs)
    if epochs is not None:
        here = _distinct(file.epoch for file in files)
        wanted = set(_choose(here, epochs, f"epoch in the {folder} of {_said(arm)},"))
        files = [file for file in files if file.epoch in wanted]
    return sorted(files, key=lambda file: (file.arm, file.split, file.part, file.epoch, file.group))


IMPORTED = 500
"""From this number on files of a training group in a recorded run are imported."""


def last_of_each(files: Sequence[StoredFile]) -> list[StoredFile]:
    """Of each training group of one (arm, split, part) the file of its last epoch."""
    last: dict[int, StoredFile] = {}
    for file in files:
        if file.group not in last or file.epoch > last[file.group].epoch:
            last[file.group] = file
    return [last[group] for group in sorted(last)]


def incomplete_records(directory: Path) -> list[str]:
    """The epochs of a run of which only parts are there, in words, by arm, split and view."""
    root = directory / "records"
    return [
        f"arm {arm}, {split} {view}, epoch {epoch}: {lack}"
        for arm in _children(root, "arm=")
        for split, view, path in _branches(root / f"arm={arm}", "view")
        for epoch, lack in incomplete_epochs(path).items()
    ]


def arms_on_disk(directory: Path) -> list[str]:
    """Every arm that left a file of any kind."""
    folders = [directory / name for name in ARM_FOLDERS]
    return _distinct(arm for folder in folders for arm in _children(folder, "arm="))


def read_columns(path: Path, columns: Sequence[str] | None = None, layout: pa.Schema | None = None) -> pa.Table:
    """Some columns of one Parquet file (default: all of them).

    A column that the file lacks and that may be null in ``layout`` is read as nulls: an earlier version, to which the
    column was unknown, wrote the file.

    Raises RecordError, naming the file, if it is damaged, lacks another column, or holds other kinds of values than the
    layout; FileNotFoundError if it is not there.
    """
    try:
        with pq.ParquetFile(path) as file:
            there, rows = file.schema_arrow.names, file.metadata.num_rows
            absent = [] if columns is None else [name for name in columns if name not in there]
            missing = [name for name in absent if not _may_be_null(layout, name)]
            if missing:
                raise RecordError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(there)}")
            wanted = None if columns is None else [name for name in columns if name in there]
            twice = [name for name in dict.fromkeys(there) if there.count(name) > 1]
            if twice:
                raise RecordError(f"{path} has two columns {twice[0]!r}; {_cure(path)}")
            table = file.read(columns=wanted, use_threads=rows >= MANY)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    if layout is None:
        return table
    check_kinds(path, table, layout, _cure(path))
    if not absent:
        return table
    for name in absent:
        table = table.append_column(layout.field(name), pa.nulls(rows, layout.field(name).type))
    return table.select(list(columns or ()))


def footer(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself, and "rows", how many it has; of a file of another tool the latter alone.

    Raises RecordError for a file that is damaged, or that a newer biasvar wrote.
    """
    try:
        there = path.stat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from None
    return _footer(path, there.st_size, there.st_mtime_ns)


@lru_cache(maxsize=2**16)
def _footer(path: Path, size: int, changed: int) -> dict[str, Any]:
    """The same, read once for a file of that size and time of its last change."""
    try:
        found = pq.read_metadata(path)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unreadable(path, error) from None
    try:
        said = json.loads((found.metadata or {}).get(b"biasvar", b"{}"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    if not isinstance(said, dict):
        raise _unreadable(path, ValueError("what it says of itself is no object"))
    version = said.get("schema_version", 0)
    if type(version) is not int or version < 0:
        raise _unreadable(path, ValueError(f"its schema_version is {version!r:.60}, it must be a whole number"))
    if version > schema.LOGITS_VERSION:
        raise RecordError(
            f"{path} was written with schema version {version!r:.60}, this biasvar reads up to "
            f"{schema.LOGITS_VERSION}; update biasvar"
        )
    return {**said, "rows": found.num_rows}


def file_replicas(path: Path) -> list[int] | None:
    """The replicas in a record file, from its footer; None if another tool wrote the file."""
    replicas = footer(path).get("replicas")
    if replicas is None or (isinstance(replicas, list) and all(type(number) is int for number in replicas)):
        return replicas
    raise _unreadable(path, ValueError(f"it says that its replicas are {replicas!r:.60}"))


def listed(value: Any) -> list[Any]:
    """One value, or several, as a list of plain Python values."""
    if hasattr(value, "tolist") and not getattr(value, "is_meta", False):  # NumPy's, pandas's and torch's alike
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    return [entry.item() if isinstance(entry, np.generic) else entry for entry in value]


def _may_be_null(layout: pa.Schema | None, name: str) -> bool:
    return layout is not None and name in layout.names and layout.field(name).nullable


def _unreadable(path: Path, error: BaseException) -> BiasvarError:
    return unreadable(path, error, "Parquet", _cure(path))


def _cure(path: Path) -> str:
    """What to do about a file that is not as it was written."""
    arm = next((part for part in path.parts if part.startswith("arm=")), None)
    anew = "" if arm is None else f", or delete the folders {arm} under {_listed(ARM_FOLDERS)} and run the study again"
    return f"restore it{anew}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _name_incomplete(folder: Path, complete: set[int], epochs: Any) -> None:
    asked = None if epochs is None else listed(epochs)
    for epoch, lack in incomplete_epochs(folder).items():
        if asked is not None and epoch not in asked:
            continue
        message = f"{folder}: epoch {epoch} is not complete and not read: {lack}. "
        message += (
            "If no process is writing it any more, go on with resume=True: what is there is merged, or recorded anew"
        )
        if asked is not None and epoch not in complete:
            raise RecordError(message)
        warnings.warn(message, stacklevel=2)


def _choose(there: list[Any], asked: Any, what: str) -> list[Any]:
    if asked is None:
        return there
    wanted = [schema.one_of(value, there, what) for value in listed(asked)]
    return [value for value in there if value in wanted]


def _holds(root: Path, arm: Any) -> bool:
    """Whether one arm is named that has a folder there: of a thousand arms the list of all is long."""
    return isinstance(arm, str) and "/" not in arm and (root / f"arm={arm}").is_dir()


def _said(arm: Any) -> str:
    return "any arm" if arm is None else f"arm {', '.join(map(str, listed(arm)))}"


def _distinct(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values))


def _children(directory: Path, prefix: str) -> list[str]:
    if not directory.is_dir():
        return []
    return sorted(path.name[len(prefix) :] for path in directory.iterdir() if path.name.startswith(prefix))


def _branches(directory: Path, key: str) -> Iterator[tuple[str, str, Path]]:
    for split in _children(directory, "split="):
        for part in _children(directory / f"split={split}", f"{key}="):
            yield split, part, directory / f"split={split}" / f"{key}={part}"


def _epoch_files(directory: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for epoch in _children(directory, "epoch="):
        for name in _children(directory / f"epoch={epoch}", "group="):
            group, _, suffix = name.partition(".")
            if suffix == "parquet" and epoch.isdigit() and group.isdigit():
                yield directory / f"epoch={epoch}" / f"group={name}", (int(epoch), int(group))
