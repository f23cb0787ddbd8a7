"""Soft labels from Parquet, npy, npz or a run, read in batches.

What is read goes straight into the indicators:
``biasvar.analysis.measure_indicators(open_soft_labels("soft.parquet", "labels.csv").batches())``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.analysis.inputs import as_array
from biasvar.analysis.scale import ScaleEvidence, check_values
from biasvar.analysis.soft_labels.top_k import Rest
from biasvar.analysis.soft_labels.transforms import tempered
from biasvar.arguments import checked, plain_value
from biasvar.columns import SAMPLE_ID, listed_names, prediction_columns
from biasvar.errors import RecordError
from biasvar.files import unreadable
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.label_files import Labels, read_labels
from biasvar.records.numpy_files import stored_array
from biasvar.records.prediction_files import existing
from biasvar.records.reader import Run, open_run
from biasvar.records.stored_files import UNREADABLE, read_columns
from biasvar.records.tables import Ids, ids_of, kinds, lists, numbers, parquet_schema
from biasvar.records.top_k_files import holds_top_k, open_top_k

ARRAY_NAMES = ("soft_labels", "probabilities", "predictions", "logits")
SUFFIXES = (".npy", ".npz", ".parquet")
Part = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # values, labels, sample ids


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """A source of soft labels; see :func:`open_soft_labels`.

    ``name`` says what they are, for captions. ``rows`` counts them, None where only reading would tell.
    """

    name: str
    num_classes: int
    rows: int | None
    _read: Callable[[int], Iterator[Part]]
    _labels: Labels | None
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
        if self._labels is not None and self._labels.ids is None and first != len(self._labels.values):
            raise RecordError(f"{self.name} has {first} rows and there are {len(self._labels.values)} labels")

    def _truth(self, labels: np.ndarray | None, ids: np.ndarray | None, first: int, n: int) -> np.ndarray:
        given = self._labels
        if given is None:
            if labels is None:
                raise RecordError(f"{self.name} has no column 'label'; give the labels in a file or an array")
            return labels
        if given.ids is None or ids is None:
            if len(given.values) < first + n:
                raise RecordError(f"{self.name} has more rows than there are labels ({len(given.values)})")
            return given.values[first : first + n]
        # Sorted by `open_soft_labels`.
        there = given.ids.values
        place = np.minimum(np.searchsorted(there, ids), len(there) - 1)
        missing = there[place] != ids
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
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    num_classes: int | None = None,
    rest: Rest | None = None,
    ignore: Sequence[str] | None = None,
) -> SoftLabels:
    """Soft labels from a file or a run, to be read in batches.

    ``source``: a .npy or .npz of (N, K) (one array, or one named soft_labels, probabilities, predictions or logits); a
    .parquet with one list column, or one column a class, told by their names: numbered 0 to K - 1 after one prefix, or
    the ``class_names``, else ``columns`` in the order of the classes; and optionally sample ids and ``label`` (columns
    that ``ignore`` names are not looked at); or a run directory (or an open run). ``labels`` (N,): an array, frame,
    .npy, .npz, .csv or .parquet, matched by sample ids (``sample_id``, a column named like an id, a pandas index) where
    both have them, else by position; a run, or a file with a column ``label``, needs none.
    ``temperature``: the values are logits, to be divided by it; without, they are taken as they are. ``values`` says
    what is divided, "logits" or "probabilities" (then their logarithms); else the last batch refuses what looks like
    probabilities or votes.

    Of the largest entries only: a .npz with arrays ``indices`` and ``values`` (N, k), or a .parquet with list columns
    of these names (and ``sample_id``, ``label``). ``num_classes`` then says how many classes there are, and ``rest``,
    "uniform" or "zero", what those that are not listed get, as in :func:`biasvar.analysis.from_top_k`.

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
    class_names = listed_names(class_names, "class_names")
    columns = [columns] if isinstance(columns, str) else listed_names(columns, "columns")
    ignored = [ignore] if isinstance(ignore, str) else listed_names(ignore, "ignore") or []
    truth = None if labels is None else _sorted(read_labels(labels, class_names=class_names))
    source = source if isinstance(source, Run) else plain_value(source, "source", ("str", "Path"))
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
    if holds_top_k(path):
        if (temperature, values, columns) != (None,) * 3:
            raise RecordError(
                f"{path} holds probabilities (indices, values): no temperature, values or columns go with it"
            )
        classes, rows, read, has_ids = open_top_k(path, num_classes, rest)
    elif rest is not None:
        raise RecordError(f"rest is for files of some classes of every row, with indices and values; {path} is none")
    elif suffix == ".parquet":
        classes, rows, read, has_ids = _parquet(path, truth, class_names, columns, ignored)
    else:
        (classes, rows, read), has_ids = _numpy(path), False
    if truth is not None and truth.ids is not None and not truth.ids.sure and not has_ids:
        truth = replace(truth, ids=None)
    if num_classes not in (None, classes):
        raise RecordError(f"{path} has {classes} classes, not num_classes={num_classes}")
    if classes < 2:
        raise RecordError(f"{path} must hold at least two classes, one number for each; its rows hold {classes}")
    return SoftLabels(path.name, classes, rows, read, truth, temperature, values)


def _of_arm(run: Run, arm: str, split: str, truth: Labels | None, temperature: float | None) -> SoftLabels:
    stored, labels, _ = run.stored_means(arm, split, "all", None)
    values = np.empty((len(labels), run.num_classes))
    for part in stored.parts():
        weights = stored.counts[:, part] / stored.counts[:, part].sum(axis=0)
        mean = (weights[:, :, None] * stored.read(part.start, part.stop)).sum(axis=0)
        values[part] = tempered(mean, 1.0 if temperature is None else temperature, values="logits")

    def read(step: int) -> Iterator[Part]:
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            yield values[part], labels[part], stored.sample_ids[part]

    name = f"{run.name}: mean prediction of {arm} ({split})"
    return SoftLabels(name, run.num_classes, len(values), read, truth, None)


def _of_teacher(
    run: Run,
    teacher: str | None,
    replica: int | None,
    split: str | None,
    members: bool | None,
    truth: Labels | None,
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
    replicas = sorted(set(read_columns(path, ["replica"]).column(0).unique().to_pylist()))
    if replica is None and len(replicas) > 1:
        raise RecordError(f"teacher {name!r} of {run.directory} differs by replica: name one of {replicas}")
    wanted = replicas[0] if replica is None else schema.one_of(replica, replicas, f"replica of teacher {name!r},")

    def read(step: int) -> Iterator[Part]:
        for batch in _batches(path, ("replica", "sample_id", "member", "logits"), step):
            own = batch.column("sample_id").to_numpy()
            place = np.minimum(np.searchsorted(ids, own), max(len(ids) - 1, 0))
            keep = (batch.column("replica").to_numpy() == wanted) & (ids[place] == own)
            if members is not None:
                keep &= batch.column("member").to_numpy(zero_copy_only=False) == members
            if keep.any():
                values = lists(batch.column("logits"), "logits", str(path), classes=run.num_classes)
                yield values[keep], labels[place[keep]], own[keep]

    which = "" if split is None else f" ({split})"
    return SoftLabels(f"{run.name}: teacher {name}{which}", run.num_classes, None, read, truth, temperature)


def _sorted(labels: Labels) -> Labels:
    if labels.ids is None:
        return labels
    order = np.argsort(labels.ids.values, kind="stable")
    ids = labels.ids.values[order]
    again = np.unique(ids[1:][ids[1:] == ids[:-1]])
    if len(again) and not labels.ids.sure:  # what rows share, such as an image, is no id of theirs
        return replace(labels, ids=None)
    if len(again):
        raise RecordError(f"labels: {labels.ids.title} {first_few(again)} comes more than once")
    return replace(labels, values=labels.values[order], ids=replace(labels.ids, values=ids))


def _parquet(
    path: Path,
    truth: Labels | None,
    class_names: Sequence[str] | None,
    columns: Sequence[str] | None,
    ignored: Sequence[str],
) -> tuple[int, int, Callable[[int], Iterator[Part]], bool]:
    layout, rows = parquet_schema(path)
    found, index = kinds(layout)
    found = [(name, kind) for name, kind in found if name not in ignored]
    roles = prediction_columns(found, str(path), index=index.names, class_names=class_names, columns=columns)
    if not rows:
        raise RecordError(f"{path} holds no rows")
    is_list = len(roles.classes) == 1
    ids = roles.ids
    if ids != SAMPLE_ID:  # only sample_id is sure to be an id: others are looked at as a whole
        own = ids_of(path, ids, index, rows, str(path))
        ids = None if own is None else _use(own, path, truth, roles.label)
    wanted = [name for name in dict.fromkeys((*roles.classes, roles.label, ids)) if name in layout.names]
    start = next(_batches(path, roles.classes, 1), None)
    if start is None:
        raise RecordError(f"{path} holds no rows")
    classes = len(start.column(0).flatten()) if is_list else len(roles.classes)

    def read(step: int) -> Iterator[Part]:
        first = 0
        for batch in _batches(path, wanted, step):
            if is_list:
                name = roles.classes[0]
                values = lists(batch.column(name), name, str(path), classes=classes, first=first)
            else:
                values = np.stack([numbers(batch.column(name), name, str(path)) for name in roles.classes], axis=1)
            extra = [_whole(batch, name, path, first) for name in (roles.label, ids)]
            first += len(values)
            yield values, extra[0], extra[1]

    return classes, rows, read, ids is not None


def _numpy(path: Path) -> tuple[int, int, Callable[[int], Iterator[Part]]]:
    stored = stored_array(path, ARRAY_NAMES)
    shape, dtype = stored.shape, stored.dtype
    if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu" or stored.fortran:
        raise RecordError(
            f"{path} must hold numbers of shape (N, K), row by row; it holds {dtype} of shape {shape}"
            + (", column by column (save np.ascontiguousarray of it)" if stored.fortran else "")
        )

    def read(step: int) -> Iterator[Part]:
        for values in stored.parts(step):
            yield values, None, None

    return shape[1], shape[0], read


def _opened(path: Path) -> pq.ParquetFile:
    try:
        # Read as it goes: a file written in one piece would otherwise be in memory as a whole.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except UNREADABLE as error:
        raise unreadable(path, error, "Parquet") from None


def _batches(path: Path, columns: Sequence[str | None], step: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time."""
    with _opened(path) as file:
        batches = file.iter_batches(batch_size=step, columns=list(columns))
        while True:
            try:
                batch = next(batches, None)
            except UNREADABLE as error:
                raise unreadable(path, error, "Parquet") from None
            if batch is None:
                return
            yield batch


def _use(own: Ids, path: Path, truth: Labels | None, label: str | None) -> str | None:
    """The column of ids that are not sure to be ids, if it is to be used; RecordError if place and id disagree."""
    if truth is not None and truth.ids is not None and own.column is not None:
        return own.column
    if own.rise:  # place and id say the same
        return None
    if truth is None and label is not None and own.column is not None:  # each row brings its own label
        return own.column
    raise RecordError(
        f"{path}: {own.title} is not in order, and the labels have no ids to meet it by: give them a column "
        f"{SAMPLE_ID}; or rename it to {SAMPLE_ID}, or drop it (a frame's index by reset_index(drop=True)) for rows "
        "in the order of the labels"
    )


def _whole(batch: pa.RecordBatch, name: str | None, path: Path, first: int) -> np.ndarray | None:
    """A column of labels or sample ids, without gaps."""
    if name is None:
        return None
    column = batch.column(name)
    if column.null_count:
        rows = first_few(first + np.flatnonzero(column.is_null()))
        raise RecordError(f"{path}: column {name!r} lacks a value in row {rows}")
    return numbers(column, name, str(path))
