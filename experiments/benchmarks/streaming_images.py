"""Images a second that are read, cropped and normalised: ours beside a plain PyTorch loader, by processes.

    python experiments/benchmarks/streaming_images.py [--images 256] [--rounds 8] [--workers 0 1 2]

JPEG files of 500 x 375 pixels and about 90 kB, much as ImageNet's are on average, in the system's folder for temporary
files and so mostly in memory: what is timed is decoding and cropping, not a disk. Each round reads all of them once in
batches of 64 as random crops of 224 x 224 pixels, float32 and normalised, first by one way, then by the other; workers
are there before it. The plain way is a Dataset of one image an item with the same transforms by Pillow (those of
torchvision: random resized crop, mirror, to tensor, normalise), default collation and persistent workers.

On 2026-11-30, Python 3.11.7, torch 2.13.0+cpu, Pillow 13.0.0, two cores that much other work shared (a load of 18), 128
images, n = 5 rounds, mean ± standard error, and the median ratio within a round: without workers ours 22 ± 3 images a
second and plain 23 ± 2 (0.95 times, 0.77 to 1.13); one worker 37 ± 1 and 31 ± 0 (1.22 times, 1.07 to 1.28); two workers
57 ± 1 and 56 ± 1 (1.04 times, 0.95 to 1.13). The rates are those of a busy machine, the ratios say that ours costs
nothing beside the plain way. No GPU and no disk tried.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import interleaved, median_ratio
from torch.utils.data import DataLoader, Dataset

from biasvar.data import load_dataset
from biasvar.data.crops import CentreCrop, RandomCrops
from biasvar.data.streaming import MEAN, STD
from biasvar.training.streamed import Loader, Shown, Streamed

SIZE, BATCH = 224, 64


def write_photographs(folder: Path, count: int) -> float:
    """Write images that compress as photographs do, in two classes; returns their mean size in bytes."""
    rng = np.random.default_rng(0)
    sizes = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375), Image.BICUBIC)
        pixels = np.asarray(coarse, dtype=np.float32) + rng.normal(0, 11, (375, 500, 1))
        file = folder / str(i % 2) / f"{i:05d}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, quality=90)
        sizes.append(file.stat().st_size)
    return statistics.mean(sizes)


class Plain(Dataset):
    """One image an item, cropped at random and normalised, as examples for ImageNet have it."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> torch.Tensor:
        with open(self.files[i], "rb") as file:
            image = Image.open(file).convert("RGB")
        left, top, width, height = self.box(*image.size)
        image = image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.BILINEAR)
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self.mean).div_(self.std)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = width * height * torch.empty(1).uniform_(0.08, 1).item()
            ratio = math.exp(torch.empty(1).uniform_(math.log(3 / 4), math.log(4 / 3)).item())
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = torch.randint(0, height - h + 1, (1,)).item()
                return int(torch.randint(0, width - w + 1, (1,)).item()), int(top), w, h
        return 0, 0, width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        size = write_photographs(Path(folder), options.images)
        print(f"{options.images} JPEG files of {size / 1000:.0f} kB; batches of {BATCH}; {options.rounds} rounds")
        data = load_dataset(folder, streamed=CentreCrop())
        order = np.random.default_rng(1).permutation(options.images)
        ids, batches = torch.from_numpy(order)[None], [slice(a, a + BATCH) for a in range(0, len(order), BATCH)]
        files = [str(Path(folder) / name) for name in data.files]
        for workers in options.workers:
            loader = Loader(Shown(data.images, RandomCrops(SIZE)), workers, pin=False)
            ours = Streamed(loader, torch.device("cpu"), MEAN, STD, augmented=True)
            plain = DataLoader(
                Plain(files), BATCH, sampler=order.tolist(), num_workers=workers, persistent_workers=workers > 0
            )

            def streamed(ours: Streamed = ours) -> None:
                for batch in ours.training_pass(ids, order[None], [0], 1, batches):
                    assert batch.shape[2:] == (3, SIZE, SIZE)

            def itemwise(plain: DataLoader = plain) -> None:
                for batch in plain:
                    assert batch.shape[1:] == (3, SIZE, SIZE)

            seconds = interleaved({"ours": streamed, "plain": itemwise}, options.rounds)
            each = {name: [options.images / one for one in taken] for name, taken in seconds.items()}
            said = ", ".join(
                f"{name} {statistics.mean(rates):.0f} ± {statistics.stdev(rates) / math.sqrt(len(rates)):.0f}"
                for name, rates in each.items()
            )
            ratio, least, most = median_ratio(seconds["plain"], seconds["ours"])
            print(
                f"{workers} workers: {said} images a second; ours {ratio:.2f} times as many ({least:.2f} to {most:.2f})"
            )
            ours.close()
            del plain


if __name__ == "__main__":
    main()
