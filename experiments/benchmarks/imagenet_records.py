"""Records of the size of ImageNet: what closing an epoch of 1,281,167 rows costs, and a report of 100 such epochs.

    python experiments/benchmarks/imagenet_records.py --epochs 5 --out runs/imagenet_records
    python experiments/benchmarks/imagenet_records.py --epochs 2 --more 98 --out runs/imagenet_records --report

Terms are made as a training makes them, by `Recorder.update` from logits of a few classes (a record holds no logits, so
its size does not depend on their number), in steps of 4,096 rows. Timed apart: the updates; `end_epoch`, which a
training waits for; and the file, which is written beside the training that goes on (`overlap`). With --more, further
epochs are written without a training: the losses and gradients of the last one, each time a little smaller. With
--report the page is drawn in a process of its own, whose seconds and largest memory are printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from biasvar import Recorder
from biasvar.records import RunWriter, open_run
from biasvar.records.schema import record_path

STEP = 4096


def write_more(directory: Path, last: int, more: int) -> None:
    """Epochs after the last one, each with losses and gradients 1 % smaller than the one before."""
    manifest = open_run(directory).manifest
    writer = RunWriter(directory, manifest=manifest, resume=True)
    table = pq.read_table(record_path(directory, "kd", "train", "augmented", last, 0))
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    shrinking = ("student_loss", "bias_gradient", "variance_gradient", "bias_gradient_norm", "variance_gradient_norm")
    for epoch in range(last + 1, last + more + 1):
        if record_path(directory, "kd", "train", "augmented", epoch, 0).exists():
            continue
        columns |= {name: columns[name] * np.float32(0.99) for name in shrinking}
        given = {"temperature": 4.0, "reference_teacher": "main"}
        writer.record("kd", "train", "augmented", epoch, 0, columns, metadata=given)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--more", type=int, default=0, help="epochs that are written from the last one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(STEP, options.classes, generator=generator) * 3 for _ in range(2))
    labels = torch.randint(options.classes, (options.rows,), generator=generator)
    updates, ends, processor, files = [], [], [], []
    with Recorder(
        options.out, num_samples=options.rows, num_classes=options.classes, temperature=4.0, arm="kd",
        reference_teacher="main", resume=True, overlap=True,
    ) as recorder:  # fmt: skip
        while recorder.epoch <= options.epochs:
            order = torch.randperm(options.rows, generator=generator)
            began = time.perf_counter()
            for number, ids in enumerate(order.split(STEP)):
                moved = student.roll(number * 17 + recorder.epoch, 0)[: len(ids)]
                recorder.update(ids, moved + 0.01 * labels[ids, None], labels[ids], teacher[: len(ids)])
            middle, busy = time.perf_counter(), time.process_time()
            recorder.end_epoch()
            ends.append(time.perf_counter() - middle)
            updates.append(middle - began)
            waited = time.perf_counter()
            recorder.settle()
            files.append(time.perf_counter() - waited)
            processor.append(time.process_time() - busy)
    if ends:
        size = sum(path.stat().st_size for path in options.out.rglob("*.parquet")) / options.epochs / 1e6
        print(
            f"{options.rows:,} rows: updates {statistics.median(updates):.2f} s, end_epoch "
            f"{statistics.median(ends):.2f} s (asked: at most 1), then {statistics.median(files):.2f} s beside the "
            f"training, both together {statistics.median(processor):.2f} s of the processor; {size:.0f} MB an epoch "
            f"(medians of {len(ends)} epochs)",
            flush=True,
        )
    if options.more:
        write_more(options.out, options.epochs, options.more)
    if options.report:
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "biasvar.report", str(options.out)], check=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"report of {options.epochs + options.more} epochs: {time.perf_counter() - began:.0f} s (asked: at most "
            f"120), {busy:.0f} s of the processor, largest process {after.ru_maxrss / 2**20:.2f} GB (asked: at most 1)"
        )


if __name__ == "__main__":
    main()
