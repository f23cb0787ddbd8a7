"""Smaller and converted images, against sums over areas and Pillow."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from biasvar.data import load_dataset
from biasvar.data.sizes import area_weights, made_smaller
from tests.data.made import pictures, write


def mean_over_areas(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel, in exact fractions: the area of each old pixel inside each new one."""
    old_height, old_width = image.shape
    down, across = Fraction(old_height, height), Fraction(old_width, width)
    made = np.zeros((height, width), dtype=object)
    for i in range(height):
        for j in range(width):
            total = Fraction(0)
            for a in range(old_height):
                for b in range(old_width):
                    tall = min(down * (i + 1), a + 1) - max(down * i, a)
                    wide = min(across * (j + 1), b + 1) - max(across * j, b)
                    if tall > 0 and wide > 0:
                        total += tall * wide * int(image[a, b])
            made[i, j] = total / (down * across)
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10))
def test_a_new_pixel_is_the_mean_over_its_area(height, width, size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (1, height, width), dtype=np.uint8)
    shorter = min(height, width)
    if size >= shorter:
        return
    made = made_smaller("noise", image, size)[0]
    assert min(made.shape) == size
    wanted = mean_over_areas(image[0], *made.shape).astype(float)
    assert np.abs(made - wanted).max() <= 0.5 + 1e-3


@given(st.integers(1, 60), st.integers(1, 60))
def test_weights_of_areas_add_up(old, new):
    weights = area_weights(max(old, new), min(old, new))
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), min(old, new) / max(old, new), rtol=1e-5)


def test_halves_are_means_of_four_and_colours_stay_apart():
    image = pictures(3, size=(8, 8))
    wanted = image.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    assert np.abs(made_smaller("noise", image, 4) - wanted).max() <= 0.5


def test_smaller_and_grey_images_are_kept_noted_and_have_a_fingerprint_of_their_own(tmp_path):
    images = pictures(6, size=(12, 16))
    path = write(tmp_path / "p.parquet", images, [0, 1] * 3)
    plain, small, grey = load_dataset(path), load_dataset(path, size=8), load_dataset(path, size=8, mode="L")
    assert small.images.shape == (6, 8, 11, 3)
    np.testing.assert_array_equal(small.images, made_smaller("p", images, 8))
    luma = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_array_equal(grey.images, made_smaller("p", luma, 8))
    assert len({plain.fingerprint, small.fingerprint, grey.fingerprint}) == 3
    assert (
        small.note == "p: 6 images, 11x8 colour (made of 16x12 pixels, each new one the mean over its area), 2 classes"
    )
    assert "converted to grey, luma of ITU-R BT.601; made of 16x12 pixels" in grey.note
    assert load_dataset(path, size=8).note == small.note
    assert load_dataset(path, size=12).fingerprint == plain.fingerprint


def test_digits_are_made_smaller_too():
    small = load_dataset("digits", size=4, mode="RGB")
    assert small.images.shape == (1797, 4, 4, 3)
    wanted = load_dataset("digits").images.reshape(1797, 4, 2, 4, 2).mean((2, 4))
    assert np.abs(small.images[..., 1] - wanted).max() <= 0.5
    assert small.note.endswith("converted to colour; made of 8x8 pixels, each new one the mean over its area")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            9,
            "size 9 is more than the 8 pixels that images of digits have; images are only made smaller: give at most 8",
        ),
        (0, "size must be at least 1 pixel, not 0"),
    ],
)
def test_images_are_not_made_larger(size, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset("digits", size=size)
