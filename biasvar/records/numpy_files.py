"""Arrays in .npy and .npz files: what a header says, checked against the file, and the numbers row by row."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biasvar.errors import RecordError
from biasvar.files import in_bytes, memory_of_machine, unreadable

SUFFIXES = (".npy", ".npz")
BROKEN = (
    *(ValueError, EOFError, KeyError, OSError, MemoryError, RuntimeError, SyntaxError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What NumPy and zipfile raise for a file that is none of theirs, or that cannot be read for now."""


@dataclass(frozen=True)
class StoredArray:
    """An array that lies in a file, not yet read; ``member`` is its name in a .npz, ``offset`` its place in a .npy."""

    path: Path
    member: str | None
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    def open(self, stack: ExitStack) -> Any:
        """The file, at the first number."""
        return _open(self.path, self.member, stack)[0]

    def parts(self, rows: int) -> Iterator[np.ndarray]:
        """The array (N, ...), stored row by row, in parts of at most so many rows.

        Not by a memory map: the pages of one count as this process's memory.
        """
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        with ExitStack() as stack:
            file = self.open(stack)
            for start in range(0, self.shape[0], rows):
                n = min(rows, self.shape[0] - start)
                try:
                    data = file.read(n * size)
                except BROKEN as error:
                    raise unreadable(self.path, error, "a NumPy file") from None
                if len(data) != n * size:
                    raise RecordError(f"{self.path} is cut short: it ends before row {start + n} of {self.shape[0]}")
                yield np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])

    def mapped(self) -> np.ndarray:
        """The array: a .npy as a memory map, of which only what is used is read, a .npz as a whole."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if self.member is None:
            order: Any = "F" if self.fortran else "C"
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        if size > memory_of_machine():
            raise RecordError(
                f"{self.path} holds {self.dtype} of shape {self.shape}, {in_bytes(size)} unpacked, which is more than "
                f"this machine's memory of {in_bytes(memory_of_machine())}; save it as .npy, which is read by parts"
            )
        with ExitStack() as stack:
            try:
                data = self.open(stack).read()
            except BROKEN as error:
                raise unreadable(self.path, error, "a NumPy file") from None
        return np.frombuffer(data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


def stored_array(path: Path, names: Sequence[str]) -> StoredArray:
    """The array of a .npy, or of a .npz that holds one array or one of those ``names``.

    Raises RecordError for a file that is none, that is cut short, or that holds several arrays of other names.
    """
    check_numpy(path)
    with ExitStack() as stack:
        try:
            member = None if path.suffix.lower() == ".npy" else _member(path, names)
            file, shape, fortran, dtype = _open(path, member, stack)
            there = _size(path, member)
        except RecordError:
            raise
        except BROKEN as error:
            raise unreadable(path, error, "a NumPy file") from None
        offset = file.tell()
    needed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise RecordError(f"{path} cannot be read as a NumPy file (it holds Python objects; save an array of numbers)")
    if needed > there - offset or min(shape, default=0) < 0:
        raise RecordError(
            f"{path} is cut short: its header says {dtype} {shape}, of which {there - offset} bytes are there"
        )
    return StoredArray(path, member, shape, fortran, dtype, offset)


def check_numpy(path: Path) -> None:
    """Raise RecordError for a file that does not begin as .npy and .npz files do, which NumPy takes for a pickle."""
    with path.open("rb") as file:
        if not file.read(6).startswith((b"\x93NUMPY", b"PK")):
            raise RecordError(f"{path} cannot be read as a NumPy file (it does not begin as one)")


def _open(path: Path, member: str | None, stack: ExitStack) -> tuple[Any, tuple[int, ...], bool, np.dtype[Any]]:
    """The file at its first number, with the shape, whether it lies column by column, and the type."""
    if member is None:
        file: Any = stack.enter_context(path.open("rb"))
    else:
        file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return (file, *header(file))


def _member(path: Path, names: Sequence[str]) -> str:
    with zipfile.ZipFile(path) as archive:
        there = [name.removesuffix(".npy") for name in archive.namelist()]
    name = there[0] if len(there) == 1 else next((name for name in names if name in there), None)
    if name is None:
        listing = " or ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])
        raise RecordError(
            f"{path} holds {len(there)} arrays ({', '.join(there)}); it must hold one, or one named {listing}"
        )
    return f"{name}.npy"


def _size(path: Path, member: str | None) -> int:
    if member is None:
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo(member).file_size
