"""How fast `biasvar.decompose` is, as ratios to plain code over the same logits.

    python experiments/benchmarks/decomposition.py [--rounds 9]

Logits: 10 replicas x 10,000 samples x 100 classes, float64; one thread; each ratio the median over interleaved rounds.
Held against

- a max-shifted NumPy logsumexp of the same array: one pass over the exponentials, which any decomposition needs; the
  jackknife needs a second pass;
- a loop in Python over every element of the array, with NumPy's scalar functions, as a first version would be written,
  with and without the jackknife by recomputation;
- the same loop over nested lists with `math` functions and built-in sums, about the fastest that plain Python goes.

The loops run on a few of the samples and their times are scaled.

Measured on one of two shared AMD EPYC cores (Python 3.11.7, NumPy 2.4.6): 1.43 times the logsumexp without errors, 2.78
times with the jackknife; the element loop takes 569 times as long with the jackknife and 109 times without, the list
loop 15 times without.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

# ruff: noqa: E402  (NumPy reads the number of threads when it is imported)
import argparse
import math
import platform
from collections.abc import Sequence

import numpy as np
from timing import interleaved, median_ratio

import biasvar

REPLICAS, SAMPLES, CLASSES = 10, 10_000, 100
FEW, SOME = 10, 100  # samples the slow loops run on


def logsumexp(logits: np.ndarray) -> np.ndarray:
    """What anyone would write: shift by the maximum, sum the exponentials, take the logarithm."""
    top = logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]


def element_loop(logits: np.ndarray, labels: np.ndarray, replicas: Sequence[int]) -> list[tuple[float, float]]:
    """Bias and variance of every sample over some replicas, one array element at a time."""
    out = []
    for i in range(logits.shape[1]):
        mean = np.zeros(logits.shape[2])
        for r in replicas:
            top = -np.inf
            for k in range(logits.shape[2]):
                top = max(top, logits[r, i, k])
            total = 0.0
            for k in range(logits.shape[2]):
                total += np.exp(logits[r, i, k] - top)
            for k in range(logits.shape[2]):
                mean[k] += (logits[r, i, k] - top - np.log(total)) / len(replicas)
        total = 0.0
        for k in range(logits.shape[2]):
            total += np.exp(mean[k])
        out.append((-mean[labels[i]] + np.log(total), -np.log(total)))
    return out


def element_jackknife(logits: np.ndarray, labels: np.ndarray) -> list[list[tuple[float, float]]]:
    """The same with every replica left out in turn, each from the start."""
    everyone = range(len(logits))
    subsets = [everyone, *([r for r in everyone if r != left_out] for left_out in everyone)]
    return [element_loop(logits, labels, subset) for subset in subsets]


def list_loop(logits: list[list[list[float]]], labels: list[int]) -> list[tuple[float, float]]:
    """Bias and variance from nested lists."""
    out = []
    for i, label in enumerate(labels):
        mean = [0.0] * len(logits[0][i])
        for replica in logits:
            row = replica[i]
            top = max(row)
            total = top + math.log(sum(math.exp(z - top) for z in row))
            for k, z in enumerate(row):
                mean[k] += (z - total) / len(logits)
        variance = -math.log(sum(math.exp(m) for m in mean))
        out.append((-mean[label] - variance, variance))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of biasvar.decompose against plain NumPy and plain Python.")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(REPLICAS, SAMPLES, CLASSES)) * 3.0
    labels = rng.integers(0, CLASSES, SAMPLES)
    few, few_labels = logits[:, :FEW], labels[:FEW]
    some, some_labels = logits[:, :SOME].tolist(), labels[:SOME].tolist()

    fast = biasvar.decompose(few, few_labels)
    deleted = np.stack([fast.deleted_bias, fast.deleted_variance], axis=-1)
    whole = np.stack([fast.bias, fast.variance], axis=-1)
    slow = np.array(element_jackknife(few, few_labels))
    agree = np.allclose(slow, np.concatenate([whole[None], deleted]), rtol=0, atol=1e-10)
    if not (agree and np.allclose(list_loop(some, some_labels)[:FEW], whole, rtol=0, atol=1e-10)):
        raise SystemExit("the loops and biasvar.decompose disagree: their times cannot be compared")

    seconds = interleaved(
        {
            "logsumexp": lambda: logsumexp(logits),
            "decompose without errors": lambda: biasvar.decompose(logits, labels, errors=False),
            "decompose with jackknife": lambda: biasvar.decompose(logits, labels),
            "element loop": lambda: element_loop(few, few_labels, range(REPLICAS)),
            "element loop, jackknife": lambda: element_jackknife(few, few_labels),
            "list loop": lambda: list_loop(some, some_labels),
        },
        rounds,
    )
    for name, samples in (("element loop", FEW), ("element loop, jackknife", FEW), ("list loop", SOME)):
        seconds[name] = [s * SAMPLES / samples for s in seconds[name]]

    print(f"{REPLICAS} x {SAMPLES} x {CLASSES} float64, one thread, {rounds} rounds")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}")
    for name, values in seconds.items():
        scaled = " (scaled from fewer samples)" if "loop" in name else ""
        print(f"  {name:<26}{1e3 * float(np.median(values)):12.1f} ms{scaled}")
    print("ratios: median (smallest .. largest) over rounds")
    for over, under, wanted in (
        ("decompose without errors", "logsumexp", "wanted: at most 2"),
        ("decompose with jackknife", "logsumexp", "wanted: at most 4"),
        ("element loop, jackknife", "decompose with jackknife", "wanted: at least 500"),
        ("element loop", "decompose without errors", ""),
        ("list loop", "decompose without errors", ""),
    ):
        middle, low, high = median_ratio(seconds[over], seconds[under])
        print(f"  {over} / {under}: {middle:.2f} ({low:.2f} .. {high:.2f}) {wanted}".rstrip())


if __name__ == "__main__":
    main()
