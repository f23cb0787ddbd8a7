"""A directory of redraws: runs of one study that differ in its seed, so in split, teachers and replicas.

OUT/manifest.json     kind "redraws", name, title, hash of the study, its seed, the seeds of the redraws, status
OUT/study.yaml        the study, resolved
OUT/redraw=000/ ...   each an ordinary run directory
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasvar.arguments import checked
from biasvar.errors import RecordError
from biasvar.files import locked, plain, write_bytes, write_json
from biasvar.messages import all_visible, first_few
from biasvar.records.manifest import REDRAWS, content_of
from biasvar.records.reader import Run, open_run
from biasvar.records.schema import SCHEMA_VERSION, redraw_path


@dataclass(frozen=True, eq=False)
class Redraws:
    """The redraws of one study; see `open_redraws`.

    Attributes:
        directory: What holds them.
        manifest: Its manifest.
        runs: Those that were begun, in order; each has the name of its folder.
        missing: The folders of those that were not.
    """

    directory: Path
    manifest: Mapping[str, Any]
    runs: list[Run]
    missing: list[str]

    @property
    def name(self) -> str:
        """The name of the study."""
        return str(self.manifest["name"])

    @property
    def count(self) -> int:
        """How many redraws the study has, begun or not."""
        return len(self.manifest["seeds"])


def holds_redraws(directory: str | Path) -> bool:
    """True if a directory is one of redraws, by the kind in its manifest; False where there is no readable manifest."""
    try:
        return content_of(Path(directory)).get("kind") == REDRAWS
    except (OSError, RecordError):
        return False


@checked
def open_redraws(directory: str | Path) -> Redraws:
    """Open the redraws that a directory holds.

    Args:
        directory: As `biasvar-run` makes it of a study with `redraws`.

    Raises:
        FileNotFoundError: There is no such directory.
        RecordError: It holds no redraws, its manifest is damaged, or a redraw is damaged or of another seed.

    >>> open_redraws("runs/of/nobody")
    Traceback (most recent call last):
    FileNotFoundError: runs/of/nobody does not exist; name a directory of redraws
    """
    path = Path(directory)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; name a directory of redraws")
    if not (path / "manifest.json").is_file():
        raise RecordError(f"{path} holds no redraws: it has no manifest.json")
    manifest = read_redraws(path)
    runs: list[Run] = []
    missing: list[str] = []
    for number, seed in enumerate(manifest["seeds"]):
        place = redraw_path(path, number)
        if not (place / "manifest.json").is_file():
            missing.append(place.name)
            continue
        run = open_run(place)
        if run.manifest.get("seed") != seed:
            raise RecordError(
                f"{place} is a run of seed {run.manifest.get('seed')}, but {path} says that redraw {number} has seed "
                f"{seed}; put back what was there, or delete it to have it trained again"
            )
        if runs and run.manifest.get("claims") != runs[0].manifest.get("claims"):
            raise RecordError(
                f"{place} is a run that tests other claims than {runs[0].directory.name}: it is of another study; put "
                "back what was there, or delete it to have it trained again"
            )
        runs.append(Run(place, all_visible({**run.manifest, "name": place.name})))
    return Redraws(path, manifest, runs, missing)


def redraws_of_runs(runs: Sequence[Run]) -> Redraws | None:
    """The redraws that some runs are, if they are all those that one directory holds; else None."""
    places = {run.directory.resolve().parent for run in runs}
    if len(places) != 1 or not holds_redraws(place := places.pop()):
        return None
    redraws = open_redraws(place)
    same = {run.directory.resolve() for run in runs} == {run.directory.resolve() for run in redraws.runs}
    return redraws if same else None


def read_redraws(directory: Path) -> dict[str, Any]:
    """The manifest of a directory of redraws.

    Raises:
        FileNotFoundError: There is no manifest.
        RecordError: It is damaged, newer, or of a run.
    """
    manifest = content_of(directory)
    path = directory / "manifest.json"
    if manifest.get("kind") != REDRAWS:
        raise RecordError(f"{directory} holds a run, {manifest.get('name')!r:.60}, no redraws; name another directory")
    for key in ("name", "study_hash", "status"):
        if not isinstance(manifest.get(key), str):
            raise RecordError(f"{path} is damaged: {key} is {manifest.get(key)!r:.60}, it must be a text; restore it")
    seeds = manifest.get("seeds")
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise RecordError(f"{path} is damaged: seeds is {seeds!r:.60}, it must be a list of whole numbers; restore it")
    return manifest


def begin_redraws(directory: Path, *, name: str, title: str, study_hash: str, seed: int, seeds: list[int]) -> None:
    """Write the manifest of a directory of redraws, or add redraws to one of the same study.

    Raises:
        NotADirectoryError: It is a file.
        RecordError: The directory holds a run, redraws of another study, more redraws, or anything else.
    """
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; redraws need a directory of their own")
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        there = _present(directory, study_hash, len(seeds))
        given = {
            "kind": REDRAWS, "schema_version": SCHEMA_VERSION, "name": name, "title": title, "study_hash": study_hash,
            "seed": seed, "seeds": seeds, "status": "running",
        }  # fmt: skip
        if there.get("seeds") == seeds:
            given["status"] = there["status"]
        if given != there:
            write_json(directory / "manifest.json", given)


def end_redraws(directory: Path) -> None:
    """Note that every redraw is complete."""
    with locked(directory):
        manifest = read_redraws(directory)
        if manifest["status"] != "complete":
            write_json(directory / "manifest.json", {**manifest, "status": "complete"})


def write_study(directory: Path, text: str) -> None:
    """Save the resolved study file (YAML text) unless it is there."""
    path = directory / "study.yaml"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_bytes(path, text.encode())


def _present(directory: Path, study_hash: str, count: int) -> dict[str, Any]:
    """The manifest that is there, if it is this study's; empty if nothing is there."""
    if not (directory / "manifest.json").exists():
        visible = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
        if visible:
            raise RecordError(
                f"{directory} is not empty and holds no redraws (it has {first_few(visible, 3)}); name a new or an "
                "empty directory"
            )
        return {}
    there = read_redraws(directory)
    if there["study_hash"] != study_hash:
        raise RecordError(
            f"{directory} holds redraws of another study, {there['name']!r}: its study_hash is "
            f"{there['study_hash']!r}, not {study_hash!r}; name another directory"
        )
    if len(there["seeds"]) > count:
        raise RecordError(
            f"{directory} holds {len(there['seeds'])} redraws, and redraws: {count} asks for fewer; to leave some out "
            f"when results are there would choose among them: ask for {len(there['seeds'])} or more, or name another "
            "directory"
        )
    return dict(plain(there))
