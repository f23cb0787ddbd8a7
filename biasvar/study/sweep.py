"""Sweeps: a study that says `sweep: {KEY: [values]}` has each arm once for every combination of the values.

The keys are numbers of `student` and of `data.label_noise`, which an arm may say for itself; everything else, so ids,
splits and draws, is shared. Arm `ce` becomes `ce_width4_share0p1`: the name depends on the arm's own values alone, so
that a longer list leaves the arms that are there as they are. An arm that says a swept key itself keeps what it says.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from biasvar.errors import StudyError
from biasvar.messages import did_you_mean, in_words
from biasvar.study.label_noise import LabelNoise
from biasvar.study.networks import Network
from biasvar.study.sections import Section

MOST_ARMS = 200
"""Arms of a sweep, unless the command line allows more."""

_SECTIONS: dict[str, type[Section]] = {"student": Network, "data.label_noise": LabelNoise}
WORDS = {"student.width": "width", "data.label_noise.share": "label noise"}
"""Keys in words, where the last part of the key is not what a label or a figure says."""
_PLACE_IN_ARM = {"student": "student", "data.label_noise": "label_noise"}


def _is_number(field: FieldInfo) -> bool:
    types = {field.annotation, *get_args(field.annotation)}
    types |= {inner for one in types for inner in get_args(one)}
    return bool(types & {int, float}) and not any(str(one).startswith("list") for one in types)


KEYS: dict[str, FieldInfo] = {
    f"{place}.{key}": field
    for place, section in _SECTIONS.items()
    for key, field in section.model_fields.items()
    if _is_number(field)
}
"""The keys that a sweep may go over, as a study file says them."""


def value_name(value: float) -> str:
    """A value as part of an arm's name.

    >>> value_name(40), value_name(0.1), value_name(1e-05)
    ('40', '0p1', '1em05')
    """
    return f"{value:g}".replace(".", "p").replace("-", "m").replace("+", "")


def expanded(raw: dict[str, Any], schema: Any, *, most: int = MOST_ARMS) -> dict[str, Any]:
    """What a study file says, with the arms of its sweep written out; arms that are written out stay.

    What an arm says of `student` without a model of its own, and of `label_noise`, is laid over what the study says.

    Args:
        raw: What the file says, defaults laid over; not changed.
        schema: The class of a study, whose keys are told from what is no key at all.
        most: Arms that a sweep may have.

    Raises:
        StudyError: A key that is none, or no number; a value that it cannot have; more arms than `most`.
    """
    raw = copy.deepcopy(raw)
    sweep = raw.pop("sweep", None)
    if sweep is not None:
        checked = dict(_checked(sweep, raw, schema))
        sweep = raw["sweep"] = {key: checked[key] for key in KEYS if key in checked}  # names do not depend on the order
        for key, values in sweep.items():
            _set_default(raw, key, values[0])
    arms = raw.get("arms")
    if not isinstance(arms, dict):
        return raw
    raw["arms"] = {name: _laid_over(raw, arm) for name, arm in arms.items()}
    if sweep:
        _write_out(raw, arms, sweep, most)
    return raw


def _checked(sweep: Any, raw: Mapping[str, Any], schema: Any) -> Iterator[tuple[str, list[float]]]:
    """(key, its values) of a sweep."""
    if not isinstance(sweep, dict):
        raise StudyError(f"sweep: must be a mapping of keys to lists of values, not {in_words(sweep)}")
    for key, values in sweep.items():
        place = f"sweep.{key}"
        if key not in KEYS:
            raise StudyError(f"{place}: {_why_not(key, schema)} a sweep goes over {', '.join(KEYS)}")
        if not isinstance(values, list) or not values:
            shown = "an empty list" if values == [] else in_words(values)
            raise StudyError(f"{place}: must be a list of one value or more, not {shown}")
        found = [_value(place, KEYS[key], value) for value in values]
        names = [value_name(value) for value in found]
        twice = [i for i, name in enumerate(names) if name in names[:i]]
        if twice:
            first, second = found[names.index(names[twice[0]])], found[twice[0]]
            same = f"{first:g} is there more than once"
            alike = f"{first!r} and {second!r} are both {first:g} in the names of arms, which have six digits"
            raise StudyError(f"{place}: {same if first == second else alike}")
        yield key, found
    if "student.width" in sweep and isinstance(raw.get("student"), dict) and raw["student"].get("hidden"):
        raise StudyError("sweep.student.width: student.hidden says the widths already; leave hidden out")


def _why_not(key: str, schema: Any) -> str:
    """Why a sweep cannot go over a key, in words."""
    section: Any = schema
    *parents, last = key.split(".")
    for part in parents:
        field = getattr(section, "model_fields", {}).get(part)
        section = None if field is None else next(_classes(field.annotation), None)
    field = getattr(section, "model_fields", {}).get(last)
    if field is None:
        return f"unknown key{did_you_mean(key, KEYS) or ';'}"
    return "is no number;" if not _is_number(field) else "is shared by all arms;"


def _classes(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)


def _value(place: str, field: FieldInfo, value: Any) -> float:
    """A value of a sweep as its key takes it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StudyError(f"{place}: must be numbers, not {in_words(value)}")
    try:
        found: float = TypeAdapter(cast(Any, Annotated[field.annotation, field])).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"].replace("Input should be", "must be")
        raise StudyError(f"{place}: {said}, not {value:g}") from None
    return found


def _set_default(raw: dict[str, Any], key: str, value: float) -> None:
    """What the study says of a swept key that it does not say itself: the first value."""
    *parents, last = key.split(".")
    node = raw
    for part in parents:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            return  # which is wrong, and said so where the study is validated
    if node.get(last) is None:
        node[last] = value


def _laid_over(raw: Mapping[str, Any], arm: Any) -> Any:
    """An arm with what it leaves out of its student and its label noise taken from the study's."""
    if not isinstance(arm, dict):
        return arm
    arm = dict(arm)
    base, own = raw.get("student"), arm.get("student")
    if isinstance(base, dict) and isinstance(own, dict) and "model" not in own:
        widths = ("hidden", "width")
        said = any(own.get(key) for key in widths)
        arm["student"] = {**{key: value for key, value in base.items() if not (said and key in widths)}, **own}
    data = raw.get("data")
    noise, own = data.get("label_noise") if isinstance(data, dict) else None, arm.get("label_noise")
    if isinstance(noise, dict) and isinstance(own, dict):
        arm["label_noise"] = {**noise, **own}
    return arm


def _write_out(raw: dict[str, Any], given: Mapping[str, Any], sweep: Mapping[str, list[float]], most: int) -> None:
    """Put the arms of a sweep in the place of those that they are made of, in claims too."""
    own = {
        name: [key for key in sweep if not _says(given[name], key)]
        for name, arm in raw["arms"].items()
        if isinstance(arm, dict) and not arm.get("swept")
    }
    count = sum(math.prod(len(sweep[key]) for key in own.get(name, ())) for name in raw["arms"])
    if count > most:
        sizes = " x ".join(f"{len(values)} of {key}" for key, values in sweep.items())
        raise StudyError(
            f"sweep: {sizes} make {count:,} arms, more than {most:,}; leave values out, or allow them by "
            f"--max-arms {count}"
        )
    arms: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}  # what a list of a claim may name, and the arms that it means
    for name, arm in raw["arms"].items():
        keys = own.get(name) or []
        if not keys:
            _add(arms, name, arm)
            continue
        for values in itertools.product(*(sweep[key] for key in keys)):
            cell = dict(zip(keys, values, strict=True))
            made = _cell(raw, name, arm, cell, {other for other in own if own[other] == keys})
            full = swept_name(name, cell)
            _add(arms, full, made)
            for size in range(len(keys)):
                for some in itertools.combinations(keys, size):
                    groups.setdefault(swept_name(name, {key: cell[key] for key in some}), []).append(full)
    raw["arms"] = arms
    claims = raw.get("claims")
    if isinstance(claims, dict):
        raw["claims"] = {claim: _tests(tests, groups) for claim, tests in claims.items()}


def _add(arms: dict[str, Any], name: str, arm: Any) -> None:
    if name in arms:
        raise StudyError(f"arms.{name}: the name is needed for an arm of the sweep; give the arm another name")
    arms[name] = arm


def _says(arm: Any, key: str) -> bool:
    """True if an arm of a file says a swept key for itself."""
    place, _, last = key.rpartition(".")
    section = arm.get(_PLACE_IN_ARM[place])
    if not isinstance(section, dict):
        return False
    return section.get(last) is not None or (key == "student.width" and bool(section.get("hidden")))


def swept_name(name: str, cell: Mapping[str, float]) -> str:
    """The name of an arm of a sweep, from that of the arm that is swept and its values by key.

    >>> swept_name("ce", {"student.width": 4, "data.label_noise.share": 0.1})
    'ce_width4_share0p1'
    """
    parts = [f"{key.rpartition('.')[2]}{value_name(cell[key])}" for key in KEYS if key in cell]
    return "_".join([name, *parts])


def _cell(
    raw: Mapping[str, Any], name: str, arm: Mapping[str, Any], cell: Mapping[str, float], along: set[str]
) -> dict[str, Any]:
    """An arm of a sweep; what it takes from another arm of the sweep, it takes from the one of the same values."""
    made = copy.deepcopy(dict(arm))
    for key, value in cell.items():
        place, _, last = key.rpartition(".")
        section = made.get(_PLACE_IN_ARM[place])
        if section is None:
            section = raw["student"] if place == "student" else raw["data"]["label_noise"]
        made[_PLACE_IN_ARM[place]] = {**section, last: value} if isinstance(section, dict) else section
    shown = ", ".join(f"{WORDS.get(key, key.rpartition('.')[2])} {value:g}" for key, value in cell.items())
    made |= {
        key: swept_name(value, cell)
        for key, value in arm.items()
        if key not in ("loss", "label", "role", "family") and isinstance(value, str) and value in along
    }
    made["label"] = f"{made.get('label') or name}, {shown}"
    return {"role": "grid", **made, "swept": dict(cell)}


def _tests(tests: Any, groups: Mapping[str, list[str]]) -> Any:
    """The tests of a claim, with the arms that a name of a sweep means in its lists."""
    if not isinstance(tests, list):
        return tests
    return [
        {
            role: [arm for name in names for arm in (groups.get(name, [name]) if isinstance(name, str) else [name])]
            if isinstance(names, list)
            else names
            for role, names in test.items()
        }
        if isinstance(test, dict)
        else test
        for test in tests
    ]
