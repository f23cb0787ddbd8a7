"""The place of a recorder in its run directory: found or made, and refused where something else is recorded there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biasvar.errors import RecordError
from biasvar.records.merging import PartWriter, other_file
from biasvar.records.schema import record_folder, record_path
from biasvar.records.writer import RunWriter
from biasvar.training.recorder_predictions import kept_files


@dataclass(frozen=True)
class Place:
    """Where the epochs of one (arm, split, view) and training group go.

    Attributes:
        writer: Of the run.
        key: (arm, split, view).
        group: Number of the file among those of an epoch.
        parts: Merges what several processes record of an epoch.
        epoch: The last one that is there; 0 without any.
        own: True of a user's own loop, False where a study's trainer keeps the manifest.
    """

    writer: RunWriter
    key: tuple[str, str, str]
    group: int
    parts: PartWriter
    epoch: int
    own: bool

    @staticmethod
    def of(
        directory: str | Path | RunWriter, key: tuple[str, str, str], replicas: Sequence[int], group: int,
        part: tuple[int, int] | None, *, num_classes: int, on_duplicate: str, resume: bool, replace: bool,
    ) -> Place:  # fmt: skip
        """The place in a directory, which is made if need be, or in the run of a writer.

        Raises:
            RecordError: The directory holds another run, or the replicas are recorded there already; names that cannot
                be names, before anything is made or changed on disk.
        """
        arm, split, view = key
        own = not isinstance(directory, RunWriter)
        if isinstance(directory, RunWriter):
            writer = directory
            folder = record_folder(writer.directory, *key, views=writer.views)
        else:
            folder = record_folder(directory, *key)
            manifest = {"kind": "recorder", "name": Path(directory).name, "num_classes": num_classes}
            writer = RunWriter(directory, manifest=manifest, resume=True)
        parts = PartWriter(writer, *key, group, part or (0, 1), on_duplicate=on_duplicate, replace=replace)
        if resume or replace:
            parts.settle()
        recorded = [int(path.parent.name[6:]) for path in folder.glob(f"epoch=*/group={group:03d}.parquet")]
        begun = [*recorded, *parts.begun()]
        if begun and not resume and not replace:
            raise RecordError(
                f"{writer.directory}: arm {arm!r}, replica {replicas[0]}, split {split!r}, view {view!r} "
                f"is recorded already up to epoch {max(begun)}; pass resume=True to go on, replace=True to write over "
                "these epochs, or name another arm, replica or directory"
            )
        other = other_file(folder, group, replicas) if own else None
        if other and not replace:
            raise RecordError(
                f"{other[0]} holds replica {other[1]} of arm {arm!r} already; name another replica or arm, or go on in "
                f"that file with resume=True and group={int(other[0].stem[6:])}"
            )
        return Place(writer, key, group, parts, max(recorded, default=0), own)

    def settle(
        self, temperature: float, num_samples: int, class_names: Sequence[str] | None, words: Mapping[str, Any]
    ) -> None:
        """What a user's own loop says of its run and arm, into the manifest.

        Raises:
            RecordError: The arm was recorded with another temperature or num_samples, or the run has other classes.
        """
        arm, split, _ = self.key
        if class_names is not None:
            named = [str(name) for name in class_names]
            if self.writer.manifest.get("class_names") not in (None, named):
                raise RecordError(f"{self.writer.directory} has other class_names; arms of one run share their classes")
            self.writer.update_manifest(class_names=named)
        self.writer.settle_arm(arm, temperature=temperature, num_samples={split: num_samples})
        label = self.writer.manifest["arms"][arm].get("label", arm)
        self.writer.update_arm(arm, **{"label": label, **words})

    def recording(self, status: Literal["running", "complete"]) -> None:
        """Note in the manifest of a user's own loop that this recorder is "running" or "complete"."""
        if self.own:
            arm, split, view = self.key
            self.writer.recording(arm, f"{split} {view} {self.group:03d}", status)

    def forget_predictions(self, epoch: int) -> None:
        """Remove the predictions of an epoch that were kept of this view."""
        arm, split, view = self.key
        kept = self.writer.manifest["arms"].get(arm, {}).get("kept_predictions") or {}
        if (kept.get(split) or {}).get("view") == view:
            for path, written in kept_files(self.writer.directory, arm, split, self.group):
                if written == epoch:
                    path.unlink()

    def has(self, epoch: int) -> bool:
        """True if an epoch has its file."""
        path = record_path(self.writer.directory, *self.key, epoch, self.group, views=self.writer.views)
        return path.exists()
