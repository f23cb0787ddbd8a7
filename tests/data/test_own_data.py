"""Data of one's own: the same content from every kind of file is the same data set; what does not fit is refused."""

from __future__ import annotations

import csv
import json
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from biasvar.data import from_arrays, load_dataset
from biasvar.data.held_out import hold_out_classes
from tests.data.made import encode, pictures, write
from tests.data.saved import save, save_dict

NAMES = ("cat", "dog", "owl")
LABELS = np.repeat([0, 1, 2], [7, 5, 4])  # in the order of the classes, as folders have them
TRAIN = np.arange(16) % 4 != 2


def tree(folder, images, labels, names=NAMES, split=None, suffix="png"):
    """One folder a class (of each split); the images of a class in their order."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / (split[i] if split is not None else "") / names[label] / f"{i:03d}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return folder


def image_table(images, labels):
    cells = pa.array([{"bytes": encode(image), "path": None} for image in images],
                     pa.struct([("bytes", pa.binary()), ("path", pa.string())]))  # fmt: skip
    return pa.table({"image": cells, "label": pa.array(labels)})


FEATURES = {"image": {"_type": "Image"}, "label": {"names": [*NAMES], "_type": "ClassLabel"}}


def every_kind(folder, images, labels, split):
    """The same images as each kind of file, with or without a split."""
    train = np.ones(len(labels), dtype=bool) if split is None else split == "train"
    words = [NAMES[label] for label in labels]
    own = {} if split is None else {"split": split}
    np.savez(folder / "a.npz", images=images, labels=labels, class_names=NAMES, **own)
    np.savez(folder / "words.npz", x=images[..., None] if images.ndim == 3 else images, y=words, **own)
    test = None if split is None else (images[~train], labels[~train])
    from_arrays(folder / "b.parquet", images[train], labels[train], test=test, class_names=NAMES)
    tree(folder / "c", images, labels, split=split)
    found = ["a.npz", "words.npz", "b.parquet", "c"]
    if split is None:
        np.save(folder / "d.npy", images)
        np.save(folder / "d_labels.npy", words)
        (folder / "e").mkdir()
        np.save(folder / "e" / "images.npy", images)
        np.save(folder / "e" / "labels.npy", np.array(words))
        save(folder / "f", image_table(images, labels), FEATURES)
        return [*found, "d.npy", "e", "f"]
    parts = {f"{part}_{name}": array[split == part] for part in ("train", "test")
             for name, array in (("images", images), ("labels", np.array(words)[:, None]))}  # fmt: skip
    np.savez(folder / "d.npz", **parts)
    tables = {part: image_table(images[split == part], labels[split == part]) for part in ("test", "train")}
    save_dict(folder / "f", tables, FEATURES)
    return [*found, "d.npz", "f"]


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("with_split", [True, False])
def test_the_same_images_are_the_same_data_set_in_every_kind_of_file(tmp_path, colour, with_split):
    images = pictures(16, colour=colour)
    split = np.where(TRAIN, "train", "test") if with_split else None
    found = {name: load_dataset(tmp_path / name) for name in every_kind(tmp_path, images, LABELS, split)}
    order = np.argsort(~TRAIN, kind="stable") if with_split else np.arange(16)
    for name, data in found.items():
        np.testing.assert_array_equal(data.images, images[order], err_msg=name)
        np.testing.assert_array_equal(data.labels, LABELS[order], err_msg=name)
        assert data.class_names == NAMES
        assert (data.split is None) != with_split
        assert "JPEG" not in data.note
        assert load_dataset(tmp_path / name).fingerprint == data.fingerprint
    assert len({data.fingerprint for data in found.values()}) == 1
    assert len({tuple(data.mean) for data in found.values()}) == 1
    files = found["c"].files
    assert files[0] == ("train/" if with_split else "") + "cat/000.png"
    assert [int(file[-7:-4]) for file in files] == order.tolist()
    assert found["a.npz"].files is None


def test_classes_that_are_held_out_keep_their_files(tmp_path):
    data = load_dataset(tree(tmp_path / "c", pictures(16), LABELS))
    rest, held = hold_out_classes(data, 1, seed=0)
    for part in (rest, held):
        assert [file.partition("/")[0] for file in part.files] == [part.class_names[label] for label in part.labels]


def test_the_same_features_are_the_same_data_set_in_every_kind_of_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    columns = {name: x[:, i].astype(float) for i, name in enumerate(("width", "height", "age"))}
    words = [NAMES[label] for label in LABELS]
    np.savez(tmp_path / "a.npz", features=x.astype(float), labels=LABELS)
    from_arrays(tmp_path / "b.parquet", x, LABELS)
    pq.write_table(pa.table({**columns, "target": LABELS, "sample_id": np.arange(16)}), tmp_path / "c.parquet")
    with (tmp_path / "d.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["species", *columns])
        writer.writerows([word, *row] for word, row in zip(words, x.tolist(), strict=True))
    save(tmp_path / "e", pa.table({"label": LABELS, **columns}), {"label": {"_type": "Value"}})
    sets = [load_dataset(tmp_path / name) for name in ("a.npz", "b.parquet", "c.parquet", "e")]
    sets.append(load_dataset(tmp_path / "d.csv", label_column="species"))
    for data in sets:
        np.testing.assert_array_equal(data.images, x)
        assert data.is_vectors
        assert data.fingerprint == sets[0].fingerprint
    assert [data.class_names for data in sets[3:]] == [("0", "1", "2"), NAMES]


def test_a_feature_may_have_the_name_of_a_label_where_the_label_is_named(tmp_path):
    rows = "".join(f"{i},{i % 2},{i % 3}\n" for i in range(6))
    (tmp_path / "d.csv").write_text(f"a,label,class\n{rows}")
    assert load_dataset(tmp_path / "d.csv", label_column="label").images.shape == (6, 2)


def test_shards_of_csv_are_splits(tmp_path):
    for name, rows in (("train-0", "1,2,0\n3,4,1\n"), ("train-1", "5,6,1\n"), ("test", "7,8,0\n")):
        (tmp_path / f"{name}.csv").write_text(f"a,b,label\n{rows}")
    data = load_dataset(tmp_path)
    assert data.images.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert data.split.tolist() == ["train"] * 3 + ["test"]


def test_images_of_arrays_are_converted_and_made_smaller_as_files_are(tmp_path):
    images = pictures(16, size=(8, 6))
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS)
    write(tmp_path / "b.parquet", images, LABELS)
    one, two = (load_dataset(tmp_path / name, size=3, mode="L") for name in ("a.npz", "b.parquet"))
    assert one.images.shape == (16, 4, 3)
    assert one.fingerprint == two.fingerprint
    assert one.note.replace("a:", "") == two.note.replace("b:", "")


def test_a_changed_file_and_a_renamed_class_are_read_anew(tmp_path):
    folder = tree(tmp_path / "c", pictures(16), LABELS)
    before = load_dataset(folder)
    (folder / "dog").rename(folder / "zebra")
    after = load_dataset(folder)
    assert after.class_names == ("cat", "owl", "zebra")
    assert after.fingerprint != before.fingerprint


def test_own_photographs_are_stored_as_jpeg_and_are_no_copies(tmp_path):
    data = load_dataset(tree(tmp_path / "c", pictures(16), LABELS, suffix="jpg"))
    assert data.note == "c: 16 images, 5x6 colour, 3 classes; stored as JPEG"


def test_the_library_writes_what_is_read(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = pytest.importorskip("datasets", reason="needs datasets, which writes what is read here")
    images = pictures(16)
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=[*NAMES])})
    cells = [Image.fromarray(image) for image in images]
    made = datasets.Dataset.from_dict({"image": cells, "label": LABELS.tolist()}, features=kinds)
    made.select(range(15, -1, -1)).select(range(15, -1, -1)).save_to_disk(tmp_path / "f")
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS)
    assert load_dataset(tmp_path / "f").fingerprint == load_dataset(tmp_path / "a.npz").fingerprint
    assert load_dataset(tmp_path / "f").class_names == NAMES
    parts = datasets.DatasetDict({"train": made.select(range(10)), "test": made.select(range(10, 16))})
    parts.save_to_disk(tmp_path / "g")
    assert load_dataset(tmp_path / "g").split.tolist() == ["train"] * 10 + ["test"] * 6


def arrays(**given):
    return {"images": pictures(4), "labels": [0, 1, 0, 1], **given}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": pictures(4), "labels": [0, 1] * 2}, r"no values; it has pictures \(4, 6, 5, 3\), labels \(4,\)"),
        ({"images": pictures(4)}, r"no labels; it has images \(4, 6, 5, 3\); needed: images or image or features or x"),
        ({"a": [1]}, "no images, features or labels; it has a"),
        ({"x_train": pictures(4), "y_train": [0, 1, 0, 1], "x_test": pictures(4)}, "no labels of test; it has x_train"),
        (arrays(x_train=pictures(4)), "arrays of the whole data set beside arrays of a split"),
        (arrays(x=pictures(4)), "images and x are both values; give one of them"),
        (arrays(labels=[0, 1, 0]), "labels has 3 labels for 4 rows; needed: one a row"),
        (arrays(labels=[0.0, 1, 0, 1]), "labels holds float64; needed: integers from 0, or words"),
        (arrays(labels=np.eye(4)), r"labels has shape \(4, 4\); needed: one label a row, \(N,\) \(of one-hot"),
        (arrays(labels=[0, -1, 0, 1]), "a.npz: row 1 has label -1, out of range; labels are integers from 0"),
        (arrays(labels=[1, 2, 1, 2]), "the labels run from 1 to 2, and classes are numbered from 0: subtract 1"),
        (arrays(labels=["a", "b", "a", "c"], class_names=["a", "b"]), "row 3 has label 'c', which is none of the cla"),
        (arrays(class_names=[1, 2]), "class_names must be an array of words, not int64"),
        (arrays(images=np.moveaxis(pictures(4), -1, 1)), r"shape \(4, 3, 6, 5\), channels first; .*numpy.moveaxis"),
        (arrays(images=pictures(4) / 255), r"images holds float64 from 0\S* to \S+; needed: pixels .*rint\(255"),
        (arrays(images=pictures(4).astype(int) + 1), "images holds int64 from 1 to 256; needed: pixels"),
        (arrays(images=np.zeros((4, 5, 5, 4))), r"images has shape \(4, 5, 5, 4\); needed: images \(N, H, W\)"),
        (arrays(images=np.zeros(4)), r"images has shape \(4,\); needed"),
        (arrays(images=np.array(["a"] * 4)), "images must hold numbers, not <U1"),
        (arrays(images=[[1.0], [np.nan], [2.0], [3.0]]), "images: row 1 has a feature that is not finite in float32"),
        (arrays(images=np.array([None] * 4)), r"a.npz holds Python objects, which are not read; save arrays of numb"),
        (arrays(split=["train", "test", "tset", "test"]), "row 2 has split 'tset'; allowed: 'train', 'validation', 't"),
        (arrays(split=[0, 1, 1, 1]), "split must be 4 words, 'train' or 'test'"),
        ({"x_train": pictures(4), "y_train": [0, 1, 0, 1], "x_test": pictures(2, size=(6, 6)), "y_test": [0, 1]},
         r"rows of another shape in one split than in another: \(6, 5, 3\), \(6, 6, 3\)"),
        (arrays(images=pictures(0), labels=np.zeros(0, int)), "the arrays are empty; needed: at least one row"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path, given, message):
    np.savez(tmp_path / "a.npz", **given)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        load_dataset(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "download" not in str(caught.value)


def test_a_damaged_npz_and_an_npy_without_labels(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    whole = (tmp_path / "a.npz").read_bytes()
    np.save(tmp_path / "one.npy", LABELS)
    for damaged in (whole[:200], b"", b"words", (tmp_path / "one.npy").read_bytes()):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.npz (is no whole NumPy file|holds Python objects)"):
            load_dataset(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"words")
    with pytest.raises(ValueError, match=r"a\.npz .*it is no \.npz, which is a zip archive.*numpy\.savez"):
        load_dataset(tmp_path / "a.npz")
    np.save(tmp_path / "faces.npy", pictures(4))
    with pytest.raises(ValueError, match=r"put faces_labels.npy beside it \(or labels.npy\), or save both in"):
        load_dataset(tmp_path / "faces.npy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,city,when,label\n1,Rome,2026-01-01,0\n",
            r"columns 'city' \(string\), 'when' \(date32.*\) hold no numbers",
        ),
        (
            "a,label,city\n1,0,Rome\n",
            r"column 'city' \(string\) holds no numbers, .*every column but .*'label'",
        ),
        (
            "a,b\n1,2\n",
            "no label column 'label' or .* or 'class'; the file has: a, b. Rename it or name it ",
        ),
        ("a,label,target\n1,0,0\n2,1,1\n", "columns 'label' and 'target' may both be the label.*data.label_column"),
        (",a,label\n0,1,0\n", r"column 1 has no name, as the index that pandas writes; leave it out \(to_csv"),
        ("a,a,label\n0,1,0\n", "more than one column is named 'a'"),
        ("a,label\n1,0\n2\n", r"cannot be read as CSV \(.*\); needed: a first line"),
        ("", r"cannot be read as CSV"),
        ("label\n1\n", "no columns of numbers beside the label's, 'label'"),
        ("a,label\n1,0\n,1\n", r"row 1 has a feature that is missing; every one needs a number \(column 'a'\)"),
        ("a,label\n1,0.5\n2,1\n", "label column 'label' holds double; needed: integers from 0, or words"),
        ("a,label\n1,x\n2,\n", "row 1 has no label; every row needs one"),
        ("a,label\n", "the file is empty"),
    ],
)
def test_csv_files_that_do_not_fit(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(tmp_path / "a.csv")
    assert str(tmp_path / "a.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_of_images_that_do_not_fit(tmp_path):
    folder = tmp_path / "own"

    def refused(message):
        with pytest.raises(ValueError, match=message) as caught:
            load_dataset(folder)
        assert "\n" not in str(caught.value)

    tree(folder, pictures(3), [0, 0, 0])
    refused("has images of one class only, 'cat'; needed: two folders of classes or more, such as cats/1.png")
    tree(folder, pictures(3, size=(6, 7)), [1, 1, 1])
    refused("dog/000.png is 7x6 pixels, the first image 5x6; all images of a data set must have one size: resize them")
    tree(folder, pictures(3), [1, 1, 1])
    (folder / "dog" / "002.png").write_bytes(b"words")
    refused("dog/002.png is no image that can be read as PNG or JPEG")
    (folder / "dog" / "002.png").rename(folder / "dog" / "002.gif")
    refused("dog/002.gif is neither PNG nor JPEG; convert it")
    (folder / "dog" / "002.gif").unlink()
    (folder / "owl" / "young").mkdir(parents=True)
    refused("own: owl is empty; copy the images again, or remove what has none")
    (folder / "owl" / "young" / "notes.txt").touch()  # words about the data: passed over
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.png").write_bytes(b"words")
    assert load_dataset(folder).class_names == ("cat", "dog")
    Image.fromarray(pictures(1)[0]).save(folder / "a.png")
    refused("a.png lies in no folder of a class; needed: one folder a class, such as cats/1.png and dogs/1.png")
    (folder / "a.png").unlink()
    shutil.rmtree(folder / "owl")
    tree(folder / "train", pictures(2), [0, 1])
    refused("train holds folders as a split does, beside cat, dog; move them into a split")


def test_saved_datasets_that_do_not_fit(tmp_path):
    folder = save_dict(tmp_path / "f", {"train": image_table(pictures(4), [0, 1, 0, 1])}, FEATURES)
    assert load_dataset(folder).split is None
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "unsupervised"]}))
    with pytest.raises(ValueError, match="has the split unsupervised; allowed: train, validation and test"):
        load_dataset(folder)
    state = json.loads((folder / "train" / "state.json").read_text())
    (folder / "train" / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(ValueError, match=r"holds rows and a selection of them; save dataset.flatten_indices\(\)"):
        load_dataset(folder / "train")
    (folder / "train" / "state.json").write_text(json.dumps(state))
    file = folder / "train" / state["_data_files"][1]["filename"]
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"arrow is not a whole Arrow file"):
        load_dataset(folder / "train")


@pytest.mark.parametrize("name", ["a.pt", "a.xlsx", "a"])
def test_files_of_another_kind_get_the_cure(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(
        ValueError, match=r"is no file that can be read as a data set.*biasvar.data.from_arrays writes"
    ) as e:
        load_dataset(tmp_path / name)
    assert "download" not in str(e.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "a.npz"}, "path must end in .parquet, not 'a.npz'"),
        ({"labels": [0, 1]}, "labels has 2 labels for 4 rows"),
        ({"labels": [0, 1, 2, 3], "class_names": ["a", "b"]}, r"labels must be 0 .. 1 with 2 class_names, not 2"),
        ({"class_names": ["a", "a"]}, "class_names must be a list of different words"),
        ({"test": pictures(4)}, "test must be a pair of values and labels, not ndarray"),
        (
            {"test": (pictures(2, size=(3, 3)), [0, 1])},
            "test values must be of the shape of values, ",
        ),
        ({"test": (pictures(2), [0, -1])}, "labels must be integers from 0, not -1"),
        ({"test": (pictures(2), ["a", "b"])}, "labels must all be words or all be integers"),
        ({"values": pictures(0)[:, 0], "labels": []}, "values are empty"),
    ],
)
def test_arrays_that_cannot_be_written(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    good = {"path": "a.parquet", "values": pictures(4), "labels": [0, 1, 0, 1]}
    with pytest.raises((ValueError, TypeError), match=message):
        from_arrays(**(good | given))
    assert not list(tmp_path.glob("*.parquet"))
