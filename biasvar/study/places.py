"""Where the files lie that a study names: relative to the study file that names them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

FILE_SUFFIXES = (".npy", ".npz", ".parquet")
"""Of files of soft labels or logits: those that `biasvar.records.soft_labels.open_soft_labels` reads."""
DATA_SUFFIXES = (".parquet", ".csv", ".npz", ".npy")
"""Of files that are a data set of their own."""


def is_path(name: str) -> bool:
    """True if the name of a data set is a path: with a slash in it, or of a file that is one.

    >>> is_path("digits"), is_path("faces.npz"), is_path("./faces"), is_path(".")
    (False, True, True, True)
    """
    return name.endswith(DATA_SUFFIXES) or Path(name).name != name


def place_files(raw: dict[str, Any], folder: Path) -> None:
    """Make the paths of the files of soft labels and of teachers absolute.

    Args:
        raw: What a study file says; changed in place.
        folder: What the paths in it are relative to.
    """
    for section, keys in (("soft_labels", ("path",)), ("teachers", ("checkpoint", "logits"))):
        entries = raw.get(section)
        for entry in entries.values() if isinstance(entries, dict) else ():
            for key in keys:
                if isinstance(entry, dict) and isinstance(entry.get(key), str):
                    entry[key] = os.path.abspath(folder / os.path.expanduser(entry[key]))


def hash_of(path: str, key: str, given: str | None) -> str:
    """SHA-256 of a file that a study names.

    Args:
        path: The file.
        key: That names it, for errors.
        given: The hash that it should have; None where the study says none.

    Raises:
        ValueError: The file cannot be read, or is another one than was given.
    """
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(
            f"{key}: {path} cannot be read ({error.strerror}); a path is relative to the study file"
        ) from None
    if given not in (None, found):
        raise ValueError(f"sha256: {path} is another file now: its SHA-256 is {found}, not {given}")
    return found


def place_data(raw: dict[str, Any], folder: Path) -> str | None:
    """Write out where the data lie, if their name is a path.

    What lies beside the study file counts; of older studies that were written for one working directory, what lies
    there. The name stays as it is written, by which a study is known.

    Args:
        raw: What a study file says; changed in place.
        folder: What the path in it is relative to.

    Returns:
        What a reader should know of the place, "" if it is as expected; None if the file names no data.
    """
    data = raw.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(name, str):
        return None
    given = data.get("path")
    if not is_path(name):
        data.setdefault("path", None)  # that of a study which this one is laid over is no longer meant
        return ""
    if isinstance(given, str) and os.path.exists(folder / given):
        data["path"] = os.path.abspath(folder / given)
        return ""
    here, beside = (os.path.abspath(os.path.join(place, os.path.expanduser(name))) for place in ("", folder))
    missing = not os.path.exists(beside)
    data["path"] = here if missing and os.path.exists(here) else beside
    if here == beside or not os.path.exists(here):
        return ""
    if missing:
        return f"data.name {name}: not beside the study file, taken from the working directory ({here})"
    same = os.path.samefile(here, beside)
    return "" if same else f"data.name {name}: the one beside the study file is taken ({beside}), not {here}"
