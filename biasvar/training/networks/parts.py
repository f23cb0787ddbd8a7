"""What networks for images share: the check of what they are given, stages of blocks, and the head."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn


class ImageNetwork(nn.Module):
    """A network from images (B, in_channels, H, W) to logits (B, num_classes).

    Attributes:
        smallest: Pixels that an image needs in height and width.
        in_channels: 1 for grey, 3 for colour.
        stages: Paths of the modules of blocks that an image goes through one after another.
    """

    smallest: ClassVar[int] = 8
    in_channels: int
    stages: tuple[str, ...] = ()

    @property
    def feature_taps(self) -> tuple[str, ...]:
        """The modules whose outputs are the network's features, from the input to the head: its stages' blocks."""
        blocks = {stage: self.get_submodule(stage).named_children() for stage in self.stages}
        return tuple(f"{stage}.{name}" for stage, named in blocks.items() for name, _ in named)

    def through_stages(self, x: torch.Tensor) -> torch.Tensor:
        """The output of the last stage."""
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x

    def check(self, x: torch.Tensor) -> None:
        """Raise ValueError unless x is a batch of images that the network takes."""
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < self.smallest:
            raise ValueError(
                f"this network takes images of shape (B, {self.in_channels}, H, W) with H and W at least "
                f"{self.smallest}, not {tuple(x.shape)}"
            )


def classify(features: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    """Logits (B, C) of feature maps (B, K, H, W): the mean over pixels, then the head.

    Both are computed in the head's own precision under autocast, float32: bf16 logits carry 2 to 3 decimal digits, too
    few for a variance.
    """
    with torch.autocast(features.device.type, enabled=False):
        logits: torch.Tensor = head(features.to(head.weight.dtype).mean((2, 3)))
    return logits


def draw_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions anew: normal, of variance 2 / fan-out; a bias becomes 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_head(head: nn.Linear) -> None:
    """Draw the weights of a head anew: normal, of standard deviation 0.01; the bias becomes 0."""
    nn.init.normal_(head.weight, 0, 0.01)
    nn.init.zeros_(head.bias)


def convolved(inside: int, outside: int, kernel: int, stride: int = 1, *, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size but for its stride, BatchNorm, and ReLU in place."""
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
