"""What it saves not to show the teacher the rows that are not selected: processor seconds of training, side by side.

    python experiments/benchmarks/selection.py [--rounds 12] [--rows 256] [--teacher resnet20] [--student resnet8]

Cross-entropy, distillation of all rows, and label revision with a selection of a half and of a quarter of the rows
train students of one kind on the same augmented images of CIFAR-10's size (noise: what a network costs does not depend
on what it sees), the teacher being asked about every view anew. The arms take turns, one epoch each a round, and what
is compared is their ratio within a round. Seconds are of the processor, one thread, so that other work on the machine
counts less. The selection itself, a pass of the teacher over the rows and the scores, is timed apart: it is paid once
a training.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from timing import interleaved

from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.context import StudyContext
from biasvar.training.execute import run_study
from biasvar.training.selecting import select
from biasvar.training.students import Students

SIZE, CLASSES, HELD_OUT = 32, 10, 100


def noise(path: Path, rows: int) -> None:
    """Write a data set of images of noise with balanced labels: so many training rows, and held-out ones."""
    rng = np.random.default_rng(0)
    pictures = [png(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)) for _ in range(rows + 2 * HELD_OUT)]
    split = ["train"] * (rows + HELD_OUT) + ["test"] * HELD_OUT
    labels = np.arange(len(split)) % CLASSES
    pq.write_table(pa.table({"image": pictures, "label": labels.astype(np.int8), "split": split}), path)


def png(pixels: np.ndarray) -> bytes:
    """An image (H, W, 3) as the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def study_of(data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A study of all arms; one epoch, since rounds repeat it."""

    def revised(keep: float, score: str) -> dict[str, Any]:
        selection = {"score": score, "keep": keep, "which": "lowest"}
        return {"loss": "label_revision", "teacher": "teacher", "revision": {}, "selection": selection}

    return {
        "name": "selection_seconds", "replicas": 2, "backend": "sequential", "checkpoint_every": 1_000,
        "data": {"name": str(data), "validation": HELD_OUT, "test": HELD_OUT, "crop": 4, "flip": True},
        "student": {"model": options.student}, "draw": {"kind": "seed_only"},
        "schedule": {"epochs": 1, "batch_size": 64}, "learning_rate": {"value": 0.05},
        "teachers": {"teacher": {"model": options.teacher, "epochs": 1, "rows": 64}},
        "arms": {
            "ce": {"loss": "cross_entropy"},
            "kd": {"loss": "distillation", "teacher": "teacher", "temperature": 4, "alpha": 1},
            "half": revised(0.5, "loss"), "quarter": revised(0.25, "loss"), "influence": revised(0.5, "influence"),
        },
    }  # fmt: skip


def training(context: StudyContext, arm: str) -> Callable[[], None]:
    """One epoch of an arm's student, whose selection is made already."""
    students = Students(context, arm, 0.05, [0])
    return lambda: students.train()


def selecting(context: StudyContext, arm: str) -> Callable[[], None]:
    """The scores and the selection of an arm's rows."""

    def choose() -> None:
        context.scores.clear()
        select(context, context.study.arms[arm], [0])  # type: ignore[arg-type]

    return choose


def mean(values: list[float]) -> str:
    """A mean with its standard error."""
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="resnet8")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "noise.parquet"
        noise(data, options.rows)
        raw = study_of(data, options)
        teachers = {**raw, "arms": {"ce": raw["arms"]["ce"]}}
        run_study(resolve_study(teachers), Path(folder) / "run", device="cpu")  # trains the teacher, of 64 rows
        context = open_study(resolve_study(raw), Path(folder) / "run", torch.device("cpu"))
        parts = {name: training(context, name) for name in ("ce", "kd", "half", "quarter")}
        parts |= {"select by loss": selecting(context, "half"), "select by influence": selecting(context, "influence")}
        seconds = interleaved(parts, options.rounds, clock=time.process_time)
    print(f"{options.teacher} teaches {options.student}, {options.rows} images an epoch, n = {options.rounds} rounds")
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["kd"], strict=True)]
        print(f"{name:22s} {mean(values)} s   {mean(ratios)} of KD's epoch")


if __name__ == "__main__":
    main()
