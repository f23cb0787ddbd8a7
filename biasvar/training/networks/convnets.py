"""Small convolutional networks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify


class ConvNet(ImageNetwork):
    """Three times conv 3x3, BatchNorm, ReLU, max-pooling 2x2, of k, 2k, 4k channels; a mean over pixels, a head.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Weights are PyTorch's defaults, from
    the global CPU generator. As in `ResNet`, the mean over pixels and the head are computed in the head's own precision
    under autocast. The features of `feature_taps` are those after ReLU, which works in place, and before the pooling.

    Args:
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.
        repeats: How often conv, BatchNorm and ReLU come before each pooling.
        width: k.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> ConvNet(in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, in_channels: int, num_classes: int, repeats: int = 1, width: int = 16) -> None:
        super().__init__()
        self.in_channels, self.repeats = in_channels, repeats
        channels = [width, 2 * width, 4 * width]
        widths = [one for one in channels for _ in range(repeats)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise([in_channels, *widths])
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in channels)
        self.fc = nn.Linear(channels[-1], num_classes)

    @property
    def feature_taps(self) -> tuple[str, ...]:
        """The modules whose outputs are the network's features, from the input to the head: BatchNorm."""
        return tuple(f"norms.{i}" for i in range(len(self.norms)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), start=1):
            x = F.relu(norm(convolution(x)), inplace=True)
            if i % self.repeats == 0:
                x = self.pools[i // self.repeats - 1](x)
        return classify(x, self.fc)
