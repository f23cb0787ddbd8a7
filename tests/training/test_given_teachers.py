"""Teachers from files teach what the network that they were saved from teaches; what does not fit is named."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import biasvar
from biasvar.errors import StudyError
from biasvar.run import main
from biasvar.study import load_study, resolve_study
from biasvar.training.checks import open_study
from tests.data.made import pictures, write
from tests.training.test_from_python import STUDY, numbers

CPU = torch.device("cpu")


def study(teacher, **changes):
    made = {**copy.deepcopy(STUDY), **changes}
    made["teachers"] = {"big": teacher}
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a trained teacher, its weights as a file, and its logits by sample."""
    folder = tmp_path_factory.mktemp("trained")
    run = biasvar.run_study(STUDY, folder / "run", device="cpu")
    (weights,) = (folder / "run" / "weights" / "teacher=big").glob("*.safetensors")
    stored = {name.partition(".")[2]: value for name, value in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(stored, folder / "big.safetensors")
    teacher = run.teacher("big")
    table = np.empty((len(teacher.sample_ids), 10))
    table[teacher.sample_ids] = np.asarray(teacher.logits)
    np.save(folder / "big.npy", table)
    return run, folder, stored, table


@pytest.mark.parametrize("kind", ["checkpoint", "logits"])
def test_a_teacher_from_a_file_teaches_what_the_trained_one_does(trained, tmp_path, kind):
    run, folder, _, _ = trained
    given = {"checkpoint": "big.safetensors", "hidden": [16]} if kind == "checkpoint" else {"logits": "big.npy"}
    (folder / f"{kind}.yaml").write_text(yaml.safe_dump(study(given)))
    read = load_study(folder / f"{kind}.yaml")  # a path is relative to the study file
    other = biasvar.run_study(read, tmp_path / "run", device="cpu")
    for arm in ("ce", "kd"):
        np.testing.assert_array_equal(numbers(other, arm), numbers(run, arm))
    entry, trained_entry = other.manifest["teachers"]["big"], run.manifest["teachers"]["big"]
    assert entry["accuracy_test"] == trained_entry["accuracy_test"]
    assert entry["regime"] == "fixed, trained elsewhere"
    assert entry["sha256"] == read.teachers["big"].sha256
    assert not {"epochs", "accuracy_train", "training_rows"} & entry.keys()
    moved = folder / "elsewhere"
    moved.mkdir(exist_ok=True)
    file = folder / given[kind]
    (moved / file.name).write_bytes(file.read_bytes())
    assert load_study(folder / f"{kind}.yaml", overrides=[f"teachers.big.{kind}={moved / file.name}"]).hash == read.hash
    assert load_study(tmp_path / "run" / "study.yaml").hash == read.hash
    assert resolve_study(STUDY).hash != read.hash


def refused(given, message, tmp_path, **changes):
    with pytest.raises(StudyError, match=message) as caught:
        open_study(resolve_study(study(given, **changes)), tmp_path / "run", CPU)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_does_not_fit_names_the_tensors(trained, tmp_path, capsys, monkeypatch):
    _, _, stored, _ = trained
    path = tmp_path / "odd.safetensors"
    given = {"checkpoint": str(path), "hidden": [16]}
    first, *others = stored
    for saved, message in (
        (
            stored | {first: torch.zeros(3, 3)},
            rf"odd.safetensors does not fit the network mlp: {first} has shape \(3, 3\)",
        ),
        (
            {name: stored[name] for name in others},
            rf"{first} is missing. Give the network that it was saved from \(model",
        ),
        ({f"module.{name}": value for name, value in stored.items()}, f"{first} is missing; .* and .* more"),
    ):
        safetensors.torch.save_file(saved, path)
        refused(given, rf"teachers\.big\.checkpoint: .*{message}", tmp_path)
    path.write_bytes(b"words")
    refused(given, r"teachers\.big\.checkpoint: .* is no whole safetensors file; safetensors.torch.save_file", tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study(given)))
    monkeypatch.chdir(tmp_path)
    assert main(["study.yaml", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("biasvar: error: teachers.big.checkpoint: ")


def test_logits_that_do_not_fit(trained, tmp_path):
    table = trained[3]
    path = tmp_path / "odd.npy"
    given = {"logits": str(path)}
    for values, message in (
        (table[:, :9], "has 9 classes, digits has 10"),
        (table[:-1], "has 1,796 rows without a column 'sample_id', and digits has 1,797 samples"),
        (np.exp(table) / np.exp(table).sum(-1, keepdims=True), "holds probabilities: .*; give their logarithms"),
        (np.where(np.arange(len(table))[:, None] == 3, np.nan, table), "row 3|3"),
    ):
        np.save(path, values)
        refused(given, rf"teachers\.big\.logits: .*{message}", tmp_path)


def test_a_file_of_logits_cannot_see_augmented_images(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    labels = np.arange(60) % 3
    write(tmp_path / "a.parquet", pictures(60, size=(16, 16)), labels)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(60, 3)))
    data = {"name": "a.parquet", "path": str(tmp_path / "a.parquet"), "test": 0.2, "validation": 0.2, "flip": True}
    changes = {"data": data, "draw": {"rows": 20}, "backend": "sequential", "student": {"model": "resnet8"}}
    given = {"logits": str(tmp_path / "a.npy")}
    refused(
        given,
        r"teachers.big.logits: arm ce is trained on augmented images \(data.crop, data.flip\)",
        tmp_path,
        **changes,
    )
    data["flip"] = False
    open_study(resolve_study(study(given, **changes)), tmp_path / "run", CPU)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"checkpoint": "a.pt"},
            r"teachers.big.*checkpoint: a.pt must end in .safetensors; safetensors.torch.save_file",
        ),
        ({"logits": "a.csv"}, "logits: a.csv must end in .npy, .npz, .parquet"),
        (
            {"checkpoint": "a.safetensors", "logits": "a.npy"},
            "checkpoint: and logits are two teachers; give one of them",
        ),
        ({"checkpoint": "a.safetensors", "epochs": 3, "rows": 9}, "is not trained; leave out epochs, rows"),
        ({"logits": "a.npy", "hidden": [3]}, r"leave out hidden \(it takes label, logits, sha256\)"),
        ({"sha256": "0"}, "sha256: of the file of a teacher that is given"),
        (
            {"checkpoint": "/none/a.safetensors"},
            r"teachers.big.checkpoint: /none/a.safetensors cannot be read \(No such",
        ),
    ],
)
def test_keys_that_do_not_go_together(given, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(study(given))
