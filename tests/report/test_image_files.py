"""Pictures of drawings as small files: what is kept of them, and that files hold it without loss."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from biasvar.report import style
from biasvar.report.image_files import embedded_kind, encoded, few_colours


def drawing():
    with style.context():
        figure = style.new_figure(height=1.5, width=3.0)
        ax = figure.subplots()
        ax.fill_between([0, 1], [0, 1], color="#0072b2")
        ax.plot([0, 1], [1, 0], color="#d55e00")
        ax.set_title("Letters have edges")
        style.lay_out(figure)
    return figure


def rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pixels_are_those_of_a_saved_figure():
    figure, saved = drawing(), io.BytesIO()
    style.save(figure, saved, "png")
    np.testing.assert_array_equal(style.pixels(figure), rgb(saved.getvalue()))


def test_a_drawing_has_few_colours_its_areas_exact_and_its_edges_near():
    pixels = style.pixels(drawing())
    few = few_colours(pixels)
    assert few.mode == "P"
    shown = np.asarray(few.convert("RGB"))
    assert np.abs(shown.astype(int) - pixels).max() <= 8
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    often = colours[counts > 0.02 * counts.sum()]
    assert len(often) >= 2  # paper and area
    for colour in often:
        here = (pixels == colour).all(axis=2)
        assert (shown[here] == colour).all()


@pytest.mark.parametrize("kind", ["png", "embedded"])
def test_files_hold_a_picture_without_loss(kind):
    few = few_colours(style.pixels(drawing()))
    kind = embedded_kind(few) if kind == "embedded" else kind
    np.testing.assert_array_equal(rgb(encoded(few, kind)), np.asarray(few.convert("RGB")))


def test_a_photograph_keeps_all_its_colours():
    pixels = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3)).astype(np.uint8)
    whole = few_colours(pixels)
    assert whole.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(whole), pixels)


def test_greys_of_a_picture_are_exact_where_32_would_be_seen():
    grey = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    few = few_colours(np.repeat(grey[..., None], 3, axis=2))
    assert few.mode == "P"
    np.testing.assert_array_equal(np.asarray(few.convert("L")), grey)


def test_rare_colours_beyond_256_become_the_nearest_of_them():
    steps = np.arange(0, 256, 16, dtype=np.uint8)
    many = np.stack(np.meshgrid(steps, steps, steps[:2]), axis=-1).reshape(-1, 3)  # 512 colours
    pixels = np.full((400, 400, 3), 255, dtype=np.uint8)
    pixels[0, : len(many) // 2], pixels[1, : len(many) // 2] = many[::2], many[1::2]
    few = few_colours(pixels)
    shown = np.asarray(few.convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 256
    assert (shown[2:] == 255).all()


def test_a_picture_too_tall_for_webp_is_embedded_as_png():
    tall = few_colours(np.full((17_000, 2, 3), 255, dtype=np.uint8))
    kind = embedded_kind(tall)
    assert rgb(encoded(tall, kind)).shape == (17_000, 2, 3)
