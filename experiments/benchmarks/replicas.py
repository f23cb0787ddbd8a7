"""How fast replicas of a convolutional network train on 2 CPU cores: a plain loop against the toolkit's processes.

    python experiments/benchmarks/replicas.py [--rounds 5] [--steps 20]

The same trainings in every way: 2 replicas (4 of the small network) of 10 classes, SGD with Nesterov momentum, batches
of 64 uint8 images of 32x32x3, cropped, flipped and normalised by the same gather. Ways, in turns, so that what else the
machine does falls on all alike:

- plain loop: one process, contiguous memory order, `torch.optim.SGD`, one replica after another, as a first version
  would be written; on one thread, which is what every process of a study is given, and on one a core, torch's default;
- ours, --jobs 1: `biasvar.training.loop.train`, channels_last, one thread, freed memory kept;
- ours, --jobs 2: the same in one process a core (they are there before the clock starts).

Then, with a small network that can be batched (7 convolutions, no BatchNorm): all replicas in one pass by
`torch.func.vmap`, as `backend: batched` does. That is why convolutional networks are trained with `backend: sequential`
and one process a core by default.

Measured on 2 CPU cores (AMD EPYC, Python 3.11.7, torch 2.13.0+cpu), ResNet-8, medians of rounds (smallest to largest).
Two processes against the plain loop on one thread, 5 rounds: 2.81 times (1.33 to 2.95; other work came and went), one
process 1.53 times (1.36 to 1.54). Two processes against the plain loop on 2 threads, 3 rounds, freed memory not yet
kept: 1.53 times (1.52 to 2.17). Steps alone, 30 of each on the quiet machine: plain 135.7 ms on one thread and 75.6 ms
on two, channels_last 94.3 ms, with freed memory kept 82.3 ms; so two such processes would be 1.8 times as fast as a
loop on 2 threads. That loop has another weakness: beside any other work its threads wait for each other (one round
took 30 times as long). The small network, seconds of CPU of one thread, 5 rounds on a busy machine: batched
0.84 times as fast as one after another (0.82 to 0.86); all ways, a single short round: times the plain loop on one
thread, batched 1.20, two processes 2.25. No set of rounds ran undisturbed from end to end.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context

import torch
from timing import interleaved, median_ratio
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.study.arms import CrossEntropy
from biasvar.training.inputs import Images
from biasvar.training.loop import train
from biasvar.training.memory import keep_freed_memory
from biasvar.training.methods import method_of
from biasvar.training.networks import build_network, seeded
from biasvar.training.objective import Objective
from biasvar.training.replicas import Backend, groups_of, make_replicas

BATCH, CLASSES, SIZE, RATE = 64, 10, 32, 0.05
WIDTHS = (3, 16, 16, 16, 32, 32, 64, 64)
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def small_network() -> nn.Module:
    """Seven convolutions of the widths and strides of a ResNet-8; nothing but parameters, so that vmap can take it."""
    layers: list[nn.Module] = []
    for inside, outside, stride in zip(WIDTHS[:-1], WIDTHS[1:], (1, 1, 1, 2, 1, 2, 1), strict=True):
        layers += [nn.Conv2d(inside, outside, 3, stride, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], CLASSES))


def network(kind: str, replica: int) -> nn.Module:
    build = partial(build_network, "resnet8", in_channels=3, num_classes=CLASSES)
    return seeded(replica, build if kind == "resnet8" else small_network)


def data(steps: int) -> tuple[Images, torch.Tensor]:
    """As many images as an epoch of `steps` batches takes."""
    generator = torch.Generator().manual_seed(0)
    shape = (steps * BATCH, SIZE, SIZE, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, shape[:1], generator=generator)
    return Images(images, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), 255.0, seed=0, crop=4, flip=True), labels


def plain(kind: str, replicas: Sequence[int], steps: int, threads: int) -> None:
    torch.set_num_threads(threads)
    inputs, labels = data(steps)
    for replica in replicas:
        model = network(kind, replica)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, **SGD)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(replica))
        for ids in order.split(BATCH):
            x = inputs.training(ids[None], [replica], 1)[0].contiguous()
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels[ids]).backward()
            optimizer.step()


def ours(kind: str, replicas: Sequence[int], steps: int, backend: Backend = "sequential", threads: int = 1) -> None:
    """One epoch of each replica by the toolkit's loop."""
    torch.set_num_threads(threads)
    inputs, labels = data(steps)
    for group in groups_of(backend, replicas):
        ids = torch.arange(len(labels)).expand(len(group), -1).numpy()
        train(
            make_replicas(backend, [network(kind, r) for r in group], **SGD), Rows(ids, None, group),
            Objective(method_of(CrossEntropy(loss="cross_entropy"))), inputs, labels, epochs=1, batch_size=BATCH,
            rate_of=lambda step, steps: RATE, seed=0,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a ResNet-8; half as many of the other")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    spawn = get_context("spawn")
    # One process a way, so that none inherits another's threads or memory.
    with ExitStack() as stack:
        start = partial(ProcessPoolExecutor, mp_context=spawn)
        alone = {name: stack.enter_context(start(1)) for name in ("plain 1", "plain", "batched")}
        own = stack.enter_context(start(1, initializer=keep_freed_memory))
        pool = stack.enter_context(start(cores, initializer=keep_freed_memory))

        def side_by_side(kind: str, replicas: Sequence[int], steps: int) -> None:
            for done in [pool.submit(ours, kind, [replica], steps) for replica in replicas]:
                done.result()

        for kind, replicas, steps in (("resnet8", range(2), options.steps), ("small", range(4), options.steps // 2)):
            work = (kind, replicas, steps)
            ways: dict[str, Callable[[], object]] = {
                "plain loop, 1 thread": lambda w=work: alone["plain 1"].submit(plain, *w, 1).result(),
                f"plain loop, {cores} threads": lambda w=work: alone["plain"].submit(plain, *w, cores).result(),
                "ours, --jobs 1": lambda w=work: own.submit(ours, *w).result(),
                f"ours, --jobs {cores}": lambda w=work: side_by_side(*w),
            }
            if kind == "small":
                ways[f"batched, {cores} threads"] = lambda w=work: (
                    alone["batched"].submit(ours, *w, "batched", cores).result()
                )
            report(kind, interleaved(ways, options.rounds), len(replicas) * steps * BATCH)


def report(kind: str, seconds: dict[str, list[float]], images: int) -> None:
    print(f"{kind}: {images} images in all")
    one, default, *_ = seconds.values()
    for name, taken in seconds.items():
        ratios = [
            f"{r:.2f} ({low:.2f} to {high:.2f})" for r, low, high in (median_ratio(o, taken) for o in (one, default))
        ]
        speed = images / statistics.median(taken)
        print(f"  {name:22s} {speed:6.0f} images/s; times the plain loop on 1 thread {ratios[0]}, on all {ratios[1]}")


if __name__ == "__main__":
    main()
