"""Several processes record one epoch: each writes its part, and the last one merges them into the epoch's file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from biasvar.errors import RecordError
from biasvar.files import locked, plain
from biasvar.messages import first_few
from biasvar.records import checked_tables, schema
from biasvar.records.epoch_parts import EpochPart, epoch_parts, part_path
from biasvar.records.files import write_table
from biasvar.records.frames import arrays_of
from biasvar.records.stored_files import file_replicas, read_columns
from biasvar.records.writer import RunWriter

ON_DUPLICATE = ("refuse", "first")


def first_rows(replicas: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """bool (n,): True for the first row of each (replica, sample_id), in the order of the rows."""
    order = np.lexsort((ids, replicas))  # stable
    new = np.ones(len(ids), dtype=bool)
    new[1:] = (replicas[order][1:] != replicas[order][:-1]) | (ids[order][1:] != ids[order][:-1])
    keep = np.empty(len(ids), dtype=bool)
    keep[order] = new
    return keep


def other_file(folder: Path, group: int, replicas: Sequence[int]) -> tuple[Path, int] | None:
    """The newest file of another training group, in the folder of one (arm, split, view), with one of these replicas.

    With the first such replica; None if there is no such file. A replica in two files of an epoch would count twice.
    """
    newest: dict[int, Path] = {}
    for path in sorted(folder.glob("epoch=*/group=*.parquet")):
        number = path.stem.removeprefix("group=")
        if number.isdigit() and int(number) != group:
            newest[int(number)] = path
    for path in newest.values():
        held = sorted(set(file_replicas(path) or ()) & set(replicas))
        if held:
            return path, held[0]
    return None


class PartWriter:
    """Writes part `rank` of `world` of every epoch of one (arm, split, view, group), and merges what is complete.

    All processes must be opened before the first of them ends an epoch, as those of torch.distributed are: what a part
    of an interrupted epoch left behind is removed by the process that opens as the same part.

    Args:
        writer, arm, split, view, group: Of the record.
        part: (rank, world).
        on_duplicate: "refuse" an epoch in which two parts hold one sample, or keep the "first" in the order of parts.
        replace: Write over epochs that are there.
    """

    def __init__(
        self, writer: RunWriter, arm: str, split: str, view: str, group: int, part: tuple[int, int], *,
        on_duplicate: str = "refuse", replace: bool = False,
    ) -> None:  # fmt: skip
        schema.one_of(on_duplicate, ON_DUPLICATE, "on_duplicate")
        self._writer, self._key, self._group = writer, (arm, split, view), group
        self._rank, self._world = int(part[0]), int(part[1])
        self._on_duplicate, self._replace = on_duplicate, replace
        self._folder = schema.record_folder(writer.directory, arm, split, view, views=writer.views)

    def record(self, epoch: int, columns: Mapping[str, Any], metadata: Mapping[str, Any]) -> int | None:
        """Write this part; with the last part also the epoch's file.

        Returns:
            The number of rows that the merge dropped as duplicates; None if other parts are still missing.

        Raises:
            RecordError: The epoch or this part of it is there already, the columns do not fit, or the parts do not:
                they stay then, and the epoch is not complete.
        """
        merged = schema.record_path(self._writer.directory, *self._key, epoch, self._group, views=self._writer.views)
        own = part_path(merged, self._rank, self._world)
        where = self._named(epoch)
        table, replicas = checked_tables.record_table(columns, where, self._writer.num_classes)
        entries = {**plain(metadata), "epoch": int(epoch), "part": [self._rank, self._world], "replicas": replicas}
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder) as held:
            if not held:  # pragma: no cover - Windows
                raise RecordError(f"{where}: parts of an epoch need a system with file locks")
            if merged.exists() and not self._replace:
                raise RecordError(f"{merged} exists: {where} is already recorded; go on from a later epoch")
            self.refuse_others(epoch)
            try:
                write_table(own, table, schema.metadata_of(**entries), exclusive=not self._replace)
            except FileExistsError:
                raise RecordError(
                    f"{own} exists: part {self._rank} of {self._world} of the {where} was written by another process; "
                    "each process needs a rank of its own in part=(rank, world size)"
                ) from None
            return self._merge(epoch, merged)

    def refuse_others(self, epoch: int) -> None:
        """Raise RecordError where a process that counts another world size has written a part of the epoch.

        The whole of one of the two would make the part of the other, which was acknowledged, worth nothing.
        """
        for part in self._parts():
            if part.epoch == epoch and part.world != self._world:
                raise RecordError(
                    f"{part.path} exists: part {part.rank} of {part.world} of the {self._named(epoch)} was written by "
                    f"another process, and this one counts {self._world}; all processes of an epoch need the same "
                    "world size in part=(rank, world size). If none is writing it any more, go on with resume=True"
                )

    def begun(self) -> list[int]:
        """The epochs of which this part is there and others are not."""
        mine = [part for part in self._parts() if part.rank == self._rank and part.world == self._world]
        return [part.epoch for part in mine if not part.merged.exists()]

    def settle(self) -> None:
        """Merge interrupted epochs whose parts are all there, and remove what this part left of the others."""
        if not self._parts():
            return
        with locked(self._folder):
            for part in self._parts():
                if not (self._replace or part.merged.exists() or part.world != self._world):
                    self._merge(part.epoch, part.merged)
                is_mine = part.rank == self._rank or part.world != self._world
                # Parts beside the whole are what a process left that was killed while it merged them.
                if is_mine or (part.merged.exists() and not self._replace):
                    part.path.unlink(missing_ok=True)

    def _parts(self) -> list[EpochPart]:
        return [part for part in epoch_parts(self._folder) if part.group == self._group]

    def _merge(self, epoch: int, merged: Path) -> int | None:
        """Merge the parts of an epoch if all are there; only under the lock."""
        paths = [part_path(merged, rank, self._world) for rank in range(self._world)]
        if not all(path.exists() for path in paths):
            return None
        columns = self._columns(epoch, paths)
        footers = [json.loads(pq.read_metadata(path).metadata[b"biasvar"]) for path in paths]
        metadata = {key: footers[0].get(key) for key in ("temperature", "reference_teacher")}
        for rank, footer in enumerate(footers):
            for key, value in metadata.items():
                if footer.get(key) != value:
                    raise RecordError(
                        f"the parts of the {self._named(epoch)} disagree: {key} is {value!r} in part 0 and "
                        f"{footer.get(key)!r} in part {rank}"
                    )
        keep = first_rows(columns["replica"], columns["sample_id"])
        dropped = int((~keep).sum())
        if dropped and self._on_duplicate == "refuse":
            twice = np.unique(columns["sample_id"][~keep])
            raise RecordError(
                f"the parts of the {self._named(epoch)} share sample_ids {first_few(twice)}: it is not recorded. "
                "A DistributedSampler repeats samples so that all parts are of one length: pass on_duplicate='first' "
                "(with resume=True if the training was ended), or drop_last=True to the sampler"
            )
        total = dropped + sum(footer.get("duplicates_dropped", 0) for footer in footers)
        if self._on_duplicate == "first":
            columns = {name: values[keep] for name, values in columns.items()}
            metadata["duplicates_dropped"] = total
        self._writer.record(*self._key, epoch, self._group, columns, metadata=metadata, replace=self._replace)
        for path in paths:
            path.unlink()
        self._writer.count_duplicates(*self._key, total)
        return dropped

    def _columns(self, epoch: int, paths: Sequence[Path]) -> dict[str, np.ndarray]:
        tables = [arrays_of(read_columns(path, schema.RECORD_COLUMNS, schema.RECORD_SCHEMA)) for path in paths]
        columns: dict[str, np.ndarray] = {}
        for name in schema.RECORD_COLUMNS:
            given = [values for table in tables if (values := table[name]) is not None]
            if given and len(given) < len(tables):
                lacks = [rank for rank, table in enumerate(tables) if table[name] is None]
                raise RecordError(
                    f"the parts of the {self._named(epoch)} disagree: column {name!r} is empty in part "
                    f"{first_few(lacks)} only; give teacher_logits in all processes or in none"
                )
            if given:
                columns[name] = np.concatenate(given)
        return columns

    def _named(self, epoch: int) -> str:
        arm, split, view = self._key
        return f"record of arm {arm!r}, split {split!r}, view {view!r}, epoch {epoch}"
