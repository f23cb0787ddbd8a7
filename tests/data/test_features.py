"""Features instead of images: read as they are, and refused row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import biasvar.data.parquet
from biasvar.data import load_dataset
from tests.data.made import pictures, write

LISTS = {
    "fixed": pa.list_(pa.float32(), 3),
    "list": pa.list_(pa.float32()),
    "double": pa.list_(pa.float64()),
    "large": pa.large_list(pa.float32()),
    "whole": pa.list_(pa.int16()),
}


def written(path, rows, labels, *, kind="list", name="features", group=4, **columns):
    columns = {name: pa.array(rows, LISTS[kind]), "label": pa.array(labels), **columns}
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("batch", [3, 4096])
def test_features_are_as_they_are_train_rows_first(tmp_path, monkeypatch, kind, batch):
    monkeypatch.setattr(biasvar.data.parquet, "BATCH", batch)
    rows = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32) * 10
    rows = rows.round() if kind == "whole" else rows
    train = np.arange(11) % 3 != 1
    split, index = np.where(train, "train", "test").tolist(), np.arange(50, 61)
    given = rows.astype(int) if kind == "whole" else rows
    path = written(
        tmp_path / "f.parquet", given.tolist(), np.arange(11) % 2, kind=kind, split=split, original_index=index
    )
    data = load_dataset(path)
    order = np.argsort(~train, kind="stable")
    np.testing.assert_array_equal(data.images, rows[order])
    np.testing.assert_array_equal(data.features(), rows[order])
    np.testing.assert_array_equal(data.original_index, index[order])
    assert data.images.dtype == np.float32
    assert data.is_vectors
    assert data.scale == 1
    assert data.note == "f: 7 train and 4 test rows, 3 features each, 2 classes"
    np.testing.assert_allclose(data.mean, rows[train].astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(data.std, rows[train].astype(float).std(0), rtol=1e-12)
    again = load_dataset(path)  # from the cache
    np.testing.assert_array_equal(again.images, data.images)
    assert again.fingerprint == data.fingerprint


def test_another_value_is_another_fingerprint(tmp_path):
    rows = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    first = load_dataset(written(tmp_path / "a.parquet", rows, [0, 1]))
    rows[1][2] = np.nextafter(np.float32(5.0), np.float32(6.0))
    assert load_dataset(written(tmp_path / "a.parquet", rows, [0, 1])).fingerprint != first.fingerprint


def test_images_come_before_features_unless_the_column_is_named(tmp_path):
    images, features = pictures(6), np.arange(18.0).reshape(6, 3)
    path = write(
        tmp_path / "both.parquet", images, [0, 1] * 3, features=features.tolist(), other=(features + 1).tolist()
    )
    assert load_dataset(path).images.shape == (6, 6, 5, 3)
    np.testing.assert_array_equal(load_dataset(path, feature_column="features").images, features)
    np.testing.assert_array_equal(load_dataset(path, feature_column="other").images, features + 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "row 5 has no features; every row needs a list of numbers"),
        ([], "row 5 has an empty list of features"),
        ([1.0, 2.0], "row 5 has 2 features, the first row 3; all rows must be of one length"),
        ([1.0, None, 2.0], "row 5 has a feature that is missing"),
        ([1.0, float("nan"), 2.0], "row 5 has a feature that is not finite in float32"),
        ([1.0, 1e300, 2.0], "row 5 has a feature that is not finite in float32"),
    ],
)
def test_one_bad_row_is_named(folders, tmp_path, row, message):
    rows = [[float(i), 1.0, 2.0] for i in range(9)]
    rows[5] = row
    path = written(tmp_path / "bad.parquet", rows, [0, 1, 0] * 3, kind="double")
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(path)
    assert "bad.parquet" in str(caught.value)
    assert not list((folders / "cache").rglob("*.npy"))


def test_a_first_row_without_features_is_named(tmp_path):
    for row, message in ((None, "row 0 has no features"), ([], "row 0 has an empty list")):
        with pytest.raises(ValueError, match=message):
            load_dataset(written(tmp_path / "bad.parquet", [row, [1.0]], [0, 1]))
    fixed = written(tmp_path / "bad.parquet", [[1.0, 2.0, 3.0], None], [0, 1], kind="fixed")
    with pytest.raises(ValueError, match=r"row 1 has no features|has a row without features"):
        load_dataset(fixed)


def test_columns_that_are_no_features(tmp_path):
    path = tmp_path / "words.parquet"
    pq.write_table(pa.table({"features": [["a"], ["b"]], "label": [0, 1]}), path)
    with pytest.raises(
        ValueError, match=r"column 'features' holds list<.*string>; needed: lists of equally many numbers"
    ):
        load_dataset(path)
    with pytest.raises(ValueError, match="no feature column 'vectors'; the file has: features, label"):
        load_dataset(path, feature_column="vectors")


@pytest.mark.parametrize("options", [{"size": 2}, {"mode": "L"}])
def test_features_have_no_size_and_no_mode(tmp_path, options):
    path = written(tmp_path / "f.parquet", [[1.0, 2.0, 3.0]] * 4, [0, 1] * 2)
    with pytest.raises(ValueError, match="f holds features, not images: size and mode are for images; leave them out"):
        load_dataset(path, **options)
