"""What the Parquet files of a data set say: labels, splits, class names, and encoded images or features in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.data.layout import FEATURE_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS, Shard, split_of

BATCH = 4096  # images held encoded at a time
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_WORDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


@dataclass(frozen=True)
class Columns:
    """The names of columns that the caller gives; None: the usual ones. Images before features."""

    image: str | None = None
    feature: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Contents:
    """All of a data set but its pixels, in the order of the sample ids: train rows, then test rows, as in the files.

    Attributes:
        shards: The files.
        column: The column of the images, or of the features.
        is_vectors: True for features.
        file, row: (N,) which file a sample is in, and its row there.
        labels: int64 (N,).
        train_rows: How many of the first rows are the train split; None without an official split.
        original_index: int64 (N,) row in the original data set, -1 unknown; None where the files have none.
        class_names: The names that the files give, or None.
        validation: What became of validation rows, for captions: "", "test" or "train".
        source: Where the files say they come from, or "".
    """

    shards: tuple[Shard, ...]
    column: str
    is_vectors: bool
    file: np.ndarray
    row: np.ndarray
    labels: np.ndarray
    train_rows: int | None
    original_index: np.ndarray | None
    class_names: tuple[str, ...] | None
    validation: str
    source: str


def read_contents(found: Sequence[Shard], *, columns: Columns = Columns()) -> Contents:
    """Read everything but the images, or the features.

    Raises:
        ValueError: A file is no whole Parquet file, is empty, lacks a column, or holds labels or splits that are none.
    """
    column, is_vectors, label, names, source = "", False, "", None, ""
    labels, splits, originals, sizes = [], [], [], []
    for shard in found:
        with _readable(shard.path), pq.ParquetFile(shard.path) as file:
            schema = file.schema_arrow
            column, is_vectors = _value_column(shard.path, schema, columns)
            label = _label_column(shard.path, schema, columns.label)
            wanted = [name for name in (label, "split", "original_index") if name in schema.names]
            table = file.read(columns=wanted)
        given = _class_names(shard.path, schema.metadata or {}, label, is_default=columns.label is None)
        if names and given and given != names:
            raise ValueError(f"{shard.path}: other class names than in {found[0].path}: {_short(given)}")
        names = names or given
        source = source or (schema.metadata or {}).get(b"source_repo", b"").decode()
        sizes.append(table.num_rows)
        labels.append(_labels(shard.path, table.column(label), label))
        splits.append(_splits(shard, table))
        originals.append(_original_index(table))
    if not sum(sizes):
        raise ValueError(f"{found[0].path}: the file is empty; needed: at least one row")
    truth, split = np.concatenate(labels), np.concatenate(splits)
    file_of, row = np.repeat(np.arange(len(sizes)), sizes), np.concatenate([np.arange(size) for size in sizes])
    train, validation = _two_splits(split, file_of, row, found)
    order = np.argsort(~train, kind="stable") if train is not None else np.arange(len(truth))
    whole = all(index is not None for index in originals)
    return Contents(
        shards=tuple(found), column=column, is_vectors=is_vectors, file=file_of[order], row=row[order],
        labels=truth[order],
        train_rows=None if train is None else int(train.sum()),
        original_index=np.concatenate([i for i in originals if i is not None])[order] if whole else None,
        class_names=names, validation=validation, source=source,
    )  # fmt: skip


def encoded_images(contents: Contents) -> Iterator[list[bytes | None]]:
    """The encoded images in the order of the sample ids, some thousands at a time; None where a cell is empty."""
    for cells in ordered_cells(contents):
        yield cells.to_pylist()


def ordered_cells(contents: Contents) -> Iterator[pa.Array]:
    """The cells of the images or features in the order of the sample ids, some thousands at a time."""
    n = len(contents.labels)
    edges = sorted({0, n if contents.train_rows is None else contents.train_rows, n})
    for start, stop in pairwise(edges):
        for f in np.unique(contents.file[start:stop]):
            inside = contents.file[start:stop] == f
            yield from _of_one_file(contents.shards[f].path, contents.column, contents.row[start:stop][inside])


def _of_one_file(path: Path, column: str, rows: np.ndarray) -> Iterator[pa.Array]:
    with _readable(path), pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            if rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)].size:
                for batch in file.iter_batches(BATCH, row_groups=[group], columns=[column]):
                    mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
                    cells = batch.column(0)
                    if pa.types.is_struct(cells.type):
                        cells = cells.field("bytes")
                    if pa.types.is_dictionary(cells.type):
                        cells = cells.dictionary_decode()
                    if pa.types.is_binary_view(cells.type):
                        cells = cells.cast(pa.large_binary())  # Arrow takes no rows of a view
                    if len(mine):
                        yield cells if len(mine) == len(cells) else cells.take(pa.array(mine))
                    first += batch.num_rows
            first = last


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Arrow's errors about a broken file as one that names the file."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise _broken(path, error) from None
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:  # how Arrow reports a damaged page
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> ValueError:
    first = str(error).splitlines()[0]
    if "lists to be of size" in first:  # older Arrow cannot read a missing fixed-size list (apache/arrow#35692)
        return ValueError(f"{path} has a row without features, or with another number of them ({first})")
    return ValueError(f"{path} is not a whole Parquet file ({first}); copy or download it again")


def _value_column(path: Path, schema: pa.Schema, given: Columns) -> tuple[str, bool]:
    """The column of the images, or else that of the features, and True for features."""
    has_images = given.image or any(name in schema.names for name in IMAGE_COLUMNS)
    if given.feature or (not has_images and any(name in schema.names for name in FEATURE_COLUMNS)):
        return _feature_column(path, schema, given.feature), True
    return _image_column(path, schema, given.image), False


def _feature_column(path: Path, schema: pa.Schema, given: str | None) -> str:
    name = _column(path, schema, given, FEATURE_COLUMNS, "feature")
    kind = schema.field(name).type
    inner = kind.value_type if any(is_kind(kind) for is_kind in _LISTS) else None
    if inner is None or not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        raise ValueError(f"{path}: column {name!r} holds {kind}; needed: lists of equally many numbers")
    return name


def _image_column(path: Path, schema: pa.Schema, given: str | None) -> str:
    name = _column(path, schema, given, IMAGE_COLUMNS, "image")
    kind = schema.field(name).type
    inner = kind
    if pa.types.is_struct(kind) and (at := kind.get_field_index("bytes")) >= 0:
        inner = kind.field(at).type
    inner = inner.value_type if pa.types.is_dictionary(inner) else inner
    if not any(is_kind(inner) for is_kind in _BYTES):
        raise ValueError(f"{path}: column {name!r} holds {kind}; needed: PNG or JPEG bytes, or a struct with 'bytes'")
    return name


def _label_column(path: Path, schema: pa.Schema, given: str | None) -> str:
    name = _column(path, schema, given, LABEL_COLUMNS, "label")
    kind = schema.field(name).type
    if not pa.types.is_integer(kind):
        raise ValueError(f"{path}: label column {name!r} holds {kind}; needed: integers from 0")
    return name


def _column(path: Path, schema: pa.Schema, given: str | None, names: Sequence[str], what: str) -> str:
    for name in [given] if given else names:
        if name in schema.names:
            return str(name)
    wanted = repr(given) if given else " or ".join(repr(name) for name in names)
    has = ", ".join(schema.names) or "no columns"
    also = " (feature_column for lists of numbers)" if what == "image" else ""
    raise ValueError(
        f"{path}: no {what} column {wanted}; the file has: {has}. Rename it for a study, or give load_dataset its name "
        f"as {what}_column{also}"
    )


def _labels(path: Path, column: pa.ChunkedArray, name: str) -> np.ndarray:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise ValueError(f"{path}: row {row} has no {name}; every row needs one")
    values = column.to_numpy()
    if len(values) and (values.min() < 0 or values.max() > np.iinfo(np.int32).max):
        row = int(np.argmax((values < 0) | (values > np.iinfo(np.int32).max)))
        raise ValueError(f"{path}: row {row} has {name} {values[row]}, out of range; labels are integers from 0")
    return np.asarray(values, dtype=np.int64)


def _splits(shard: Shard, table: pa.Table) -> np.ndarray:
    """(n,) "train", "validation", "test" or "" of each row: the column where there is one, else the file's."""
    if "split" not in table.column_names:
        return np.full(table.num_rows, shard.split or "", dtype="<U10")
    column = table.column("split")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not any(is_kind(kind) for is_kind in _WORDS):
        raise ValueError(f"{shard.path}: column 'split' holds {column.type}; needed: the words 'train' and 'test'")
    words = column.cast(pa.string()).to_pylist()
    meaning = {word: split_of(word) if word else None for word in set(words)}
    if None in meaning.values():
        row = next(i for i, word in enumerate(words) if meaning[word] is None)
        raise ValueError(f"{shard.path}: row {row} has split {words[row]!r}; allowed: 'train', 'validation', 'test'")
    return np.array([meaning[word] for word in words], dtype="<U10")


def _two_splits(
    split: np.ndarray, file: np.ndarray, row: np.ndarray, found: Sequence[Shard]
) -> tuple[np.ndarray | None, str]:
    """Which rows are train rows (None: no official split), and where validation rows went."""
    present = set(np.unique(split).tolist())
    if "" in present and len(present) > 1:
        i = int(np.argmax(split == ""))
        raise ValueError(f"{found[file[i]].path}: row {row[i]} has no split, rows elsewhere have one")
    if "train" not in present or len(present) == 1:
        return None, ""
    if "test" in present:  # a study takes its validation rows from the train rows
        return split != "test", "train" if "validation" in present else ""
    return split == "train", "test"


def _original_index(table: pa.Table) -> np.ndarray | None:
    if "original_index" not in table.column_names or not pa.types.is_integer(table.schema.field("original_index").type):
        return None
    return np.asarray(table.column("original_index").fill_null(-1).to_numpy(), dtype=np.int64)


def _class_names(path: Path, metadata: dict[bytes, bytes], label: str, *, is_default: bool) -> tuple[str, ...] | None:
    """From `class_names` (of the default label column), else from the ClassLabel that Hugging Face writes."""
    try:
        if is_default and b"class_names" in metadata:
            names: Any = json.loads(metadata[b"class_names"])
        else:
            features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
            names = features.get(label, {}).get("names")
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: the class names in the schema metadata are no JSON that can be read") from None
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: class names must be a JSON list of words, not {_short(names)}")
    return tuple(names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
