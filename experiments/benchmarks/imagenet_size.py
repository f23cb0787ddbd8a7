"""Decompose logits of the size of ImageNet, 1,281,167 rows x 1,000 classes x 8 replicas, which no memory holds at once.

    python experiments/benchmarks/imagenet_size.py                        by shards over this machine's cores
    python experiments/benchmarks/imagenet_size.py --rows 100000 --jobs 1
    python experiments/benchmarks/imagenet_size.py --ray auto             over a Ray cluster

Logits are made, float32, chunk by chunk: a fixed tile of normal numbers, shifted by the row and the replica. Each shard
is a range of rows that one process decomposes by `decompose_chunks`, with jackknife errors; `join_rows` puts the shards
together. Held against `decompose` of the first rows as a whole, and against the identity noise + bias + variance = mean
loss. Prints the seconds and the memory of all processes at their largest, as the system counts it.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from biasvar.analysis import Decomposition, decompose, decompose_chunks, join_rows

TILE = 4096  # rows


def tile(classes: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TILE, classes), np.float32) * 2


def labels(start: int, stop: int, classes: int) -> np.ndarray:
    return (np.arange(start, stop) * 7919) % classes


def chunks(start: int, stop: int, replicas: int, classes: int, chunk: int) -> Iterator[np.ndarray]:
    """(R, n, C) float32: row i of replica r is row i + 37 r of the tile, raised by 3 at the label for most replicas."""
    numbers = tile(classes)
    for first in range(start, stop, chunk):
        rows = np.arange(first, min(first + chunk, stop))
        right = labels(first, int(rows[-1]) + 1, classes)
        out = np.empty((replicas, len(rows), classes), np.float32)
        for r in range(replicas):
            out[r] = numbers[(rows + 37 * r) % TILE]
            out[r, np.arange(len(rows)), right] += 3.0 * ((rows + r) % 5 > 0)
        yield out


def shard(edges: tuple[int, int], *, replicas: int, classes: int, chunk: int) -> tuple[Decomposition, float]:
    """The terms of a range of rows, and the largest memory of the process in GB."""
    start, stop = edges
    terms = decompose_chunks(chunks(start, stop, replicas, classes, chunk), labels(start, stop, classes), groups=8)
    return terms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def mean_loss(start: int, stop: int, replicas: int, classes: int) -> float:
    """The mean cross-entropy in float64, computed without biasvar."""
    (logits,) = chunks(start, stop, replicas, classes, stop - start)
    wide = logits.astype(np.float64)
    top = wide.max(-1)
    log_sum = top + np.log(np.exp(wide - top[..., None]).sum(-1))
    mine = np.take_along_axis(wide, labels(start, stop, classes)[None, :, None], -1)[..., 0]
    return float((log_sum - mine).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=512, help="rows that are in memory together")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster, or local")
    options = parser.parse_args()
    settings = {"replicas": options.replicas, "classes": options.classes, "chunk": options.chunk}
    edges = np.linspace(0, options.rows, options.shards + 1).astype(int).tolist()
    began = time.perf_counter()
    done = decomposed(list(pairwise(edges)), settings, options.jobs, options.ray)
    terms = join_rows([one for one, _ in done])
    took = time.perf_counter() - began
    largest = options.jobs * max(memory for _, memory in done) + _own_memory()
    check = min(options.rows, 1000)
    (first,) = chunks(0, check, options.replicas, options.classes, check)
    whole = decompose(first, labels(0, check, options.classes), groups=8)
    apart = [np.abs(getattr(terms, name)[:check] - getattr(whole, name)).max() for name in ("bias", "variance")]
    total = float((terms.noise[:check] + terms.bias[:check] + terms.variance[:check]).mean())
    loss = mean_loss(0, check, options.replicas, options.classes)
    size = options.rows * options.classes * options.replicas * 8 / 1e9
    print(
        f"{options.rows:,} rows x {options.classes:,} classes x {options.replicas} replicas ({size:.0f} GB of float64) "
        f"in {options.shards} shards by {options.jobs} processes: {took:.0f} s, {largest:.2f} GB at most (asked: below "
        f"8); bias {terms.totals().bias}, variance {terms.totals().variance}; first {check:,} rows: {max(apart):.1e} "
        f"from the whole array, {abs(total - loss):.1e} from the mean loss"
    )


def decomposed(
    edges: list[tuple[int, int]], settings: dict[str, int], jobs: int, address: str | None
) -> list[tuple[Decomposition, float]]:
    """What `shard` gives of each range of rows, in processes of this machine or as tasks of a Ray cluster."""
    if address is None:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            return list(pool.map(partial(shard, **settings), edges))
    import ray

    ray.init(None if address == "local" else address, **({"num_cpus": jobs} if address == "local" else {}))
    task = ray.remote(shard)
    return ray.get([task.remote(one, **settings) for one in edges])


def _own_memory() -> float:
    """GB of this process at its largest."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
