"""The networks that a study file may name."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from biasvar.messages import did_you_mean
from biasvar.study.import_path import check_allowed
from biasvar.study.sections import Section

RESNETS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    **{f"resnet{depth}": (depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": (depth, (32, 64, 128, 256)) for depth in (8, 32)},
}
"""The CIFAR ResNets: depth, and channels of the stem and the three stages. One more is one more entry."""

MODELS = ("mlp", "convnet", "convnet_deep", *RESNETS)
Width = Annotated[int, Field(ge=1, le=65_536)]


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
    model: str = "mlp"  # or a network for images by name, or the import path of a factory, "package.module:factory"
    hidden: list[Width] = Field([])  # mlp: widths

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_model(self.model)
        if self.model == "mlp" and not self.hidden:
            raise ValueError("hidden: model mlp needs the widths of its hidden layers, such as [24]")
        if self.model != "mlp" and self.hidden:
            raise ValueError(f"hidden: only model mlp has it, not {self.model}")
        return self

    def in_words(self) -> str:
        """The network in a few characters, "resnet20" or "mlp 24-24"."""
        return " ".join([self.model, *(["-".join(map(str, self.hidden))] if self.hidden else [])])
