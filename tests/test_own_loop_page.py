"""docs/own_loop.md: its programs run as they stand there, and their runs have what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import biasvar
from biasvar.report.page import open_runs, write_report

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_loop.md").read_text()
ALONE, TOGETHER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_loop_yields_bias_and_variance_of_two_arms(tmp_path):
    (tmp_path / "loop.py").write_text(ALONE)
    printed = run(tmp_path, "loop.py")
    assert len(re.findall(r"(bias|variance) 0\.\d+ ± 0\.\d+ over replicas", printed)) == 4
    recorded = biasvar.open_run(tmp_path / "runs" / "own_loop")
    assert recorded.manifest["status"] == "complete"
    assert recorded.decomposition("distillation").group_counts.shape == (4, 597)
    page = write_report(
        open_runs([recorded.directory]), tmp_path / "page", figures=["bias_variance", "effects", "flags"], formats=[]
    ).read_text()
    assert "effects" in page
    claims = pd.read_csv(tmp_path / "page" / "claims.csv")
    assert claims["id"].tolist() == ["W1", "W2", "W3"]  # of KD against cross-entropy, with verdicts by the ledger
    assert claims["effect"].notna().all()
    assert "No study fixed the claims of this run" in page
    lines = [line for line in ALONE.splitlines() if re.search(r"# [1-5]\b", line)]
    assert len(lines) == 5


@pytest.mark.slow
def test_two_processes_record_each_sample_once(tmp_path):
    (tmp_path / "loop.py").write_text(TOGETHER)
    command = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29577", "loop.py")
    run(tmp_path, *command)
    metrics = biasvar.open_run(tmp_path / "runs" / "processes").metrics
    assert metrics.groupby(["split", "epoch"])["n"].sum().to_dict() == {
        ("train", 1): 1199, ("train", 2): 1199, ("train", 3): 1199, ("test", 1): 598,
    }  # fmt: skip
    assert metrics["replica"].unique().tolist() == [0]
