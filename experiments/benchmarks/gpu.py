"""The parts of `make gpu`, one at a time: `python experiments/benchmarks/gpu.py PART OUT WORK`, see gpu.sh.

    tests      the tests that need a CUDA device
    agreement  the digits study on the device and on the CPU: records, retraining weights and totals, sample by sample
    recorder   what recording costs a ResNet-20 step, and how many steps a second several processes take together
    throughput images a second of KD and WSL, recorded, beside a plain loop of the published kind
    together   replicas of a small network in one pass, beside one alone
    cifar10    CIFAR-10, ResNet-20, 8 replicas: record, flags, indicators, weights, retraining, report
    page       README.md of what the others left in OUT

Every part but the page leaves OUT/PART.json, and that only when it is done. With BIASVAR_GPU_DRY set the device is the
CPU and everything is tiny: it shows that the parts run, and measures nothing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import biasvar

from gpu_speed import throughput, throughput_section, together, together_section  # isort: skip
from biasvar.files import write_bytes, write_json

ROOT = Path(__file__).parents[2]
DRY = bool(os.environ.get("BIASVAR_GPU_DRY"))
DEVICE = torch.device("cpu" if DRY else "cuda")
# The device computes in float64 what the CPU computes in float64, and both round once to float32, whose spacing is
# 1.2e-7 of a number: two spacings are allowed for numbers that fall on either side of one.
SAME_LOGITS = 2.4e-7
# Two trainings in float32 whose sums run in another order drift apart, by little and most where a sample is near a
# boundary. Held are the mean difference by column, and the arms' totals against their own standard errors.
MEAN_DIFFERENCE = 1e-2
TOTALS_IN_STANDARD_ERRORS = 0.5
COLUMNS = ["student_prob", "bias_gradient", "variance_gradient", "wsl_weight"]


def environment() -> dict[str, Any]:
    """What the numbers were measured on."""
    told: dict[str, Any] = {
        "device": "CPU (a dry run: no result of a GPU)" if DRY else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu_cores": len(os.sched_getaffinity(0)),
        "commit": os.environ.get("BIASVAR_COMMIT") or _output("git", "describe", "--always", "--dirty=+changes"),
        "date": time.strftime("%Y-%m-%d"),
    }
    if not DRY:
        told["driver"] = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        told["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    return told


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _run(*arguments: str) -> float:
    """Seconds of a command of this Python, whose output is shown; raises CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)
    return time.perf_counter() - began


# The parts


def run_tests(out: Path, work: Path) -> dict[str, Any]:
    """Counts of the tests that need a CUDA device (`-m cuda`), and the names of those that failed."""
    report = work / "tests.xml"
    # A newer PyTorch than ours may warn of what it will change; here that is no failure.
    options = ["-q", "-n", "0", "-m", "cuda", "-W", "default", "-p", "no:cacheprovider", f"--junitxml={report}"]
    files = ["tests/test_cuda.py", "tests/training/test_augmentation.py"]
    status = subprocess.run([sys.executable, "-m", "pytest", *options, *files], cwd=ROOT).returncode
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if any(case.find(kind) is not None for kind in ("failure", "error"))
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "status": status,
        "n": len(cases),
        "failed": bad,
        "skipped": skipped,
        "passed": len(cases) - skipped - len(bad),
    }


def agreement(out: Path, work: Path) -> dict[str, Any]:
    """The digits study, trained on both devices."""
    same = _same_logits(work)
    tiny = ["--set", "replicas=2", "--set", "schedule.epochs=2", "--set", "learning_rate.replicas=1"] if DRY else []
    study = str(ROOT / "experiments" / "digits.yaml")
    cores = str(min(8, len(os.sched_getaffinity(0))))
    seconds = {}
    for name, device, jobs in (("cpu", "cpu", cores), ("device", str(DEVICE), "4")):
        seconds[name] = _run("biasvar.run", study, "--out", str(work / name), "--device", device, "--jobs", jobs, *tiny)
    cpu, other = (biasvar.open_run(work / name) for name in ("cpu", "device"))
    rows, totals = [], []
    for arm in cpu.arms:
        if cpu.arm(arm)["learning_rate"] != other.arm(arm)["learning_rate"]:
            continue
        rows += _record_differences(cpu, other, arm)
        totals += _total_differences(cpu, other, arm)
    records, table = pd.DataFrame(rows), pd.DataFrame(totals)
    records.to_csv(out / "agreement_records.csv", index=False)
    table.to_csv(out / "agreement_totals.csv", index=False)
    labels = cpu.samples.sort_values("sample_id")
    weights = []
    for arm in ("kd", "wsl"):
        mine, theirs = (run.weights(arm).set_index("sample_id")["weight"] for run in (cpu, other))
        difference = (mine - theirs.reindex(mine.index)).abs()
        weights.append({"arm": arm, "n": len(difference), "mean": difference.mean(), "max": difference.max()})
    last = records[records["epoch"] == records["epoch"].max()]
    return {
        "same_logits": same,
        "same_logits_tolerance": SAME_LOGITS,
        "seconds": seconds,
        "n_arms": table["arm"].nunique(),
        "arms_at_another_rate": len(cpu.arms) - table["arm"].nunique(),
        "n_samples": len(labels),
        "replicas": int(cpu.arm("kd")["replicas"]),
        "mean_difference_last_epoch": last.groupby("column")["mean"].max().to_dict(),
        "flags_agree_last_epoch": float(last["flags_agree"].min()),
        "mean_difference_tolerance": MEAN_DIFFERENCE,
        "retraining_weights": weights,
        "totals_in_standard_errors": {
            key: float(frame["in_standard_errors"].abs().max()) for key, frame in table.groupby("quantity")
        },
        "totals_tolerance": TOTALS_IN_STANDARD_ERRORS,
    }


def _same_logits(work: Path) -> dict[str, float]:
    """Largest relative difference by column, of records of the same logits taken on either device."""
    n, classes = (200, 10) if DRY else (20_000, 10)
    keys = torch.Generator().manual_seed(0)
    student, teacher = 6 * torch.randn(2, n, classes, generator=keys)
    labels = torch.randint(0, classes, (n,), generator=keys)
    frames = []
    for name in ("cpu", str(DEVICE)):
        folder = work / f"same_{name}_{len(frames)}"
        shutil.rmtree(folder, ignore_errors=True)
        with biasvar.Recorder(folder, num_samples=n, num_classes=classes, temperature=4.0) as recorder:
            values = [value.to(name) for value in (torch.arange(n), student, labels, teacher)]
            for pieces in zip(*(value.split(500) for value in values), strict=True):
                recorder.update(*pieces)
        frames.append(biasvar.open_run(folder).records().sort_values("sample_id", ignore_index=True))
    ours, theirs = frames
    differences = {}
    for column in ours.select_dtypes("number"):
        a, b = (frame[column].to_numpy(np.float64) for frame in frames)
        differences[str(column)] = float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-30)))
    differences["flags_that_differ"] = float((ours["opposing"] != theirs["opposing"]).sum())
    return differences


def _record_differences(cpu: Any, other: Any, arm: str) -> list[dict[str, Any]]:
    """Absolute differences of each sample's terms in the training pass, at each recorded epoch."""
    rows = []
    keys = ["replica", "sample_id"]
    for epoch in cpu.record_epochs(arm, "train", "augmented"):
        a, b = (
            run.records([*keys, *COLUMNS, "opposing"], arm=arm, split="train", view="augmented", epochs=epoch)
            .set_index(keys)
            .sort_index()
            for run in (cpu, other)
        )
        if not a.index.equals(b.index):
            raise AssertionError(f"arm {arm}, epoch {epoch}: the two runs recorded other samples")
        agree = float((a["opposing"] == b["opposing"]).mean())
        for column in COLUMNS:
            difference = (a[column].astype("float64") - b[column].astype("float64")).abs().to_numpy(np.float64)
            rows.append(
                {
                    "arm": arm, "epoch": epoch, "column": column, "n": len(difference), "mean": np.nanmean(difference),
                    "median": np.nanmedian(difference), "q99": np.nanquantile(difference, 0.99),
                    "max": np.nanmax(difference), "flags_agree": agree,
                }
            )  # fmt: skip
    return rows


def _total_differences(cpu: Any, other: Any, arm: str) -> list[dict[str, Any]]:
    """Bias and variance of an arm on the test rows, on both devices."""
    ours, theirs = (run.decomposition(arm).totals() for run in (cpu, other))
    rows = []
    for quantity in ("bias", "variance"):
        a, b = getattr(ours, quantity), getattr(theirs, quantity)
        error = float(a.stderr_replicas)
        rows.append(
            {
                "arm": arm, "quantity": quantity, "cpu": a.value, "device": b.value, "stderr_replicas": error,
                "in_standard_errors": (b.value - a.value) / error if error else float(b.value != a.value),
            }
        )  # fmt: skip
    return rows


def recorder(out: Path, work: Path) -> dict[str, Any]:
    """A ResNet-20 epoch with and without the recorder, in turns; then steps a second of several processes.

    The second as far as the part's seconds go: what the first found is kept in any case.
    """
    ends = time.monotonic() + float(os.environ.get("BIASVAR_GPU_SECONDS", 240)) - 35  # processes take long to start
    rounds, steps, batch = (2, 3, 8) if DRY else (5, 79, 128)
    step, ids, labels = _resnet_step(batch, mixed=False)
    folder = work / "recorder"
    shutil.rmtree(folder, ignore_errors=True)
    writer = biasvar.Recorder(folder, num_samples=batch * steps, num_classes=10, temperature=4.0)
    teacher = torch.randn(batch, 10, device=DEVICE)

    def epoch(recorded: bool) -> float:
        began = time.perf_counter()
        for i in range(steps):
            logits = step()
            if recorded:
                writer.update(ids + i * batch, logits, labels, teacher)
        if recorded:
            writer.end_epoch()
        _wait()
        return time.perf_counter() - began

    epoch(False), epoch(True)
    plain, with_record = [], []
    for _ in range(rounds):
        plain.append(epoch(False))
        with_record.append(epoch(True))
    ratios = [a / b for a, b in zip(with_record, plain, strict=True)]
    told: dict[str, Any] = {
        "batch": batch,
        "steps": steps,
        "rounds": rounds,
        "milliseconds_per_step": statistics.median(plain) / steps * 1e3,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "steps_per_second": {},
    }
    seconds = 0.3 if DRY else 4.0
    for mixed in (False, True):
        for processes in (1, 2) if DRY else (8, 1):
            if time.monotonic() > ends and not DRY:
                continue
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                done = [pool.submit(_steps_per_second, batch, mixed, seconds) for _ in range(processes)]
                name = f"{'bf16' if mixed else 'float32'}, {processes} processes"
                told["steps_per_second"][name] = sum(future.result() for future in done)
    return told


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def _resnet_step(batch: int, *, mixed: bool) -> tuple[Callable[[], torch.Tensor], torch.Tensor, torch.Tensor]:
    """A training step of a ResNet-20 on images of 32x32x3, as the sequential backend takes it; ids, labels."""
    from biasvar.training.networks import build_network
    from biasvar.training.optimizers import SGD
    from biasvar.training.replicas import SequentialReplica

    network = build_network("resnet20", in_channels=3, num_classes=10).to(DEVICE)
    replica = SequentialReplica(
        [network],
        optimizer=SGD(momentum=0.9, nesterov=True, weight_decay=5e-4),
        precision="bf16" if mixed else "float32",
    )
    x = torch.randn(1, batch, 3, 32, 32, device=DEVICE)
    labels = torch.randint(0, 10, (batch,), device=DEVICE)

    def step() -> torch.Tensor:
        logits = replica(x)
        replica.step(F.cross_entropy(logits[0], labels)[None], 0.01)
        return logits[0].detach()

    return step, torch.arange(batch, device=DEVICE), labels


def _steps_per_second(batch: int, mixed: bool, seconds: float) -> float:
    """Of one process, over the seconds after a start."""
    torch.set_num_threads(1)
    step = _resnet_step(batch, mixed=mixed)[0]
    for _ in range(3):
        step()
    _wait()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(1 if DRY else 20):
            step()
            count += 1
        _wait()
    return count / (time.perf_counter() - began)


def cifar10(out: Path, work: Path) -> dict[str, Any]:
    """The study of experiments/gpu, from its data to its report."""
    jobs, chosen = 8, []
    if DRY:
        jobs = 2
        sizes = {
            "replicas": 2, "data.test": 40, "data.validation": 20, "data.student": 60, "draw.rows": 30,
            "schedule.epochs": 2, "schedule.batch_size": 10, "teachers.main.epochs": 1, "teachers.main.rows": 60,
            "record": "{epochs: all}", "evaluate_every": 1, "checkpoint_every": 1,
        }  # fmt: skip
        chosen = [part for key, value in sizes.items() for part in ("--set", f"{key}={value}")]
    else:
        chosen = _lengths(_epochs_that_fit(out))
    folder = work / "cifar10_resnet20"
    if folder.exists() and not DRY:  # begun before: it goes on as it was begun
        epochs = (biasvar.open_run(folder).study or {}).get("schedule", {}).get("epochs")
        chosen = _lengths(epochs) if epochs else chosen
    study = str(ROOT / "experiments" / "gpu" / "cifar10_resnet20.yaml")
    seconds = _run(
        "biasvar.run", study, "--out", str(folder), "--device", str(DEVICE), "--jobs", str(jobs), *chosen
    )  # fmt: skip
    drawn = work / "report"
    _run("biasvar.report", str(folder), "--out", str(drawn), "--formats", "png")
    for path in sorted([*drawn.glob("*.png"), *drawn.glob("*.csv"), drawn / "summary.json"]):
        if path.stat().st_size < 400_000:
            shutil.copy(path, out / path.name)
    run = biasvar.open_run(folder)
    flags = run.records(["opposing", "wsl_weight"], arm="kd", split="train", view="augmented", epochs=_last(run, "kd"))
    metrics = run.metrics
    final = metrics[(metrics["split"] == "test") & (metrics["epoch"] == metrics["epoch"].max())]
    arms = {}
    for arm in run.arms:
        totals = run.decomposition(arm).totals()
        accuracy = final.loc[final["arm"] == arm, "accuracy"].to_numpy(np.float64)
        arms[arm] = {
            "accuracy": accuracy.mean(), "accuracy_stderr": accuracy.std(ddof=1) / len(accuracy) ** 0.5,
            "bias": totals.bias.value, "bias_stderr": totals.bias.stderr_replicas,
            "variance": totals.variance.value, "variance_stderr": totals.variance.stderr_replicas,
            "n_replicas": len(accuracy), "seconds": run.arm(arm).get("seconds"),
        }  # fmt: skip
    return {
        "wall_seconds": seconds,
        "jobs": jobs,
        "epochs": int(run.arm("kd")["epochs"]),
        "n_test": len(run.predictions("ce").sample_ids),
        "n_flagged_of": len(flags),
        "share_flagged": float(flags["opposing"].astype("float64").mean()),
        "mean_wsl_weight": float(flags["wsl_weight"].astype("float64").mean()),
        "arms": arms,
    }


def _last(run: Any, arm: str) -> int:
    return max(run.record_epochs(arm, "train", "augmented"))


def _lengths(epochs: int) -> list[str]:
    """The study's options for so many epochs: four of them recorded, two checkpoints."""
    third = max(1, epochs // 3)
    settings = {"schedule.epochs": epochs, "record.epochs": third, "checkpoint_every": third, "evaluate_every": third}
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def _epochs_that_fit(out: Path) -> int:
    """Epochs of the students that half of this part's seconds pay for, at the speed that `recorder` measured."""
    path = out / "recorder.json"
    measured = json.loads(path.read_text())["steps_per_second"] if path.exists() else {}
    speed = measured.get("float32, 8 processes", 250.0)
    steps = 0.5 * float(os.environ.get("BIASVAR_GPU_SECONDS", 240)) * speed
    # 4 arms x 8 replicas x 79 steps an epoch; the teacher's 6 epochs of 165 steps run alone, at about a quarter of it.
    return int(np.clip((steps - 4 * 6 * 165) / (4 * 8 * 79), 2, 40))


# The page


def page(out: Path, work: Path) -> None:
    """README.md: what each part found, and on what."""
    parts = {name: json.loads((out / f"{name}.json").read_text()) for name in PARTS if (out / f"{name}.json").exists()}
    lines = ["# biasvar on a GPU", "", "Written by `make gpu` (`experiments/benchmarks/gpu.sh`).", ""]
    if not parts:
        lines += ["No part has run yet."]
    else:
        told = next(iter(parts.values()))["environment"]
        lines += ["| | |", "|---|---|", *(f"| {key.replace('_', ' ')} | {value} |" for key, value in told.items()), ""]
    for name, result in parts.items():
        lines += [f"## {TITLES[name]}", "", *SECTIONS[name](result), ""]
    missing = [TITLES[name] for name in PARTS if name not in parts]
    if missing:
        lines += [f"Not done yet: {'; '.join(missing)}.", ""]
    write_bytes(out / "README.md", "\n".join(lines).encode())


def _shown(value: float | None, digits: int = 4) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"


def _tests_section(told: dict[str, Any]) -> list[str]:
    lines = [f"{told['passed']} of {told['n']} tests passed, {told['skipped']} skipped (`pytest -m cuda`)."]
    return lines + [f"- failed: `{name}`" for name in told["failed"]]


def _agreement_section(told: dict[str, Any]) -> list[str]:
    same = {key: value for key, value in told["same_logits"].items() if key != "flags_that_differ"}
    worst = max(same, key=lambda key: same[key])
    lines = [
        f"The same float32 logits recorded on both: the largest relative difference of any column is {same[worst]:.2g} "
        f"({worst}; tolerance {told['same_logits_tolerance']:.2g}, two spacings of float32), and "
        f"{told['same_logits']['flags_that_differ']:.0f} flags differ.",
        "",
        f"The digits study trained on both ({told['n_arms']} arms of {told['replicas']} replicas, {told['n_samples']} "
        f"samples; {told['arms_at_another_rate']} arms chose another learning rate and are left out); seconds "
        f"{told['seconds']['cpu']:.0f} on the CPU, {told['seconds']['device']:.0f} on the device. At the last recorded "
        "epoch, the arm that differs most:",
        "",
        "| column | mean absolute difference | tolerance |",
        "|---|---|---|",
        *(
            f"| {column} | {value:.2g} | {told['mean_difference_tolerance']:g} |"
            for column, value in told["mean_difference_last_epoch"].items()
        ),
        "",
        f"Flags agree on {told['flags_agree_last_epoch']:.2%} of (replica, sample) in the worst arm.",
    ]
    lines += [
        f"Retraining weights of {row['arm']}: {row['n']} samples, mean difference {row['mean']:.2g}, largest "
        f"{row['max']:.2g}."
        for row in told["retraining_weights"]
    ]
    shown = ", ".join(f"{key} {_shown(value, 2)}" for key, value in told["totals_in_standard_errors"].items())
    lines += [
        "",
        f"Totals of the arms differ by at most so many of their own standard errors over replicas: {shown} "
        f"(tolerance {told['totals_tolerance']}). By arm: `agreement_totals.csv`, `agreement_records.csv`.",
    ]
    return lines


def _recorder_section(told: dict[str, Any]) -> list[str]:
    return [
        f"An epoch of {told['steps']} ResNet-20 steps (batch {told['batch']}, float32), recorded over not recorded: "
        f"{told['ratio_median']:.3f} (median of {told['rounds']} pairs; {told['ratio_min']:.3f} to "
        f"{told['ratio_max']:.3f}); {told['milliseconds_per_step']:.1f} ms a step in one process.",
        "",
        "| processes side by side | steps a second, together |",
        "|---|---|",
        *(f"| {name} | {value:.0f} |" for name, value in told["steps_per_second"].items()),
    ]


def _cifar10_section(told: dict[str, Any]) -> list[str]:
    return [
        f"CIFAR-10, ResNet-20, {told['epochs']} epochs on 10,000 images a replica, {told['jobs']} processes, "
        f"{told['wall_seconds']:.0f} s in all; n = {told['n_test']} test images. {told['share_flagged']:.2%} of KD's "
        f"{told['n_flagged_of']} recorded training rows are regularization samples at the last epoch (both gradients "
        f"point apart); mean WSL weight {told['mean_wsl_weight']:.3f}. Standard errors are over replicas.",
        "",
        "| arm | replicas | test accuracy | bias | variance | seconds of training |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {arm['n_replicas']} | "
            + " | ".join(
                f"{_shown(arm[key])} ± {_shown(arm[key + '_stderr'])}" for key in ("accuracy", "bias", "variance")
            )
            + f" | {arm['seconds']} |"
            for name, arm in told["arms"].items()
        ),
        "",
        "![Bias and variance](bias_variance.png)",
    ]


PARTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "tests": run_tests,
    "agreement": agreement,
    "recorder": recorder,
    "throughput": lambda out, work: throughput(DEVICE, work, dry=DRY),
    "together": lambda out, work: together(DEVICE, dry=DRY),
    "cifar10": cifar10,
}
TITLES = {
    "tests": "The CUDA tests",
    "agreement": "Records and retraining weights against the CPU's",
    "recorder": "What recording costs",
    "throughput": "Throughput beside a plain loop",
    "together": "Replicas in one pass",
    "cifar10": "The whole way",
}
SECTIONS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "tests": _tests_section,
    "agreement": _agreement_section,
    "recorder": _recorder_section,
    "throughput": throughput_section,
    "together": together_section,
    "cifar10": _cifar10_section,
}


def main(name: str, out: Path, work: Path) -> None:
    if name == "page":
        return page(out, work)
    began = time.perf_counter()
    result = PARTS[name](out, work)
    sys.stdout.flush()
    told = {"environment": environment(), "seconds_of_this_part": time.perf_counter() - began, **result}
    write_json(out / f"{name}.json", told)
    print(f"{name}: done in {told['seconds_of_this_part']:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve())
