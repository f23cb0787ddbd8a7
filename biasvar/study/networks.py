"""The networks that a study file may name."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from biasvar.messages import did_you_mean
from biasvar.study.import_path import check_allowed
from biasvar.study.sections import Section

RESNETS: dict[str, tuple[int, tuple[int, ...]]] = {
    **{f"resnet{depth}": (depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": (depth, (32, 64, 128, 256)) for depth in (8, 32)},
    **{f"resnet{depth}": (depth, (64, 64, 128, 256, 512)) for depth in (18, 34)},
}
"""The CIFAR ResNets: depth, and channels of the stem and the three or four stages. One more is one more entry."""

CONVNETS = {"convnet": 1, "convnet_deep": 3}
"""Small convolutional networks: convolutions before each pooling."""
WIDE_RESNETS = {
    f"wrn-{depth}-{k}": (depth, k) for depth, k in ((16, 1), (16, 2), (16, 4), (28, 2), (28, 4), (40, 1), (40, 2))
}
"""Wide ResNets: depth and factor."""
VGGS: dict[str, tuple[tuple[int, ...], ...]] = {
    f"vgg{depth}": tuple((width,) * count for width, count in zip((64, 128, 256, 512, 512), counts, strict=True))
    for depth, counts in {
        8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4),
    }.items()
}  # fmt: skip
"""VGG networks: channels of the convolutions of each stage."""
SHUFFLENETS = {
    "shufflenetv2": (116, 232, 464, 1024),
    "shufflenetv2-0.5": (48, 96, 192, 1024),
    "shufflenetv2-2": (224, 488, 976, 2048),
}
"""ShuffleNet V2 by size: channels of the stages and of the last convolution."""
IMAGENET_RESNETS = {
    "imagenet_resnet18": ((2, 2, 2, 2), False),
    "imagenet_resnet34": ((3, 4, 6, 3), False),
    "imagenet_resnet50": ((3, 4, 6, 3), True),
}
"""The ResNets of ImageNet: blocks of each stage, and whether they are bottlenecks."""

MODELS = (
    "mlp", *CONVNETS, *RESNETS, *WIDE_RESNETS, *VGGS, "mobilenetv2", "shufflenetv1", *SHUFFLENETS, "resnet50",
    *IMAGENET_RESNETS, "imagenet_mobilenetv1",
)  # fmt: skip
ONE_WIDTH = ("mlp", *CONVNETS, *(name for name in RESNETS if "x" not in name))
"""The networks whose width is one number: those of which no name says a width."""
Width = Annotated[int, Field(ge=1, le=65_536)]
LEFT_OUT: dict[str, Any] = {"width": None, "bias": True}
"""Keys that networks did not have from the first, at their default: written without, as older runs have them."""


def check_model(name: str) -> None:
    """Raise ValueError unless a network has that name, or it is an import path."""
    if name not in MODELS and ":" not in name:
        raise ValueError(
            f"model: no network named {name!r}{did_you_mean(name, MODELS) or ';'} there is: "
            f"{', '.join(MODELS)}, or your own as package.module:factory"
        )
    if name not in MODELS:
        check_allowed(name)


class Network(Section):
    """A network by name, or the import path of a factory.

    For vectors mlp. For images from 8 pixels on convnet and convnet_deep, and the networks of the distillation
    benchmark of Tian et al. 2020: resnet8, 14, 20, 32, 44, 56, 110, resnet8x4, resnet32x4, resnet18, 34, 50,
    wrn-16-1, 16-2, 16-4, 28-2, 28-4, 40-1, 40-2, vgg8, 11, 13, 16, 19, shufflenetv1, shufflenetv2, shufflenetv2-0.5,
    shufflenetv2-2, and from 16 on mobilenetv2. For those of ImageNet, from 32 pixels on and with 224 as published:
    imagenet_resnet18, 34, 50, imagenet_mobilenetv1.

    Its `width` k means in every family: the units or channels of its first hidden layer, from which all others follow.
    mlp: one hidden layer of k units. convnet: k, 2k and 4k channels (16, 32, 64 without it). resnet: k channels in the
    stem, k, 2k, 4k (and 8k, of resnet18 and resnet34) in the stages. A factory of your own is called with `width=k`.
    """

    model: str = "mlp"  # or a network for images by name, or the import path of a factory, "package.module:factory"
    hidden: list[Width] = Field([])  # mlp: widths
    width: Width | None = None  # instead of hidden, and of what other networks have by themselves
    bias: bool = True  # mlp: false: no layer adds one

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_model(self.model)
        if self.model == "mlp" and not self.layers:
            raise ValueError("hidden: model mlp needs the widths of its hidden layers, such as [24], or a width")
        if self.model != "mlp" and self.hidden:
            raise ValueError(f"hidden: only model mlp has it, not {self.model}")
        if self.hidden and self.width is not None:
            raise ValueError(f"width: hidden says the widths already, {self.hidden}; leave one of them out")
        if self.width is not None and self.model in MODELS and self.model not in ONE_WIDTH:
            narrow = self.model.partition("x")[0]
            cure = f"take {narrow}" if narrow in ONE_WIDTH else "leave it out"
            raise ValueError(f"width: {self.model} has the widths that its name says; {cure}")
        if self.model != "mlp" and not self.bias:
            raise ValueError(f"bias: only model mlp can be without, not {self.model}")
        return self

    @model_serializer(mode="wrap")
    def _without_later_keys(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All keys but those of `LEFT_OUT` at their default."""
        found: dict[str, Any] = written(self)
        return {key: value for key, value in found.items() if (key, value) not in LEFT_OUT.items()}

    @property
    def layers(self) -> list[int]:
        """Of model mlp, the widths of the hidden layers."""
        return self.hidden or ([self.width] if self.width is not None else [])

    def in_words(self) -> str:
        """The network in a few characters, "resnet20", "mlp 24-24" or "convnet width 8"."""
        widths = "-".join(map(str, self.layers)) if self.model == "mlp" else f"width {self.width}" if self.width else ""
        return " ".join(filter(None, [self.model, widths, "" if self.bias else "without biases"]))
