"""Features of a network by module path: their outputs, their sizes, and an output put in another's place.

A tap is the path of a module, as `named_modules` names it, whose output (B, C, H, W) is a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from biasvar.messages import no_such


def module_at(network: nn.Module, path: str, *, of: str) -> nn.Module:
    """The module of that path.

    Raises:
        ValueError: There is none; names the nearest.

    >>> module_at(nn.Sequential(nn.Flatten()), "1", of="student")
    Traceback (most recent call last):
    ValueError: no module of the student named '1'; there is: 0
    """
    known = dict(network.named_modules())
    if not path or path not in known:
        raise ValueError(no_such(path, [name for name in known if name], f"module of the {of}"))
    return known[path]


@contextmanager
def tapped(network: nn.Module, paths: Sequence[str], *, of: str) -> Iterator[dict[str, torch.Tensor]]:
    """In the block every forward pass of the network puts the outputs of these modules into the mapping, by path.

    A module that works in place on what another gave (ReLU after BatchNorm) changes that one's feature too.

    Raises:
        ValueError: There is no such module, or its output is no feature map.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[path] = feature_map(output, path, of=of)

        return hook

    hooks = [module_at(network, path, of=of).register_forward_hook(keep(path)) for path in paths]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def feature_map(output: Any, path: str, *, of: str) -> torch.Tensor:
    """An output, if it is a feature map (B, C, H, W); else ValueError."""
    if isinstance(output, torch.Tensor) and output.ndim == 4:
        return output
    what = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
    raise ValueError(
        f"module {path!r} of the {of} gives no feature map (B, C, H, W) but {what}; take a convolution, a block of "
        "them, or what normalises them"
    )


@contextmanager
def replaced(network: nn.Module, path: str, value: torch.Tensor) -> Iterator[None]:
    """In the block the module of that path gives `value`, so that only what follows it counts: the rest of the network.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with replaced(network, "0", torch.tensor([[-1.0, 2.0]])):
    ...     network(torch.zeros(1, 2))
    tensor([[0., 2.]])
    """
    hook = module_at(network, path, of="network").register_forward_hook(lambda module, inputs, output: value)
    try:
        yield
    finally:
        hook.remove()


def as_constant(module: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    """The module's output with its parameters as constants; its buffers, such as running means, stay as they are."""
    return _called(module, {name: value.detach() for name, value in module.named_parameters()}, inputs)


def without_trace(module: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    """The module's output, its buffers left as they are: BatchNorm uses the batch, and forgets it."""
    return _called(module, dict(module.named_parameters()), inputs)


def _called(module: nn.Module, parameters: Mapping[str, torch.Tensor], inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    output: torch.Tensor = torch.func.functional_call(module, ({**parameters}, buffers), tuple(inputs))
    return output


@torch.no_grad()
def feature_shapes(
    network: nn.Module, example: torch.Tensor, paths: Sequence[str], *, of: str
) -> dict[str, torch.Size]:
    """(C, H, W) of the features at these paths for inputs like the example (B, ...), in evaluation mode.

    Raises:
        ValueError: A path names no module, or one that gives no feature map or does not take part.
    """
    training = network.training
    network.eval()
    try:
        with tapped(network, paths, of=of) as outputs:
            network(example)
    finally:
        network.train(training)
    idle = [path for path in paths if path not in outputs]
    if idle:
        raise ValueError(f"module {idle[0]!r} of the {of} has no output: the network does not call it")
    return {path: outputs[path].shape[1:] for path in paths}


def named_taps(network: nn.Module) -> tuple[str, ...]:
    """The taps that a network names itself, as `feature_taps`, from the input to the head; none without."""
    return tuple(getattr(network, "feature_taps", ()))
