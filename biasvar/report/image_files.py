"""Pictures of drawings as small files: few colours, PNG for files and lossless WebP for pages."""

from __future__ import annotations

import io

import numpy as np
from PIL import PngImagePlugin, WebPImagePlugin, features  # noqa: F401 - as below
from PIL.Image import Dither, Image, Quantize, fromarray, preinit

preinit()  # of formats that `save` would load anew in each process

SEEN = 0.5  # of 255, mean difference over a picture: photographs differ by more in 256 colours, drawings by less
_LEVELS = 32  # of red, green and blue each
_COLOURS = 256
_LARGEST_WEBP = 16_383  # pixels, upwards and across


def few_colours(pixels: np.ndarray) -> Image:
    """A picture of uint8 (height, width, 3) in at most 256 colours of its own; in all of them where that would be seen.

    Red, green and blue fall into 32 levels each, and each colour that occurs becomes the mean of the pixels in it, so
    that areas keep their exact colour and only the edges of letters and lines come to lie up to four levels of 255 off,
    which nobody sees and which compresses better than a palette made by median cut. Beyond 256 colours the rare ones
    become the nearest frequent one.

    >>> picture = few_colours(np.full((2, 3, 3), (0, 114, 178), dtype=np.uint8))
    >>> picture.size, picture.convert("RGB").getpixel((0, 0))
    ((3, 2), (0, 114, 178))
    """
    inked = (pixels[..., 0] & pixels[..., 1] & pixels[..., 2]) != 255  # paper is most of a drawing
    ink = pixels[inked]
    places, palette = _in_levels(ink)
    if np.abs(palette[places].astype(np.int16) - ink).sum() <= SEEN * pixels.size:
        indices = np.zeros(pixels.shape[:2], dtype=np.uint8)
        indices[inked] = places
        few = fromarray(indices)
        few.putpalette(palette.tobytes())
        return few
    whole = fromarray(np.ascontiguousarray(pixels))
    few = whole.quantize(_COLOURS, method=Quantize.MEDIANCUT, dither=Dither.NONE)  # of 256 greys exact
    error = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - pixels).mean()
    return few if error <= SEEN else whole


def _in_levels(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each of (n, 3) pixels in a palette (colours, 3) that begins with white, both uint8."""
    level = np.round(np.arange(256) / 255 * (_LEVELS - 1)).astype(np.int32)
    codes = (level[ink[:, 0]] * _LEVELS + level[ink[:, 1]]) * _LEVELS + level[ink[:, 2]]
    counts = np.bincount(codes, minlength=_LEVELS**3)
    used = np.flatnonzero(counts)
    used = used[np.argsort(-counts[used], kind="stable")]
    sums = [np.bincount(codes, weights=ink[:, i], minlength=_LEVELS**3)[used] for i in range(3)]
    means = np.stack(sums, axis=1) / counts[used, None]
    palette = np.concatenate([np.full((1, 3), 255.0), means[: _COLOURS - 1]])
    places = np.zeros(_LEVELS**3, dtype=np.uint8)
    places[used[: _COLOURS - 1]] = np.arange(1, len(palette))
    for start in range(_COLOURS - 1, len(used), 4096):
        rare = slice(start, start + 4096)
        places[used[rare]] = np.square(means[rare, None] - palette).sum(axis=2).argmin(axis=1)
    return places[codes], np.round(palette).astype(np.uint8)


def embedded_kind(picture: Image) -> str:
    """The format of a picture in a page: WebP, a third smaller than PNG; PNG if it is too large or Pillow has no WebP.

    >>> embedded_kind(fromarray(np.zeros((16_384, 1), dtype=np.uint8)))
    'png'
    """
    return "webp" if max(picture.size) <= _LARGEST_WEBP and features.check("webp") else "png"


def encoded(picture: Image, kind: str) -> bytes:
    """A picture as a file of "png" or "webp", without loss."""
    made = io.BytesIO()
    if kind == "webp":
        picture.save(made, "webp", lossless=True, method=3, quality=25)  # the search for a smaller file, 0 to 100
    else:
        picture.save(made, "png", compress_level=6)
    return made.getvalue()
