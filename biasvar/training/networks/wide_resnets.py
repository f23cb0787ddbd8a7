"""Wide residual networks (Zagoruyko and Komodakis 2016) of the distillation benchmark of Tian et al. 2020.

As models/wrn.py of github.com/HobbitLong/RepDistiller at eedab9d, without dropout. Parameters and buffers carry the
same names: checkpoints of its `wrn_40_2` and the like load.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify, draw_convolutions


class PreActivationBlock(nn.Module):
    """x + f(x) with f = BatchNorm, ReLU, conv 3x3, twice; where widths differ the shortcut is a 1x1 convolution.

    That convolution is given what the first one is, x after BatchNorm and ReLU. Shapes: (B, inside, H, W) ->
    (B, outside, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.convShortcut = nn.Conv2d(inside, outside, 1, stride, bias=False) if inside != outside else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        return self.conv2(F.relu(self.bn2(self.conv1(y)), inplace=True)) + shortcut


class WideResNet(ImageNetwork):
    """A residual network of depth 6 n + 4 and factor k: a 3x3 stem of 16, stages of n blocks of 16 k, 32 k and 64 k.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. The last two stages halve the image.
    Convolutions start from normal weights of variance 2 / fan-out, the head from PyTorch's default with bias 0.

    Args:
        depth: Number of layers with weights, shortcuts aside.
        factor: k, how much wider than 16, 32, 64.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: `depth` is not 6 n + 4; in `forward`, an input of another shape.

    >>> WideResNet(16, 2, in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    stages = ("block1.layer", "block2.layer", "block3.layer")

    def __init__(self, depth: int, factor: int, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"a wide residual network has 6 n + 4 layers (10, 16, 22, ...), not {depth}")
        self.in_channels = in_channels
        widths = (16, 16 * factor, 32 * factor, 64 * factor)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        for i, (inside, outside) in enumerate(pairwise(widths), start=1):
            rest_of = [PreActivationBlock(outside, outside, 1) for _ in range(blocks - 1)]
            stage = nn.Sequential(PreActivationBlock(inside, outside, 1 if i == 1 else 2), *rest_of)
            self.add_module(f"block{i}", nn.Sequential(OrderedDict(layer=stage)))
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)
        draw_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        x = self.through_stages(self.conv1(x))
        return classify(F.relu(self.bn1(x), inplace=True), self.fc)
