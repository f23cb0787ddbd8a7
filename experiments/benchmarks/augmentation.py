"""What augmentation costs: our one gather against other ways to crop and flip, and as a share of a training step.

    python experiments/benchmarks/augmentation.py [--rounds 30] [--device cuda]

Batches of 128 out of 50,000 uint8 images of 32x32x3 on the device, padded by 4, cropped, flipped and normalised; on a
CPU one thread. Every way gives the same pixels (checked first). Times are medians over rounds taken in turns; the
training steps are those of resnet8 and resnet20 (10 classes, SGD with Nesterov momentum), with both memory layouts.
On a GPU each timing waits for the device.

Measured on one of two shared AMD EPYC cores (Python 3.11.7, torch 2.13.0+cpu; five runs of 30 or 40 rounds, the machine
more or less busy): augment 1.4 to 2.7 ms a batch, 0.7 to 1.3 % of a resnet8 step and 0.2 to 0.5 % of a resnet20 step;
windows of a padded batch take 1.1 to 1.6 times as long (2.4 in the one run in which they were normalised by channel),
grid_sample 2.0 to 2.7 times, the loop 1.5 to 2.8 times. Quietest run: resnet8 273 ms a step, 188 ms with channels_last
(1.42 times as fast, single rounds 1.21 to 1.54); resnet20 671 ms and 535 ms (1.25 times, 1.14 to 1.47). No GPU tried.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
from collections.abc import Callable

import torch
from timing import interleaved, median_ratio
from torch.nn import functional as F

from biasvar.training.augmentation import augment, draw_views, normalise, take_views
from biasvar.training.networks import build_network

SAMPLES, SIZE, CHANNELS, BATCH, PAD = 50_000, 32, 3, 128, 4
MEAN, STD = (0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606)


def croppers(device: torch.device) -> dict[str, Callable[[], torch.Tensor]]:
    """Ways to the same batch; all get the same views and normalisation, so that the ratio is about the crop."""
    generator = torch.Generator().manual_seed(0)
    shape = (SAMPLES, SIZE, SIZE, CHANNELS)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    ids = torch.randperm(SAMPLES, generator=generator)[:BATCH].to(device)
    mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
    statistics_ = {"mean": mean, "std": std}
    views = draw_views(ids, seed=0, replica=0, epoch=1, pad=PAD)
    everyone, span = torch.arange(BATCH, device=device), 2 * PAD + 1
    flips = views.flipped[:, None, None, None]

    gain, offset = (1 / (255 * std)).repeat(SIZE), (-mean / std).repeat(SIZE)

    def finish(x: torch.Tensor) -> torch.Tensor:
        rows = x.view(BATCH, SIZE, SIZE * CHANNELS).float().mul_(gain).add_(offset)
        return rows.view(BATCH, SIZE, SIZE, CHANNELS).permute(0, 3, 1, 2)

    def windows() -> torch.Tensor:
        padded = F.pad(images[ids], (0, 0, PAD, PAD, PAD, PAD))
        step = padded.stride()
        every = padded.as_strided((BATCH, span, span, SIZE, SIZE * CHANNELS), (*step[:3], step[1], 1))
        crop = every[everyone, views.top, views.left].view(BATCH, SIZE, SIZE, CHANNELS)
        return finish(torch.where(flips, crop.flip(2), crop))

    def grid() -> torch.Tensor:
        theta = torch.zeros(BATCH, 2, 3, device=device)
        theta[:, 0, 0], theta[:, 1, 1] = 1 - 2 * views.flipped.float(), 1.0
        theta[:, 0, 2], theta[:, 1, 2] = (views.left - PAD) * 2 / SIZE, (views.top - PAD) * 2 / SIZE
        where = F.affine_grid(theta, [BATCH, CHANNELS, SIZE, SIZE], align_corners=False)
        x = images[ids].permute(0, 3, 1, 2).float()
        x = F.grid_sample(x, where, mode="nearest", align_corners=False)
        return x.mul_(1 / (255 * std)[:, None, None]).add_((-mean / std)[:, None, None])

    def loop() -> torch.Tensor:
        out = torch.empty(BATCH, SIZE, SIZE, CHANNELS, dtype=torch.uint8, device=device)
        draws = zip(ids.tolist(), *(part.tolist() for part in views), strict=True)
        for i, (sample, top, left, flipped) in enumerate(draws):
            padded = F.pad(images[sample], (0, 0, PAD, PAD, PAD, PAD))
            crop = padded[top : top + SIZE, left : left + SIZE]
            out[i] = crop.flip(1) if flipped else crop
        return finish(out)

    return {
        "augment: draw views, gather, normalise": lambda: augment(
            images, ids, seed=0, replica=0, epoch=1, pad=PAD, **statistics_
        ),
        "  of it: drawing the views": lambda: draw_views(ids, seed=0, replica=0, epoch=1, pad=PAD).top,
        "  of it: gather and normalise": lambda: take_views(images, ids, views, pad=PAD, **statistics_),
        "windows of a padded batch, torch.where flip": windows,
        "affine grid_sample": grid,
        "loop over samples": loop,
        "no augmentation: normalise": lambda: normalise(images, ids, **statistics_),
    }


def training_step(name: str, channels_last: bool, device: torch.device) -> Callable[[], object]:
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = build_network(name, in_channels=CHANNELS, num_classes=10).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x = torch.randn(BATCH, CHANNELS, SIZE, SIZE, device=device).to(memory_format=layout)
    y = torch.randint(0, 10, (BATCH,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step


def waited_for(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    if device.type != "cuda":
        return function

    def call() -> None:
        function()
        torch.cuda.synchronize(device)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)

    ways = croppers(device)
    ours, *others = (ways[name]() for name in ways if not name.startswith(("  of it: draw", "no ")))
    for other in others:
        torch.testing.assert_close(other, ours, rtol=0, atol=1e-5)
    crops = interleaved({name: waited_for(way, device) for name, way in ways.items()}, options.rounds)
    first = next(iter(crops.values()))
    for name, seconds in crops.items():
        ratio = median_ratio(seconds, first)[0]
        print(f"{name:45s} {1e3 * statistics.median(seconds):7.2f} ms  {ratio:5.2f} times ours")

    for name in ("resnet8", "resnet20"):
        layouts = {
            layout: training_step(name, layout == "channels_last", device) for layout in ("plain", "channels_last")
        }
        steps = interleaved({k: waited_for(step, device) for k, step in layouts.items()}, max(5, options.rounds // 3))
        plain, quick = (1e3 * statistics.median(steps[layout]) for layout in layouts)
        ratio, low, high = median_ratio(steps["plain"], steps["channels_last"])
        print(
            f"{name}: step {plain:.1f} ms plain, {quick:.1f} ms channels_last "
            f"({ratio:.2f} times as fast, {low:.2f} to {high:.2f}); "
            f"augmentation is {1e3 * statistics.median(first) / quick:.1%} of it"
        )


if __name__ == "__main__":
    main()
