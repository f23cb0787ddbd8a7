"""The learning rate as a function of the step, and of nothing else: a resumed training needs no scheduler's state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SCHEDULES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Phase:
    """A part of the training with a name and a learning-rate schedule of its own.

    Attributes:
        name: What `Batch.phase` says in it.
        epochs: How many epochs it takes; those of all phases sum to the study's.
        rate: Factor on the arm's learning rate.
    """

    name: str
    epochs: int
    rate: float = 1.0


def check_schedule(
    kind: str, *, epochs: float, warmup: float = 0.0, milestones: Sequence[float] = (), gamma: float = 0.1
) -> None:
    """Raise a ValueError, which names the setting and what is allowed, unless `rate_at` can follow the schedule.

    >>> check_schedule("step", epochs=10, milestones=(8, 5))
    Traceback (most recent call last):
    ValueError: milestones [8, 5]: expected increasing epochs between 0 and 10
    """
    if kind not in SCHEDULES:
        raise ValueError(f"no schedule named {kind!r}; there is: {', '.join(SCHEDULES)}")
    if not 0 <= warmup < epochs:
        raise ValueError(f"warmup {warmup}: expected at least 0 and less than the {epochs} epochs of the schedule")
    if kind != "step" and milestones:
        raise ValueError(f"milestones {list(milestones)}: only a step schedule has them, not {kind!r}")
    if any(a >= b for a, b in pairwise((0, *milestones, epochs))):
        raise ValueError(f"milestones {list(milestones)}: expected increasing epochs between 0 and {epochs}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma {gamma}: expected more than 0 and at most 1")


def rate_at(
    kind: str,
    base: float,
    step: int,
    steps_per_epoch: int,
    epochs: float,
    *,
    warmup: float = 0.0,
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
) -> float:
    """The learning rate of one step: base * ramp * decay.

    With t = step, S = steps_per_epoch, T = epochs * S, and W = warmup * S steps of warm-up:

        ramp     = min(1, (t + 1) / W)                                  1 without warm-up
        constant = 1
        cosine   = (1 + cos(pi * max(0, t - W) / (T - W))) / 2          1 until warm-up ends, nearing 0 at the last step
        step     = gamma ** (number of milestones m with m * S <= t)    m epochs are over

    The ramp is linear and reaches the full rate at the last step of warm-up (Goyal et al. 2017, arXiv:1706.02677,
    section 2.2); its first step is not lost, as it would be with a ramp from 0. Milestones count epochs from the
    start of training, warm-up included. CRD's CIFAR schedule (RepDistiller, train_student.py and helper/util.py) is
    "step", 0.05, 240 epochs, milestones 150, 180 and 210, gamma 0.1: epochs 1 to 150 are trained at the full rate.

    Args:
        kind: "constant", "cosine" or "step".
        base: The full rate.
        step: Steps taken before this one, from 0.
        steps_per_epoch: Steps in an epoch, its last and perhaps smaller batch included.
        epochs: Length of the training.
        warmup: Epochs of warm-up, whole or not.
        milestones: Epochs after which the rate falls; "step" only.
        gamma: By which factor; "step" only.

    Raises:
        ValueError: Settings that `check_schedule` refuses, or a step before 0 or after the last.

    >>> [round(rate_at("cosine", 0.1, t, 2, 4, warmup=1), 4) for t in range(8)]
    [0.05, 0.1, 0.1, 0.0933, 0.075, 0.05, 0.025, 0.0067]
    >>> [round(rate_at("step", 0.1, t, 1, 6, milestones=(2, 4)), 4) for t in range(6)]
    [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    """
    check_schedule(kind, epochs=epochs, warmup=warmup, milestones=milestones, gamma=gamma)
    total, ramp_steps = epochs * steps_per_epoch, warmup * steps_per_epoch
    if not 0 <= step < total:
        raise ValueError(
            f"step {step}: expected 0 to {math.ceil(total) - 1}, {epochs} epochs of {steps_per_epoch} steps"
        )
    rate = base
    if kind == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * max(0, step - ramp_steps) / (total - ramp_steps)))
    elif kind == "step":
        rate = base * gamma ** sum(milestone * steps_per_epoch <= step for milestone in milestones)
    return rate * min(1.0, (step + 1) / ramp_steps) if ramp_steps else rate
