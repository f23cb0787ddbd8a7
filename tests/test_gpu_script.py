"""`make gpu` where there is no device, and the page that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "benchmarks" / "gpu.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a CUDA device")
def test_without_a_device_it_says_what_is_needed_and_writes_nothing():
    before = sorted((ROOT / "figures").rglob("*"))
    done = subprocess.run(
        ["bash", "experiments/benchmarks/gpu.sh"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs a CUDA device" in done.stderr
    assert sorted((ROOT / "figures").rglob("*")) == before


def run_part(name: str, out: Path, work: Path) -> None:
    subprocess.run(
        [sys.executable, str(SCRIPT), name, str(out), str(work)],
        check=True, capture_output=True, env={**os.environ, "BIASVAR_GPU_DRY": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_recorder_part_leaves_numbers_with_their_provenance_and_the_page_names_what_is_missing(tmp_path):
    run_part("page", tmp_path, tmp_path)
    assert "No part has run yet" in (tmp_path / "README.md").read_text()
    run_part("recorder", tmp_path, tmp_path / "work")
    told = json.loads((tmp_path / "recorder.json").read_text())
    assert told["ratio_min"] <= told["ratio_median"] <= told["ratio_max"]
    assert set(told["environment"]) >= {"device", "torch", "cuda", "python", "commit", "cpu_cores"}
    assert "no result of a GPU" in told["environment"]["device"]
    run_part("page", tmp_path, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "## What recording costs" in page
    assert "Not done yet: The CUDA tests; Records and retraining weights against the CPU's; The whole way." in page
