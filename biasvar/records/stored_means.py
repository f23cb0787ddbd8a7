"""Mean log-probabilities of a run's prediction files, read as a whole or by parts of rows, and decomposed by parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.errors import RecordError
from biasvar.files import unreadable
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.checked_tables import sorting
from biasvar.records.column_kinds import is_list_of_reals
from biasvar.records.placement import GROUPS
from biasvar.records.prediction_parts import row_parts, rows_of_a_part
from biasvar.records.predictions import list_matrix, wrong_width
from biasvar.records.stored_files import UNREADABLE, read_columns

if TYPE_CHECKING:
    from biasvar.analysis.decomposition.result import Decomposition

ANSWERS = ("mean_log_prob", "logits")
_CURE = "restore it, or import or run it again"
CheckLosses = Callable[[np.ndarray, np.ndarray], None]
"""Raises for counts (G, N) and mean losses (G,) that cannot be."""
_ENTRIES = 2**22  # numbers of a file decoded at a time: 32 MB


@dataclass(frozen=True)
class _File:
    """The keys of a file's rows, and where its row groups end; rows of one turn are of different groups or samples."""

    path: Path
    sample_ids: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    turns: np.ndarray
    column: str
    """Where the answers are: "mean_log_prob", or "logits" of one replica a group."""


class StoredMeans:
    """Sample ids (N,), counts (G, N) and mean log-probabilities (G, N, C) of some files together.

    What several files (training groups) hold of one jackknife group is merged by count. Only the keys are read at once.
    `by_replica`: each file's groups are replicas, whatever their numbers; the i-th of all is of group i mod `GROUPS`.
    """

    def __init__(self, paths: Sequence[Path], num_classes: int, *, by_replica: bool = False) -> None:
        self._files = [_keys(path, num_classes) for path in paths]
        if by_replica:
            _refuse_doubled(self._files)
            numbers = np.unique(np.concatenate([file.groups for file in self._files]))
            ranks = [np.searchsorted(numbers, file.groups) for file in self._files]
            self._files = [
                replace(file, groups=rank % GROUPS, turns=rank // GROUPS)
                for file, rank in zip(self._files, ranks, strict=True)
            ]
        self._classes = num_classes
        self._groups = np.unique(np.concatenate([file.groups for file in self._files]))
        self.sample_ids = np.unique(np.concatenate([file.sample_ids for file in self._files]))
        self._check: tuple[np.ndarray, CheckLosses] | None = None
        self.counts = np.zeros((len(self._groups), len(self.sample_ids)), dtype=np.int64)
        for file in self._files:
            np.add.at(self.counts, self._places(file), file.counts)

    def check_by(self, labels: np.ndarray, check: CheckLosses) -> None:
        """Let whatever reads all rows hand their mean losses at the labels (N,), of each group, to a check."""
        self._check = labels, check

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The means (G, n, C) of the rows ``start`` .. ``stop`` - 1, in nats; 0 where the count is 0."""
        stop = len(self.sample_ids) if stop is None else stop
        counts = np.zeros((len(self._groups), stop - start), dtype=np.int64)
        means = np.zeros((*counts.shape, self._classes))
        for file in self._files:
            group, row = self._places(file)
            inside = (row >= start) & (row < stop)
            for first, values in self._batches(file, inside):
                here = slice(first, first + len(values))
                for turn in np.unique(file.turns[here]):
                    mine = inside[here] & (file.turns[here] == turn)
                    at = tuple(place[here][mine] for place in (group, row - start))
                    count = file.counts[here][mine]
                    counts[at] += count
                    # The running mean: exact when a group lies in one file, which is the rule.
                    share = np.divide(count, counts[at], out=np.zeros(len(count)), where=counts[at] > 0)
                    means[at] += (values[mine] - means[at]) * share[:, None]
        return means

    def parts(self) -> Iterator[slice]:
        """Rows of which the means of all groups fit in memory with ease."""
        return row_parts(len(self.sample_ids), rows_of_a_part(len(self._groups), self._classes))

    def walk(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Parts of rows and their means (G, n, C); after the last of them the losses are checked."""
        losses = np.zeros(len(self._groups))
        for part in self.parts():
            means = self.read(part.start, part.stop)
            if self._check is not None:
                losses += self._losses(part, means)
            yield part, means
        self._checked(losses)

    def read_all(self) -> np.ndarray:
        """The means (G, N, C) of all rows, their losses checked."""
        means = self.read()
        if self._check is not None:
            self._checked(self._losses(slice(None), means))
        return means

    def _losses(self, part: slice, means: np.ndarray) -> np.ndarray:
        """(G,) losses of each group at the labels of a part of rows, summed over the rows where it has replicas."""
        assert self._check is not None
        labels = self._check[0][part]
        losses = -means[:, np.arange(len(labels)), labels]
        return np.asarray(np.where(self.counts[:, part] > 0, losses, 0.0).sum(axis=1))

    def _checked(self, losses: np.ndarray) -> None:
        if self._check is not None:
            n = (self.counts > 0).sum(axis=1)
            self._check[1](self.counts, np.divide(losses, n, out=np.full(len(n), np.nan), where=n > 0))

    def decomposition(self, target: Any, loss: str, teachers: int | None = None) -> Decomposition:
        """Noise, bias and variance (plug-in) of `sample_ids` against ``target`` (N,) or (N, C), by parts of rows.

        For losses other than cross-entropy every group must hold one replica. Where replica r learned from teacher
        r mod `teachers`, the jackknife groups can be the teachers (cross-entropy only): its replicas are left out
        together.
        """
        from biasvar.analysis.decomposition.groups import decompose_groups, joined
        from biasvar.analysis.decomposition.kernels import make_target
        from biasvar.analysis.decomposition.whole_array import decomposed

        # A group without any replica costs nothing; which they are, all parts must agree on.
        filled = self.counts.any(axis=1) if self.counts.any() else np.ones(len(self.counts), dtype=bool)
        weights = self.counts.astype(np.float64)
        make_target(target, weights, weights, self._classes, loss)  # an error names rows in the whole
        merge = None if teachers is None else self._by_teacher(teachers, loss)[filled]
        found = []
        for part, means in self.walk():
            counts = self.counts[:, part]
            if loss == "cross_entropy":
                if not filled.all():
                    counts, means = counts[filled], means[filled]
                try:
                    found.append(decompose_groups(counts, means, target[part], keep_groups=True, merge=merge))
                except ValueError as error:  # the target was looked at above
                    raise RecordError(f"{self._files[0].path.parent}: {error}") from None
            else:
                found.append(
                    decomposed(
                        means, target[part], loss=loss, where=counts > 0, groups=GROUPS, errors=True, values="logits"
                    )
                )
        return replace(joined(found), sample_ids=self.sample_ids)

    def _by_teacher(self, teachers: int, loss: str) -> np.ndarray:
        """The teacher (G,) of each group; refused where a group mixes teachers."""
        if loss != "cross_entropy":
            raise ValueError(f"groups can be joined by teacher for the loss cross_entropy only, not {loss}")
        if GROUPS % teachers and self.counts.max(initial=0) > 1:
            raise ValueError(f"{GROUPS} groups of several replicas each cannot be joined by {teachers} teachers")
        return self._groups % teachers

    def _places(self, file: _File) -> tuple[np.ndarray, np.ndarray]:
        return np.searchsorted(self._groups, file.groups), np.searchsorted(self.sample_ids, file.sample_ids)

    def _batches(self, file: _File, inside: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The first row and the means (n, C) of consecutive rows of a file, of the row groups with rows inside."""
        try:
            # Read as it goes: a file written in one piece would otherwise be in memory as a whole.
            with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=2**20) as opened:
                for number, (first, last) in enumerate(zip(file.edges[:-1], file.edges[1:], strict=True)):
                    if not inside[first:last].any():
                        continue
                    step = max(1, _ENTRIES // self._classes)
                    for batch in opened.iter_batches(step, row_groups=[number], columns=[file.column]):
                        values = list_matrix(batch.column(0), self._classes, file.path)
                        _check_finite(file, first, values)
                        yield first, values if file.column == "mean_log_prob" else exact_log_probs(values)
                        first += batch.num_rows
        except UNREADABLE as error:
            raise unreadable(file.path, error, "Parquet", _CURE) from None


def exact_log_probs(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (..., C) of logits in float64, nats: those of a study's clean passes, to the last bit."""
    from scipy.special import log_softmax

    found: np.ndarray = log_softmax(logits.astype(np.float64), axis=-1)
    return found


def _check_finite(file: _File, first: int, values: np.ndarray) -> None:
    """Raise RecordError where answers (n, C) of rows from ``first`` on, with replicas behind them, are not finite."""
    here = slice(first, first + len(values))
    bad = (file.counts[here] > 0) & ~np.isfinite(values).all(axis=1)
    if bad.any():
        ids = first_few(np.unique(file.sample_ids[here][bad]))
        raise RecordError(f"{file.path}: {file.column} is not finite for sample_id {ids}; {_CURE}")


def _refuse_doubled(files: Sequence[_File]) -> None:
    """Raise RecordError where two files hold the same samples of one replica, which would count twice."""
    seen: dict[int, list[_File]] = {}
    for file in files:
        for number in np.unique(file.groups[file.counts > 0]).tolist():
            mine = file.sample_ids[(file.groups == number) & (file.counts > 0)]
            for other in seen.setdefault(number, []):
                if np.isin(mine, other.sample_ids[(other.groups == number) & (other.counts > 0)]).any():
                    raise RecordError(
                        f"replica {number} is in {other.path} and in {file.path}; delete the copy, or what a later "
                        "training replaced"
                    )
            seen[number].append(file)


def _keys(path: Path, num_classes: int) -> _File:
    table = read_columns(path, ["sample_id", "group", "count"], schema.prediction_schema(num_classes))
    ids, groups, counts = (table.column(name).to_numpy() for name in ("sample_id", "group", "count"))
    sorting(groups, ids, f"{path}: sample_id", "group")  # by id however they lie; none twice
    if len(counts) and counts.min() < 0:
        raise RecordError(f"{path}: count is {counts.min()}, it must be a whole number from 0 on; {_CURE}")
    with pq.ParquetFile(path) as file:
        there = [name for name in ANSWERS if name in file.schema_arrow.names]
        if len(there) != 1:
            held = "both of them" if there else ", ".join(file.schema_arrow.names)
            raise RecordError(f"{path} must have one column of answers, {' or '.join(ANSWERS)}; it has {held}; {_CURE}")
        (column,) = there
        kind, rows = file.schema_arrow.field(column).type, file.metadata.num_rows
        if not is_list_of_reals(kind):
            raise RecordError(f"{path}: column {column!r} holds {kind}, it must hold lists of float or double; {_CURE}")
        if pa.types.is_fixed_size_list(kind) and kind.list_size != num_classes:
            raise wrong_width(path, num_classes, rows * kind.list_size)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    return _File(path, ids, groups, counts, np.cumsum([0, *sizes]), np.zeros_like(groups), column)
