"""`--init`: a first study that runs as it is, for the digits and for data of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from biasvar.run import main
from biasvar.study import load_study
from biasvar.training.template import write_template
from tests.data.made import pictures
from tests.data.test_own_data import tree


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def digits(path, **more):
    data = load_digits()
    np.savez(path, images=(data.images[:600] * 15).astype(np.uint8), labels=data.target[:600], **more)


def test_a_study_on_ones_own_data_runs_as_it_is(tmp_path, capsys):
    digits("my digits.npz")
    assert main(["--init", "studies/first try.yaml", "--data", "my digits.npz"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("studies/first try.yaml: a study on my digits: 600 images, 8x8 grey, 10 classes\nnext: ")
    study = load_study("studies/first try.yaml")
    assert (study.name, study.data.name, study.data.test) == ("first_try", "../my digits.npz", 0.2)
    small = [*("--set", "schedule.epochs=1"), *("--set", "teachers.big.epochs=1"), *("--set", "replicas=2")]
    assert main(["studies/first try.yaml", "--out", "run", "--jobs", "1", "--device", "cpu", *small]) == 0
    assert main(["--init", "studies/first try.yaml"]) == 2
    assert "is there already; --init writes a new file" in capsys.readouterr().err


def iris(path):
    data = load_iris()
    words = [data.target_names[label] for label in data.target]
    lines = [",".join([*map(str, row), word]) for row, word in zip(data.data.tolist(), words, strict=True)]
    path.write_text("\n".join(["a,b,c,d,class", *lines]) + "\n")


@pytest.mark.parametrize("kind", ["digits", "iris.csv", "photos", "split.npz"])
def test_templates_pass_the_dry_run(tmp_path, capsys, kind):
    if kind == "iris.csv":
        iris(tmp_path / kind)
    elif kind == "photos":
        labels = np.arange(90) % 3
        tree(tmp_path / kind, pictures(90), labels)
    elif kind == "split.npz":
        digits(kind, split=np.where(np.arange(600) < 450, "train", "test"))
    assert main(["--init", "my.yaml", *([] if kind == "digits" else ["--data", kind])]) == 0
    assert main(["my.yaml", "--dry-run"]) == 0
    study = load_study("my.yaml")
    assert study.data.name == {"photos": "./photos"}.get(kind, kind)
    assert (study.data.test is None) == (kind == "split.npz")
    assert study.arms["kd"].teacher == "big"


def test_features_of_unequal_size_are_warned_of(tmp_path):
    rng = np.random.default_rng(0)
    np.savez("a.npz", features=rng.normal(size=(200, 2)) * [1, 4e5], labels=np.arange(200) % 2)
    write_template(tmp_path / "my.yaml", "a.npz")
    assert "theirs deviate by" in (tmp_path / "my.yaml").read_text()
    assert "are taken as they are: standardise them before" in (tmp_path / "my.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--init", "my.yaml", "--data", "none.npz"], "no file or folder of data at none.npz"),
        (["--init", "my.yaml", "--data", "few.npz"], "few has 12 rows of 3 classes: too few for a study"),
        (["my.yaml", "--data", "few.npz"], "--data goes with --init; a study names its data as data.name"),
    ],
)
def test_what_cannot_be_begun(tmp_path, capsys, arguments, message):
    np.savez("few.npz", features=np.eye(12), labels=np.arange(12) % 3)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "my.yaml").exists()
