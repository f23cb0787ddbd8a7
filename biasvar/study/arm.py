"""What all arms of a study have in common: who an arm is, what of it is kept, and what its settings class must say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from biasvar.study.label_noise import LabelNoise
from biasvar.study.networks import Network
from biasvar.study.sections import Section, TaughtBy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biasvar.study.soft_labels import SoftLabel

Part = Literal[
    "baseline", "smoothing", "distillation", "weighting", "masking", "soft labels", "features", "joint distillation",
    "dropout", "revision",
]  # fmt: skip
"""Parts that methods play in a report: what others are compared with; distillation that takes its soft labels as they
are; weighted sample by sample; left to some samples only; soft labels and nothing else; features of the teacher;
distillation from a teacher that trains along; parts of the student dropped; soft labels revised, or left to a selection
of the rows."""

Epoch = Annotated[int, Field(ge=1, strict=True)]
MOST_TEMPERATURE = 1e6
"""Of a study, and its inverse the least: beyond, float32 logits over it are all alike, or one class has all."""


def _computable(temperature: float) -> float:
    if not 1 / MOST_TEMPERATURE <= temperature <= MOST_TEMPERATURE:
        raise ValueError(
            f"must lie between {1 / MOST_TEMPERATURE:g} and {MOST_TEMPERATURE:g}, beyond which float32 tells no soft "
            f"labels apart, not {temperature:g}"
        )
    return temperature


Temperature = Annotated[float, Field(gt=0), AfterValidator(_computable)]
Weight = Annotated[float, Field(ge=0)]
Variant = Literal["paper", "code"]
"""What a paper writes, and what the code released with it computes, where the two differ."""
Permute = Literal["non_target"]
"""Which of a teacher's classes change places, sample by sample: all but the true one."""


Epochs = Literal["all", "last"] | Epoch | Annotated[list[Epoch], Field(min_length=1)]
"""An integer k: every k-th, with the first and the last."""


def selected_epochs(epochs: Epochs, total: int) -> set[int]:
    """The epochs chosen of so many, counted from 1."""
    if epochs == "all":
        return set(range(1, total + 1))
    if epochs == "last":
        return {total}
    if isinstance(epochs, int):
        return {1, total, *range(epochs, total + 1, epochs)}
    return {epoch for epoch in epochs if epoch <= total}


class Record(Section):
    epochs: Epochs = "all"
    rows: Epochs | Literal["none"] = "all"
    clean_train: bool = True

    def selected(self, total: int) -> set[int]:
        """The epochs whose training pass is recorded, be it by its means alone."""
        return selected_epochs(self.epochs, total)

    def kept(self, total: int) -> set[int]:
        """Those of them whose record of every sample stays."""
        return set() if self.rows == "none" else self.selected(total) & selected_epochs(self.rows, total)


class Predictions(Section):
    """Epochs after which predictions are kept, for the decomposition; those of the last epoch always are."""

    epochs: Epochs = "last"
    train: bool = False  # also of the training rows, member and non-member, at every one of these epochs
    beside: list[Literal["validation", "train"]] = Field(["validation", "train"])

    def selected(self, total: int) -> set[int]:
        return selected_epochs(self.epochs, total) | {total}

    def splits(self, *, last: bool) -> set[str]:
        """The splits whose predictions are kept after one of these epochs, which is the last of all or not."""
        return {"test", *(self.beside if last else ()), *(("train",) if self.train else ())}


class Arm(Section):
    """What every arm has; the settings of a method are the fields that its class adds.

    The `title` of a field is how a dry run says it, "{}" being the value; without one it is the key and the value.

    Attributes:
        plays: The part that the method plays in figures and contrasts, so that these know no method by name; a method
            of your own may play one of ours.
        own_teacher: True if the method has a teacher of its own, which trains along: the arm is recorded against that
            one, and its answers on held-out rows are kept wherever the students' are.
    """

    plays: ClassVar[Part | None] = None
    own_teacher: ClassVar[bool] = False

    loss: str  # a method by name, or the import path of your own, "package.module:Method"
    label: str = ""
    role: Literal["main", "control", "regime", "teacher sweep", "grid"] = "main"
    family: str = ""  # arms of one family share a learning rate; default: the loss
    student: Network | None = None  # another network than the study's
    label_noise: LabelNoise | None = None  # other labels of training rows than the study's
    swept: dict[str, float] = Field({})  # of an arm that a sweep wrote out: its values
    teacher_shift: int | None = Field(None, ge=1)  # replica r learns from copy (r + shift) mod copies of its teacher
    record: Record | None = None
    predictions: Predictions | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own keys with their values, those at "nothing" left out."""
        values = {key: getattr(self, key) for key in self.own_keys()}
        return {key: value for key, value in values.items() if not is_nothing(value)}

    @property
    def teacher_name(self) -> str | None:
        """The teacher that the loss learns from; None if it has none."""
        return self.get("teacher")

    @property
    def tau(self) -> float | None:
        """The temperature of the loss; None if it has none."""
        return self.get("temperature")

    @property
    def tables(self) -> tuple[str, ...]:
        """What the method leaves in the run beside its record, of `biasvar.records.schema.METHOD_TABLES`."""
        return ()

    @property
    def at_chance(self) -> str:
        """Why the method's students answer at chance whatever their learning rate, in words; "" if they do not."""
        return ""

    @property
    def models(self) -> list[str]:
        """The networks that train beside the student, by name."""
        return []

    def uses(self) -> list[str]:
        """The arms whose record or students the method needs, as its own keys say."""
        return [name for _, mark, name in self.references() if mark.to == "arm"]

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        """(key, what is wrong) of settings that do not go together with the study's soft labels."""
        yield from ()

    def in_words(self) -> str:
        """The loss with all its settings, "distillation, teacher main, temperature 4, alpha 2.25"."""
        said = [self.loss]
        for key, value in self.settings.items():
            title = type(self).model_fields[key].title
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            said.append(title.replace("{}", shown) if title else f"{key.replace('_', ' ')} {shown}")
        if self.student is not None:
            said.append(f"student {self.student.in_words()}")
        if self.label_noise is not None:
            said.append(self.label_noise.in_words())
        if self.teacher_shift:
            said.append(f"teachers shifted by {self.teacher_shift}")
        return ", ".join(said)


def is_nothing(value: Any) -> bool:
    """True for the values that mean "not set": None, false and an empty text."""
    return value is None or value is False or value == ""


class TaughtArm(Arm):
    """What every loss with a teacher has; for methods of your own too."""

    teacher: TaughtBy
    temperature: Temperature
    alpha: Weight
