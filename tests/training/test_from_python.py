"""A study from Python, and a study on data of one's own from every kind of file."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import biasvar
from biasvar.data import from_arrays, load_dataset
from biasvar.errors import StudyError
from biasvar.study import load_study, resolve_study
from tests.data.test_own_data import tree

STUDY = {
    "name": "own", "replicas": 2, "data": {"test": 0.25, "validation": 0.1}, "draw": {"rows": 100},
    "schedule": {"epochs": 2}, "student": {"hidden": [8]}, "learning_rate": 0.1,
    "teachers": {"big": {"hidden": [16], "epochs": 2}},
    "arms": {"ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation", "temperature": 2, "alpha": 1}},
}  # fmt: skip


def study(**data):
    made = copy.deepcopy(STUDY)
    made["data"] |= data
    return made


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def numbers(run, arm="kd"):
    return np.asarray(run.decomposition(arm).bias)


def test_a_mapping_is_run_as_the_file_is(tmp_path):
    made = study()
    before = copy.deepcopy(made)
    run = biasvar.run_study(made, tmp_path / "run", device="cpu")
    assert made == before
    assert sorted(run.arms) == ["ce", "kd"]
    assert run.manifest["status"] == "complete"
    read = load_study(tmp_path / "run" / "study.yaml")
    assert read == resolve_study(study())
    assert (read.learning_rate.value, read.arms["kd"].teacher) == (0.1, "big")
    assert len(numbers(run)) == round(0.25 * 1797)
    again = biasvar.run_study(read, tmp_path / "run", device="cpu")  # complete: opened as it is
    np.testing.assert_array_equal(numbers(again), numbers(run))


def test_the_same_images_from_every_kind_of_file_train_to_the_same_numbers(tmp_path):
    digits = load_dataset("digits")
    order = np.argsort(digits.labels[:600], kind="stable")
    images, labels = digits.images[order] * 15, digits.labels[order]
    np.savez("a.npz", images=images, labels=labels)
    from_arrays("b.parquet", images, labels)
    tree(tmp_path / "c", images, labels, names=[str(i) for i in range(10)])
    runs = [
        biasvar.run_study(study(name=name), f"run-{i}", device="cpu")
        for i, name in enumerate(("a.npz", "b.parquet", "./c"))
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(numbers(run), numbers(runs[0]))
    assert {run.manifest["data"]["fingerprint"] for run in runs} == {load_dataset("a.npz").fingerprint}
    assert runs[0].manifest["data"]["path"] == str(tmp_path / "a.npz")
    assert "JPEG" not in runs[2].manifest["data"]["note"]
    names = runs[2].sample_names("test")  # the map from sample ids to files
    assert names == [f"{label}/{i:03d}.png" for i, label in enumerate(labels)]
    assert runs[2].sample_names("train") == names
    assert runs[0].sample_names("test") is None
    np.savez("a.npz", images=images, labels=np.roll(labels, 1))
    with pytest.raises(biasvar.errors.RecordError, match="the data a are not those that run-0 was begun with"):
        biasvar.run_study(study(name="a.npz"), "run-0", device="cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("digits.yaml", "study must be a mapping of keys to values, or a Study, not str"),
        ({**STUDY, "redraws": 2}, "redraws: each redraw is a run of its own; leave it out, or run the study as a file"),
        ({**STUDY, "data": {"name": "none.npz", "test": 9}}, "no file or folder of data at .*none.npz"),
        ({**STUDY, "data": {"validation": 9}}, r"or their share \(data.test: 0.2 in a study"),
        ({**STUDY, "data": {"test": 1.5}}, r"data.test: .*not 1.5"),
        ({**STUDY, "data": {"name": "photos", "test": 9}}, r"no data set named .photos.; .*\(./photos if it lies"),
        ({**STUDY, "teachers": {}}, "arms.kd.teacher: needed for loss distillation"),
        ({**STUDY, "teachers": {"a": {}, "b": {}}}, "arms.kd.teacher: needed for loss distillation"),
    ],
)  # fmt: skip
def test_what_cannot_be_run(tmp_path, given, message):
    with pytest.raises((StudyError, ValueError, TypeError, FileNotFoundError), match=message):
        biasvar.run_study(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_odd_arguments(tmp_path):
    for options, message in (({"jobs": 0}, "jobs must be at least 1"), ({"device": "cuda:99"}, "device 'cuda:99'")):
        with pytest.raises(ValueError, match=re.escape(message)):
            biasvar.run_study(STUDY, tmp_path / "run", **options)
