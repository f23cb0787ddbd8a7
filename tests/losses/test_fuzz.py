"""Odd arguments of every loss: a result, or a ValueError or TypeError that names an argument; nothing else.

`python -m tests.losses.test_fuzz 10000` tries as many cases.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from biasvar import losses
from biasvar.losses.bad_teacher import classes_above, log_rest
from biasvar.losses.distillation import shuffle_within_batch
from tests.losses.cases import CLASSES, LOSSES, arguments

CASES = 400
NAMES = (
    *("student_logits", "logits", "teacher_logits", "labels", "weights", "soft_labels", "scores", "candidates"),
    *("rivals", "where", "keys", "values", "reduction", "temperature", "alpha", "epsilon", "smoothing", "keep"),
    *("pull", "dual", "soft", "hard"),
    *("output", "k", "punishment", "compensation", "num_classes", "seed", "epoch", "replica", "a loss with rivals"),
)
SHAPES = [(), (1,), (6,), (6, 1), (1, 6), (6, CLASSES), (2, CLASSES), (6, CLASSES, 1), (2, 3), (2, 3, CLASSES), (0,)]
DTYPES = [
    *(torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.complex64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint64),
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2,
    3,
    2.5,
    float("nan"),
    float("inf"),
    -1e308,
    1e-300,
    10**400,
    "mean",
    "",
    b"x",
]
VALUES += [[], [0.5], {}, (), 1j, object, np.float32(2), np.int8(-3), np.zeros(6), np.ma.masked, np.array("a")]


class Fuzz:
    """Cases from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def one(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def tensor(self) -> torch.Tensor:
        x = torch.as_tensor(self.rng.normal(size=self.one(SHAPES)) * self.one([0.0, 1.0, 3.0, 100.0, np.inf]))
        dtype = self.one(DTYPES)
        if not (dtype.is_floating_point or dtype.is_complex):
            x = x.nan_to_num(0.0, 9.0, -9.0).abs() if dtype.is_signed is False else x.nan_to_num(0.0, 9.0, -9.0)
        return x.to(dtype)

    def bent(self, right: Any) -> Any:
        """An argument that fits, or something near it, or anything."""
        kind = self.rng.random()
        if kind < 0.5:
            return right
        if kind < 0.6 or not isinstance(right, torch.Tensor):
            return self.one(VALUES)
        if kind < 0.7:
            return self.tensor()
        changes = [
            lambda x: x.to(self.one(DTYPES)),
            lambda x: x[..., None],
            lambda x: x[:2],
            lambda x: x[None],
            lambda x: x.numpy(),
            lambda x: x.tolist(),
            lambda x: np.ma.masked_array(x.numpy(), mask=x.numpy() == x.numpy().max()),
            lambda x: x.to_sparse(),
            lambda x: x.to("meta"),
            lambda x: torch.nested.nested_tensor([x[0:1], x]) if x.is_floating_point() else x,
            lambda x: x * -100 if x.dtype != torch.bool else ~x,
            lambda x: torch.where(x == x.max(), float("-inf"), x.double()),
            lambda x: torch.where(x == x.max(), float("nan"), x.double()),
            lambda x: x.clone().requires_grad_() if x.is_floating_point() else x,
            lambda x: torch.nn.Parameter(x, requires_grad=False),
            lambda x: x.T,
        ]
        try:
            return self.one(changes)(right.detach())
        except (RuntimeError, ValueError, TypeError, NotImplementedError):  # not possible for this tensor
            return right

    def settings(self, name: str) -> dict[str, Any]:
        """Settings of a loss; the most of them as they are."""
        own = {
            "Label": ["smoothing"],
            "Distillation": ["temperature", "alpha"],
            "Weighted": ["temperature", "alpha", "epsilon"],
            "Masked": ["temperature", "alpha", "keep"],
            "ProximalTeacherLoss,": [],
            "ProximalTeacher": ["pull"],
            "LocalTarget": ["temperature", "soft", "hard"],
            "BadTeacher": ["k", "punishment", "compensation", "rivals"],
        }
        found = next((keys for start, keys in own.items() if name.startswith(start)), [])
        return {key: self.one(VALUES) for key in [*found, "reduction"] if self.rng.random() < 0.08}

    def case(self) -> None:
        """One call of a loss, its gradient with it, or of a function."""
        given = arguments(
            self.one([(6,), (6,), (2, 3), (0,)]), dtype=self.one([torch.float64, torch.float32, torch.bfloat16])
        )
        if self.rng.random() < 0.2:
            self.function(given)
            return
        name = self.one(list(LOSSES))
        make, names = LOSSES[name]
        loss = make(**self.settings(name))
        logits = self.bent(given["logits"].requires_grad_())
        where = self.one([None, None, None, given["labels"] > 0, self.bent(given["labels"] > 0)])
        value = loss(logits, *(self.bent(given[key]) for key in names), where=where)
        assert isinstance(value, torch.Tensor)
        if value.requires_grad and value.device.type == "cpu":
            value.sum().backward()

    def function(self, given: dict[str, Any]) -> None:
        """One call of a function."""
        keys = self.bent(torch.as_tensor(self.rng.random(given["labels"].shape)))
        masked = losses.MaskedDistillationLoss(temperature=2.0, alpha=1.0, keep="random")
        three = [self.bent(given[key]) for key in ("logits", "teacher_logits", "labels")]
        calls = [
            lambda: classes_above(three[0], three[2]),
            lambda: log_rest(three[0], three[2]),
            lambda: shuffle_within_batch(self.bent(given["weights"]), keys, where=self.bent(given["labels"] > 0)),
            lambda: masked.weights(*three, keys, where=self.bent(given["labels"] > 0)),
            lambda: losses.WeightedSoftLabelLoss(temperature=2.0, alpha=1.0).weights(*three),
            lambda: losses.top_candidates(self.bent(given["soft_labels"]), self.bent(2)),
            lambda: losses.draw_rivals(
                self.bent(given["labels"]), self.bent(CLASSES), self.bent(3), seed=self.bent(1), epoch=self.bent(None)
            ),
        ]
        self.one(calls)()


def faults(seed: int, cases: int) -> tuple[list[str], dict[str, int]]:
    """What was neither a result nor an error that names an argument, and how often each came out."""
    found, counts = [], {"results": 0, "ValueError": 0, "TypeError": 0}
    for number in range(cases):
        fuzz = Fuzz(seed * 1_000_000 + number)
        try:
            fuzz.case()
        except (ValueError, TypeError) as error:
            counts[type(error).__name__ if type(error).__name__ in counts else "ValueError"] += 1
            if not str(error).startswith(tuple(f"{name} " for name in NAMES)):
                found.append(f"case {number}: {type(error).__name__} without a name: {error}")
        except Exception as error:
            found.append(f"case {number}: {type(error).__name__}: {error}")
        else:
            counts["results"] += 1
    return found, counts


@pytest.mark.filterwarnings("ignore")
def test_odd_arguments_give_a_result_or_an_error_that_names_one():
    found, counts = faults(1, CASES)
    assert not found, "\n".join(found[:5])
    assert min(counts.values()) > CASES / 20, counts


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found, counts = faults(2, int(sys.argv[1]))
    print(*found[:20], counts, f"{len(found)} faults", sep="\n")
