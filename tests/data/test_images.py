"""Parquet files in, arrays out: layouts, order, splits, class names, statistics, captions."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageOps

import biasvar.data.parquet
from biasvar.data import load_dataset
from tests.data.made import encode, hugging_face, pictures, write


@pytest.mark.parametrize("struct", [False, True])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("names", [("image", "label"), ("img", "fine_label"), ("img", "labels")])
def test_png_files_come_back_pixel_for_pixel(tmp_path, struct, colour, names):
    images, labels = pictures(20, colour=colour), np.arange(20) % 4
    data = load_dataset(write(tmp_path / "shapes.parquet", images, labels, struct=struct, names=names))
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    assert (data.images.dtype, data.labels.dtype, data.scale) == (np.uint8, np.int64, 255.0)
    assert (data.name, data.path) == ("shapes", str(tmp_path / "shapes.parquet"))
    assert data.class_names == ("0", "1", "2", "3")
    assert (data.split, data.original_index) == (None, None)
    assert data.note == f"shapes: 20 images, 5x6 {'colour' if colour else 'grey'}, 4 classes"
    np.testing.assert_array_equal(data.features(), (images.reshape(20, -1) / 255).astype(np.float32))


def test_jpeg_files_are_what_pillow_reads_and_the_note_says_so(tmp_path):
    cells = [encode(image, "JPEG") for image in pictures(9)]
    data = load_dataset(write(tmp_path / "a.parquet", cells, [0, 1, 2] * 3))
    for i, cell in enumerate(cells):
        np.testing.assert_array_equal(data.images[i], np.asarray(Image.open(io.BytesIO(cell))))
    assert data.note.endswith("; stored as JPEG")  # whose original pixels these may be
    cells[0] = encode(pictures(1)[0], "PNG")
    assert "; 8 of them stored as JPEG" in load_dataset(write(tmp_path / "b.parquet", cells, [0, 1, 2] * 3)).note


# The picture as it is stored for each orientation (CIPA DC-008): the first row and column of the scene lie at the sides
# "top left", "top right", "bottom right", "bottom left", "left top", "right top", "right bottom", "left bottom".
STORED = {
    1: lambda scene: scene,
    2: lambda scene: scene[:, ::-1],
    3: lambda scene: scene[::-1, ::-1],
    4: lambda scene: scene[::-1],
    5: lambda scene: scene.swapaxes(0, 1),
    6: lambda scene: scene.swapaxes(0, 1)[::-1],
    7: lambda scene: scene.swapaxes(0, 1)[::-1, ::-1],
    8: lambda scene: scene.swapaxes(0, 1)[:, ::-1],
}


def turned(scene: np.ndarray, orientation: int, kind: str) -> bytes:
    tags, out = Image.Exif(), io.BytesIO()
    tags[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](scene))).save(out, kind, exif=tags, quality=100)
    return out.getvalue()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("mode", [None, "L"])
def test_images_are_turned_upright_as_their_orientation_says(tmp_path, colour, mode):
    scene = pictures(1, colour=colour)[0]
    data = load_dataset(write(tmp_path / "a.parquet", [turned(scene, i, "PNG") for i in STORED], [0, 1] * 4), mode=mode)
    wanted = np.asarray(Image.fromarray(scene).convert(mode)) if mode else scene
    for image in data.images:
        np.testing.assert_array_equal(image, wanted)
    cells = [turned(scene, i, "JPEG") for i in STORED]
    data = load_dataset(write(tmp_path / "b.parquet", cells, [0, 1] * 4))
    for image, cell in zip(data.images, cells, strict=True):
        np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(cell)))))
    straight = turned(scene, 1, "JPEG").replace(b"Exif\x00\x00II*", b"Exif\x00\x00xx*")  # damaged tags say nothing
    damaged = load_dataset(write(tmp_path / "c.parquet", [straight, straight], [0, 1]))
    np.testing.assert_array_equal(damaged.images[0], np.asarray(Image.open(io.BytesIO(cells[0]))))


def test_a_size_is_that_of_the_upright_image(tmp_path):
    scene = pictures(1)[0]
    cells = [turned(scene, 6, "PNG"), turned(scene, 1, "PNG"), encode(STORED[6](scene))]
    with pytest.raises(ValueError, match="row 2 is 6x5 pixels, the first image 5x6"):
        load_dataset(write(tmp_path / "a.parquet", cells, [0, 1, 0]))


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())),
        *(pa.struct([("bytes", kind)]) for kind in (pa.large_binary(), pa.binary_view())),
    ],
    ids=str,
)
def test_every_type_of_bytes_and_of_words_is_read(tmp_path, kind):
    images, splits = pictures(10), ["test", "train"] * 5
    cells = [encode(image) for image in images]
    column = pa.array([{"bytes": cell} for cell in cells] if pa.types.is_struct(kind) else cells)
    for words in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        try:
            table = pa.table({"image": column.cast(kind), "label": [0, 1] * 5, "split": pa.array(splits).cast(words)})
        except pa.ArrowNotImplementedError as error:  # older Arrow knows views by name only
            pytest.skip(f"Arrow {pa.__version__}: {error}")
        group = 10 if "struct<bytes: binary_view" in str(kind) else 4  # Arrow writes no part of such a column
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=group)
        data = load_dataset(tmp_path / "a.parquet")
        np.testing.assert_array_equal(data.images, np.concatenate([images[1::2], images[::2]]))
        assert data.split.tolist() == ["train"] * 5 + ["test"] * 5


@pytest.mark.parametrize("batch", [3, 4096])
def test_train_rows_come_first_in_file_order_whatever_the_file_order(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(biasvar.data.parquet, "BATCH", batch)
    images, labels = pictures(23), np.arange(23) % 3
    splits = np.array(["test" if i % 4 == 1 else "train" for i in range(23)])
    index = np.arange(100, 123)
    path = write(tmp_path / "a.parquet", images, labels, split=splits.tolist(), original_index=index)
    data = load_dataset(path)
    order = [*np.flatnonzero(splits == "train"), *np.flatnonzero(splits == "test")]
    np.testing.assert_array_equal(data.images, images[order])
    np.testing.assert_array_equal(data.labels, labels[order])
    np.testing.assert_array_equal(data.split, splits[order])
    np.testing.assert_array_equal(data.original_index, index[order])
    assert "17 train and 6 test images" in data.note


@pytest.mark.parametrize(
    "files",
    [
        ("test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"),
        ("plain_text/test-00000-of-00001", "plain_text/train-0", "plain_text/train-1"),
        ("test/0000", "train/0000", "train/0001"),
        ("val", "train-a", "train-b"),
    ],
)
def test_shards_in_a_folder(tmp_path, files):
    folder = tmp_path / "data" / "shards"
    images, labels = pictures(15), np.arange(15) % 2
    for file, rows in zip(files, (slice(10, 15), slice(0, 4), slice(4, 10)), strict=True):
        write(folder / f"{file}.parquet", images[rows], labels[rows], struct=True, metadata=hugging_face(["no", "yes"]))
    for source in ("shards", folder):
        data = load_dataset(source)
        np.testing.assert_array_equal(data.images, images)
        assert data.split.tolist() == ["train"] * 10 + ["test"] * 5
        assert (data.class_names, data.name) == (("no", "yes"), "shards")
        assert ("validation rows are test rows" in data.note) == (files[0] == "val")
    assert load_dataset("shards").path is None


def test_validation_rows_are_train_rows_beside_a_test_split(tmp_path):
    split = ["train", "test", "validation", "train"]
    data = load_dataset(write(tmp_path / "a.parquet", pictures(4), [0, 1, 1, 0], split=split))
    np.testing.assert_array_equal(data.images, pictures(4)[[0, 2, 3, 1]])
    assert data.split.tolist() == ["train"] * 3 + ["test"]
    assert "validation rows are train rows" in data.note


def test_one_split_alone_is_none(tmp_path):
    assert load_dataset(write(tmp_path / "a.parquet", pictures(4), [0, 1, 1, 0], split=["train"] * 4)).split is None
    write(tmp_path / "b" / "train.parquet", pictures(4), [0, 1, 1, 0])
    assert load_dataset(tmp_path / "b").split is None


def test_where_class_names_come_from(tmp_path):
    own = {"class_names": ["cat", "dog"], **hugging_face(["a", "b"])}
    coarse = hugging_face(["x", "y", "z"], "coarse_label")
    for metadata, options, names in (
        (own, {}, ("cat", "dog")),
        (hugging_face(["a", "b"]), {}, ("a", "b")),
        (None, {}, ("0", "1")),
        ({**coarse, "class_names": ["cat", "dog"]}, {"label_column": "coarse_label"}, ("x", "y", "z")),
    ):
        path = write(tmp_path / "a.parquet", pictures(4), [0, 1, 0, 1], metadata=metadata, coarse_label=[0, 0, 1, 2])
        data = load_dataset(path, **options)
        assert data.class_names == names
        assert data.labels.tolist() == ([0, 0, 1, 2] if options else [0, 1, 0, 1])


def test_columns_and_mode_can_be_given(tmp_path):
    mixed = [pictures(1)[0], pictures(1, colour=False)[0], Image.fromarray(pictures(1)[0]).convert("P")]
    path = write(tmp_path / "a.parquet", mixed, [0, 1, 1], names=("picture", "kind"))
    columns = {"image_column": "picture", "label_column": "kind"}
    colour, grey = (load_dataset(path, mode=mode, **columns) for mode in ("RGB", "L"))
    assert (colour.images.shape, grey.images.shape) == ((3, 6, 5, 3), (3, 6, 5))
    np.testing.assert_array_equal(colour.images[1], np.repeat(mixed[1][..., None], 3, axis=2))
    with pytest.raises(ValueError, match="mode must be 'L', 'RGB' or None, not 'rgb'"):
        load_dataset(path, mode="rgb")


@pytest.mark.parametrize("colour", [False, True])
def test_mean_and_deviation_are_those_of_the_train_rows(tmp_path, colour):
    images = pictures(30, colour=colour, seed=4)
    images[20:] //= 3
    split = ["train"] * 20 + ["test"] * 10
    data = load_dataset(write(tmp_path / "a.parquet", images, [0, 1] * 15, split=split))
    pixels = images[:20].reshape(20 * 30, -1) / 255.0
    np.testing.assert_allclose(data.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data.std, pixels.std(axis=0), rtol=1e-12)
    assert data.mean.shape == ((3,) if colour else (1,))
    digits = load_dataset("digits")
    np.testing.assert_allclose(digits.mean, [digits.features().mean(dtype=np.float64)], rtol=1e-6)
    np.testing.assert_allclose(digits.std, [digits.features().std(dtype=np.float64)], rtol=1e-6)


def test_the_fingerprint_tells_pixels_labels_and_splits_apart(tmp_path):
    images, labels, split = pictures(8), np.array([0, 1] * 4), ["train"] * 4 + ["test"] * 4
    other = images.copy()
    other[3, 0, 0, 0] ^= 1
    found = {
        load_dataset(write(tmp_path / "a.parquet", x, y, **columns)).fingerprint
        for x, y, columns in (
            (images, labels, {}),
            (other, labels, {}),
            (images, 1 - labels, {}),
            (images, labels, {"split": split}),
            (images, labels, {"split": split[:3] + ["test"] * 5}),
        )
    }
    assert len(found) == 5
    again = load_dataset(write(tmp_path / "renamed.parquet", images, labels, struct=True, group=3))
    assert again.fingerprint in found


def test_a_known_name_by_file_and_its_class_count_without_metadata(tmp_path):
    write(tmp_path / "data" / "fashion_mnist.parquet", pictures(6, size=(28, 28), colour=False), [0, 3, 4, 0, 1, 2])
    data = load_dataset("fashion_mnist")
    assert data.num_classes == 10
    assert data.note == "Fashion-MNIST: 6 images, 28x28 grey, 10 classes"


def test_every_integer_type_is_a_label(tmp_path):
    for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.int64(), pa.uint64()):
        path = write(tmp_path / "a.parquet", pictures(3), [2, 0, 1], label_type=kind)
        assert load_dataset(path).labels.tolist() == [2, 0, 1]


def test_a_path_may_be_called_like_a_known_data_set(tmp_path):
    data = load_dataset(write(tmp_path / "cifar10.parquet", pictures(4), [0, 1, 0, 1]))
    assert (data.name, data.num_classes) == ("cifar10", 2)


def test_labels_that_start_at_one_are_not_taken_for_a_class_more(tmp_path):
    cells = [encode(image) for image in pictures(6)]
    with pytest.raises(ValueError, match="labels run from 1 to 3, and classes are numbered from 0: subtract 1"):
        load_dataset(write(tmp_path / "one.parquet", cells, [1, 2, 3, 1, 2, 3]))
    names = {"class_names": ["none", "a", "b", "c"]}
    data = load_dataset(write(tmp_path / "named.parquet", cells, [1, 2, 3, 1, 2, 3], metadata=names))
    assert data.class_names == ("none", "a", "b", "c")
    assert load_dataset(write(tmp_path / "gap.parquet", cells, [1, 3, 3, 1, 4, 3])).num_classes == 5


def test_the_digits_are_those_of_scikit_learn_without_its_import():
    code = (
        "import sys, numpy as np; from biasvar.data import load_dataset;"
        "d = load_dataset('digits'); print('sklearn' in sys.modules);"
        "from sklearn.datasets import load_digits; s = load_digits();"
        "print(np.array_equal(d.images, s.images) and np.array_equal(d.labels, s.target))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
