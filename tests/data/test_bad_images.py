"""Every fault is named with its file and row, and says what is allowed; nothing is left in the cache."""

from __future__ import annotations

import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from biasvar.data import load_dataset
from tests.data.made import encode, pictures, write

LABELS = [0, 1] * 150  # 300 rows: more than one thread's share


def raises(path, message, error=ValueError, **options):
    """The error, and no whole or half result in the cache."""
    with pytest.raises(error, match=message) as caught:
        load_dataset(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _nothing_is_kept(folders):
    yield
    kept = folders / "cache" / "decoded"
    assert not kept.exists() or [p.name for p in kept.iterdir() if not p.name.endswith(".lock")] == []


def broken_png():
    whole = bytearray(encode(pictures(1)[0]))
    whole[45] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (encode(pictures(1, size=(7, 5))[0]), "row 211 is 5x7 pixels, the first image 5x6; all images .* one size"),
        (encode(pictures(1, colour=False)[0]), "row 211 is grey, the first image colour; .*mode='L' or mode='RGB'"),
        (b"no image at all", "row 211 is no image that can be read as PNG or JPEG"),
        (b"", "row 211 is no image that can be read as PNG or JPEG"),
        (encode(pictures(1)[0])[:-30], "row 211 is no image that can be read"),
        (broken_png(), "row 211 is no image that can be read"),
        (encode(pictures(1)[0], "JPEG")[:400], "row 211 is no image that can be read"),
        (None, "row 211 has no image bytes; needed: the bytes of a PNG or JPEG file"),
        (encode(Image.fromarray(pictures(1)[0]).convert("RGBA")), "row 211 has pixels of kind 'RGBA'; needed: 8-bit"),
        (encode(Image.fromarray(np.ones((6, 5), np.uint16))), "row 211 has pixels of kind 'I;16'"),
    ],
)
@pytest.mark.parametrize("struct", [False, True])
def test_one_bad_image_is_named_by_its_row(tmp_path, cell, message, struct):
    images = [*pictures(300)]
    images[211] = cell
    images[250] = b"a later one is not the one named"
    split = ["test"] * 20 + ["train"] * 280  # rows are counted in the file, not in the order of the sample ids
    path = write(tmp_path / "a.parquet", images, LABELS, struct=struct, split=split)
    assert str(path) in raises(path, message)


def test_colour_among_grey_and_a_bad_row_of_a_second_shard(tmp_path):
    write(tmp_path / "a" / "train-0.parquet", pictures(4, colour=False), [0, 1] * 2)
    write(tmp_path / "a" / "train-1.parquet", [*pictures(3, colour=False), pictures(1)[0]], [0, 1] * 2)
    raises(tmp_path / "a", r"train-1.parquet: row 3 is colour, the first image grey")


def test_sixteen_bits_are_not_converted_away(tmp_path):
    deep = encode(Image.fromarray(np.ones((6, 5), np.uint16)))
    raises(write(tmp_path / "a.parquet", [deep], [0]), "kind 'I;16'; needed: 8 bits a channel", mode="L")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, -1, 1], {}, "row 1 has label -1, out of range; labels are integers from 0"),
        ([0, 1, 2], {"metadata": {"class_names": ["a", "b"]}}, "row 2 has label 2, .* with 2 class names: 0 .. 1"),
        ([0, 7, 2], {}, "row 1 has label 7, out of range; allowed with 3 rows without class names: 0 .. 2"),
        ([0, 2**40, 2], {}, "row 1 has label 1099511627776, out of range"),
        ([0, 2**64 - 1, 2], {"label_type": pa.uint64()}, "row 1 has label 18446744073709551615, out of range"),
        ([0.0, 1.0, 2.0], {}, "label column 'label' holds double; needed: integers from 0"),
        (
            ["a", "b", "c"],
            {"metadata": {"class_names": ["a", "b"]}},
            "row 2 has label 'c', which is none of the classes a, b",
        ),
        ([0, None, 1], {}, "row 1 has no label; every row needs one"),
        ([0, 1, 1], {"split": ["train", "test", "tset"]}, "row 2 has split 'tset'; allowed: 'train', 'validation', 't"),
        ([0, 1, 1], {"split": ["train", None, "test"]}, "row 1 has split None; allowed"),
        ([0, 1, 1], {"split": [0, 0, 1]}, "column 'split' holds int64; needed: the words 'train' and 'test'"),
        ([0, 1, 1], {"metadata": {"class_names": {"a": 1}}}, "class names must be a JSON list of words, not {'a': 1}"),
        ([0, 1, 1], {"metadata": {"huggingface": ["a"]}}, "class names in the schema metadata are no JSON"),
    ],
)
def test_labels_splits_and_names_that_cannot_be(tmp_path, labels, options, message):
    path = write(tmp_path / "a.parquet", pictures(3), labels, **options)
    assert str(path) in raises(path, message)


def test_a_label_out_of_range_is_named_by_its_row_in_the_file(tmp_path):
    split, names = ["test", "train", "train"], {"class_names": ["a", "b"]}
    raises(write(tmp_path / "a.parquet", pictures(3), [2, 0, 1], split=split, metadata=names), "row 0 has label 2")
    write(tmp_path / "data" / "fashion_mnist.parquet", pictures(2, size=(28, 28), colour=False), [0, 10])
    raises("fashion_mnist", "row 1 has label 10, out of range; allowed with 10 classes: 0 .. 9")


def test_columns_that_are_not_there_or_hold_something_else(tmp_path):
    path = write(tmp_path / "a.parquet", pictures(3), [0, 1, 1], names=("picture", "kind"), split=["train"] * 3)
    raises(path, "no image column 'image' or 'img'; the file has: picture, kind, split. Rename it for a study, or give")
    raises(path, "no label column 'label' or 'fine_label' or 'labels'; the file has", image_column="picture")
    raises(path, "no label column 'clas'; the file has: picture", image_column="picture", label_column="clas")
    raises(path, "column 'kind' holds int64; needed: PNG or JPEG bytes, or a struct", image_column="kind")
    paths = pa.array([{"path": "a.png"}])
    pq.write_table(pa.table({"image": paths, "label": [0]}), tmp_path / "b.parquet")
    raises(tmp_path / "b.parquet", "column 'image' holds struct<path: string>; needed: PNG or JPEG bytes")


def test_files_that_are_empty_cut_off_or_something_else(tmp_path):
    raises(write(tmp_path / "a.parquet", [], [], label_type=pa.int64()), "a.parquet: the file is empty; needed: at l")
    path = write(tmp_path / "b.parquet", pictures(300), LABELS)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PAR1", b"words", whole[:4] + bytes(3000) + whole[3004:]):
        path.write_bytes(damaged)
        raises(path, "b.parquet is not a whole Parquet file .*; copy or download it again")


def test_folders_that_are_no_data_set(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    raises(folder, "many holds no data that can be read; a data set is a .parquet or .csv file, ", FileNotFoundError)
    raises(tmp_path / "none.parquet", "no file or folder of data at .*none.parquet; a data set is", FileNotFoundError)
    write(folder / "one" / "train.parquet", pictures(3), [0, 1, 1])
    write(folder / "two" / "train.parquet", pictures(3), [0, 1, 1])
    raises(folder, "holds more than one data set: .*one, .*two; give the path of one")
    write(folder / "one" / "extra.parquet", pictures(3), [0, 1, 1])
    raises(folder / "one", "extra.parquet is neither train")
    write(folder / "two" / "test.parquet", pictures(3), [0, 1, 1], metadata={"class_names": ["a", "b"]})
    write(folder / "two" / "train.parquet", pictures(3), [0, 1, 1], metadata={"class_names": ["b", "a"]})
    raises(folder / "two", "train.parquet: other class names than in .*test.parquet")


def test_names_without_data_say_what_to_put_where(folders):
    said = raises("cifar100", "no data for 'cifar100': put the file cifar100.parquet", FileNotFoundError)
    assert f"into {folders / 'data'} (the folder of BIASVAR_DATA)" in said
    assert "a folder cifar100/ of shards train*.parquet and test*.parquet" in said
    assert "column 'image' or 'img' of PNG or JPEG bytes" in said
    assert said.endswith(
        "pip install 'biasvar[hub]', then python -c \"from biasvar.data import fetch; fetch('cifar100')\""
    )
    assert "hub" not in raises("tiny_imagenet_32", "put the file tiny_imagenet_32.parquet", FileNotFoundError)
    names = "digits, cifar10, cifar100, fashion_mnist, cinic10, imagenet, tiny_imagenet_32"
    known = f"no data set named 'mnist'; there is: {names}; or give"
    raises("mnist", re.escape(known))


def test_another_data_set_under_a_known_name(folders):
    write(folders / "data" / "cifar10.parquet", pictures(10, size=(8, 8)), range(10))
    raises(
        "cifar10", "is not cifar10: it holds 8x8 colour images of 10 classes, CIFAR-10 has 32x32 colour images of 10"
    )
    write(
        folders / "data" / "cifar10.parquet", pictures(4, size=(32, 32)), range(4), metadata={"class_names": [*"abcd"]}
    )
    raises("cifar10", "it holds 32x32 colour images of 4 classes, CIFAR-10 has .*; give the file's path to load it any")


def test_pillow_refuses_the_same_bytes():
    """The damage done above is damage by another judge too."""
    for cell in (broken_png(), encode(pictures(1)[0])[:-30], encode(pictures(1)[0], "JPEG")[:400]):
        with pytest.raises((OSError, SyntaxError)):
            Image.open(io.BytesIO(cell)).load()
