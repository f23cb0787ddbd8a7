"""Made images: of the shape, the classes and the rows of a data set, in the memory of one image."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.data.datasets import load_dataset
from biasvar.data.layout import KNOWN
from biasvar.data.made import made_dataset


@pytest.mark.parametrize("name", list(KNOWN))
def test_it_is_of_the_known_shape_and_takes_the_memory_of_one_image(name):
    made, known = made_dataset(name), KNOWN[name]
    assert made.made
    assert made.images.shape == (known.train + known.test, *known.shape)
    assert made.images.base.nbytes == np.prod(known.shape)
    assert (made.split == "train").sum() == known.train
    for split in ("train", "test"):  # every class, evenly
        counts = np.bincount(made.labels[made.split == split], minlength=known.num_classes)
        assert counts.max() - counts.min() <= 1
    assert made.mean.shape == made.std.shape == (known.shape[2] if len(known.shape) == 3 else 1,)


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "tiny_imagenet_32"])
def test_a_data_set_that_is_here_has_as_many_rows_as_is_said(name):
    try:
        real = load_dataset(name)
    except FileNotFoundError:
        pytest.skip(f"needs {name} in the folder of BIASVAR_DATA")
    made = made_dataset(name)
    assert made.images.shape == real.images.shape
    assert made.num_classes == real.num_classes
    assert (made.split == real.split).all()
    assert not real.made


def test_size_and_mode_are_those_that_a_study_asks_for():
    assert made_dataset("imagenet", size=64).images.shape == (1_331_167, 64, 64, 3)
    assert made_dataset("cifar10", mode="grey").images.shape == (60_000, 32, 32)
    assert made_dataset("fashion_mnist", mode="colour").images.shape == (70_000, 28, 28, 3)
