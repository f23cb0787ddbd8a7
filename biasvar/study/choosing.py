"""Arms and soft labels have one class a method or kind: the class that an entry names, and what does not fit it.

A key that belongs to another class is named as such; one at "nothing" (null, false, "") is passed over, as files that
write every key out have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from biasvar.messages import did_you_mean
from biasvar.study.arms import ARMS, Arm, is_nothing
from biasvar.study.import_path import import_named
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
    return settings


def settings_class(loss: Any) -> type[Arm] | None:
    """The settings class of a loss; None where it names no method."""
    try:
        return ARMS.get(loss) or (own_settings(loss) if ":" in loss else None)
    except (TypeError, ValueError):
        return None


def _chosen(
    entry: Any, tag: str, classes: Mapping[str, type[Chosen]], base: type[Chosen], own: Any, needed: str
) -> tuple[Chosen | None, list[Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get(tag), str):
        return _validated(base, entry)
    value = entry[tag]
    cls = classes.get(value)
    if cls is None and own is not None and ":" in value:
        try:
            cls = own(value)
        except ValueError as error:
            return None, [((tag,), str(error))]
    if cls is None:
        names = [repr(name) for name in classes]
        more = ", or your own as package.module:Method" if own is not None else ""
        allowed = f"{', '.join(names[:-1])} or {names[-1]}{more}"
        return None, [((tag,), f"must be {allowed}, not {value!r}{did_you_mean(value, classes)}")]
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
    faults += [error for error in errors if not (error["type"] == "missing" and error["loc"][0] in empty)]
    return (None if faults else found), faults


def _validated(cls: type[Chosen], entry: Any) -> tuple[Chosen | None, list[Any]]:
    try:
        return cls.model_validate(entry), []
    except ValidationError as error:
        return None, [{**item, "section": cls} for item in error.errors()]
