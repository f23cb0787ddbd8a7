"""Trained weights on disk: safetensors files, their hashes, and the check that they fit a network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from biasvar.errors import RecordError
from biasvar.files import short_of, unreadable
from biasvar.messages import first_few
from biasvar.training.replicas import Replicas


def weights_file(replicas: Replicas, numbers: Sequence[int]) -> bytes:
    """A safetensors file of a group's parameters (and buffers), names "<replica>.<parameter>"."""
    stacked = {name: value.cpu() for name, value in replicas.parameters().items()}
    flat = {f"{r}.{name}": apart(value[i]) for name, value in stacked.items() for i, r in enumerate(numbers)}
    return safetensors.torch.save(flat)


def apart(value: torch.Tensor) -> torch.Tensor:
    """A copy with memory of its own: a file takes no two names for one memory, such as the weights of tied layers."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the notes of a safetensors file.

    Raises:
        RecordError: The file is damaged.
    """
    try:
        with path.open("rb"):  # safetensors says of a file that cannot be opened for now that there is none
            pass
        with safetensors.safe_open(os.fspath(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError, MemoryError, RuntimeError) as error:
        if short_of(error) is not None:
            raise unreadable(path, error, "weights") from None
        raise RecordError(f"{path} is damaged ({error}); delete it and run the study again") from None


def of_replica(saved: Mapping[str, torch.Tensor], replica: int) -> dict[str, torch.Tensor]:
    """One replica's tensors of a `weights_file`, under a network's own names."""
    return {k.partition(".")[2]: v for k, v in saved.items() if k.partition(".")[0] == str(replica)}


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each safetensors file of a folder."""
    files = sorted(folder.glob("*.safetensors"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_kept_teacher(path: Path, network: torch.nn.Module, replicas: Sequence[int], *, what: str) -> None:
    """Raise unless a kept weights file holds a network's tensors for each of these replicas.

    Args:
        path: A file of `weights_file`.
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
