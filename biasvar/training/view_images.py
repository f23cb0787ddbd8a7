"""The images that further views of a data set show: made once, and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from biasvar.data import Dataset
from biasvar.data.cache import cached
from biasvar.data.layout import cache_folder
from biasvar.errors import StudyError
from biasvar.study.schema import Data
from biasvar.study.views import ORIGINAL, PATCHES, View

CHUNK = 1024  # images made at a time: those of the data set may not fit in memory
FORMAT = 1  # of the pictures; a change in how any is made makes all of them be made anew


def view_images(dataset: Dataset, view: View, sample_ids: np.ndarray) -> np.ndarray:
    """The images of some samples as a view shows them, uint8 (n, H, W[, 3]), memory-mapped from the cache folder.

    Args:
        dataset: Of images.
        view: Any but an attack.
        sample_ids: int (n,).

    Raises:
        OSError: The cache folder cannot be written.
    """
    ids = hashlib.sha256(np.ascontiguousarray(sample_ids, dtype=np.int64).data).hexdigest()
    key = hashlib.sha256(json.dumps([FORMAT, dataset.fingerprint, view.name, ids]).encode()).hexdigest()

    def fill(folder: Path) -> None:
        from biasvar.data.renderings import show

        shape = (len(sample_ids), *dataset.images.shape[1:])
        pictures = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(sample_ids), CHUNK):
            ids = sample_ids[start : start + CHUNK]
            shown = show(dataset.images[ids], ids, view.kind, view.amount, scale=dataset.scale)
            pictures[start : start + CHUNK] = shown
        pictures.flush()

    def read(folder: Path) -> np.ndarray:
        images = np.load(folder / "images.npy", mmap_mode="c")
        if images.shape != (len(sample_ids), *dataset.images.shape[1:]) or images.dtype != np.uint8:
            raise ValueError(f"{folder} is damaged")
        return np.asarray(images)

    return cached(cache_folder() / "views" / f"{view.name}-{key[:16]}", fill, read)


def training_images(dataset: Dataset, data: Data, sample_ids: np.ndarray, seed: int) -> np.ndarray:
    """The images by sample id, where some samples are shown through the renderings of `data.train_views`.

    Each of these samples through one of them, by its id. Without `train_views` these are the data set's own images.

    Args:
        dataset: Of images.
        data: Names the renderings.
        sample_ids: int (n,), the samples to show so.
        seed: Of the study: it and the id of a sample choose the sample's rendering.
    """
    if not data.train_views:
        return dataset.images
    images = np.array(dataset.images)
    from biasvar.data.renderings import chosen_rendering, show

    chosen = chosen_rendering(sample_ids, len(data.train_views), seed=seed)
    for number, name in enumerate(data.train_views):
        here = sample_ids[chosen == number]
        if name != ORIGINAL and len(here):
            images[here] = show(dataset.images[here], here, name, None, scale=dataset.scale)
    return images


def check_views(data: Data, dataset: Dataset) -> None:
    """Raise unless the data set has what the views of a study need.

    Raises:
        StudyError: Names the key, the view, and what to do.
    """
    for key in ("views", "train_views"):
        if getattr(data, key) and dataset.is_vectors:
            raise StudyError(
                f"data.{key}: {dataset.name} holds features, not images, of which there are no views; leave it out"
            )
    if "grey" in (*data.views, *data.train_views) and dataset.images.ndim == 3:
        key = "views" if "grey" in data.views else "train_views"
        raise StudyError(f"data.{key}: grey: the images of {dataset.name} are grey already; leave it out")
    shuffled = [view for view in data.shown if view.kind == PATCHES]
    if shuffled:
        from biasvar.data.renderings import patch_fault

        height, width = dataset.images.shape[1:3]
        for view in shuffled:
            fault = patch_fault(height, width, int(view.amount or 0))
            if fault:
                raise StudyError(f"data.views: {PATCHES}: {fault}")
