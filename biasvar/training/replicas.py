"""R trainings of one network: all in one batched pass, or one after another, with the same result.

Both kinds take and give tensors with a leading replica dimension, keep float parameters by name with that dimension,
and update them by SGD as `torch.optim.SGD` defines it:

    d = gradient + weight_decay * parameter;  buffer = momentum * buffer + d;
    parameter -= rate * (d + momentum * buffer if nesterov else buffer)

The loss that is differentiated is the sum over replicas of each one's own batch mean, so that no replica feels the
others. On a CPU the batched pass is faster for small fully connected networks and slower for convolutional ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import nn

Backend = Literal["batched", "sequential"]


class Replicas(Protocol):
    """A group of replicas as the training loop uses it."""

    @property
    def network(self) -> nn.Module | None:
        """The one network of the group; None where R of them run in one pass."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(R, B, ...) inputs to (R, B, C) logits."""

    def train(self, mode: bool) -> None:
        """Training mode, or evaluation mode."""

    def step(self, loss: torch.Tensor, rate: float, *, max_norm: float | None = None) -> None:
        """One SGD step on the sum of the per-replica losses (R,).

        `max_norm`: the gradient of each replica, over all its parameters, is first scaled down to this norm, as by
        `torch.nn.utils.clip_grad_norm_`.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and momentum buffers, by name, each (R, ...): enough to go on from."""

    def load_state(self, state: dict[str, torch.Tensor]) -> None: ...

    def parameters(self) -> dict[str, torch.Tensor]:
        """The parameters by name, each (R, ...)."""


class BatchedReplicas:
    """R networks as one: parameters stacked along a leading dimension, one forward and one update for all."""

    def __init__(self, models: Sequence[nn.Module], *, momentum: float, nesterov: bool, weight_decay: float) -> None:
        if any(True for _ in models[0].buffers()):
            raise ValueError(
                f"{type(models[0]).__name__} keeps buffers (such as BatchNorm statistics), which the batched backend "
                "does not train; use backend: sequential"
            )
        self._model = models[0]
        named = [dict(model.named_parameters()) for model in models]
        self._parameters = {
            name: torch.stack([p[name].detach() for p in named]).contiguous().requires_grad_() for name in named[0]
        }
        self._buffers = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._momentum, self._nesterov, self._weight_decay = momentum, nesterov, weight_decay

    @property
    def network(self) -> None:
        return None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        forward: Callable | None = getattr(self._model, "forward_stacked", None)
        if forward is not None:
            return forward(self._parameters, x)
        return torch.func.vmap(lambda p, one: torch.func.functional_call(self._model, p, (one,)))(self._parameters, x)

    def train(self, mode: bool) -> None:
        self._model.train(mode)

    def step(self, loss: torch.Tensor, rate: float, *, max_norm: float | None = None) -> None:
        parameters, buffers = list(self._parameters.values()), list(self._buffers.values())
        gradients = torch.autograd.grad(loss.sum(), parameters)
        with torch.no_grad():
            if max_norm is not None:
                gradients = _clipped(gradients, max_norm)
            d = torch._foreach_add(gradients, parameters, alpha=self._weight_decay)
            torch._foreach_mul_(buffers, self._momentum)
            torch._foreach_add_(buffers, d)
            if self._nesterov:
                torch._foreach_add_(d, buffers, alpha=self._momentum)
            torch._foreach_add_(parameters, d if self._nesterov else buffers, alpha=-rate)

    def parameters(self) -> dict[str, torch.Tensor]:
        return {name: p.detach() for name, p in self._parameters.items()}

    def state(self) -> dict[str, torch.Tensor]:
        momenta = {f"momentum.{name}": b for name, b in self._buffers.items()}
        return {**{f"parameter.{name}": p for name, p in self.parameters().items()}, **momenta}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(state[f"parameter.{name}"])
                self._buffers[name].copy_(state[f"momentum.{name}"])


def _clipped(gradients: Sequence[torch.Tensor], max_norm: float) -> tuple[torch.Tensor, ...]:
    """Gradients (R, ...) scaled replica by replica to a norm of `max_norm` where they have a larger one.

    The constant is that of `torch.nn.utils.clip_grad_norm_`.
    """
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return tuple(g * scale.reshape(-1, *(1 for _ in g.shape[1:])) for g in gradients)


class SequentialReplica:
    """One network as it is, behind the same interface with R = 1; any module, buffers and all.

    Images (B, C, H, W) run in channels_last memory order, which convolutions on CPUs and GPUs prefer; with
    `precision` "bf16" a CUDA device runs the forward pass in mixed precision.
    """

    def __init__(
        self, models: Sequence[nn.Module], *, momentum: float, nesterov: bool, weight_decay: float,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        (model,) = models
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )
        self._mixed = precision == "bf16"

    @property
    def network(self) -> nn.Module:
        return self._model

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        only = x[0].contiguous(memory_format=torch.channels_last) if x.ndim == 5 else x[0]
        with torch.autocast("cuda", torch.bfloat16, enabled=self._mixed and x.device.type == "cuda"):
            return self._model(only).float()[None] if self._mixed else self._model(only)[None]

    def train(self, mode: bool) -> None:
        self._model.train(mode)

    def step(self, loss: torch.Tensor, rate: float, *, max_norm: float | None = None) -> None:
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        loss.sum().backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), max_norm)
        self._optimizer.step()

    def parameters(self) -> dict[str, torch.Tensor]:
        return {name: value.detach()[None] for name, value in self._model.state_dict().items()}

    def state(self) -> dict[str, torch.Tensor]:
        state = {f"parameter.{name}": value for name, value in self.parameters().items()}
        for name, parameter in self._model.named_parameters():
            buffer = self._optimizer.state[parameter].get("momentum_buffer")
            state[f"momentum.{name}"] = (torch.zeros_like(parameter) if buffer is None else buffer)[None]
        return state

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        values = {k.removeprefix("parameter."): v[0] for k, v in state.items() if k.startswith("parameter.")}
        self._model.load_state_dict(values)
        for name, parameter in self._model.named_parameters():
            # A buffer of zeros is what SGD starts from, so it stands for "no step yet" as well.
            self._optimizer.state[parameter]["momentum_buffer"] = state[f"momentum.{name}"][0].clone().to(parameter)


def make_replicas(
    backend: Backend, models: Sequence[nn.Module], *, momentum: float, nesterov: bool, weight_decay: float,
    precision: str = "float32",
) -> Replicas:  # fmt: skip
    """The replicas of one group: any number for "batched", one for "sequential"."""
    if backend == "batched":
        return BatchedReplicas(models, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    return SequentialReplica(
        models, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, precision=precision
    )


def groups_of(backend: Backend, replicas: Sequence[int]) -> list[list[int]]:
    """Which replicas train together: all for "batched", each alone for "sequential"."""
    return [list(replicas)] if backend == "batched" else [[r] for r in replicas]
