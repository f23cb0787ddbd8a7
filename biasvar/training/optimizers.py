"""The optimisers of a study, for one network as torch has them and for R networks in one pass, with the same steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

Slots = dict[str, list[torch.Tensor]]
"""What an optimiser keeps of every parameter, by the name that checkpoints call it."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as `torch.optim.SGD` defines it.

    d = gradient + weight_decay * parameter;  buffer = momentum * buffer + d;
    parameter -= rate * (d + momentum * buffer if nesterov else buffer)
    """

    momentum: float
    nesterov: bool
    weight_decay: float

    kept: ClassVar[dict[str, str]] = {"momentum": "momentum_buffer"}
    counts: ClassVar[bool] = False

    def of_torch(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's own, at rate 1."""
        return torch.optim.SGD(
            parameters, lr=1.0, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )

    def update(
        self, parameters: list[torch.Tensor], gradients: tuple[torch.Tensor, ...], slots: Slots, step: int, rate: float
    ) -> None:
        """One step in place; `step` counts from 1."""
        buffers = slots["momentum"]
        d = torch._foreach_add(gradients, parameters, alpha=self.weight_decay)
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, d)
        if self.nesterov:
            torch._foreach_add_(d, buffers, alpha=self.momentum)
        torch._foreach_add_(parameters, d if self.nesterov else buffers, alpha=-rate)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as `torch.optim.AdamW` defines it.

    With g the gradient, t the step from 1 and (b1, b2) the betas:

        parameter *= 1 - rate * weight_decay;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
        parameter -= rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)
    """

    betas: tuple[float, float]
    epsilon: float
    weight_decay: float

    kept: ClassVar[dict[str, str]] = {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}
    counts: ClassVar[bool] = True

    def of_torch(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's own, at rate 1."""
        return torch.optim.AdamW(parameters, lr=1.0, betas=self.betas, eps=self.epsilon, weight_decay=self.weight_decay)

    def update(
        self, parameters: list[torch.Tensor], gradients: tuple[torch.Tensor, ...], slots: Slots, step: int, rate: float
    ) -> None:
        """One step in place; `step` counts from 1."""
        first, second = slots["first_moment"], slots["second_moment"]
        torch._foreach_mul_(parameters, 1 - rate * self.weight_decay)
        torch._foreach_lerp_(first, gradients, 1 - self.betas[0])
        torch._foreach_mul_(second, self.betas[1])
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - self.betas[1])
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - self.betas[1] ** step))
        torch._foreach_add_(scale, self.epsilon)
        torch._foreach_addcdiv_(parameters, first, scale, value=-rate / (1 - self.betas[0] ** step))


Settings = SGD | AdamW


def saved(
    settings: Settings, optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, torch.Tensor]:
    """What torch's optimiser keeps of every parameter, such as "momentum.NAME"; zeros before the first step."""
    state = {}
    for name, parameter in named:
        held = optimizer.state[parameter]
        for slot, key in settings.kept.items():
            value = held.get(key)
            state[f"{slot}.{name}"] = torch.zeros_like(parameter) if value is None else value
        if settings.counts:
            state[f"steps.{name}"] = held.get("step", torch.zeros(()))
    return state


def load(
    settings: Settings, optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]],
    state: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """Let torch's optimiser go on from what `saved` gave; zeros are what it starts from, so they stand for no step."""
    for name, parameter in named:
        held = optimizer.state[parameter]
        for slot, key in settings.kept.items():
            held[key] = state[f"{slot}.{name}"].clone().to(parameter)
        if settings.counts:
            held["step"] = state[f"steps.{name}"].clone().cpu()
