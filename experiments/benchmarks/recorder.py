"""What recording costs: as a share of a ResNet-8 training step, and on top of the rest of the digits study.

    python experiments/benchmarks/recorder.py --rounds 3

One thread. The ResNet-8 step (batch 128 of 3x32x32, 10 classes, SGD) and the recorder's work for it (update, and its
part of end_epoch and of the write for 50,000 samples) are timed apart, since the second is far below the noise of the
first. In the digits study the processor seconds inside the recorder are taken from the run itself, with those of the
files that it writes beside the training.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import functools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.nn import functional as F

from biasvar import Recorder
from biasvar.records import RunWriter
from biasvar.study import load_study
from biasvar.training.execute import run_study
from biasvar.training.memory import keep_freed_memory
from biasvar.training.networks import build_network

BATCH, CLASSES, SAMPLES, STEPS = 128, 10, 50_000, 391


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def resnet_share(folder: Path) -> float:
    model = build_network("resnet8", in_channels=3, num_classes=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    steps = [seconds(step) for _ in range(12)][2:]
    logits, teacher = torch.randn(2, STEPS * BATCH, CLASSES).split(1)
    labels = torch.randint(0, CLASSES, (STEPS * BATCH,))
    ids = torch.randperm(STEPS * BATCH)
    recorder = Recorder(folder / "resnet", num_samples=STEPS * BATCH, num_classes=CLASSES, temperature=4.0)

    def epoch() -> None:
        for piece in ids.split(BATCH):
            recorder.update(piece, logits[0, piece], labels[piece], teacher[0, piece])
        recorder.end_epoch()

    epochs = [seconds(epoch) for _ in range(4)][1:]
    return statistics.median(epochs) / STEPS / statistics.median(steps)


def study_share(folder: Path) -> tuple[float, float]:
    """Processor seconds of the recorder over those of all else, for the whole digits study, and those of the whole."""
    spent: list[float] = []

    def timed(method: Callable[..., Any], *, beside: bool) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            if beside and threading.current_thread() is threading.main_thread():
                return method(*args, **options)  # is part of what is timed already
            began = time.thread_time()
            try:
                return method(*args, **options)
            finally:
                spent.append(time.thread_time() - began)

        return call

    with ExitStack() as stack:
        for name in ("__init__", "update", "end_epoch"):
            whole = timed(getattr(Recorder, name), beside=False)
            stack.enter_context(mock.patch.object(Recorder, name, whole))
        stack.enter_context(mock.patch.object(RunWriter, "record", timed(RunWriter.record, beside=True)))
        study = load_study(Path(__file__).parents[1] / "digits.yaml")
        began = time.process_time()
        run_study(study, folder, device="cpu", jobs=1)
        total = time.process_time() - began
    return sum(spent) / (total - sum(spent)), total


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        share = resnet_share(Path(name))
        print(f"recorder, share of a ResNet-8 step at batch {BATCH}: {share:.2%} (asked: at most 1 %)", flush=True)
        shares = []
        for turn in range(options.rounds):
            more, total = study_share(Path(name) / str(turn))
            shares.append(more)
            print(f"recorder, digits study: {more:.1%} on top of the rest ({total:.0f} s of the processor)", flush=True)
    error = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
    print(f"mean {statistics.mean(shares):.1%} ± {error:.1%}, n = {len(shares)} (asked: below 10 %)")


if __name__ == "__main__":
    main()
