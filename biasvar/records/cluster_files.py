"""Names of the clusters that rows come in (image, person, document), from arrays in files and columns of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biasvar.columns import SAMPLE_ID, named_like_an_id
from biasvar.errors import RecordError
from biasvar.messages import did_you_mean, first_few
from biasvar.records import schema
from biasvar.records.label_files import read_csv
from biasvar.records.numpy_files import stored_array
from biasvar.records.prediction_files import existing
from biasvar.records.stored_files import read_columns
from biasvar.records.tables import Ids, ids_of, kinds

COLUMN = "cluster"
_TABLES = (".csv", ".parquet")
_SHOWN = 12


@dataclass(frozen=True, eq=False)
class Clusters:
    """Names (N,) of the clusters of rows, and sample ids of the names where their table has such.

    ``title`` says what they are, for captions and messages.
    """

    names: np.ndarray
    ids: Ids | None
    title: str

    def of(self, sample_ids: np.ndarray, first: int) -> np.ndarray:
        """The names of rows (n,), by their sample ids where the names have them, else by place from ``first`` on.

        Raises RecordError for rows without a name.
        """
        by_place = np.array_equal(sample_ids, np.arange(first, first + len(sample_ids)))
        if self.ids is not None and (self.ids.sure or not by_place):
            order = np.argsort(self.ids.values, kind="stable")
            there = self.ids.values[order]
            place = np.minimum(np.searchsorted(there, sample_ids), len(there) - 1)
            missing = there[place] != sample_ids
            if missing.any():
                raise RecordError(f"{self.title} lacks {SAMPLE_ID} {first_few(sample_ids[missing])} of the soft labels")
            return self.names[order[place]]
        if self.ids is not None and not self.ids.rise:
            raise RecordError(
                f"{self.title}: {self.ids.title} is not in order and the soft labels have no ids to meet it by: sort "
                "the rows as the soft labels, or drop it"
            )
        if len(self.names) < first + len(sample_ids):
            raise RecordError(f"{self.title} names {len(self.names):,} rows, and there are more soft labels")
        return self.names[first : first + len(sample_ids)]

    def check_rows(self, rows: int) -> None:
        """Raise RecordError where names that go by place are more than the rows that there were."""
        if self.ids is None and len(self.names) != rows:
            raise RecordError(f"{self.title} names {len(self.names):,} rows, and there are {rows:,} soft labels")


def read_clusters(place: str, soft_labels: Path | None = None, labels: Path | None = None) -> Clusters:
    """Names of clusters from a file, a column of a file (FILE:COLUMN), or a column of the soft labels or labels.

    A .npy or .npz holds one name a row, whole numbers or texts. Of a .csv or .parquet the column ``cluster`` is taken,
    or the only one beside sample ids. Its rows go by ``sample_id`` (or a column named like an id) where it has one.

    Raises FileNotFoundError for a file that is not there, RecordError saying what is wrong and what is allowed.
    """
    folder, _, last = place.rpartition(":")
    if Path(place).is_file():
        return _of_file(Path(place), None)
    if folder and Path(folder).is_file():
        return _of_file(Path(folder), last)
    tables = [path for path in (soft_labels, labels) if path is not None and path.suffix.lower() in _TABLES]
    if Path(place).suffix.lower() in (".npy", ".npz", *_TABLES):
        existing(place)
    known: list[str] = []
    for path in tables:
        table = _table(path)
        if place in table.column_names:
            # Names in the file of the soft labels are in its order, whatever its ids.
            ids = None if path == soft_labels else _ids(table, place, path)
            return Clusters(_names(table, place, path), ids, f"column {place!r} of {path.name}")
        known += [f"{path.name}: {first_few(table.column_names, _SHOWN)}"]
    columns = [name for path in tables for name in _table(path).column_names]
    there = f"; columns there are: {'; '.join(known)}" if known else "; no table is given that could have such a column"
    raise RecordError(
        f"clusters: {place!r} is neither a file (.npy, .npz, .csv, .parquet, or FILE:COLUMN) nor a column of the soft "
        f"labels or labels{did_you_mean(place, columns, after=';')}{there}"
    )


def _of_file(path: Path, column: str | None) -> Clusters:
    suffix = schema.one_of(path.suffix.lower(), (".npy", ".npz", *_TABLES), f"suffix of {path},")
    if suffix not in _TABLES:
        if column is not None:
            raise RecordError(f"{path} holds an array and has no columns: give the file alone")
        names = np.asarray(stored_array(path, ("clusters", COLUMN)).mapped())
        if names.ndim != 1 or names.dtype.kind not in "iufUS":
            raise RecordError(
                f"{path} must hold one name a row, whole numbers or texts of shape (N,); it holds {names.dtype} of "
                f"shape {names.shape}"
            )
        return Clusters(names, None, f"clusters {path.name}")
    table = _table(path)
    chosen = _column(table, path) if column is None else column
    if chosen not in table.column_names:
        raise RecordError(
            f"{path} has no column {chosen!r}{did_you_mean(chosen, table.column_names, after=';') or ';'} it has: "
            f"{first_few(table.column_names, _SHOWN)}"
        )
    return Clusters(_names(table, chosen, path), _ids(table, chosen, path), f"column {chosen!r} of {path.name}")


def _table(path: Path) -> pa.Table:
    return read_csv(existing(path)) if path.suffix.lower() == ".csv" else read_columns(existing(path))


def _column(table: pa.Table, path: Path) -> str:
    """The column that holds the names, where none is chosen."""
    names, index = table.column_names, kinds(table.schema)[1].names
    if COLUMN in names:
        return COLUMN
    others = [name for name in names if name not in (SAMPLE_ID, "label", *index)]
    if len(others) == 1:
        return others[0]
    raise RecordError(
        f"{path}: which column names the clusters? name it, as in {path}:{(others or ['COLUMN'])[0]}; it has: "
        f"{first_few(names, _SHOWN)}"
    )


def _ids(table: pa.Table, chosen: str, path: Path) -> Ids | None:
    found, index = kinds(table.schema)
    whole = [name for name, kind in found if kind == "whole" and name != chosen and name not in index.names]
    likely = [name for name in whole if name == SAMPLE_ID] or [name for name in whole if named_like_an_id(name)]
    if len(likely) > 1:
        raise RecordError(f"{path}: columns {first_few(likely)} are all named like an id; rename one {SAMPLE_ID}")
    ids = ids_of(table, likely[0] if likely else None, index, table.num_rows, str(path))
    if ids is None or (len(np.unique(ids.values)) == len(ids.values)):
        return ids
    names, numbers = _names(table, chosen, path), ids.values
    first: dict[int, object] = {}
    for name, number in zip(names.tolist(), numbers.tolist(), strict=True):
        if first.setdefault(number, name) != name:
            raise RecordError(f"{path}: {ids.title} {number} comes more than once, with different {chosen!r}")
    return ids


def _names(table: pa.Table, column: str, path: Path) -> np.ndarray:
    values: Sequence[object] = table.column(column).to_pylist()
    if any(isinstance(value, list | dict) for value in values[:1]):
        raise RecordError(f"{path}: column {column!r} must hold one name a row, whole numbers or texts, not lists")
    names = np.empty(len(values), dtype=object)
    names[:] = values
    return names
