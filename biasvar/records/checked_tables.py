"""Arrays as tables for the disk, with types, shapes, order and uniqueness checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema

_LIMITS: dict[np.dtype[Any], Any] = {np.dtype(np.int32): np.iinfo(np.int32), np.dtype(np.int64): np.iinfo(np.int64)}


def record_table(columns: Mapping[str, Any], where: str, num_classes: int) -> tuple[pa.Table, list[int]]:
    """The record of some replicas as a table sorted by (replica, sample_id), and the replicas in it.

    Absent (or None) teacher columns become nulls. Raises RecordError, naming ``where``, for a missing or unknown
    column, a wrong type or length, a value out of range, and a sample that comes twice for one replica.
    """
    for name in columns:
        schema.one_of(name, schema.RECORD_COLUMNS, f"column of {where},")
    arrays: dict[str, np.ndarray] = {}
    for field in schema.RECORD_SCHEMA:
        values = columns.get(field.name)
        if values is not None:
            arrays[field.name] = typed(values, field.type, f"{where}, column {field.name!r}")
        elif not field.nullable:
            raise RecordError(
                f"{where}: column {field.name!r} is missing; "
                f"only the teacher's may be: {', '.join(schema.TEACHER_COLUMNS)}"
            )
    rows = len(arrays["sample_id"])
    for name, values in arrays.items():
        if len(values) != rows:
            raise RecordError(f"{where}: column {name!r} has {len(values)} rows and 'sample_id' has {rows}")
    if not rows:
        raise RecordError(f"{where}: there are no rows to record")
    for name in ("replica", "label", "student_prediction", "teacher_prediction"):
        if name in arrays:
            _in_range(arrays[name], None if name == "replica" else num_classes, f"{where}, column {name!r}")
    weight = arrays["loss_weight"]
    bad = ~((weight >= 0) & (weight < np.inf))  # NaN compares as no; a mean over it would take it for 0
    if bad.any():
        raise RecordError(
            f"{where}: loss_weight of sample_id {first_few(arrays['sample_id'][bad])} must be finite and not negative "
            f"(the first is {weight[bad][0]:g})"
        )
    order = sorting(arrays["replica"], arrays["sample_id"], f"{where}: sample_id", "replica")
    if order is not None:
        arrays = {name: values[order] for name, values in arrays.items()}
    replica = arrays["replica"]
    first = np.concatenate(([True], replica[1:] != replica[:-1]))
    return as_table(arrays, schema.RECORD_SCHEMA, rows), [int(number) for number in replica[first]]


def prediction_table(
    sample_ids: Any, counts: Any, values: Any, groups: Any, where: str, num_classes: int, *, logits: bool = False
) -> pa.Table:
    """Counts (G, N) and mean log-probabilities (G, N, C) as rows by (group, sample_id); zeros where count is 0.

    With ``logits`` the values are those, of one replica a group: numbers that float32 holds.
    """
    ids = typed(sample_ids, pa.int64(), f"{where}, sample_ids")
    counts, values = np.asarray(counts), np.asarray(values)
    name = "logits" if logits else "mean_log_probs"
    if counts.ndim != 2 or values.shape != (*counts.shape, num_classes) or counts.shape[1] != len(ids):
        raise RecordError(
            f"{where}: counts {counts.shape} and {name} {values.shape} must be (G, N) and (G, N, {num_classes}) "
            f"with N = {len(ids)} sample_ids"
        )
    counts = typed(counts, pa.int32(), f"{where}, counts")
    _in_range(counts, None, f"{where}, counts")
    numbers = typed(np.arange(len(counts)) if groups is None else groups, pa.int32(), f"{where}, groups")
    if len(numbers) != len(counts) or len(np.unique(numbers)) != len(numbers):
        raise RecordError(f"{where}: groups must hold {len(counts)} different numbers, one a row of counts")
    _in_range(numbers, None, f"{where}, groups")
    layout = schema.prediction_schema(num_classes, logits=logits)
    values = typed(values, layout[-1].type.value_type, f"{where}, {name}")
    if logits and counts.max(initial=0) > 1:
        raise RecordError(f"{where}: logits are of one replica a group, not of {counts.max()}")
    bad = ~np.isfinite(values).all(axis=-1) & (counts > 0)
    if bad.any():
        raise RecordError(
            f"{where}: {name} is not finite for sample_ids {first_few(ids[bad.any(axis=0)])}; "
            "leave out replicas that diverged and name them in the manifest"
        )
    order = sorting(np.zeros(len(ids), np.int32), ids, f"{where}: sample_ids", None)
    if order is not None:
        ids, counts, values = ids[order], counts[:, order], values[:, order]
    by_group = np.argsort(numbers, kind="stable")
    counts, values = counts[by_group], np.where((counts > 0)[..., None], values, values.dtype.type(0))[by_group]
    arrays = {
        "sample_id": np.tile(ids, len(counts)),
        "group": np.repeat(numbers[by_group], len(ids)),
        "count": counts.ravel(),
        layout[-1].name: values.reshape(-1, num_classes),
    }
    return as_table(arrays, layout, counts.size)


def teacher_table(sample_ids: Any, logits: Any, member: Any, replicas: Any, where: str, num_classes: int) -> pa.Table:
    """Teacher logits (N, C), or (R, N, C) with one teacher a replica, as rows sorted by (replica, sample_id)."""
    ids = typed(sample_ids, pa.int64(), f"{where}, sample_ids")
    logits, member = np.asarray(logits), np.asarray(member)
    if logits.ndim == 2 and replicas is None:
        logits, member, replicas = logits[None], member[None], [schema.FIXED_TEACHER]
    numbers = typed(np.arange(len(logits)) if replicas is None else replicas, pa.int32(), f"{where}, replicas")
    expected = (len(numbers), len(ids), num_classes)
    if logits.shape != expected or member.shape != expected[:2]:
        raise RecordError(
            f"{where}: logits {logits.shape} and member {member.shape} must be {expected} and {expected[:2]}, "
            f"or without the first axis for one teacher of all replicas"
        )
    logits = typed(logits, pa.float32(), f"{where}, logits")
    bad = ~np.isfinite(logits).all(axis=(0, 2))
    if bad.any():
        raise RecordError(f"{where}: logits are not finite for sample_ids {first_few(ids[bad])}")
    return _sorted_table(
        {
            "replica": np.repeat(numbers, len(ids)),
            "sample_id": np.tile(ids, len(numbers)),
            "logits": logits.reshape(-1, num_classes),
            "member": typed(member, pa.bool_(), f"{where}, member").ravel(),
        },
        schema.teacher_schema(num_classes),
        where,
    )


def soft_label_table(sample_ids: Any, values: Any, where: str, num_classes: int) -> pa.Table:
    """Soft labels (N, C), or (R, N, C) with one a replica, as rows sorted by (replica, sample_id)."""
    values = np.asarray(values)
    replicas = [schema.FIXED_TEACHER] if values.ndim == 2 else list(range(len(values)))
    values = values[None] if values.ndim == 2 else values
    ids = typed(sample_ids, pa.int64(), f"{where}, sample_ids")
    expected = (len(replicas), len(ids), num_classes)
    if values.shape != expected:
        raise RecordError(f"{where}: values {values.shape} must be {expected}, or without the first axis")
    values = typed(values, pa.float32(), f"{where}, values")
    bad = ~np.isfinite(values).all(axis=(0, 2))
    if bad.any():
        raise RecordError(f"{where}: values are not finite for sample_ids {first_few(ids[bad])}")
    columns = {
        "replica": np.repeat(typed(replicas, pa.int32(), where), len(ids)),
        "sample_id": np.tile(ids, len(replicas)),
        "value": values.reshape(-1, num_classes),
    }
    return _sorted_table(columns, schema.soft_label_schema(num_classes), where)


def membership_table(sample_ids: Any, multiplicity: Any, replicas: Any) -> pa.Table:
    """Multiplicities (R, N) of the students' draws as rows, those above 0 only."""
    ids = typed(sample_ids, pa.int64(), "membership, sample_ids")
    counts = np.asarray(multiplicity)
    if counts.dtype == bool:
        counts = counts.astype(np.int32)
    numbers = typed(np.arange(len(counts)) if replicas is None else replicas, pa.int32(), "membership, replicas")
    if counts.shape != (len(numbers), len(ids)):
        expected = (len(numbers), len(ids))
        raise RecordError(f"membership: multiplicity {counts.shape} must be (replicas, sample_ids) = {expected}")
    counts = typed(counts, pa.int32(), "membership, multiplicity")
    _in_range(counts, None, "membership, multiplicity")
    row, column = np.nonzero(counts)
    arrays = {"replica": numbers[row], "sample_id": ids[column], "multiplicity": counts[row, column]}
    return _sorted_table(arrays, schema.MEMBERSHIP_SCHEMA, "membership")


def samples_table(sample_ids: Any, labels: Any, splits: Any, pool: Any, num_classes: int) -> pa.Table:
    """Every sample of the data with its label, split and pool, sorted by sample_id."""
    ids = typed(sample_ids, pa.int64(), "samples, sample_ids")
    labels = typed(labels, pa.int32(), "samples, labels")
    names = [splits] * len(ids) if isinstance(splits, str) else [str(name) for name in splits]
    pools = [None] * len(ids) if pool is None else [None if name is None else str(name) for name in pool]
    if not len(ids) == len(labels) == len(names) == len(pools):
        raise RecordError(
            f"samples: {len(ids)} sample_ids, {len(labels)} labels, {len(names)} splits, {len(pools)} pools: "
            "all must have the same length"
        )
    for name in dict.fromkeys(names):
        schema.check_name(name, "split")
    _in_range(labels, num_classes, "samples, labels")
    order = sorting(np.zeros(len(ids), np.int32), ids, "samples: sample_ids", None)
    order = np.arange(len(ids)) if order is None else order
    return pa.table(
        [
            pa.array(ids[order]),
            pa.array(labels[order]),
            pa.array([names[index] for index in order], pa.string()),
            pa.array([pools[index] for index in order], pa.string()),
        ],
        schema=schema.SAMPLES_SCHEMA,
    )


def frame_table(frame: Any, wanted: pa.Schema, keys: Sequence[str], where: str) -> pa.Table:
    """A frame (pandas, or a mapping of columns) in the types of ``wanted``; absent nullable columns become nulls."""
    columns = {str(name): np.asarray(frame[name]) for name in frame}
    for name in columns:
        schema.one_of(name, wanted.names, f"column of {where},")
    rows = max((values.size for values in columns.values()), default=0)
    arrays: dict[str, Any] = {}
    for field in wanted:
        if field.name not in columns:
            if not field.nullable:
                raise RecordError(f"{where}: column {field.name!r} is missing")
            continue
        values = columns[field.name]
        if values.ndim != 1 or len(values) != rows:
            raise RecordError(f"{where}: column {field.name!r} must hold {rows} values, not {values.shape}")
        if pa.types.is_string(field.type):
            arrays[field.name] = np.array([str(value) for value in values], dtype=object)
        else:
            if field.nullable and values.dtype == object:  # None among numbers
                try:
                    values = values.astype(np.float64)
                except (TypeError, ValueError):
                    raise RecordError(f"{where}, column {field.name!r}: expected numbers") from None
            arrays[field.name] = typed(values, field.type, f"{where}, column {field.name!r}", whole_floats=True)
    order = list(zip(*(arrays[key].tolist() for key in keys), strict=True))
    if len(set(order)) != len(order):
        twice = next(key for index, key in enumerate(order) if key in order[:index])
        raise RecordError(f"{where}: two rows have the same {', '.join(keys)}: {twice}")
    rank = np.array(sorted(range(rows), key=order.__getitem__), dtype=np.int64)
    return as_table({name: values[rank] for name, values in arrays.items()}, wanted, rows)


def typed(values: Any, kind: pa.DataType, where: str, *, whole_floats: bool = False) -> np.ndarray:
    """``values`` as an array of the type ``kind``; whole numbers are never rounded and never wrap around.

    ``whole_floats`` accepts 3.0 for 3, as a pandas column that met a missing value has it.
    """
    array = np.asarray(values)
    target = np.dtype(kind.to_pandas_dtype())
    if array.ndim == 0:
        raise RecordError(f"{where}: expected an array, got {values!r}")
    if array.dtype == target:
        return array
    accepted = {"b": "b", "i": "iu", "f": "fiu"}[target.kind]
    if target.kind == "i" and whole_floats and array.dtype.kind == "f":
        limits, wide = _LIMITS[target], array.astype(np.float64)  # float16 does not hold the limits
        # NaN compares as no; the upper limit, rounded up to the next float, would not fit any more.
        bad = ~((wide == np.round(wide)) & (wide >= limits.min) & (wide < float(limits.max) + 1.0))
        if not bad.any():
            return array.astype(target)
        rows, first = np.flatnonzero(bad), array[bad].flat[0]
        raise RecordError(
            f"{where}: expected whole numbers ({target}), got {array.dtype}; row {first_few(rows)} is none (the first "
            f"is {first:g})"
        )
    if array.dtype.kind not in accepted and array.size:
        words = {"b": "true or false", "i": "whole numbers", "f": "numbers"}[target.kind]
        raise RecordError(f"{where}: expected {words} ({target}), got {array.dtype}")
    if target.kind == "i" and array.size:
        limits = _LIMITS[target]
        if int(array.max()) > limits.max or int(array.min()) < limits.min:
            raise RecordError(f"{where}: {int(array.max())} does not fit {target}")
    if target.kind == "f":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return array.astype(target)
    return array.astype(target)


def sorting(outer: np.ndarray, inner: np.ndarray, what: str, outer_name: str | None) -> np.ndarray | None:
    """The order that sorts by (outer, inner), None if sorted already; RecordError if a pair comes twice."""
    if outer.ndim != 1 or inner.ndim != 1:
        raise RecordError(f"{what} must have one axis, not {max(outer.ndim, inner.ndim)}")
    if bool(_ascending(outer, inner).all()):
        return None
    order = np.lexsort((inner, outer))
    twice = ~_ascending(outer[order], inner[order])
    if twice.any():
        rows = order[1:][twice]
        within = f" in {outer_name} {outer[rows[0]]}" if outer_name else ""
        raise RecordError(f"{what} {first_few(inner[rows])} comes more than once{within}")
    return order


def as_table(arrays: Mapping[str, np.ndarray | None], wanted: pa.Schema, rows: int) -> pa.Table:
    """Arrays of the right types as a table; absent columns become nulls."""
    columns = []
    for field in wanted:
        values = arrays.get(field.name)
        if values is None:
            columns.append(pa.nulls(rows, field.type))
        elif pa.types.is_fixed_size_list(field.type):
            flat = pa.array(np.ascontiguousarray(values).reshape(-1), field.type.value_type)
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            columns.append(pa.array(np.ascontiguousarray(values), field.type))
    return pa.Table.from_arrays(columns, schema=wanted)


def _sorted_table(arrays: dict[str, np.ndarray], wanted: pa.Schema, where: str) -> pa.Table:
    order = sorting(arrays["replica"], arrays["sample_id"], f"{where}: sample_id", "replica")
    if order is not None:
        arrays = {name: values[order] for name, values in arrays.items()}
    return as_table(arrays, wanted, len(arrays["replica"]))


def _ascending(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return (outer[1:] > outer[:-1]) | ((outer[1:] == outer[:-1]) & (inner[1:] > inner[:-1]))


def _in_range(values: np.ndarray, below: int | None, where: str) -> None:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or (below is not None and high >= below):
        span = "0 or more" if below is None else f"0 to {below - 1}"
        raise RecordError(f"{where}: {low if low < 0 else high} is out of range; allowed: {span}")
