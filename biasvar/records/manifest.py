"""The manifest of a run: read, and held to its shape. What may stand under each key is said here and nowhere else.

A key that is not named here is free. A key that is null counts as absent, but for those that every run needs. Where
the study file that lies beside the manifest says the same thing, both must agree: an edit of one of them is found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from biasvar.errors import RecordError
from biasvar.files import unreadable
from biasvar.messages import command, first_few
from biasvar.records import schema
from biasvar.records.arms import PARTS

MOST = 1_000_000
"""The largest number of replicas or epochs, as in a study file."""

REDRAWS = "redraws"
"""The kind of a directory that is no run itself but holds the redraws of a study; see `biasvar.records.redraws`."""

SETTINGS = (
    *("loss", "role", "family", "teacher", "temperature", "alpha", "smoothing", "keep", "soft_label", "shuffle"),
    *("weights_from", "alpha_from"),
)
"""Settings of an arm that its entry holds, once it is trained, wherever its study does."""

Faults = Iterator[tuple[str, Any, Any]]  # the key with those above it, its value, and what it must be


@dataclass(frozen=True)
class Shape:
    """What a value must be, in words and as a test; of an object or a list also what its entries must be.

    Attributes:
        words: To follow "it must be".
        holds: True of a value that has the shape, its entries aside.
        keys: Shapes of the entries of these names.
        entries: Shape of all other entries.
        needed: False if null stands for "not said".
    """

    words: str
    holds: Callable[[Any], bool]
    keys: Mapping[str, Shape] | None = None
    entries: Shape | None = None
    needed: bool = False

    def faults(self, value: Any, key: str) -> Faults:
        """Every place where a value has another shape."""
        if value is None and not self.needed:
            return
        if not self.holds(value):
            yield key, value, self.words
            return
        inside = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
        lacking = [name for name, shape in (self.keys or {}).items() if shape.needed and name not in value]
        for name, entry in [*inside, *((name, None) for name in lacking)]:
            shape = (self.keys or {}).get(name, self.entries)
            if shape is not None:
                place = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}" if key else name
                yield from shape.faults(entry, place)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_day(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _whole(low: int, high: int = MOST, *, needed: bool = False) -> Shape:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    limits = f"from {low} to {high:,}" if high < 2**31 else f"from {low} on"
    return Shape(f"a whole number {limits}", holds, needed=needed)


def _number(words: str, holds: Callable[[Any], bool]) -> Shape:
    return Shape(words, lambda value: _is_number(value) and holds(value))


def _one_of(*allowed: str) -> Shape:
    return Shape(f"one of {', '.join(allowed)}", lambda value: value in allowed)


def _object(keys: Mapping[str, Shape] | None = None, entries: Shape | None = None, *, needed: bool = False) -> Shape:
    return Shape("an object", lambda value: isinstance(value, dict), keys, entries, needed)


def _list(entries: Shape, what: str, *, needed: bool = False) -> Shape:
    return Shape(f"a list of {what}", lambda value: isinstance(value, list), entries=entries, needed=needed)


def _each(*names: str, shape: Shape) -> dict[str, Shape]:
    return dict.fromkeys(names, shape)


_TEXT = Shape("a text", lambda value: isinstance(value, str))
_NEEDED_TEXT = Shape("a text", lambda value: isinstance(value, str), needed=True)
_TRUTH = Shape("true or false", lambda value: isinstance(value, bool))
_DAY = Shape("a day such as '2026-11-28'", _is_day, needed=True)
_ANY_WHOLE = _whole(0, 2**63)
_COUNT = _whole(1)
_FROM_0 = _number("a number from 0 on", lambda value: value >= 0)
_ABOVE_0 = _number("a number above 0", lambda value: value > 0)
_SHARE = _number("a number from 0 to 1", lambda value: 0 <= value <= 1)
_FAILED = _object({"replica": _whole(0, needed=True), "reason": _NEEDED_TEXT}, needed=True)
_ARM_NAMES = Shape(
    "the name of an arm or a list of them",
    lambda value: isinstance(value, str) or (isinstance(value, list) and all(isinstance(arm, str) for arm in value)),
    needed=True,
)
_WIDTHS = _list(_whole(1, needed=True), "whole numbers")

_FIXED = _object({"date": _DAY, "ledger": _NEEDED_TEXT})

_SESSION = _object(
    {
        **_each("commit", "device", shape=_TEXT),
        **_each("devices", "threads", shape=_COUNT),
        "versions": _object(entries=_NEEDED_TEXT),
        "arms_before": _list(_NEEDED_TEXT, "names"),
    },
    needed=True,
)

_ARM = _object(
    {
        **_each("label", "status", "loss", "family", "role", "regime", "identity", "values", shape=_TEXT),
        **_each("teacher", "soft_label", "scored_against", "weights_from", "alpha_from", "control", shape=_TEXT),
        **_each("uses", "shared_from", shape=_list(_NEEDED_TEXT, "names")),
        "plays": _one_of(*dict.fromkeys(PARTS.values())),
        "files": _list(_TEXT, "names"),
        "replicas": _COUNT,
        "epochs": _whole(0),
        "teacher_shift": _COUNT,
        **_each("temperature", "record_temperature", "learning_rate", shape=_ABOVE_0),
        **_each("alpha", "seconds", shape=_FROM_0),
        **_each("smoothing", "clip", shape=_SHARE),
        **_each("shuffle", "own_teacher", shape=_TRUTH),
        **_each("group_seconds", "group_processor_seconds", shape=_list(_FROM_0, "numbers from 0 on")),
        "recording": _object(entries=_one_of("running", "complete")),
        "kept_predictions": _object(entries=_object()),
        "student": _object(),
        "label_noise": _object(),
        "swept": _object(entries=_FROM_0),
        "wrong_labels": _SHARE,
        "failed_replicas": _list(_FAILED, 'objects such as {"replica": 2, "reason": "at chance"}'),
        "weights_sha256": _object(entries=_NEEDED_TEXT),
        "warnings": _list(_NEEDED_TEXT, "sentences"),
    },
    needed=True,
)
_OWN_ARM = _object(
    {key: shape for key, shape in (_ARM.keys or {}).items() if key not in ("alpha", "smoothing", "shuffle")},
    needed=True,
)
"""Of a method of one's own, whose settings may mean what they like."""

_TEACHER = _object(
    {
        **_each("label", "model", "draw", "regime", "space", "arm", shape=_TEXT),
        **_each("checkpoint", "logits", "sha256", shape=_TEXT),
        "mean_of": _list(_NEEDED_TEXT, "names"),
        "copies": _COUNT,
        **_each("epochs", "batch_size", "training_rows", shape=_whole(0, 2**63)),
        "hidden": _WIDTHS,
        "rows": Shape("a text or a whole number", lambda v: isinstance(v, str) or (type(v) is int and v > 0)),
        **_each("smoothing", "accuracy_test", "accuracy_validation", "accuracy_train", shape=_SHARE),
        **_each("ece_test", "ece_validation", shape=_SHARE),
        **_each("nll_test", "nll_validation", "weight_decay", "learning_rate", shape=_FROM_0),
        **_each("seconds", "processor_seconds", shape=_FROM_0),
        "bad": _object(),
        "weights_sha256": _object(entries=_NEEDED_TEXT),
    },
    needed=True,
)

MANIFEST = _object(
    {
        **_each("name", "title", "study_hash", "status", "reference_teacher", "commit", "device", shape=_TEXT),
        "batch_norm": _TEXT,
        "seed": _ANY_WHOLE,
        **_each("replicas", "devices", "threads", shape=_COUNT),
        "class_names": _list(
            Shape("a text", lambda value: isinstance(value, str) or _is_number(value), needed=True), "texts"
        ),
        "views": _list(_NEEDED_TEXT, "names of views"),
        "draw": _object({"kind": _TEXT, **_each("rows", "pool", shape=_whole(1, 2**63))}),
        "data": _object(
            {
                **_each("name", "path", "split", "note", "fingerprint", "mode", shape=_TEXT),
                "test_is_whole_split": _TRUTH,
                **_each("size", "features", shape=_COUNT),
                "held_out": _list(_NEEDED_TEXT, "names of classes"),
            }
        ),
        "claims": _object(
            entries=_list(_object(entries=_ARM_NAMES, needed=True), "objects", needed=True),
        ),
        "teachers": _object(entries=_TEACHER),
        "versions": _object(entries=_NEEDED_TEXT),
        **_each("sources", "people", shape=_object(entries=_TEXT)),
        "sessions": _list(_SESSION, "objects"),
        "begun": _object({**(_FIXED.keys or {}), "claims_fixed": _FIXED}),
        "engine": _object({**_each("channels_last", "compiled", shape=_TRUTH), **_each("name", "chosen", shape=_TEXT)}),
        "soft_label_files": _object(entries=_object(_each("path", "sha256", shape=_TEXT), needed=True)),
        "tuning": _object(entries=_list(_NEEDED_TEXT, "texts", needed=True)),
        "warnings": _list(_NEEDED_TEXT, "sentences"),
    }
)


def check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    """Raise RecordError, naming the key, where a manifest holds something else than what is read there.

    Args:
        manifest: With `kind`, `num_classes` and `arms`, which were looked at before.
        where: What to name as the place.
    """
    for key, value, words in _faults(manifest):
        raise RecordError(
            f"{where}: {key} is {value!r:.60}, it must be {words}; put back what was there, or restore it"
        )


def _faults(manifest: Mapping[str, Any]) -> Faults:
    yield from MANIFEST.faults(manifest, "")
    for name, entry in manifest["arms"].items():
        loss = entry.get("loss") if isinstance(entry, dict) else None
        yield from (_OWN_ARM if isinstance(loss, str) and ":" in loss else _ARM).faults(entry, f"arms.{name}")
    names, classes = manifest.get("class_names"), manifest["num_classes"]
    if names is not None and len(names) != classes:
        yield "class_names", names, f"a list of {classes} texts (num_classes), not {len(names)}"
    for name in (*manifest["arms"], *(manifest.get("teachers") or {})):
        try:
            schema.check_name(name, "arm")
        except RecordError:
            yield "the name of an arm or a teacher", name, "letters, digits, '_', '-' and '.', as in a file's name"
    own = [name for name, entry in (manifest.get("teachers") or {}).items() if entry.get("draw") == "per_replica"]
    if own and not manifest.get("replicas"):  # how many networks the teacher is
        yield "replicas", None, f"a whole number, since teachers.{own[0]} is one network for each replica"
    for name, entry in manifest["arms"].items():
        replicas = entry.get("replicas")
        failed = [item["replica"] for item in entry.get("failed_replicas") or ()]
        if len(set(failed)) < len(failed) or (replicas and max(failed, default=0) >= replicas):
            yield f"arms.{name}.failed_replicas", failed, f"different replicas, from 0 to {(replicas or MOST) - 1}"


def check_agreement(manifest: Mapping[str, Any], study: Mapping[str, Any], where: str) -> None:
    """Raise RecordError, naming the key, where a manifest contradicts the study file that lies beside it.

    The name, the title and labels may differ: they only say how things are shown.

    Args:
        manifest: Of a run of a study.
        study: Its study file, resolved.
        where: What to name as the place.
    """
    for key, value, other in _contradictions(manifest, study):
        raise RecordError(
            f"{where}: {key} is {value!r:.60}, but its study (study.yaml) says {other!r:.60}: one of the two was "
            "changed since the run was begun; put back what was there"
        )


def _contradictions(manifest: Mapping[str, Any], study: Mapping[str, Any]) -> Faults:
    shared = ("seed", "replicas", "threads", "draw", "reference_teacher", "claims")
    yield from _differences({key: manifest[key] for key in shared if key in manifest}, study, "")
    for key in ("seed", "replicas", "draw", "reference_teacher", "claims"):
        if study.get(key) and manifest.get(key) is None:
            yield key, None, study[key]
    yield from _differences(manifest.get("teachers") or {}, _section(study, "teachers"), "teachers", skip=("label",))
    arms = _section(study, "arms")
    missing = [name for name in arms if name not in manifest["arms"]]
    if missing:
        yield "arms", f"without {first_few(missing)}", f"there are {first_few(arms)}"
    known = {name: entry for name, entry in manifest["arms"].items() if name in arms}
    yield from _differences(known, arms, "arms", skip=("label", "record", "predictions"))
    whole = {"replicas": study.get("replicas"), "epochs": _section(study, "schedule").get("epochs")}
    rate = _section(study, "learning_rate").get("value")
    whole |= {} if rate is None else {"learning_rate": rate}
    for name, entry in known.items():
        reference = None if entry.get("own_teacher") else study.get("reference_teacher")
        follows = {**whole, "scored_against": arms[name].get("teacher") or reference}
        temperatures = (arms[name].get("temperature"), study.get("reference_temperature"))  # a method knows which
        if entry.get("record_temperature") not in temperatures:
            follows["record_temperature"] = temperatures[0] or temperatures[1]
        yield from _differences(entry, {key: value for key, value in follows.items() if value}, f"arms.{name}")
        teacher = (manifest.get("teachers") or {}).get(arms[name].get("teacher")) or {}
        if {"regime"} <= teacher.keys() & entry.keys() and teacher["regime"] != entry["regime"]:
            yield (
                f"arms.{name}.regime",
                entry["regime"],
                f"{teacher['regime']} (teachers.{arms[name]['teacher']}.regime)",
            )
        told = {key: arms[name].get(key) for key in SETTINGS} | follows
        lacking = [key for key, value in told.items() if value and entry.get(key) is None]
        if lacking and entry.get("status") == "complete":
            yield f"arms.{name}", f"without {lacking[0]}", told[lacking[0]]
        if entry.get("status") == "complete" and entry.get("failed_replicas") is None:
            yield f"arms.{name}", "without failed_replicas", "that it is complete (a list, empty if none failed)"


def _section(study: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = study.get(name)
    return section if isinstance(section, dict) else {}


def _differences(ours: Any, theirs: Any, key: str, skip: tuple[str, ...] = ()) -> Faults:
    """What differs of the keys that both have, inside objects too; a whole number equals the same float."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if key == "claims" and ours.keys() != theirs.keys():
            yield key, sorted(ours), sorted(theirs)
        for name in ours:
            if name in theirs and name not in skip:
                yield from _differences(ours[name], theirs[name], f"{key}.{name}" if key else name, skip)
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        yield key, ours, theirs


def content_of(directory: Path) -> dict[str, Any]:
    """What a manifest holds, of whatever kind; FileNotFoundError if there is none, RecordError if damaged or newer."""
    path = Path(directory) / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (ValueError, RecursionError) as error:  # no text, no JSON, a number of thousands of digits
        reason = " ".join(str(error).split())[:100]
        raise RecordError(f"{path} is damaged, not valid JSON ({reason}); restore it or run the study again") from None
    except (OSError, MemoryError, RuntimeError) as error:
        raise unreadable(path, error, "a manifest") from None
    if not isinstance(manifest, dict):
        raise RecordError(f"{path} is damaged: it must hold a JSON object")
    version = manifest.get("schema_version")
    if type(version) is not int or version < 0:
        raise RecordError(f"{path} is damaged: schema_version is {version!r:.60}, it must be a whole number")
    if version > schema.SCHEMA_VERSION:
        raise RecordError(
            f"{directory} was written with schema version {version}, newer than this biasvar reads "
            f"(up to {schema.SCHEMA_VERSION}); update biasvar"
        )
    return manifest


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a run directory; FileNotFoundError if there is none, RecordError if it is damaged or newer."""
    path = Path(directory) / "manifest.json"
    manifest = content_of(directory)
    if manifest.get("kind") == REDRAWS:
        held = first_few(sorted(found.name for found in path.parent.glob("redraw=*"))) or "none yet"
        raise RecordError(
            f"{directory} holds redraws of a study, each a run of its own ({held}): open one of them, or all with "
            f"biasvar.records.open_redraws; `{command('report')} {directory}` reports them together"
        )
    classes = manifest.get("num_classes")
    if manifest.get("kind") not in schema.KINDS or type(classes) is not int or classes < 1:
        raise RecordError(
            f"{path} is damaged: kind {manifest.get('kind')!r:.60} must be one of {', '.join(schema.KINDS)} and "
            f"num_classes {classes!r:.60} a whole number above 0"
        )
    if not isinstance(manifest.setdefault("arms", {}), dict):
        raise RecordError(f"{path} is damaged: arms is {manifest['arms']!r:.60}, it must be an object")
    check_manifest(manifest, f"{path} is damaged")
    return manifest
