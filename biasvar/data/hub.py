"""Data sets from the Hugging Face hub, by name (extra `hub`)."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from pathlib import Path

from biasvar.data.layout import KNOWN, by_hand, data_folder, shards
from biasvar.files import move_folder, temporary_folder


def fetch(name: str, *, folder: str | os.PathLike[str] | None = None) -> Path:
    """Download a data set's Parquet files to `<folder>/<name>/`, whole or not at all; nothing if it is there.

    Args:
        name: "cifar10", "cifar100" or "fashion_mnist".
        folder: Default: where :func:`load_dataset` looks, BIASVAR_DATA, else the cache folder.

    Returns:
        The folder, with the repository and its commit in `source.json`.

    Raises:
        ValueError: No repository is known for that name.
        ModuleNotFoundError: The `hub` extra is not installed.
        ConnectionError: The download failed; says what to put where instead.

    >>> fetch("mnist")
    Traceback (most recent call last):
    ValueError: no repository is known for 'mnist'; fetch has: cifar10, cifar100, fashion_mnist
    """
    target = Path(folder) if folder is not None else data_folder()
    repositories = {key: known.repository for key, known in KNOWN.items() if known.repository}
    if name not in repositories:
        where = f": {by_hand(name, target)}" if name in KNOWN else ""
        raise ValueError(f"no repository is known for {name!r}; fetch has: {', '.join(repositories)}{where}")
    place = target / name
    if place.is_dir() and any(place.rglob("*.parquet")):
        return place
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"fetching {name} needs the `hub` extra: pip install 'biasvar[hub]'; or {by_hand(name, target)}"
        ) from error
    with temporary_folder(place) as temporary:
        try:
            commit = hub.HfApi().dataset_info(repositories[name]).sha
            hub.snapshot_download(
                repositories[name], repo_type="dataset", revision=commit, allow_patterns="*.parquet",
                local_dir=str(temporary),
            )  # fmt: skip
        except Exception as error:  # the hub's own errors, those of its HTTP library, a full disk
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConnectionError(
                f"could not download {repositories[name]} from huggingface.co ({why}); {by_hand(name, target)}"
            ) from error
        shutil.rmtree(temporary / ".cache", ignore_errors=True)
        shards(temporary)
        about = {"repository": repositories[name], "commit": commit}
        (temporary / "source.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        try:
            move_folder(temporary, place)
        except OSError:
            if not any(place.rglob("*.parquet")):
                raise  # else: fetched by another process meanwhile
    return place
