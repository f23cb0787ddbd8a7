"""The settings of Tf-KD's methods (Yuan et al. 2020): a virtual teacher, and distillation by the paper's weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from biasvar.study.arm import Arm, Permute, TaughtArm, Temperature, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biasvar.study.soft_labels import SoftLabel


class TfkdReg(Arm):
    """Tf-KD_reg: a virtual teacher that is always right (`biasvar.losses.VirtualTeacherLoss`)."""

    plays = "smoothing"

    loss: Literal["tfkd_reg"]
    variant: Variant
    alpha: float = Field(ge=0, le=1)  # of the virtual teacher; the label has the rest
    temperature: Temperature  # of the virtual teacher, in the paper's variant of the student in the loss too
    multiplier: float | None = Field(None, gt=0)  # variant code: before the divergence; none given: 1
    correct_probability: float = Field(0.99, gt=0, le=1)  # of the true class before the temperature

    @property
    def tau(self) -> None:
        """None: the temperature is the virtual teacher's, and no other teacher's soft labels are seen at it."""
        return None

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        yield from _multiplier_faults(self.variant, self.multiplier)


class TfkdSelf(TaughtArm):
    """Tf-KD_self where the teacher is an arm of the same network; KD, reversed and defective KD with other teachers.

    The loss is `biasvar.losses.SelfDistillationLoss`.
    """

    plays = "distillation"

    loss: Literal["tfkd_self"]
    variant: Variant
    alpha: float = Field(ge=0, le=1)  # of the teacher; the label has the rest
    multiplier: float | None = Field(None, gt=0)  # variant code: before the divergence; none given: 1
    permute: Permute | None = Field(None, title="{} classes permuted")

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        yield from _multiplier_faults(self.variant, self.multiplier)


def _multiplier_faults(variant: str, multiplier: float | None) -> Iterator[tuple[str, str]]:
    if variant == "paper" and multiplier is not None:
        yield "multiplier", "only the code has one; leave it out, or take variant: code"
