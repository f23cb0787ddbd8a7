"""The mean recorded weight of every sample, for training with stored weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.errors import RecordError
from biasvar.files import write_bytes
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.files import write_table
from biasvar.records.frames import check_replicas, in_order
from biasvar.records.stored_files import StoredFile, read_columns

if TYPE_CHECKING:
    import pandas as pd

WEIGHT_COLUMNS = tuple(
    field.name for field in schema.RECORD_SCHEMA if pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
)
BY = ("sample", "replica")


def mean_weights(files: Sequence[StoredFile], column: str, by: str) -> pd.DataFrame:
    """The mean of ``column`` for each sample or (replica, sample), and the number of rows behind it."""
    import pandas as pd

    schema.one_of(column, WEIGHT_COLUMNS, "column to weigh by,")
    schema.one_of(by, BY, "way to group weights, by =")
    # Keyed by training group: within one, every epoch holds the same rows, so that sums add without a join.
    sums: dict[int, dict[str, np.ndarray]] = {}
    others: list[dict[str, np.ndarray]] = []
    for file in files:
        table = read_columns(file.path, ["replica", "sample_id", column], schema.RECORD_SCHEMA)
        check_replicas(table, file.path)
        table = in_order(table, ("replica", "sample_id"), file.path)
        values = table.column(column)
        if values.null_count:
            raise RecordError(
                f"{file.path}: column {column!r} has no values, since the run has no reference teacher or is older "
                "than the column; 'loss_weight' and 'bias_gradient' are always there"
            )
        bad = ~np.isfinite(values.to_numpy())
        if bad.any():  # written before weights were checked; a sum over groups would take them for 0
            raise RecordError(
                f"{file.path}: {column} of sample_id {first_few(table.column('sample_id').to_numpy()[bad])} is not "
                "finite; leave its epoch out with epochs=, or record the arm anew"
            )
        part = {
            "replica": table.column("replica").to_numpy(),
            "sample_id": table.column("sample_id").to_numpy(),
            "sum": values.to_numpy().astype(np.float64),
            "n": np.ones(len(values), dtype=np.int64),
        }
        total = sums.setdefault(file.group, part)
        if total is part:
            continue
        if all(np.array_equal(total[key], part[key]) for key in ("replica", "sample_id")):
            total["sum"] = total["sum"] + part["sum"]
            total["n"] = total["n"] + part["n"]
        else:
            others.append(part)
    keys = ["sample_id"] if by == "sample" else ["replica", "sample_id"]
    frames = [pd.DataFrame(part)[[*keys, "sum", "n"]] for part in (*sums.values(), *others)]
    if not frames:
        raise RecordError("epochs names no epoch to take the mean over; leave it out for all of them")
    frame = pd.concat(frames, ignore_index=True).groupby(keys, as_index=False, sort=True).sum()
    frame["weight"] = frame["sum"] / frame["n"]
    return frame[[*keys, "weight", "n"]]


def aligned_weights(
    frame: pd.DataFrame, recorded: pd.DataFrame, labels: Any, missing: float | None, where: str
) -> np.ndarray:
    """Weights by sample id for data with these ``labels``: see :meth:`biasvar.records.Run.retraining_weights`."""
    truth = to_numpy(as_array(labels, "labels"))
    if truth.ndim != 1 or truth.dtype.kind not in "iu":
        raise RecordError(f"labels must be whole numbers of shape (N,), not {truth.dtype} of shape {truth.shape}")
    ids, known = recorded["sample_id"].to_numpy(), recorded["label"].to_numpy()
    if len(ids) and int(ids.max()) >= len(truth):
        raise RecordError(f"{where} holds sample_id {int(ids.max())}, your data has {len(truth)} samples: other data")
    strange = frame["sample_id"].to_numpy()
    strange = strange[~np.isin(strange, ids)]
    if len(strange):
        raise RecordError(f"{where} has weights of sample_id {first_few(strange)}, which are no samples of the run")
    wrong = ids[truth[ids] != known]
    if len(wrong):
        first = int(wrong[0])
        raise RecordError(
            f"{where} is a record of other data: sample_id {first} has label {int(known[ids == first][0])} there and "
            f"{int(truth[first])} in yours ({len(wrong):,} of {len(ids):,} samples differ)"
        )
    if missing is not None and abs(missing) > float(np.finfo(np.float32).max):
        raise RecordError(f"missing must be a number that float32 holds, not {missing}")
    weights = np.full(len(truth), np.nan if missing is None else missing, dtype=np.float32)
    weights[frame["sample_id"].to_numpy()] = frame["weight"].to_numpy()
    lacking = np.flatnonzero(np.isnan(weights))
    if missing is None and len(lacking):
        raise RecordError(
            f"{where} has no weight for {len(lacking):,} of your {len(truth):,} samples, the first is sample_id "
            f"{lacking[0]}; pass missing=, the weight that such a sample is to get, such as 1.0"
        )
    return weights


def write_weights(frame: pd.DataFrame, path: str | Path, metadata: dict[str, Any]) -> Path:
    """Write a frame of weights as CSV or Parquet, by the suffix of ``path``."""
    path = Path(path)
    suffix = schema.one_of(path.suffix.lower(), (".csv", ".parquet"), f"suffix of {path},")
    if suffix == ".csv":
        write_bytes(path, frame.to_csv(index=False, lineterminator="\n").encode())
    else:
        columns = {str(name): pa.array(frame[name].to_numpy()) for name in frame.columns}
        write_table(path, pa.table(columns), schema.metadata_of(**metadata))
    return path
