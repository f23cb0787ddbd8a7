"""Encoded images to one uint8 array, in threads."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import ExifTags, Image

Mode = Literal["L", "RGB"]
SLICE = 128  # images a thread decodes at a time
_CONVERTIBLE = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
# What a viewer does with each value of the EXIF tag Orientation (CIPA DC-008, 4.6.4); 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)  # width and height change places


def converted(images: np.ndarray, mode: Mode | None) -> np.ndarray:
    """Decoded images uint8 (n, H, W) or (n, H, W, 3) in a mode, grey by the luma of ITU-R BT.601; None: as they are.

    >>> converted(np.array([[[[255, 0, 0]]]], dtype=np.uint8), "L")
    array([[[76]]], dtype=uint8)
    """
    if mode is None or (mode == "L") == (images.ndim == 3):
        return images
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert(mode)) for image in images])


def decode_colour(data: bytes | None, where: str) -> Image.Image:
    """The image in the bytes of a PNG or JPEG file, of any size, in colour and upright as viewers show it.

    Args:
        data: The bytes; None for a cell that is empty.
        where: Where they stand, for errors.

    Raises:
        ValueError: They are missing, or no image that can be read; names the place.

    >>> decode_colour(b"GIF89a", "cats/1.png")
    Traceback (most recent call last):
    ValueError: cats/1.png is no image that can be read as PNG or JPEG (cannot identify image file)
    """
    if data is None:
        raise ValueError(f"{where} has no image bytes; needed: the bytes of a PNG or JPEG file")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode not in _CONVERTIBLE:
                raise _OddImage(f"{where} has pixels of kind {image.mode!r}; needed: 8 bits a channel")
            turn = _orientation(image)
            image.load()
            shown = image if image.mode == "RGB" else image.convert("RGB")
            return shown.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else shown
    except _OddImage as odd:
        raise ValueError(str(odd)) from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsing meets
        raise ValueError(f"{where} is no image that can be read as PNG or JPEG ({_why(error)})") from None


def _why(error: Exception) -> str:
    return str(error).split("<")[0].strip() or type(error).__name__


class Decoder:
    """Decodes batches of images that must all be alike; the first one says how.

    An image is turned upright as its EXIF orientation says: pixels are those that a viewer shows.

    Args:
        mode: None takes images as they are, all grey ("L") or all colour ("RGB"). A mode converts every image to it
            (a palette is looked up, an alpha channel dropped).
        locate: Says where sample i is, such as "data.parquet: row 7", for errors.

    Attributes:
        shape: Of one image, (H, W) or (H, W, 3), once the first is decoded.
        formats: How many images of each file format.
    """

    def __init__(self, *, mode: Mode | None, locate: Callable[[int], str]) -> None:
        self.shape: tuple[int, ...] = ()
        self.formats: Counter[str] = Counter()
        self._mode = mode
        self._locate = locate
        self._done = 0

    @contextmanager
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        """As many threads as this process may use cores.

        Pillow decodes without the interpreter's lock: two threads help for photographs, hardly for 32x32 pixels.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as pool:
            yield pool

    def decode(self, encoded: Sequence[bytes | None], pool: ThreadPoolExecutor) -> np.ndarray:
        """The next images, uint8 (n, H, W) or (n, H, W, 3).

        Raises:
            ValueError: An image is missing, corrupt, of another size or kind than the first; names the first such row.
        """
        if not self.shape:
            first, _ = self._one(encoded[0], 0)
            self.shape = first.shape
        out = np.empty((len(encoded), *self.shape), dtype=np.uint8)

        def work(start: int) -> Counter[str]:
            formats: Counter[str] = Counter()
            for i in range(start, min(start + SLICE, len(encoded))):
                out[i], kind = self._one(encoded[i], self._done + i)
                formats[kind] += 1
            return formats

        for formats in pool.map(work, range(0, len(encoded), SLICE)):  # in order: the first fault is the one named
            self.formats.update(formats)
        self._done += len(encoded)
        return out

    def _one(self, data: bytes | None, sample: int) -> tuple[np.ndarray, str]:
        if data is None:
            raise ValueError(f"{self._locate(sample)} has no image bytes; needed: the bytes of a PNG or JPEG file")
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                self._check(image, sample)
                turn = _orientation(image)
                self._check_size(image, sample, turned=turn in _TURNED)
                kind = str(image.format)
                shown = image if self._mode in (None, image.mode) else image.convert(self._mode)
                pixels = np.asarray(shown.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else shown)
        except _OddImage as odd:
            raise ValueError(str(odd)) from None
        except MemoryError:
            raise
        except Exception as error:  # Pillow's plugins raise whatever their parsing meets
            where = self._locate(sample)
            raise ValueError(f"{where} is no image that can be read as PNG or JPEG ({_why(error)})") from None
        return pixels, kind

    def _check(self, image: Image.Image, sample: int) -> None:
        """Size (one way round or the other) and kind, before any pixel is decoded."""
        if self._mode is None and image.mode not in ("L", "RGB"):
            raise _OddImage(
                f"{self._locate(sample)} has pixels of kind {image.mode!r}; needed: 8-bit grey 'L' or colour 'RGB' "
                f"(mode='L' or mode='RGB' converts)"
            )
        if image.mode not in _CONVERTIBLE:
            raise _OddImage(f"{self._locate(sample)} has pixels of kind {image.mode!r}; needed: 8 bits a channel")
        colour = (self._mode or image.mode) == "RGB"
        if not self.shape:
            return
        if self.shape[:2] != (image.width, image.height):
            self._check_size(image, sample, turned=False)
        if colour != (len(self.shape) == 3):
            kinds = ("colour", "grey") if colour else ("grey", "colour")
            raise _OddImage(
                f"{self._locate(sample)} is {kinds[0]}, the first image {kinds[1]}; all must be alike "
                f"(mode='L' or mode='RGB' converts)"
            )

    def _check_size(self, image: Image.Image, sample: int, *, turned: bool) -> None:
        width, height = (image.height, image.width) if turned else image.size
        if self.shape and (height, width) != self.shape[:2]:
            raise _OddImage(
                f"{self._locate(sample)} is {width}x{height} pixels, the first image {self.shape[1]}x"
                f"{self.shape[0]}; all images of a data set must have one size: resize them before"
            )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 .. 8; 1 where there is none, and where the tags are damaged, which viewers show as is."""
    if image.format == "PNG":
        image.load()  # the chunk may follow the pixels
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged tags make Pillow raise whatever their parsing meets
        return 1


class _OddImage(Exception):
    """A sound image that does not fit the data set."""
