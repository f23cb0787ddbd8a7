"""The settings of the methods: one class a method, on what all arms have in common (`biasvar.study.arm`).

A method is two files: its settings class here, and its room `biasvar/training/methods/LOSS.py`. Everything else is
derived from the fields of the class: which keys a study file may give, which are needed (those without a default),
which other arms must be trained first (`ArmName`, `WeightsOf`), the identity of a study, the line of a dry run, the
columns of the report. A method of your own has its settings class beside it and is named by its import path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field

from biasvar.study.arm import Arm, Part, Permute, Predictions, Record, TaughtArm, Variant, is_nothing
from biasvar.study.dropout import Dropping
from biasvar.study.feature_arms import Dfa, DfaSearch
from biasvar.study.joint_teachers import ProximalTeaching
from biasvar.study.sections import SoftLabelName, WeightsOf
from biasvar.study.selecting import LabelRevision, Selecting
from biasvar.study.teacher_free import TfkdReg, TfkdSelf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biasvar.study.soft_labels import SoftLabel

__all__ = [
    "ARMS", "Arm", "CrossEntropy", "Dfa", "DfaSearch", "Distillation", "InfoDropArm", "LabelRevision",
    "LabelSmoothing", "MaskedDistillation", "Part", "Predictions", "ProximalTeaching", "Record", "SoftLabelOnly",
    "SquaredError", "TaughtArm", "TfkdReg", "TfkdSelf", "WeightedSoftLabel", "is_nothing",
]  # fmt: skip


class CrossEntropy(Arm):
    plays = "baseline"

    loss: Literal["cross_entropy"]


class SquaredError(Arm):
    loss: Literal["squared_error"]


class LabelSmoothing(Arm):
    plays = "smoothing"

    loss: Literal["label_smoothing"]
    smoothing: float = Field(ge=0, lt=1)
    variant: Variant | None = None  # none given: the paper's; code: nothing of what is smoothed at the label itself


class Distillation(TaughtArm):
    plays = "distillation"

    loss: Literal["distillation"]
    permute: Permute | None = Field(None, title="{} classes permuted")
    # Mean recorded WSL weight of that arm, same replica and sample.
    weights_from: WeightsOf | None = Field(None, title="weights from {}")
    # Alpha times that arm's mean WSL weight, same replica and epoch.
    alpha_from: WeightsOf | None = Field(None, title="alpha scaled by {}")


class WeightedSoftLabel(TaughtArm, Selecting):
    plays = "weighting"

    loss: Literal["weighted_soft_label"]
    shuffle: bool = Field(False, title="shuffled weights")  # the current weights, shuffled within the batch

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        if self.shuffle and self.selection is not None:
            yield "shuffle", "not with a selection, whose rows have no weight to give; leave one of them out"


class MaskedDistillation(TaughtArm):
    plays = "masking"

    loss: Literal["masked_distillation"]
    keep: Literal["other", "regularization", "random"]  # which samples keep their soft label


class SoftLabelOnly(Arm):
    plays = "soft labels"

    loss: Literal["soft_label"]
    soft_label: SoftLabelName  # which of the study's soft_labels is all that the student learns from
    measure: Literal["cross_entropy", "squared_error", "candidates"] | None = None  # how it is fitted
    k: int | None = Field(None, ge=1)  # measure candidates: the k largest entries; none given: those above 0

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        source = soft_labels.get(self.soft_label)
        if source is not None and source.raw and self.measure in (None, "cross_entropy"):
            yield (
                "measure",
                f"{self.soft_label} are raw scores, whose cross-entropy has no lower bound; take squared_error, or "
                f"soft_labels.{self.soft_label}.project: true",
            )


class InfoDropArm(Arm):
    plays = "dropout"

    loss: Literal["infodrop"]
    dropping: Dropping = Field(title="{}")


ARMS: dict[str, type[Arm]] = {
    get_args(found.model_fields["loss"].annotation)[0]: found
    for found in sorted(globals().values(), key=lambda found: getattr(found, "__module__", None) != __name__)
    if isinstance(found, type) and issubclass(found, Arm) and get_args(found.model_fields["loss"].annotation)
}
"""The settings class of every method of ours by its loss; those defined here come first."""
