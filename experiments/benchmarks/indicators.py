"""What indicators of many soft labels cost: time and peak memory for 1,000,000 samples x 1,000 classes, k up to 10.

    python experiments/benchmarks/indicators.py [--rows 1000000] [--classes 1000] [--folder DIR]

Each source is read in a process of its own, so that its peak memory is its own:

- "batches": soft labels that come from somewhere in batches of 4,096 rows; the time to make them is taken off;
- "npy" and "parquet": files of float32 in `--folder`, removed afterwards; reading and decoding are included;
- "run": a run directory whose reference teacher's logits are the logarithms of the same soft labels, in the one row
  group that a run's writer makes of them; the softmax is included.

Counted are all k from 1 to 10 and the mean labels by class; the table with its intervals is included. Soft labels are
those of a mediocre teacher: softmax of Gaussian noise with the truth ahead. Next to wall time stands the time of the
processor, which other work on the machine moves less.

Wanted: 60 s on two cores, 1 GB. Measured on one AMD EPYC core beside light other work (load 1 to 2 on two cores;
Python 3.11.7, NumPy 2.4.6, one run): batches 13.3 s and 564 MiB, npy 14.3 s and 553 MiB, parquet 23.6 s and 619 MiB,
run 48.2 s and 674 MiB, wall time; the processor's is within 0.1 s of it.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

# ruff: noqa: E402  (NumPy reads the number of threads when it is imported)
import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.analysis import IndicatorAccumulator
from biasvar.records import RunWriter, schema
from biasvar.records.soft_labels import open_soft_labels

ROWS_AT_ONCE = 4096
KS = range(1, 11)


def made(rows: int, classes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Soft labels in batches."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, ROWS_AT_ONCE):
        n = min(ROWS_AT_ONCE, rows - start)
        labels = (start + np.arange(n)) % classes
        logits = rng.standard_normal((n, classes), dtype=np.float32)
        logits[np.arange(n), labels] += 3.0
        values = np.exp(logits)
        yield values / values.sum(axis=1, keepdims=True), labels


def write(source: str, path: Path, rows: int, classes: int) -> None:
    """The same soft labels as a file, batch by batch."""
    if source == "npy":
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, classes)}
            np.lib.format.write_array_header_1_0(file, header)
            for values, _ in made(rows, classes):
                file.write(np.ascontiguousarray(values))
        return
    if source == "run":
        write_run(path, rows, classes)
        return
    schema = pa.schema([("soft_label", pa.list_(pa.float32(), classes))])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for values, _ in made(rows, classes):
            column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), classes)
            writer.write_table(pa.table([column], schema=schema), row_group_size=ROWS_AT_ONCE)


def write_run(path: Path, rows: int, classes: int) -> None:
    """A run of one teacher, its logits batch by batch (the run's writer would hold them all)."""
    identity = {"kind": "import", "name": "many", "num_classes": classes, "replicas": 1}
    writer = RunWriter(path, manifest={**identity, "reference_teacher": "many"})
    writer.samples(np.arange(rows), np.arange(rows) % classes, "train")
    target = schema.teacher_path(path, "many")
    target.parent.mkdir()
    layout = schema.teacher_schema(classes)
    with pq.ParquetWriter(target, layout, compression="zstd", use_dictionary=False) as file:
        start = 0
        for values, labels in made(rows, classes):
            n = len(labels)
            columns = [
                pa.array(np.full(n, schema.FIXED_TEACHER, dtype=np.int32)),
                pa.array(start + np.arange(n)),
                pa.FixedSizeListArray.from_arrays(pa.array(np.log(values).ravel()), classes),
                pa.array(np.ones(n, dtype=bool)),
            ]
            file.write_batch(pa.record_batch(columns, schema=layout))
            start += n


def measure(source: str, path: Path, rows: int, classes: int) -> dict[str, float]:
    """Seconds and peak bytes of one pass, in this process."""
    accumulator = IndicatorAccumulator(classes, ks=KS)
    wall = processor = 0.0
    if source == "batches":
        for values, labels in made(rows, classes):
            began, used = time.perf_counter(), time.process_time()
            accumulator.update(values, labels)
            wall, processor = wall + time.perf_counter() - began, processor + time.process_time() - used
        began, used = time.perf_counter(), time.process_time()
    else:
        began, used = time.perf_counter(), time.process_time()
        labels = None if source == "run" else np.arange(rows) % classes
        for batch in open_soft_labels(path, labels).batches():
            accumulator.update(*batch)
    table = accumulator.result().table()
    return {
        "wall": wall + time.perf_counter() - began,
        "processor": processor + time.process_time() - used,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,  # KiB on Linux
        "delta": float(table["delta"].iloc[-1]),
        "gamma": float(table["gamma"].iloc[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the indicators of many soft labels.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the files go (default: the temporary folder)")
    parser.add_argument("--sources", nargs="+", default=["batches", "npy", "parquet", "run"])
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]), options.rows, options.classes)))
        return
    print(f"{options.rows:,} samples x {options.classes:,} classes, float32, k = 1 .. 10, one thread")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}")
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for source in options.sources:
            path = Path(folder) / f"soft.{source}"
            if source != "batches":
                write(source, path, options.rows, options.classes)
            sizes = ["--rows", str(options.rows), "--classes", str(options.classes)]
            command = [sys.executable, __file__, *sizes, "--one", source, str(path)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"  {source:<8} {found['wall']:7.1f} s (processor {found['processor']:.1f} s), peak memory"
                f" {found['peak'] / 2**20:.0f} MiB; k = 10: Delta {found['delta']:.4f}, gamma {found['gamma']:.4f}",
                flush=True,
            )
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
