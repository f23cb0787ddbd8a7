"""R trainings of one network: all in one batched pass, or one after another, with the same result.

Both kinds take and give tensors with a leading replica dimension, keep float parameters by name with that dimension,
and update them as one of `biasvar.training.optimizers` says.

The loss that is differentiated is the sum over replicas of each one's own batch mean, so that no replica feels the
others. On a CPU the batched pass is faster for small fully connected networks and slower for convolutional ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import nn

from biasvar.training import optimizers
from biasvar.training.engine import DEFAULT, Engine
from biasvar.training.ranks import ONE, Ranks

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

    def step(self, loss: torch.Tensor | None, rate: float, *, max_norm: float | None = None) -> None:
        """One step of the optimiser on the sum of the per-replica losses (R,); None: of other processes alone.

        `max_norm`: the gradient of each replica, over all its parameters, is first scaled down to this norm, as by
        `torch.nn.utils.clip_grad_norm_`.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and what the optimiser keeps of them, by name, each (R, ...): enough to go on from."""

    def load_state(self, state: dict[str, torch.Tensor]) -> None: ...

    def parameters(self) -> dict[str, torch.Tensor]:
        """The parameters and buffers by name, each (R, ...)."""


class BatchedReplicas:
    """R networks as one: parameters and buffers stacked along a leading dimension, one forward and one update for all.

    BatchNorm's statistics are those of each replica's own batch. With `precision` "bf16" a CUDA device runs the forward
    pass in mixed precision. Networks that draw at random in training (dropout) are no replicas of this kind: their
    draws would not be those of a network alone.
    """

    def __init__(
        self, models: Sequence[nn.Module], *, optimizer: optimizers.Settings, precision: str = "float32"
    ) -> None:
        _refuse_random(models[0])
        self._model, self._mixed = models[0], precision == "bf16"
        named = [dict(model.named_parameters()) for model in models]
        self._parameters = {
            name: torch.stack([p[name].detach() for p in named]).contiguous().requires_grad_() for name in named[0]
        }
        kept = [dict(model.named_buffers()) for model in models]
        self._buffers = {name: torch.stack([b[name] for b in kept]).contiguous() for name in kept[0]}
        self._names = [name for name in models[0].state_dict() if name in self._parameters or name in self._buffers]
        self._optimizer, self._steps = optimizer, 0
        self._slots = {slot: [torch.zeros_like(p) for p in self._parameters.values()] for slot in optimizer.kept}

    @property
    def network(self) -> None:
        return None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        forward: Callable | None = getattr(self._model, "forward_stacked", None)
        if forward is not None:
            return forward(self._parameters, x)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._mixed and x.device.type == "cuda"):
            logits = torch.func.vmap(self._one)(self._parameters, self._buffers, x)
        return logits.float() if self._mixed else logits

    def _one(
        self, parameters: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], x: torch.Tensor
    ) -> torch.Tensor:
        return torch.func.functional_call(self._model, (parameters, buffers), (x,))

    def train(self, mode: bool) -> None:
        self._model.train(mode)

    def step(self, loss: torch.Tensor | None, rate: float, *, max_norm: float | None = None) -> None:
        assert loss is not None  # replicas in one pass have all rows themselves
        parameters = list(self._parameters.values())
        gradients = torch.autograd.grad(loss.sum(), parameters)
        self._steps += 1
        with torch.no_grad():
            if max_norm is not None:
                gradients = _clipped(gradients, max_norm)
            self._optimizer.update(parameters, gradients, self._slots, self._steps, rate)

    def parameters(self) -> dict[str, torch.Tensor]:
        whole = {**self._parameters, **self._buffers}
        return {name: whole[name].detach() for name in self._names}

    def state(self) -> dict[str, torch.Tensor]:
        state = {f"parameter.{name}": p for name, p in self.parameters().items()}
        for slot, values in self._slots.items():
            state |= {f"{slot}.{name}": value for name, value in zip(self._parameters, values, strict=True)}
        if self._optimizer.counts:
            state |= {
                f"steps.{name}": torch.full((len(p),), float(self._steps)) for name, p in self._parameters.items()
            }
        return state

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                buffer.copy_(state[f"parameter.{name}"])
            for place, (name, parameter) in enumerate(self._parameters.items()):
                parameter.copy_(state[f"parameter.{name}"])
                for slot, values in self._slots.items():
                    values[place].copy_(state[f"{slot}.{name}"])
                if self._optimizer.counts:
                    self._steps = int(state[f"steps.{name}"][0])


def _refuse_random(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"{type(model).__name__} draws at random in training ({name}: {module}), which networks in one pass "
                "would not do as each does alone; use backend: sequential"
            )


def _clipped(gradients: Sequence[torch.Tensor], max_norm: float) -> tuple[torch.Tensor, ...]:
    """Gradients (R, ...) scaled replica by replica to a norm of `max_norm` where they have a larger one.

    The constant is that of `torch.nn.utils.clip_grad_norm_`.
    """
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return tuple(g * scale.reshape(-1, *(1 for _ in g.shape[1:])) for g in gradients)


class SequentialReplica:
    """One network as it is, behind the same interface with R = 1; any module, buffers and all.

    How it runs is `engine`'s; with `precision` "bf16" a CUDA device runs the forward pass in mixed precision. Of
    several processes (`ranks`) each has the network, and all take the same steps.
    """

    def __init__(
        self, models: Sequence[nn.Module], *, optimizer: optimizers.Settings, precision: str = "float32",
        engine: Engine = DEFAULT, ranks: Ranks = ONE,
    ) -> None:  # fmt: skip
        (model,) = models
        self._ranks = ranks
        self._format = torch.channels_last if engine.channels_last else torch.contiguous_format
        self._model = model.to(memory_format=self._format)  # type: ignore[call-overload]
        self._run = engine.runner(self._model)
        self._settings, self._optimizer = optimizer, optimizer.of_torch(self._model.parameters())
        self._mixed = precision == "bf16"

    @property
    def network(self) -> nn.Module:
        """Handed over to be watched or changed, so it runs as it is from now on, not compiled."""
        self._run = self._model
        return self._model

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        only = x[0].contiguous(memory_format=self._format) if x.ndim == 5 else x[0]
        run = self._run if self._model.training else self._model
        if not self._mixed:
            return run(only)[None]
        with self._ranks.autocast(x.device):
            return run(only).float()[None]

    def train(self, mode: bool) -> None:
        self._model.train(mode)

    def step(self, loss: torch.Tensor | None, rate: float, *, max_norm: float | None = None) -> None:
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        if loss is not None:
            self._ranks.backward(loss.sum())
        self._ranks.add_up(list(self._model.parameters()))
        if max_norm is not None:
            self._ranks.clip(self._model, self._optimizer, max_norm)
        self._optimizer.step()

    def parameters(self) -> dict[str, torch.Tensor]:
        return {name: value.detach()[None] for name, value in self._model.state_dict().items()}

    def state(self) -> dict[str, torch.Tensor]:
        state = {f"parameter.{name}": value for name, value in self.parameters().items()}
        kept = optimizers.saved(self._settings, self._optimizer, self._model.named_parameters())
        return state | {name: value[None] for name, value in kept.items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        values = {k.removeprefix("parameter."): v[0] for k, v in state.items() if k.startswith("parameter.")}
        self._model.load_state_dict(values)
        kept = {name: value[0] for name, value in state.items() if not name.startswith("parameter.")}
        optimizers.load(self._settings, self._optimizer, self._model.named_parameters(), kept)


def make_replicas(
    backend: Backend, models: Sequence[nn.Module], *, optimizer: optimizers.Settings, precision: str = "float32",
    engine: Engine = DEFAULT, ranks: Ranks = ONE,
) -> Replicas:  # fmt: skip
    """The replicas of one group: any number for "batched", one for "sequential", which runs as `engine` says.

    `ranks`: the processes that train one for "sequential" together.
    """
    if backend == "batched":
        return BatchedReplicas(models, optimizer=optimizer, precision=precision)
    return SequentialReplica(models, optimizer=optimizer, precision=precision, engine=engine, ranks=ranks)


def groups_of(backend: Backend, replicas: Sequence[int]) -> list[list[int]]:
    """Which replicas train together: all for "batched", each alone for "sequential"."""
    return [list(replicas)] if backend == "batched" else [[r] for r in replicas]
