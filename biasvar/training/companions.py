"""Modules that a method trains beside its students, and the outputs of student modules that its loss sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import nn

from biasvar.messages import no_such
from biasvar.training import optimizers
from biasvar.training.ranks import ONE, Ranks
from biasvar.training.replicas import Replicas


class Companions:
    """The modules of a method's state, one for each replica, updated by the students' optimiser and schedule.

    The loss is the students' own; its gradient for a companion is taken before the students' step.
    """

    def __init__(self, modules: Sequence[nn.Module], *, optimizer: optimizers.Settings, ranks: Ranks = ONE) -> None:
        self._ranks = ranks
        self._modules = nn.ModuleList(modules)
        self._parameters = [parameter for parameter in self._modules.parameters() if parameter.requires_grad]
        if not self._parameters:
            raise ValueError("the modules have no parameters to train; give those that have some, or none")
        self._settings, self._optimizer = optimizer, optimizer.of_torch(self._parameters)

    def train(self, mode: bool) -> None:
        self._modules.train(mode)

    def take_gradients(self, loss: torch.Tensor | None) -> None:
        """The gradients of the sum of the per-replica losses (R,), kept until `step`; the graph stays.

        None: this process has no rows of the batch, and only others have gradients.
        """
        if loss is None:
            self._gradients: Sequence[torch.Tensor | None] = [None] * len(self._parameters)
            return
        gradients = torch.autograd.grad(loss.sum(), self._parameters, retain_graph=True, allow_unused=True)
        self._gradients = gradients

    def step(self, rate: float) -> None:
        """One step by the gradients that were taken."""
        self._optimizer.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._ranks.add_up(self._parameters)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters, buffers and what the optimiser keeps, by name: enough to go on from."""
        state = {f"module.{name}": value for name, value in self._modules.state_dict().items()}
        return state | optimizers.saved(self._settings, self._optimizer, self._modules.named_parameters())

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        modules = {k.removeprefix("module."): v for k, v in state.items() if k.startswith("module.")}
        self._modules.load_state_dict(modules)
        optimizers.load(self._settings, self._optimizer, self._modules.named_parameters(), state)


class Features:
    """The outputs of some modules of a student in its last forward pass; inside `with`, so that no hook stays behind.

    Args:
        replicas: One student that trains by itself (`backend: sequential`).
        paths: Module paths as `named_modules` names them; none: nothing is watched.

    Raises:
        ValueError: The student has no such module, or several students train in one pass.
    """

    def __init__(self, replicas: Replicas, paths: Sequence[str]) -> None:
        self._outputs: dict[str, torch.Tensor] = {}
        self._places: dict[str, nn.Module] = {}
        if not paths:
            return
        network = replicas.network
        if network is None:
            raise ValueError("features of students are there where each trains by itself; use backend: sequential")
        known = dict(network.named_modules())
        for path in paths:
            if path not in known:
                raise ValueError(no_such(path, [name for name in known if name], "module of the student"))
            self._places[path] = known[path]

    def __enter__(self) -> Self:
        self._hooks = [module.register_forward_hook(self._keep(path)) for path, module in self._places.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, path: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            if not isinstance(output, torch.Tensor):
                raise ValueError(f"features of {path}: the module gives {type(output).__name__}, not a tensor")
            if torch.is_grad_enabled():  # not of the clean passes in between
                self._outputs[path] = output

        return hook

    def taken(self) -> dict[str, torch.Tensor]:
        """(1, B, ...) by path: with the dimension of replicas that everything in a batch has.

        Handed over once: a module that the next pass leaves out gives nothing then, not its outputs of this pass.
        """
        outputs, self._outputs = self._outputs, {}
        return {path: output[None] for path, output in outputs.items()}
