"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("biasvar", deadline=None)
settings.load_profile("biasvar")

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "replicas": 4,
    "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150},
    "student": {"model": "mlp", "hidden": [12]},
    "draw": {"kind": "subsample", "rows": 90},
    "schedule": {"epochs": 4, "batch_size": 40},
    "learning_rate": {"value": 0.1},
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "teachers": {
        "main": {"hidden": [16], "epochs": 6},
        "own": {"hidden": [16], "epochs": 6, "draw": "per_replica", "rows": "own"},
        "disjoint": {"hidden": [16], "epochs": 6, "rows": "reserved"},
    },
    "defaults": {"teacher": "main", "temperature": 2, "alpha": 0.5, "smoothing": 0.1},
    "arms": {
        "ce": {"loss": "cross_entropy"},
        "ls": {"loss": "label_smoothing"},
        "wsl_recorded": {"loss": "distillation", "weights_from": "kd"},
        "kd": {"loss": "distillation"},
        "wsl": {"loss": "weighted_soft_label"},
        "wsl_shuffled": {"loss": "weighted_soft_label", "shuffle": True, "role": "control"},
        "kd_scaled": {"loss": "distillation", "alpha_from": "wsl", "role": "control"},
        "kd_random": {"loss": "masked_distillation", "keep": "random", "role": "control"},
        "kd_own": {"loss": "distillation", "teacher": "own", "role": "regime"},
        "kd_disjoint": {"loss": "distillation", "teacher": "disjoint", "role": "regime"},
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `cuda` are skipped where there is no device; torch is only asked where there are such tests."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def tiny_study() -> dict[str, Any]:
    """A study of the digits that trains in seconds, as a plain mapping to change at will."""
    return copy.deepcopy(TINY)
