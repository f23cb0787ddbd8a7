"""Names of samples, such as file names, beside the whole numbers that a record holds: stored once a split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.messages import did_you_mean, first_few
from biasvar.records import schema
from biasvar.records.files import write_table
from biasvar.records.stored_files import read_columns

FOLDER = "sample_names"
SCHEMA = pa.schema([pa.field("sample_id", pa.int64(), nullable=False), pa.field("name", pa.string(), nullable=False)])


class SampleNames:
    """The names of the samples 0 .. N - 1.

    >>> SampleNames(["cat.png", "dog.png"]).ids(["dog.png", "cat.png"], "sample_ids").tolist()
    [1, 0]
    """

    def __init__(self, names: Sequence[str]) -> None:
        found = np.asarray(names)
        if (
            found.ndim != 1
            or found.dtype.kind not in "UOT"
            or not all(isinstance(name, str) for name in found.tolist())
        ):
            raise ValueError("sample_names must be a list of one text a sample, in the order of the sample ids")
        self.names: list[str] = [str(name) for name in found]
        twice, times = np.unique(np.array(self.names, dtype=object), return_counts=True)
        if (times > 1).any():
            raise ValueError(f"sample_names {first_few(twice[times > 1])} come more than once; each names one sample")

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def ids(self, values: Any, what: str) -> np.ndarray:
        """The sample ids of names of any shape; ValueError for a name that is not among them."""
        given = np.asarray(values)
        place = self._place
        unknown = [name for name in given.ravel().tolist() if name not in place]
        if unknown:
            hint = did_you_mean(unknown[0], self.names, after=";")
            raise ValueError(f"{what} {first_few(unknown)} are not among the {len(place):,} sample_names{hint}")
        return np.array([place[name] for name in given.ravel().tolist()], dtype=np.int64).reshape(given.shape)


def are_names(values: Any) -> bool:
    """True of texts, in a list or an array, as sample ids that need a map."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "UT" or (
            values.dtype.kind == "O" and values.size > 0 and type(values.flat[0]) is str
        )
    return isinstance(values, list | tuple) and bool(values) and isinstance(values[0], str)


def names_path(directory: Path, split: str) -> Path:
    """Where the names of a split's samples lie.

    >>> print(names_path(Path("runs/mine"), "test").as_posix())
    runs/mine/sample_names/test.parquet
    """
    return directory / FOLDER / f"{schema.check_name(split, 'split')}.parquet"


def read_sample_names(directory: Path, split: str) -> SampleNames | None:
    """The names of a split's samples; None if the run has none."""
    path = names_path(directory, split)
    if not path.is_file():
        return None
    table = read_columns(path, SCHEMA.names, SCHEMA)
    if table.column("sample_id").to_pylist() != list(range(len(table))):
        raise RecordError(f"{path} is damaged: sample_id must be 0, 1, ... in order; restore it")
    return SampleNames(table.column("name").to_pylist())


def settle_sample_names(directory: Path, split: str, names: SampleNames) -> None:
    """Store the names of a split; RecordError where it has others."""
    known = read_sample_names(directory, split)
    if known is None:
        table = pa.table([pa.array(range(len(names.names)), pa.int64()), pa.array(names.names)], schema=SCHEMA)
        write_table(names_path(directory, split), table, schema.metadata_of(split=split))
    elif known.names != names.names:
        raise RecordError(
            f"{names_path(directory, split)} holds other names, or in another order ({len(known.names):,} from "
            f"{known.names[0]!r} on; given were {len(names.names):,} from {names.names[0]!r} on); replicas share them"
        )
