"""The networks that studies train, by name: those of the standard distillation protocol, and small ones.

The module of each family says which published implementation it equals, and whose checkpoints load. What every name
stands for is in `biasvar.study.networks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import nn

from biasvar.arguments import checked, plain_value
from biasvar.messages import did_you_mean
from biasvar.study.networks import CONVNETS, IMAGENET_RESNETS, ONE_WIDTH, RESNETS, SHUFFLENETS, VGGS, WIDE_RESNETS
from biasvar.training.networks.convnets import ConvNet
from biasvar.training.networks.imagenet_resnets import SmallResNet, StagedResNet
from biasvar.training.networks.mlp import MLP
from biasvar.training.networks.mobilenets import MobileNetV1, MobileNetV2
from biasvar.training.networks.parts import ImageNetwork
from biasvar.training.networks.resnets import ResNet
from biasvar.training.networks.shufflenets import ShuffleNetV1, ShuffleNetV2
from biasvar.training.networks.vggs import VGG
from biasvar.training.networks.wide_resnets import WideResNet

__all__ = ["MLP", "NETWORKS", "ConvNet", "ResNet", "build_network", "seeded", "smallest_image"]

Made = TypeVar("Made", bound=nn.Module)

MOST = {"in_channels": 65_536, "num_classes": 1_000_000, "width": 65_536}
_FAMILIES: Mapping[type[ImageNetwork], Mapping[str, Mapping[str, Any]]] = {
    ConvNet: {name: {"repeats": repeats} for name, repeats in CONVNETS.items()},
    ResNet: {name: {"depth": depth, "widths": widths} for name, (depth, widths) in RESNETS.items()},
    WideResNet: {name: {"depth": depth, "factor": factor} for name, (depth, factor) in WIDE_RESNETS.items()},
    VGG: {name: {"stages": stages} for name, stages in VGGS.items()},
    MobileNetV2: {"mobilenetv2": {"width": 0.5}},
    ShuffleNetV1: {"shufflenetv1": {}},
    ShuffleNetV2: {name: {"widths": widths} for name, widths in SHUFFLENETS.items()},
    SmallResNet: {"resnet50": {"counts": (3, 4, 6, 3)}},
    StagedResNet: {
        name: {"counts": counts, "bottleneck": bottleneck} for name, (counts, bottleneck) in IMAGENET_RESNETS.items()
    },
    MobileNetV1: {"imagenet_mobilenetv1": {}},
}
NETWORKS: Mapping[str, Callable[..., ImageNetwork]] = MappingProxyType(
    {name: partial(family, **options) for family, names in _FAMILIES.items() for name, options in names.items()}
)


@checked
def build_network(
    name: str, *, in_channels: int = 3, num_classes: int, image_size: int | tuple[int, int] = 32,
    width: int | None = None,
) -> ImageNetwork:  # fmt: skip
    """A network of the standard distillation protocol, or another that a study file names, with fresh weights.

    It takes images (B, in_channels, H, W), normalised as one likes, and gives logits (B, num_classes). Weights are
    drawn from PyTorch's global CPU generator, as the published implementation draws them. The module's `feature_taps`
    are the paths of the modules whose outputs are its features.

    Args:
        name: For images of about 32 pixels `resnet8`, `14`, `20`, `32`, `44`, `56`, `110`, `resnet8x4`, `resnet32x4`,
            `resnet18`, `34`, `50`, `wrn-16-1`, `-16-2`, `-16-4`, `-28-2`, `-28-4`, `-40-1`, `-40-2`, `vgg8`, `11`,
            `13`, `16`, `19` (with BatchNorm), `mobilenetv2` (half width), `shufflenetv1`, `shufflenetv2`,
            `shufflenetv2-0.5`, `shufflenetv2-2`, `convnet` and `convnet_deep`; for those of ImageNet
            `imagenet_resnet18`, `34`, `50` and `imagenet_mobilenetv1`.
        in_channels: 1 for grey images, 3 for colour.
        num_classes: Logits per image.
        image_size: Height and width of the images in pixels, one number if they are the same. The network does not
            depend on it; one that cannot take such images is refused.
        width: Channels of the first stage, twice as many in each further one, of `convnet`, `convnet_deep` and the
            residual networks of one width; None: those of its name.

    Returns:
        A `torch.nn.Module` in training mode. Checkpoints of the published implementations load by `load_state_dict`,
        but for `resnet18` and `resnet34`, whose `shortcut` is `downsample` here and whose `linear` is `fc`:
        RepDistiller (Tian et al. 2020) for small images, torchvision's resnets and the MobileNetV1 of Zhou et al. 2021
        for ImageNet.

    Raises:
        ValueError: No network of that name; a number below 1, or far too large; images that are too small; a width of
            a network whose name says it.

    >>> sum(p.numel() for p in build_network("wrn-40-2", num_classes=100).parameters())
    2255156
    >>> build_network("vgg8", num_classes=10, image_size=4)
    Traceback (most recent call last):
    ValueError: image_size: vgg8 takes images of at least 8x8 pixels, not 4x4
    """
    if name not in NETWORKS:
        raise ValueError(
            f"no network named {name!r}{did_you_mean(name, NETWORKS) or ';'} there is: {', '.join(NETWORKS)}, or your "
            "own as package.module:factory"
        )
    height, wide = _size(image_size)
    for what, value in (("in_channels", in_channels), ("num_classes", num_classes), ("width", width)):
        if value is not None and not 1 <= value <= MOST[what]:
            raise ValueError(f"{what} must be 1 to {MOST[what]:,}, not {value}")
    if min(height, wide) < (smallest := smallest_image(name)):
        raise ValueError(
            f"image_size: {name} takes images of at least {smallest}x{smallest} pixels, not {height}x{wide}"
        )
    options: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes}
    if width is None:
        return NETWORKS[name](**options)
    if name not in ONE_WIDTH:
        raise ValueError(f"width: {name} has the widths that its name says; leave it out")
    if name in RESNETS:
        options["widths"] = (width, *(width * 2**i for i in range(len(RESNETS[name][1]) - 1)))
    else:
        options["width"] = width
    return NETWORKS[name](**options)


def smallest_image(name: str) -> int:
    """The pixels that images need in height and width for the network of that name."""
    return next(family.smallest for family, names in _FAMILIES.items() if name in names)


def seeded(seed: int, make: Callable[[], Made]) -> Made:
    """What `make` builds, its weights drawn from `seed` alone (on the CPU, so that every device starts the same)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def draw_from(seed: int) -> None:
    """Let what networks draw at random while they are trained (dropout) come from a seed from here on."""
    torch.manual_seed(seed)


def _size(image_size: Any) -> tuple[int, int]:
    """Height and width."""
    sizes = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(sizes) != 2:
        raise ValueError(f"image_size must be one number of pixels or two, not {len(sizes)}")
    height, width = (plain_value(size, "image_size", ("int",)) for size in sizes)
    return height, width
