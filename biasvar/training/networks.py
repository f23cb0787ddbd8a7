"""The networks that studies train, by name: an MLP, a small convolutional one, and residual ones.

The residual ones are those of the distillation benchmark of Tian et al. 2020 (CRD; github.com/HobbitLong/RepDistiller,
models/resnet.py at eedab9d): He et al. 2016, section 4.2, with a 1x1 convolution and BatchNorm as shortcut where the
shape changes. Parameters and buffers carry the same names, so a checkpoint of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.study.networks import RESNETS

Made = TypeVar("Made", bound=nn.Module)

SMALLEST = 8  # pixels: the convolutional network halves an image three times, residual ones twice
CONVNET_WIDTH = 16
FOUR_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks of each stage, by depth
CONVNETS = {"convnet": 1, "convnet_deep": 3}  # convolutions before each pooling


class Builder(Protocol):
    """What makes a network: an entry of NETWORKS, or a user's factory."""

    def __call__(self, *, in_channels: int, num_classes: int) -> nn.Module: ...


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


class ConvNet(nn.Module):
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

    def __init__(self, *, in_channels: int, num_classes: int, repeats: int = 1, width: int = CONVNET_WIDTH) -> None:
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
        """The modules whose outputs are the network's features, from the input to the head."""
        return tuple(f"norms.{i}" for i in range(len(self.norms)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"this network takes images of shape (B, {self.in_channels}, H, W) with H and W at least {SMALLEST}, "
                f"not {tuple(x.shape)}"
            )
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), start=1):
            x = F.relu(norm(convolution(x)), inplace=True)
            if i % self.repeats == 0:
                x = self.pools[i // self.repeats - 1](x)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype).mean((2, 3)))


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


class ResNet(nn.Module):
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
        self.in_channels, self.stages = in_channels, len(blocks)
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        for i, (count, (inside, outside)) in enumerate(zip(blocks, pairwise(widths), strict=True), start=1):
            self.add_module(f"layer{i}", _stage(count, inside, outside, 1 if i == 1 else 2))
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def feature_taps(self) -> tuple[str, ...]:
        """The modules whose outputs are the network's features, from the input to the head: its blocks."""
        named = {f"layer{i}": self.get_submodule(f"layer{i}") for i in range(1, self.stages + 1)}
        return tuple(f"{name}.{i}" for name, stage in named.items() for i, _ in enumerate(stage.children()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"this network takes images of shape (B, {self.in_channels}, H, W) with H and W at least {SMALLEST}, "
                f"not {tuple(x.shape)}"
            )
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        for i in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{i}")(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype).mean((2, 3)))


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


NETWORKS: Mapping[str, Builder] = MappingProxyType(
    {
        **{name: partial(ConvNet, repeats=repeats) for name, repeats in CONVNETS.items()},
        **{name: partial(ResNet, depth, widths) for name, (depth, widths) in RESNETS.items()},
    }
)


def build_network(name: str, *, in_channels: int, num_classes: int, width: int | None = None) -> nn.Module:
    """The network of that name, with fresh weights from the global CPU generator.

    Args:
        name: A key of NETWORKS.
        in_channels: 1 for grey images, 3 for colour.
        num_classes: Logits per image.
        width: Channels of its first stage, twice as many in each further one; none given: those of its name.

    Raises:
        ValueError: No network of that name.

    >>> sum(p.numel() for p in build_network("resnet20", in_channels=3, num_classes=100).parameters())
    278324
    """
    if name not in NETWORKS:
        raise ValueError(
            f"no network named {name!r}; there is: {', '.join(NETWORKS)}, or your own as package.module:factory"
        )
    if width is None:
        return NETWORKS[name](in_channels=in_channels, num_classes=num_classes)
    if name in RESNETS:
        depth, usual = RESNETS[name]
        widths = (width, *(width * 2**i for i in range(len(usual) - 1)))
        return ResNet(depth, widths, in_channels=in_channels, num_classes=num_classes)
    return ConvNet(in_channels=in_channels, num_classes=num_classes, repeats=CONVNETS[name], width=width)


def seeded(seed: int, make: Callable[[], Made]) -> Made:
    """What `make` builds, its weights drawn from `seed` alone (on the CPU, so that every device starts the same)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
