"""Data sets by name: images, labels and the identity that a sample keeps through every split and epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

DATASETS = ("digits",)


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one data set, in one fixed order; row i has sample_id i.

    Attributes:
        name: The name the data set was loaded by.
        images: uint8 (N, H, W), as stored.
        labels: int64 (N,), in 0 .. C-1.
        class_names: C names.
        scale: What a pixel is divided by to lie in [0, 1].
        note: Where the data comes from, for captions.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    note: str

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over images and labels: two runs with the same fingerprint saw the same data."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def features(self) -> np.ndarray:
        """The images as float32 rows in [0, 1], shape (N, H * W): what a fully connected network takes."""
        return (self.images.reshape(len(self.images), -1) / self.scale).astype(np.float32)


def load_dataset(name: str) -> Dataset:
    """The data set of that name.

    Args:
        name: "digits": the 1,797 handwritten 8x8 digits that scikit-learn ships (UCI Optical Recognition of
            Handwritten Digits, test part; Alpaydin and Kaynak 1998).

    Raises:
        ValueError: No data set of that name.

    >>> data = load_dataset("digits")
    >>> data.images.shape, data.num_classes
    ((1797, 8, 8), 10)
    """
    if name != "digits":
        raise ValueError(f"no data set named {name!r}; there is: {', '.join(DATASETS)}")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Dataset(
        name="digits",
        images=digits.images.astype(np.uint8),
        labels=digits.target.astype(np.int64),
        class_names=tuple(str(c) for c in digits.target_names),
        scale=16.0,
        note="1,797 handwritten digits of 8x8 pixels, shipped with scikit-learn",
    )
