"""People's labels: matched to samples by original row, checked by true label; on made-up files and on the real ones."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from biasvar.data import human_labels, load_dataset
from biasvar.data.dataset import Dataset
from biasvar.data.human_labels import PEOPLE, load_people
from biasvar.study import resolve_study
from biasvar.study.soft_labels import Votes
from biasvar.training import checks
from biasvar.training.soft_targets import soft_label_table
from biasvar.votes import PeopleSource

FOLDER = os.environ.get("BIASVAR_DATA")  # before the fixture that hides it
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = np.arange(50000) % 10, (np.arange(10000) * 7) % 10


def dataset(train=TRAIN, test=TEST, index=None, names=NAMES) -> Dataset:
    labels = np.concatenate([train, test])
    split = np.where(np.arange(len(labels)) < len(train), "train", "test")
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    return Dataset("cifar10", images, labels, names, 255.0, "made up", split=split, original_index=index)


@pytest.fixture
def files(folders) -> Path:
    """Both files, with people who are mostly right: one vote in ten is wrong, and one in ten of CIFAR-10N's labels."""
    folder = folders / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    counts = np.zeros((10000, 10), np.uint8)
    counts[np.arange(10000), TEST] = 45
    counts[np.arange(10000), (TEST + rng.integers(1, 10, 10000)) % 10] = 5
    np.savez(folder / "cifar10h.npz", counts=counts, labels=TEST.astype(np.uint8), other=np.array(["ignored"]))
    three = np.stack([np.where(rng.random(50000) < 0.1, (TRAIN + i) % 10, TRAIN) for i in (1, 2, 3)], axis=1)
    wrong = three != TRAIN[:, None]
    worst = np.where(wrong.any(axis=1), three[np.arange(50000), wrong.argmax(axis=1)], TRAIN)
    each = {f"random_label{i + 1}": three[:, i] for i in range(3)}
    np.savez(folder / "cifar10n.npz", clean_label=TRAIN, aggre_label=TRAIN, worse_label=worst, **each)
    return folder


def change(file: Path, **arrays) -> None:
    with np.load(file) as archive:
        kept = {key: archive[key] for key in archive.files} | arrays
    np.savez(file, **{key: value for key, value in kept.items() if value is not None})


def test_votes_become_soft_labels_and_entropy(files):
    people = load_people("cifar10h", dataset())
    assert people.sample_ids.tolist() == list(range(50000, 60000))
    np.testing.assert_array_equal(people.labels, TEST)
    soft = people.soft_labels()
    np.testing.assert_allclose(soft, people.counts / people.counts.sum(axis=1, keepdims=True), rtol=1e-15)
    smooth = people.soft_labels(concentration=5.0)
    np.testing.assert_allclose(smooth, (people.counts + 0.5) / 55, rtol=1e-15)
    np.testing.assert_allclose(people.entropy(), stats.entropy(soft, axis=1), atol=1e-15)
    np.testing.assert_allclose(people.entropy(concentration=5.0), stats.entropy(smooth, axis=1), rtol=1e-12)
    assert people.annotators is None
    np.testing.assert_array_equal(people.hard_labels("majority"), TEST)
    assert "CIFAR-10H: 50 people's labels of 10,000 test images, most votes right on 100.0%" in people.note


def test_people_who_agree_have_entropy_zero(files):
    counts = np.zeros((10000, 10), np.uint8)
    counts[np.arange(10000), TEST] = 51
    change(files / "cifar10h.npz", counts=counts)
    assert load_people("cifar10h", dataset()).entropy().tolist() == [0.0] * 10000


def test_three_people_and_what_was_made_of_them(files):
    people = load_people("cifar10n", dataset())
    raw = np.load(files / "cifar10n.npz")
    assert people.annotators is not None
    for i in range(3):
        np.testing.assert_array_equal(people.annotators[:, i], raw[f"random_label{i + 1}"])
        np.testing.assert_array_equal(people.hard_labels(f"random{i + 1}"), raw[f"random_label{i + 1}"])
    by_hand = np.array([np.bincount(row, minlength=10) for row in people.annotators[:500]])
    np.testing.assert_array_equal(people.counts[:500], by_hand)
    assert set(people.counts.sum(axis=1)) == {3}
    np.testing.assert_array_equal(people.hard_labels("worst"), raw["worse_label"])
    np.testing.assert_array_equal(people.hard_labels("clean"), TRAIN)
    with pytest.raises(ValueError, match=r"no labels named 'worse'; there is: clean, majority, random1, .*, worst"):
        people.hard_labels("worse")


def test_rows_are_matched_by_original_row_whatever_their_order_and_number(files):
    whole = load_people("cifar10h", dataset())
    order = np.random.default_rng(1).permutation(10000)[:300]
    index = np.concatenate([np.arange(50000), order])
    some = load_people("cifar10h", dataset(test=TEST[order], index=index))
    assert some.sample_ids.tolist() == list(range(50000, 50300))
    np.testing.assert_array_equal(some.counts, whole.counts[order])
    assert some.fingerprint != whole.fingerprint
    assert load_people("cifar10h", dataset()).fingerprint == whole.fingerprint


def test_take_gives_the_samples_asked_for_and_refuses_others(files):
    people = load_people("cifar10n", dataset())
    ids = np.array([7, 49999, 3])
    part = people.take(ids)
    np.testing.assert_array_equal(part.sample_ids, ids)
    np.testing.assert_array_equal(part.counts, people.counts[ids])
    np.testing.assert_array_equal(part.hard_labels("worst"), people.hard_labels("worst")[ids])
    np.testing.assert_array_equal(part.take([3, 7]).counts, people.counts[[3, 7]])
    said = (
        r"cifar10n has no labels of sample 50000 \(2 of 3 asked for\); it has 50,000 samples of 0 .. 49999, the train"
    )
    with pytest.raises(ValueError, match=said):
        people.take([5, 50000, 60000])


@pytest.mark.parametrize("name", list(PEOPLE))
def test_a_missing_file_is_named_with_its_place_and_its_project(folders, name):
    with pytest.raises(FileNotFoundError) as caught:
        load_people(name, dataset())
    said = str(caught.value)
    assert f"put the file {name}.npz into {folders / 'data'} (the folder of BIASVAR_DATA)" in said
    assert f"GitHub project {PEOPLE[name].project}: np.savez('{name}.npz'" in said
    assert "\n" not in said


def test_without_the_variable_the_cache_folder_is_looked_in(folders, monkeypatch):
    monkeypatch.delenv("BIASVAR_DATA")
    with pytest.raises(FileNotFoundError, match=re.escape(f"{folders / 'cache'} (BIASVAR_DATA names another)")):
        load_people("cifar10h", dataset())


def test_another_data_set_is_refused_at_the_first_row_that_differs(files):
    other = TEST.copy()
    other[[41, 77]] = (other[[41, 77]] + 1) % 10
    said = rf"sample 50041 has label {other[41]}, row 41 of .*cifar10h.npz has {TEST[41]} \(2 of 10,000 rows differ\)"
    with pytest.raises(ValueError, match=said):
        load_people("cifar10h", dataset(test=other))
    with pytest.raises(ValueError, match=r"sample 0 has label 1, row 0 .* has 0 \(50,000 of 50,000 rows differ\)"):
        load_people("cifar10n", dataset(train=(TRAIN + 1) % 10))
    with pytest.raises(ValueError, match="digits has the classes 0, 1, 2"):
        load_people("cifar10h", load_dataset("digits"))
    with pytest.raises(ValueError, match="cifar10 has the classes ship, "):
        load_people("cifar10h", dataset(names=NAMES[::-1][1:] + NAMES[:1]))
    with pytest.raises(ValueError, match="no people's labels named 'cifar100n'; there is: cifar10h, cifar10n"):
        load_people("cifar100n", dataset())


def test_votes_out_of_order_are_refused_even_without_true_labels(files):
    with np.load(files / "cifar10h.npz") as archive:
        counts = archive["counts"]
    change(files / "cifar10h.npz", labels=None)
    assert len(load_people("cifar10h", dataset()).labels) == 10000
    change(files / "cifar10h.npz", counts=np.roll(counts, 1, axis=0))
    with pytest.raises(ValueError, match=r"true class in only .* differ first in row 0; are its rows in the original"):
        load_people("cifar10h", dataset())


def test_data_that_cannot_be_matched_is_refused(files):
    with pytest.raises(ValueError, match="labels the test split; cifar10 has no official split"):
        load_people("cifar10h", replace(dataset(), split=None))
    with pytest.raises(ValueError, match="cifar10 has 90 test rows, CIFAR-10H 10,000: without a column 'origina"):
        load_people("cifar10h", dataset(test=TEST[:90]))
    with pytest.raises(ValueError, match=r"sample 50002 of cifar10 has original_index -1; CIFAR-10H has rows 0"):
        load_people("cifar10h", dataset(test=TEST[:3], index=np.array([*range(50000), 0, 1, -1])))
    with pytest.raises(ValueError, match="more than one test row has original_index 1"):
        load_people("cifar10h", dataset(test=TEST[[0, 1, 1]], index=np.array([*range(50000), 0, 1, 1])))
    with pytest.raises(ValueError, match="cifar10 has no test rows for CIFAR-10H"):
        load_people("cifar10h", dataset(test=TEST[:0], index=np.arange(50000)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"clean_label": None}, "has no array 'clean_label'; needed: 'clean_label', 'random_label1'"),
        ({"clean_label": TRAIN[:5]}, r"'clean_label' holds int64 \(5,\); CIFAR-10N has integers \(50000,\)"),
        ({"clean_label": TRAIN / 2}, r"'clean_label' holds float64 \(50000,\); CIFAR-10N has integers"),
        ({"worse_label": np.where(np.arange(50000) == 9, 10, 0)}, r"row 9 of 'worse_label' has 10; classes are 0 .. 9"),
    ],
)
def test_a_file_that_is_another_one_is_refused(files, arrays, message):
    change(files / "cifar10n.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_people("cifar10n", dataset())


def test_votes_that_are_none_and_files_that_are_no_archive_are_refused(files):
    file = files / "cifar10h.npz"
    with np.load(file) as archive:
        counts = archive["counts"].astype(int)
    for value, message in ((0, "row 3 of 'counts' has no vote"), (-1, "row 3 of 'counts' has .*; votes are 0 or more")):
        spoilt = counts.copy()
        spoilt[3] = value
        change(file, counts=spoilt)
        with pytest.raises(ValueError, match=message):
            load_people("cifar10h", dataset())
    whole = file.read_bytes()
    for content in (b"no archive", whole[: len(whole) // 2], b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"cifar10h.npz is no whole npz file of plain arrays"):
            load_people("cifar10h", dataset())
    with open(file, "wb") as out:
        np.save(out, counts)
    with pytest.raises(ValueError, match=r"is no whole npz file of plain arrays .* make it again"):
        load_people("cifar10h", dataset())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The published files and the project's own copy of CIFAR-10."""
    for name in ("cifar10.parquet", "cifar10h.npz", "cifar10n.npz"):
        if not FOLDER or not (Path(FOLDER).expanduser() / name).is_file():
            pytest.skip(f"BIASVAR_DATA names no folder with the real {name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIASVAR_DATA", FOLDER)
        patch.setenv("BIASVAR_CACHE", os.environ.get("BIASVAR_CACHE") or str(tmp_path_factory.mktemp("decoded")))
        data = load_dataset("cifar10")
        yield load_people("cifar10h", data), load_people("cifar10n", data)


def test_the_published_votes_of_cifar10h(real):
    people, _ = real
    votes = people.counts.sum(axis=1)
    assert (len(votes), votes.min(), votes.max()) == (10000, 47, 63)
    assert (people.hard_labels("majority") == people.labels).mean() == 0.9921
    probs = np.load(Path(FOLDER).expanduser() / "cifar10h.npz")["probs"]
    np.testing.assert_allclose(people.soft_labels(), probs, rtol=1e-15)  # their own file of soft labels, row by row
    assert people.entropy().mean() == pytest.approx(0.1545, abs=1e-4)


def test_the_published_noise_rates_of_cifar10n(real):
    """Wei et al. 2022: aggregate 9.03 %, random 17.23, 18.12 and 17.64 %, worst 40.21 % of the labels are wrong."""
    _, people = real
    rates = {name: (people.hard_labels(name) != people.labels).mean() for name in (*people.named, "clean")}
    published = {"random1": 17.23, "random2": 18.12, "random3": 17.64, "aggregate": 9.03, "worst": 40.21, "clean": 0}
    assert rates == pytest.approx({key: value / 100 for key, value in published.items()}, abs=2.5e-4)
    assert people.take(people.sample_ids[::-1]).fingerprint != people.fingerprint


def test_a_study_takes_people_who_labelled_its_rows(files, tiny_study, monkeypatch, tmp_path):
    """Before anything is trained: their file is there, and they labelled the rows of the pool."""
    monkeypatch.setattr(checks, "load_dataset", lambda _: dataset())
    tiny_study["data"] = {"name": "cifar10", "split": "test", "test": 50, "validation": 50, "student": 200}
    tiny_study["draw"] = {"kind": "subsample", "rows": 100}
    tiny_study["teachers"], tiny_study["claims"] = {}, {}
    tiny_study["soft_labels"] = {"most": {"kind": "votes", "people": "cifar10h", "votes": "majority"}}
    tiny_study["arms"] = {"most": {"loss": "soft_label", "soft_label": "most"}}
    tiny_study["learning_rate"] = {"value": 0.1}
    context = checks.open_study(resolve_study(tiny_study), tmp_path / "run", torch.device("cpu"))
    assert (context.used_ids >= 50000).all()
    soft = soft_label_table(context, "most")
    np.testing.assert_array_equal(soft, np.eye(10)[context.dataset.labels[context.blocks["student"]]])
    (files / "cifar10h.npz").unlink()
    with pytest.raises(FileNotFoundError, match="no CIFAR-10H at"):
        checks.open_study(resolve_study(tiny_study), tmp_path / "run", torch.device("cpu"))


def test_people_of_another_data_set_are_one_record(folders, monkeypatch):
    """Two people's labels of the train rows of a data set of three classes, without true labels."""
    record = PeopleSource(
        title="Pets-2", dataset="pets", dataset_title="Pets", split="train", rows=6, class_names=("cat", "dog", "fox"),
        project="nobody/pets-2", recipe="np.savez('pets2.npz', a=..., b=...)", licence="CC0", reference="nobody",
        named={"first": "a", "second": "b"}, annotators=("first", "second"), truth="true", truth_needed=False,
    )  # fmt: skip
    monkeypatch.setattr(human_labels, "PEOPLE", {"pets2": record})
    labels, split = np.array([0, 1, 2, 0, 1, 2, 0]), np.array(["train"] * 6 + ["test"])
    pets = Dataset("pets", np.zeros((7, 1, 1, 3), np.uint8), labels, record.class_names, 255.0, "made", split=split)
    with pytest.raises(FileNotFoundError, match=r"no Pets-2 at .*pets2\.npz.*GitHub project nobody/pets-2"):
        load_people("pets2", pets)
    (folders / "data").mkdir()
    np.savez(folders / "data" / "pets2.npz", a=labels[:6])
    with pytest.raises(ValueError, match="has no array 'b'; needed: 'a', 'b'"):
        load_people("pets2", pets)
    np.savez(folders / "data" / "pets2.npz", a=labels[:6], b=np.array([0, 1, 2, 0, 1, 0]))
    people = load_people("pets2", pets)
    assert people.counts[-1].tolist() == [1, 0, 1]
    assert people.hard_labels("second").tolist() == [0, 1, 2, 0, 1, 0]
    np.savez(folders / "data" / "pets2.npz", a=labels[:6], b=labels[:6], true=labels[:6][::-1])
    with pytest.raises(ValueError, match="pets is not the data set that pets2 labels: sample 0 has label 0"):
        load_people("pets2", pets)
    with pytest.raises(
        ValueError, match="pets2 labels the 3 classes cat, dog, fox of Pets; cifar10 has the classes air"
    ):
        load_people("pets2", dataset())


@pytest.mark.parametrize("name", list(PEOPLE))
def test_a_study_may_name_what_the_record_lists(name):
    for votes in PEOPLE[name].votes:
        assert Votes(kind="votes", people=name, votes=votes).votes == votes
    with pytest.raises(ValueError, match="Input should be 'cifar10h' or 'cifar10n'"):
        Votes(kind="votes", people="cifar100n")
    with pytest.raises(ValueError, match="Input should be 'all', 'majority', 'random1', 'random2', 'random3', 'agg"):
        Votes(kind="votes", people=name, votes="best")
