"""A study file: YAML, validated before anything runs, with every default written out.

    study = load_study("experiments/digits.yaml", overrides=["arms.kd.temperature=3"])
    study.order()        # the arms, each after the arms whose record it uses

An error names the file, the key, what is allowed there and the nearest spelling. Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biasvar.errors import StudyError

# What each loss takes, beside what every arm takes; the first of the sets must be given (in the arm or in `defaults`).
LOSS_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "cross_entropy": (set(), set()),
    "label_smoothing": ({"smoothing"}, set()),
    "distillation": ({"teacher", "temperature", "alpha"}, {"weights_from", "alpha_from"}),
    "weighted_soft_label": ({"teacher", "temperature", "alpha"}, {"shuffle"}),
    "masked_distillation": ({"teacher", "temperature", "alpha", "keep"}, set()),
}
LossName = Literal["cross_entropy", "label_smoothing", "distillation", "weighted_soft_label", "masked_distillation"]
MODELS = ("mlp", *(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)), "resnet8x4", "resnet32x4")
Name = Field(pattern=r"^[a-z][a-z0-9_]*$")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    name: str = "digits"  # a data set's name, or the path of a Parquet file or folder of images and labels
    test: int | None = Field(None, ge=2)  # rows that no training and no choice ever sees; none given: the official ones
    validation: int = Field(200, ge=2)  # rows for choices
    reserved: int = Field(0, ge=0)  # training rows that no student draws: for a teacher disjoint from every student
    student: int | None = Field(None, ge=1)  # the students' pool; none given: all training rows that remain
    crop: int = Field(0, ge=0)  # images: pad by so many pixels and crop at random in training
    flip: bool = False  # images: mirror half of them in training


def _known_model(name: str) -> None:
    if name not in MODELS and ":" not in name:
        raise ValueError(
            f"model: no network named {name!r}{_nearest(name, MODELS)}; there is: {', '.join(MODELS)}, or your own as "
            "package.module:factory"
        )


class Network(_Section):
    model: str = "mlp"  # or a ResNet by name, or the import path of a factory, "package.module:factory"
    hidden: list[int] = []  # mlp: widths

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _known_model(self.model)
        if self.model == "mlp" and not self.hidden:
            raise ValueError("hidden: model mlp needs the widths of its hidden layers, such as [24]")
        if self.model != "mlp" and self.hidden:
            raise ValueError(f"hidden: only model mlp has it, not {self.model}")
        if min(self.hidden, default=1) < 1:
            raise ValueError(f"hidden: every width must be at least 1, not {self.hidden}")
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
    milestones: list[int] = []  # step: epochs after which the rate falls by gamma
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
    grid: list[float] = []
    replicas: int = Field(8, ge=1)
    families: dict[str, str] = {}  # family -> the arm on which the family's rate is chosen


class Teacher(_Section):
    label: str = ""
    model: str = "mlp"
    hidden: list[int] = Field([256, 256], min_length=1)  # of model mlp
    draw: Literal["fixed", "per_replica"] = "fixed"
    rows: Literal["all", "reserved", "own"] | int = "all"
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(100, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    smoothing: float = Field(0.0, ge=0, lt=1)
    train_mode: bool = False  # BatchNorm on batch statistics while it teaches, as in the code released with WSL

    @model_validator(mode="after")
    def _regime(self) -> Self:
        _known_model(self.model)
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
    epochs: Literal["all", "last"] | int | list[int] = "all"  # an integer k: every k-th, with the first and the last

    def selected(self, total: int) -> set[int]:
        """The epochs, counted from 1, whose per-sample record is kept."""
        if self.epochs == "all":
            return set(range(1, total + 1))
        if self.epochs == "last":
            return {total}
        if isinstance(self.epochs, int):
            return {1, total, *range(self.epochs, total + 1, self.epochs)}
        return {epoch for epoch in self.epochs if epoch <= total}


class Arm(_Section):
    loss: LossName
    label: str = ""
    role: Literal["main", "control", "regime", "teacher sweep"] = "main"
    family: str = ""  # arms of one family share a learning rate; default: the loss
    teacher: str | None = None
    temperature: float | None = Field(None, gt=0)
    alpha: float | None = Field(None, ge=0)
    smoothing: float | None = Field(None, ge=0, lt=1)
    keep: Literal["other", "regularization", "random"] | None = None  # which samples keep their soft label
    shuffle: bool = False  # weighted_soft_label: the current weights, shuffled within the batch
    weights_from: str | None = None  # distillation: mean recorded WSL weight of that arm, same replica and sample
    alpha_from: str | None = None  # distillation: alpha times that arm's mean WSL weight, same replica and epoch
    record: Record | None = None

    @property
    def uses(self) -> list[str]:
        """The arms whose record this one needs."""
        return [name for name in (self.weights_from, self.alpha_from) if name]


class Study(_Section):
    name: str = Name
    title: str = ""
    seed: int = Field(0, ge=0)
    replicas: int = Field(16, ge=2)
    backend: Literal["batched", "sequential"] = "batched"
    keep_teachers: bool = False  # keep trained teachers in the cache folder, for every study that names the same
    threads: int = Field(1, ge=1)
    data: Data = Data()
    student: Network
    draw: Draw = Draw()
    schedule: Schedule = Schedule()
    learning_rate: LearningRate
    evaluate_every: int = Field(5, ge=1)
    checkpoint_every: int = Field(20, ge=1)
    record: Record = Record()
    teachers: dict[str, Teacher] = {}
    reference_teacher: str | None = None  # arms whose loss uses no teacher are scored against this one ...
    reference_temperature: float = Field(4.0, gt=0)  # ... at this temperature
    arms: dict[str, Arm] = Field(min_length=1)
    claims: dict[str, list[dict[str, str | list[str]]]] = {}

    @property
    def hash(self) -> str:
        """Identity of the study: everything that can change a number, in canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def models(self) -> list[str]:
        """The network of the student and of each teacher, by name."""
        return [self.student.model, *(teacher.model for teacher in self.teachers.values())]

    def order(self) -> list[str]:
        """The arms in an order in which each follows the arms it uses; the file's order where there is a choice."""
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise StudyError(f"arms.{name}: needs its own record, by way of {' -> '.join([*path, name])}")
            if name not in done:
                for other in self.arms[name].uses:
                    visit(other, (*path, name))
                done.append(name)

        for name in self.arms:
            visit(name, ())
        return done

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def load_study(path: str | Path, *, overrides: Sequence[str] = ()) -> Study:
    """Read, override, validate and resolve a study file.

    Args:
        path: The YAML file.
        overrides: "dotted.key=value" strings; the value is YAML.

    Raises:
        FileNotFoundError: No such file.
        StudyError: Anything wrong in the file, with key, rule and nearest spelling; all faults are listed, one a line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no study file at {path}; the repository keeps its studies under experiments/")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise StudyError(f"{path}: a study file is a mapping of keys to values, this one holds {type(raw).__name__}")
    for override in overrides:
        _override(raw, override)
    return resolve_study(raw, source=str(path))


def resolve_study(raw: dict[str, Any], *, source: str = "study") -> Study:
    """Validate a study given as a plain mapping, as `load_study` does for a file."""
    raw = dict(raw)
    defaults = raw.pop("defaults", None) or {}
    if isinstance(raw.get("arms"), dict) and isinstance(defaults, dict):
        unknown = set(defaults) - {"teacher", "temperature", "alpha", "smoothing"}
        if unknown:
            raise StudyError(f"{source}: defaults.{min(unknown)}: allowed here: teacher, temperature, alpha, smoothing")
        raw["arms"] = {name: _with_defaults(arm, defaults) for name, arm in raw["arms"].items()}
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise StudyError("; ".join(f"{source}: {line}" for line in lines)) from None
    faults = list(_faults(study))
    if faults:
        raise StudyError("; ".join(f"{source}: {fault}" for fault in faults))
    study.order()
    return _resolved(study)


def _with_defaults(arm: Any, defaults: dict[str, Any]) -> Any:
    if not isinstance(arm, dict) or arm.get("loss") not in LOSS_KEYS:
        return arm
    needed, optional = LOSS_KEYS[arm["loss"]]
    return {**{key: value for key, value in defaults.items() if key in needed | optional}, **arm}


def _resolved(study: Study) -> Study:
    """The study with the defaults that depend on other keys written out."""
    last = study.schedule.epochs
    arms = {}
    for name, arm in study.arms.items():
        record = arm.record or study.record
        if any(name in other.uses for other in study.arms.values()) and record.selected(last) == {last}:
            record = Record(epochs="all")  # another arm reads this one's weights through training
        arms[name] = arm.model_copy(
            update={"label": arm.label or name, "family": arm.family or arm.loss, "record": record}
        )
    teachers = {
        name: teacher.model_copy(update={"label": teacher.label or name}) for name, teacher in study.teachers.items()
    }
    reference = study.reference_teacher or next(iter(study.teachers), None)
    return study.model_copy(update={"arms": arms, "teachers": teachers, "reference_teacher": reference})


def _faults(study: Study) -> Iterable[str]:
    """What a schema cannot see: keys that do not go together and names that lead nowhere."""
    if study.backend == "batched" and set(study.models) != {"mlp"}:
        yield "backend: batched trains model mlp only; use backend: sequential"
    if study.draw.kind == "subsample" and study.draw.rows is None:
        yield "draw.rows: needed for draw.kind subsample"
    if study.draw.kind in ("bootstrap", "seed_only") and study.draw.rows is not None:
        yield f"draw.rows: not used by draw.kind {study.draw.kind}; leave it out"
    if study.reference_teacher and study.reference_teacher not in study.teachers:
        yield f"reference_teacher: {_no_such(study.reference_teacher, study.teachers, 'teacher')}"
    for name, teacher in study.teachers.items():
        if teacher.rows == "reserved" and study.data.reserved == 0:
            yield f"teachers.{name}.rows: reserved rows are asked for, but data.reserved is 0"
    for name, arm in study.arms.items():
        needed, optional = LOSS_KEYS[arm.loss]
        given = {key for key in set(Arm.model_fields) - {"record"} if getattr(arm, key) not in (None, "", False)}
        for key in sorted(needed - given):
            yield f"arms.{name}.{key}: needed for loss {arm.loss}, in the arm or under defaults"
        for key in sorted(given - needed - optional - {"loss", "label", "role", "family"}):
            takes = ", ".join(sorted(needed | optional)) or "nothing more"
            yield f"arms.{name}.{key}: not used by loss {arm.loss}, which takes {takes}"
        if arm.teacher and arm.teacher not in study.teachers:
            yield f"arms.{name}.teacher: {_no_such(arm.teacher, study.teachers, 'teacher')}"
        for key in ("weights_from", "alpha_from"):
            other = getattr(arm, key)
            if other and other not in study.arms:
                yield f"arms.{name}.{key}: {_no_such(other, study.arms, 'arm')}"
            elif other and study.arms[other].teacher is None and study.reference_teacher is None and not study.teachers:
                yield f"arms.{name}.{key}: arm {other!r} is recorded without a teacher, so it has no weights"
    yield from _rate_faults(study)
    for claim, tests in study.claims.items():
        for i, test in enumerate(tests):
            for role, names in test.items():
                for other in [names] if isinstance(names, str) else names:
                    if other not in study.arms:
                        yield f"claims.{claim}[{i}].{role}: {_no_such(other, study.arms, 'arm')}"


def _rate_faults(study: Study) -> Iterable[str]:
    rate = study.learning_rate
    if (rate.value is None) == (not rate.grid):
        yield "learning_rate: give either value (one rate for all) or grid with families, not both and not neither"
        return
    if any(value <= 0 for value in rate.grid):
        yield f"learning_rate.grid: every rate must be above 0, not {rate.grid}"
    for family, chosen_on in rate.families.items():
        place = f"learning_rate.families.{family}"
        if chosen_on not in study.arms:
            yield f"{place}: {_no_such(chosen_on, study.arms, 'arm')}"
        elif study.arms[chosen_on].uses:
            yield f"{place}: arm {chosen_on!r} needs another arm's record; choose the rate on one that does not"
    if rate.grid:
        for name, arm in study.arms.items():
            family = arm.family or arm.loss
            if family not in rate.families:
                known = ", ".join(rate.families) or "none"
                yield f"arms.{name}.family: {family!r} has no entry under learning_rate.families, which has: {known}"


def _no_such(name: str, allowed: Iterable[str], what: str) -> str:
    allowed = list(allowed)
    return f"no {what} named {name!r}{_nearest(name, allowed)}; there is: {', '.join(allowed) or 'none'}"


def _nearest(name: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise StudyError(f"--set {text!r}: write it as dotted.key=value, such as arms.kd.temperature=3")
    node: Any = raw
    *parents, last = key.split(".")
    for i, part in enumerate(parents):
        node = node.setdefault(part, {}) if i == 0 else node.get(part)
        if not isinstance(node, dict):
            raise StudyError(f"--set {key}: the study has no section {'.'.join(parents[: i + 1])!r}")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise StudyError(f"--set {key}: {value!r} is no valid YAML value") from None


def _explain(item: Any) -> str:
    """One fault that pydantic found, as `key: what is wrong; what is allowed`."""
    parts = [str(part) for part in item["loc"]]
    key = ".".join(parts) or "study"
    kind = item["type"]
    if kind == "extra_forbidden":
        allowed = _fields_at(parts[:-1])
        return f"{key}: unknown key{_nearest(parts[-1], allowed)}; allowed here: {', '.join(allowed)}"
    if kind == "missing":
        return f"{key}: missing; the study needs it"
    shown = f", not {item['input']!r}" if not isinstance(item.get("input"), dict | list) else ""
    if kind == "literal_error":
        expected = item["ctx"]["expected"]
        options = [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
        return f"{key}: must be {expected}{shown}{_nearest(str(item['input']), options)}"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{key}: {message}{shown if kind != 'value_error' else ''}"


def _fields_at(parts: Sequence[str]) -> list[str]:
    """The keys allowed in the section at that place of a study."""
    sections: dict[str, type[_Section]] = {
        "data": Data, "student": Network, "draw": Draw, "schedule": Schedule, "learning_rate": LearningRate,
        "record": Record, "teachers": Teacher, "arms": Arm,
    }  # fmt: skip
    if not parts:
        return [*Study.model_fields, "defaults"]
    section = Record if parts[-1] == "record" else sections.get(parts[0], Study)
    return list(section.model_fields)
