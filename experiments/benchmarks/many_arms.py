"""What a run of many arms costs to open: seconds of its parts, and of the report's page of one figure.

    python experiments/benchmarks/many_arms.py --arms 1000

The run is written by RunWriter: a study's manifest, the metrics and the clean predictions of test rows of every arm,
and no record. Processor seconds of one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biasvar.records import RunWriter, open_run
from biasvar.report.page import open_runs, write_report

SAMPLES, CLASSES, REPLICAS, EPOCHS = 50, 3, 4, (1, 2)
BOOKKEEPING = {"status": "complete", "replicas": REPLICAS, "failed_replicas": []}


def write(directory: Path, arms: int) -> None:
    """A run of so many arms; every fourth is of cross-entropy, the others distil at temperatures of their own."""
    random = np.random.default_rng(0)
    ids, labels = np.arange(2 * SAMPLES), np.arange(2 * SAMPLES) % CLASSES
    names = [f"arm_{number:04d}" for number in range(arms)]
    entries = {name: entry(number) for number, name in enumerate(names)}
    manifest = {"kind": "study", "study_hash": "of no study", "num_classes": CLASSES, "name": "many"}
    manifest |= {"status": "complete", "replicas": REPLICAS, "arms": entries}
    writer = RunWriter(directory, manifest=manifest)
    writer.samples(ids, labels, ["test"] * SAMPLES + ["validation"] * SAMPLES)
    for number, name in enumerate(names):
        rows = [
            {"arm": name, "replica": replica, "epoch": epoch, "split": split, "view": "clean", "n": SAMPLES,
             "accuracy": 0.7 + 0.2 * random.random(), "nll": 1.0, "ece": 0.1}
            for replica in range(REPLICAS) for epoch in EPOCHS for split in ("test", "validation")
        ]  # fmt: skip
        writer.metrics(name, 0, pd.DataFrame(rows))
        logits = random.normal(size=(REPLICAS, SAMPLES, CLASSES))
        means = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        writer.predictions(name, "test", "all", EPOCHS[-1], 0, ids[:SAMPLES], np.ones((REPLICAS, SAMPLES), int), means)
        if number % 100 == 99:
            print(f"{number + 1} arms written", flush=True)


def entry(number: int) -> dict[str, Any]:
    """What the manifest says of an arm."""
    if number % 4 == 0:
        return {"loss": "cross_entropy", "plays": "baseline", "label": f"CE {number}", **BOOKKEEPING}
    settings = {"loss": "distillation", "plays": "distillation", "temperature": 1.0 + number, "alpha": 1.0}
    return {**settings, "label": f"KD {number}", **BOOKKEEPING}


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    answer = function()
    return time.process_time() - began, answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arms", type=int, default=1000)
    parser.add_argument("--run", type=Path, help="a run that was written so before, or where to write it")
    parser.add_argument("--figure", default="accuracy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = options.run or Path(folder) / "many"
        if not directory.exists():
            write(directory, options.arms)
        opened, run = seconds(lambda: open_run(directory))
        arms, names = seconds(lambda: run.arms)
        metrics, frame = seconds(lambda: run.metrics)
        again, _ = seconds(lambda: [run.entry(name) for name in names])
        page, _ = seconds(
            lambda: write_report(open_runs([directory]), Path(folder) / "page", figures=[options.figure], formats=[])
        )
    print(f"{len(names)} arms, {len(frame)} rows of metrics")
    print(f"open {opened:.2f} s, arms {arms:.2f} s, metrics {metrics:.2f} s, entries {again:.2f} s, page {page:.2f} s")


if __name__ == "__main__":
    main()
