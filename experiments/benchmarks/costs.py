"""What one image costs each network: seconds of a core in training and in evaluation, and floating-point operations.

    python experiments/benchmarks/costs.py [--seconds 2.5]

Batches of 64 images of 32x32x3, 10 classes, SGD with Nesterov momentum, float32, channels_last, one thread, freed
memory kept: a student as a study trains it on a CPU, without the augmentation, which costs under 2 % of a ResNet-8
step. Every core runs the same network at the same time, as the processes of a study do; printed is the median over
all steps of all cores. Floating-point operations are those that `torch.utils.flop_counter` counts in convolutions and
matrix products (a multiplication and an addition are two); they do not depend on the machine. The cost of a schedule
is images x epochs x seconds, and study files quote it as derived.

Measured on 2 CPU cores (AMD EPYC, torch 2.13.0+cpu), milliseconds to train and to evaluate, GFLOP to train and forward:

    resnet8       1.28   0.36   0.074  0.025        resnet56     11.3*   3.2*   0.754  0.251
    resnet14      2.50   0.71   0.159  0.053        resnet110    23.00   6.52   1.518  0.506
    resnet20      3.72   1.08   0.244  0.082        resnet8x4    14.12   3.97   1.061  0.354
    resnet32      6.16   1.76   0.414  0.138        resnet32x4   99.15  28.33   6.496  2.166

    * other work ran during its turn: interpolated in depth between resnet32 and resnet110. Seconds of CPU, taken in
      turns on a busy machine, give 10.9 and 11.4 ms as multiples of the two.

No GPU was at hand.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from biasvar.training.memory import keep_freed_memory
from biasvar.training.networks import build_network

BATCH, CLASSES, SIZE = 64, 10, 32
NAMES = ("resnet8", "resnet14", "resnet20", "resnet32", "resnet56", "resnet110", "resnet8x4", "resnet32x4")


def set_up() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def times(function: Callable[[], object], budget: float) -> list[float]:
    """Seconds of each call, after one unrecorded one, until the budget is spent; at least five."""
    out: list[float] = []
    function()
    while len(out) < 5 or sum(out) < budget:
        began = time.perf_counter()
        function()
        out.append(time.perf_counter() - began)
    return out


def measure(name: str, budget: float) -> tuple[list[float], list[float]]:
    """Seconds of training steps, and of evaluation passes, on a batch."""
    network = build_network(name, in_channels=3, num_classes=CLASSES).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    y = torch.randint(0, CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    @torch.no_grad()
    def evaluate() -> None:
        network(x)

    steps = times(step, budget)
    network.eval()
    return steps, times(evaluate, budget / 3)


def operations(name: str) -> tuple[float, float]:
    """Floating-point operations per image: forward, and forward with backward."""
    network = build_network(name, in_channels=3, num_classes=CLASSES)
    x = torch.randn(2, 3, SIZE, SIZE)
    counts = []
    for train in (False, True):
        with FlopCounterMode(display=False) as counter:
            loss = network(x).sum()
            if train:
                loss.backward()
        counts.append(counter.get_total_flops() / len(x))
    return counts[0], counts[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.5, help="of measuring, for each network")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} processes side by side; milliseconds of a core and GFLOP per image")
    print("network       train ms  evaluate ms   train GFLOP  forward GFLOP")
    with ProcessPoolExecutor(cores, get_context("spawn"), set_up) as pool:
        for name in NAMES:
            results = [done.result() for done in [pool.submit(measure, name, options.seconds) for _ in range(cores)]]
            train, evaluate = (statistics.median([t for r in results for t in r[i]]) / BATCH * 1e3 for i in (0, 1))
            forward, both = (count / 1e9 for count in operations(name))
            print(f"{name:12s} {train:9.2f} {evaluate:12.2f} {both:13.3f} {forward:14.3f}", flush=True)


if __name__ == "__main__":
    main()
