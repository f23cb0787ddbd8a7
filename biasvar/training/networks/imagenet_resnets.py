"""Residual networks of four stages as for ImageNet, and the one of 50 layers with the stem for small images.

`StagedResNet` is He et al. 2016 with the stride of a bottleneck in its 3x3 convolution, as torchvision has it and
models/ResNet.py of github.com/bellymonster/Weighted-Soft-Label-Distillation at 8c4e0a7: parameters and buffers carry
the same names, so that checkpoints of both load. `SmallResNet` is ResNet50 of models/resnetv2.py of
github.com/HobbitLong/RepDistiller at eedab9d, whose checkpoints load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify, draw_convolutions
from biasvar.training.networks.resnets import BasicBlock

WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """relu(x + f(x)) with f = conv 1x1, conv 3x3, conv 1x1, BatchNorm after each; x is projected where shapes differ.

    Shapes: (B, inside, H, W) -> (B, 4 width, ceil(H / stride), ceil(W / stride)). `projection` is the name of the
    module that projects.
    """

    def __init__(self, inside: int, width: int, stride: int, *, projection: str = "downsample") -> None:
        super().__init__()
        outside = EXPANSION * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.projection: str | None = None
        if stride != 1 or inside != outside:
            self.projection = projection
            projected = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.add_module(projection, nn.Sequential(projected, nn.BatchNorm2d(outside)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        shortcut = x if self.projection is None else self.get_submodule(self.projection)(x)
        return F.relu(self.bn3(self.conv3(y)) + shortcut, inplace=True)


class FourStages(ImageNetwork):
    """What both have: a stem, four stages of blocks of which the last three halve the image."""

    stages = ("layer1", "layer2", "layer3", "layer4")

    def _make_stages(self, counts: Sequence[int], block: Callable[[int, int, int], nn.Module], expansion: int) -> int:
        """Make the stages, and give the channels of the last one."""
        inside = WIDTHS[0]
        for i, (count, width) in enumerate(zip(counts, WIDTHS, strict=True), start=1):
            outside = width * expansion
            blocks = [block(inside if j == 0 else outside, width, 2 if i > 1 and j == 0 else 1) for j in range(count)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            inside = outside
        return inside


class StagedResNet(FourStages):
    """A 7x7 stem of stride 2, max-pooling, stages of basic blocks or bottlenecks, a mean over pixels, a head.

    Shapes: (B, in_channels, H, W), H and W at least 32 (224 as published), -> (B, num_classes) logits. Convolutions
    start from normal weights of variance 2 / fan-out, the head from PyTorch's default for Linear.

    Args:
        counts: Blocks of each of the four stages.
        bottleneck: Whether blocks are bottlenecks.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> StagedResNet((2, 2, 2, 2), in_channels=3, num_classes=10)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """

    smallest = 32

    def __init__(self, counts: Sequence[int], *, bottleneck: bool = False, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        block, expansion = (Bottleneck, EXPANSION) if bottleneck else (BasicBlock, 1)
        self.fc = nn.Linear(self._make_stages(counts, block, expansion), num_classes)
        draw_convolutions(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, stride=2, padding=1)
        return classify(self.through_stages(x), self.fc)


class SmallResNet(FourStages):
    """The same of bottlenecks for small images: a 3x3 stem without stride, and no pooling before the stages.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Initial weights are as in
    `StagedResNet`.

    Args:
        counts: Blocks of each of the four stages.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> SmallResNet((1, 1, 1, 1), in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, counts: Sequence[int], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        outside = self._make_stages(counts, partial(Bottleneck, projection="shortcut"), EXPANSION)
        self.linear = nn.Linear(outside, num_classes)
        draw_convolutions(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return classify(self.through_stages(x), self.linear)
