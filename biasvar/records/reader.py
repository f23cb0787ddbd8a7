"""Reading a run directory: frames and arrays, of only what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from biasvar.arguments import checked
from biasvar.errors import RecordError
from biasvar.messages import command, first_few
from biasvar.records import schema
from biasvar.records.arms import ArmEntry
from biasvar.records.checked_tables import as_table
from biasvar.records.column_kinds import together
from biasvar.records.frames import arrays_of, empty_table, in_order, record_tables, to_frame, wanted_columns
from biasvar.records.manifest import check_agreement, read_manifest
from biasvar.records.placement import (
    check_classes,
    check_counts,
    check_last,
    check_losses,
    check_place,
    check_records,
    cure,
    labels_of,
    read_metrics,
)
from biasvar.records.predictions import (
    Predictions,
    SoftLabels,
    TeacherLogits,
    read_soft_labels,
    read_teacher,
)
from biasvar.records.sample_kinds import read_kinds, write_kinds
from biasvar.records.sample_names import read_sample_names
from biasvar.records.stored_files import IMPORTED, StoredFile, arms_on_disk, last_of_each, read_columns, stored_files
from biasvar.records.stored_means import StoredMeans
from biasvar.records.summary import summary_table
from biasvar.records.weights import aligned_weights, mean_weights, write_weights

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.analysis.decomposition.result import Decomposition

__all__ = ["Predictions", "Run", "TeacherLogits", "open_run"]

Answering = Literal["students", "teacher"]
"""Whose predictions of an arm: its students', or those of the teachers that train along with them."""


@checked
def open_run(directory: str | Path) -> Run:
    """Open a run directory for reading.

    Raises FileNotFoundError if there is no such directory; RecordError if it is no run, if its manifest is damaged, or
    if a newer biasvar wrote it.

    >>> open_run("runs/of/nobody")
    Traceback (most recent call last):
    FileNotFoundError: runs/of/nobody does not exist; name a run directory, as `python -m biasvar.run` makes it
    """
    path = Path(directory)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name a run directory, as `{command('run')}` makes it")
    if not (path / "manifest.json").is_file():
        inside = sorted(entry.parent.name for entry in path.glob("*/manifest.json")) if path.is_dir() else []
        hint = f"it holds runs: {first_few(inside)}" if inside else "name a directory that a run was written to"
        raise RecordError(f"{path} is no run: it has no manifest.json; {hint}")
    return Run(path, read_manifest(path))


class Run:
    """One run directory, read lazily; see :func:`open_run`.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from biasvar import import_predictions
    >>> logits = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)  # 4 trainings, 20 samples
    >>> with TemporaryDirectory() as folder:
    ...     run = import_predictions(logits, np.arange(20) % 3, directory=f"{folder}/mine", arm="plain")
    ...     run.arms, run.num_classes, run.decomposition("plain").bias.shape
    (['plain'], 3, (20,))
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest
        self._metrics_of: dict[str, pd.DataFrame] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, arms: {', '.join(self.arms) or 'none yet'})"

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.manifest.get("name", self.directory.name))

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.manifest["num_classes"])

    @cached_property
    def arms(self) -> list[str]:
        """The arms in the order of the manifest, less those still waiting to be trained, then any others on disk."""
        begun = [name for name, entry in self.manifest["arms"].items() if entry.get("status") != "waiting"]
        return list(dict.fromkeys([*begun, *arms_on_disk(self.directory)]))

    @checked
    def arm(self, name: str) -> dict[str, Any]:
        """What the manifest says of an arm (empty for a recorder that said nothing)."""
        entry: dict[str, Any] = self.manifest["arms"].get(self._known(name), {})
        return entry

    @checked
    def entry(self, name: str) -> ArmEntry:
        """The same as a type, with the values that stand for what the manifest leaves out."""
        return ArmEntry.read(name, self.arm(name))

    @cached_property
    def study(self) -> dict[str, Any] | None:
        """The resolved study file, None if the run came without; RecordError where the manifest contradicts it."""
        path = self.directory / "study.yaml"
        if not path.exists():
            return None
        import yaml

        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} is damaged, not valid YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(content, dict):
            raise RecordError(f"{path} is damaged: it must hold a mapping")
        check_agreement(self.manifest, content, f"{self.directory / 'manifest.json'} is damaged")
        return content

    @cached_property
    def samples(self) -> pd.DataFrame:
        """sample_id, label, split, pool of every sample, by id; of a recorder's run, of those first recorded.

        A recorder's splits may number their samples alike: there a sample is one of a split and an id.
        """
        path = self.directory / "samples.parquet"
        if path.exists():
            table = in_order(_read_all(path, schema.SAMPLES_SCHEMA), ("sample_id",), path)
            check_classes(table, self.num_classes, path, self.manifest["kind"])
            return to_frame(table)
        return self._recorded_samples()

    @property
    def kinds(self) -> pd.DataFrame | None:
        """sample_id, split and kind of the samples that were given one by :meth:`save_kinds`; None if none were."""
        return read_kinds(self.directory)

    @checked
    def save_kinds(self, kinds: Any, sample_ids: Any = None, *, split: str | None = None) -> Path:
        """Keep what kind of thing samples are, and the report shows bias, variance, flags and weights by kind.

        They replace what the splits of these samples had; other splits keep theirs.

        Args:
            kinds: (n,) texts or whole numbers, such as the part of speech of a token, at most 200 different ones.
            sample_ids: (n,) their samples; default all of `samples`, in their order.
            split: Of the samples, where ids of several splits are the same.

        Raises RecordError for ids that are no samples of the run or come twice, and samples without a kind.
        """
        known = self.samples
        if split is not None:
            known = known[known["split"] == schema.one_of(split, known["split"].unique().tolist(), "split")]
        return write_kinds(self.directory, kinds, sample_ids, known)

    @checked
    def sample_names(self, split: str = "test") -> list[str] | None:
        """The names of a split's samples by sample id, such as file names; None if the run has none."""
        names = read_sample_names(self.directory, split)
        return None if names is None else names.names

    @cached_property
    def membership(self) -> pd.DataFrame:
        """replica, sample_id, multiplicity of every student's draw; rows that were not drawn are left out."""
        path = self.directory / "membership.parquet"
        if not path.exists():
            raise RecordError(f"{self.directory} keeps no membership; see the column 'member' of its record")
        return to_frame(in_order(_read_all(path, schema.MEMBERSHIP_SCHEMA), ("replica", "sample_id"), path))

    @cached_property
    def tuning(self) -> pd.DataFrame | None:
        """The learning-rate grid on the validation split; None if no rate was chosen in this run."""
        path = self.directory / "tuning.parquet"
        return to_frame(_read_all(path, schema.TUNING_SCHEMA)) if path.exists() else None

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Per-epoch numbers of every arm and replica, see :data:`biasvar.records.schema.METRIC_SCHEMA`.

        For an arm that left none they are computed from its record, file by file; ece and learning_rate are then NaN.
        """
        tables = []
        for arm in self.arms:
            kept = read_metrics(self.directory, arm, self.manifest)
            if kept is not None:
                tables.append(kept)
            elif arm in self._recorded_arms:
                tables += [summary_table(file) for file in stored_files(self.directory, "records", arm=arm)]
        table = together(tables) if tables else schema.METRIC_SCHEMA.empty_table()
        return to_frame(table)

    def recorded(self) -> list[tuple[str, str, str]]:
        """Every (arm, split, view) that has a record."""
        files = stored_files(self.directory, "records")
        return list(dict.fromkeys((file.arm, file.split, file.part) for file in files))

    def prediction_epochs(self, arm: str, *, of: Answering = "students") -> list[int]:
        """The epochs after which predictions on test rows were kept, rising; empty without any."""
        folder = schema.PREDICTION_FOLDERS[schema.one_of(of, schema.PREDICTION_FOLDERS, "predictions of")]
        if not (self.directory / folder / f"arm={arm}" / "split=test").is_dir():
            return []
        files = stored_files(self.directory, folder, arm=arm, split="test", part="all")
        return sorted({file.epoch for file in files})

    @checked
    def record_epochs(self, arm: str, split: str, view: str) -> list[int]:
        """The recorded epochs of one (arm, split, view), rising."""
        files = stored_files(self.directory, "records", arm=self._known(arm), split=split, part=view)
        return sorted({file.epoch for file in files})

    def records(
        self,
        columns: Any = None,
        epochs: Any = None,
        samples: Any = None,
        arm: Any = None,
        split: Any = None,
        view: Any = None,
        replicas: Any = None,
    ) -> pd.DataFrame:
        """The record as one frame: arm, split, view (categories) and epoch, then ``columns`` in the order asked for.

        Each argument is one value, several, or None for all; only the files, columns and rows asked for are read.
        Values that need a teacher are missing (NaN, or pandas.NA in whole numbers and flags) where there was none.
        ``samples`` that were never recorded give no rows. Rows go by arm, split, view, epoch and file, in a file by
        (replica, sample_id), however they lie on disk; without one of these two columns in the order of the disk.

        Raises RecordError for a column, arm, split, view, epoch or replica that is not there, naming what is, and for
        a damaged file, naming it.
        """
        names = wanted_columns(columns)
        files = self._record_files(epochs, arm, split, view)
        tables = list(record_tables(files, names, samples, replicas))
        return to_frame(together(tables) if tables else empty_table(names))

    def iter_records(
        self,
        columns: Any = None,
        epochs: Any = None,
        samples: Any = None,
        arm: Any = None,
        split: Any = None,
        view: Any = None,
        replicas: Any = None,
    ) -> Iterator[pd.DataFrame]:
        """As :meth:`records`, one frame a file, so that a record larger than memory can be walked through."""
        names = wanted_columns(columns)
        files = self._record_files(epochs, arm, split, view)
        return (to_frame(table) for table in record_tables(files, names, samples, replicas))

    @property
    def views(self) -> list[str]:
        """The further views of the test rows that the study evaluates after the last epoch, by name, in its order."""
        return [str(view) for view in self.manifest.get("views") or ()]

    @checked
    def predictions(
        self,
        arm: str,
        *,
        split: str = "test",
        membership: str = "all",
        epoch: int | None = None,
        of: Answering = "students",
        view: str = "clean",
    ) -> Predictions:
        """The mean log-probabilities of an arm at one epoch (default: the last that was stored).

        ``of`` "teacher": of the teachers that train along with the students, one for each replica, after their step.

        ``membership``: "all" replicas; on the train split also only those that trained on the row ("member") or did not
        ("nonmember"). ``view``: "clean", or one of ``views``. Raises RecordError for what is not there, naming what is.
        """
        stored, labels, chosen = self.stored_means(arm, split, membership, epoch, of, view)
        return Predictions(stored.sample_ids, labels, stored.counts, stored.read_all(), chosen)

    @checked
    def iter_predictions(
        self, arm: str, *, split: str = "test", membership: str = "all", epoch: int | None = None, view: str = "clean"
    ) -> Iterator[Predictions]:
        """As :meth:`predictions`, by parts of rows, so that predictions larger than memory can be walked through."""
        stored, labels, chosen = self.stored_means(arm, split, membership, epoch, view=view)
        return (
            Predictions(stored.sample_ids[at], labels[at], stored.counts[:, at], means, chosen)
            for at, means in stored.walk()
        )

    def stored_means(
        self,
        arm: str,
        split: str,
        membership: str,
        epoch: int | None,
        of: Answering = "students",
        view: str = "clean",
    ) -> tuple[StoredMeans, np.ndarray, int]:
        """An arm's stored means at one epoch, the labels of its samples, and the epoch.

        Whatever reads all of its rows finds out whether their losses are those of the metrics.
        Without ``epoch`` the last; of replicas that somebody's own loop recorded, which may stop early, that of each.
        """
        schema.one_of(membership, schema.MEMBERSHIPS, "membership")
        schema.one_of(view, ("clean", *self.views), "view")
        folder = schema.PREDICTION_FOLDERS[schema.one_of(of, schema.PREDICTION_FOLDERS, "predictions of")]
        if of == "teacher" and not (self.directory / folder / f"arm={self._known(arm)}").is_dir():
            raise RecordError(
                f"{self.directory} has no predictions of teachers of arm {arm!r}: only teachers that train along with "
                "their students leave any"
            )
        folder, part = (folder, membership) if view == "clean" else ("view_predictions", view)
        if not (self.directory / folder / f"arm={arm}").is_dir() and self.manifest["kind"] == "recorder":
            raise RecordError(
                f"{self.directory} has no predictions of arm {arm!r}: record an evaluation pass of its students with "
                'Recorder(..., split="test", view="clean", keep_predictions="last"), or import_predictions of theirs '
                "with resume=True"
            )
        files = stored_files(self.directory, folder, arm=self._known(arm), split=split, part=part, epochs=epoch)
        if not files:
            raise RecordError(f"{self.directory} has no predictions of arm {arm!r}, split {split!r}")
        kind = self.manifest["kind"]
        chosen = max(file.epoch for file in files)
        kept_view = self._kept_view(arm, split, files) if kind == "recorder" else None
        by_replica = kept_view is not None
        if kept_view is not None:
            files = last_of_each(self._acknowledged(files, kept_view))
            chosen = max(file.epoch for file in files)
        else:
            files = [file for file in files if file.epoch == chosen]
        for file in files:
            check_place(file, kind)
        if epoch is None:
            check_last(files[0], self.manifest)
        stored = StoredMeans([file.path for file in files], self.num_classes, by_replica=by_replica)
        check_counts(files[0], stored.counts, self.manifest)
        labels = self._labels(stored.sample_ids, split)
        if of == "students" and membership == "all" and kind != "recorder":
            where = f"predictions of arm {arm!r}, split {split!r}" + (f", view {view!r}" if view != "clean" else "")
            told = self._told_losses(arm, split, chosen, view)
            stored.check_by(labels, lambda counts, losses: check_losses(where, counts, losses, told, kind))
        return stored, labels, chosen

    @checked
    def decomposition(
        self,
        arm: str,
        *,
        split: str = "test",
        membership: str = "all",
        epoch: int | None = None,
        loss: str = "cross_entropy",
        target: Any = None,
        of: Answering = "students",
        view: str = "clean",
    ) -> Decomposition:
        """Noise, bias and variance (plug-in) of an arm, one row a sample; ``.sample_ids`` says which.

        ``of`` "teacher": of the teachers that train along, whose answers are the soft labels of that epoch.

        ``target`` (N,) or (N, C) defaults to the true labels. ``loss="squared_error"`` and ``"zero_one"`` need every
        replica by itself, so they are possible only while no group holds more than one replica. ``view`` is that of
        :meth:`predictions`.
        """
        from biasvar.analysis.arrays import to_numpy
        from biasvar.analysis.decomposition.groups import warn_of_one
        from biasvar.analysis.decomposition.kernels import LOSSES
        from biasvar.analysis.inputs import as_array

        schema.one_of(loss, LOSSES, "loss")
        kept, labels, _ = self.stored_means(arm, split, membership, epoch, of, view)
        aim = labels if target is None else to_numpy(as_array(target, "target"))
        if not aim.ndim or len(aim) != len(kept.sample_ids):
            rows = len(aim) if aim.ndim else "no"
            raise RecordError(f"target has {rows} rows; it needs one for each of {len(kept.sample_ids)} samples")
        if loss != "cross_entropy" and kept.counts.max(initial=0) > 1:
            raise RecordError(
                f"{loss} needs the distribution of every replica; arm {arm!r} is stored as means over groups of "
                f"up to {kept.counts.max()} (one a group only up to {len(kept.counts)} replicas); use cross_entropy"
            )
        found = kept.decomposition(aim, loss)
        warn_of_one(found.counts, stacklevel=3)
        return found

    @checked
    def teacher(self, name: str) -> TeacherLogits:
        """The logits of one of the run's teachers on every sample."""
        there = sorted(path.stem for path in (self.directory / "teachers").glob("*.parquet") if path.name[0] != ".")
        schema.one_of(name, there, f"teacher of {self.directory},")
        path = schema.teacher_path(self.directory, name)
        teacher = read_teacher(path, self.num_classes)
        if self.manifest["kind"] == "study" and (self.directory / "samples.parquet").exists():
            ids = self.samples["sample_id"].to_numpy()
            lacking = ids[~np.isin(ids, teacher.sample_ids)]
            if lacking.size:
                raise RecordError(f"{path} lacks sample_id {first_few(lacking)} of the run's samples; {cure('study')}")
        return teacher

    @property
    def soft_label_names(self) -> list[str]:
        """The soft labels that are stored as data."""
        return sorted(path.stem for path in (self.directory / "soft_labels").glob("*.parquet") if path.name[0] != ".")

    @checked
    def soft_labels(self, name: str) -> SoftLabels:
        """Soft labels of the study that students learn from, with the true labels."""
        schema.one_of(name, self.soft_label_names, f"soft label of {self.directory},")
        ids, values = read_soft_labels(schema.soft_label_path(self.directory, name), self.num_classes)
        return SoftLabels(ids, self._labels(ids), values)

    @checked
    def teacher_epochs(self, name: str) -> pd.DataFrame | None:
        """A teacher's accuracy, unreliability and ambiguity by split after each epoch; None if not kept.

        Runs from before intervals were kept have NaN in their columns.
        """
        path = schema.teacher_epochs_path(self.directory, name)
        if not path.is_file():
            return None
        return to_frame(read_columns(path)).reindex(columns=schema.teacher_epochs_schema().names)

    @checked
    def method_table(self, table: str, arm: str) -> pd.DataFrame:
        """One of :data:`biasvar.records.schema.METHOD_TABLES` of an arm, such as the "feature_weights" of a search.

        Raises RecordError for an arm that left none.
        """
        schema.one_of(table, schema.METHOD_TABLES, "table")
        layout, keys = schema.METHOD_TABLES[table]
        paths = sorted((self.directory / table / f"arm={self._known(arm)}").glob("*.parquet"))
        paths = [path for path in paths if path.name[0] != "."]
        if not paths:
            raise RecordError(f"{self.directory} holds no {table} of arm {arm!r}")
        frame = to_frame(together([_read_all(path, layout) for path in paths]))
        return frame.sort_values([*keys], ignore_index=True)

    @checked
    def weights(self, arm: str, *, column: str = "wsl_weight", by: str = "sample", epochs: Any = None) -> pd.DataFrame:
        """The mean of a recorded weight over the training epochs: sample_id, weight, n (rows behind the mean).

        Taken over the record of the training pass (split "train", view "augmented"); ``by="replica"`` gives one row per
        (replica, sample_id) and a column ``replica`` first. ``epochs`` restricts it.
        """
        files = self._record_files(epochs, self._known(arm), "train", "augmented")
        return mean_weights(files, column, by)

    @checked
    def retraining_weights(
        self, arm: str, labels: Any, *, column: str = "wsl_weight", epochs: Any = None, missing: float | None = None
    ) -> np.ndarray:
        """Recorded weights for another training: float32 (N,), row i the mean weight of sample_id i.

            weights = torch.from_numpy(biasvar.open_run("runs/mine").retraining_weights("kd", labels))
            loss(student_logits, teacher_logits, labels[ids], weights[ids])     # any loss of biasvar.losses

        Args:
            labels: (N,) true class of every sample of the data to train on, by sample_id; they tell whether it is the
                data that was recorded.
            column, epochs: As for :meth:`weights`.
            missing: Weight of a sample that was never recorded; None refuses.

        Raises:
            RecordError: The record is of other data (names the first sample whose label differs), or lacks samples.
        """
        recorded = self.samples
        if recorded["sample_id"].duplicated().any():  # a recorder's splits may number their samples alike
            recorded = recorded[recorded["split"] == "train"]
        where = f"arm {arm!r} of {self.directory}"
        return aligned_weights(self.weights(arm, column=column, epochs=epochs), recorded, labels, missing, where)

    @checked
    def save_weights(self, arm: str, path: str | Path, *, column: str = "wsl_weight", by: str = "sample") -> Path:
        """Write :meth:`weights` as ``.csv`` or ``.parquet``, by the suffix of ``path``, for any trainer."""
        schema.one_of(Path(path).suffix.lower(), (".csv", ".parquet"), f"suffix of {path},")
        frame = self.weights(arm, column=column, by=by)
        return write_weights(frame, path, {"arm": arm, "column": column, "by": by, "run": self.name})

    @property
    def _recorded_arms(self) -> set[str]:
        return {path.name[4:] for path in (self.directory / "records").glob("arm=*")}

    def _known(self, arm: str) -> str:
        name: str = schema.one_of(arm, self.arms, f"arm of {self.directory},")
        return name

    def _told_losses(self, arm: str, split: str, epoch: int, view: str) -> dict[int, float]:
        """The mean loss of each replica by an arm's metrics, where they say one."""
        if arm not in self._metrics_of:
            kept = read_metrics(self.directory, arm, self.manifest)
            self._metrics_of[arm] = to_frame(schema.METRIC_SCHEMA.empty_table() if kept is None else kept)
        metrics = self._metrics_of[arm]
        here = (metrics["split"] == split) & (metrics["epoch"] == epoch) & (metrics["view"] == view)
        told = metrics[here].set_index("replica")["nll"].dropna()
        return {int(replica): float(loss) for replica, loss in zip(told.index, told, strict=True)}

    def _record_files(self, epochs: Any, arm: Any, split: Any, view: Any) -> list[StoredFile]:
        files = stored_files(self.directory, "records", arm=arm, split=split, part=view, epochs=epochs)
        check_records(files, self.manifest, self.split_sizes())
        return files

    def _kept_view(self, arm: str, split: str, files: list[StoredFile]) -> str | None:
        """The view whose predictions a recorder kept, replica by replica; None if none did and none were imported."""
        kept = (self.manifest["arms"].get(arm) or {}).get("kept_predictions") or {}
        imported = any(file.group >= IMPORTED for file in files)
        return (kept.get(split) or {}).get("view") or ("clean" if imported else None)

    def _acknowledged(self, files: list[StoredFile], view: str) -> list[StoredFile]:
        """The files of predictions whose epoch is recorded: a loop that was killed between the two records it anew."""
        place = (self.directory, files[0].arm, files[0].split, view)
        sound = [
            file
            for file in files
            if file.group >= IMPORTED or schema.record_path(*place, file.epoch, file.group, views=(view,)).exists()
        ]
        if not sound:
            raise RecordError(
                f"{files[0].path} is of an epoch that was not recorded: the loop was cut short; record it anew"
            )
        return sound

    def split_sizes(self) -> dict[str, int]:
        """The rows of each split that a study's clean passes go over; of other runs nothing is known."""
        whole = self.manifest["kind"] == "study" and (self.directory / "samples.parquet").exists()
        return {str(name): int(n) for name, n in self.samples["split"].value_counts().items()} if whole else {}

    def _labels(self, ids: np.ndarray, split: str | None = None) -> np.ndarray:
        return labels_of(self.samples, ids, split, self.directory, self.manifest["kind"])

    def _recorded_samples(self) -> pd.DataFrame:
        before: dict[tuple[str, str, str], np.ndarray] = {}  # epochs mostly hold the same samples, but need not
        tables = [schema.SAMPLES_SCHEMA.empty_table()]
        for file in stored_files(self.directory, "records"):
            table = read_columns(file.path, ["sample_id", "label"], schema.RECORD_SCHEMA)
            key = (file.arm, file.split, file.part)
            ids, at = np.unique(table["sample_id"].to_numpy(), return_index=True)
            labelled = np.stack([ids, table["label"].to_numpy()[at]])
            if key in before and np.array_equal(before[key], labelled):
                continue
            before[key] = labelled
            columns = {**arrays_of(table), "split": np.full(len(table), file.split, dtype=object)}
            tables.append(as_table(columns, schema.SAMPLES_SCHEMA, len(table)))
        every = to_frame(pa.concat_tables(tables)).drop_duplicates(["split", "sample_id", "label"])
        unique = every.drop_duplicates(["split", "sample_id"])
        if len(unique) < len(every):
            first = every[every.duplicated(["split", "sample_id"])].iloc[0]
            raise RecordError(
                f"{self.directory}: sample_id {first['sample_id']} of split {first['split']!r} is recorded with two "
                "labels; arms and replicas of one run share their samples: record other data in another directory"
            )
        return unique.sort_values(["sample_id", "split"], ignore_index=True)


def _read_all(path: Path, layout: pa.Schema) -> pa.Table:
    return read_columns(path, layout.names, layout)
