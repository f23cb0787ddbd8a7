"""Images that stay in their files: which sample is which, what is seen of it, and what is said of a broken file."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from biasvar.data import load_dataset
from biasvar.data.crops import CentreCrop, RandomCrops
from biasvar.data.streaming import UnreadableImage
from tests.data.made import encode, hugging_face, photographs, pictures, tree, write

CROP = CentreCrop(16, 18)


def jpeg(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("data") / "photos")


def shards(root, *, labels=None, group=7):
    """The images of `tree` in Parquet files as the Hugging Face hub has them."""
    labels = np.arange(60) % 3 if labels is None else labels
    images = [*photographs(45), *photographs(15, seed=1)]
    names = ["n00000000", "n00000001", "n00000002"]
    for file, rows in (
        ("train-00000-of-00002", slice(0, 30)),
        ("train-00001-of-00002", slice(30, 45)),
        ("validation-00000-of-00001", slice(45, 60)),
    ):
        write(
            root / "data" / f"{file}.parquet", images[rows], labels[rows], struct=True, group=group,
            metadata={"huggingface": hugging_face(names)["huggingface"]},
        )  # fmt: skip
    return root


def test_samples_are_numbered_by_their_paths_however_the_system_lists_them(folder, monkeypatch):
    data = load_dataset(folder, streamed=CROP)
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.JPEG")]
    train, val = (sorted(name for name in found if name.startswith(split)) for split in ("train", "val"))
    assert data.files == (*train, *val)
    assert data.split.tolist() == ["train"] * 45 + ["test"] * 15  # official, and val is what is tested on
    assert data.class_names == ("n00000000", "n00000001", "n00000002")
    assert [data.class_names[label] for label in data.labels] == [name.split("/")[1] for name in data.files]

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    scandir = os.scandir
    monkeypatch.setattr("biasvar.data.streaming.os.scandir", Backwards)
    other = load_dataset(folder, streamed=CROP)
    assert other.files == data.files
    assert other.fingerprint == data.fingerprint
    assert (other.labels == data.labels).all()


def test_samples_are_those_of_the_same_folder_in_memory(tmp_path):
    folder = tmp_path / "photos"
    for i, pixels in enumerate(pictures(24, size=(9, 9))):
        file = folder / ("train" if i % 2 else "test") / "abc"[i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(pixels))
    memory, streamed = load_dataset(folder), load_dataset(folder, streamed=CentreCrop(9, 9))
    assert streamed.files == memory.files
    for own, other in ((streamed.labels, memory.labels), (streamed.split, memory.split)):
        assert (own == other).all()
    assert streamed.images.shape == memory.images.shape
    assert (streamed.images[:] == memory.images).all()
    assert (streamed.images[[5, 2]] == memory.images[[5, 2]]).all()
    assert (streamed.images[memory.labels == 1] == memory.images[memory.labels == 1]).all()
    assert (streamed.images[7] == memory.images[7]).all()


@pytest.mark.parametrize("group", [7, 1000])
def test_parquet_files_hold_the_same_samples_as_folders(tmp_path, group):
    data = load_dataset(shards(tmp_path, group=group), streamed=CROP)
    images = [*photographs(45), *photographs(15, seed=1)]
    assert data.split.tolist() == ["train"] * 45 + ["test"] * 15
    assert data.class_names == ("n00000000", "n00000001", "n00000002")
    carried = pickle.loads(pickle.dumps(data.images))
    for i in np.random.default_rng(0).permutation(60):
        seen = CROP.of(Image.fromarray(jpeg(images[i])))
        assert (data.images[i] == np.asarray(seen)).all()
        assert (carried[int(i)] == np.asarray(seen)).all()


def test_an_evaluation_sees_the_centre_of_the_shorter_side(folder):
    data = load_dataset(folder, streamed=CROP)
    for i in range(0, 60, 7):
        image = Image.open(folder / data.files[i])
        width, height = image.size
        scale = 18 / min(width, height)
        shape = (18, int(height * scale + 1e-9)) if width < height else (int(width * scale + 1e-9), 18)
        left, top = ((side - 16) / 2 for side in shape)
        whole = np.asarray(image.resize(shape, Image.Resampling.BILINEAR))
        expected = whole[round(top) : round(top) + 16, round(left) : round(left) + 16]
        assert (data.images[i] == expected).all()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 2**31), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_random_crop_lies_in_the_image(width, height, sample, one, other):
    crops = RandomCrops(area=(min(one, other), max(one, other)))
    left, top, across, down = crops.box(
        width, height, crops.numbers(np.array([sample]), replica=0, epoch=1)[0]
    )  # fmt: skip
    assert 0 <= left < left + across <= width
    assert 0 <= top < top + down <= height


def test_random_crops_have_the_areas_ratios_and_places_that_they_should():
    crops = RandomCrops(area=(0.08, 0.5))  # of a square, every such crop fits at once
    drawn = crops.numbers(np.arange(20_000), replica=1, epoch=2)
    left, top, across, down = np.array([crops.box(4000, 4000, row) for row in drawn]).T
    share, tilt = across * down / 4000**2, np.log(across / down)
    for values, (low, high) in ((share, (0.08, 0.5)), (tilt, np.log([3 / 4, 4 / 3]))):
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    for start, side in ((left, across), (top, down)):
        assert stats.kstest((start + 0.5) / (4000 - side + 1), stats.uniform.cdf).pvalue > 1e-3
    assert abs(np.corrcoef([share, tilt, left / (4001 - across), top / (4001 - down), drawn[:, -1]])
               - np.eye(5)).max() < 0.03  # fmt: skip


def test_a_crop_that_fits_is_what_the_numbers_say_and_half_of_them_are_mirrored():
    image = Image.fromarray(pictures(1, size=(30, 40))[0])
    crops = RandomCrops(size=30, area=(1.0, 1.0))
    numbers = np.full(23, 0.5)  # a ratio of 1 is as many pixels as 35 x 35, which never fits: 40 x 30 is in the range
    numbers[-1] = 0.7
    seen = np.asarray(image.resize((30, 30), Image.Resampling.BILINEAR))
    assert (np.asarray(crops.of(image, numbers)) == seen).all()
    numbers[-1] = 0.2
    assert (np.asarray(crops.of(image, numbers)) == seen[:, ::-1]).all()
    mirrored = crops.numbers(np.arange(10_000), replica=0, epoch=1)[:, -1] < 0.5
    assert abs(mirrored.mean() - 0.5) < 0.02


def test_a_crop_depends_on_seed_replica_epoch_and_sample_alone():
    crops, ids = RandomCrops(seed=3), np.array([4, 9, 7])
    base = crops.numbers(ids, replica=1, epoch=2)
    assert (crops.numbers(ids[::-1], replica=1, epoch=2)[::-1] == base).all()
    for other in (
        RandomCrops(seed=4).numbers(ids, replica=1, epoch=2),
        crops.numbers(ids, replica=2, epoch=2),
        crops.numbers(ids, replica=1, epoch=3),
        crops.numbers(ids + 1, replica=1, epoch=2),
    ):
        assert (other != base).all()


def test_the_fingerprint_is_of_names_sizes_and_labels(tmp_path):
    def fingerprint(**changes):
        return load_dataset(tmp_path, streamed=CentreCrop(**{"size": 16, "resize": 18, **changes})).fingerprint

    tree(tmp_path)
    first = fingerprint()
    file = tmp_path / "train/n00000001/train_001.JPEG"
    content = file.read_bytes()
    assert fingerprint() == first
    assert fingerprint(resize=20) != first
    file.write_bytes(content + b"\0")
    assert fingerprint() != first
    file.write_bytes(content)
    assert fingerprint() == first
    moved = file.rename(tmp_path / "train/n00000002/train_001.JPEG")
    assert fingerprint() != first
    moved.rename(file)
    file.rename(file.with_name("other.JPEG"))
    assert fingerprint() != first


def test_broken_images_are_named_when_they_are_read(tmp_path):
    tree(tmp_path)
    file = tmp_path / "train/n00000001/train_001.JPEG"
    file.write_bytes(file.read_bytes()[:700])
    data = load_dataset(tmp_path, streamed=CROP)
    broken = data.files.index("train/n00000001/train_001.JPEG")
    with pytest.raises(ValueError, match=r"train/n00000001/train_001.JPEG is no image .* \(image file is truncated"):
        data.images[broken]
    file.unlink()
    with pytest.raises(UnreadableImage, match=r"train_001\.JPEG is gone; put it back") as info:
        data.images[broken]
    assert info.value.sample == pickle.loads(pickle.dumps(info.value)).sample == broken
    assert data.images[broken + 1].shape == (16, 16, 3)


def test_what_can_be_seen_at_once_is_refused_before_anything_is_read(tmp_path):
    tree(tmp_path / "tree")
    empty = tmp_path / "tree/val/n00000000/val_000.JPEG"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match=r"val_000.JPEG is empty; copy or download it again"):
        load_dataset(tmp_path / "tree", streamed=CROP)
    empty.rename(empty.with_suffix(".webp"))
    with pytest.raises(ValueError, match=r"val_000.webp is neither PNG nor JPEG"):
        load_dataset(tmp_path / "tree", streamed=CROP)

    half = tree(tmp_path / "half")
    (half / "train" / "n00000009").mkdir()
    (half / "val" / "n00000009" / "young").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"half: train/n00000009, val/n00000009 are empty; copy the images again"):
        load_dataset(half, streamed=CROP)
    for file in (half / "train").rglob("*.JPEG"):
        file.unlink()
    with pytest.raises(ValueError, match=r"half: train/n00000000, train/n00000001, .* are empty"):
        load_dataset(half, streamed=CROP)

    whole = shards(tmp_path / "whole")
    (whole / "data/train-00000-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 files are missing, train-00000-of-00002"):
        load_dataset(whole, streamed=CROP)

    cut = shards(tmp_path / "cut") / "data/train-00001-of-00002.parquet"
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"train-00001-of-00002.parquet is not a whole Parquet file"):
        load_dataset(tmp_path / "cut", streamed=CROP)

    labels = np.arange(60) % 3
    labels[33] = 7
    with pytest.raises(ValueError, match=r"train-00001-of-00002.parquet: row 3 has label 7, out of range; .* 0 .. 2"):
        load_dataset(shards(tmp_path / "seven", labels=labels), streamed=CROP)
    labels[33] = -1
    with pytest.raises(ValueError, match=r"row 3 has label -1, out of range"):
        load_dataset(shards(tmp_path / "minus", labels=labels), streamed=CROP)


def test_a_page_that_is_damaged_is_named_when_it_is_read(tmp_path):
    data = load_dataset(shards(tmp_path), streamed=CROP)
    file = tmp_path / "data/train-00001-of-00002.parquet"
    start = pq.ParquetFile(file).metadata.row_group(0).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[start : start + 400] = bytes(400)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00001-of-00002.parquet is not a whole Parquet file"):
        data.images[31]
    assert data.images[3].shape == (16, 16, 3)


def test_data_that_are_no_images_in_files_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "mine.npz", images=pictures(9), labels=np.arange(9) % 3)
    for place, said in (
        (tmp_path / "mine.npz", "leave streamed out for data that are one array"),
        ("digits", "one array in memory"),
        (tmp_path / "none", "no file or folder of images"),
        (tmp_path / "empty", "holds no images"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            load_dataset(place, streamed=CROP)
    with pytest.raises(ValueError, match="leave size and mode out"):
        load_dataset(tmp_path, streamed=CROP, mode="L")


def test_a_name_is_looked_for_where_data_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"put a folder imagenet/ of images, imagenet/train/CLASS"):
        load_dataset("imagenet", streamed=CROP)
    tree(tmp_path / "imagenet")
    data = load_dataset("imagenet", streamed=CROP)
    assert (data.name, data.path, len(data.labels)) == ("imagenet", None, 60)
    with pytest.raises(FileNotFoundError, match=r"is read by a study with data.streamed"):
        load_dataset("imagenet")
