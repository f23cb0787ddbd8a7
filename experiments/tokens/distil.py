"""Distil a small byte-level transformer from a larger one and record every token: fifteen minutes of one core.

    python experiments/tokens/distil.py --out runs/tokens
    biasvar-report runs/tokens

Text: the docstrings of the standard library (byte_text.py). A teacher of a million parameters is trained on all of its
training part; of its answers to the students' sequences the 16 largest and the mass of the rest are kept. Four students
of 120,000 parameters for each arm (cross-entropy, distillation, weighted soft labels) train together, each on its own
half of 10,000 sequences. Recorded: of training every tenth step, of the test part a clean pass after each epoch, and
after the last one the predictions of every replica. What is finished is not done again when this is started anew.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from byte_model import VOCABULARY, ByteTransformer
from byte_text import LENGTH, kinds_of, read_text
from torch.nn import functional as F

import biasvar

REPLICAS, POOL, DRAWN, EPOCHS, BATCH, RATE = 4, 10_000, 5_000, 4, 16, 4e-3
TEACHER = {"width": 160, "layers": 3, "length": LENGTH}
STUDENT = {"width": 64, "layers": 2, "length": LENGTH}
TEACHER_STEPS, TEACHER_BATCH, TEACHER_RATE = 2000, 32, 2e-3
TOP, TEMPERATURE, ALPHA = 16, 1.0, 1.0
TESTED, CONTEXT = 128, 16  # test sequences; bytes that a test token must have before it
ARMS = {
    "ce": ("cross_entropy", "cross-entropy"),
    "kd": ("distillation", "KD, top 16"),
    "wsl": ("weighted_soft_label", "WSL, top 16"),
}
Step = Callable[[int], torch.Tensor]


def main() -> None:
    """Teacher, its answers, students, kinds of bytes, and what it all took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tokens"))
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of steps, for a quick look")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, text = options.out, read_text()
    work = run.with_name(run.name + "_work")
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(work / "seconds.json")
    sequences = np.concatenate([text.train, text.test])
    x, y = torch.from_numpy(sequences[:, :-1].copy()), torch.from_numpy(sequences[:, 1:].copy())
    ids = biasvar.token_ids(torch.arange(len(sequences)), LENGTH)
    tested = torch.arange(len(text.train), len(sequences))[:: max(1, len(text.test) // TESTED)][:TESTED]
    teacher = trained_teacher(work, x[: len(text.train)], y[: len(text.train)], options.scale, clock)
    indices, log_probs = answers(work, teacher, x[:POOL], clock)
    test_answers = top(teacher, x[tested])
    for arm in ARMS:
        if not (work / arm).exists():
            train_arm(run, arm, (x, y, ids), (indices, log_probs), tested, test_answers, options.scale, clock)
            (work / arm).touch()
    kinds = kinds_of(sequences[tested.numpy()])[:, CONTEXT:]
    opened = biasvar.open_run(run)
    opened.save_kinds(kinds.ravel(), ids[tested][:, CONTEXT:].ravel())
    metrics = opened.metrics.query(f"split == 'test' and epoch == {EPOCHS}")
    counts = {"docstrings": text.docstrings, "train": len(text.train), "test": len(text.test), "tested": kinds.size}
    summary = {
        "text": {"sha256": text.sha256, "python": platform.python_version(), **counts},
        "parameters": {"teacher": teacher.size, "student": ByteTransformer(1, **STUDENT).size},
        "bits_per_byte": {
            "teacher": bits(teacher, x[tested], y[tested]),
            **{arm: (metrics[metrics["arm"] == arm]["nll"] / math.log(2)).round(4).tolist() for arm in ARMS},
        },
        "mean_tail": float(1 - np.exp(log_probs.astype(np.float32)).sum(-1).mean()),
        "cpu_seconds": clock.seconds,
    }
    (run / "example.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary, indent=1))


class Clock:
    """Seconds of the processor by what they went to, kept in a file; one line a minute about the work in progress."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        self._said = time.monotonic()

    def steps(self, name: str, count: int, step: Step) -> None:
        """Run the steps, and keep what they took."""
        start, losses = time.process_time(), []
        for i in range(count):
            losses.append(step(i))
            if time.monotonic() - self._said > 60 or i == count - 1:
                self._said = time.monotonic()
                mean = float(torch.stack(losses[-50:]).mean()) / math.log(2)
                used = time.process_time() - start
                print(f"{name}: step {i + 1} of {count}, {mean:.3f} bits, {used:.0f} s of one core", flush=True)
        self.add(name, time.process_time() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a name."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        self.path.write_text(json.dumps(self.seconds))


def optimiser(model: ByteTransformer, rate: float, steps: int) -> tuple[torch.optim.Optimizer, Callable[[int], None]]:
    """AdamW, and what sets its rate for a step: a rise over the first twentieth, then a cosine."""
    made = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def at(step: int) -> None:
        warm = min(1.0, (step + 1) / max(1, steps // 20))
        made.param_groups[0]["lr"] = rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)

    return made, at


def trained_teacher(work: Path, x: torch.Tensor, y: torch.Tensor, scale: float, clock: Clock) -> ByteTransformer:
    """The teacher, trained on all sequences, or as it was kept."""
    model, path = ByteTransformer(1, **TEACHER, seed=1), work / "teacher.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    steps = max(1, int(TEACHER_STEPS * scale))
    adam, set_rate = optimiser(model, TEACHER_RATE, steps)
    order = torch.cat([torch.randperm(len(x), generator=torch.Generator().manual_seed(e)) for e in range(9)])

    def step(i: int) -> torch.Tensor:
        rows = order[i * TEACHER_BATCH : (i + 1) * TEACHER_BATCH]
        set_rate(i)
        loss = F.cross_entropy(model(x[rows][None]).flatten(0, 2), y[rows].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach()

    clock.steps("teacher", steps, step)
    torch.save(model.state_dict(), path)
    return model.eval()


@torch.no_grad()
def top(model: ByteTransformer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The classes (n, T, TOP) and log-probabilities of the model's largest answers."""
    found = [model(rows[None])[0].log_softmax(-1).topk(TOP, -1) for rows in x.split(64)]
    return torch.cat([part.indices for part in found]), torch.cat([part.values for part in found])


def answers(work: Path, teacher: ByteTransformer, x: torch.Tensor, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's largest answers to the students' sequences, as a store keeps them: 48 bytes a token."""
    path = work / "answers.npz"
    if not path.exists():
        start = time.process_time()
        indices, log_probs = top(teacher, x)
        np.savez(path, indices=indices.to(torch.uint8).numpy(), log_probs=log_probs.half().numpy())
        clock.add("answers", time.process_time() - start)
    with np.load(path) as stored:
        return stored["indices"], stored["log_probs"]


@torch.no_grad()
def bits(model: ByteTransformer, x: torch.Tensor, y: torch.Tensor) -> float:
    """Cross-entropy of the tokens that count, in bits a byte."""
    logits = torch.cat([model(rows[None])[0] for rows in x.split(64)])
    return float(F.cross_entropy(logits[:, CONTEXT:].flatten(0, 1), y[:, CONTEXT:].flatten())) / math.log(2)


def batches(epoch: int) -> Iterator[torch.Tensor]:
    """Sequences (R, B) of each step: every replica goes through its own half of the pool in an order of its own."""
    rows = []
    for replica in range(REPLICAS):
        drawn = torch.randperm(POOL, generator=torch.Generator().manual_seed(100 + replica))[:DRAWN]
        order = torch.Generator().manual_seed(1000 * (epoch + 1) + replica)
        rows.append(drawn[torch.randperm(DRAWN, generator=order)])
    yield from torch.stack(rows).split(BATCH, dim=1)


def train_arm(
    run: Path,
    arm: str,
    data: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    answered: tuple[np.ndarray, np.ndarray],
    tested: torch.Tensor,
    test_answers: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    clock: Clock,
) -> None:
    """Train the replicas of an arm together and record them."""
    x, y, ids = data
    loss_name, label = ARMS[arm]
    indices, log_probs = torch.from_numpy(answered[0]), torch.from_numpy(answered[1])
    model = ByteTransformer(REPLICAS, **STUDENT, seed=2)
    each = max(1, int(DRAWN // BATCH * scale))
    adam, set_rate = optimiser(model, RATE, EPOCHS * each)
    losses = {"kd": biasvar.losses.DistillationLoss, "wsl": biasvar.losses.WeightedSoftLabelLoss}
    soft = losses[arm](temperature=TEMPERATURE, alpha=ALPHA, reduction="none") if arm in losses else None
    about = {
        "num_samples": ids.numel(), "num_classes": VOCABULARY, "temperature": TEMPERATURE, "arm": arm,
        "replica": range(REPLICAS), "label": label, "loss": loss_name, "replace": True, "reference_teacher": "teacher",
    }  # fmt: skip
    training = biasvar.Recorder(run, **about)
    test = biasvar.Recorder(run, **about, split="test", view="clean", keep_predictions="last")
    counts = (torch.arange(LENGTH) >= CONTEXT).expand(REPLICAS, 32, -1)
    for epoch in range(EPOCHS):
        steps = list(batches(epoch))[:each]

        def step(i: int, steps: list[torch.Tensor] = steps, epoch: int = epoch) -> torch.Tensor:
            rows = steps[i]
            set_rate(epoch * each + i)
            logits, labels = model(x[rows]), y[rows]
            recorded = i % 10 == 0  # the order is random
            teacher, weight = None, torch.ones(labels.shape)
            if soft is not None or recorded:
                teacher = biasvar.TopK(indices[rows], log_probs[rows])
            if soft is None:
                loss = F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view(labels.shape)
            else:
                loss = soft(logits, teacher, labels)
                if recorded and arm == "wsl":
                    weight = soft.weights(logits, teacher, labels)
            if recorded:
                training.update(ids[rows], logits, labels, teacher, loss_weight=weight)
            adam.zero_grad()
            loss.mean((1, 2)).sum().backward()
            adam.step()
            return loss.detach().mean()

        clock.steps(f"{arm}, epoch {epoch + 1}", len(steps), step)
        start = time.process_time()
        training.end_epoch()
        with torch.no_grad():
            for first in range(0, len(tested), 32):
                rows = tested[first : first + 32].expand(REPLICAS, -1)
                known = biasvar.TopK(*(part[first : first + 32].expand(REPLICAS, -1, -1, -1) for part in test_answers))
                test.update(ids[rows], model(x[rows]), y[rows], known, where=counts[:, : rows.shape[1]])
        test.end_epoch()
        clock.add(f"{arm}, evaluation", time.process_time() - start)
    training.close()
    test.close()


if __name__ == "__main__":
    main()
