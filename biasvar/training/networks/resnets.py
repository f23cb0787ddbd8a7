"""Residual networks for small images (He et al. 2016, section 4.2), and of four stages as Yang et al. 2020 have them.

Those of three stages are of the distillation benchmark of Tian et al. 2020 (CRD; github.com/HobbitLong/RepDistiller,
models/resnet.py at eedab9d), with a 1x1 convolution and BatchNorm as shortcut where the shape changes. Parameters and
buffers carry the same names, so a checkpoint of one loads into the other. Of the ResNet18 and ResNet34 of resnetv2.py
there the names differ: `downsample` here is `shortcut` there, `fc` is `linear`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify, draw_convolutions

FOUR_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks of each stage, by depth


class BasicBlock(nn.Module):
    """relu(x + f(x)) with f = conv 3x3, BatchNorm, ReLU, conv 3x3, BatchNorm; x is projected where shapes differ.

    Shapes: (B, inside, H, W) -> (B, outside, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != outside:
            projection = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class ResNet(ImageNetwork):
    """A residual network: a 3x3 stem, stages of blocks of two convolutions, a mean over pixels, a head.

    Of `depth` = 6 n + 2 layers it has three stages of n blocks. With four stages it is the ResNet of ImageNet of 18 or
    34 layers with the stem for small images, as Yang et al. 2020 have it (2, 2, 2, 2 or 3, 4, 6, 3 blocks).

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Stages after the first halve the
    image.
    Convolutions start from normal weights of variance 2 / fan-out, BatchNorm from weight 1 and bias 0, the head from
    PyTorch's default for Linear; all are drawn from the global CPU generator, so that under `torch.random.fork_rng`
    and `torch.manual_seed(seed)` they depend on the seed alone. Under autocast the mean over pixels and the head are
    computed in the head's own precision, float32: bf16 logits carry 2 to 3 decimal digits, too few for a variance.

    Args:
        depth: Number of layers with weights, shortcuts aside.
        widths: Channels of the stem and of the stages.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: `depth` is not 6 n + 2, or of four stages 18 or 34; in `forward`, an input of another shape.

    >>> ResNet(8, (16, 16, 32, 64), in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, depth: int, widths: Sequence[int], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        blocks = _blocks(depth, len(widths) - 1)
        stem = widths[0]
        self.in_channels, self.stages = in_channels, tuple(f"layer{i}" for i in range(1, len(widths)))
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        for stage, count, (inside, outside) in zip(self.stages, blocks, pairwise(widths), strict=True):
            self.add_module(stage, _stage(count, inside, outside, 1 if stage == "layer1" else 2))
        self.fc = nn.Linear(widths[-1], num_classes)
        draw_convolutions(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return classify(self.through_stages(x), self.fc)


def _blocks(depth: int, stages: int) -> tuple[int, ...]:
    """The blocks of each stage of a residual network."""
    if stages == 4:
        if depth not in FOUR_STAGES:
            raise ValueError(f"a residual network of four stages has 18 or 34 layers, not {depth}")
        return FOUR_STAGES[depth]
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"a residual network has 6 n + 2 layers (8, 14, 20, ...), not {depth}")
    return (blocks,) * 3


def _stage(blocks: int, inside: int, outside: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outside, outside, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inside, outside, stride), *rest)
