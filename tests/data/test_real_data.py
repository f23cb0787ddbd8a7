"""The published data sets, where the folder of BIASVAR_DATA has them: counts, statistics, and other people's labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import biasvar.data.images
from biasvar.data import check_classes, load_dataset, split_official
from biasvar.data.human_labels import load_people
from biasvar.data.layout import Shard
from biasvar.data.parquet import read_contents

FOLDER = os.environ.get("BIASVAR_DATA")  # before the fixture that hides it


def real(name: str) -> Path:
    if not FOLDER:
        pytest.skip(f"BIASVAR_DATA is not set: no folder with the real {name}")
    path = Path(FOLDER).expanduser() / name
    if not path.exists():
        pytest.skip(f"the folder of BIASVAR_DATA has no {name}")
    return path


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Load by name from the real folder, decoded once for this file's tests."""
    cache = tmp_path_factory.mktemp("decoded")

    def by_name(name, monkeypatch):
        real(f"{name}.parquet")
        monkeypatch.setenv("BIASVAR_DATA", FOLDER)
        monkeypatch.setenv("BIASVAR_CACHE", str(cache))
        return load_dataset(name)

    return by_name


@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("cifar10", (60000, 32, 32, 3), [0.4913, 0.4821, 0.4465], [0.2452, 0.2428, 0.2606]),
        ("fashion_mnist", (70000, 28, 28), [0.28604], [0.35302]),
    ],
)
def test_counts_and_published_statistics(load, monkeypatch, name, shape, mean, std):
    data = load(name, monkeypatch)
    assert (data.images.shape, data.num_classes) == (shape, 10)
    each = 5000 if name == "cifar10" else 6000
    assert np.bincount(data.labels[data.split == "train"]).tolist() == [each] * 10
    assert np.bincount(data.labels[data.split == "test"]).tolist() == [1000] * 10
    assert data.split[-10001:-9999].tolist() == ["train", "test"]
    digits = 5e-5 if name == "cifar10" else 5e-6
    np.testing.assert_allclose(data.mean, mean, rtol=0, atol=digits)
    np.testing.assert_allclose(data.std, std, rtol=0, atol=digits)
    assert ("JPEG copies, not the original pixels" in data.note) == (name == "cifar10")
    assert data.class_names[0] == {"cifar10": "airplane", "fashion_mnist": "T-shirt/top"}[name]

    def again(*_):
        raise AssertionError("decoded twice")

    monkeypatch.setattr(biasvar.data.images, "_decode_into", again)
    assert load(name, monkeypatch).fingerprint == data.fingerprint


def test_cifar10_rows_are_the_original_rows(load, monkeypatch):
    """Against the labels that came with CIFAR-10H (test) and CIFAR-10N (train), by original row."""
    data = load("cifar10", monkeypatch)
    for split, file, key in (("test", "cifar10h.npz", "labels"), ("train", "cifar10n.npz", "clean_label")):
        theirs = np.load(real(file))[key]
        rows = data.split == split
        index = data.original_index[rows]
        assert sorted(index) == list(range(len(theirs)))
        np.testing.assert_array_equal(data.labels[rows], theirs[index])


def test_a_study_of_5000_images(load, monkeypatch):
    data = load("cifar10", monkeypatch)
    blocks = split_official(data, test=1000, validation=500, reserved=500, student=4000, seed=1)
    check_classes(data, blocks)
    assert blocks["test"].min() >= 50000
    assert np.ptp(np.bincount(data.labels[blocks["student"]])) <= 4


def test_tiny_imagenet_counts():
    path = real("tiny_imagenet_32.parquet")
    contents = read_contents([Shard(path, None)])
    assert contents.train_rows == 100000
    assert np.bincount(contents.labels[:100000]).tolist() == [500] * 200
    assert np.bincount(contents.labels[100000:]).tolist() == [50] * 200
    assert contents.class_names is not None
    assert len(contents.class_names) == 200


def test_frozen_features_are_of_the_same_rows_as_the_images(load, monkeypatch):
    """People's labels find their rows, and labels are those of the images, row for row of the original data."""
    data, images = load("cifar10_features", monkeypatch), load("cifar10", monkeypatch)
    assert data.images.shape == (30000, 256)
    for split, people in (("train", "cifar10n"), ("test", "cifar10h")):
        real(f"{people}.npz")
        rows = data.split == split
        by_original = np.full(60000, -1)
        theirs = images.split == split
        by_original[images.original_index[theirs]] = images.labels[theirs]
        np.testing.assert_array_equal(data.labels[rows], by_original[data.original_index[rows]])
        assert len(load_people(people, data).sample_ids) == rows.sum()
