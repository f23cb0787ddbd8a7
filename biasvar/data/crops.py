"""Square crops of images of any size: the one of an evaluation, and random ones for training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from biasvar.seeding import derived_seed, uniforms

TRIES = 10  # crops that are drawn for one that fits into the image
RATIOS = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class CentreCrop:
    """What an evaluation sees of an image: its centre, size x size pixels, once its shorter side has `resize` pixels.

    The longer side becomes floor(resize * longer / shorter); both by bilinear interpolation over the pixels that a new
    one covers (Pillow's, as torchvision.transforms has it).

    Attributes:
        size: At most `resize`.
        resize: Of the shorter side.

    >>> CentreCrop(size=2, resize=4).of(Image.new("RGB", (8, 16), "red")).size
    (2, 2)
    """

    size: int = 224
    resize: int = 256

    def of(self, image: Image.Image) -> Image.Image:
        """The crop of an image."""
        width, height = image.size
        longer = int(self.resize * max(width, height) / min(width, height))
        shape = (self.resize, longer) if width <= height else (longer, self.resize)
        if shape != image.size:
            image = image.resize(shape, Image.Resampling.BILINEAR)
        left, top = (round((side - self.size) / 2) for side in shape)
        return image.crop((left, top, left + self.size, top + self.size))


@dataclass(frozen=True)
class RandomCrops:
    """Random resized crops, mirrored at random (Szegedy et al. 2015): what training sees of an image.

    A crop has a share of the image's area that is uniform in `area`, and a ratio of width to height whose logarithm is
    uniform between 3/4 and 4/3; one that does not fit is drawn again, and after ten the largest centred crop of such a
    ratio is taken, as torchvision.transforms.RandomResizedCrop does it. It is resized to size x size pixels by bilinear
    interpolation, and mirrored with probability 1/2.

    Attributes:
        size: Pixels of each side.
        area: Least and largest share of the image's area.
        seed: Of the study. It, the replica, the epoch and the sample id decide a crop, and nothing else does.
    """

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    seed: int = 0

    def numbers(self, sample_ids: np.ndarray, *, replica: int, epoch: int) -> np.ndarray:
        """float64 (n, 23) what decides the crop of each sample: area and ratio of each try, the place, the mirror."""
        seed = derived_seed(self.seed, "resized crop", replica)
        return uniforms(seed, "resized crop", sample_ids, 2 * TRIES + 3, epoch=epoch)

    def of(self, image: Image.Image, numbers: np.ndarray) -> Image.Image:
        """The crop of an image by one row of `numbers`."""
        left, top, width, height = self.box(*image.size, numbers)
        shown = image.crop((left, top, left + width, top + height))
        shown = shown.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if numbers[-1] < 0.5 else shown

    def box(self, width: int, height: int, numbers: np.ndarray) -> tuple[int, int, int, int]:
        """Left, top, width and height of the crop of an image of this size.

        >>> RandomCrops().box(100, 50, np.full(23, 0.5))
        (16, 0, 67, 50)
        """
        least, most = self.area
        low, high = (math.log(ratio) for ratio in RATIOS)
        for share, tilt in numbers[: 2 * TRIES].reshape(TRIES, 2):
            area = width * height * (least + (most - least) * share)
            ratio = math.exp(low + (high - low) * tilt)
            across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < across <= width and 0 < down <= height:
                return int(numbers[-3] * (width - across + 1)), int(numbers[-2] * (height - down + 1)), across, down
        if width < RATIOS[0] * height:
            across, down = width, round(width / RATIOS[0])
        elif width > RATIOS[1] * height:
            across, down = round(height * RATIOS[1]), height
        else:
            across, down = width, height
        return (width - across) // 2, (height - down) // 2, across, down
