"""What a step with a virtual teacher costs against one with cross-entropy, timed in turns on one thread.

    python experiments/teacher_free/seconds.py [--rounds 150]

In each round every loss takes one training step, in an order that is drawn anew: on a machine that others use, what
slows one loss down slows the others down too. Printed are seconds of the processor a step, and the median over rounds
of their ratio to cross-entropy's, with its 95 % interval by bootstrap. Random images: what a step costs does not depend
on them. The second cross-entropy is a copy of the first, whose ratio is 1 but for chance.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from biasvar.losses import LabelSmoothingLoss, VirtualTeacherLoss
from biasvar.training.networks import build_network

LOSSES = {
    "cross-entropy": torch.nn.CrossEntropyLoss(),
    "cross-entropy again": torch.nn.CrossEntropyLoss(),
    "label smoothing": LabelSmoothingLoss(smoothing=0.1),
    "Tf-KD_reg, paper": VirtualTeacherLoss(alpha=0.1, temperature=20.0, variant="paper"),
    "Tf-KD_reg, code": VirtualTeacherLoss(alpha=0.1, temperature=20.0, variant="code", multiplier=10.0),
}


def measure(name: str, size: int, channels: int, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of the processor of each step, by loss."""
    rng = np.random.default_rng(0)
    steps = {label: _step(name, loss, size, channels) for label, loss in LOSSES.items()}
    seconds: dict[str, list[float]] = {label: [] for label in LOSSES}
    for number in range(-3, rounds):
        for label in rng.permutation(list(LOSSES)):
            began = time.process_time()
            steps[label]()
            if number >= 0:  # the first three warm the process up
                seconds[label].append(time.process_time() - began)
    return {label: np.array(values) for label, values in seconds.items()}


def _step(name: str, loss, size: int, channels: int):
    network = build_network(name, in_channels=channels, num_classes=10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    x, y = torch.randn(64, channels, size, size), torch.randint(0, 10, (64,))

    def step() -> None:
        optimizer.zero_grad()
        loss(network(x), y).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=150)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    for name, size, channels in (("convnet", 16, 1), ("resnet8", 32, 3)):
        seconds = measure(name, size, channels, rounds)
        print(f"{name}, batches of 64 images of {size}x{size}x{channels}, {rounds} rounds")
        for label, values in seconds.items():
            ratios = values / seconds["cross-entropy"]
            drawn = np.median(rng.choice(ratios, (2000, rounds)), axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            print(f"  {label:20s} {1e3 * np.median(values):7.2f} ms  {np.median(ratios):.4f} ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
