"""Pictures, networks and configurations of trainings by torchdistill, small enough for tests."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, RandomSampler, SequentialSampler

N, C, TAU = 256, 10, 4.0
IDS = {"key": "biasvar.sample_ids"}
WSL = {
    "criterion": {"key": "biasvar.WeightedSoftLabelLoss", "kwargs": {"temperature": TAU, "alpha": 2.25}},
    "weight": 1,
}


class Pictures(Dataset):
    """CIFAR-10's shapes: 32 x 32 pictures of ten classes, each class a colour with noise on it."""

    def __init__(self, rows: int = N, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.randint(0, C, (rows,), generator=generator)
        colours = torch.rand(C, 3, 1, 1, generator=torch.Generator().manual_seed(99))
        self.images = colours[self.targets] + 0.3 * torch.randn(rows, 3, 32, 32, generator=generator)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.targets[index])

    def __len__(self) -> int:
        return len(self.targets)


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.LazyLinear(C)
        )


@functools.cache
def _networks() -> tuple[nn.Module, nn.Module]:
    teacher, student = network(1), network(2)
    for net in (teacher, student):
        net.eval()(torch.zeros(1, 3, 32, 32))  # makes the lazy layer
        net.train()
    data = Pictures()
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.05, momentum=0.9)
    with torch.random.fork_rng():
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(teacher(data.images), data.targets).backward()
            optimizer.step()
    teacher.zero_grad()
    return teacher, student


def networks() -> tuple[nn.Module, nn.Module]:
    """A teacher that has learned something, and a student that has not."""
    return copy.deepcopy(_networks())


def train_config(directory: Any, *, arm: str = "wsl", **changes: Any) -> dict[str, Any]:
    """What stands under `train` in a configuration."""
    config = {
        "log_freq": 2,
        "num_epochs": 2,
        "train_data_loader": {
            "dataset_id": "train",
            "dataset_wrapper": IDS,
            "sampler": {"class_or_func": RandomSampler, "kwargs": {"generator": torch.Generator().manual_seed(5)}},
            "kwargs": {"batch_size": 60},
        },
        "val_data_loader": {
            "dataset_id": "val",
            "sampler": {"class_or_func": SequentialSampler, "kwargs": {}},
            "kwargs": {"batch_size": 64},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "model": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": {"lr": 0.05, "momentum": 0.9}},
        "criterion": {
            "key": "biasvar.RecordedLoss",
            "func2extract_model_loss": "biasvar.sample_ids",
            "kwargs": {
                "recorder": {
                    "directory": str(directory), "arm": arm, "num_samples": N, "num_classes": C, "temperature": TAU
                },
                "sub_terms": {"wsl": WSL},
            },
        },
        "pre_epoch_process": "biasvar.teacher_eval",
        "post_epoch_process": "biasvar.end_epoch",
    }  # fmt: skip
    return copy.deepcopy({**config, **changes})
