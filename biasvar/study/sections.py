"""What every section of a study file has in common, and how a key says that it names something else of the study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator

LARGEST = 1e30  # of numbers with a point: what is computed in float32 ends at 3.4e38
MOST = 1_000_000  # epochs, replicas: lists of them are made, which a slip of the finger would fill the memory with
NAME = r"^[a-z][a-z0-9_]*$"
NAME_IN_WORDS = f"a small letter a-z first, then small letters, digits and _ (pattern {NAME})"
Name = Annotated[str, StringConstraints(pattern=NAME)]


@dataclass(frozen=True)
class Refers:
    """Marks a key whose value is the name of something else in the study.

    Attributes:
        to: What it names. "taught by": a teacher, or an arm whose students teach.
        weights: The arm's recorded WSL weights are used, so it must be recorded with a teacher.
    """

    to: Literal["teacher", "arm", "soft label", "taught by"]
    weights: bool = False


TeacherName = Annotated[str, Refers("teacher")]
ArmName = Annotated[str, Refers("arm")]
WeightsOf = Annotated[str, Refers("arm", weights=True)]
SoftLabelName = Annotated[str, Refers("soft label")]
TaughtBy = Annotated[str, Refers("taught by")]


class Section(BaseModel):
    """Keys that are known, values that do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where no boolean belongs: pydantic takes them for 1 and 0."""
        place = _boolean_in(value)
        annotation = cls.model_fields[info.field_name or ""].annotation
        if place is None or _takes_booleans(annotation):
            return value
        types = set(_types_in(annotation))
        wanted = [word for word, of in (("a number", {int, float}), ("text in quotes", {str})) if types & of]
        raise ValueError(
            f"{place + ' ' if place else ''}must be {' or '.join(wanted) or 'another value'}, not true or false (YAML "
            "reads yes and on as true, no and off as false)"
        )

    @field_validator("*", mode="after")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        """Refuse numbers that training could not hold."""
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, float) and abs(number) > LARGEST:
                raise ValueError(f"must be a number of at most {LARGEST:g}, not {number:g}")
        return value

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The keys that one of several classes of a section, such as an arm's, adds to those that all of them have."""
        shared: Any = cls.__mro__[cls.__mro__.index(Section) - 1]
        return tuple(key for key in cls.model_fields if key not in shared.model_fields)

    @classmethod
    def needed_keys(cls) -> tuple[str, ...]:
        """Those of its own keys that have no default."""
        return tuple(key for key in cls.own_keys() if cls.model_fields[key].is_required())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key that not every section of this kind has."""
        return getattr(self, key) if key in type(self).model_fields else default

    def references(self) -> Iterator[tuple[str, Refers, str]]:
        """(key, what it names, the name) of every key that names something else of the study."""
        for key, field in type(self).model_fields.items():
            value = getattr(self, key)
            if not value:
                continue
            for mark in _marks(field.annotation, field.metadata):
                yield from ((key, mark, name) for name in ([value] if isinstance(value, str) else value))


def _boolean_in(value: Any) -> str | None:
    """Where the first boolean of a value stands, "" if it is one itself; None if there is none."""
    if isinstance(value, bool):
        return ""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, entry in entries:
        place = _boolean_in(entry)
        if place is not None:
            return f"[{key}]{place}"
    return None


def _takes_booleans(annotation: Any) -> bool:
    """True if a field may hold a boolean, or a section, which looks at its own fields."""
    if isinstance(annotation, type) and issubclass(annotation, bool | Section):
        return True
    return annotation is Any or any(inner is True or _takes_booleans(inner) for inner in get_args(annotation))


def _types_in(annotation: Any) -> Iterator[type]:
    """The types that a field may hold, at any depth; str for words to choose from."""
    if isinstance(annotation, type | str):
        yield annotation if isinstance(annotation, type) else str
    for inner in get_args(annotation):
        yield from _types_in(inner)


def _marks(annotation: Any, metadata: list[Any]) -> Iterator[Refers]:
    """The `Refers` of a field, also inside `| None`, `list[...]` and `dict[..., ...]`."""
    yield from (mark for mark in metadata if isinstance(mark, Refers))
    yield from (mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Refers))
    for inner in getattr(annotation, "__args__", ()):
        yield from _marks(inner, [])
