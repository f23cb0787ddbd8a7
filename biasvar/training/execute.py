"""Run a study from its resolved description to a finished run directory; start it again and it goes on.

The order is: samples and draws, teachers, learning rates, arms. Each piece is skipped when it is on disk already, an
arm that was cut off goes on from its last checkpoint, and what comes out is the same, byte for byte on a CPU with the
same number of threads.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biasvar.data.streaming import UnreadableImage
from biasvar.errors import RecordError
from biasvar.messages import first_few, note
from biasvar.progress import Progress
from biasvar.records import Run, RunWriter, open_run
from biasvar.records.checked_tables import membership_table, samples_table
from biasvar.records.sample_names import SampleNames, settle_sample_names
from biasvar.study import Study
from biasvar.training.checks import check_begun, check_sources, open_study
from biasvar.training.completeness import arm_fault, holds, is_whole, whole_table, written_teachers
from biasvar.training.context import StudyContext
from biasvar.training.continuing import (
    SESSION,
    asks_for_more,
    check_same_data,
    check_same_study,
    has_mended,
    restate,
    sessions_with,
)
from biasvar.training.cost import cost_of_arm, steps_of
from biasvar.training.custom_networks import source_hashes
from biasvar.training.divided import check_divided
from biasvar.training.engine import AUTO, agree, check_engine, chosen
from biasvar.training.manifest import arm_entry, arm_outcome, study_manifest
from biasvar.training.over_devices import over_devices
from biasvar.training.replicas import groups_of
from biasvar.training.reuse import identity_of, take_over
from biasvar.training.soft_targets import soft_label_table
from biasvar.training.tasks import Task, Work, amount, work
from biasvar.training.teaching_tasks import (
    STUDENT_TEACHER,
    VIEWS,
    asked_of,
    student_teacher_tasks,
    teacher_tasks,
    view_tasks,
    which_replicas,
)
from biasvar.training.tuning import cost_of_tuning, learning_rates, tuning_path
from biasvar.training.unreadable import forget_unreadable, noted_sizes
from biasvar.training.workers import MakeExecutor, check_guarded, make_executor, train_group


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_study(
    study: Study,
    directory: str | Path,
    *,
    device: torch.device | str | None = None,
    devices: int = 1,
    jobs: int = 1,
    called: str = "",
    teachers_only: bool = False,
    engine: str | None = None,
    executors: MakeExecutor = make_executor,
) -> Run:
    """Train every arm of a study that `directory` does not hold yet.

    Args:
        study: A validated study.
        directory: The run directory, made when absent.
        device: Default: CUDA where there is one, else the CPU.
        devices: How many devices of its kind train every network together, a process each
            (`biasvar.training.over_devices`); needs the extra "fabric", and `jobs=1`.
        jobs: Processes that train side by side, each a teacher or a group of replicas at a time; changes no number.
        called: What progress is shown as; default: the study's name.
        teachers_only: Stop after the teachers that all replicas share; the run is not complete, and can go on later.
        engine: How networks for images run, see `biasvar.training.engine.chosen`.
        executors: Makes what runs `jobs` tasks at a time.

    Raises:
        RecordError: The directory holds another study, or was begun with other data or another engine.
        ValueError: No engine has that name.
        BiasvarError: A worker process was lost, or a script that workers import calls this without a guard.
    """
    check_guarded()
    if engine is not None:
        check_engine(engine)
        if not _has_engines(study) and engine != AUTO:
            raise ValueError(f"engine {engine}: is for networks for images that train one by one (backend: sequential)")
    device = torch.device(device) if device is not None else default_device()
    torch.set_num_threads(study.threads)
    check_same_study(study, Path(directory))
    context = open_study(study, directory, device)
    check_begun(study, Path(directory))
    check_same_data(context)
    check_divided(context, devices, jobs)
    with _going_on_with_whole_files(), over_devices(context, devices) as context.ranks:
        return _run(
            study, context, directory, jobs=jobs, called=called, teachers_only=teachers_only, engine=engine,
            executors=executors,
        )  # fmt: skip


@contextmanager
def _going_on_with_whole_files() -> Iterator[None]:
    """An image that cannot be read in the block leaves a run that goes on once it can: its error says so."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(f"{error}, and the same command goes on from what was recorded", error.sample) from None


def _run(
    study: Study, context: StudyContext, directory: str | Path, *, jobs: int, called: str, teachers_only: bool,
    engine: str | None, executors: MakeExecutor,
) -> Run:  # fmt: skip
    """Train what a directory does not hold yet, once everything was checked."""
    device = context.device
    entries = study_manifest(study, context)
    writer = RunWriter(directory, manifest=entries, resume=True)
    check_sources(writer.manifest.get("sources", {}), study, writer.directory)
    if has_mended(context, writer.manifest["data"]):
        note(f"{directory} goes on with whole files in place of {first_few(noted_sizes(writer.directory))}")
        writer.update_manifest(data=entries["data"])
        forget_unreadable(writer.directory)
    _rename(writer, study)
    _settle_engine(writer, context, engine)
    _write_samples(writer, context)
    left = [] if teachers_only else [name for name in study.order() if not _is_complete(writer, study, name)]
    if writer.manifest["status"] == "complete" and not left and is_whole(writer, study):
        return open_run(directory)
    sessions, changes = sessions_with(writer.manifest, {key: entries[key] for key in SESSION})
    if changes:
        note(f"{directory} goes on under {changes}; its provenance lists both")
    writer.update_manifest(status="running", sources=source_hashes(study), sessions=sessions)
    writer.study(study.to_yaml())
    written = written_teachers(writer)
    wanted = study.shared_teachers if teachers_only else study.teachers
    teachers = [name for name in wanted if name not in written]
    families = {} if teachers_only or whole_table(tuning_path(writer)) else study.learning_rate.families
    teaching = teacher_tasks(writer, context, teachers)
    groups = groups_of(study.backend, range(study.replicas))
    rates = len(study.learning_rate.grid)
    to_teach, teachings = amount(teaching)
    pieces = teachings + len(families) * rates + len(left) * len(groups)
    tuning = sum(cost_of_tuning(context, arm) for arm in families.values()) * rates
    training = sum(cost_of_arm(context, name, len(group)) for name in left for group in groups)
    jobs = min(jobs, len(teaching) + len(families) * rates + len(left) * len(groups))
    with (
        executors(study, writer.directory, device, jobs, context.ranks) as executor,
        Progress(to_teach + tuning + training, pieces, called=called or study.name) as progress,
    ):
        working = partial(work, executor, jobs, progress)
        for key, entry in working(teaching):
            if isinstance(key, str):
                _note_teacher(writer, key, entry)
        if teachers_only:
            return open_run(directory)
        chosen = learning_rates(writer, context, working, progress)
        _train_arms(writer, context, left, chosen, working, progress)
    observing = context.observing(study.data.label_noise)
    for name in study.soft_labels:
        writer.soft_labels(name, context.blocks["student"], soft_label_table(observing, name))
    faults = [fault for name in study.arms if (fault := arm_fault(writer, study, name))]
    if faults:  # of files that no training writes anew
        raise RecordError(f"{writer.directory} is not complete: {faults[0]}")
    writer.update_manifest(status="complete")
    return open_run(directory)


def _has_engines(study: Study) -> bool:
    return study.student.model != "mlp" and study.backend == "sequential"


def _settle_engine(writer: RunWriter, context: StudyContext, asked: str | None) -> None:
    """Note in the manifest how networks run, unless that was settled when the run was begun."""
    if "engine" in writer.manifest or writer.manifest.get("sessions"):
        agree(writer.manifest, asked, writer.directory)
        return
    study, images = context.study, context.dataset.images
    if not _has_engines(study):
        return
    asked = asked or (AUTO if context.device.type == "cuda" else "channels_last")
    shape = (study.schedule.batch_size, *(images.shape[3:] or (1,)), *images.shape[1:3])
    entry = chosen(
        asked, partial(context.student, study.student, "init", 0), shape, context.dataset.num_classes,
        device=context.device, steps=steps_of(context), precision=study.schedule.precision,
    )  # fmt: skip
    writer.update_manifest(engine=entry)


def _rename(writer: RunWriter, study: Study) -> None:
    """Take over the title, the labels and what the study says of itself, which are no part of a study's identity."""
    manifest = writer.manifest
    text = restate(study, writer.directory)
    if text is not None:
        writer.study(text)
    if manifest.get("title") != study.title:
        writer.update_manifest(title=study.title)
    for name, arm in study.arms.items():
        if manifest["arms"][name].get("label") != arm.label:
            writer.update_arm(name, label=arm.label)


def _is_complete(writer: RunWriter, study: Study, arm: str) -> bool:
    """True if an arm was trained to its end and its files are there and in their place; else it is made again."""
    if writer.manifest["arms"].get(arm, {}).get("status") != "complete":
        return False
    fault = arm_fault(writer, study, arm)
    if fault is not None:
        note(f"arm {arm} is trained again: {fault}{asks_for_more(study, writer.directory, arm)}")
    return fault is None


def _train_arms(
    writer: RunWriter,
    context: StudyContext,
    left: list[str],
    rates: dict[str, float],
    working: Work,
    progress: Progress,
) -> None:
    """Train the arms that are left, group by group, each once the arms whose record it uses are done.

    Groups that a run holds with which the study shares arms are taken over.
    """
    study = context.study
    groups = groups_of(study.backend, range(study.replicas))
    identities: dict[str, str] = {}
    for name in study.order():
        identities[name] = identity_of(context, name, rates[study.arms[name].family], identities)
    for name in left:
        writer.update_arm(name, **arm_entry(context, name, rates), identity=identities[name])
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in left}

    def done(name: str, outcome: dict[str, Any]) -> None:
        outcomes[name].append(outcome)
        if len(outcomes[name]) == len(groups):
            writer.update_arm(name, **arm_outcome(writer.directory, name, outcomes[name]))
            shutil.rmtree(writer.directory / "checkpoints" / f"arm={name}", ignore_errors=True)

    missing = []
    for name in left:
        for number in range(len(groups)):
            outcome = take_over(writer, study, name, number, identities[name])
            if outcome is None:
                missing.append((name, number))
            else:
                done(name, outcome)
                progress.update(cost_of_arm(context, name, len(groups[number])), 1)
    tasks: dict[Any, Task] = {**student_teacher_tasks(context, writer, left), **view_tasks(context, missing)}
    progress.expect(*amount(tasks))
    for name, number in missing:
        used = {(other, n) for other in study.uses(name) for n in range(len(groups))}
        asked = {(VIEWS, *asked_of(study, name, r)) for r in groups[number]} | {
            (STUDENT_TEACHER, study.scored_against(name))
        }
        rate = rates[study.arms[name].family]
        words = f"arm {name}{which_replicas(groups[number]) if len(groups) > 1 else ''}"
        cost = cost_of_arm(context, name, len(groups[number]))
        tasks[name, number] = Task(train_group, (name, number, rate), words, cost, frozenset(used | asked))
    for key, outcome in working(tasks):
        if key[0] == STUDENT_TEACHER:
            _note_teacher(writer, key[1], outcome)
        elif key[0] != VIEWS:
            done(key[0], outcome)
    shutil.rmtree(writer.directory / "checkpoints", ignore_errors=True)


def _note_teacher(writer: RunWriter, name: str, entry: dict[str, Any]) -> None:
    writer.update_manifest(teachers={**writer.manifest.get("teachers", {}), name: entry})


def _write_samples(writer: RunWriter, context: StudyContext) -> None:
    """Write the tables of samples and draws, unless they are there: labels that were changed are other numbers.

    Where every sample is a file, `Run.sample_names` has their names.
    """
    ids = context.used_ids
    split = np.full(len(ids), "train", dtype=object)
    pool = np.full(len(ids), None, dtype=object)
    for name, block in context.blocks.items():
        held_out = name in ("test", "validation")
        (split if held_out else pool)[np.isin(ids, block)] = name
    labels, drawn = context.dataset.labels[ids], context.draw(range(context.study.replicas))
    if not holds(writer.directory / "samples.parquet", samples_table(ids, labels, split, pool, writer.num_classes)):
        writer.samples(ids, labels, split, pool)
    if not holds(writer.directory / "membership.parquet", membership_table(context.blocks["student"], drawn, None)):
        writer.membership(context.blocks["student"], drawn)
    if context.dataset.files is not None:
        names = SampleNames(context.dataset.files)
        for name in sorted(set(split.tolist())):
            settle_sample_names(writer.directory, name, names)
