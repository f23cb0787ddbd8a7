"""Metrics of an epoch from its record: one row a replica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.analysis.statistics.calibration import calibration_error
from biasvar.analysis.tradeoff import outweighs
from biasvar.records import schema
from biasvar.records.checked_tables import as_table
from biasvar.records.frames import arrays_of
from biasvar.records.schema import CRITERIA
from biasvar.records.stored_files import StoredFile, read_columns

__all__ = ["SUMMARY_COLUMNS", "Summary", "calibration_error", "criterion_flags", "summarise"]

SUMMARY_COLUMNS = (
    *("replica", "label", "student_prediction", "student_loss", "bias_gradient", "variance_gradient"),
    *("bias_gradient_norm", "variance_gradient_norm", "opposing", "wsl_weight", "loss_weight"),
)
"""The record columns that :func:`summarise` reads."""


def criterion_flags(columns: Mapping[str, Any], criterion: str) -> np.ndarray | None:
    """True for the rows that a criterion flags as regularization samples; None without a teacher.

    "opposing" is the recorded flag (b > |a|, compared before rounding). The others compare what is recorded:
    "literal" b > a, "magnitude" |b| > |a|, "norm" the same over all logits.
    """
    if criterion == "opposing":
        flags = columns.get("opposing")
        return None if flags is None else np.asarray(flags, dtype=bool)
    suffix = "_norm" if criterion == "norm" else ""
    bias, variance = columns.get(f"bias_gradient{suffix}"), columns.get(f"variance_gradient{suffix}")
    if bias is None or variance is None:
        return None
    return np.asarray(outweighs(np.asarray(bias), np.asarray(variance), criterion))


class Summary(dict[str, np.ndarray]):
    """An epoch's means by name, (R,) each, one entry a replica."""

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """Plain numbers for any logger: means over the replicas that have a value, and what stands for more of them.

        With R > 1 replicas each mean has its standard error over replicas beside it, under NAME_stderr. What is null
        for all, such as shares of regularization samples without a teacher, is left out.

        >>> Summary(replica=np.array([0, 1]), n=np.array([9, 9]), nll=np.array([1.0, 2.0])).scalars("train/")
        {'train/n': 9.0, 'train/nll': 1.5, 'train/nll_stderr': 0.5}
        """
        found: dict[str, float] = {}
        for name, values in self.items():
            if name == "replica" or values.dtype.kind not in "iuf" or not (kept := values[~np.isnan(values)]).size:
                continue
            found[prefix + name] = float(kept.mean())
            if len(kept) > 1 and values.dtype.kind == "f":
                found[f"{prefix}{name}_stderr"] = float(kept.std(ddof=1) / np.sqrt(len(kept)))
        return found


def summarise(columns: Mapping[str, Any]) -> Summary:
    """Means over a record's rows, one entry a replica (in rising order), under the names of the metrics table.

    ``columns`` holds record columns as arrays of equal length; None, or absence, stands for a column of nulls and
    gives NaN, and so does a mean over NaN. Keys of the result: replica, n, accuracy, nll (nats), share_opposing,
    share_literal, share_magnitude, share_norm, wsl_weight, loss_weight. ``.scalars()`` of it are plain numbers.

    >>> from biasvar.records.summary import summarise
    >>> columns = {"replica": [0, 0, 1], "label": [1, 2, 2], "student_prediction": [1, 1, 2], "student_loss": [1, 2, 3]}
    >>> {name: values.tolist() for name, values in summarise(columns).items() if name in ("n", "accuracy", "nll")}
    {'n': [2, 1], 'accuracy': [0.5, 1.0], 'nll': [1.5, 3.0]}
    """
    columns = _columns(columns)
    replicas, index = _index(columns["replica"])
    counts = np.bincount(index, minlength=len(replicas))

    def mean(values: Any) -> np.ndarray:
        if values is None:
            return np.full(len(replicas), np.nan)
        sums = np.bincount(index, weights=values.astype(np.float64), minlength=len(replicas))
        return sums / counts

    return Summary(
        {
            "replica": replicas,
            "n": counts,
            "accuracy": mean(columns["student_prediction"] == columns["label"]),
            "nll": mean(columns.get("student_loss")),
            **{f"share_{name}": mean(criterion_flags(columns, name)) for name in CRITERIA},
            "wsl_weight": mean(columns.get("wsl_weight")),
            "loss_weight": mean(columns.get("loss_weight")),
        }
    )


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that are summarised, as arrays of one length."""
    out = {name: given[name] for name in SUMMARY_COLUMNS if given.get(name) is not None}
    rows = None
    for name, values in out.items():
        # A column with some nulls comes as an array of objects from its file.
        from_file = isinstance(values, np.ndarray) and values.dtype == object
        found = np.asarray(values) if from_file else to_numpy(as_array(values, name))
        rows = np.size(found) if rows is None else rows
        kinds = "iu" if name == "replica" else "biufO"
        worded = found.dtype == object and any(isinstance(value, str) for value in found.flat)
        if found.ndim != 1 or len(found) != rows or found.dtype.kind not in kinds or worded:
            raise ValueError(
                f"{name} must hold a number for each of the {rows} rows of the record, got {found.dtype} "
                f"of shape {tuple(found.shape)}"
            )
        out[name] = found
    missing = [name for name in ("replica", "label", "student_prediction") if name not in out]
    if missing:
        raise ValueError(f"the record has no column {', '.join(missing)}, which its summary needs")
    return out


def summary_table(file: StoredFile) -> pa.Table:
    """A record file as rows of the metrics table."""
    values: dict[str, Any] = dict(summarise(arrays_of(read_columns(file.path, SUMMARY_COLUMNS, schema.RECORD_SCHEMA))))
    rows = len(values["n"])
    values |= {"arm": [file.arm] * rows, "split": [file.split] * rows, "view": [file.part] * rows}
    values |= {"epoch": [file.epoch] * rows, "ece": [np.nan] * rows, "learning_rate": [np.nan] * rows}
    return as_table({name: np.asarray(column) for name, column in values.items()}, schema.METRIC_SCHEMA, rows)


def _index(replica: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The replicas in rising order, and each row's place among them."""
    if len(replica) and bool((replica[1:] >= replica[:-1]).all()):  # a record is sorted: no need to sort again
        starts = np.concatenate(([True], replica[1:] != replica[:-1]))
        return replica[starts].astype(np.int32), np.cumsum(starts) - 1
    replicas, index = np.unique(replica, return_inverse=True)
    return replicas.astype(np.int32), index
