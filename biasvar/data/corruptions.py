"""Corruptions of images after the families of Hendrycks and Dietterich 2019, the same for a sample wherever it is made.

The families, their formulas and, where a formula is theirs, their severities for CIFAR-10 are those of Hendrycks and
Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations" (ICLR 2019; authors' file
ImageNet-C/create_c/make_cifar_c.py at ca36008). Ours are the random numbers, which belong to a sample; the clouds of
fog (octaves of smooth noise, not a plasma fractal); the line of motion blur; and the lengths of blurs on images whose
shorter side has more than their 32 pixels, which grow in proportion. Numbers on these images are not numbers on
CIFAR-10-C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from biasvar.data import warps
from biasvar.seeding import normals, uniforms

SEED = 0  # not of the study: a corrupted image is the same in every study
CHUNK = 512  # images at a time: the random numbers of one are as many as its pixels, in float64
Pixels = np.ndarray
"""float32 (n, H, W, channels), in [0, 1]."""


def corrupt(images: np.ndarray, sample_ids: Any, kind: str, severity: int, *, scale: float = 255.0) -> np.ndarray:
    """The images, corrupted; what is random depends on (kind, sample_id) alone, so severities differ in strength only.

    Args:
        images: uint8 (n, H, W) or (n, H, W, 3).
        sample_ids: int (n,).
        kind: A key of `KINDS`.
        severity: 1 to 5.
        scale: What a pixel is divided by to lie in [0, 1].

    Returns:
        uint8, of the same shape.

    Raises:
        ValueError: No such kind or severity, or images of another type or shape.

    >>> images = np.full((2, 8, 8), 128, dtype=np.uint8)
    >>> both, one = corrupt(images, [7, 8], "shot_noise", 5), corrupt(images[1:], [8], "shot_noise", 5)
    >>> bool((both[1] == one[0]).all()), bool((both[0] == both[1]).all())
    (True, False)
    """
    if kind not in KINDS:
        raise ValueError(f"no corruption named {kind!r}; there is: {', '.join(KINDS)}")
    if severity not in range(1, 6):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity}")
    make, strengths = KINDS[kind]
    return by_pixels(images, sample_ids, lambda pixels, ids: make(pixels, ids, strengths[severity - 1]), scale=scale)


def by_pixels(
    images: np.ndarray, sample_ids: Any, change: Callable[[Pixels, np.ndarray], Pixels], *, scale: float
) -> np.ndarray:
    """Images changed as pixels in [0, 1], some at a time, clipped and rounded to whole numbers again.

    Args:
        images: uint8 (n, H, W) or (n, H, W, 3).
        sample_ids: int (n,).
        change: Pixels (m, H, W, channels) and their sample ids (m,) -> pixels of the same shape.
        scale: What a pixel is divided by to lie in [0, 1].

    Raises:
        ValueError: Images of another type or shape, or not as many as sample ids.
    """
    ids = np.asarray(sample_ids, dtype=np.int64).reshape(-1)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise ValueError(f"images must be uint8 (n, H, W) or (n, H, W, 3), not {images.dtype} {images.shape}")
    if len(ids) != len(images):
        raise ValueError(f"{len(ids)} sample_ids for {len(images)} images; every image needs one")
    made = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        pixels = images[part] if images.ndim == 4 else images[part, ..., None]
        changed = change(pixels.astype(np.float32) / np.float32(scale), ids[part])
        whole = np.rint(np.clip(changed, 0.0, 1.0) * np.float32(scale)).astype(np.uint8)
        made[part] = whole if images.ndim == 4 else whole[..., 0]
    return made


def _gaussian_noise(x: Pixels, ids: np.ndarray, deviation: float) -> Pixels:
    return x + np.float32(deviation) * normals(SEED, "gaussian_noise", ids, x[0].size).reshape(x.shape)


def _shot_noise(x: Pixels, ids: np.ndarray, photons: float) -> Pixels:
    """Poisson counts of a white pixel's so many photons, by the inverse of the distribution function."""
    drawn = uniforms(SEED, "shot_noise", ids, x[0].size).ravel()
    values, which = np.unique(x, return_inverse=True)  # few: pixels were whole numbers
    order = np.argsort(which.ravel().astype(np.uint16), kind="stable")
    counts = np.zeros(x.size, dtype=np.float32)
    for value, here in zip(values, np.split(order, np.cumsum(np.bincount(which.ravel()))[:-1]), strict=True):
        counts[here] = np.searchsorted(_poisson_table(float(value) * photons), drawn[here])
    return counts.reshape(x.shape) / np.float32(photons)


@lru_cache(maxsize=2048)
def _poisson_table(mean: float) -> np.ndarray:
    """The distribution function of a Poisson number, as far as float64 tells it from 1."""
    from scipy.special import pdtr

    return np.asarray(pdtr(np.arange(int(mean + 12 * mean**0.5 + 20)), mean))


def _impulse_noise(x: Pixels, ids: np.ndarray, share: float) -> Pixels:
    """Salt and pepper, in each channel by itself."""
    drawn = uniforms(SEED, "impulse_noise", ids, x[0].size).reshape(x.shape)
    return np.where(drawn < share / 2, np.float32(0), np.where(drawn > 1 - share / 2, np.float32(1), x))


def _contrast(x: Pixels, ids: np.ndarray, kept: float) -> Pixels:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * np.float32(kept) + mean


def _brightness(x: Pixels, ids: np.ndarray, more: float) -> Pixels:
    """The largest channel rises, hue and saturation stay."""
    value = x.max(axis=3, keepdims=True)
    brighter = np.minimum(value + np.float32(more), 1)
    ratio = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return np.where(value > 0, x * ratio, brighter)


def _fog(x: Pixels, ids: np.ndarray, strength: tuple[float, float]) -> Pixels:
    density, decay = strength
    clouds = warps.clouds(x.shape[1:3], decay, lambda width: uniforms(SEED, "fog", ids, width))
    most = x.max(axis=(1, 2, 3), keepdims=True)
    return (x + np.float32(density) * clouds[..., None]) * (most / (most + np.float32(density)))


def _motion_blur(x: Pixels, ids: np.ndarray, strength: tuple[float, float]) -> Pixels:
    angles = 90 * uniforms(SEED, "motion_blur", ids, 1)[:, 0] - 45
    return warps.blurred_along(x, angles, *strength)


def _elastic(x: Pixels, ids: np.ndarray, strength: tuple[float, float, float]) -> Pixels:
    height, width = x.shape[1:3]
    drawn = 2 * uniforms(SEED, "elastic", ids, 6 + 2 * height * width) - 1
    return warps.stretched(x, drawn[:, :6].reshape(-1, 3, 2), drawn[:, 6:].reshape(-1, height, width, 2), strength)


KINDS: dict[str, tuple[Callable[[Pixels, np.ndarray, Any], Pixels], tuple[Any, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": (
        lambda x, ids, strength: warps.defocused(x, *strength),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
    ),
    "gaussian_blur": (lambda x, ids, sigma: warps.smoothed(x, sigma), (0.4, 0.6, 0.7, 0.8, 1.0)),
    "motion_blur": (_motion_blur, ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))),
    "fog": (_fog, ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "jpeg": (lambda x, ids, quality: warps.compressed(x, quality), (80, 65, 58, 50, 40)),
    "pixelate": (lambda x, ids, share: warps.pixelated(x, share), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "elastic": (
        _elastic,
        ((0.0, 0.2, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
}
"""Each kind: what makes it of pixels, sample ids and a strength, and its five strengths.

Strengths are a standard deviation; photons of a white pixel; a share of pixels; radius and spread of the disc; sigma;
radius and sigma of the line; density and decay of the clouds; what is added; what is kept; JPEG quality; the share of
the side; and displacement, its smoothness and the jitter of three points, in shorter sides. Lengths of blurs are in
pixels of an image whose shorter side has at most 32.
"""
