"""docs/torchdistill.md: its configuration and its programs run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

import biasvar

pytest.importorskip("torchdistill", reason="torchdistill is not installed: make test-integrations has it")

PAGE = (Path(__file__).parents[2] / "docs" / "torchdistill.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore:arm '.*the teacher's accuracy .* is at chance")  # it is: nobody trained it
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config, term = blocks("yaml")
    (tmp_path / "config.yaml").write_text(config)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "docs/torchdistill.md", "exec"), names)
    assert "loss_weight" in capsys.readouterr().out
    boxed = biasvar.open_run("runs/torchdistill").records(arm="wsl")
    assert boxed.groupby("epoch")["sample_id"].nunique().tolist() == [256, 256]
    assert not boxed.isna().any().any()
    own = biasvar.open_run("runs/own").records(arm="kd_spkd")
    assert own["sample_id"].nunique() == len(own) == 256

    from torchdistill.losses.high_level import WeightedSumLoss

    criterion = WeightedSumLoss(sub_terms={"again": yaml.safe_load(term)})
    logits = torch.randn(2, 4, 10)
    student, teacher = ({".": {"output": piece}} for piece in logits)
    student["sample_id"] = {"output": torch.tensor([9, 3, 250, 0])}
    assert torch.isfinite(criterion({"student": student, "teacher": teacher}, {}, torch.zeros(4, dtype=torch.int64)))


def test_the_page_says_what_the_configuration_needs():
    assert [int(number) for number in re.findall(r"# (\d):", PAGE)] == [1, 2, 3, 4, 5]
