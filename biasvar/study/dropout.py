"""The settings of InfoDrop in a student: behind which convolutions, how much is dropped and where, and until when."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from biasvar.messages import first_few
from biasvar.study.sections import Section

Path = Annotated[str, Field(min_length=1)]


class Dropping(Section):
    """InfoDrop (Shi et al. 2020), `biasvar.modules.InfoDrop`: the defaults are those of the authors' ResNets."""

    layers: list[Path] = Field(min_length=1)  # convolutions, by module path
    after: dict[Path, Path] = Field({})  # by convolution: the module whose output is thinned instead of its own
    rate: float = Field(1.5, gt=0, le=100)  # draws by place and channel; evenly, e^-rate are kept
    # Of the probabilities: the lower, the more only what says nothing is dropped.
    temperature: float = Field(0.03, ge=1e-6)
    uniform: bool = False  # temperature infinite: plain dropout of as many places, wherever they are
    bandwidth: float = Field(1.0, ge=1e-6, le=1e6)  # in units of the root of the mean distance
    radius: int = Field(3, ge=1, le=64)  # of the neighbourhood
    neighbours: Annotated[int, Field(ge=1)] | Literal["all"] = 9  # drawn for each forward pass, or the whole square
    eval: Literal["random", "expected", "off"] = "random"
    finetune_epochs: int = Field(ge=0)  # of the schedule's, the last: without it
    finetune_rate: float = Field(1.0, gt=0)  # times the learning rate, by the schedule over these epochs again

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len({*self.layers}) < len(self.layers):
            raise ValueError(f"layers: must name each convolution once, not {first_few(self.layers)}")
        unknown = [path for path in self.after if path not in self.layers]
        if unknown:
            raise ValueError(f"after: {unknown[0]} is not among the layers, which are {first_few(self.layers)}")
        if self.uniform and "temperature" in self.model_fields_set:
            raise ValueError("uniform: true is an infinite temperature; leave temperature out")
        square = (2 * self.radius + 1) ** 2
        if self.neighbours != "all" and self.neighbours > square:
            raise ValueError(
                f"neighbours: must be at most the {square} places of radius {self.radius}, or all, not "
                f"{self.neighbours}"
            )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `biasvar.modules.InfoDrop` but for its temperature where that is infinite."""
        keys = ("rate", "temperature", "bandwidth", "radius", "neighbours", "eval")
        values = {key: getattr(self, key) for key in keys}
        return values | ({"temperature": float("inf")} if self.uniform else {})

    def __str__(self) -> str:
        where = "evenly" if self.uniform else f"at temperature {self.temperature:g}"
        until = f"the last {self.finetune_epochs} epochs without it" if self.finetune_epochs else "to the end"
        return f"{self.rate:g} draws a place {where} behind {first_few(self.layers)}, {until}"
