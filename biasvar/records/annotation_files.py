"""Tables of what annotators said, from files and frames: votes and soft labels by sample id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from biasvar.analysis.soft_labels.annotators import count_votes
from biasvar.analysis.soft_labels.transforms import from_votes
from biasvar.arguments import checked
from biasvar.columns import annotator_columns
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.label_files import read_csv
from biasvar.records.numpy_files import stored_array
from biasvar.records.prediction_files import existing
from biasvar.records.stored_files import read_columns
from biasvar.records.tables import as_table, ids_of, is_frame, kinds

ARRAY_NAMES = ("annotations", "annotators", "labels")
SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
EMPTY = ("refuse", "leave_out")


@dataclass(frozen=True, eq=False)
class Annotations:
    """Votes of the samples that somebody labelled.

    ``counts`` (n, K) int64; ``sample_ids`` (n,) int64, of the table, else the numbers of its rows; ``left_out`` those
    that nobody labelled; ``annotators`` the columns that were counted, None of an array.
    """

    counts: np.ndarray
    sample_ids: np.ndarray
    left_out: np.ndarray
    annotators: tuple[str, ...] | None

    def soft_labels(self, *, concentration: float = 0.0) -> np.ndarray:
        """Shares of the votes, float64 (n, K); see :func:`biasvar.analysis.from_votes`."""
        return np.asarray(from_votes(self.counts, concentration=concentration))


@checked
def read_annotations(
    source: Any,
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    empty: Literal["refuse", "leave_out"] = "refuse",
) -> Annotations:
    """Votes counted from a table with one row a sample and one column an annotator, with gaps.

    ``source``: a .csv or .parquet, a frame, an array (N, A), a .npy, or a .npz (one array, or one named annotations,
    annotators or labels). Sample ids are a column ``sample_id``, one named like an id, or the index of a pandas frame;
    a column named like a label is the truth, and no annotator; all others are, or the given ``columns``. Entries and
    gaps are those of :func:`biasvar.analysis.count_votes`. ``empty``: samples that nobody labelled are refused, or left
    out.

    Raises FileNotFoundError, or RecordError naming the file, the rows and what is allowed.

    >>> read_annotations([[0, None], [1, 1]], 2).soft_labels().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    schema.one_of(empty, EMPTY, "empty,")
    name = str(source) if isinstance(source, str | Path) else "annotations"
    table, ids, said = _opened(source, name, columns)
    try:
        counts = np.asarray(count_votes(table, num_classes, class_names=class_names, empty="zero"))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{name}: {error}" if name != "annotations" else str(error)) from None
    ids = np.arange(len(counts)) if ids is None else ids
    again, times = np.unique(ids, return_counts=True)
    if (times > 1).any():
        raise RecordError(f"{name}: sample_id {first_few(again[times > 1].tolist())} comes more than once")
    there = counts.sum(axis=1) > 0
    if not there.all() and empty == "refuse":
        raise RecordError(
            f'{name}: nobody labelled sample_id {first_few(ids[~there].tolist())}; empty="leave_out" leaves them out'
        )
    if not there.any():
        raise RecordError(f"{name}: nobody labelled any sample")
    return Annotations(counts[there], ids[there], ids[~there], said)


def _opened(
    source: Any, name: str, columns: Sequence[str] | None
) -> tuple[Any, np.ndarray | None, tuple[str, ...] | None]:
    """The entries (N, A), the sample ids and the names of the annotators, where there are any."""
    if isinstance(source, str | Path):
        path = existing(source)
        suffix = schema.one_of(path.suffix.lower(), SUFFIXES, f"suffix of {path},")
        if suffix in (".npy", ".npz"):
            return np.asarray(stored_array(path, ARRAY_NAMES).mapped()), None, None
        return _of_table(read_csv(path) if suffix == ".csv" else read_columns(path), name, columns)
    return _of_table(as_table(_of_one_kind(source), name), name, columns) if is_frame(source) else (source, None, None)


def _of_one_kind(frame: Any) -> Any:
    """A pandas frame with its columns of objects as text: Arrow has no type for numbers beside empty words."""
    if not hasattr(frame, "select_dtypes"):
        return frame
    frame = frame.infer_objects()
    texts = {name: column.map(str, na_action="ignore") for name, column in frame.select_dtypes("object").items()}
    return frame.assign(**texts) if texts else frame


def _of_table(
    table: pa.Table, name: str, columns: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    found, index = kinds(table.schema)
    roles = annotator_columns(found, name, index=index.names, columns=columns)
    ids = ids_of(table, roles.ids, index, table.num_rows, name)
    entries = np.empty((table.num_rows, len(roles.classes)), dtype=object)
    for place, column in enumerate(roles.classes):
        entries[:, place] = table.column(column).to_pylist()
    return entries, None if ids is None else ids.values, roles.classes
