"""Worker processes that cannot be set up."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest
from torch import nn

from biasvar.study import resolve_study
from biasvar.training.execute import run_study


def in_a_worker_too_large(in_channels: int, num_classes: int) -> nn.Module:
    """Takes the data in the parent and fails in a worker, as on a machine on which one more is one too many."""
    if multiprocessing.parent_process() is not None:
        raise MemoryError("no room for one more")
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def test_a_worker_that_cannot_be_set_up_says_why_once(tiny_study, tmp_path, capfd):
    tiny_study |= {"backend": "sequential", "replicas": 2, "teachers": {}}
    tiny_study["student"] = {"model": f"{__name__}:in_a_worker_too_large"}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    with pytest.raises(ValueError, match="MemoryError: no room for one more"):
        run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu", jobs=2)
    assert "Traceback" not in capfd.readouterr().err


def test_a_script_without_a_guard_is_told_so_by_its_workers(tmp_path, tiny_study):
    """They import it, and would run its study anew."""
    script = tmp_path / "script.py"
    script.write_text(f"import biasvar\nbiasvar.run_study({tiny_study!r}, 'run', device='cpu', jobs=2)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert 'put the call under `if __name__ == "__main__":`' in done.stderr
