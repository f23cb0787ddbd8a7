"""Hugging Face datasets saved to disk (`Dataset.save_to_disk`): their Arrow files, read without that library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biasvar.data.layout import Shard, split_of
from biasvar.messages import first_few


def is_saved_dataset(path: Path) -> bool:
    """True for a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def saved_shards(path: Path) -> list[Shard]:
    """The Arrow files of a saved dataset in their order, each with its split; a dataset that is no dict has none.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Splits that are neither train, validation nor test; rows that were selected and not written.
    """
    if not (path / "dataset_dict.json").is_file():
        return [Shard(file, None) for file in _files(path)]
    names = _json(path / "dataset_dict.json").get("splits", [])
    odd = [name for name in names if split_of(name) is None]
    if odd:
        raise ValueError(
            f"{path} has the split{'s' if len(odd) > 1 else ''} {first_few(odd)}; allowed: train, validation and test. "
            "Give the folder of one split alone"
        )
    return [Shard(file, split_of(name)) for name in names for file in _files(path / name)]


def _files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError(f"{folder} holds rows and a selection of them; save dataset.flatten_indices()")
    return [folder / str(entry["filename"]) for entry in state.get("_data_files", [])]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); save the dataset again") from None
    return found if isinstance(found, dict) else {}
