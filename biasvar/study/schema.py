"""What a study file may say: its sections, their keys, defaults and bounds."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, StringConstraints, model_validator

from biasvar.errors import StudyError
from biasvar.messages import did_you_mean
from biasvar.study.sections import Section as _Section
from biasvar.study.soft_labels import SoftLabel

# What each loss takes, beside what every arm takes; the first of the sets must be given (in the arm or in `defaults`).
LOSS_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "cross_entropy": (set(), set()),
    "label_smoothing": ({"smoothing"}, set()),
    "distillation": ({"teacher", "temperature", "alpha"}, {"weights_from", "alpha_from"}),
    "weighted_soft_label": ({"teacher", "temperature", "alpha"}, {"shuffle"}),
    "masked_distillation": ({"teacher", "temperature", "alpha", "keep"}, set()),
    "soft_label": ({"soft_label"}, {"measure", "k"}),
}
LossName = Literal[
    "cross_entropy", "label_smoothing", "distillation", "weighted_soft_label", "masked_distillation", "soft_label"
]
MODELS = ("mlp", "convnet", *(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4")
NO_IDENTITY = {"arms": ("label",), "teachers": ("label",), "soft_labels": ("name", "path")}
# Keys that came when studies had been run, with what they are where nobody set them: then they do not count for the
# identity of a study, so that those studies keep theirs and can be resumed.
LATER_KEYS: dict[str, dict[str, Any]] = {
    "data": {"split": None},
    "teachers": {"weight_decay": None, "augment": True},
    "soft_labels": {"sha256": None, "normalize": False, "scores": False, "mass": None, "shares": None},
}
JACKKNIFE_GROUPS = 16  # at most so many groups of replicas are kept apart in stored predictions
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Epoch = Annotated[int, Field(ge=1, strict=True)]
Width = Annotated[int, Field(ge=1, le=65_536)]


class Data(_Section):
    name: str = "digits"  # a data set's name, or the path of a Parquet file or folder of images and labels
    split: Literal["train", "test"] | None = None  # the official split that all rows, test rows too, are cut from; none
    # given: test rows from the official test split, all others from the official train split
    test: int | None = Field(None, ge=2)  # rows that no training and no choice ever sees; none given: the official ones
    validation: int = Field(200, ge=2)  # rows for choices
    reserved: int = Field(0, ge=0)  # training rows that no student draws: for a teacher disjoint from every student
    student: int | None = Field(None, ge=1)  # the students' pool; none given: all training rows that remain
    crop: int = Field(0, ge=0)  # images: pad by so many pixels and crop at random in training
    flip: bool = False  # images: mirror half of them in training


def _known_model(name: str) -> None:
    if name not in MODELS and ":" not in name:
        raise ValueError(
            f"model: no network named {name!r}{did_you_mean(name, MODELS) or ';'} there is: "
            f"{', '.join(MODELS)}, or your own as package.module:factory"
        )


class Network(_Section):
    model: str = "mlp"  # or a network for images by name, or the import path of a factory, "package.module:factory"
    hidden: list[Width] = Field([])  # mlp: widths

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _known_model(self.model)
        if self.model == "mlp" and not self.hidden:
            raise ValueError("hidden: model mlp needs the widths of its hidden layers, such as [24]")
        if self.model != "mlp" and self.hidden:
            raise ValueError(f"hidden: only model mlp has it, not {self.model}")
        return self


class Draw(_Section):
    kind: Literal["disjoint", "subsample", "bootstrap", "seed_only"] = "subsample"
    rows: int | None = Field(None, ge=1)


class Schedule(_Section):
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(50, ge=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0)
    decay: Literal["cosine", "constant", "step"] = "cosine"
    milestones: list[int] = Field([])  # step: epochs after which the rate falls by gamma
    gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0)  # epochs
    precision: Literal["float32", "bf16"] = "float32"  # bf16: mixed, where the device is a GPU

    @model_validator(mode="after")
    def _nesterov(self) -> Self:
        if (self.decay == "step") != bool(self.milestones):
            raise ValueError("milestones: decay step needs them, and only step has them")
        if sorted({*self.milestones, 0, self.epochs}) != [0, *self.milestones, self.epochs]:
            raise ValueError(
                f"milestones: must be increasing epochs between 0 and {self.epochs}, not {self.milestones}"
            )
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup: must be shorter than the {self.epochs} epochs, not {self.warmup:g}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: true needs a momentum above 0")
        return self


class LearningRate(_Section):
    """One rate for all (`value`), or a grid from which each loss family takes its best on the validation split."""

    value: float | None = Field(None, gt=0)
    grid: list[Annotated[float, Field(gt=0)]] = Field([])
    replicas: int = Field(8, ge=1)
    families: dict[str, str] = Field({})  # family -> the arm on which the family's rate is chosen


class BadTeacher(_Section):
    """A teacher that is wrong on purpose: `biasvar.losses.BadTeacherLoss`."""

    k: int = Field(3, ge=2)
    punishment: float = Field(1.0, ge=0)
    compensation: float = Field(1.0, ge=0)
    rivals: float = Field(1.0, ge=0)
    redraw: bool = False  # rivals drawn anew in every epoch, not once a sample


class Teacher(_Section):
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
        _known_model(self.model)
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


class Record(_Section):
    # An integer k: every k-th, with the first and the last.
    epochs: Literal["all", "last"] | Epoch | Annotated[list[Epoch], Field(min_length=1)] = "all"

    def selected(self, total: int) -> set[int]:
        """The epochs, counted from 1, whose per-sample record is kept."""
        if self.epochs == "all":
            return set(range(1, total + 1))
        if self.epochs == "last":
            return {total}
        if isinstance(self.epochs, int):
            return {1, total, *range(self.epochs, total + 1, self.epochs)}
        return {epoch for epoch in self.epochs if epoch <= total}


class Predictions(Record):
    """Epochs after which predictions are kept, for the decomposition; those of the last epoch always are."""

    epochs: Literal["all", "last"] | Epoch | Annotated[list[Epoch], Field(min_length=1)] = "last"
    train: bool = False  # also of the training rows, member and non-member, at every one of these epochs

    def selected(self, total: int) -> set[int]:
        return super().selected(total) | {total}


class Arm(_Section):
    loss: LossName
    label: str = ""
    role: Literal["main", "control", "regime", "teacher sweep", "grid"] = "main"
    family: str = ""  # arms of one family share a learning rate; default: the loss
    teacher: str | None = None
    temperature: float | None = Field(None, gt=0)
    alpha: float | None = Field(None, ge=0)
    smoothing: float | None = Field(None, ge=0, lt=1)
    keep: Literal["other", "regularization", "random"] | None = None  # which samples keep their soft label
    soft_label: str | None = None  # soft_label: which of the study's soft_labels is all that the student learns from
    measure: Literal["cross_entropy", "squared_error", "candidates"] | None = None  # soft_label: how it is fitted
    k: int | None = Field(None, ge=1)  # measure candidates: the k largest entries; none given: those above 0
    shuffle: bool = False  # weighted_soft_label: the current weights, shuffled within the batch
    weights_from: str | None = None  # distillation: mean recorded WSL weight of that arm, same replica and sample
    alpha_from: str | None = None  # distillation: alpha times that arm's mean WSL weight, same replica and epoch
    record: Record | None = None
    predictions: Predictions | None = None


class Study(_Section):
    name: Name
    title: str = ""
    seed: int = Field(0, ge=0)
    replicas: int = Field(16, ge=2)
    backend: Literal["batched", "sequential"] = "batched"
    keep_teachers: bool = False  # keep trained teachers in the cache folder, for every study that names the same
    # Keep a teacher's logits of the augmented views while the study runs, for the arms that share the teacher: epochs x
    # rows x classes x 4 bytes for each replica and teacher.
    keep_views: bool = False
    share: list[Name] = Field([])  # runs beside this one; their arms of the same name and settings are taken over
    threads: int = Field(1, ge=1)
    data: Data = Data()
    student: Network
    draw: Draw = Draw()
    schedule: Schedule = Schedule()
    learning_rate: LearningRate
    evaluate_every: int = Field(5, ge=1)
    checkpoint_every: int = Field(20, ge=1)
    record: Record = Record()
    predictions: Predictions = Predictions()
    teachers: dict[Name, Teacher] = Field({})
    soft_labels: dict[Name, SoftLabel] = Field({})
    reference_teacher: str | None = None  # arms whose loss uses no teacher are scored against this one ...
    reference_temperature: float = Field(4.0, gt=0)  # ... at this temperature
    arms: dict[Name, Arm] = Field(min_length=1)
    claims: dict[str, list[dict[str, str | list[str]]]] = Field({})

    @property
    def hash(self) -> str:
        """Identity of the study: everything in it but its title and labels, in canonical JSON.

        Of a file of soft labels the content counts, not the place.
        """
        content = self.model_dump(mode="json", exclude={"title"})
        for section, words in NO_IDENTITY.items():
            for entry in content[section].values():
                for word in words:
                    del entry[word]
        for section, defaults in LATER_KEYS.items():
            for entry in [content[section]] if section == "data" else content[section].values():
                for key, default in defaults.items():
                    if entry[key] == default:
                        del entry[key]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def models(self) -> list[str]:
        """The network of the student and of each teacher, by name."""
        return [self.student.model, *(teacher.model for teacher in self.teachers.values())]

    def uses(self, name: str) -> list[str]:
        """The arms whose record or students an arm needs."""
        arm = self.arms[name]
        taught_by = self.soft_labels[arm.soft_label].arm if arm.soft_label in self.soft_labels else None
        return [other for other in (arm.weights_from, arm.alpha_from, taught_by) if other]

    def order(self) -> list[str]:
        """The arms in an order in which each follows the arms it uses; the file's order where there is a choice."""
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise StudyError(f"arms.{name}: needs its own record, by way of {' -> '.join([*path, name])}")
            if name not in done:
                for other in self.uses(name):
                    visit(other, (*path, name))
                done.append(name)

        for name in self.arms:
            visit(name, ())
        return done

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
