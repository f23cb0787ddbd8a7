"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn


class MLP(nn.Module):
    """A fully connected ReLU network, `in_features` -> hidden ... -> `num_classes`, logits out.

    Shapes: (..., in_features) -> (..., num_classes). Initial weights are PyTorch's defaults for Linear; without `bias`
    no layer adds one.
    """

    def __init__(self, in_features: int, hidden: Sequence[int], num_classes: int, *, bias: bool = True) -> None:
        super().__init__()
        widths = [in_features, *hidden, num_classes]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)

    @staticmethod
    def forward_stacked(parameters: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """R networks at once: parameters of shape (R, ...) and inputs (R, B, in_features) give logits (R, B, C).

        The same function as `forward` under vmap, in fewer calls.
        """
        depth = sum(name.endswith(".weight") for name in parameters)
        for i in range(depth):
            weight, bias = parameters[f"layers.{i}.weight"].transpose(1, 2), parameters.get(f"layers.{i}.bias")
            x = torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[:, None], x, weight)
            if i < depth - 1:
                x = torch.relu(x)
        return x
