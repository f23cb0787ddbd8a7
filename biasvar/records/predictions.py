"""Stored predictions and teachers, read back as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.records import schema
from biasvar.records.checked_tables import sorting
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


def read_means(paths: Sequence[Path], num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample ids (N,), counts (G, N) and mean log-probabilities (G, N, C) of all files together.

    What several files (training groups) hold of one jackknife group is merged by count.
    """
    parts = []
    for path in paths:
        table = read_columns(path, ["sample_id", "group", "count", "mean_log_prob"])
        ids, groups, counts = (table.column(name).to_numpy() for name in ("sample_id", "group", "count"))
        sorting(groups, ids, f"{path}: sample_id", "group")  # by id however they lie; none twice
        parts.append((ids, groups, counts, _matrix(table.column("mean_log_prob"), num_classes, path)))
    all_ids = np.unique(np.concatenate([part[0] for part in parts]))
    all_groups = np.unique(np.concatenate([part[1] for part in parts]))
    counts = np.zeros((len(all_groups), len(all_ids)), dtype=np.int64)
    means = np.zeros((*counts.shape, num_classes))
    for ids, groups, count, mean in parts:
        at = np.searchsorted(all_groups, groups), np.searchsorted(all_ids, ids)
        counts[at] += count
        # The running mean: exact when a group lies in one file, which is the rule.
        share = np.divide(count, counts[at], out=np.zeros(len(ids)), where=counts[at] > 0)
        means[at] += (mean - means[at]) * share[:, None]
    return all_ids, counts, means


def read_teacher(path: Path, num_classes: int) -> TeacherLogits:
    """The logits of one teacher file."""
    table = read_columns(path, ["replica", "sample_id", "logits", "member"])
    replicas, ids, order = _every_pair(table, path)
    shape = (len(replicas), len(ids))
    logits = _matrix(table.column("logits"), num_classes, path)[order].reshape(*shape, num_classes)
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
    table = read_columns(path, ["replica", "sample_id", "value"])
    replicas, ids, order = _every_pair(table, path)
    values = _matrix(table.column("value"), num_classes, path)[order].reshape(len(replicas), len(ids), num_classes)
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


def _matrix(column: pa.ChunkedArray, num_classes: int, path: Path) -> np.ndarray:
    values = column.combine_chunks()
    flat = values.flatten() if isinstance(values, pa.Array) else pa.concat_arrays([c.flatten() for c in values.chunks])
    if len(flat) != len(column) * num_classes:
        raise RecordError(
            f"{path} must hold {num_classes} values a row (the manifest's num_classes); it has {len(flat)} in all"
        )
    return flat.to_numpy().reshape(-1, num_classes)
