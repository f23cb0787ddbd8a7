"""Images or vectors, labels and the identity that a sample keeps through every split and epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Measured:
    """What is measured once over a data set and kept beside its images."""

    mean: np.ndarray
    std: np.ndarray
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images or vectors, and labels, of one data set, in one fixed order; row i has sample_id i.

    Attributes:
        name: The name the data set was loaded by; for one loaded by path, the name of the file or folder.
        images: uint8 (N, H, W) or (N, H, W, 3), as stored; of a data set of features float32 (N, D), as they are.
            Those of Parquet files are memory-mapped, copy on write: processes share the pages, `torch.from_numpy` takes
            them as they are, and the file never changes.
        labels: int64 (N,), in 0 .. C-1.
        class_names: C names.
        scale: What a pixel is divided by to lie in [0, 1]; 1 for features.
        note: Where the data comes from, for captions.
        split: (N,) "train" or "test", the official split, train rows first; None without one.
        original_index: int64 (N,) row in the split of the original data set, -1 unknown; None where it is not stored.
        files: For images in folders of classes, the path of each sample's file in that folder; else None.
        path: For one loaded by path, what `load_dataset` was given; None for one loaded by name.
        made: True for a dry run's data set of made images (`biasvar.data.made`), all of them one.

    >>> from biasvar.data import load_dataset
    >>> digits = load_dataset("digits")
    >>> digits.images.shape, digits.num_classes, digits.scale, digits.is_vectors
    ((1797, 8, 8), 10, 16.0, False)
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    note: str
    split: np.ndarray | None = None
    original_index: np.ndarray | None = None
    path: str | None = None
    files: tuple[str, ...] | None = None
    made: bool = False
    _measured: Measured | None = field(default=None, repr=False)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def is_vectors(self) -> bool:
        """True for a data set of features, whose rows are no images."""
        return self.images.ndim == 2

    @property
    def mean(self) -> np.ndarray:
        """float64 (channels,) mean of pixel / scale over the train split (over all rows without a split).

        Of features (D,), one a feature.
        """
        return self._measures.mean

    @property
    def std(self) -> np.ndarray:
        """float64 (channels,) standard deviation that goes with `mean`, over all pixels."""
        return self._measures.std

    @property
    def fingerprint(self) -> str:
        """SHA-256 over images, labels and split: two runs with the same fingerprint saw the same data."""
        return self._measures.fingerprint

    @cached_property
    def _measures(self) -> Measured:
        return self._measured or measure(self.images, self.labels, self.split, self.scale)

    def features(self) -> np.ndarray:
        """float32 rows, what a fully connected network takes: (N, H * W * channels) in [0, 1]; features as they are."""
        if self.is_vectors:
            return self.images
        rows = self.images.reshape(len(self.images), -1)
        return np.divide(rows, np.float32(self.scale), dtype=np.float32)


def measure(images: np.ndarray, labels: np.ndarray, split: np.ndarray | None, scale: float) -> Measured:
    """Mean and standard deviation of the train rows, and the fingerprint of everything."""
    rows = images if split is None else images[: int((split == "train").sum())]
    mean, std = channel_moments(rows) if images.ndim > 2 else (rows.mean(0, np.float64), rows.std(0, np.float64))
    digest = hashlib.sha256()
    for array in (images, labels) if split is None else (images, labels, split == "train"):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Measured(mean / scale, std / scale, digest.hexdigest())


def channel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 (channels,) mean and standard deviation of each channel of uint8 images, from exact integer sums.

    >>> channel_moments(np.array([[[0, 255]]], dtype=np.uint8))
    (array([127.5]), array([127.5]))
    """
    channels = images.shape[3] if images.ndim == 4 else 1
    total, squares = np.zeros(channels, dtype=np.int64), np.zeros(channels, dtype=np.int64)
    for start in range(0, len(images), 4096):  # 4096 * 255**2 fits 32 bits
        flat = images[start : start + 4096].reshape(-1, images[0].size)
        # Pixel by pixel first: sums over the rows of a contiguous array are many times faster than over channels.
        total += flat.sum(axis=0, dtype=np.uint32).reshape(-1, channels).sum(axis=0, dtype=np.int64)
        square = np.square(flat, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
        squares += square.reshape(-1, channels).sum(axis=0, dtype=np.int64)
    count = images.size // channels
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0))
