"""What can be told before anything is trained: that networks take the data, and that stored weights fit networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from biasvar.errors import RecordError, StudyError
from biasvar.messages import first_few
from biasvar.study import Study
from biasvar.training.resnets import SMALLEST, load_network, source_hash
from biasvar.training.weights import read_weights


def check_networks(study: Study, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise unless the student's network and each teacher's takes the images and gives one logit a class.

    Args:
        study: Names the networks.
        image_shape: (H, W) or (H, W, C) of the data's images.
        num_classes: Of the data.

    Raises:
        StudyError: Names the key of the study, the network, what it does and what is expected.
    """
    size = (image_shape[0], image_shape[1])
    channels = image_shape[2] if len(image_shape) == 3 else 1
    used = {"student": study.student.model, **{f"teachers.{name}": t.model for name, t in study.teachers.items()}}
    tried: set[str] = set()
    for key, model in used.items():
        if model == "mlp" or model in tried:
            continue
        tried.add(model)
        if ":" in model:
            try:
                with torch.random.fork_rng(devices=[]):
                    load_network(model, in_channels=channels, num_classes=num_classes, image_size=size)
            except ValueError as error:
                raise StudyError(f"{key}.model: {error}") from error
        elif min(size) < SMALLEST:
            raise StudyError(
                f"{key}.model: {model} takes images of at least {SMALLEST}x{SMALLEST} pixels, those of "
                f"{study.data.name} have {size[1]}x{size[0]}; use model mlp, or your own as package.module:factory"
            )


def source_hashes(study: Study) -> dict[str, str]:
    """SHA-256 of the source file of each of the study's networks that is given by import path."""
    hashes = {model: source_hash(model) for model in study.models}
    return {model: value for model, value in hashes.items() if value is not None}


def check_sources(recorded: Mapping[str, str], study: Study, directory: Path) -> None:
    """Raise if a network's source is another now than when the run was begun: its replicas would not be of one kind.

    Args:
        recorded: What `source_hashes` said then.
        study: Names the networks.
        directory: The run directory.

    Raises:
        RecordError: Names the network.
    """
    for model, value in source_hashes(study).items():
        if recorded.get(model, value) != value:
            raise RecordError(
                f"the source of network {model} was changed since {directory} was begun: put it back as it was, or "
                "give the study another --out"
            )


def check_kept_teacher(path: Path, network: torch.nn.Module, replicas: Sequence[int], *, what: str) -> None:
    """Raise unless a kept weights file holds a network's tensors for each of these replicas.

    Args:
        path: A file of `biasvar.training.weights.weights_file`.
        network: One such network, with any weights.
        replicas: The numbers that the file should hold.
        what: Whose weights they should be, such as "teacher main (resnet14)".

    Raises:
        RecordError: The file is damaged, or does not fit.
    """
    wanted = {f"{r}.{name}": value for r in replicas for name, value in network.state_dict().items()}
    check_fit(read_weights(path)[0], wanted, path=path, what=what, then="Delete the file, and it is trained again")


def check_fit(
    stored: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    *,
    path: Path,
    what: str,
    then: str = "Was the network changed since? Then the study needs another --out",
) -> None:
    """Raise unless stored tensors have the names and shapes of those that a network wants.

    Args:
        stored: What a file holds.
        wanted: A network's `state_dict()`, or another mapping of the same names.
        path: The file.
        what: Whose weights they should be, such as "teacher main (resnet14)".
        then: What to do about it.

    Raises:
        RecordError: Names the file, the network, and up to three tensors that differ.

    >>> bias = torch.zeros(3)
    >>> check_fit({"fc.bias": bias}, {"fc.bias": torch.zeros(5)}, path=Path("t"), what="main", then="Delete it")
    Traceback (most recent call last):
    biasvar.errors.RecordError: t does not fit main: fc.bias has shape (3,), expected (5,). Delete it
    """
    faults = [
        *(f"{name} is missing" for name in wanted if name not in stored),
        *(f"{name} is not expected" for name in stored if name not in wanted),
        *(
            f"{name} has shape {tuple(value.shape)}, expected {tuple(wanted[name].shape)}"
            for name, value in stored.items()
            if name in wanted and value.shape != wanted[name].shape
        ),
    ]
    if not faults:
        return
    raise RecordError(f"{path} does not fit {what}: {first_few(faults, 3, separator='; ')}. {then}")
