"""Soft labels from Parquet, npy, npz or a run, read in batches.

What is read goes straight into the indicators:
``biasvar.analysis.measure_indicators(open_soft_labels("soft.parquet", "labels.csv").batches())``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from biasvar.analysis.arrays import as_array
from biasvar.analysis.scale import ScaleEvidence, check_values
from biasvar.analysis.soft_labels.transforms import tempered
from biasvar.arguments import checked
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.prediction_files import Table, existing, read_labels
from biasvar.records.reader import Run, open_run

ARRAY_NAMES = ("soft_labels", "probabilities", "predictions", "logits")
SUFFIXES = (".npy", ".npz", ".parquet")
Part = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # values, labels, sample ids


@dataclass(frozen=True)
class SoftLabels:
    """A source of soft labels; see :func:`open_soft_labels`.

    ``name`` says what they are, for captions. ``rows`` counts them, None where only reading would tell.
    """

    name: str
    num_classes: int
    rows: int | None
    _read: Callable[[int], Iterator[Part]]
    _labels: Table | None
    _temperature: float | None
    _values: Literal["logits", "probabilities"] | None = None

    @checked
    def parts(self, rows: int | None = None) -> Iterator[Part]:
        """Batches (soft_labels (n, K), labels, sample_ids) as the source has them, None where it lacks labels or ids.

        At most ``rows`` each, by default about 4 MB. May be called again, and starts anew then.
        """
        evidence = ScaleEvidence()
        for values, labels, ids in self._read(rows or max(1, 2**20 // self.num_classes)):
            if self._temperature is not None:
                if self._values is None:
                    evidence.add(as_array(values, "soft_labels"))
                values = tempered(values, self._temperature, values=self._values or "logits")
            yield values, labels, ids
        try:
            evidence.refuse("its values, taken for logits since there is a temperature,")
        except ValueError as error:
            raise RecordError(f"{self.name}: {error}") from None

    @checked
    def batches(self, rows: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Batches (soft_labels (n, K), labels (n,), sample_ids (n,)), like `parts`.

        Raises RecordError for rows without a label.
        """
        first = 0
        for values, labels, ids in self.parts(rows):
            found_ids = np.arange(first, first + len(values)) if ids is None else ids
            truth = self._truth(labels, ids, first, len(values))
            first += len(values)
            yield values, truth, found_ids
        if self._labels is not None and self._labels.sample_ids is None and first != len(self._labels.values):
            raise RecordError(f"{self.name} has {first} rows and there are {len(self._labels.values)} labels")

    def _truth(self, labels: np.ndarray | None, ids: np.ndarray | None, first: int, n: int) -> np.ndarray:
        given = self._labels
        if given is None:
            if labels is None:
                raise RecordError(f"{self.name} has no column 'label'; give the labels in a file or an array")
            return labels
        if given.sample_ids is None or ids is None:
            if len(given.values) < first + n:
                raise RecordError(f"{self.name} has more rows than there are labels ({len(given.values)})")
            return given.values[first : first + n]
        # Sorted by `open_soft_labels`.
        place = np.minimum(np.searchsorted(given.sample_ids, ids), len(given.sample_ids) - 1)
        missing = given.sample_ids[place] != ids
        if missing.any():
            raise RecordError(f"labels lack sample_id {first_few(ids[missing])} of {self.name}")
        return given.values[place]


@checked
def open_soft_labels(
    source: Any,
    labels: Any = None,
    *,
    temperature: float | None = None,
    teacher: str | None = None,
    replica: int | None = None,
    arm: str | None = None,
    split: str | None = None,
    members: bool | None = None,
    values: Literal["logits", "probabilities"] | None = None,
) -> SoftLabels:
    """Soft labels from a file or a run, to be read in batches.

    ``source``: a .npy or .npz of (N, K) (one array, or one named soft_labels, probabilities, predictions or logits); a
    .parquet with one list column, or K columns of numbers in the order of the classes, and optionally ``sample_id`` and
    ``label``; or a run directory (or an open run). ``labels`` (N,): an array, .npy, .npz, .csv or .parquet, matched by
    ``sample_id`` where both have one, else by position; a run, or a file with a column ``label``, needs none.
    ``temperature``: the values are logits, to be divided by it; without, they are taken as they are. ``values`` says
    what is divided, "logits" or "probabilities" (then their logarithms); else the last batch refuses what looks like
    probabilities or votes.

    Of a run: ``teacher`` (its reference teacher by default; ``temperature`` 1 by default; ``replica`` where each
    replica has its own; ``members=False`` leaves out the rows it was trained on) or ``arm`` (the normalised geometric
    mean of its replicas' predictions, which its bias is measured from); and ``split`` (all of a teacher's, "test" for
    an arm).

    Raises FileNotFoundError, or RecordError saying what is wrong with the file and what is allowed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/soft.npy", np.eye(3))
    ...     [truth.tolist() for _, truth, _ in open_soft_labels(f"{folder}/soft.npy", [0, 1, 2]).batches()]
    [[0, 1, 2]]
    """
    check_values(values)
    truth = None if labels is None else read_labels(labels)
    if truth is not None and truth.sample_ids is not None:
        order = np.argsort(truth.sample_ids, kind="stable")
        ids = truth.sample_ids[order]
        again = np.unique(ids[1:][ids[1:] == ids[:-1]])
        if len(again):
            raise RecordError(f"labels: sample_id {first_few(again)} comes more than once")
        truth = Table(truth.values[order], ids)
    is_run = isinstance(source, Run) or Path(source).is_dir()
    if not is_run and (teacher, replica, arm, split, members) != (None,) * 5:
        raise RecordError(f"teacher, replica, arm, split and members choose within a run; {source} is a file")
    if is_run:
        run = source if isinstance(source, Run) else open_run(source)
        if arm is not None:
            if (teacher, replica, members) != (None,) * 3:
                raise RecordError("name either a teacher (with replica, members) or an arm of the run")
            return _of_arm(run, arm, split or "test", truth, temperature)
        return _of_teacher(run, teacher, replica, split, members, truth, 1.0 if temperature is None else temperature)
    path = existing(source)
    suffix = schema.one_of(path.suffix.lower(), SUFFIXES, f"suffix of {path},")
    classes, rows, read = _parquet(path) if suffix == ".parquet" else _numpy(path)
    if classes < 2:
        raise RecordError(f"{path} must hold at least two classes, one number for each; its rows hold {classes}")
    return SoftLabels(path.name, classes, rows, read, truth, temperature, values)


def _of_arm(run: Run, arm: str, split: str, truth: Table | None, temperature: float | None) -> SoftLabels:
    predictions = run.predictions(arm, split=split)
    weights = predictions.counts / predictions.counts.sum(axis=0)
    mean = (weights[:, :, None] * predictions.mean_log_probs).sum(axis=0)
    values = tempered(mean, 1.0 if temperature is None else temperature, values="logits")

    def read(step: int) -> Iterator[Part]:
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            yield values[part], predictions.labels[part], predictions.sample_ids[part]

    name = f"{run.name}: mean prediction of {arm} ({split})"
    return SoftLabels(name, run.num_classes, len(values), read, truth, None)


def _of_teacher(
    run: Run,
    teacher: str | None,
    replica: int | None,
    split: str | None,
    members: bool | None,
    truth: Table | None,
    temperature: float,
) -> SoftLabels:
    there = sorted(path.stem for path in (run.directory / "teachers").glob("*.parquet") if path.name[0] != ".")
    name = schema.one_of(teacher or run.manifest.get("reference_teacher"), there, f"teacher of {run.directory},")
    samples = run.samples
    if split is not None:
        schema.one_of(split, list(samples["split"].unique()), f"split of {run.directory},")
        samples = samples[samples["split"] == split]
    ids = samples["sample_id"].to_numpy(np.int64)
    order = np.argsort(ids)
    ids, labels = ids[order], samples["label"].to_numpy(np.int64)[order]
    path = schema.teacher_path(run.directory, name)
    with _opened(path) as file:
        replicas = sorted(set(file.read(columns=["replica"]).column(0).unique().to_pylist()))
    if replica is None and len(replicas) > 1:
        raise RecordError(f"teacher {name!r} of {run.directory} differs by replica: name one of {replicas}")
    wanted = replicas[0] if replica is None else schema.one_of(replica, replicas, f"replica of teacher {name!r},")

    def read(step: int) -> Iterator[Part]:
        with _opened(path) as file:
            columns = ["replica", "sample_id", "member", "logits"]
            for batch in file.iter_batches(batch_size=step, columns=columns):
                own = batch.column("sample_id").to_numpy()
                place = np.minimum(np.searchsorted(ids, own), max(len(ids) - 1, 0))
                keep = (batch.column("replica").to_numpy() == wanted) & (ids[place] == own)
                if members is not None:
                    keep &= batch.column("member").to_numpy(zero_copy_only=False) == members
                if keep.any():
                    values = _lists(batch.column("logits"), run.num_classes, path)
                    yield values[keep], labels[place[keep]], own[keep]

    which = "" if split is None else f" ({split})"
    return SoftLabels(f"{run.name}: teacher {name}{which}", run.num_classes, None, read, truth, temperature)


def _parquet(path: Path) -> tuple[int, int, Callable[[int], Iterator[Part]]]:
    with _opened(path) as file:
        fields, rows = file.schema_arrow, file.metadata.num_rows
        names = [name for name in fields.names if name not in ("sample_id", "label")]
        lists = [name for name in names if pa.types.is_nested(fields.field(name).type)]
        if len(names) != 1 and (lists or not names):
            raise RecordError(
                f"{path} must hold one list column, or one column of numbers a class, beside sample_id and label; it"
                f" has {', '.join(fields.names)}"
            )
        first = next(file.iter_batches(batch_size=1, columns=names), None)
    if first is None or not rows:
        raise RecordError(f"{path} holds no rows")
    classes = len(first.column(0).flatten()) if lists else len(names)

    def read(step: int) -> Iterator[Part]:
        first = 0
        with _opened(path) as file:
            for batch in file.iter_batches(batch_size=step, columns=fields.names):
                columns = {name: batch.column(name) for name in fields.names}
                if lists:
                    values = _lists(columns[lists[0]], classes, path, first)
                else:
                    values = np.stack([_numbers(columns[name], name, path) for name in names], axis=1)
                for name in ("label", "sample_id"):
                    if name in columns and columns[name].null_count:
                        rows = first_few(first + np.flatnonzero(columns[name].is_null()))
                        raise RecordError(f"{path}: column {name!r} lacks a value in row {rows}")
                extra = [_numbers(columns[n], n, path) if n in columns else None for n in ("label", "sample_id")]
                first += len(values)
                yield values, extra[0], extra[1]

    return classes, rows, read


def _numpy(path: Path) -> tuple[int, int, Callable[[int], Iterator[Part]]]:
    def opened(stack: ExitStack) -> tuple[Any, tuple[int, ...], bool, np.dtype[Any]]:
        try:
            if path.suffix.lower() == ".npz":
                archive = stack.enter_context(zipfile.ZipFile(path))
                file: Any = stack.enter_context(archive.open(_member(path, archive.namelist())))
            else:
                file = stack.enter_context(path.open("rb"))
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(file)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, RecordError):
                raise
            raise RecordError(f"{path} cannot be read as a NumPy file ({error})") from None
        return file, shape, fortran, dtype

    with ExitStack() as stack:
        _, shape, fortran, dtype = opened(stack)
    if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu" or fortran:
        raise RecordError(
            f"{path} must hold numbers of shape (N, K), row by row; it holds {dtype} of shape {shape}"
            + (", column by column (save np.ascontiguousarray of it)" if fortran else "")
        )

    def read(step: int) -> Iterator[Part]:
        # Not by a memory map: the pages of one count as this process's memory.
        with ExitStack() as stack:
            file = opened(stack)[0]
            for start in range(0, shape[0], step):
                rows = min(step, shape[0] - start)
                data = file.read(rows * shape[1] * dtype.itemsize)
                if len(data) != rows * shape[1] * dtype.itemsize:
                    raise RecordError(f"{path} is cut short: it ends before row {start + rows} of {shape[0]}")
                yield np.frombuffer(data, dtype).reshape(rows, shape[1]), None, None

    return shape[1], shape[0], read


def _member(path: Path, files: list[str]) -> str:
    names = [name.removesuffix(".npy") for name in files]
    name = names[0] if len(names) == 1 else next((n for n in ARRAY_NAMES if n in names), None)
    if name is None:
        raise RecordError(
            f"{path} holds {len(names)} arrays ({', '.join(names)}); it must hold one, or one named"
            f" {', '.join(ARRAY_NAMES[:-1])} or {ARRAY_NAMES[-1]}"
        )
    return f"{name}.npy"


def _opened(path: Path) -> pq.ParquetFile:
    try:
        # Read as it goes: a file written in one piece would otherwise be in memory as a whole.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def _lists(column: pa.Array, classes: int, path: Path, first: int = 0) -> np.ndarray:
    """A list column as (n, K); an error names rows, counted from `first`."""
    if pa.types.is_fixed_size_list(column.type):
        bad = np.asarray(column.is_null()) | (column.type.list_size != classes)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        bad = np.asarray(pyarrow.compute.list_value_length(column).fill_null(-1)) != classes
    else:
        raise RecordError(f"{path}: the values must be lists of numbers, not {column.type}")
    if bad.any():
        raise RecordError(
            f"{path}: every row must hold the same number of values, {classes}; row "
            f"{first_few(first + np.flatnonzero(bad))} does not"
        )
    return _numbers(column.flatten(), "values", path).reshape(-1, classes)


def _numbers(column: pa.Array, name: str, path: Path) -> np.ndarray:
    """Numbers, NaN where one is missing."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise RecordError(f"{path}: column {name!r} must hold numbers, not {column.type}")
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values
