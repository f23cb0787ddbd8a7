"""A small convolutional network: the cheapest one that tells photographs apart, for studies on few CPU cores."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST = 8  # pixels: three times the image is halved
WIDTHS = (16, 32, 64)


class ConvNet(nn.Module):
    """Three times conv 3x3, BatchNorm, ReLU, max-pooling 2x2, with 16, 32, 64 channels; a mean over pixels, a head.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Weights are PyTorch's defaults, from
    the global CPU generator. As in `ResNet`, the mean over pixels and the head are computed in the head's own precision
    under autocast.

    Args:
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> ConvNet(in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        inside = (in_channels, *WIDTHS[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(inside, WIDTHS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"this network takes images of shape (B, {self.in_channels}, H, W) with H and W at least {SMALLEST}, "
                f"not {tuple(x.shape)}"
            )
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x)), inplace=True), 2)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype).mean((2, 3)))
