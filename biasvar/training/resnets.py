"""Networks for small images by name, residual ones above all, and a user's own network by import path.

The residual ones are those of the distillation benchmark of Tian et al. 2020 (CRD; github.com/HobbitLong/RepDistiller,
models/resnet.py at eedab9d): He et al. 2016, section 4.2, with a 1x1 convolution and BatchNorm as shortcut where the
shape changes. Parameters and buffers carry the same names, so a checkpoint of one loads into the other.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.convnet import ConvNet

SMALLEST = 8  # pixels: the last stage works at a quarter of the image's side


class Builder(Protocol):
    """What makes a network: an entry of NETWORKS, or a user's factory."""

    def __call__(self, *, in_channels: int, num_classes: int) -> nn.Module: ...


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
    """A residual network of `depth` = 6 n + 2 layers: a 3x3 stem, three stages of n blocks, a mean over pixels, a head.

    Shapes: (B, in_channels, H, W), H and W at least 8, -> (B, num_classes) logits. Stages 2 and 3 halve the image.
    Convolutions start from normal weights of variance 2 / fan-out, BatchNorm from weight 1 and bias 0, the head from
    PyTorch's default for Linear; all are drawn from the global CPU generator, so that under `torch.random.fork_rng`
    and `torch.manual_seed(seed)` they depend on the seed alone. Under autocast the mean over pixels and the head are
    computed in the head's own precision, float32: bf16 logits carry 2 to 3 decimal digits, too few for a variance.

    Args:
        depth: Number of layers with weights, shortcuts aside.
        widths: Channels of the stem and of the three stages.
        in_channels: 1 for grey, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: `depth` is not 6 n + 2; in `forward`, an input of another shape.

    >>> ResNet(8, (16, 16, 32, 64), in_channels=3, num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, depth: int, widths: Sequence[int], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"a residual network has 6 n + 2 layers (8, 14, 20, ...), not {depth}")
        stem, first, second, third = widths
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(blocks, stem, first, 1)
        self.layer2 = _stage(blocks, first, second, 2)
        self.layer3 = _stage(blocks, second, third, 2)
        self.fc = nn.Linear(third, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"this network takes images of shape (B, {self.in_channels}, H, W) with H and W at least {SMALLEST}, "
                f"not {tuple(x.shape)}"
            )
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype).mean((2, 3)))


def _stage(blocks: int, inside: int, outside: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outside, outside, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inside, outside, stride), *rest)


_NARROW, _WIDE = (16, 16, 32, 64), (32, 64, 128, 256)

NETWORKS: Mapping[str, Builder] = MappingProxyType(
    {
        "convnet": ConvNet,
        **{f"resnet{depth}": partial(ResNet, depth, _NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
        **{f"resnet{depth}x4": partial(ResNet, depth, _WIDE) for depth in (8, 32)},
    }
)


def build_network(name: str, *, in_channels: int, num_classes: int) -> nn.Module:
    """The network of that name, with fresh weights from the global CPU generator.

    Args:
        name: A key of NETWORKS.
        in_channels: 1 for grey images, 3 for colour.
        num_classes: Logits per image.

    Raises:
        ValueError: No network of that name.

    >>> sum(p.numel() for p in build_network("resnet20", in_channels=3, num_classes=100).parameters())
    278324
    """
    if name not in NETWORKS:
        raise ValueError(
            f"no network named {name!r}; there is: {', '.join(NETWORKS)}, or your own as package.module:factory"
        )
    return NETWORKS[name](in_channels=in_channels, num_classes=num_classes)


def load_network(
    path: str,
    *,
    in_channels: int,
    num_classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A user's own network: the torch module that a factory, named by its import path, returns.

    The factory is called as `factory(in_channels=..., num_classes=..., **options)`. What it returns is tried on two
    black images, in evaluation mode and without touching the random state, before anything is trained.

    Args:
        path: "package.module:factory", importable where the study runs (installed, or in the current folder).
        in_channels, num_classes: Passed to the factory.
        image_size: (H, W) of the images it will be given.
        options: Further keyword arguments for the factory.

    Returns:
        The module, in the mode (training or evaluation) in which the factory returned it.

    Raises:
        ValueError: Not a path of that form; no such module or name; not callable; it fails when called; it returns
            something else than an `nn.Module`; the trial fails or its output has not the shape (B, num_classes).

    >>> load_network("biasvar.training.resnets:no_such", in_channels=1, num_classes=10, image_size=(28, 28))
    Traceback (most recent call last):
    ValueError: network biasvar.training.resnets:no_such: module biasvar.training.resnets has no 'no_such'
    """
    arguments = {"in_channels": in_channels, "num_classes": num_classes, **(options or {})}
    factory = _import(path)
    call = f"{path}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
    try:
        network = factory(**arguments)
    except Exception as error:
        raise ValueError(f"network {call} failed with {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network {call} returned {type(network).__name__}, not a torch.nn.Module")
    _try(network, call, (2, in_channels, *image_size), num_classes)
    return network


def source_hash(path: str) -> str | None:
    """SHA-256 of the source file that a network's import path names; None for a network of ours.

    What "mylab.nets:wide_net" stands for may change between two runs: kept weights are good for one source only.
    Modules that the file imports in its turn are not looked at.

    >>> source_hash("resnet20") is None
    True
    """
    if ":" not in path:
        return None
    source = getattr(importlib.import_module(path.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None


def _import(path: str) -> Callable[..., object]:
    """The callable that a path names."""
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name):
        raise ValueError(f"network {path!r}: expected package.module:factory, such as mylab.nets:wide_net")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        # A module that exists but imports something missing is another mistake than a misspelt path.
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(
                f"network {path}: no module named {missing!r}; install it, or run where it can be imported"
            ) from error
        raise ValueError(f"network {path}: {module_name} needs a module named {missing!r}, not installed") from error
    except Exception as error:
        raise ValueError(
            f"network {path}: importing {module_name} failed with {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, name):
        raise ValueError(f"network {path}: module {module_name} has no {name!r}")
    factory = getattr(module, name)
    if not callable(factory):
        raise ValueError(f"network {path}: {name!r} is {type(factory).__name__}, which cannot be called")
    return factory


def _try(network: nn.Module, call: str, shape: tuple[int, ...], num_classes: int) -> None:
    """Raise unless images of that shape become logits; the module's mode and the random state stay as they were."""
    training = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network(torch.zeros(shape))
    except Exception as error:
        raise ValueError(
            f"network {call} failed on images of shape {shape} with {type(error).__name__}: {error}"
        ) from error
    finally:
        for module, mode in training:
            module.training = mode
    wanted = (shape[0], num_classes)
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"network {call} gave {type(logits).__name__} for a batch of images, not a tensor of logits")
    if tuple(logits.shape) != wanted:
        raise ValueError(
            f"network {call} gave shape {tuple(logits.shape)} for images of shape {shape}; expected {wanted}: "
            "one logit a class for each image"
        )
