"""Objects of a user's own that a study file names by their import path, "package.module:name"."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_refused: ContextVar[bool] = ContextVar("import paths are refused", default=False)


@contextmanager
def no_code() -> Iterator[None]:
    """In the block every import path is refused, before anything is imported: a study file may be a stranger's."""
    before = _refused.set(True)
    try:
        yield
    finally:
        _refused.reset(before)


def check_allowed(path: str) -> None:
    """Raise ValueError if import paths are refused; asked before every import of a module that a study names."""
    if _refused.get():
        raise ValueError(
            f"{path} is code that would be imported and run, which --no-code refuses; leave --no-code out if you trust "
            "the study and know the module"
        )


def import_named(path: str, *, what: str, kind: str, example: str) -> Any:
    """The object that a path names.

    Args:
        path: "package.module:name", importable where the study runs (installed, or in the current folder).
        what: What it stands for, such as "network".
        kind: What the object is called in the form of a path, such as "factory".
        example: A path of the right form, for the message.

    Raises:
        ValueError: Not a path of that form; no such module or name; importing the module fails.
    """
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name):
        raise ValueError(f"{what} {path!r}: expected package.module:{kind}, such as {example}")
    check_allowed(path)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        # A module that exists but imports something missing is another mistake than a misspelt path.
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(
                f"{what} {path}: no module named {missing!r}; install it, or run where it can be imported"
            ) from error
        raise ValueError(f"{what} {path}: {module_name} needs a module named {missing!r}, not installed") from error
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{what} {path}: importing {module_name} failed with {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, name):
        raise ValueError(f"{what} {path}: module {module_name} has no {name!r}")
    return getattr(module, name)


def source_hash(path: str) -> str | None:
    """SHA-256 of the source file that an import path names; None for a name of ours.

    What "mylab.nets:wide_net" stands for may change between two runs: kept weights are good for one source only.
    Modules that the file imports in its turn are not looked at.

    >>> source_hash("resnet20") is None
    True
    """
    if ":" not in path:
        return None
    check_allowed(path)
    source = getattr(importlib.import_module(path.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None
