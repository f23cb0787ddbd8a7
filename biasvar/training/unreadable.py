"""Files of streamed images that could not be read: which a run met, so that it goes on once they are whole."""

from __future__ import annotations

import json
from pathlib import Path

from biasvar.data.streaming import StreamedImages
from biasvar.files import write_json

# The fingerprint of streamed images is of the files' sizes, and a whole file in the place of a damaged one mostly has
# another. Nothing can have been made of a file that could not be read, so such a change is none of the run's data.


def note_unreadable(images: StreamedImages, directory: Path, sample: int) -> None:
    """Write down in a run directory how many bytes the file of a sample that cannot be read has."""
    if (directory / "manifest.json").exists():
        name = images.name_of(sample)
        _path(directory).parent.mkdir(exist_ok=True)
        write_json(_path(directory), {**noted_sizes(directory), name: images.size_of(name)})


def noted_sizes(directory: Path) -> dict[str, int]:
    """The bytes that files had which could not be read, by name."""
    try:
        found = json.loads(_path(directory).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): int(size) for name, size in found.items()} if isinstance(found, dict) else {}


def are_mended(images: StreamedImages, directory: Path, fingerprint: str) -> bool:
    """True if the images have another fingerprint than this one because of files alone that could not be read then."""
    sizes = noted_sizes(directory)
    return bool(sizes) and images.fingerprint() != fingerprint == images.fingerprint(sizes)


def forget_unreadable(directory: Path) -> None:
    """Note that these files are whole."""
    _path(directory).unlink(missing_ok=True)


def _path(directory: Path) -> Path:
    return directory / "checkpoints" / "unreadable.json"
