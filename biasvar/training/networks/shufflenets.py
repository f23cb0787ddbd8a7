"""ShuffleNet V1 and V2 for small images, of the distillation benchmark of Tian et al. 2020.

As models/ShuffleNetv1.py and ShuffleNetv2.py of github.com/HobbitLong/RepDistiller at eedab9d (Zhang et al. 2018, Ma et
al. 2018, with a 1x1 stem of 24 channels and no pooling). Parameters and buffers carry the same names: checkpoints of
its `ShuffleV1` and `ShuffleV2` load. Weights start from PyTorch's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify

STEM = 24
V1_WIDTHS, V1_GROUPS = (240, 480, 960), 3
V1_BLOCKS, V2_BLOCKS = (4, 8, 4), (3, 7, 3)


def shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """The channels dealt out anew: one of each group in turn.

    >>> shuffle(torch.arange(6).reshape(1, 6, 1, 1), 2).flatten().tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class GroupedBlock(nn.Module):
    """A bottleneck of grouped 1x1 convolutions around a 3x3 one of each channel by itself, plus x.

    With stride 2 x is averaged over 3x3 pixels and stands beside the rest, as further channels. Channels are shuffled
    after the first convolution. Shapes: (B, inside, H, W) -> (B, outside, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        made = outside - inside if stride == 2 else outside
        between = made // 4
        self.groups, self.stride = 1 if inside == STEM else V1_GROUPS, stride
        self.conv1 = nn.Conv2d(inside, between, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(between)
        self.conv2 = nn.Conv2d(between, between, 3, stride, padding=1, groups=between, bias=False)
        self.bn2 = nn.BatchNorm2d(between)
        self.conv3 = nn.Conv2d(between, made, 1, groups=V1_GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = shuffle(F.relu(self.bn1(self.conv1(x)), inplace=True), self.groups)
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)), inplace=True)))
        if self.stride == 1:
            return F.relu(y + x, inplace=True)
        return F.relu(torch.cat([y, F.avg_pool2d(x, 3, stride=2, padding=1)], 1), inplace=True)


class SplitBlock(nn.Module):
    """Half of the channels as they are beside f of the other half, shuffled.

    f = conv 1x1, a 3x3 one of each channel by itself, conv 1x1; BatchNorm after each, ReLU after the first and last.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, y = x.chunk(2, 1)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(y)), inplace=True)))
        y = F.relu(self.bn3(self.conv3(y)), inplace=True)
        return shuffle(torch.cat([kept, y], 1), 2)


class DownBlock(nn.Module):
    """Two branches of half the channels each, which halve the image, side by side and shuffled."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        half = outside // 2
        self.conv1 = nn.Conv2d(inside, inside, 3, 2, padding=1, groups=inside, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(inside, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))), inplace=True)
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)), inplace=True)))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        return shuffle(torch.cat([left, right], 1), 2)


class ShuffleNet(ImageNetwork):
    """What both have: a 1x1 stem with BatchNorm and ReLU, and three stages, each of which halves the image."""

    stages = ("layer1", "layer2", "layer3")

    def __init__(self, *, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The output of the last stage, of an eighth of the size."""
        self.check(x)
        return self.through_stages(F.relu(self.bn1(self.conv1(x)), inplace=True))


class ShuffleNetV1(ShuffleNet):
    """A stem, stages of 4, 8 and 4 blocks in 3 groups, of 240, 480 and 960 channels, a mean over pixels, a head.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits.

    Args:
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> ShuffleNetV1(in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels=in_channels)
        inside = STEM
        for i, (outside, count) in enumerate(zip(V1_WIDTHS, V1_BLOCKS, strict=True), start=1):
            others = (GroupedBlock(outside, outside, 1) for _ in range(count - 1))
            self.add_module(f"layer{i}", nn.Sequential(GroupedBlock(inside, outside, 2), *others))
            inside = outside
        self.linear = nn.Linear(inside, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return classify(self.features(x), self.linear)


class ShuffleNetV2(ShuffleNet):
    """A stem, three stages of a block that halves the image and 3, 7 and 3 more, a 1x1 convolution, a mean, a head.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits.

    Args:
        widths: Channels of the stages and of the last convolution.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> ShuffleNetV2((48, 96, 192, 1024), in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, widths: Sequence[int], *, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels=in_channels)
        *stages, last = widths
        inside = STEM
        for i, (outside, count) in enumerate(zip(stages, V2_BLOCKS, strict=True), start=1):
            others = (SplitBlock(outside) for _ in range(count))
            self.add_module(f"layer{i}", nn.Sequential(DownBlock(inside, outside), *others))
            inside = outside
        self.conv2 = nn.Conv2d(inside, last, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(last)
        self.linear = nn.Linear(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.features(x))
        return classify(F.relu(self.bn2(x), inplace=True), self.linear)
