"""Hugging Face datasets on disk, as `save_to_disk` of datasets 3 and 4 writes them, without that library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa


def save(folder: Path, table: pa.Table, features: dict[str, Any], *, files: int = 2, split: str | None = None) -> Path:
    """One dataset: Arrow streams and `state.json`, which says their order."""
    folder.mkdir(parents=True)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    size = -(-table.num_rows // files)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.slice(i * size, size), max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def save_dict(folder: Path, splits: dict[str, pa.Table], features: dict[str, Any]) -> Path:
    """A dict of datasets, one a split."""
    for name, table in splits.items():
        save(folder / name, table, features, split=name)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
    return folder
