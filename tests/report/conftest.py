"""A small real run, trained once a session, and what a report on it wrote."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasvar.records import Run, import_predictions, open_run

ROOT = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "name": "small",
    "title": "A small <study> of soft labels & $tests$",
    "seed": 3,
    "replicas": 4,
    "data": {"test": 97, "validation": 60, "reserved": 80},
    "student": {"model": "mlp", "hidden": [12]},
    "draw": {"kind": "subsample", "rows": 120},
    "schedule": {"epochs": 4, "batch_size": 20},
    "learning_rate": {
        "grid": [0.02, 0.1],
        "replicas": 2,
        "families": {
            "cross_entropy": "ce", "label_smoothing": "ls", "distillation": "kd", "weighted_soft_label": "wsl",
        },
    },
    "evaluate_every": 2,
    "record": {"epochs": "all"},
    "defaults": {"teacher": "main", "temperature": 4.0, "alpha": 2.25},
    "teachers": {
        "main": {"hidden": [32], "epochs": 4, "label": "Teacher on all rows"},
        "own": {"hidden": [32], "epochs": 4, "draw": "per_replica", "rows": "own"},
        "disjoint": {"hidden": [32], "epochs": 4, "rows": "reserved"},
    },
    "arms": {
        "ce": {"loss": "cross_entropy", "label": "CE"},
        "ls": {"loss": "label_smoothing", "smoothing": 0.1, "label": "LS"},
        "kd_t2": {"loss": "distillation", "temperature": 2.0, "label": "KD 2"},
        "kd": {"loss": "distillation", "label": "KD"},
        "wsl": {"loss": "weighted_soft_label", "label": "WSL"},
        "kd_own": {"loss": "distillation", "teacher": "own", "role": "regime", "label": "KD, own"},
        "kd_disjoint": {"loss": "distillation", "teacher": "disjoint", "role": "regime", "label": "KD, disjoint"},
        "kd_other": {"loss": "distillation", "teacher": "disjoint", "role": "teacher sweep", "label": "KD, other"},
    },
    "claims": {
        "W1": [{"treatment": "kd", "control": "ce"}, {"treatment": "kd_own", "control": "ce"}],
        "W8": [{"treatment": "wsl", "control": "kd"}],
    },
}  # fmt: skip


def report(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m biasvar.report` in a process of its own; warnings are errors there too."""
    strict = ["-W", "error", "-W", "ignore::DeprecationWarning"]  # as in pyproject.toml: old libraries' own
    command = [sys.executable, *strict, "-m", "biasvar.report", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def study_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Eight arms of four replicas and four epochs, on digits."""
    from biasvar.study import resolve_study
    from biasvar.training.execute import run_study

    directory = tmp_path_factory.mktemp("study") / "small"
    run_study(resolve_study(STUDY), directory, device="cpu")
    return open_run(directory)


@pytest.fixture(scope="session")
def written(study_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole report on `study_run`, by the command line."""
    out = tmp_path_factory.mktemp("report") / "deep" / "page"
    done = report(study_run.directory, "--out", out, "--formats", "png,svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'index.html'}\n"
    lines = [line for line in done.stderr.splitlines() if not line.startswith("biasvar: report: ")]  # progress
    assert len(lines) == 1
    assert re.fullmatch(r"Of 2 claims, .+\. Open it in a browser: file://.+/deep/page/index\.html", lines[0])
    return out


@pytest.fixture(scope="session")
def recorder_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What a loop of one's own leaves: two replicas, three epochs, the training pass of one arm."""
    import torch

    import biasvar

    directory = tmp_path_factory.mktemp("recorder") / "mine"
    for replica in range(2):
        random = torch.Generator().manual_seed(replica)
        with biasvar.Recorder(
            directory, num_samples=30, num_classes=3, temperature=2.0, arm="kd", replica=replica
        ) as recorder:
            for epoch in range(3):
                labels = torch.arange(30) % 3
                student = epoch * torch.eye(3)[labels] + torch.randn(30, 3, generator=random)
                teacher = 2 * torch.eye(3)[labels] + torch.randn(30, 3, generator=random)
                recorder.update(torch.arange(30), student, labels, teacher)
                recorder.end_epoch()
    return open_run(directory)


@pytest.fixture(scope="session")
def imported_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Finished predictions of two arms, three replicas."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, size=40)
    directory = tmp_path_factory.mktemp("imported") / "finished"
    for arm, size in (("plain", 1.0), ("sharp", 3.0)):
        replicas = [size * np.eye(3)[labels] + random.normal(size=(40, 3)) for _ in range(3)]
        import_predictions(replicas, labels, directory=directory, arm=arm, resume=arm == "sharp")
    return open_run(directory)
