"""Arms and soft labels have one class a method or kind: the class that an entry names, and what does not fit it.

A key that belongs to another class is named as such; one at "nothing" (null, false, "") is passed over, as files that
write every key out have it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from biasvar.messages import did_you_mean, in_words
from biasvar.study.arms import ARMS, Arm, Part, is_nothing
from biasvar.study.import_path import import_named
from biasvar.study.sections import Refers
from biasvar.study.soft_labels import KINDS, SoftLabel

Chosen = TypeVar("Chosen", Arm, SoftLabel)


def arm_of(entry: Any) -> tuple[Arm | None, list[Any]]:
    """The arm that an entry describes, or None with its faults: (place, text), or pydantic's with their "section"."""
    return _chosen(entry, "loss", ARMS, Arm, own_settings, "needed for loss {}, in the arm or under defaults")


def soft_label_of(entry: Any) -> tuple[SoftLabel | None, list[Any]]:
    """The soft label that an entry of a study file describes, or None with its faults."""
    return _chosen(entry, "kind", KINDS, SoftLabel, None, "needed for kind {}")


def own_settings(path: str) -> type[Arm]:
    """The settings class of a method of a user's own.

    Raises:
        ValueError: There is no such class, or it has no settings class.
    """
    method = import_named(path, what="method", kind="Method", example="mylab.methods:MyMethod")
    settings = getattr(method, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, Arm)):
        raise ValueError(
            f"method {path}: needs an attribute Settings, a subclass of biasvar.study.Arm with the method's keys"
        )
    _check_own_keys(path, settings)
    return settings


def _check_own_keys(path: str, settings: type[Arm]) -> None:
    """Raise ValueError unless a settings class leaves the keys of every arm, and what is asked of them, as they are."""
    for key, field in settings.model_fields.items():
        changed = key in Arm.model_fields and field.annotation != Arm.model_fields[key].annotation
        if (changed and key != "loss") or (key not in Arm.model_fields and hasattr(Arm, key)):
            raise ValueError(f"method {path}: its settings may not define {key!r}, which every arm has")
    teacher = settings.model_fields.get("teacher")
    marks = () if teacher is None else (*teacher.metadata, *get_args(teacher.annotation), teacher.annotation)
    if teacher is not None and not any(_names_teacher(mark) for mark in marks):
        raise ValueError(f"method {path}: the key teacher must be a biasvar.study.TaughtBy, not {teacher.annotation}")
    if settings.plays not in (None, *get_args(Part)):
        parts = ", ".join(get_args(Part))
        raise ValueError(f"method {path}: plays must be one of {parts}, or None, not {settings.plays!r}")


def _names_teacher(mark: Any) -> bool:
    marks = (mark, *getattr(mark, "__metadata__", ()))
    return any(isinstance(each, Refers) and each.to in ("teacher", "taught by") for each in marks)


def settings_class(loss: Any) -> type[Arm] | None:
    """The settings class of a loss; None where it names no method."""
    try:
        return ARMS.get(loss) or (own_settings(loss) if ":" in loss else None)
    except (TypeError, ValueError):
        return None


def _chosen(
    entry: Any, tag: str, classes: Mapping[str, type[Chosen]], base: type[Chosen], own: Any, needed: str
) -> tuple[Chosen | None, list[Any]]:
    if not isinstance(entry, dict) or tag not in entry:
        return _validated(base, entry)
    value = entry[tag]
    cls = classes.get(value) if isinstance(value, str) else None
    if cls is None and own is not None and isinstance(value, str) and ":" in value:
        try:
            cls = own(value)
        except ValueError as error:
            return None, [((tag,), str(error))]
    if cls is None:
        names = [repr(name) for name in classes]
        more = ", or your own as package.module:Method" if own is not None else ""
        allowed = f"{', '.join(names[:-1])} or {names[-1]}{more}"
        return None, [((tag,), f"must be {allowed}, not {in_words(value)}{did_you_mean(value, classes)}")]
    foreign = {key for other in classes.values() for key in other.own_keys()} - set(cls.model_fields)
    takes = ", ".join(sorted(cls.own_keys())) or "nothing more"
    faults: list[Any] = [
        ((key,), f"not used by {tag} {value}, which takes {takes}")
        for key in sorted(foreign & set(entry))
        if not is_nothing(entry[key])
    ]
    empty = {key for key in cls.needed_keys() if is_nothing(entry.get(key))}
    given = {key: inner for key, inner in entry.items() if key not in foreign | empty}
    faults += [((key,), needed.format(value)) for key in sorted(empty)]
    found, errors = _validated(cls, given)
    faults += [
        error
        for error in errors
        if isinstance(error, tuple) or not (error["type"] == "missing" and error["loc"][0] in empty)
    ]
    if found is not None and value not in classes:
        faults += _cannot_travel(found)
    return (None if faults else found), faults


def _validated(cls: type[Chosen], entry: Any) -> tuple[Chosen | None, list[Any]]:
    try:
        return cls.model_validate(entry), []
    except ValidationError as error:
        return None, [{**item, "section": cls} for item in error.errors()]
    except Exception as error:  # a validator of a user's own
        return None, [((), f"{cls.__module__}.{cls.__qualname__} failed with {type(error).__name__}: {error}")]


def _cannot_travel(found: SoftLabel | Arm) -> list[tuple[tuple[str, ...], str]]:
    """Faults of settings of a user's own that cannot be written to a run, or handed to its worker processes."""
    faults: list[tuple[tuple[str, ...], str]] = []
    for key in found.own_keys():
        try:
            json.dumps(found.model_dump(mode="json", include={key}))
        except Exception as error:
            faults.append(((key,), f"a value that can be written to a file is needed ({error})"))
        if isinstance(getattr(found, key), set | frozenset):
            faults.append(((key,), "a set has no order to be known by; make it a list in the settings class"))
    try:
        pickle.dumps(found)
    except Exception as error:
        what = f"{type(found).__module__}.{type(found).__qualname__}"
        faults.append((("loss",), f"its settings class must be found as {what} by worker processes ({error})"))
    return faults
