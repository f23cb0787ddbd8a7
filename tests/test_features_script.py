"""The script that makes a features file: what it holds, that it goes on where it was stopped, and what it refuses."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from biasvar.data import load_dataset
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from tests.data.made import pictures, write

SCRIPT = Path(__file__).parents[1] / "experiments" / "features" / "make.py"
HERE = "tests.test_features_script"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("features_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """40 pictures of two classes in a file of mixed splits, and a cache of their own."""
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    split = np.where(np.arange(40) % 4 == 1, "test", "train").tolist()
    return write(
        tmp_path / "p.parquet", pictures(40), np.arange(40) // 4 % 2, split=split, original_index=np.arange(40) + 7
    )


class Tiny(nn.Module):
    """Maps of five channels, which differ by more than the pixels do."""

    def __init__(self, width=5):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.body(x).relu()


def broken(stop_at):
    """A network that is stopped after some batches."""

    class Stopped(Tiny):
        def forward(self, x):
            if self.calls == stop_at:
                raise KeyboardInterrupt
            return super().forward(x)

    return Stopped()


def vector():
    return nn.Sequential(nn.Flatten(), nn.Flatten(0))


class Late(Tiny):
    """Features that are not finite from the second batch on."""

    def forward(self, x):
        return super().forward(x) * (1.0 if self.calls == 0 else torch.nan)


class Complex(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x.flatten(1))


def nothing():
    return 3


def run(script, images, out, *more, network="Tiny"):
    return script.main([str(images), f"{HERE}:{network}", "--out", str(out), "--batch", "16", *more])


def test_the_file_holds_what_the_network_says_of_every_row(script, images, tmp_path):
    out = tmp_path / "new" / "f.parquet"
    half, fifth = ["0.5"] * 3, ["0.2"] * 3
    more = ["--option", "width=4", "--resize", "9", "--mean", *half, "--std", *fifth]
    assert run(script, images, out, *more) == 0
    data, source = load_dataset(out), load_dataset(images)
    assert str(pq.read_schema(out).field("features").type) == "fixed_size_list<element: float>[4]"
    for name in ("labels", "split", "original_index"):
        np.testing.assert_array_equal(getattr(data, name), getattr(source, name))
    assert data.class_names == source.class_names
    assert "Tiny on p: 30 train and 10 test images, 5x6 colour" in data.note
    network = script.load_network(f"{HERE}:Tiny", {"width": 4}, None)
    for i in (0, 17, 39):
        x = torch.from_numpy(((source.images[i] / 255 - 0.5) / 0.2).astype(np.float32)).permute(2, 0, 1)[None]
        x = nn.functional.interpolate(x, size=(11, 9), mode="bicubic", align_corners=False, antialias=True)
        np.testing.assert_allclose(data.images[i], network(x).mean((2, 3))[0].detach(), atol=1e-5)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["f.parquet"]


def test_components_are_of_the_training_rows_and_a_study_reads_them(script, images, tmp_path):
    out = tmp_path / "f.parquet"
    assert run(script, images, out, "--layer", "body", "--components", "3", "--train-rows", "20") == 0
    data, source = load_dataset(out), load_dataset(images)
    train = data.split == "train"
    assert (train.sum(), (~train).sum()) == (20, 10)
    kept = np.isin(source.original_index, data.original_index)
    network = script.load_network(f"{HERE}:Tiny", {}, None)
    x = torch.from_numpy(((source.images[kept] / 255 - source.mean) / source.std).astype(np.float32)).permute(
        0, 3, 1, 2
    )
    raw = network.body(x).mean((2, 3)).detach().double().numpy()
    apart = raw - raw[train].mean(0)
    values, vectors = np.linalg.eigh(np.cov(apart[train].T, bias=True))
    expected = apart @ vectors[:, ::-1][:, :3] / np.sqrt(values[::-1][:3].mean())
    for i in range(3):  # their signs are free
        assert np.abs(np.corrcoef(data.images[:, i], expected[:, i])[0, 1]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.abs(data.images), np.abs(expected), atol=1e-4)
    study = resolve_study(
        {
            "name": "made", "seed": 0, "replicas": 2, "data": {"name": str(out), "validation": 5},
            "student": {"hidden": [4]}, "draw": {"kind": "bootstrap"}, "schedule": {"epochs": 1, "batch_size": 5},
            "learning_rate": {"value": 0.1}, "arms": {"ce": {"loss": "cross_entropy"}},
        }
    )  # fmt: skip
    open_study(study, tmp_path / "run", torch.device("cpu"))


def test_it_goes_on_where_it_was_stopped(script, images, tmp_path, monkeypatch, capsys):
    whole, out = tmp_path / "whole.parquet", tmp_path / "f.parquet"
    assert run(script, images, whole, "--option", "stop_at=-1", network="broken") == 0
    assert run(script, images, out, "--option", "stop_at=2", network="broken") == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not out.exists()
    made = []
    monkeypatch.setattr(
        script, "batch_features", lambda *given, made_by=script.batch_features: made.append(1) or made_by(*given)
    )
    assert run(script, images, out, "--option", "stop_at=2", network="broken") == 0
    assert len(made) == 1
    np.testing.assert_array_equal(load_dataset(out).images, load_dataset(whole).images)
    assert not list(tmp_path.glob(".*"))


def test_nothing_hidden_is_left_by_a_network_that_fails_or_by_commands_that_were_given_up(
    script, images, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "f.parquet"
    assert run(script, images, out, network="Late") == 2
    assert "a feature that is not finite" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*"))
    assert run(script, images, out, "--option", "stop_at=2", network="broken") == 130
    assert run(script, images, out, "--components", "9") == 2
    assert len(list(tmp_path.glob(".f.parquet.*.parts"))) == 2
    other = tmp_path / ".ff.parquet.0.parts"
    other.mkdir()
    monkeypatch.setattr(script, "batch_features", lambda *given: pytest.fail("made again"))
    assert run(script, images, out, "--components", "2") == 0
    assert list(tmp_path.glob(".*")) == [other]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--components", "9"], "--components must be between 1 and 5"),
        (["--layer", "head"], "--layer 'head': the network has no such module; it has: body"),
        (["--option", "wide=4"], "network tests.test_features_script:Tiny failed with TypeError"),
        (["--option", "width"], "--option 'width': expected name=value"),
        (["--option", "width=["], "--option 'width=[': the value is no valid YAML"),
        (["--mean", "1"], "--mean and --std need 3 finite numbers each"),
        (["--std", "1", "inf", "1"], "--mean and --std need 3 finite numbers each"),
        (["--mean", "0", "nan", "0"], "--mean and --std need 3 finite numbers each"),
        (["--std", "1", "0", "1"], "those of --std above 0"),
        (["--train-rows", "31"], "--train-rows must be between 1 and the 30 of p, not 31"),
        (["--mode", "grey"], "the network failed on images (16, 1, 6, 5) with RuntimeError"),
        (["--batch", "0"], "--batch and --resize must be at least 1"),
        (["--device", "cuda:77"], "--device cuda:77: not usable here"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(script, images, tmp_path, capsys, more, message):
    out = tmp_path / "f.parquet"
    assert run(script, images, out, *more) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("nothing", "returned int, not a torch.nn.Module"),
        ("vector", "gave Tensor of shape (1440,) for images (16, 3, 6, 5); needed: (B, D), or maps"),
        ("Complex", "gave complex numbers; needed: real ones"),
        ("missing", "has no 'missing'"),
    ],
)
def test_networks_that_give_no_features_are_refused(script, images, tmp_path, capsys, network, message):
    assert run(script, images, tmp_path / "f.parquet", network=network) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_written_over_and_data_without_a_split_have_no_components(script, images, tmp_path, capsys):
    assert run(script, images, images) == 2
    assert "there is such a file already" in capsys.readouterr().err
    assert run(script, "digits", tmp_path / "f.parquet", "--components", "2", "--mode", "colour") == 2
    assert "digits has no official split" in capsys.readouterr().err
    assert run(script, "digits", tmp_path / "f.parquet", "--mode", "colour", "--batch", "999") == 0
    data = load_dataset(tmp_path / "f.parquet")
    assert data.split is None
    np.testing.assert_array_equal(data.original_index, np.arange(1797))
