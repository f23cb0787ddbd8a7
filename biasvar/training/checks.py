"""Checks before anything is trained: a study goes with its data, and is the one that the run was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from biasvar.data import Dataset, load_dataset
from biasvar.data.crops import CentreCrop
from biasvar.data.datasets import MODES
from biasvar.data.held_out import hold_out_classes
from biasvar.data.human_labels import load_people
from biasvar.data.layout import KNOWN
from biasvar.data.made import made_dataset
from biasvar.errors import RecordError, StudyError
from biasvar.messages import first_few
from biasvar.records.manifest import check_agreement, read_manifest
from biasvar.study import Study
from biasvar.study.schema import Data
from biasvar.training.context import StudyContext
from biasvar.training.custom_networks import load_network, source_hashes
from biasvar.training.few_shots import check_few_shots
from biasvar.training.given_teachers import check_given_teachers
from biasvar.training.hooks import Fault, check_settings, named
from biasvar.training.methods import method_of
from biasvar.training.networks import smallest_image
from biasvar.training.soft_label_files import check_soft_labels
from biasvar.training.teachers import teacher_rows
from biasvar.training.view_images import check_views


def open_study(study: Study, directory: str | Path, device: torch.device, *, make_absent: bool = False) -> StudyContext:
    """Load a study's data and check that it can be run; nothing is written.

    Args:
        study: A validated study.
        directory: The run directory, which need not exist.
        device: Where everything is to be trained.
        make_absent: Make images in place of a known data set that is not here, for a dry run.

    Raises:
        StudyError: A network or a soft label does not go with the data.
        ValueError: Rows that the data set does not have.
        BiasvarError: The data, or a file of soft labels, cannot be read.
    """
    dataset, held_out = _load_data(study.data, make_absent), None
    if study.data.few_shots:
        dataset, held_out = _without_held_out(study, dataset)
    check_views(study.data, dataset)
    check_networks(study, dataset.images.shape[1:], dataset.num_classes)
    context = StudyContext.of(study, dataset, directory, device)
    context.held_out = held_out
    pool = context.blocks["student"]
    check_soft_labels(study, dataset, pool)
    context.rows([0])  # draws that cannot be are refused here
    for name, teacher in study.teachers.items():
        if teacher.is_trained:
            teacher_rows(context, name)
    check_given_teachers(context)
    for name in study.arms:
        check_method(context, name)
    check_few_shots(context)
    _check_label_noise(context)
    peoples = {people for source in study.soft_labels.values() if (people := source.get("people"))}
    for people in sorted(peoples if not dataset.made else ()):  # which are of the data set's own images
        load_people(people, dataset).take(pool)
    return context


def _check_label_noise(context: StudyContext) -> None:
    """Raise StudyError for label noise that no row has: of less than one row, or of one that is shuffled."""
    study, rows = context.study, len(context.blocks["student"])
    noises = {"data": study.data.label_noise, **{f"arms.{name}": arm.label_noise for name, arm in study.arms.items()}}
    for place, noise in noises.items():
        least = 2 if noise is not None and noise.kind == "shuffle" else 1
        if noise is not None and noise.share and round(noise.share * rows) < least:
            raise StudyError(
                f"{place}.label_noise.share: {noise.share:g} of the {rows:,} training rows of students is "
                f"{round(noise.share * rows)}, and {noise.kind} needs {least}; take 0, or a larger share"
            )


def _load_data(data: Data, make_absent: bool) -> Dataset:
    """The data set of a study, as it says; made images for a known one that is not here, where that is asked for.

    Raises:
        StudyError: Its images are to be made larger, or it has none.
    """
    try:
        return _read_data(data)
    except FileNotFoundError:
        if not make_absent or data.path is not None or data.name not in KNOWN:
            raise
        size = data.size if data.streamed is None else data.streamed.image_size
        return made_dataset(data.name, size=size, mode=data.mode)


def _read_data(data: Data) -> Dataset:
    place = data.path or data.name
    own: dict[str, Any] = {} if data.label_column is None else {"label_column": data.label_column}
    if data.streamed is not None:
        own["streamed"] = CentreCrop(data.streamed.image_size, data.streamed.resize)
    if data.size is None and data.mode is None:
        return load_dataset(place, **own)
    try:
        return load_dataset(place, size=data.size, mode=MODES[data.mode] if data.mode else None, **own)
    except ValueError as error:
        raise StudyError(f"data: {error}") from error


def _without_held_out(study: Study, dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The data set without the classes of few-shot episodes, and these.

    Raises:
        StudyError: Fewer than two classes would remain.
    """
    assert study.data.few_shots is not None
    try:
        return hold_out_classes(dataset, study.data.few_shots.classes, seed=study.seed)
    except ValueError as error:
        raise StudyError(f"data.few_shots.classes: {error}") from error


def check_networks(study: Study, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise unless the student's network and each teacher's takes the images and gives one logit a class.

    Args:
        study: Names the networks.
        image_shape: (H, W) or (H, W, C) of the data's images; (D,) of a data set of features.
        num_classes: Of the data.

    Raises:
        StudyError: Names the key of the study, the network, what it does and what is expected.
    """
    students = {"student": study.student}
    students |= {f"arms.{name}.student": arm.student for name, arm in study.arms.items() if arm.student}
    used = {
        "student": study.student.model,
        **{f"teachers.{name}": t.model for name, t in study.teachers.items() if t.is_network},
    }
    used |= {key: network.model for key, network in students.items()}
    used |= {f"arms.{name}.joint_teacher": model for name, arm in study.arms.items() for model in arm.models}
    widths = {key: network.width for key, network in students.items()}
    if len(image_shape) == 1:
        wrong = [key for key, model in used.items() if model != "mlp"]
        if wrong:
            raise StudyError(
                f"{wrong[0]}.model: {used[wrong[0]]} takes images, the rows of {study.data.name} are vectors of "
                f"{image_shape[0]:,} features; use model mlp"
            )
        return
    size = (image_shape[0], image_shape[1])
    channels = image_shape[2] if len(image_shape) == 3 else 1
    tried: set[tuple[str, int | None]] = set()
    for key, model in used.items():
        width = widths.get(key)
        if model == "mlp" or (model, width) in tried:
            continue
        tried.add((model, width))
        if ":" in model:
            try:
                with torch.random.fork_rng(devices=[]):
                    load_network(
                        model, in_channels=channels, num_classes=num_classes, image_size=size,
                        options={} if width is None else {"width": width},
                    )  # fmt: skip
            except ValueError as error:
                raise StudyError(f"{key}.{'model' if width is None else 'width'}: {error}") from error
        elif min(size) < (smallest := smallest_image(model)):
            raise StudyError(
                f"{key}.model: {model} takes images of at least {smallest}x{smallest} pixels, those of "
                f"{study.data.name} have {size[1]}x{size[0]}; use model mlp, or your own as package.module:factory"
            )


def check_method(context: StudyContext, arm: str) -> None:
    """Raise unless an arm's method can be run in the study.

    Raises:
        StudyError: Names the arm, what its method needs, and what to do.
    """
    study, place = context.study, f"arms.{arm}.loss"
    name = study.arms[arm].loss
    with named(arm, study.arms[arm]):
        try:
            method = method_of(study.arms[arm])
        except ValueError as error:
            raise StudyError(f"{place}: {error}") from error
        check_settings(method, study.schedule.epochs)
    if study.backend == "batched" and (method.features or not method.batched):
        raise StudyError(f"{place}: {name} trains one replica at a time; use backend: sequential")
    if {"teacher", "clean teacher"}.intersection(method.needs) and study.scored_against(arm) is None:
        raise StudyError(f"{place}: {name} needs a teacher; name one as teacher or as the study's reference_teacher")
    with named(arm, study.arms[arm]):
        try:
            method.check(context)
        except Fault:
            raise
        except ValueError as error:
            raise StudyError(f"arms.{arm}.{error}") from error


def check_begun(study: Study, directory: Path) -> None:
    """Raise RecordError, naming the key, where the manifest of a run that was begun contradicts its study.

    Args:
        study: A study; a run of another one is left for the writer to refuse.
        directory: The run directory, which need not exist.
    """
    path = directory / "manifest.json"
    if path.is_file() and (manifest := read_manifest(directory)).get("study_hash") in study.hashes:
        check_agreement(manifest, study.model_dump(mode="json"), f"{path} is damaged")


def check_sources(recorded: Mapping[str, str], study: Study, directory: Path) -> None:
    """Raise if a source was changed since something was trained with it: replicas would not be of one kind.

    Args:
        recorded: What `source_hashes` said then.
        study: Names the networks.
        directory: The run directory.

    Raises:
        RecordError: Names the network or the method, and what was trained with it.
    """
    for model, value in source_hashes(study).items():
        trained = [] if recorded.get(model, value) == value else _trained_with(study, model, directory)
        if trained:
            raise RecordError(
                f"the source of {model} was changed since {directory} was begun, with which {first_few(trained)} was "
                "trained: put it back as it was, or give the study another --out"
            )


def _trained_with(study: Study, path: str, directory: Path) -> list[str]:
    """The arms and teachers that use an import path and have left weights, or a checkpoint to go on from."""
    arms = [
        name
        for name, arm in study.arms.items()
        if path in (arm.loss, (arm.student or study.student).model, *arm.models)
    ]
    teachers = [name for name, teacher in study.teachers.items() if teacher.model == path]
    places = {f"arm={name}": f"arm {name}" for name in arms} | {
        f"teacher={name}": f"teacher {name}" for name in teachers
    }
    tuned = (directory / "tuning.parquet").exists() and {*arms} & {*study.learning_rate.families.values()}
    parts = ("weights", "checkpoints")
    left = [said for place, said in places.items() if any((directory / part / place).is_dir() for part in parts)]
    return left + (["a learning rate"] if tuned else [])
