"""What of a study is on disk, whole and in its place: the rest is made again when the study is run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.errors import RecordError, ShortageError
from biasvar.files import unreadable
from biasvar.records import Run, RunWriter
from biasvar.records.placement import check_place, check_records, read_metrics
from biasvar.records.schema import soft_label_path, teacher_path
from biasvar.records.stored_files import SAMPLE_FOLDERS, UNREADABLE, footer, stored_files
from biasvar.study import Study
from biasvar.training.checkpoints import file_hashes
from biasvar.training.replicas import groups_of
from biasvar.training.reuse import needed_files


def arm_fault(writer: RunWriter, study: Study, name: str) -> str | None:
    """What is wrong with the files of an arm that was trained to its end: missing, damaged, misplaced; None if nothing.

    Footers are read, of weights the hashes.
    """
    entry = writer.manifest["arms"].get(name, {})
    run = Run(writer.directory, writer.manifest)
    lost = {item["replica"] for item in entry.get("failed_replicas") or () if item["reason"] == "not finite"}
    for number, replicas in enumerate(groups_of(study.backend, range(study.replicas))):
        for path in needed_files(writer.directory, study, name, number):
            if not path.is_file() and not ("records" in path.parts and lost.issuperset(replicas)):
                return f"{path} is missing"
    _refuse_copies(writer, study, name)

    def check() -> None:
        for folder in _folders(writer, name):
            files = stored_files(writer.directory, folder, arm=name)
            if folder == "records":
                check_records(files, writer.manifest, run.split_sizes())
            for file in files:
                check_place(file, "study")
        read_metrics(writer.directory, name, writer.manifest)
        if run.prediction_epochs(name):
            run.predictions(name)
        if study.arms[name].own_teacher:
            run.predictions(name, of="teacher")
        for view in run.views:
            run.predictions(name, view=view)

    fault = _fault_of(check)
    kept = entry.get("weights_sha256")
    if fault is None and kept and file_hashes(writer.directory / "weights" / f"arm={name}") != kept:
        fault = f"{writer.directory / 'weights' / f'arm={name}'} holds other weights than those that were trained"
    return fault


def _refuse_copies(writer: RunWriter, study: Study, name: str) -> None:
    """Raise RecordError for a file that no training of the arm writes: training again would not remove it."""
    groups = len(groups_of(study.backend, range(study.replicas)))
    kind = "replica" if groups == study.replicas else "group"
    for folder in _folders(writer, name):
        for file in stored_files(writer.directory, folder, arm=name):
            if file.group >= groups:
                raise RecordError(
                    f"{file.path} is named as that of {kind} {file.group}, but those of arm {name!r} are 0 to "
                    f"{groups - 1}; was it copied? Delete it, then run the study again"
                )


def _folders(writer: RunWriter, arm: str) -> list[str]:
    """The folders with records and predictions of an arm."""
    return [folder for folder in SAMPLE_FOLDERS if (writer.directory / folder / f"arm={arm}").is_dir()]


def holds(path: Path, table: pa.Table) -> bool:
    """True if a Parquet file is there, can be read, and holds this table."""
    return whole_table(path) and pq.read_table(path).equals(table)


def whole_table(path: Path, **about: Any) -> bool:
    """True if a Parquet file is there, can be read as a whole, and says these things of itself, if it says any."""

    def check() -> None:
        try:
            pq.read_table(path)
        except UNREADABLE as error:
            raise unreadable(path, error, "Parquet") from None
        said = footer(path)
        for key, value in about.items():
            if said.get(key, value) != value:
                raise RecordError(f"{path} is of another {key}")

    return path.is_file() and _fault_of(check) is None


def written_teachers(writer: RunWriter) -> set[str]:
    """The teachers whose files are there; those that were taken away, damaged or swapped are made again."""
    names = writer.manifest.get("teachers") or {}
    return {
        name
        for name in names
        if whole_table(teacher_path(writer.directory, name), teacher=name) and not lost_weights(writer, name)
    }


def lost_weights(writer: RunWriter, name: str) -> set[str]:
    """The files of a teacher's weights that are missing, or other than those that were trained.

    None of a teacher that is not finished, and of an arm whose students teach: its own weights are looked at.
    """
    entry = (writer.manifest.get("teachers") or {}).get(name) or {}
    kept = {} if "arm" in entry else entry.get("weights_sha256") or {}
    there = file_hashes(writer.directory / "weights" / f"teacher={name}")
    return {file for file, digest in kept.items() if there.get(file) != digest}


def is_whole(writer: RunWriter, study: Study) -> bool:
    """True if everything of a study but its arms is on disk."""
    directory = writer.directory
    tables = [
        "samples.parquet",
        "membership.parquet",
        *(["tuning.parquet"] if study.learning_rate.value is None else []),
    ]
    return (
        (directory / "study.yaml").is_file()
        and all(whole_table(directory / name) for name in tables)
        and set(study.teachers) <= written_teachers(writer)
        and all(whole_table(soft_label_path(directory, name), soft_label=name) for name in study.soft_labels)
    )


def _fault_of(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ShortageError:
        raise
    except (RecordError, FileNotFoundError) as error:
        return str(error)
    return None
