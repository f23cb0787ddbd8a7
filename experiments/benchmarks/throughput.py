"""Images a second of teacher, KD and WSL training with the recorder on, beside a plain loop as published code has it.

    python experiments/benchmarks/throughput.py                          resnet8, taught by resnet20, two processes
    python experiments/benchmarks/throughput.py --student wrn-16-2 --teacher wrn-40-2 --device cuda

The plain loop is of the kind that published repositories use (RepDistiller's train_student.py and its like): a
DataLoader with worker processes (begun once, not once an epoch), PIL transforms image by image, float32 in PyTorch's
default memory order, accuracy and loss read by `.item()` at every step, and a pass over the test rows after every
epoch. It trains one network after another with all cores. On few cores `--workers 0` can be quicker: workers take what
the training needs. biasvar trains its networks by `run_study`: every sample's terms are recorded in every epoch, test
rows are evaluated, and files are written; its seconds are those of its groups, from the first step to the last file,
with the clean pass over all training rows that ends a training.

Images are made (random, 32x32, 100 classes): what is in them changes no time. Both see the same number of images a
network, in turns, so that what else the machine does falls on both. It prints means over rounds with standard errors,
and the ratio of each round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from biasvar.training.networks import build_network

CLASSES, TEST, BATCH = 100, 500, 64
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)  # CIFAR-100
TAU, ALPHA = 4.0, 2.25
ARMS = {
    "teacher": {"loss": "cross_entropy"},
    "kd": {"loss": "distillation", "teacher": "big", "temperature": TAU, "alpha": ALPHA},
    "wsl": {"loss": "weighted_soft_label", "teacher": "big", "temperature": TAU, "alpha": ALPHA},
}


class Transformed(TorchDataset):
    """Images as PIL decodes them, cropped and mirrored one by one."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, augmented: bool) -> None:
        self.images, self.labels, self.augmented = images, labels, augmented

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index])
        if self.augmented:
            image = ImageOps.expand(image, 4)
            left, top = np.random.randint(0, 9, 2)  # noqa: NPY002
            image = image.crop((left, top, left + 32, top + 32))
            if np.random.rand() < 0.5:  # noqa: NPY002
                image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        pixels = pixels.sub(torch.tensor(MEAN)[:, None, None]).div(torch.tensor(STD)[:, None, None])
        return pixels, int(self.labels[index])


def plain(kind: str, options: argparse.Namespace, images: np.ndarray, labels: np.ndarray) -> float:
    """Images a second of the plain loop: all epochs of one network, its evaluations included."""
    torch.set_num_threads(options.cores)
    device = torch.device(options.device)
    student = _network(options.teacher if kind == "teacher" else options.student).to(device)
    teacher = None if kind == "teacher" else _network(options.teacher).to(device).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    workers = options.workers
    load: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "persistent_workers": workers > 0}
    train_loader = DataLoader(Transformed(images[TEST:], labels[TEST:], augmented=True), shuffle=True, **load)
    test_loader = DataLoader(Transformed(images[:TEST], labels[:TEST], augmented=False), **load)
    began = time.perf_counter()
    for _ in range(options.epochs):
        student.train()
        losses, right = [], []
        for x, y in train_loader:
            x, y = x.to(device), y.to(device)
            logits = student(x)
            loss = F.cross_entropy(logits, y)
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(x)
                loss = loss + ALPHA * _soft(kind, logits, taught, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right.append((logits.argmax(1) == y).float().mean().item())
            right.append((logits.topk(5, 1).indices == y[:, None]).any(1).float().mean().item())
        student.eval()
        with torch.no_grad():
            for x, y in test_loader:
                x, y = x.to(device), y.to(device)
                right.append((student(x).argmax(1) == y).float().mean().item())
    return options.epochs * (len(images) - TEST) / (time.perf_counter() - began)


def _soft(kind: str, logits: torch.Tensor, taught: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The soft part of KD's loss, or of WSL's with its weights."""
    rows = TAU**2 * F.kl_div(F.log_softmax(logits / TAU, 1), F.softmax(taught / TAU, 1), reduction="none").sum(1)
    if kind == "kd":
        return rows.mean()
    mine, theirs = (F.cross_entropy(one, y, reduction="none") for one in (logits.detach(), taught))
    return ((1 - torch.exp(-mine / (theirs + 1e-7))) * rows).mean()


def _network(name: str) -> nn.Module:
    return build_network(name, in_channels=3, num_classes=CLASSES)


def recorded(kind: str, options: argparse.Namespace, data: Path, folder: Path, device: torch.device) -> float:
    """Images a second of biasvar: all epochs of `replicas` networks together, records and evaluations included."""
    jobs = 1 if device.type == "cuda" else options.cores
    student = options.teacher if kind == "teacher" else options.student
    study = resolve_study(
        {
            "name": kind, "replicas": options.replicas, "backend": "sequential", "evaluate_every": 1,
            "data": {
                "name": str(data), "test": TEST, "validation": 2 * CLASSES, "reserved": 0, "crop": 4, "flip": True,
            },
            "draw": {"kind": "seed_only"}, "learning_rate": 0.05, "student": {"model": student},
            "schedule": {
                "epochs": options.epochs, "batch_size": BATCH, "nesterov": False, "precision": options.precision,
            },
            "reference_temperature": TAU, "reference_teacher": None if kind == "teacher" else "big",
            "teachers": {} if kind == "teacher" else {"big": {"model": options.teacher, "epochs": 1}},
            "keep_teachers": True,
            "arms": {kind: {**ARMS[kind], "record": {"epochs": "all"}}},
        }
    )  # fmt: skip
    run = run_study(study, folder, device=device, jobs=jobs, engine=options.engine)
    seconds = run.arm(kind)["group_seconds"]
    rows = int(run.metrics.query("split == 'train' and view == 'augmented'")["n"].max())
    together = [seconds[i : i + jobs] for i in range(0, len(seconds), jobs)]
    return options.epochs * rows * options.replicas / sum(max(some) for some in together)


def made(folder: Path, rows: int) -> tuple[Path, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(rows) % CLASSES
    path = folder / "made.npz"
    np.savez(path, images=images, labels=labels)
    return path, images, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engine", default=None)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, default=cores)
    parser.add_argument("--workers", type=int, default=cores, help="of the plain loop's DataLoader")
    parser.add_argument("--replicas", type=int, default=cores)
    parser.add_argument("--kinds", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--json", type=Path, help="write what was measured there too")
    options = parser.parse_args()
    device = torch.device(options.device)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["BIASVAR_CACHE"] = str(folder / "cache")
        data, images, labels = made(folder, options.rows)
        for kind in options.kinds:
            theirs, ours = [], []
            for turn in range(options.rounds):
                theirs.append(plain(kind, options, images, labels))
                ours.append(recorded(kind, options, data, folder / f"{kind}{turn}", device))
            ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
            found[kind] = {"plain": theirs, "biasvar": ours, "ratio": ratios}
            network = options.teacher if kind == "teacher" else f"{options.student} taught by {options.teacher}"
            print(
                f"{kind} ({network}): plain loop {_told(theirs)} images/s, biasvar {_told(ours)} images/s, "
                f"ratio {_told(ratios, 2)} (n = {options.rounds} rounds)",
                flush=True,
            )
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key != "json"}
        options.json.write_text(json.dumps({"settings": settings, **found}, indent=1) + "\n", encoding="utf-8")


def _told(values: list[float], digits: int = 0) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    main()
