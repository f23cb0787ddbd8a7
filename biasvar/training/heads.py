"""The last, linear layer of a network: where it is, and what it is given for samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from biasvar.training.inputs import Inputs


@torch.no_grad()
def head_of(network: nn.Module, example: torch.Tensor) -> nn.Linear:
    """The linear layer whose output is the network's answer to inputs (B, ...), in evaluation mode.

    Raises:
        ValueError: There is none: something follows the last linear layer, or there is no such layer.
    """
    said: list[tuple[nn.Linear, torch.Tensor]] = []
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, _, output: said.append((layer, output))) for layer in layers]
    mode = network.training
    try:
        answer = network.eval()(example)
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    for layer, output in reversed(said):
        if output.shape == answer.shape and torch.equal(output, answer):
            return layer
    found = "what its linear layers give is changed before it is the answer" if layers else "it has no linear layer"
    raise ValueError(f"{type(network).__name__} does not end in a linear layer: {found}")


@torch.no_grad()
def head_pass(network: nn.Module, inputs: Inputs, ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray, bool]:
    """What a network's last layer is given and answers for n samples, (n, D) and (n, C), and if it has a bias.

    In evaluation mode, of inputs without augmentation; float64.

    Raises:
        ValueError: The network does not end in a linear layer.
    """
    head = head_of(network, inputs.clean(ids[:1]))
    features, logits = [], []
    mode = network.training
    network.eval()
    with _given_to(head) as given:
        for _, x in inputs.clean_pass(ids):
            logits.append(network(x).double())
            features.append(given[-1].double())
            given.clear()
    network.train(mode)
    return torch.cat(features).cpu().numpy(), torch.cat(logits).cpu().numpy(), head.bias is not None


@contextmanager
def _given_to(layer: nn.Linear) -> Iterator[list[torch.Tensor]]:
    """The inputs of a layer, of each pass while it lasts."""
    given: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    try:
        yield given
    finally:
        hook.remove()
