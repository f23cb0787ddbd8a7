"""Corruptions, renderings and shuffled patches of images: the same for a sample wherever it is made."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.data.corruptions import KINDS, corrupt
from biasvar.data.renderings import chosen_rendering, show, shuffle_patches
from biasvar.study.views import CORRUPTIONS

RNG = np.random.default_rng(3)
IDS = np.array([4, 90, 17, 3, 55, 1000, 21, 8])


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth blobs, so that blurring and compressing have something to lose."""
    n, height, width, *rest = shape
    y, x = np.mgrid[:height, :width]
    wave = RNG.uniform(0.3, 1.5, (n, 1, 1, *rest))
    grid = (y + 2 * x).reshape(1, height, width, *[1] * len(rest))
    noise = RNG.integers(-20, 20, shape)
    return np.clip(128 + 90 * np.sin(wave * grid) + noise, 0, 255).astype(np.uint8)


GREY, COLOUR = pictures((8, 16, 16)), pictures((8, 16, 16, 3))


def test_the_study_knows_the_corruptions_that_there_are():
    assert tuple(KINDS) == CORRUPTIONS


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_belongs_to_a_sample_and_grows_with_severity(kind, images):
    made = [corrupt(images, IDS, kind, severity) for severity in range(1, 6)]
    order = RNG.permutation(len(IDS))
    for severity, whole in enumerate(made, 1):
        assert (whole.shape, whole.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(corrupt(images[order], IDS[order], kind, severity), whole[order])
        np.testing.assert_array_equal(corrupt(images[2:3], IDS[2:3], kind, severity), whole[2:3])
    distance = [float(np.mean((whole.astype(float) - images) ** 2)) for whole in made]
    assert min(distance) > 0
    if kind != "elastic":  # its published strengths trade a jitter of three points for bends: no order of squared error
        assert distance == sorted(distance)


def test_noise_has_the_deviation_that_is_stated():
    flat = np.full((64, 32, 32), 128, dtype=np.uint8)
    for severity, deviation in enumerate((0.04, 0.06, 0.08, 0.09, 0.10), 1):
        difference = (corrupt(flat, np.arange(64), "gaussian_noise", severity).astype(float) - 128) / 255
        assert np.std(difference) == pytest.approx(deviation, rel=0.02)  # 65,536 pixels: a standard error of .3 %
        assert abs(difference.mean()) < 5 * deviation / 256
    counts = corrupt(flat, np.arange(64), "shot_noise", 5).astype(float) / 255
    assert counts.mean() == pytest.approx(128 / 255, abs=0.003)
    assert counts.var() == pytest.approx(128 / 255 / 50, rel=0.05)  # Poisson: the variance is the mean by photons
    changed = corrupt(flat, np.arange(64), "impulse_noise", 5)
    assert np.mean(changed != 128) == pytest.approx(0.07, abs=0.005)
    assert set(np.unique(changed)) == {0, 128, 255}


def test_brightness_and_contrast_are_their_formulas():
    pixels = COLOUR / 255
    top = pixels.max(-1, keepdims=True)
    brighter = np.where(top > 0, pixels * np.minimum(top + 0.3, 1) / np.where(top > 0, top, 1), 0.3)
    np.testing.assert_allclose(corrupt(COLOUR, IDS, "brightness", 5), brighter * 255, atol=0.51)
    mean = pixels.mean((1, 2), keepdims=True)
    lower = np.clip((pixels - mean) * 0.15 + mean, 0, 1)
    np.testing.assert_allclose(corrupt(COLOUR, IDS, "contrast", 5), lower * 255, atol=0.51)


def test_a_scale_other_than_255_is_kept():
    digits = (GREY // 16).astype(np.uint8)
    made = corrupt(digits, IDS, "brightness", 5, scale=16.0)
    assert made.max() <= 16
    assert made.mean() > digits.mean()


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_shuffled_patches_are_the_same_patches_in_another_order(images):
    made = shuffle_patches(images, IDS, 4)
    for before, after in zip(images, made, strict=True):
        cut = [
            sorted(
                image[i : i + 4, j : j + 4].tobytes() for i in range(0, 16, 4) for j in range(0, 16, 4)
            )
            for image in (before, after)
        ]  # fmt: skip
        assert cut[0] == cut[1]
    assert not np.array_equal(made, images)
    np.testing.assert_array_equal(shuffle_patches(images[5:6], IDS[5:6], 4), made[5:6])


def test_renderings_are_their_formulas():
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    grey = show(COLOUR, IDS, "grey", None)
    np.testing.assert_allclose(grey[..., 0], luma, atol=0.51)
    assert (grey[..., :1] == grey).all()
    assert not show(np.full((2, 8, 8), 77, dtype=np.uint8), [0, 1], "edges", None).any()
    step = np.zeros((1, 8, 8), dtype=np.uint8)
    step[..., 4:] = 255
    assert show(step, [0], "edges", None)[0, 4].tolist() == [0, 0, 0, 255, 255, 0, 0, 0]
    assert set(np.unique(show(GREY, IDS, "posterised", None))) <= {0, 85, 170, 255}


def test_training_rows_are_spread_over_the_renderings_by_their_ids():
    ids = np.arange(4000)
    chosen = chosen_rendering(ids, 4, seed=1)
    assert np.bincount(chosen, minlength=4).min() > 900
    np.testing.assert_array_equal(chosen_rendering(ids[::-7], 4, seed=1), chosen[::-7])
    assert not np.array_equal(chosen, chosen_rendering(ids, 4, seed=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrupt(GREY, IDS, "rain", 1), "no corruption named 'rain'; there is: gaussian_noise"),
        (lambda: corrupt(GREY, IDS, "fog", 6), "severity must be 1, 2, 3, 4 or 5, not 6"),
        (lambda: corrupt(GREY / 255, IDS, "fog", 1), r"images must be uint8 .*, not float64 \(8, 16, 16\)"),
        (lambda: corrupt(GREY, IDS[:3], "fog", 1), "3 sample_ids for 8 images"),
        (lambda: shuffle_patches(GREY, IDS, 3), "3 patches a side do not divide images of 16x16 .* 2, 4, 8, 16"),
    ],
)
def test_bad_input_says_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
