"""Blurs, clouds, displacements and compression of pixels: what corruptions are made of. No random number is drawn here.

Pixels are float32 (n, H, W, channels) in [0, 1]; every image is changed by itself. Lengths of blurs are in pixels of an
image whose shorter side has at most `SIDE`, and grow in proportion with larger ones.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 32
ANGLE = 5  # degrees between the directions of motion blur: images of one direction are blurred together


def smoothed(x: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur."""
    own = sigma * _ratio(x)
    return np.asarray(ndimage.gaussian_filter(x, sigma=(0, own, own, 0), mode="nearest"))


def defocused(x: np.ndarray, radius: float, spread: float) -> np.ndarray:
    """A blur by a disc whose edge is softened by a Gaussian of three pixels."""
    return np.asarray(ndimage.correlate(x, disc(radius * _ratio(x), spread)[None, :, :, None], mode="mirror"))


def disc(radius: float, spread: float) -> np.ndarray:
    """float32 (k, k): weights of the pixels within the radius, softened, summing to 1.

    >>> disc(1.0, 0.01).astype(float).round(2).tolist()[2]
    [0.0, 0.2, 0.2, 0.2, 0.0]
    """
    half = math.ceil(radius) + 1
    across = np.arange(-half, half + 1)
    inside = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    soft = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * spread**2))
    for axis in (0, 1):
        inside = ndimage.correlate1d(inside, soft / soft.sum(), axis=axis, mode="constant")
    return (inside / inside.sum()).astype(np.float32)


def blurred_along(x: np.ndarray, angles: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """A trail from each pixel in one direction, fading as a Gaussian of distance over twice the radius.

    Args:
        x: Pixels.
        angles: (n,) degrees, rounded to `ANGLE`.
        radius, sigma: Of the trail.
    """
    turned = np.rint(angles / ANGLE).astype(int)
    out = np.empty_like(x)
    for turn in np.unique(turned):
        here = turned == turn
        kernel = trail(math.radians(float(turn) * ANGLE), radius * _ratio(x), sigma * _ratio(x))
        out[here] = ndimage.correlate(x[here], kernel[None, :, :, None], mode="nearest")
    return out


def trail(angle: float, radius: float, sigma: float) -> np.ndarray:
    """float32 (k, k): weights along a line from the centre, each point shared between the four pixels around it.

    >>> trail(0.0, 1.0, 1.0).astype(float).round(2).tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.57, 0.35, 0.08], [0.0, 0.0, 0.0, 0.0, 0.0], \
[0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    half = math.ceil(2 * radius)
    weights = np.zeros((2 * half + 1, 2 * half + 1))
    for distance in range(int(2 * radius) + 1):
        down, across = half + distance * math.sin(angle), half + distance * math.cos(angle)
        row, column = min(int(down), 2 * half - 1), min(int(across), 2 * half - 1)
        low, left = down - row, across - column
        weight = math.exp(-(distance**2) / (2 * sigma**2))
        weights[row : row + 2, column : column + 2] += weight * np.outer([1 - low, low], [1 - left, left])
    return (weights / weights.sum()).astype(np.float32)


def clouds(shape: tuple[int, int], decay: float, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """float32 (n, H, W) from 0 to 1: smooth noise on grids of 2, 4, 8, ... cells, each fainter by `decay`.

    Args:
        shape: (H, W).
        decay: By which an octave is fainter than the one before it.
        draw: (n, width) uniform numbers, given a width.
    """
    cells = [2**k for k in range(1, max(2, math.ceil(math.log2(max(shape))) + 1))]
    drawn = draw(sum((count + 1) ** 2 for count in cells))
    total, start = np.zeros((len(drawn), *shape)), 0
    for octave, count in enumerate(cells):
        grid = drawn[:, start : start + (count + 1) ** 2].reshape(-1, count + 1, count + 1)
        start += (count + 1) ** 2
        down, across = (np.linspace(0, count, side) for side in shape)
        positions = np.stack(np.broadcast_arrays(down[:, None], across), axis=-1)[None]
        total += decay**-octave * sampled(grid[..., None], positions)[..., 0]
    low = total.min(axis=(1, 2), keepdims=True)
    return ((total - low) / (total.max(axis=(1, 2), keepdims=True) - low)).astype(np.float32)


def stretched(x: np.ndarray, jitter: np.ndarray, noise: np.ndarray, strength: tuple[float, float, float]) -> np.ndarray:
    """Pixels taken from displaced places: an affine map that moves three points, and a smooth field.

    Args:
        x: Pixels.
        jitter: (n, 3, 2) in [-1, 1], of three points around the centre.
        noise: (n, H, W, 2) in [-1, 1], smoothed to the field.
        strength: Displacement of the field, its smoothness, and the largest jitter, in shorter sides.
    """
    height, width = x.shape[1:3]
    side = min(height, width)
    field, smoothness, most = (value * side for value in strength)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = np.broadcast_to(np.stack([rows, columns], axis=-1), (len(x), height, width, 2)).astype(np.float64)
    # Three corners of a square around the centre; what lies elsewhere moves by its coordinates in their triangle.
    down, across = ((at - (length // 2)) / (side // 3) for at, length in ((rows, height), (columns, width)))
    shares = np.stack([(1 + across) / 2, (down - across) / 2, (1 - down) / 2], axis=-1)
    moved = (shares[None, ..., None] * (most * jitter)[:, None, None]).sum(axis=3)
    if field:
        moved = moved + field * ndimage.gaussian_filter(
            noise, (0, smoothness, smoothness, 0), mode="reflect", truncate=3
        )
    return sampled(x, places + moved).astype(np.float32)


def sampled(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n, h, w, channels): values of (n, H, W, channels) at places (n or 1, h, w, 2), linear between pixels.

    Places beyond the border are mirrored at it.
    """
    parts = []
    for axis, length in ((0, x.shape[1]), (1, x.shape[2])):
        period = max(2 * (length - 1), 1)
        at = np.mod(places[..., axis], period)
        at = np.minimum(at, period - at) if length > 1 else np.zeros_like(at)
        first = np.minimum(at.astype(int), max(length - 2, 0))
        parts.append((first, np.minimum(first + 1, length - 1), at - first))
    (top, bottom, low), (left, right, far) = parts
    image = np.arange(len(x))[:, None, None]
    low, far = low[..., None], far[..., None]
    above = x[image, top, left] * (1 - far) + x[image, top, right] * far
    below = x[image, bottom, left] * (1 - far) + x[image, bottom, right] * far
    return np.asarray(above * (1 - low) + below * low)


def pixelated(x: np.ndarray, share: float) -> np.ndarray:
    """Made smaller to that share of each side by Pillow's box filter, and as large as before again."""

    def one(image: Image.Image) -> Image.Image:
        small = [max(1, int(side * share)) for side in image.size]
        return image.resize((small[0], small[1]), Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _each(x, one)


def compressed(x: np.ndarray, quality: int) -> np.ndarray:
    """Written as JPEG of that quality and read again."""

    def one(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(x, one)


def _each(x: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Pixels changed as 8-bit images, one by one."""
    out = np.empty_like(x)
    for place, image in enumerate(np.rint(x * 255).astype(np.uint8)):
        made = np.asarray(change(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)))
        out[place] = (made[..., None] if made.ndim == 2 else made) / np.float32(255)
    return out


def _ratio(x: np.ndarray) -> float:
    return max(1.0, min(x.shape[1:3]) / SIDE)
