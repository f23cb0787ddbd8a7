"""What a study file may say of a teacher."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from biasvar.study.networks import Width, check_model
from biasvar.study.sections import Section


class BadTeacher(Section):
    """A teacher that is wrong on purpose: `biasvar.losses.BadTeacherLoss`."""

    k: int = Field(3, ge=2)
    punishment: float = Field(1.0, ge=0)
    compensation: float = Field(1.0, ge=0)
    rivals: float = Field(1.0, ge=0)
    redraw: bool = False  # rivals drawn anew in every epoch, not once a sample


class Teacher(Section):
    label: str = ""
    model: str = "mlp"
    hidden: list[Width] = Field([256, 256], min_length=1)  # of model mlp
    draw: Literal["fixed", "per_replica"] = "fixed"
    rows: Literal["all", "reserved", "own"] | Annotated[int, Field(ge=1, strict=True)] = "all"
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(100, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    weight_decay: float | None = Field(None, ge=0)  # none given: the schedule's
    augment: bool = True  # crops and flips of the data in its own training; false: it sees the images as they are
    smoothing: float = Field(0.0, ge=0, lt=1)
    bad: BadTeacher | None = None
    follow: bool = False  # keep accuracy, unreliability and ambiguity on the pool and held-out rows by epoch
    train_mode: bool = False  # BatchNorm on batch statistics while it teaches, as in the code released with WSL

    @model_validator(mode="after")
    def _regime(self) -> Self:
        check_model(self.model)
        if self.bad and self.smoothing:
            raise ValueError("bad: its loss has no label smoothing; leave smoothing out")
        if (self.draw == "per_replica") != (self.rows == "own"):
            raise ValueError("draw: per_replica goes with rows: own (each replica's own rows), and only with it")
        return self

    @property
    def regime(self) -> str:
        """The teacher regime, as captions and claims name it."""
        if self.draw == "per_replica":
            return "per replica"
        if self.rows == "all":
            return "fixed, all training rows"
        return "fixed, disjoint rows" if self.rows == "reserved" else f"fixed, {self.rows} training rows"
