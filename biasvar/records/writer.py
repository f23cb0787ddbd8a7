"""Writing a run directory: checked tables, each file whole or absent, never into the run of another study."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from biasvar.errors import RecordError
from biasvar.files import locked, plain, remove_leftovers, write_bytes, write_json
from biasvar.messages import first_few
from biasvar.records import checked_tables, schema
from biasvar.records.files import table_parts, write_table, write_tables
from biasvar.records.manifest import check_manifest, read_manifest
from biasvar.records.prediction_parts import Part, in_one_if_small

__all__ = ["RunWriter"]

_IDENTITY = ("kind", "study_hash", "num_classes")


class RunWriter:
    """Write one run directory.

    ``manifest`` says what the run is: ``kind`` ("study", "recorder" or "import") and ``num_classes`` always,
    ``study_hash`` for a study; the rest is free. ``schema_version``, and ``name``, ``arms`` and ``status`` where
    absent, are filled in. With ``resume=True`` an existing run of the same study is continued: what its manifest
    already says stays, arms and keys it lacks are added. Any number of processes may write to one run, each its own
    files; changes of the manifest are made one at a time.

    Raises RecordError if the directory holds another study, another schema version, a run while ``resume`` is False,
    or anything else than a run; NotADirectoryError if it is a file; OSError if the disk refuses.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = RunWriter(folder, manifest={"kind": "recorder", "num_classes": 10})
    ...     writer.update_arm("kd", temperature=4.0)
    {'temperature': 4.0}
    """

    def __init__(self, directory: str | Path, *, manifest: Mapping[str, Any], resume: bool = False) -> None:
        self.directory = Path(directory)
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(f"{self.directory} is a file; a run needs a directory of its own")
        given = _checked(manifest, self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory):
            there = self._present(given, resume)
            merged = {**given, **there, "arms": {**given["arms"], **there.get("arms", {})}}
            if merged != there:
                write_json(self._manifest_path, merged)
        if there:
            remove_leftovers(self.directory)
        self._manifest = merged
        self.num_classes: int = merged["num_classes"]

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of the manifest as this writer last read or wrote it."""
        return copy.deepcopy(self._manifest)

    @property
    def views(self) -> tuple[str, ...]:
        """The views that a record can be of: the training pass, the clean pass, and those that the manifest names."""
        return (*schema.VIEWS, *(self._manifest.get("views") or ()))

    def update_manifest(self, **changes: Any) -> dict[str, Any]:
        """Set top-level entries of the manifest and return the whole of it; the run's identity cannot change."""
        for key in (*_IDENTITY, "schema_version", "arms"):
            if key in changes:
                use = "use update_arm" if key == "arms" else "it is what the run is"
                raise RecordError(f"manifest entry {key!r} cannot be changed this way: {use}")
        return self._change(lambda manifest: manifest.update(plain(changes)))

    def update_arm(self, arm: str, **changes: Any) -> dict[str, Any]:
        """Set entries of one arm in the manifest, making the arm if need be, and return the arm's whole entry."""
        schema.check_name(arm, "arm")

        def change(manifest: dict[str, Any]) -> None:
            manifest["arms"].setdefault(arm, {}).update(plain(changes))

        return self._change(change)["arms"][arm]

    def settle_arm(self, arm: str, **settings: Any) -> dict[str, Any]:
        """Set entries of one arm that hold for good; a mapping is settled key by key.

        Raises RecordError, naming both values, where the arm has another value already; nothing is changed then.
        """
        schema.check_name(arm, "arm")

        def change(manifest: dict[str, Any]) -> None:
            _settle(manifest["arms"].setdefault(arm, {}), plain(settings), f"{self.directory}: arm {arm!r}")

        return self._change(change)["arms"][arm]

    def count_duplicates(self, arm: str, split: str, view: str, dropped: int) -> None:
        """Add to the number of rows of an arm that were met twice in an epoch and dropped, by split and view."""

        def change(manifest: dict[str, Any]) -> None:
            counts = manifest["arms"].setdefault(arm, {}).setdefault("duplicates_dropped", {}).setdefault(split, {})
            counts[view] = counts.get(view, 0) + dropped

        if dropped:
            self._change(change)

    def recording(self, arm: str, place: str, status: Literal["running", "complete"]) -> None:
        """Note that a recorder of an arm begins or has ended; the run is complete when all of them have.

        ``place`` tells it from others of the arm, such as "test clean 003": split, view and training group.
        """

        def change(manifest: dict[str, Any]) -> None:
            manifest["arms"].setdefault(arm, {}).setdefault("recording", {})[place] = status
            every = [state for entry in manifest["arms"].values() for state in (entry.get("recording") or {}).values()]
            manifest["status"] = "complete" if set(every) == {"complete"} else "running"

        self._change(change)

    def study(self, text: str) -> Path:
        """Save the resolved study file (YAML text)."""
        path = self.directory / "study.yaml"
        write_bytes(path, text.encode())
        return path

    def record(
        self,
        arm: str,
        split: str,
        view: str,
        epoch: int,
        group: int,
        columns: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> Path:
        """Write the record of one training group at one epoch; when this returns it is safe on disk.

        ``columns`` maps the names of :data:`biasvar.records.schema.RECORD_SCHEMA` to arrays of equal length (float64 is
        rounded to float32); rows may come in any order. Without a teacher leave its columns out: they become nulls.
        ``metadata`` is kept in the file, usually ``temperature`` and ``reference_teacher``.

        Raises RecordError, before anything is written, for columns that do not fit, a sample twice in a replica, and
        an epoch that is there already (unless ``replace``): of several writers of one epoch, one succeeds.
        """
        path = schema.record_path(self.directory, arm, split, view, epoch, group, views=self.views)
        where = f"record of arm {arm!r}, split {split!r}, view {view!r}, epoch {epoch}"
        table, replicas = checked_tables.record_table(columns, where, self.num_classes)
        entries = {"temperature": None, "reference_teacher": None, **plain(metadata or {})}
        entries.update(arm=arm, split=split, view=view, epoch=int(epoch), replicas=replicas)
        try:
            write_table(path, table, schema.metadata_of(**entries), exclusive=not replace)
        except FileExistsError:
            raise RecordError(
                f"{path} exists: {where}, replica {first_few(replicas)} is already recorded; records do not change. "
                "Go on from a later epoch, name another replica or arm, or pass replace=True"
            ) from None
        return path

    def predictions(
        self,
        arm: str,
        split: str,
        membership: str,
        epoch: int,
        group: int,
        sample_ids: Any,
        counts: Any,
        mean_log_probs: Any,
        groups: Any = None,
        of: str = "students",
    ) -> Path:
        """Write counts (G, N) and mean log-probabilities (G, N, C) at temperature 1, nats.

        Row g is group ``groups[g]`` (default g) of the jackknife: replica r belongs to group r mod G. ``group`` is the
        training group, as in :meth:`record`; what several files hold of one jackknife group is merged in reading. Where
        a count is 0 (no replica of the group qualifies) zeros are stored, whatever was given. ``of`` "teacher": the
        answers of teachers that train along, one for each replica.
        """
        with self.open_predictions(arm, split, membership, epoch, group, groups, of) as add:
            add(sample_ids, counts, mean_log_probs)
        return schema.prediction_path(self.directory, arm, split, membership, epoch, group, of=of)

    @contextmanager
    def open_predictions(
        self,
        arm: str,
        split: str,
        membership: str,
        epoch: int,
        group: int,
        groups: Any = None,
        of: str = "students",
        *,
        logits: bool = False,
    ) -> Iterator[Callable[[Any, Any, Any], None]]:
        """What :meth:`predictions` writes, in parts of rows with increasing sample_ids of which one is in memory.

        Gives what adds a part: sample_ids (n,), counts (G, n), mean_log_probs (G, n, C), or with ``logits`` those, of
        groups of one replica. The file is there, whole, when the block ends without an error.
        """
        path = schema.prediction_path(self.directory, arm, split, membership, epoch, group, of=of)
        where = f"predictions of arm {arm!r}, split {split!r}, membership {membership!r}, epoch {epoch}"
        entries: dict[str, Any] = {"arm": arm, "split": split, "membership": membership, "epoch": int(epoch)}
        if of != "students":
            entries["of"] = of
        if logits:
            entries["schema_version"] = schema.LOGITS_VERSION
        layout, last = schema.prediction_schema(self.num_classes, logits=logits), None
        with table_parts(path, layout, schema.metadata_of(**entries)) as write:

            def add(sample_ids: Any, counts: Any, values: Any) -> None:
                nonlocal last
                table = checked_tables.prediction_table(
                    sample_ids, counts, values, groups, where, self.num_classes, logits=logits
                )
                ids = table.column("sample_id").to_numpy()
                if last is not None and len(ids) and ids.min() <= last:
                    raise RecordError(
                        f"{where}: sample_id {ids.min()} is not above {last}, the last of the part before"
                    )
                last = ids.max() if len(ids) else last
                write(table)

            yield add

    def view_predictions(
        self,
        arm: str,
        split: str,
        view: str,
        epoch: int,
        group: int,
        sample_ids: Any,
        counts: Any,
        values: Any,
        groups: Any = None,
        *,
        logits: bool = False,
    ) -> Path:
        """Write what :meth:`open_predictions` writes, of all replicas on a further view that the manifest names."""
        schema.one_of(view, self.manifest.get("views") or (), "view")
        path = schema.view_prediction_path(self.directory, arm, split, view, epoch, group)
        where = f"predictions of arm {arm!r}, split {split!r}, view {view!r}, epoch {epoch}"
        table = checked_tables.prediction_table(
            sample_ids, counts, values, groups, where, self.num_classes, logits=logits
        )
        version = schema.LOGITS_VERSION if logits else schema.SCHEMA_VERSION
        about = {"arm": arm, "split": split, "view": view, "epoch": int(epoch), "schema_version": version}
        write_table(path, table, schema.metadata_of(**about))
        return path

    def prediction_parts(
        self, arm: str, split: str, membership: str, epoch: int, group: int, sample_ids: Any, parts: Iterable[Part]
    ) -> Path:
        """The same from parts of rows, one in memory at a time, by group and in the order of rising sample ids (N,)."""
        path = schema.prediction_path(self.directory, arm, split, membership, epoch, group)
        where = f"predictions of arm {arm!r}, split {split!r}, membership {membership!r}, epoch {epoch}"
        entries = {"arm": arm, "split": split, "membership": membership, "epoch": int(epoch)}
        tables = (
            checked_tables.prediction_table(
                sample_ids[part.rows], part.counts[None], part.means[None], [part.group], where, self.num_classes
            )
            for part in parts
        )
        layout = schema.prediction_schema(self.num_classes)
        write_tables(path, layout, in_one_if_small(tables, self.num_classes), schema.metadata_of(**entries))
        return path

    def metrics(self, arm: str, group: int, frame: Any) -> Path:
        """Write the per-epoch numbers of one training group (a frame or a mapping of columns), replacing the file."""
        path = schema.metrics_path(self.directory, arm, group)
        table = checked_tables.frame_table(frame, schema.METRIC_SCHEMA, schema.METRIC_KEYS, f"metrics of arm {arm!r}")
        others = set(table.column("arm").to_pylist()) - {arm}
        if others:
            raise RecordError(f"metrics of arm {arm!r}: the column 'arm' also names {', '.join(sorted(others))}")
        for name in table.column("view").unique().to_pylist():
            schema.one_of(name, self.views, f"view in the metrics of arm {arm!r},")
        write_table(path, table, schema.metadata_of(arm=arm))
        return path

    def method_table(self, table: str, arm: str, group: int, frame: Any) -> Path:
        """Write one of `biasvar.records.schema.METHOD_TABLES` of one training group, replacing the file."""
        path = schema.method_table_path(self.directory, table, arm, group)
        wanted, keys = schema.METHOD_TABLES[table]
        content = checked_tables.frame_table(frame, wanted, keys, f"{table} of arm {arm!r}")
        write_table(path, content, schema.metadata_of(arm=arm))
        return path

    def teacher(self, name: str, sample_ids: Any, logits: Any, member: Any, *, replicas: Any = None) -> Path:
        """Write a teacher's logits on every sample and whether each was in its training rows.

        One teacher for all replicas: logits (N, C), member (N,). One a replica: (R, N, C) and (R, N), for ``replicas``
        (default 0 to R - 1).
        """
        path = schema.teacher_path(self.directory, name)
        table = checked_tables.teacher_table(
            sample_ids, logits, member, replicas, f"teacher {name!r}", self.num_classes
        )
        write_table(path, table, schema.metadata_of(teacher=name))
        return path

    def soft_labels(self, name: str, sample_ids: Any, values: Any) -> Path:
        """Write the soft labels (N, C), or (R, N, C) where each replica has its own, that arms learn from."""
        table = checked_tables.soft_label_table(sample_ids, values, f"soft labels {name!r}", self.num_classes)
        path = schema.soft_label_path(self.directory, name)
        write_table(path, table, schema.metadata_of(soft_label=name))
        return path

    def teacher_epochs(self, name: str, frame: Any) -> Path:
        """Write a teacher's accuracy and indicators through its training."""
        where = f"epochs of teacher {name!r}"
        table = checked_tables.frame_table(frame, schema.teacher_epochs_schema(), schema.TEACHER_EPOCH_KEYS, where)
        path = schema.teacher_epochs_path(self.directory, name)
        write_table(path, table, schema.metadata_of(teacher=name))
        return path

    def samples(self, sample_ids: Any, labels: Any, splits: Any, pool: Any = None) -> Path:
        """Write every sample's label, split (one name, or one a sample) and pool ("student", "reserved" or None)."""
        table = checked_tables.samples_table(sample_ids, labels, splits, pool, self.num_classes)
        return self._write("samples.parquet", table)

    def membership(self, sample_ids: Any, multiplicity: Any, *, replicas: Any = None) -> Path:
        """Write the students' draws: multiplicity (R, N), whole numbers or bool, 0 where the sample was not drawn."""
        return self._write("membership.parquet", checked_tables.membership_table(sample_ids, multiplicity, replicas))

    def tuning(self, frame: Any) -> Path:
        """Write the learning-rate grid and which rate was chosen."""
        keys = ("family", "arm", "learning_rate", "replica")
        return self._write("tuning.parquet", checked_tables.frame_table(frame, schema.TUNING_SCHEMA, keys, "tuning"))

    @property
    def _manifest_path(self) -> Path:
        return self.directory / "manifest.json"

    def _write(self, name: str, table: Any) -> Path:
        path = self.directory / name
        write_table(path, table, schema.metadata_of())
        return path

    def _change(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        with locked(self.directory):
            manifest = read_manifest(self.directory)
            before = copy.deepcopy(manifest)
            change(manifest)
            if manifest != before:
                check_manifest(manifest, f"the manifest of {self.directory} was not changed")
                write_json(self._manifest_path, manifest)
        self._manifest = manifest
        return self.manifest

    def _present(self, given: dict[str, Any], resume: bool) -> dict[str, Any]:
        """The manifest that is there, if it is this run's and may be continued; empty if nothing is there."""
        if not self._manifest_path.exists():
            visible = sorted(entry.name for entry in self.directory.iterdir() if not entry.name.startswith("."))
            if visible:
                raise RecordError(
                    f"{self.directory} is not empty and holds no run (it has {first_few(visible, 3)}); "
                    f"name a new or an empty directory"
                )
            return {}
        there = read_manifest(self.directory)
        if there["schema_version"] != schema.SCHEMA_VERSION:
            raise RecordError(
                f"{self.directory} was written with schema version {there['schema_version']}, this biasvar writes "
                f"{schema.SCHEMA_VERSION}; name another directory"
            )
        for key in _IDENTITY:
            if there.get(key) != given.get(key):
                raise RecordError(
                    f"{self.directory} holds another run, {there.get('name')!r}: its {key} is {there.get(key)!r}, not "
                    f"{given.get(key)!r}; name another directory, or delete this one if it is no longer needed"
                )
        if not resume:
            raise RecordError(
                f"{self.directory} already holds the run {there.get('name')!r} (status {there.get('status')!r}); "
                "pass resume=True to continue it, or name another directory"
            )
        return there


def _checked(manifest: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    given: dict[str, Any] = plain(manifest)
    schema.one_of(given.get("kind"), schema.KINDS, "kind in the manifest,")
    classes = given.get("num_classes")
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 1:
        raise RecordError(f"manifest: num_classes must be a whole number above 0, not {classes!r}")
    if given["kind"] == "study" and not given.get("study_hash"):
        raise RecordError("manifest: a study needs its study_hash, by which the directory is recognised")
    for arm in given.get("arms", {}):
        schema.check_name(arm, "arm")
    given["schema_version"] = schema.SCHEMA_VERSION
    defaults = {"name": directory.resolve().name, "arms": {}, "status": "running"}
    checked = {**defaults, **given}
    check_manifest(checked, f"the manifest of {directory} was not written")
    return checked


def _settle(entry: dict[str, Any], settings: dict[str, Any], where: str, prefix: str = "") -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            _settle(entry.setdefault(key, {}), value, where, f"{prefix}{key} of ")
        elif entry.get(key, value) != value:
            raise RecordError(
                f"{where} was recorded with {prefix}{key} {entry[key]!r}, not {value!r}; "
                "go on with the former, or name another arm"
            )
        else:
            entry[key] = value
