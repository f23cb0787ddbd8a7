"""Images of samples for reports and cards: by which rule an image is found, and what is refused beforehand."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from biasvar.records import Run, import_predictions, open_run
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.figures import gallery, strongest
from biasvar.report.pictures import open_pictures, pictures_of, with_pictures
from biasvar.report.statistics import own_samples

N, C = 40, 3
IMAGES = np.random.default_rng(1).integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(N) % C
DENSE, SPARSE = np.arange(N), 3 * np.arange(N) + 7


def png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "png")
    return data.getvalue()


def folder(place: Path, names: list[str], images: np.ndarray = IMAGES) -> Path:
    for name, image in zip(names, images, strict=True):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(png(image))
    return place


def is_image(place: Path, ids: np.ndarray, row: int = 11, expected: int = 11) -> str:
    found = open_pictures(str(place), ids, LABELS)
    np.testing.assert_array_equal(found.at([row])[0], IMAGES[expected])
    return found.rule


@pytest.mark.parametrize("ids", [DENSE, SPARSE])
def test_as_many_images_as_samples_go_by_rising_ids(ids: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    np.save(tmp_path / "b.npy", IMAGES.transpose(0, 3, 1, 2))  # channels first
    pq.write_table(pa.table({"image": [png(image) for image in IMAGES]}), tmp_path / "c.parquet")
    cells = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"picture": cells}), tmp_path / "d.parquet", row_group_size=7)
    tree = folder(tmp_path / "tree", [f"{'ab'[i // 20]}/{i % 20:02d}.png" for i in range(N)])
    for place in ("a.npy", "b.npy", "c.parquet", "d.parquet"):
        assert is_image(tmp_path / place, ids) == "in the order of rising sample ids"
    assert "in the order of folder and name" in is_image(tree, ids, 33, 33)


def test_images_are_found_by_sample_id(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(N)
    table = pa.table({"image": [png(IMAGES[i]) for i in order], "sample_id": SPARSE[order], "label": LABELS[order]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert is_image(tmp_path / "a.parquet", SPARSE) == "by the column sample_id"
    named = folder(tmp_path / "named", [f"img_{i}.png" for i in SPARSE])
    assert is_image(named, SPARSE) == "by the numbers in the files' names"
    larger = np.zeros((200, 6, 5, 3), dtype=np.uint8)
    larger[SPARSE] = IMAGES
    np.save(tmp_path / "larger.npy", larger)
    assert is_image(tmp_path / "larger.npy", SPARSE) == "by sample id: image i is sample i"


@pytest.mark.parametrize("called", ["{0}/{1}.png", "{0}/{1}", "{1}.png", "{1}"])
def test_files_are_found_by_the_names_of_samples(called: str, tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(N)
    files = [(f"{'ab'[i % 2]}", f"no{order[i]:03d}x") for i in range(N)]
    tree = folder(tmp_path / "tree", [f"{place}/{name}.png" for place, name in files])
    names = [called.format(*file) for file in files]
    made = import_predictions([np.random.default_rng(r).normal(size=(N, C)) for r in range(2)], LABELS,
                              sample_ids=names, directory=tmp_path / "mine")  # fmt: skip
    pictured = with_pictures(made, str(tree), ["test"])
    for number, image in pictures_of(pictured, "test", range(N)).items():
        np.testing.assert_array_equal(image, IMAGES[names.index(made.sample_names()[number])])
    assert pictured.pictures["test"][1].rule == "by the samples' names"
    table = pd.concat(own_samples.tables(made, "predictions"))
    assert table["name"].tolist() == [made.sample_names()[number] for number in table["sample_id"]]


def test_a_data_set_is_found_by_the_rows_of_its_test_split() -> None:
    from biasvar.data import load_dataset

    digits = load_dataset("digits")
    ids = np.arange(30)
    found = open_pictures("digits", ids, digits.labels[:30])
    np.testing.assert_array_equal(found.at([4])[0], digits.images[4])
    with pytest.raises(ValueError, match=r"the images of digits are not those .* row 0 is of class 0 there, 1 here"):
        open_pictures("digits", ids, (digits.labels[:30] + 1) % 10)


def refused(place: Path, message: str, ids: np.ndarray = DENSE, one_a_row: bool = False) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_pictures(str(place), ids, LABELS, what="test samples", one_a_row=one_a_row)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused_with_the_cure(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", IMAGES[:-1])
    np.save(tmp_path / "long.npy", np.concatenate([IMAGES, IMAGES]))
    np.save(tmp_path / "flat.npy", np.zeros((N, 30)))
    (tmp_path / "text.npy").write_text("hello")
    refused(tmp_path / "short.npy", r"39 images, there are 40 test samples \(sample ids 0 to 39\): give one image for")
    refused(tmp_path / "short.npy", "or more than 124, of which image i is sample i", SPARSE)
    refused(tmp_path / "long.npy", "80 images")  # which of them is sample 0 is not told by ids 0 to 39
    refused(tmp_path / "long.npy", r"\(40, H, W, 3\).*shape \(80, 6, 5, 3\)", one_a_row=True)
    refused(tmp_path / "flat.npy", r"\(40, H, W\).*it holds float64 of shape \(40, 30\)")
    refused(tmp_path / "text.npy", "cannot be read as a NumPy file")
    refused(tmp_path / "gone.npy", "does not exist")
    refused(tmp_path / "images.zip", "give a .npy array")
    pq.write_table(pa.table({"x": np.arange(N)}), tmp_path / "no.parquet")
    refused(tmp_path / "no.parquet", "no column of encoded images")
    pq.write_table(pa.table({"image": [b"no image"] * N}), tmp_path / "broken.parquet")
    refused(tmp_path / "broken.parquet", "row 0 is no image that can be read")
    pq.write_table(pa.table({"image": [png(IMAGES[0])], "sample_id": [5]}), tmp_path / "one.parquet")
    refused(tmp_path / "one.parquet", "lacks sample_id 0, 1, 2, 3, 4 and 34 more")
    (tmp_path / "bad.parquet").write_text("hello")
    refused(tmp_path / "bad.parquet", "bad.parquet")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no image files")
    refused(
        folder(tmp_path / "few", [f"{i}.png" for i in range(9)], IMAGES[:9]), "none is named after sample 9, 10, 11"
    )
    refused(
        folder(tmp_path / "unclear", [f"{i + 1}.png" for i in range(N)]), "10.png and 2.png are the second by letters"
    )


def test_values_below_zero_are_stretched_and_large_colours_brought_down(tmp_path: Path) -> None:
    standard = (IMAGES - 127.0) / 60.0
    np.save(tmp_path / "a.npy", standard)
    np.save(tmp_path / "b.npy", IMAGES.astype(np.float64))
    np.save(tmp_path / "c.npy", standard[..., 0])
    first, second, third = (open_pictures(str(tmp_path / f"{n}.npy"), DENSE, LABELS).at([3])[0] for n in "abc")
    assert (first.min(), first.max()) == (0.0, 1.0)
    np.testing.assert_allclose(second, IMAGES[3] / 255)
    assert third.shape == (6, 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    random, directory = np.random.default_rng(2), tmp_path_factory.mktemp("pictured") / "mine"
    for arm in ("one", "two"):
        replicas = [random.normal(size=(N, C)) + 2 * np.eye(C)[LABELS] for _ in range(4)]
        import_predictions(replicas, LABELS, directory=directory, arm=arm, sample_ids=SPARSE, resume=arm == "two")
    return open_run(directory)


def test_the_strongest_samples_are_shown_with_their_own_images_and_ids(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    pictured = with_pictures(run, str(tmp_path / "images.npy"), ["test"])
    assert strongest.collect([run]).empty  # without images the table says the same
    frame = strongest.collect([pictured])
    table = pd.concat(own_samples.tables(run, "one"))
    for row, column in (("Most bias", "bias"), ("Most variance", "variance")):
        shown = frame[frame["row"] == row].drop_duplicates("place")
        assert shown["sample_id"].tolist() == table.nlargest(strongest.ACROSS, column)["sample_id"].tolist()
    for (_, number), image in frame.attrs["images"].items():
        np.testing.assert_array_equal(image, IMAGES[list(SPARSE).index(number)])
    assert pictures_of(pictured, "train", [7]) == pictures_of(run, "test", [7]) == {}
    # The bars are the mean student, whose truth has the plug-in bias.
    one = frame[frame["class"] == frame["true_class"]].iloc[0]
    bias = dict(zip(SPARSE, run.decomposition("one").bias, strict=True))[one["sample_id"]]
    assert -np.log(one["probability"]) == pytest.approx(bias, rel=1e-9)
    with style.context():
        drawing = strongest.draw(frame)
        labels = [ax.get_xlabel() for ax in drawing.get_axes()]
    for number in frame["sample_id"].unique():
        assert any(label.startswith(f"id {number}\n") for label in labels)
    caption = strongest.caption(frame, [pictured])
    assert f"n = {N} test samples, 4 replicas" in caption
    assert "found in the order of rising sample ids" in caption


def test_the_gallery_of_an_own_run_has_images_and_ids(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    manifest = {**run.manifest, "arms": {**run.manifest["arms"], "two": {**run.arm("two"), "control": "one"}}}
    compared = Run(run.directory, manifest)
    bare = gallery.collect([compared])
    assert "No images: they come with --images." in gallery.caption(bare, [compared])
    pictured = with_pictures(compared, str(tmp_path / "images.npy"), ["test"])
    frame = gallery.collect([pictured])
    assert frame["has_image"].all()
    for (_, number), image in frame.attrs["images"].items():
        np.testing.assert_array_equal(image, IMAGES[list(SPARSE).index(number)])
    with style.context():
        texts = [text.get_text() for ax in gallery.draw(frame).get_axes() for text in ax.texts]
    assert any(text.startswith(f"id {frame['sample_id'].iloc[0]}\n") for text in texts)
    assert "Images were found in the order" in gallery.caption(frame, [pictured])


def test_a_data_set_names_the_classes_of_a_run_without_names(tmp_path: Path) -> None:
    images = [png(image) for image in IMAGES]
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())], {b"class_names": b'["cat", "dog", "owl"]'})
    pq.write_table(pa.table({"image": images, "label": LABELS}, schema=schema), tmp_path / "animals.parquet")
    made = import_predictions([np.random.default_rng(r).normal(size=(N, C)) for r in range(2)], LABELS,
                              directory=tmp_path / "mine")  # fmt: skip
    assert own_samples.class_names(made) == ["0", "1", "2"]
    pictured = with_pictures(made, str(tmp_path / "animals.parquet"), ["test"])
    assert own_samples.class_names(pictured) == ["cat", "dog", "owl"]


def test_the_command_refuses_images_before_it_draws(
    run: Run, study_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "short.npy", IMAGES[:-1])
    np.save(tmp_path / "images.npy", IMAGES)
    out, own = tmp_path / "out", str(run.directory)
    for arguments, message in (
        ([own, "--images", str(tmp_path / "short.npy")], "39 images, there are 40 test samples of mine"),
        (
            [own, str(study_run.directory), "--images", str(tmp_path / "images.npy")],
            "--images shows samples of one run",
        ),
        ([own, "--images", "nothing_of_the_kind"], "nothing_of_the_kind"),
    ):
        assert main([*arguments, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not out.exists()
    arguments = [own, "--images", str(tmp_path / "images.npy"), "--figures", "strongest", "--formats", "png"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert (out / "strongest.png").is_file()


def test_a_card_prints_ids_under_its_worst_images(tmp_path: Path) -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(C), N)
    np.save(tmp_path / "soft.npy", soft)
    np.save(tmp_path / "images.npy", IMAGES)
    pd.DataFrame({"sample_id": SPARSE, "label": LABELS}).to_csv(tmp_path / "labels.csv", index=False)
    arguments = ["--soft-labels", str(tmp_path / "soft.npy"), "--labels", str(tmp_path / "labels.csv")]
    arguments += ["--images", str(tmp_path / "images.npy"), "--formats", "svg", "--out", str(tmp_path / "card")]
    assert main(arguments) == 0
    worst = pd.read_csv(tmp_path / "card/worst.csv")
    drawn = (tmp_path / "card/worst.svg").read_text(encoding="utf-8")
    for number in worst.loc[worst["place"] < 6, "sample_id"].unique():
        assert f">id {number}<" in drawn
