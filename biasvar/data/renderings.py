"""Other ways to show a picture: grey, its edges, few tones, shuffled patches; and all of them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from biasvar.data.corruptions import SEED, by_pixels, corrupt
from biasvar.seeding import uniforms, words

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], dtype=np.float32)
TONES = 4  # of each channel of a posterised image


def show(images: np.ndarray, sample_ids: Any, kind: str, amount: float | None, *, scale: float = 255.0) -> np.ndarray:
    """The images as a view shows them, uint8 of the same shape; what is random depends on (kind, sample_id) alone.

    Args:
        images: uint8 (n, H, W) or (n, H, W, 3).
        sample_ids: int (n,).
        kind: "shuffled_patches", a key of `RENDERINGS`, or a corruption.
        amount: Patches a side, or a severity; None for a rendering.
        scale: What a pixel is divided by to lie in [0, 1].

    Raises:
        ValueError: No such kind, amount or type of image.
    """
    if kind in RENDERINGS:
        return by_pixels(images, sample_ids, lambda pixels, ids: RENDERINGS[kind](pixels), scale=scale)
    if kind == "shuffled_patches":
        return shuffle_patches(images, sample_ids, int(amount or 0))
    return corrupt(images, sample_ids, kind, int(amount or 0), scale=scale)


def shuffle_patches(images: np.ndarray, sample_ids: Any, patches: int) -> np.ndarray:
    """The images cut into `patches` x `patches` equal pieces, which change places at random: texture stays, shape goes.

    Args:
        images: (n, H, W) or (n, H, W, channels).
        sample_ids: int (n,); a sample has one order of its pieces.
        patches: Must divide H and W.

    Raises:
        ValueError: It does not.

    >>> image = np.array([[[1, 2], [3, 4]]], dtype=np.uint8)
    >>> sorted(shuffle_patches(image, [5], 2).ravel().tolist())
    [1, 2, 3, 4]
    """
    n, height, width, *rest = images.shape
    fault = patch_fault(height, width, patches)
    if fault:
        raise ValueError(fault)
    tall, wide = height // patches, width // patches
    cut = images.reshape(n, patches, tall, patches, wide, -1).swapaxes(2, 3).reshape(n, patches**2, tall, wide, -1)
    order = np.argsort(uniforms(SEED, "shuffled_patches", np.asarray(sample_ids), patches**2), axis=1, kind="stable")
    moved = np.take_along_axis(cut, order[:, :, None, None, None], axis=1)
    joined = moved.reshape(n, patches, patches, tall, wide, -1).swapaxes(2, 3)
    return joined.reshape(n, height, width, *rest)


def patch_fault(height: int, width: int, patches: int) -> str | None:
    """Why images of a size cannot be cut so; None if they can."""
    if patches >= 2 and height % patches == 0 and width % patches == 0:
        return None
    fit = [str(k) for k in range(2, min(height, width) + 1) if height % k == 0 and width % k == 0]
    return (
        f"{patches} patches a side do not divide images of {width}x{height} pixels; these can be cut into "
        f"{', '.join(fit) or 'no'} patches a side"
    )


def chosen_rendering(sample_ids: Any, count: int, *, seed: int) -> np.ndarray:
    """int (n,): which of `count` renderings each sample is shown through, equally often in the long run."""
    return (words(seed, "train views", np.asarray(sample_ids), 1)[:, 0] % np.uint64(count)).astype(np.int64)


def _luma(x: np.ndarray) -> np.ndarray:
    """(n, H, W, 1)."""
    return x if x.shape[3] == 1 else (x * LUMA).sum(axis=3, keepdims=True)


def _grey(x: np.ndarray) -> np.ndarray:
    """The luma in every channel."""
    return np.broadcast_to(_luma(x), x.shape)


def _edges(x: np.ndarray) -> np.ndarray:
    """The length of the gradient of the luma by Sobel's filter, 1 for a step from black to white."""
    luma = _luma(x)
    down, across = (ndimage.correlate(luma, kernel[None, :, :, None], mode="nearest") for kernel in (SOBEL, SOBEL.T))
    return np.broadcast_to(np.hypot(down, across) / 4, x.shape)


def _posterised(x: np.ndarray) -> np.ndarray:
    """`TONES` equal steps of each channel, from 0 to 1."""
    return np.minimum(np.floor(x * TONES), TONES - 1) / np.float32(TONES - 1)


RENDERINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "grey": _grey,
    "edges": _edges,
    "posterised": _posterised,
}
