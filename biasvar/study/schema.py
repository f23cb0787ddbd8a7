"""What a study file may say: its sections, their keys, defaults and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, SerializeAsAny, field_validator, model_validator

from biasvar.errors import StudyError
from biasvar.study.arm import Temperature
from biasvar.study.arms import Arm, Predictions, Record
from biasvar.study.few_shots import FewShots
from biasvar.study.identity import first_identity, identity
from biasvar.study.label_noise import LabelNoise
from biasvar.study.networks import Network
from biasvar.study.places import is_path
from biasvar.study.sections import MOST, Name, Section
from biasvar.study.soft_labels import SoftLabel
from biasvar.study.statements import ClaimsFixed, DesignsTried
from biasvar.study.streaming import Streamed
from biasvar.study.teachers import Teacher
from biasvar.study.views import View, check_renderings, check_views, listed, views_in

STUDENTS_TEACH = "students of another arm"
"""The regime of an arm that another arm's students teach, replica by replica."""

OWN_TEACHER = "per replica"
"""The regime of an arm whose method trains a teacher along with each student, on the student's rows."""

JACKKNIFE_GROUPS = 16  # at most so many groups of replicas are kept apart in stored predictions


Share = Annotated[float, Field(gt=0, lt=1)]
"""Of all rows that a block is cut from."""


class Data(Section):
    # A data set's name, or the path of data of one's own, relative to the study file: a .parquet, .csv, .npz or .npy
    # file, or a folder (`biasvar.data.load_dataset`). It is a path if it has a slash or such an ending; one that only
    # the working directory has is taken from there.
    name: Annotated[str, Field(min_length=1)] = "digits"
    # Where a path was found, written out when the study is read; no part of the study's identity.
    path: str | None = Field(None, exclude=True, repr=False)
    split: Literal["train", "test"] | None = None  # the official split that all rows, test rows too, are cut from; none
    # given: test rows from the official test split, all others from the official train split
    # The column of the labels; none given: label, fine_label or labels, of columns of numbers also target or class.
    label_column: str | None = Field(None, min_length=1)
    # Rows that no training and no choice ever sees, or their share of all; none given: the official ones.
    test: Annotated[int, Field(ge=2)] | Share | None = None
    validation: Annotated[int, Field(ge=2)] | Share = 200  # rows for choices, or their share of all
    reserved: int = Field(0, ge=0)  # training rows that no student draws: for a teacher disjoint from every student
    student: int | None = Field(None, ge=1)  # the students' pool; none given: all training rows that remain
    size: int | None = Field(None, ge=1)  # images: pixels of the shorter side of smaller ones that are made of them
    mode: Literal["grey", "colour"] | None = None  # images: converted to it; none given: as they are
    crop: int = Field(0, ge=0)  # images: pad by so many pixels and crop at random in training
    flip: bool = False  # images: mirror half of them in training
    streamed: Streamed | None = None  # images that do not fit in memory; see below
    # Images: other views of the test rows, kind -> severities, patches a side or radii; see `biasvar.study.views`.
    views: dict[str, list[float]] = Field({})
    # Images: training and validation rows are shown through these renderings, each row through one.
    train_views: list[str] = Field([])
    # Classes held out of the study, whose images its trained students tell apart in few-shot episodes.
    few_shots: FewShots | None = None
    label_noise: LabelNoise | None = None  # of training rows, for teachers and arms that say nothing else

    _each_listed = field_validator("views", mode="before")(listed)

    @field_validator("views", mode="after")
    @classmethod
    def _known_views(cls, value: dict[str, list[float]]) -> dict[str, list[float]]:
        check_views(value)
        return value

    @field_validator("train_views", mode="after")
    @classmethod
    def _known_renderings(cls, value: list[str]) -> list[str]:
        check_renderings(value)
        return value

    @property
    def shown(self) -> list[View]:
        """The views of the test rows, in the order of the study."""
        return views_in(self.views)

    def in_memory(self) -> Data:
        """The same for a few images in memory in place of streamed ones: cropped at random too, in another way."""
        if self.streamed is None:
            return self
        crop = 4 if self.streamed.augment else 0
        return self.model_copy(update={"streamed": None, "crop": crop, "flip": self.streamed.augment})

    @model_validator(mode="after")
    def _streams(self) -> Self:
        """Streamed images have a crop of their own, and are never all in memory."""
        others = ("size", "mode", "crop", "flip", "train_views", "few_shots") if self.streamed else ()
        given = [key for key in others if getattr(self, key)]
        if given:
            why = "image_size and augment of streamed say it" if given[0] in others[:4] else "it changes all images"
            raise ValueError(f"{given[0]}: not with streamed images ({why}); leave it out")
        return self

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.path is not None and not is_path(self.name):
            raise ValueError(f"path: {self.name} is a data set's name; to give a path, give it as data.name")
        return self


class Draw(Section):
    kind: Literal["disjoint", "subsample", "bootstrap", "seed_only"] = "subsample"
    rows: int | None = Field(None, ge=1)


Beta = Annotated[float, Field(ge=0, lt=1)]
OTHERS = {"sgd": ("betas", "epsilon"), "adamw": ("momentum", "nesterov")}  # keys that an optimizer does not have


class Schedule(Section):
    epochs: int = Field(60, ge=1, le=MOST)
    batch_size: int = Field(50, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"  # of students, teachers and what is trained beside them
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd
    nesterov: bool = True  # sgd
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # adamw: of the mean of gradients, and of their squares
    epsilon: float = Field(1e-8, gt=0)  # adamw
    weight_decay: float = Field(5e-4, ge=0)  # adamw: decoupled from the gradient
    decay: Literal["cosine", "constant", "step"] = "cosine"
    milestones: list[int] = Field([])  # step: epochs after which the rate falls by gamma
    gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0)  # epochs
    precision: Literal["float32", "bf16"] = "float32"  # bf16: mixed, where the device is a GPU

    @model_validator(mode="after")
    def _nesterov(self) -> Self:
        for key in OTHERS[self.optimizer]:
            if getattr(self, key) != type(self).model_fields[key].default:
                other = next(name for name in OTHERS if name != self.optimizer)
                raise ValueError(f"{key}: belongs to optimizer: {other}; {self.optimizer} has none, leave it out")
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

    def decisive(self) -> dict[str, Any]:
        """The keys that decide a training, for names of kept files; by sgd those that there were before adamw."""
        without = {*OTHERS[self.optimizer], *(() if self.optimizer == "adamw" else ("optimizer",))}
        return self.model_dump(mode="json", exclude=without)


class LearningRate(Section):
    """One rate for all (`value`), or a grid from which each loss family takes its best on the validation split.

    `by` says what is best: the highest accuracy (the lower nll among equals), or the lowest nll, which on average is
    bias plus variance (plus noise) and so does not prefer one of them.
    """

    value: float | None = Field(None, gt=0)
    grid: list[Annotated[float, Field(gt=0)]] = Field([])
    by: Literal["accuracy", "nll"] = "accuracy"
    replicas: int = Field(8, ge=1, le=MOST)
    families: dict[str, str] = Field({})  # family -> the arm on which the family's rate is chosen

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        """A number alone is the rate for all."""
        return {"value": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


class Study(Section):
    name: Name
    title: str = ""
    seed: int = Field(0, ge=0, lt=2**63)
    replicas: int = Field(16, ge=2, le=MOST)
    # Draw the whole study so often, each time with another seed: split, teachers and replicas; none given: once.
    redraws: int | None = Field(None, ge=2, le=1000)
    backend: Literal["batched", "sequential"] = "batched"
    keep_teachers: bool = False  # keep trained teachers in the cache folder, for every study that names the same
    # Keep a teacher's logits of the augmented views while the study runs, for the arms that share the teacher: epochs x
    # rows x classes x 4 bytes for each replica and teacher.
    keep_views: bool = False
    share: list[Name] = Field([])  # runs beside this one; their arms of the same name and settings are taken over
    threads: int = Field(1, ge=1, le=1024)
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
    soft_labels: dict[Name, SerializeAsAny[SoftLabel]] = Field({})
    reference_teacher: str | None = None  # arms whose loss uses no teacher are scored against this one ...
    reference_temperature: Temperature = Field(4.0)  # ... at this temperature
    arms: dict[Name, SerializeAsAny[Arm]] = Field(min_length=1)
    # Each arm once for every combination of these values: `biasvar.study.sweep`; written out in `arms`.
    sweep: dict[str, list[float]] = Field({})
    claims: dict[str, list[dict[str, str | list[str]]]] = Field({})
    claims_fixed: ClaimsFixed | None = None
    designs_tried: DesignsTried | None = None

    @property
    def hash(self) -> str:
        """Identity of the study: everything in it that is not at its default, but labels and keys that are `SHOWN`."""
        return identity(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def hashes(self) -> tuple[str, ...]:
        """All identities by which a run directory may know this study: today's, and those of earlier versions."""
        first = first_identity(self.model_dump(mode="json"), self.model_dump(mode="json", exclude_defaults=True))
        return (self.hash,) if first is None else (self.hash, first)

    @property
    def models(self) -> list[str]:
        """The networks of the study's students and teachers, by name."""
        own = [arm.student.model for arm in self.arms.values() if arm.student]
        own += [model for arm in self.arms.values() for model in arm.models]
        return [self.student.model, *own, *(teacher.model for teacher in self.teachers.values() if teacher.is_network)]

    @property
    def shared_teachers(self) -> list[str]:
        """The teachers that are not one for each replica: fixed, copies, given, and ensembles of such."""
        members = {name: [self.teachers[other] for other in t.mean_of or [name]] for name, t in self.teachers.items()}
        return [name for name, those in members.items() if all(t.draw != "per_replica" for t in those)]

    def teacher_count(self, name: str) -> int:
        """How many networks a teacher is, or an arm whose students teach: replica r learns from number r mod that."""
        teacher = self.teachers.get(name)
        if teacher is None or teacher.draw == "per_replica":
            return self.replicas
        return max(map(self.teacher_count, teacher.mean_of)) if teacher.mean_of else teacher.copies

    def copies_of(self, arm: Arm) -> int:
        """How many copies the teacher of an arm has; 0 for an arm without one."""
        teacher = self.teachers.get(arm.teacher_name or "")
        return teacher.copies if teacher is not None else 0

    def teacher_number(self, name: str, replica: int) -> int:
        """Which network of its teacher, or of the one that it is scored against, a replica of an arm meets."""
        teacher = self.scored_against(name)
        return (replica + (self.arms[name].teacher_shift or 0)) % self.teacher_count(teacher) if teacher else 0

    def uses(self, name: str) -> list[str]:
        """The arms whose record or students an arm needs."""
        found = []
        for _, mark, other in self.arms[name].references():
            if mark.to == "arm" or (mark.to == "taught by" and other not in self.teachers):
                found.append(other)
            elif mark.to == "soft label" and other in self.soft_labels:
                found += [arm for _, inner, arm in self.soft_labels[other].references() if inner.to == "arm"]
        return list(dict.fromkeys(found))

    def scored_against(self, name: str) -> str | None:
        """Whose soft labels an arm's record is about: its teacher's, else the reference teacher's.

        None where there is none, or the arm's method has a teacher of its own, which is none of the study's.
        """
        arm = self.arms[name]
        return arm.teacher_name or (None if arm.own_teacher else self.reference_teacher)

    def tables_of(self, name: str) -> tuple[str, ...]:
        """The tables of `biasvar.records.schema.METHOD_TABLES` that an arm leaves."""
        return (*self.arms[name].tables, *(["few_shots"] if self.data.few_shots else []))

    def regime(self, name: str) -> str:
        """The teacher regime of an arm, as captions and claims name it."""
        teacher = self.arms[name].teacher_name
        if teacher is None:
            return OWN_TEACHER if self.arms[name].own_teacher else "none"
        return self.teachers[teacher].regime if teacher in self.teachers else STUDENTS_TEACH

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
        content = self.model_dump(mode="json")
        if self.data.path:
            content["data"] = {"name": self.data.name, "path": self.data.path, **content["data"]}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
