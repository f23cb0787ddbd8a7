"""Two parts of `make gpu`: throughput beside a plain loop, and replicas in one pass beside replicas alone."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from biasvar.training.networks import build_network
from biasvar.training.optimizers import SGD
from biasvar.training.replicas import BatchedReplicas, Replicas, SequentialReplica

THROUGHPUT = Path(__file__).with_name("throughput.py")
PAIRS = {"resnet8x4": "resnet32x4", "wrn-16-2": "wrn-40-2"}
GOAL = 5
OPTIMIZER = SGD(momentum=0.9, nesterov=True, weight_decay=5e-4)


def throughput(device: torch.device, out: Path, *, dry: bool) -> dict[str, Any]:
    """Images a second of KD and WSL beside a plain loop, in float32 and in bf16, as far as this part's seconds go."""
    ends = time.monotonic() + float(os.environ.get("BIASVAR_GPU_SECONDS", 150)) - 10
    sizes = {"rows": 20_000, "epochs": 3, "rounds": 3, "replicas": 2, "workers": 8}
    pairs, kinds = PAIRS, ["kd", "wsl"]
    if dry:
        sizes = {"rows": 800, "epochs": 1, "rounds": 1, "replicas": 2, "workers": 0}
        pairs, kinds = {"resnet8": "resnet8"}, ["kd"]
    found: dict[str, Any] = {}
    out.mkdir(parents=True, exist_ok=True)
    for precision in ("float32",) if dry else ("float32", "bf16"):
        for student, teacher in pairs.items():
            left = ends - time.monotonic()
            if left < 5 and not dry:
                continue
            path = out / f"throughput_{student}_{precision}.part"
            options = [part for key, value in sizes.items() for part in (f"--{key}", str(value))]
            options += ["--student", student, "--teacher", teacher, "--device", str(device), "--kinds", *kinds]
            options += ["--precision", precision, "--json", str(path)]
            try:
                timeout = None if dry else left
                subprocess.run([sys.executable, str(THROUGHPUT), *options], check=True, timeout=timeout)
            except subprocess.TimeoutExpired:
                continue
            told = json.loads(path.read_text())
            path.unlink()
            found[f"{student} taught by {teacher}, {precision}"] = {kind: told[kind] for kind in kinds}
    return {"pairs": found, "goal": GOAL, **sizes}


def throughput_section(told: dict[str, Any]) -> list[str]:
    rows = []
    for pair, kinds in told["pairs"].items():
        for kind, one in kinds.items():
            cells = [_mean(one["plain"], 0), _mean(one["biasvar"], 0), _mean(one["ratio"], 2)]
            rows.append(f"| {pair} | {kind.upper()} | {' | '.join(cells)} |")
    return [
        "Images a second with every sample's terms recorded, beside a plain loop of the published kind (a DataLoader "
        f"of {told['workers']} processes with PIL transforms, float32, `.item()` at each step); {told['epochs']} "
        f"epochs of made 32x32 images, means over {told['rounds']} rounds with standard errors, and of the rounds' "
        f"ratios (goal: {told['goal']}).",
        "",
        "| networks, precision of biasvar | | plain loop | biasvar | ratio |",
        "|---|---|---|---|---|",
        *rows,
    ]


def together(device: torch.device, *, dry: bool) -> dict[str, Any]:
    """Trainings a second of R small networks in one pass, over those of one network alone."""
    batch, steps, rounds = (8, 2, 2) if dry else (64, 40, 5)
    counts = (2,) if dry else (8, 16)
    ratios: dict[str, list[float]] = {}
    for precision in ("float32", "bf16"):
        for _ in range(rounds):
            alone = _seconds(_replicas(1, device, precision), 1, batch, steps, device)
            for count in counts:
                one_pass = _seconds(_replicas(count, device, precision), count, batch, steps, device)
                ratios.setdefault(f"resnet8, R = {count}, {precision}", []).append(count * alone / one_pass)
    return {"batch": batch, "steps": steps, "rounds": rounds, "ratios": ratios}


def _replicas(count: int, device: torch.device, precision: str) -> Replicas:
    models = [build_network("resnet8", in_channels=3, num_classes=10).to(device) for _ in range(count)]
    if count == 1:
        return SequentialReplica(models, optimizer=OPTIMIZER, precision=precision)
    return BatchedReplicas(models, optimizer=OPTIMIZER, precision=precision)


def _seconds(replicas: Replicas, count: int, batch: int, steps: int, device: torch.device) -> float:
    """Of a step, over some after three that are not counted."""
    x = torch.randn(count, batch, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (count, batch), device=device)
    replicas.train(True)

    def step() -> None:
        losses = F.cross_entropy(replicas(x).flatten(0, 1), labels.flatten(), reduction="none")
        replicas.step(losses.view(count, batch).mean(1), 0.01)

    for _ in range(3):
        step()
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - began) / steps


def together_section(told: dict[str, Any]) -> list[str]:
    return [
        "Trainings a second of R networks in one pass (`backend: batched`) over those of one network alone, steps of "
        f"{told['batch']} images; means over {told['rounds']} rounds with standard errors (goal: R / 2).",
        "",
        "| | ratio |",
        "|---|---|",
        *(f"| {name} | {_mean(values, 2)} |" for name, values in told["ratios"].items()),
    ]


def _mean(values: list[float], digits: int) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):,.{digits}f} ± {error:.{digits}f}"
