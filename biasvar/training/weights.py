"""Trained weights on disk: safetensors files, their hashes, and teachers kept for other studies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch

from biasvar.data.layout import cache_folder
from biasvar.errors import RecordError
from biasvar.training.replicas import Replicas
from biasvar.training.resnets import source_hash

if TYPE_CHECKING:
    from biasvar.training.workbench import Workbench


def weights_file(replicas: Replicas, numbers: Sequence[int]) -> bytes:
    """A safetensors file of a group's parameters (and buffers), names "<replica>.<parameter>"."""
    stacked = {name: value.cpu() for name, value in replicas.parameters().items()}
    flat = {f"{r}.{name}": value[i].contiguous() for name, value in stacked.items() for i, r in enumerate(numbers)}
    return safetensors.torch.save(flat)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the notes of a safetensors file.

    Raises:
        RecordError: The file is damaged.
    """
    try:
        with safetensors.safe_open(os.fspath(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise RecordError(f"{path} is damaged ({error}); delete it and run the study again") from None


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each safetensors file of a folder."""
    files = sorted(folder.glob("*.safetensors"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cached_teacher(bench: Workbench, name: str, replicas: Sequence[int]) -> Path:
    """Where a teacher is kept: named by everything that its weights depend on."""
    study, teacher = bench.study, bench.study.teachers[name]
    members = bench.teacher_members(name)[list(replicas)]
    depends = {
        "data": bench.dataset.fingerprint,
        "rows": hashlib.sha256(members.tobytes()).hexdigest(),
        "teacher": teacher.model_dump(mode="json", exclude={"label", "train_mode"}),
        "source": source_hash(teacher.model),
        "schedule": study.schedule.model_dump(mode="json"),
        "draw": study.draw.model_dump(mode="json") if teacher.draw == "per_replica" else None,
        "view": [study.data.crop, study.data.flip],
        "seed": study.seed,
        "replicas": list(replicas),
        "device": bench.device.type,
        "threads": study.threads,
        "torch": torch.__version__,
    }
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / "teachers" / f"{key}.safetensors"
