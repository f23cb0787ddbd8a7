"""A run that goes on: it must be of the study and the data that it was begun with, and says under what it went on."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import biasvar
from biasvar.data.human_labels import load_people
from biasvar.data.streaming import StreamedImages
from biasvar.errors import RecordError
from biasvar.files import plain
from biasvar.messages import first_few, in_words
from biasvar.records.manifest import REDRAWS, read_manifest
from biasvar.records.redraws import holds_redraws, read_redraws
from biasvar.study import Study
from biasvar.study.claims import ledger_hash
from biasvar.study.identity import KEPT, NO_IDENTITY, SHOWN
from biasvar.study.networks import LEFT_OUT
from biasvar.training.context import StudyContext
from biasvar.training.unreadable import are_mended

PACKAGES = ("torch", "numpy", "pyarrow", "scikit-learn")
SESSION = ("versions", "commit", "device", "devices", "threads")
"""What a session is: what its numbers depend on besides the study and the data."""


def check_same_study(study: Study, directory: Path) -> None:
    """Raise if a directory holds a run of another study, where its `study.yaml` tells which keys differ.

    Raises:
        RecordError: Names the keys, each with both values; of a directory of redraws only that it is one.
    """
    try:
        manifest = read_redraws(directory) if study.redraws else read_manifest(directory)
        before = yaml.safe_load((directory / "study.yaml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, yaml.YAMLError):
        return  # no run, or none that says more than its hash, which its writer compares
    except RecordError as error:
        if not study.redraws and holds_redraws(directory):
            raise RecordError(f"{error}; this study is one draw (redraws: none): give it another --out") from None
        raise
    kinds = ("study", REDRAWS)
    if manifest.get("kind") not in kinds or manifest.get("study_hash") in study.hashes or not isinstance(before, dict):
        return
    now, chosen = (plain(study.model_dump(mode="json", exclude_defaults=given)) for given in (False, True))
    found = list(_differences(before, now, chosen))
    if found:
        held = "redraws" if study.redraws else "another run"
        raise RecordError(
            f"{directory} holds {held}, {manifest.get('name')!r}, of a study that differs: "
            f"{first_few(found, separator='; ')}; put that back as it was, or give the study another --out"
        )


def _differences(before: Any, now: Any, chosen: Any, place: tuple[str, ...] = ()) -> Iterator[str]:
    """Each key of a study that has another value now; one that came later, at its default, says nothing new."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield f"{'.'.join(place)} was {_shown(before)} and is {_shown(now)}"
        return
    if place[-1:] == ("student",):
        before, now = LEFT_OUT | before, LEFT_OUT | now
    for key in dict.fromkeys((*before, *now)):
        here = (*place, str(key))
        if (len(here) == 1 and here[0] in SHOWN) or (len(here) == 3 and here[2] in NO_IDENTITY.get(here[0], ())):
            continue
        given = chosen.get(key) if isinstance(chosen, dict) else None
        if key in before and key in now:
            yield from _differences(before[key], now[key], given, here)
        elif key in before and before[key] not in (None, False, ""):
            yield f"{'.'.join(here)} was {_shown(before[key])} and is gone"
        elif key in now and given is not None:
            yield f"{'.'.join(here)} is new, {_shown(now[key])}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if isinstance(value, list) and len(text) <= 40 else in_words(value)


def check_same_data(context: StudyContext) -> None:
    """Raise if the data are others than a run was begun with: its arms would be of two data sets.

    Args:
        context: The study with the data as they are now, and the run directory, which need not exist.

    Raises:
        RecordError: Says what differs.
    """
    directory, dataset = context.directory, context.dataset
    try:
        recorded = read_manifest(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    if recorded.get("study_hash") not in context.study.hashes:
        return  # a run of another study, which its writer refuses
    before = recorded.get("data") or {}
    if before.get("fingerprint") not in (None, dataset.fingerprint) and not has_mended(context, before):
        place = before.get("path"), dataset.path
        moved = f"; they were read from {place[0]} and now from {place[1]}" if place[0] != place[1] else ""
        raise RecordError(
            f"the data {dataset.name} are not those that {directory} was begun with: "
            f"{_difference_of_data(context)} (fingerprint {str(before['fingerprint'])[:12]}, now "
            f"{dataset.fingerprint[:12]}){moved}; put them back as they were, or give the study another --out"
        )
    people = recorded.get("people") or {}
    for name, fingerprint in fingerprints_of_people(context).items():
        if people.get(name, fingerprint) != fingerprint:
            raise RecordError(
                f"the people's labels {name} are not those that {directory} was begun with; put the file back as it "
                "was, or give the study another --out"
            )


def has_mended(context: StudyContext, before: Mapping[str, Any]) -> bool:
    """True if the data differ from those of a run's entry in files alone that it could not read."""
    images = context.dataset.images
    return isinstance(images, StreamedImages) and are_mended(images, context.directory, str(before.get("fingerprint")))


def _difference_of_data(context: StudyContext) -> str:
    """What is seen of the difference from the labels that a run holds."""
    labels = context.dataset.labels
    try:
        samples = pd.read_parquet(context.directory / "samples.parquet", columns=["sample_id", "label"])
    except (OSError, ValueError):  # not written yet, or damaged
        return "images, labels or the official split differ"
    ids, there = samples["sample_id"].to_numpy(), samples["label"].to_numpy()
    if len(ids) and ids.max() >= len(labels):
        return f"there are {len(labels):,} samples, and the run has sample {ids.max()}"
    differs = labels[ids] != there
    if differs.any():
        first = int(differs.argmax())
        return (
            f"{int(differs.sum()):,} of {len(ids):,} labels differ, that of sample {ids[first]} was {there[first]} and "
            f"is {labels[ids[first]]}"
        )
    return "the labels of its samples are the same, but images, other rows or the official split differ"


def fingerprints_of_people(context: StudyContext) -> dict[str, str]:
    """The fingerprint of each set of people's labels that a study learns from."""
    named = {people for source in context.study.soft_labels.values() if (people := source.get("people"))}
    return {people: load_people(people, context.dataset).fingerprint for people in sorted(named)}


def versions() -> dict[str, str]:
    """The versions of what computes here."""
    own = {"biasvar": biasvar.__version__, "python": platform.python_version()}
    return {**own, **{name: version(name) for name in PACKAGES}}


def session(study: Study, context: StudyContext, commit: str | None) -> dict[str, Any]:
    """Under what a run is made, as its manifest says it."""
    return {
        "versions": versions(),
        "commit": commit,
        "device": context.device.type,
        "threads": study.threads,
        "devices": context.ranks.world,
    }


def begun(study: Study, directory: Path) -> dict[str, Any]:
    """`begun` for the manifest of a run that begins now; nothing where there is a run, which began before.

    The day, the definitions of its claims in this version, and what the study says of when they were fixed: a page can
    then tell a statement that was there from one that was added once the numbers were known.
    """
    if (directory / "manifest.json").exists():
        return {}
    fixed = study.claims_fixed
    said = None if fixed is None else fixed.model_dump()
    return {"begun": {"date": date.today().isoformat(), "ledger": ledger_hash(study.claims), "claims_fixed": said}}


def restate(study: Study, directory: Path) -> str | None:
    """The study file that a run is to hold now, where the study says other things about itself; else None."""
    try:
        before = yaml.safe_load((directory / "study.yaml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, yaml.YAMLError):
        return None  # written once the run begins, or damaged, which reading it says
    now = study.model_dump(mode="json", include=set(SHOWN))
    same = isinstance(before, dict) and all(before.get(key) == value for key, value in now.items())
    return None if same or not isinstance(before, dict) else study.to_yaml()


def asks_for_more(study: Study, directory: Path, arm: str) -> str:
    """What a study keeps of an arm that it did not when the run was made, to follow what is missing; "" if nothing."""
    try:
        before = yaml.safe_load((directory / "study.yaml").read_text(encoding="utf-8"))["arms"][arm]
        before = {key: {word: before[key][word] for word in words} for key, words in KEPT.items()}
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return ""  # no study that says it, or one of an earlier version
    settings = study.arms[arm].model_dump(mode="json", include=set(KEPT))
    now = {key: {word: settings[key][word] for word in words} for key, words in KEPT.items()}
    found = list(_differences(before, now, now))
    return f", which the study asks for since {first_few(found, separator='; ')}" if found else ""


def sessions_with(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The sessions of a run with this one, and what is different in it, in words; "" if nothing is.

    Only a session that differs from the one before is one of its own. `arms_before` are the arms that were complete
    when it began.

    Args:
        recorded: The manifest of the run; one of an earlier version has no list, and is its own first session.
        now: The session, as `session` gives it.
    """
    known = recorded.get("sessions") or [{**{key: recorded.get(key) for key in SESSION}, "arms_before": []}]
    changes = list(_changes(known[-1], now))
    if not changes:
        return known, ""
    done = [name for name, entry in (recorded.get("arms") or {}).items() if entry.get("status") == "complete"]
    return [*known, {**now, "arms_before": done}], first_few(changes, len(changes))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two sessions; a package that only one of them names is no difference."""
    versions = before.get("versions") or {}
    for name, value in now["versions"].items():
        if versions.get(name, value) != value:
            yield f"{name} {versions[name]} before and {value} now"
    for key in SESSION[1:]:
        if key == "devices" and not before.get(key):
            before = {**before, key: 1}  # of a version that knew one device only
        if before.get(key) != now[key]:
            yield f"{key} {before.get(key) or 'unknown'} before and {now[key] or 'unknown'} now"
