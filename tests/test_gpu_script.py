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
    assert "Not done yet: The CUDA tests; Records and retraining weights against the CPU's; Throughput beside" in page


@pytest.mark.slow
def test_the_parts_on_speed_leave_ratios_with_their_rounds(tmp_path):
    for name in ("throughput", "together"):
        run_part(name, tmp_path, tmp_path / "work")
    told = json.loads((tmp_path / "throughput.json").read_text())
    (kinds,) = told["pairs"].values()
    assert kinds["kd"]["ratio"] == pytest.approx([kinds["kd"]["biasvar"][0] / kinds["kd"]["plain"][0]])
    ratios = json.loads((tmp_path / "together.json").read_text())["ratios"]
    assert [len(values) for values in ratios.values()] == [2, 2]
    run_part("page", tmp_path, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| resnet8 taught by resnet8, float32 | KD |" in page
    assert "| resnet8, R = 2, bf16 |" in page
