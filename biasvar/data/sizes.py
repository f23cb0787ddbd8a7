"""Smaller images made of larger ones, by the mean over the area of each new pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def made_smaller(name: str, images: np.ndarray, size: int | None) -> np.ndarray:
    """The images with a shorter side of `size` pixels; as they are where no size is given.

    The longer side shrinks in proportion, rounded. A new pixel is the mean over the area that it covers, where a pixel
    that lies in it by half counts by half; rows are averaged before columns, and the mean is rounded to a whole number.

    Args:
        name: Of the data set, for errors.
        images: uint8 (n, H, W) or (n, H, W, 3).
        size: At most the shorter of H and W.

    Raises:
        ValueError: The images are smaller than that.

    >>> made_smaller("two", np.array([[[0, 4, 8], [0, 4, 8], [0, 4, 8]]], dtype=np.uint8), 2).tolist()
    [[[1, 7], [1, 7]]]
    """
    height, width = images.shape[1:3]
    shorter = min(height, width)
    if size is None or size == shorter:
        return images
    if size > shorter:
        raise ValueError(
            f"size {size} is more than the {shorter} pixels that images of {name} have; images are only made smaller: "
            f"give at most {shorter}"
        )
    down, across = (area_weights(side, round(side * size / shorter)) for side in (height, width))
    flat = images if images.ndim == 4 else images[..., None]
    made = np.einsum("ih,nhwc,jw->nijc", down, flat.astype(np.float32), across, optimize=True)
    return np.rint(made).astype(np.uint8).reshape(len(images), len(down), len(across), *images.shape[3:])


def area_weights(old: int, new: int) -> np.ndarray:
    """float32 (new, old): the share of old pixel j in new pixel i, both tiling the same length; rows sum to 1.

    >>> area_weights(3, 2).astype(float).round(3).tolist()
    [[0.667, 0.333, 0.0], [0.0, 0.333, 0.667]]
    """
    edges = np.arange(new + 1) * (old / new)
    starts = np.arange(old)
    inside = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (np.maximum(inside, 0.0) * (new / old)).astype(np.float32)


def how_made(mode: str | None, before: Sequence[int], after: Sequence[int]) -> str:
    """What was done to images of one height and width to make those of another, for captions; "" for nothing.

    >>> how_made("L", (32, 32), (16, 16))
    'converted to grey, luma of ITU-R BT.601; made of 32x32 pixels, each new one the mean over its area'
    """
    done = []
    if mode is not None:
        done.append({"L": "converted to grey, luma of ITU-R BT.601", "RGB": "converted to colour"}[mode])
    if tuple(before) != tuple(after):
        done.append(f"made of {before[1]}x{before[0]} pixels, each new one the mean over its area")
    return "; ".join(done)
