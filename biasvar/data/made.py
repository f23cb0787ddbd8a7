"""Made images in place of a known data set that is not here: for dry runs, and for nothing else."""

from __future__ import annotations

import numpy as np

from biasvar.data.dataset import Dataset, Measured
from biasvar.data.layout import KNOWN
from biasvar.seeding import generator


def made_dataset(name: str, *, size: int | None = None, mode: str | None = None) -> Dataset:
    """A data set with the rows, the split, the classes and the shape of a known one, and with images that are made.

    All rows show one image of random pixels, which takes the memory of one: of a million images as of ten. Labels go
    round the classes.

    Args:
        name: One of `biasvar.data.layout.KNOWN`.
        size: Pixels of a side; default the data set's own.
        mode: "grey" or "colour"; default as the data set's own.

    >>> made = made_dataset("imagenet")
    >>> made.images.shape, made.num_classes, made.images.strides[0]
    ((1331167, 224, 224, 3), 1000, 0)
    """
    known = KNOWN[name]
    shape = known.shape if size is None else (size, size, *known.shape[2:])
    if mode is not None:
        shape = (*shape[:2], *((3,) if mode == "colour" else ()))
    rows = known.train + known.test
    channels = shape[2] if len(shape) == 3 else 1
    moments = np.full(channels, 0.5), np.full(channels, 12**-0.5)  # of uniform pixels
    return Dataset(
        name=name,
        images=np.broadcast_to(random_images(1, shape), (rows, *shape)),
        labels=np.concatenate([np.arange(known.train), np.arange(known.test)]) % known.num_classes,
        class_names=tuple(map(str, range(known.num_classes))),
        scale=255.0,
        note=f"made images of the shape of {known.title}",
        split=np.repeat(["train", "test"], [known.train, known.test]),
        made=True,
        _measured=Measured(*moments, "made"),
    )


def random_images(rows: int, shape: tuple[int, ...], scale: float = 255.0) -> np.ndarray:
    """uint8 (rows, *shape) of random pixels from 0 to `scale`."""
    return generator(0, "made images").integers(0, int(scale) + 1, (rows, *shape), dtype=np.uint8)
