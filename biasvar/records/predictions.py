"""Stored predictions and teachers, read back as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biasvar.errors import RecordError
from biasvar.records import schema
from biasvar.records.stored_files import read_columns


@dataclass(frozen=True, eq=False)
class Predictions:
    """Mean log-probabilities of an arm's replicas, in G groups for the jackknife, at temperature 1.

    Rows are sorted by ``sample_ids`` (N,). ``counts`` (G, N) says how many replicas are behind each mean; where it is
    0, ``mean_log_probs`` (G, N, C) (nats) is 0 and means nothing.
    """

    sample_ids: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    mean_log_probs: np.ndarray
    epoch: int


@dataclass(frozen=True, eq=False)
class TeacherLogits:
    """A teacher's logits: (N, C) for one teacher of all replicas, (R, N, C) for one a replica.

    ``member`` (N,) or (R, N): was the sample in the teacher's training rows. ``replicas``: the replica of each row of
    the first axis, [-1] for one teacher of all.
    """

    sample_ids: np.ndarray
    logits: np.ndarray
    member: np.ndarray
    replicas: np.ndarray


def read_teacher(path: Path, num_classes: int) -> TeacherLogits:
    """The logits of one teacher file."""
    layout = schema.teacher_schema(num_classes)
    table = read_columns(path, layout.names, layout)
    replicas, ids, order = _every_pair(table, path)
    shape = (len(replicas), len(ids))
    logits = list_matrix(table.column("logits"), num_classes, path)[order].reshape(*shape, num_classes)
    member = table.column("member").to_numpy()[order].reshape(shape)
    if replicas.tolist() == [schema.FIXED_TEACHER]:
        logits, member = logits[0], member[0]
    return TeacherLogits(ids, logits, member, replicas)


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """What students of a study learn from: (N, C), or (R, N, C) where each replica has its own; rows of 0: nothing."""

    sample_ids: np.ndarray
    labels: np.ndarray
    values: np.ndarray


def read_soft_labels(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample ids (N,) and values (N, C) or (R, N, C) of one file of soft labels."""
    layout = schema.soft_label_schema(num_classes)
    table = read_columns(path, layout.names, layout)
    replicas, ids, order = _every_pair(table, path)
    values = list_matrix(table.column("value"), num_classes, path)[order].reshape(len(replicas), len(ids), num_classes)
    return ids, values[0] if replicas.tolist() == [schema.FIXED_TEACHER] else values


def _every_pair(table: pa.Table, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The replicas and sample ids of a table, rising, and the order that sorts its rows by both; however they lie.

    Raises RecordError unless every sample is there once for every replica.
    """
    replica, sample_id = table.column("replica").to_numpy(), table.column("sample_id").to_numpy()
    replicas, ids = np.unique(replica), np.unique(sample_id)
    order = np.lexsort((sample_id, replica))
    whole = len(order) == len(replicas) * len(ids)
    if not whole or not np.array_equal(sample_id[order], np.tile(ids, len(replicas))):
        raise RecordError(
            f"{path} must hold every sample once for every replica; it has {len(order)} rows for "
            f"{(len(replicas), len(ids))}"
        )
    return replicas, ids, order


def list_matrix(column: pa.ChunkedArray | pa.Array, num_classes: int, path: Path) -> np.ndarray:
    """A list column as (n, C); RecordError if a list is of another length, or lacks a value."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = values.flatten() if isinstance(values, pa.Array) else pa.concat_arrays([c.flatten() for c in values.chunks])
    if len(flat) != len(column) * num_classes:
        raise wrong_width(path, num_classes, len(flat))
    if not pa.types.is_fixed_size_list(column.type):  # one too long beside one too short would shift what is between
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if (lengths != num_classes).any():
            row = int(np.flatnonzero(lengths != num_classes)[0])
            raise RecordError(f"{path} must hold {num_classes} values a row; row {row} holds {lengths[row]:g}")
    if flat.null_count:
        row = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0]) // num_classes
        raise RecordError(f"{path} must hold {num_classes} values a row; one is missing in row {row}; restore it")
    return flat.to_numpy().reshape(-1, num_classes)


def wrong_width(path: Path, num_classes: int, values: int) -> RecordError:
    """The error for a file whose lists are not of one value a class."""
    return RecordError(
        f"{path} must hold {num_classes} values a row (the manifest's num_classes); it has {values} in all"
    )
