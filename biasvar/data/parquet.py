"""What the tables of a data set say: labels, splits, class names, and encoded images or features in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from biasvar.data.contents import USUAL, Columns, Contents, coded, in_order
from biasvar.data.layout import (
    FEATURE_COLUMNS,
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    NO_FEATURES,
    TARGET_COLUMNS,
    Shard,
    split_of,
)
from biasvar.data.one_image import OneImage, image_bytes
from biasvar.data.table_files import BATCH, open_table
from biasvar.messages import first_few

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_WORDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)


@dataclass(frozen=True)
class _Values:
    """The columns of the images or features: one column of images or lists, or one of numbers for each feature."""

    names: tuple[str, ...]
    kind: Literal["images", "lists", "numbers"]

    def __str__(self) -> str:
        return f"column {self.names[0]!r}" if len(self.names) == 1 else f"columns {first_few(self.names)}"


@dataclass(frozen=True)
class _Rows:
    """Which file a sample is in and its row there, in the order of the sample ids.

    Attributes:
        shards: The files.
        file, row: (N,).
        edges: Where a split begins or ends.
    """

    shards: tuple[Shard, ...]
    file: np.ndarray
    row: np.ndarray
    edges: tuple[int, ...] = ()

    def where(self, sample: int) -> str:
        return f"{self.shards[self.file[sample]].path}: row {self.row[sample]}"


def read_contents(found: Sequence[Shard], *, columns: Columns = USUAL) -> Contents:
    """The data set in tables: Parquet files, CSV files, or the Arrow files of a saved Hugging Face dataset.

    Raises:
        ValueError: A file is damaged, is empty, lacks a column, or holds labels or splits that are none.
    """
    values, names, source = _Values((), "images"), None, ""
    labels, splits, originals, sizes = [], [], [], []
    for shard in found:
        with open_table(shard.path) as file:
            schema = file.schema
            values = _value_columns(shard.path, schema, columns)
            label = _label_column(shard.path, schema, columns.label, numbers=values.kind == "numbers")
            wanted = [name for name in (label, "split", "original_index") if name in schema.names]
            table = file.read(wanted)
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
    if len({own.dtype.kind for own in labels}) > 1:
        raise ValueError(f"{found[0].path}: labels are words in some files and numbers in others")
    truth = np.concatenate(labels)
    rows = _Rows(
        tuple(found), np.repeat(np.arange(len(sizes)), sizes), np.concatenate([np.arange(size) for size in sizes])
    )
    if truth.dtype.kind == "U":
        truth, names = coded(truth.tolist(), names, where=rows.where)
    order = in_order(np.concatenate(splits), rows.where)
    n, train = len(truth), order.train_rows
    edges = tuple(sorted({0, n if train is None else train, n}))
    rows = _Rows(rows.shards, rows.file[order.rows], rows.row[order.rows], edges)
    whole = all(index is not None for index in originals)
    cells = partial(_cells, rows, values)
    return Contents(
        place=found[0].path, where=rows.where, labels=truth[order.rows], train_rows=train, class_names=names,
        lists=None if values.kind == "images" else cells,
        encoded=(lambda: (part.to_pylist() for part in cells())) if values.kind == "images" else None,
        one=OneImage([shard.path for shard in found], rows.file, rows.row, values.names[0])
        if values.kind == "images"
        else None,
        column=str(values),
        original_index=np.concatenate([i for i in originals if i is not None])[order.rows] if whole else None,
        validation=order.validation, source=source,
    )  # fmt: skip


def _cells(rows: _Rows, values: _Values) -> Iterator[pa.Array]:
    """The cells of the images or features in the order of the sample ids, some thousands at a time."""
    for start, stop in pairwise(rows.edges):
        for f in np.unique(rows.file[start:stop]):
            inside = rows.file[start:stop] == f
            yield from _of_one_file(rows.shards[f].path, values, rows.row[start:stop][inside])


def _of_one_file(path: Path, values: _Values, rows: np.ndarray) -> Iterator[pa.Array]:
    with open_table(path) as table:
        for first, batch in table.batches(values.names, rows, BATCH):
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
            cells = _side_by_side(batch) if values.kind == "numbers" else image_bytes(batch.column(0))
            if len(mine):
                yield cells if len(mine) == len(cells) else cells.take(pa.array(mine))


def _side_by_side(batch: pa.RecordBatch) -> pa.Array:
    """Columns of numbers as one column of lists."""
    columns = [column.cast(pa.float64()) for column in batch.columns]
    missing = np.stack([column.is_null().to_numpy(zero_copy_only=False) for column in columns], axis=1)
    numbers = np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), mask=missing.reshape(-1)), len(columns))


def _value_columns(path: Path, schema: pa.Schema, given: Columns) -> _Values:
    """The column of the images, else that of the features, else all columns of numbers."""
    has_images = given.image or any(name in schema.names for name in IMAGE_COLUMNS)
    if given.feature or (not has_images and any(name in schema.names for name in FEATURE_COLUMNS)):
        return _Values((_feature_column(path, schema, given.feature),), "lists")
    others = [schema.field(name).type for name in schema.names if name not in (given.label, *TARGET_COLUMNS)]
    plain = not any(pa.types.is_nested(kind) or any(is_kind(kind) for is_kind in _BYTES) for kind in others)
    if has_images or not plain:
        return _Values((_image_column(path, schema, given.image),), "images")
    return _Values(_number_columns(path, schema, given), "numbers")


def _number_columns(path: Path, schema: pa.Schema, given: Columns) -> tuple[str, ...]:
    """All columns beside the label's, of a table that has nothing but numbers."""
    label = _column(path, schema, given.label, TARGET_COLUMNS, "label")
    others = {name: schema.field(name).type for name in schema.names if name not in (label, *NO_FEATURES)}
    also = [] if given.label else [name for name in others if name in TARGET_COLUMNS]
    if also:
        raise ValueError(
            f"{path}: columns {label!r} and {first_few(map(repr, also))} may both be the label, and a second label "
            f"among the features would give it away; leave one of them out, or, where {also[0]!r} is a feature, name "
            f"the label: label_column={label!r} of load_dataset, data.label_column in a study"
        )
    odd = {name: kind for name, kind in others.items() if not any(is_kind(kind) for is_kind in _NUMBERS)}
    if odd:
        shown = first_few(f"{name!r} ({kind})" for name, kind in odd.items())
        raise ValueError(
            f"{path}: column{'s' if len(odd) > 1 else ''} {shown} hold{'s' if len(odd) == 1 else ''} no numbers, and "
            f"every column but the label's, {label!r}, is a feature; leave such columns out, or write them as numbers "
            "(pandas.get_dummies)"
        )
    if not others:
        raise ValueError(f"{path}: no columns of numbers beside the label's, {label!r}")
    return tuple(others)


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


def _label_column(path: Path, schema: pa.Schema, given: str | None, *, numbers: bool) -> str:
    name = _column(path, schema, given, TARGET_COLUMNS if numbers else LABEL_COLUMNS, "label")
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or any(is_kind(kind) for is_kind in _WORDS)):
        raise ValueError(f"{path}: label column {name!r} holds {kind}; needed: integers from 0, or words")
    return name


def _column(path: Path, schema: pa.Schema, given: str | None, names: Sequence[str], what: str) -> str:
    for name in [given] if given else names:
        if name in schema.names:
            return str(name)
    wanted = repr(given) if given else " or ".join(repr(name) for name in names)
    has = ", ".join(schema.names) or "no columns"
    cure = " or name it in a study as data.label_column" if what == "label" else " for a study"
    also = " (feature_column for lists of numbers)" if what == "image" else ""
    raise ValueError(
        f"{path}: no {what} column {wanted}; the file has: {has}. Rename it{cure}, or give load_dataset its name "
        f"as {what}_column{also}"
    )


def _labels(path: Path, column: pa.ChunkedArray, name: str) -> np.ndarray:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise ValueError(f"{path}: row {row} has no {name}; every row needs one")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if any(is_kind(kind) for is_kind in _WORDS):
        words = column.cast(pa.string()).to_pylist()
        if "" in words:
            raise ValueError(f"{path}: row {words.index('')} has no {name}; every row needs one")
        return np.array(words, dtype=str)
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
