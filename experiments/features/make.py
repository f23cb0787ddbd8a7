"""Features of images: a data set of pictures through a network of yours, as a Parquet file that studies read.

    python experiments/features/make.py DATA package.module:factory --out features.parquet

README.md beside this file says what the network must be, what the options do and what the file holds.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from torch import nn

from biasvar.data import Dataset, load_dataset
from biasvar.data.datasets import MODES
from biasvar.errors import BiasvarError
from biasvar.files import remove_leftovers, write_bytes
from biasvar.interrupts import ending_as_interrupts
from biasvar.messages import one_line
from biasvar.progress import over
from biasvar.seeding import generator
from biasvar.study.import_path import import_named, source_hash
from biasvar.training.networks import seeded

ROW_GROUP = 4096


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of the file, beside the pixels and the weights."""

    network: str
    options: dict[str, Any]
    layer: str | None
    resize: int | None
    mean: list[float]
    std: list[float]
    train_rows: int | None
    seed: int
    batch: int


def chosen_rows(data: Dataset, train_rows: int | None, seed: int) -> np.ndarray:
    """Sorted sample ids: all, or all test rows and so many training rows, drawn at random."""
    if train_rows is None:
        return np.arange(len(data.labels))
    if data.split is None:
        raise ValueError(f"--train-rows: {data.name} has no official split; leave it out")
    train = np.flatnonzero(data.split == "train")
    if not 1 <= train_rows <= len(train):
        raise ValueError(f"--train-rows must be between 1 and the {len(train):,} of {data.name}, not {train_rows}")
    drawn = generator(seed, "features").choice(train, train_rows, replace=False)
    return np.sort(np.concatenate([drawn, np.flatnonzero(data.split == "test")]))


def load_network(path: str, options: dict[str, Any], layer: str | None) -> nn.Module:
    """What the factory returns, in evaluation mode; of a layer, a module that gives that layer's output."""
    factory = import_named(path, what="network", kind="factory", example="mylab.nets:pretrained")
    try:
        network = seeded(0, lambda: factory(**options))
    except Exception as error:
        raise ValueError(f"network {path} failed with {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network {path} returned {type(network).__name__}, not a torch.nn.Module")
    if layer is None:
        return network.eval()
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        names = ", ".join(name for name in modules if name)
        raise ValueError(f"--layer {layer!r}: the network has no such module; it has: {names}")
    return _Layer(network, modules[layer]).eval()


class _Layer(nn.Module):
    """The output of one module of a network."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network = network
        layer.register_forward_hook(lambda module, given, output: setattr(self, "seen", output))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen: Any = None
        self.network(x)
        return self.seen


def batch_features(network: nn.Module, pixels: np.ndarray, scale: float, settings: Settings, device: str) -> np.ndarray:
    """float32 (B, D) features of uint8 images (B, H, W[, C]); of maps (B, D, h, w) the means over places."""
    images = np.divide(pixels, np.float32(scale), dtype=np.float32)
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (settings.mean, settings.std))
    x = torch.from_numpy((images - mean) / std).to(device)
    if settings.resize is not None:
        size = [round(side * settings.resize / min(x.shape[2:])) for side in x.shape[2:]]
        x = nn.functional.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True)
    try:
        with torch.no_grad():
            found = network(x)
    except Exception as error:
        raise ValueError(
            f"the network failed on images {tuple(x.shape)} with {type(error).__name__}: {error}"
        ) from error
    shape = tuple(getattr(found, "shape", ()))
    if len(shape) not in (2, 4) or shape[0] != len(x) or 0 in shape:
        raise ValueError(
            f"the network gave {type(found).__name__} of shape {shape} for images {tuple(x.shape)}; needed: (B, D), or "
            "maps (B, D, h, w), whose means are taken; --layer names another of its modules"
        )
    if found.is_complex():
        raise ValueError("the network gave complex numbers; needed: real ones")
    found = found.mean((2, 3)) if found.ndim == 4 else found
    values = found.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError("the network gave a feature that is not finite")
    return values


def all_features(
    data: Dataset, rows: np.ndarray, network: nn.Module, settings: Settings, parts: Path, device: str
) -> np.ndarray:
    """(n, D), batch by batch; each is kept in a file of its own, and those that are there are not made again."""
    if parts.is_dir():
        remove_leftovers(parts)
    found = []
    starts = {f"from row {start:,}": start for start in range(0, len(rows), settings.batch)}
    for start in (starts[step] for step in over(starts, unit="batches")):
        path = parts / f"{start:09d}.npy"
        if not path.is_file():
            pixels = data.images[rows[start : start + settings.batch]]
            held = io.BytesIO()
            np.save(held, batch_features(network, pixels, data.scale, settings, device))
            write_bytes(path, held.getvalue())
        found.append(np.load(path))
    widths = {part.shape[1] for part in found}
    if len(widths) > 1:
        raise ValueError(f"the network gave {' and '.join(map(str, sorted(widths)))} features; all rows need as many")
    return np.concatenate(found)


def principal_components(features: np.ndarray, train: np.ndarray, components: int) -> np.ndarray:
    """Projections on the first principal components of the training rows, over one common standard deviation.

    The mean square of what the training rows get is 1; of each component the largest loading is positive.
    """
    most = min(features.shape[1], int(train.sum()) - 1)
    if not 1 <= components <= most:
        raise ValueError(f"--components must be between 1 and {most}, the features or training rows there are")
    mean = features[train].mean(axis=0, dtype=np.float64)
    apart = features[train] - mean
    directions = np.linalg.eigh(apart.T @ apart)[1][:, ::-1][:, :components]
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(components)])
    projected = (features - mean) @ directions
    size = np.sqrt(np.mean(projected[train] ** 2))
    if not size > 0:
        raise ValueError("--components: the training rows all have the same features")
    return (projected / size).astype(np.float32)


def table_of(data: Dataset, rows: np.ndarray, features: np.ndarray, about: str) -> pa.Table:
    """The columns features, label, original_index and, where there is an official split, split."""
    if data.original_index is not None:
        original = data.original_index
    else:  # the place among the rows of its split, train rows first
        original = np.arange(len(data.labels))
        if data.split is not None:
            original[data.split == "test"] -= (data.split == "train").sum()
    columns = {
        "features": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1]),
        "label": pa.array(data.labels[rows], pa.int32()),
        "original_index": pa.array(original[rows], pa.int32()),
    }
    if data.split is not None:
        columns["split"] = pa.array(data.split[rows].tolist()).dictionary_encode()
    names = json.dumps(list(data.class_names), ensure_ascii=False)
    return pa.table(columns).replace_schema_metadata({"class_names": names, "source_repo": about})


def make(options: argparse.Namespace) -> str:
    """Make the file; returns what it holds, in a line."""
    out = Path(options.out)
    if out.exists():
        raise ValueError(f"--out {out}: there is such a file already; give another name, or remove it")
    if options.batch < 1 or (options.resize is not None and options.resize < 1):
        raise ValueError("--batch and --resize must be at least 1")
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {options.device}: not usable here ({str(error).splitlines()[0]})") from None
    data = load_dataset(options.data, mode=MODES.get(options.mode))
    if data.is_vectors:
        raise ValueError(f"{data.name} holds features already; needed: images")
    channels = 1 if data.images.ndim == 3 else 3
    mean, std = options.mean or data.mean.tolist(), options.std or data.std.tolist()
    if not len(mean) == len(std) == channels or not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        numbers = f"{channels} finite number{'s' * (channels > 1)}"
        raise ValueError(f"--mean and --std need {numbers} each, those of --std above 0")
    if options.components is not None and data.split is None:
        raise ValueError(f"--components are of the training rows, and {data.name} has no official split; leave it out")
    keywords = _keywords(options.option)
    settings = Settings(
        network=options.network, options=keywords, layer=options.layer, resize=options.resize, mean=mean, std=std,
        train_rows=options.train_rows, seed=options.seed, batch=options.batch,
    )  # fmt: skip
    rows = chosen_rows(data, options.train_rows, options.seed)
    network = load_network(options.network, keywords, options.layer).to(options.device)
    made_of = [asdict(settings), data.fingerprint, source_hash(options.network), _weights_hash(network)]
    key = hashlib.sha256(json.dumps(made_of, default=str).encode()).hexdigest()[:16]
    parts = out.with_name(f".{out.name}.{key}.parts")
    try:
        features = all_features(data, rows, network, settings, parts, options.device)
    except ValueError:  # the network has to change, and with it the name of the folder
        _remove(parts)
        raise
    about = f"{options.network} on {data.note}"
    if options.components is not None:
        features = principal_components(features, data.split[rows] == "train", options.components)
        about = f"{options.components} principal components of {about}"
    table = table_of(data, rows, features, about)
    write_bytes(out, lambda file: pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP))
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.parts"):  # of commands that did not end, too
        _remove(left)
    return f"{out}: {len(rows):,} rows of {features.shape[1]:,} features; {about}"


def _remove(parts: Path) -> None:
    if parts.is_dir():
        for path in parts.iterdir():
            path.unlink()
        parts.rmdir()


def _keywords(given: Sequence[str]) -> dict[str, Any]:
    """The factory's keyword arguments, from "name=value" with values as YAML reads them."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--option {text!r}: expected name=value, such as num_classes=10")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--option {text!r}: the value is no valid YAML") from None
    return found


def _weights_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DATA", help="a data set of images, by name or path")
    parser.add_argument("network", metavar="package.module:factory", help="what makes the network")
    parser.add_argument("--out", required=True, metavar="FILE.parquet")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="for the factory; repeat")
    parser.add_argument("--layer", metavar="MODULE", help="take this module's output, such as avgpool or layer4.1")
    parser.add_argument("--components", type=int, metavar="N", help="keep N principal components of the training rows")
    parser.add_argument("--mode", choices=sorted(MODES), help="convert images to grey or colour first")
    parser.add_argument("--resize", type=int, metavar="PIXELS", help="of the shorter side, bicubic")
    parser.add_argument("--mean", type=float, nargs="+", metavar="X", help="of pixels in [0, 1], by channel")
    parser.add_argument("--std", type=float, nargs="+", metavar="X", help="(default: those of the training rows)")
    parser.add_argument("--train-rows", type=int, metavar="N", help="only so many training rows, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of --train-rows")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with ending_as_interrupts():
            print(make(options))
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (BiasvarError, ValueError, OSError, RuntimeError) as error:
        print(f"features: error: {one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
