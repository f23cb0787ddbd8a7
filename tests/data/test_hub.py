"""Fetching, with a hub made up here: no test uses the network."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from biasvar.data import fetch, load_dataset
from tests.data.made import hugging_face, pictures, write

REPOSITORIES = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
}


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for huggingface_hub that serves one shard of each split and notes what it was asked."""
    asked = []

    class HfApi:
        def dataset_info(self, repository):
            return types.SimpleNamespace(sha="0123456789abcdef" + str(len(repository)))

    def snapshot_download(repository, *, repo_type, revision, allow_patterns, local_dir):
        asked.append((repository, repo_type, revision, allow_patterns))
        classes, key = (100, "fine_label") if "100" in repository else (10, "label")
        grey = "fashion" in repository
        folder = Path(local_dir)
        for split, n in (("train", 200), ("test", 100)):
            write(
                folder / "plain" / f"{split}-00000-of-00001.parquet",
                pictures(n, size=(28, 28) if grey else (32, 32), colour=not grey),
                [i % classes for i in range(n)],
                struct=True,
                names=("image" if grey else "img", key),
                metadata=hugging_face([f"c{i}" for i in range(classes)], key),
            )
        (folder / ".cache" / "huggingface").mkdir(parents=True)
        return str(folder)

    module = types.SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download, asked=asked)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.mark.parametrize("name", list(REPOSITORIES))
def test_a_fetched_data_set_loads_by_name_and_is_fetched_once(folders, hub, name):
    with pytest.raises(FileNotFoundError):
        load_dataset(name)
    place = fetch(name)
    assert place == folders / "data" / name
    assert sorted(p.name for p in place.iterdir()) == ["plain", "source.json"]
    data = load_dataset(name)
    assert data.split.tolist() == ["train"] * 200 + ["test"] * 100
    assert data.class_names[1] == "c1"
    commit = "0123456789abcdef" + str(len(REPOSITORIES[name]))
    assert data.note.endswith(f"from huggingface.co/datasets/{REPOSITORIES[name]} at 0123456789")
    assert "JPEG" not in data.note
    fetch(name)
    assert hub.asked == [(REPOSITORIES[name], "dataset", commit, "*.parquet")]


def test_a_failed_download_leaves_nothing_and_says_what_to_do(folders, hub, monkeypatch):
    def failing(repository, *, local_dir, **_):
        write(Path(local_dir) / "train.parquet", pictures(3), [0, 1, 1])
        raise RuntimeError("Max retries exceeded\nwith url: ...")

    monkeypatch.setattr(hub, "snapshot_download", failing)
    said = r"could not download uoft-cs/cifar10 from huggingface.co \(Max retries exceeded\); put the file cifar10.parq"
    with pytest.raises(ConnectionError, match=said):
        fetch("cifar10")
    assert list((folders / "data").iterdir()) == []


def test_without_the_extra(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the `hub` extra: pip install 'biasvar\[hub\]'; or put the f"):
        fetch("cifar100", folder=folders / "there")


def test_names_that_cannot_be_fetched(folders):
    with pytest.raises(ValueError, match=r"no repository is known for 'mnist'; fetch has: cifar10, cifar100, fashion"):
        fetch("mnist")
    with pytest.raises(ValueError, match=r"'tiny_imagenet_32'; fetch has: .*: put the file tiny_imagenet_32.parquet"):
        fetch("tiny_imagenet_32")
