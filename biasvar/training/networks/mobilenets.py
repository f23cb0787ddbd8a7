"""MobileNetV2 of half width for small images, and MobileNetV1 for ImageNet.

`MobileNetV2` is models/mobilenetv2.py of github.com/HobbitLong/RepDistiller at b13aecc (Sandler et al. 2018, with the
strides of that benchmark and ReLU for ReLU6); `MobileNetV1` is models/MobileNet.py of
github.com/bellymonster/Weighted-Soft-Label-Distillation at 8c4e0a7 (Howard et al. 2017). Parameters and buffers carry
the same names: checkpoints of both load.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from biasvar.training.networks.parts import ImageNetwork, classify, convolved, draw_convolutions, draw_head

V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels at full width, blocks, stride of the first of them."""
V2_LAST = 1280
V1_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
V1_HALVING = (2, 4, 6, 12)  # separable convolutions with stride 2, beside the first convolution


class InvertedResidual(nn.Module):
    """conv 1x1, conv 3x3 of each channel by itself, conv 1x1; plus x where the shapes agree.

    BatchNorm after each, ReLU after the first two. Shapes: (B, inside, H, W) -> (B, outside, ceil(H / stride),
    ceil(W / stride)).
    """

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        between = inside * expansion
        self.residual = stride == 1 and inside == outside
        self.conv = nn.Sequential(
            *convolved(inside, between, 1),
            *convolved(between, between, 3, stride, groups=between),
            *convolved(between, outside, 1)[:2],
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(ImageNetwork):
    """A stem of stride 2, seven stages of inverted residuals, a 1x1 convolution to 1,280 channels, a mean, a head.

    Shapes: (B, in_channels, H, W), H and W at least 16, -> (B, num_classes) logits. Three of the stages halve the image
    too. Convolutions start from normal weights of variance 2 / fan-out, the head from normal ones of deviation 0.01
    and bias 0.

    Args:
        width: The share of the channels that stages have.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> MobileNetV2(0.5, in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    smallest = 16
    stages = tuple(f"blocks.{i}" for i in range(len(V2_STAGES)))

    def __init__(self, width: float, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        inside = int(32 * width)
        self.conv1 = nn.Sequential(*convolved(in_channels, inside, 3, 2))
        self.blocks = nn.ModuleList()
        for expansion, channels, count, stride in V2_STAGES:
            outside = int(channels * width)
            first = InvertedResidual(inside, outside, stride, expansion)
            others = [InvertedResidual(outside, outside, 1, expansion) for _ in range(count - 1)]
            self.blocks.append(nn.Sequential(first, *others))
            inside = outside
        self.conv2 = nn.Sequential(*convolved(inside, V2_LAST, 1))
        head = nn.Linear(V2_LAST, num_classes)
        self.classifier = nn.Sequential(head)
        draw_convolutions(self)
        draw_head(head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        x = self.through_stages(self.conv1(x))
        head = self.classifier[0]
        assert isinstance(head, nn.Linear)
        return classify(self.conv2(x), head)


class MobileNetV1(ImageNetwork):
    """A stem of stride 2, thirteen separable convolutions of which four halve the image, a mean, a head.

    A separable convolution is a 3x3 one of each channel by itself and a 1x1 one, each with BatchNorm and ReLU.

    Shapes: (B, in_channels, H, W), H and W at least 32 (224 as published), -> (B, num_classes) logits. Weights start
    from PyTorch's defaults.

    Args:
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> MobileNetV1(in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    smallest = 32
    stages = ("model",)

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        layers = [nn.Sequential(*convolved(in_channels, V1_WIDTHS[0], 3, 2))]
        for i, (inside, outside) in enumerate(pairwise(V1_WIDTHS), start=1):
            depthwise = convolved(inside, inside, 3, 2 if i in V1_HALVING else 1, groups=inside)
            layers.append(nn.Sequential(*depthwise, *convolved(inside, outside, 1)))
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(V1_WIDTHS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        return classify(self.through_stages(x), self.fc)
