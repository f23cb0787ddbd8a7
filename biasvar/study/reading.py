"""Reading a study file: YAML, overrides, validation, defaults; every fault in words that name the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from biasvar.errors import StudyError
from biasvar.messages import closest, did_you_mean, in_words, note
from biasvar.study.arms import CrossEntropy
from biasvar.study.checks import faults
from biasvar.study.choosing import arm_of, soft_label_of
from biasvar.study.crossing import crossed
from biasvar.study.defaults import DEFAULTS, with_defaults, with_only_teacher
from biasvar.study.places import place_data, place_files
from biasvar.study.schema import Study
from biasvar.study.sections import NAME, NAME_IN_WORDS
from biasvar.study.soft_labels import Random
from biasvar.study.sweep import MOST_ARMS, expanded
from biasvar.study.yaml_text import read_yaml

STATEMENTS = ("claims_fixed", "designs_tried")
"""Keys by which a file speaks of itself, which a file that extends it does not take over."""
MOST_EXTENDED = 1000  # files that extend one another
_KINDS = {
    "model_type": "must be a mapping of keys to values", "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list", "string_type": "must be text", "tuple_type": "must be a list",
    "int_parsing_size": "must be a smaller whole number",
}  # fmt: skip
"""Faults of pydantic in the words of a study file."""
_ALONE = {
    "TeacherRevision": ("eta", int | float), "Data": ("name", str),
    "Draw": ("kind", str), "Network": ("model", str), "Record": ("epochs", int | str),
    "Predictions": ("epochs", int | str),
}  # fmt: skip
"""The key that is meant where a section is given as one value alone, and the type of the value."""


def load_study(path: str | Path, *, overrides: Sequence[str] = (), max_arms: int = MOST_ARMS) -> Study:
    """Read, override, validate and resolve a study file.

    Args:
        path: The YAML file. `extends: other.yaml` lays it over another one, section by section and key by key.
        overrides: "dotted.key=value" strings; the value is YAML.
        max_arms: Arms that a sweep may have.

    Raises:
        FileNotFoundError: No such file.
        StudyError: Anything wrong in the file, with key, rule and nearest spelling; all faults are listed, one a line.
    """
    path = Path(path)
    raw, said = _read(path)
    for override in overrides:
        _override(raw, override)
        key = override.partition("=")[0]
        if key in ("data", "data.name"):
            if key == "data.name":
                raw["data"].pop("path", None)  # where the data of the file lie
            said = place_data(raw, Path())
    place_files(raw, Path())
    study = resolve_study(raw, source=str(path), max_arms=max_arms)
    if said:
        note(said)
    return study


def _read(path: Path) -> tuple[dict[str, Any], str | None]:
    """The mapping in a file, laid over that of the file it extends, and so on; and a word on where the data lie."""
    layers: list[dict[str, Any]] = []
    said: str | None = None
    seen: dict[Path, Path] = {}  # each file, and the one that extends it
    extended_by: Path | None = None
    while True:
        place = "" if extended_by is None else f"{extended_by}: extends: "
        if not path.is_file():
            raise FileNotFoundError(f"{place}no study file at {path}{_near(path)}")
        real = path.resolve()
        if real in seen:
            raise StudyError(f"{place}{path.name} extends this file in turn")
        if len(seen) == MOST_EXTENDED:
            raise StudyError(f"{place}more than {MOST_EXTENDED} files that extend one another")
        seen[real] = path
        raw = _mapping_in(path)
        placed = place_data(raw, path.parent)
        said = placed if said is None else said
        base = raw.pop("extends", None)
        layers.append({key: value for key, value in raw.items() if not layers or key not in STATEMENTS})
        if base is None:
            break
        if not isinstance(base, str):
            raise StudyError(
                f"{path}: extends: must be the path of a study file, relative to this one, not {in_words(base)}"
            )
        extended_by, path = path, path.parent / base
    merged = layers.pop()
    while layers:
        merged = _over(merged, layers.pop())
    return merged, said


def _near(path: Path) -> str:
    """Words to follow the path of a file that is not there: the file beside it with the nearest name, or where to look.

    Where its folder is not there, the folder with the nearest name is searched.
    """
    folder, nowhere = path.parent, "; the repository keeps its studies under experiments/"
    try:
        if not folder.is_dir():
            near = closest(folder.name, [place.name for place in sorted(folder.parent.iterdir()) if place.is_dir()])
            folder = folder.parent / str(near)
        files = {file.stem: file for file in sorted(folder.glob("*.y*ml"))}
    except OSError:  # a folder that is not there either, or that nobody may look into
        return nowhere
    near = closest(path.stem, files)
    return did_you_mean(str(files[near]), [str(files[near])], after=";") if near else nowhere


def _mapping_in(path: Path) -> dict[str, Any]:
    """The mapping in one file."""
    try:
        raw = read_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(raw, dict):
        held = "nothing" if raw is None else in_words(raw)
        raise StudyError(f"{path}: a study file is a mapping of keys to values, this one holds {held}")
    place_files(raw, path.parent)
    return raw


def _over(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """One mapping laid over another: sections are merged key by key, anything else is replaced."""
    merged = dict(base)
    for key, value in raw.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def resolve_study(raw: dict[str, Any], *, source: str = "study", max_arms: int = MOST_ARMS) -> Study:
    """Validate a study given as a plain mapping, as `load_study` does for a file."""
    if not isinstance(raw, dict):
        raise StudyError(f"{source}: a study is a mapping of keys to values, not {in_words(raw)}")
    _check_keys(raw, source)
    if "extends" in raw:
        raise StudyError(f"{source}: extends: only a study file can say it")
    raw = dict(raw)
    defaults = raw.pop("defaults", None)
    if not isinstance(defaults, dict | None):
        raise StudyError(f"{source}: defaults: must be a mapping of keys to values, not {in_words(defaults)}")
    try:
        raw = expanded(raw, Study, most=max_arms)
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None
    taken: dict[str, set[str]] = {}
    if isinstance(raw.get("arms"), dict) and defaults:
        unknown = set(defaults) - set(DEFAULTS)
        if unknown:
            raise StudyError(f"{source}: defaults.{min(unknown)}: allowed here: {', '.join(DEFAULTS)}")
        given = raw["arms"]
        raw["arms"] = {name: with_defaults(arm, defaults) for name, arm in given.items()}
        taken = {name: {*arm} - {*given[name]} for name, arm in raw["arms"].items() if isinstance(arm, dict)}
    raw = with_only_teacher(raw)
    lines = [
        *_choose(raw, "soft_labels", soft_label_of, Random(kind="random")),
        *(_with_origin(line, taken) for line in _choose(raw, "arms", arm_of, CrossEntropy(loss="cross_entropy"))),
    ]
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        lines = [*_explained(error.errors(), Study), *lines]
    if lines:
        raise StudyError(f"{source}: {'; '.join(lines)}")
    found = list(faults(study))
    if found:
        raise StudyError(f"{source}: {'; '.join(found)}")
    try:
        study = crossed(study)
        study.order()
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None
    hashed = {}
    for name, soft_label in study.soft_labels.items():
        try:
            hashed[name] = soft_label.with_hash()
        except ValueError as error:
            raise StudyError(f"{source}: soft_labels.{name}.{error}") from None
    given = {}
    for name, teacher in study.teachers.items():
        try:
            given[name] = teacher.with_hash()
        except ValueError as error:
            raise StudyError(f"{source}: teachers.{name}.{error}") from None
    return _resolved(study.model_copy(update={"soft_labels": hashed, "teachers": given}))


def _check_keys(value: Any, source: str, place: tuple[str, ...] = ()) -> None:
    """Raise StudyError unless every key is text."""
    for key, entry in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str):
            raise StudyError(f"{source}: {'.'.join([*place, str(key)])}: a key must be text, not {key!r}")
        _check_keys(entry, source, (*place, key))


def _choose(
    raw: dict[str, Any], section: str, choose: Callable[[Any], tuple[Any, list[Any]]], stand_in: BaseModel
) -> Iterator[str]:
    """Put the object that each entry of a section describes in its place; yields what is wrong with the entries.

    A wrong entry gets a stand-in, so that the rest of the study is validated too.
    """
    entries = raw.get(section)
    if not isinstance(entries, dict):
        return
    raw[section] = dict(entries)
    for name, entry in entries.items():
        chosen, wrong = choose(entry)
        raw[section][name] = stand_in if wrong else chosen
        for fault in wrong:
            if isinstance(fault, tuple):
                place, text = fault
                yield f"{'.'.join(map(str, (section, name, *place)))}: {text}"
        found = [fault for fault in wrong if not isinstance(fault, tuple)]
        if found:
            yield from _explained(found, found[0]["section"], (section, str(name)))


def _with_origin(line: str, taken: dict[str, set[str]]) -> str:
    """What is wrong with a key of an arm, and where the value stands if the arm has taken it from `defaults`."""
    place = line.partition(":")[0].split(".")
    if len(place) == 3 and place[2] in taken.get(place[1], ()):
        return f"{line}, which is of defaults; give the arm its own {place[2]}"
    return line


def _resolved(study: Study) -> Study:
    """The study with the defaults that depend on other keys written out."""
    last = study.schedule.epochs
    arms = {}
    for name, arm in study.arms.items():
        record = arm.record or study.record
        if any(name in study.uses(other) for other in study.arms):  # another arm reads this one's weights
            through = record.epochs if record.selected(last) - {last} else "all"
            record = record.model_copy(update={"epochs": through, "rows": "all"})
        resolved: dict[str, Any] = {"record": record, "predictions": arm.predictions or study.predictions}
        resolved["label_noise"] = arm.label_noise or study.data.label_noise
        arms[name] = arm.model_copy(update={"label": arm.label or name, "family": arm.family or arm.loss, **resolved})
    teachers = {
        name: teacher.model_copy(update={"label": teacher.label or name}) for name, teacher in study.teachers.items()
    }
    reference = study.reference_teacher or next(iter(study.teachers), None)
    return study.model_copy(update={"arms": arms, "teachers": teachers, "reference_teacher": reference})


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise StudyError(f"--set {text!r}: write it as dotted.key=value, such as arms.kd.temperature=3")
    node: Any = raw
    *parents, last = key.split(".")
    if parents and parents[0] == "sweep":  # whose keys have dots themselves
        parents, last = ["sweep"], key.removeprefix("sweep.")
    for i, part in enumerate(parents):
        node = node.setdefault(part, {}) if i == 0 else node.get(part)
        if not isinstance(node, dict):
            raise StudyError(f"--set {key}: the study has no section {'.'.join(parents[: i + 1])!r}")
    node[last] = read_yaml(value, f"--set {key}: {value!r}")


def _explained(items: Sequence[Any], section: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[str]:
    """The faults that pydantic found below a place, each as `key: what is wrong; what is allowed`.

    Of a key that takes values of several kinds pydantic says what each kind lacks: here that is one fault.
    """
    by_key: dict[str, list[Any]] = {}
    for item in items:
        loc = [str(part) for i, part in enumerate(item["loc"]) if not (part == "[key]" or _is_kind(part, i))]
        by_key.setdefault(".".join([*place, *loc]) or "study", []).append(item)
    for key, found in by_key.items():
        entries = any(other.startswith(f"{key}.") for other in by_key)
        if entries and {item["type"] for item in found} == {"literal_error"}:
            continue  # it was meant as the list whose entries are wrong
        said = [_explain(item, section) for item in found]
        wanted = dict.fromkeys(text for text, _ in said)
        if len(wanted) > 1 and all(text.startswith("must be ") for text in wanted):
            yield f"{key}: {', or '.join(wanted)}{said[0][1]}"
        else:
            yield from (f"{key}: {text}{shown}" for text, shown in dict.fromkeys(said))


def _is_kind(part: Any, depth: int) -> bool:
    """True for the part of a place by which pydantic tells the kinds of value apart that a key takes."""
    names = ("str", "int", "float", "bool") if depth > 1 else ()  # above that, an arm may have such a name
    return isinstance(part, str) and (part in names or part.startswith(("literal[", "list[", "dict[", "constrained-")))


def _explain(item: Any, section: type[BaseModel]) -> tuple[str, str]:
    """What is wrong at a place and what is allowed there, and the value that is shown after it."""
    kind, value = item["type"], item.get("input")
    if kind == "extra_forbidden":
        allowed = _keys_at(section, item["loc"][:-1])
        return f"unknown key{did_you_mean(item['loc'][-1], allowed)}; allowed here: {', '.join(allowed)}", ""
    if kind == "missing":
        return "missing; the study needs it", ""
    shown = f", not {in_words(value)}"
    if kind == "literal_error":
        expected = item["ctx"]["expected"]
        options = [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
        return f"must be {expected}", f"{shown}{did_you_mean(str(value), options)}"
    if kind == "string_pattern_mismatch" and item["ctx"]["pattern"] == NAME:
        return f"a name must be {NAME_IN_WORDS}", shown
    if kind == "too_long":
        return f"must have at most {item['ctx']['max_length']} entries, not {len(value)}", ""
    if kind in ("too_short", "string_too_short") and not value:
        return "must not be empty", ""
    said = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    key, of = _ALONE.get(item.get("ctx", {}).get("class_name"), ("", int))
    if kind == "model_type" and key and isinstance(value, of) and not isinstance(value, bool):
        return f"{_KINDS[kind]}, such as {{{key}: {value}}}", shown
    if item.get("ctx", {}).get("class_name") == "LearningRate":
        return "must be a number above 0, or a mapping of keys to values, such as {grid: [0.05, 0.1]}", shown
    return _KINDS.get(kind, said), shown if kind != "value_error" else ""


def _keys_at(section: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys allowed at a place below a section of a study."""
    below = list(place)
    while below:
        field = section.model_fields.get(str(below.pop(0)))
        inner = None if field is None else next(_sections_in(field.annotation), None)
        if field is None or inner is None:
            continue
        if get_origin(field.annotation) is dict and below:
            below.pop(0)  # the name of the entry
        section = inner
    return [*section.model_fields, *(("defaults", "extends") if section is Study else ())]


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)
