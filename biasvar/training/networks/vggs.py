"""VGG networks with BatchNorm and one linear layer, of the distillation benchmark of Tian et al. 2020.

As models/vgg.py of github.com/HobbitLong/RepDistiller at eedab9d (Simonyan and Zisserman 2015, without the hidden
linear layers; `vgg8` has one convolution a stage). Parameters and buffers carry the same names: checkpoints of its
`vgg13_bn` and the like load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks.parts import ImageNetwork, classify, draw_convolutions, draw_head

LARGE = 64  # pixels from which an image is halved once more, before the last stage


class VGG(ImageNetwork):
    """Five stages of conv 3x3, BatchNorm, ReLU; a max-pooling 2x2 after each of the first three, a mean, a head.

    Images of 64 pixels or more are pooled after the fourth stage too, as Tiny-ImageNet's are there.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Convolutions start from normal
    weights of variance 2 / fan-out, the head from normal ones of deviation 0.01; all biases are 0. The features of
    `feature_taps` are those after ReLU, which works in place.

    Args:
        stages: Channels of the convolutions of each stage.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: In `forward`, an input of another shape.

    >>> VGG(((64,), (128,), (256,), (512,), (512,)), in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, stages: Sequence[Sequence[int]], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_channels, self.stages = in_channels, tuple(f"block{i}" for i in range(len(stages)))
        inside = in_channels
        for stage, widths in zip(self.stages, stages, strict=True):
            layers: list[nn.Module] = []
            for outside in widths:
                convolution = nn.Conv2d(inside, outside, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
                inside = outside
            self.add_module(stage, nn.Sequential(*layers))
        self.classifier = nn.Linear(inside, num_classes)
        draw_convolutions(self)
        draw_head(self.classifier)

    @property
    def feature_taps(self) -> tuple[str, ...]:
        """The modules whose outputs are the network's features, from the input to the head: BatchNorm."""
        return tuple(name for name, module in self.named_modules() if isinstance(module, nn.BatchNorm2d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(x)
        halved = (True, True, True, min(x.shape[2:]) >= LARGE, False)
        for stage, pooled in zip(self.stages, halved, strict=True):
            x = self.get_submodule(stage)(x)
            x = F.max_pool2d(x, 2) if pooled else x
        return classify(x, self.classifier)
