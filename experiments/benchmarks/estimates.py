"""How near a dry run's estimates come: each beside what a run of the same study took, in turns.

    python experiments/benchmarks/estimates.py [--rounds 3] [--studies digits,convnet,augmented]

A round estimates a study, then runs it with one process and one thread into a new folder. Seconds are of the processor
for both, so that other work on the machine counts less. Memory is the highest of the process above what it was before,
and bytes on disk are those of the finished run. Printed are ratios, estimated / real: of seconds and memory the mean
over rounds with its standard error, of bytes by kind of file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from biasvar.study import Study, resolve_study
from biasvar.training.dry_run import estimated, open_for_rehearsal
from biasvar.training.estimates import data_bytes
from biasvar.training.execute import run_study
from biasvar.training.peaks import Peak

CPU = torch.device("cpu")
FOLDERS = {"records": "records", "predictions": "predictions", "weights": "weights", "teachers": "teachers' logits"}
CONVNET: dict[str, Any] = {
    "name": "convnet", "replicas": 3, "backend": "sequential",
    "data": {"name": "digits", "test": 400, "validation": 200},
    "student": {"model": "convnet"}, "draw": {"kind": "subsample", "rows": 600},
    "schedule": {"epochs": 8, "batch_size": 50}, "learning_rate": {"value": 0.05}, "record": {"epochs": 2},
    "teachers": {"main": {"model": "convnet_deep", "epochs": 8, "batch_size": 50}},
    "defaults": {"teacher": "main", "temperature": 4, "alpha": 2.25},
    "arms": {
        "ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation"}, "wsl": {"loss": "weighted_soft_label"},
        "dfa": {"loss": "dfa", "weights": "last"},
        "rld": {"loss": "label_revision", "selection": {"score": "loss", "keep": 0.5, "which": "lowest"}},
    },
}  # fmt: skip


def studies() -> dict[str, Study]:
    """Perceptrons in one pass, convolutional networks one by one, and these on augmented images."""
    digits = yaml.safe_load((Path(__file__).parents[1] / "digits.yaml").read_text(encoding="utf-8"))
    for key in ("claims", "claims_fixed", "designs_tried"):
        digits.pop(key)
    names = ("ce", "ls", "kd", "wsl", "kd_random", "kd_own")
    digits["arms"] = {name: digits["arms"][name] for name in names}
    digits["teachers"] = {name: digits["teachers"][name] for name in ("main", "own")}
    augmented = {**CONVNET, "name": "augmented", "data": {**CONVNET["data"], "crop": 1, "flip": True}}
    return {raw["name"]: resolve_study(raw) for raw in (digits, CONVNET, augmented)}


def compare(study: Study, folder: Path) -> dict[str, float]:
    """Estimated / real: seconds, memory, and bytes of each kind of file and of all."""
    context = open_for_rehearsal(study, folder / "run", CPU)
    _, found = estimated(context)
    peak = Peak(CPU)
    peak.begin()
    began = time.process_time()
    run = run_study(study, folder / "run", device=CPU)
    took, highest = time.process_time() - began, peak.highest()
    ratios = {
        "seconds": sum(one.seconds for one in found) / took,
        "memory": (max(one.memory for one in found) + data_bytes(context)) / highest,
    }
    for name, what in FOLDERS.items():
        ratios[name] = sum(one.disk.get(what, 0.0) for one in found) / size(run.directory / name)
    ratios["all files"] = sum(one.bytes for one in found) / size(run.directory)
    return ratios


def size(folder: Path) -> int:
    """Bytes of the files of a folder and of all below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--studies", default="digits,convnet,augmented")
    options = parser.parse_args()
    known = studies()
    print("estimated / real, mean over rounds ± standard error")
    for name in options.studies.split(","):
        rounds = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(compare(known[name], Path(folder)))
        words = [f"{key} {in_words([one[key] for one in rounds])}" for key in rounds[0]]
        print(f"{name} (n = {len(rounds)}): {', '.join(words)}", flush=True)


def in_words(values: list[float]) -> str:
    """The mean of ratios, with its standard error where they differ."""
    mean = statistics.mean(values)
    if len(values) < 2 or max(values) - min(values) < 0.005:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
