"""The recorder in a loop of Lightning Fabric's."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import biasvar
from tests.integrations.pages import REPLICAS, run_page

lightning_fabric = pytest.importorskip("lightning.fabric", reason="needs Lightning: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]


def test_the_page_runs_as_it_stands(tmp_path):
    run_page("fabric", tmp_path)
    run = biasvar.open_run(tmp_path / "runs/fabric")
    assert run.decomposition("distillation", split="test").totals().variance.n_replicas == REPLICAS
    assert len(run.records(["sample_id"], arm="distillation", split="train", replicas=[1])) == 8 * 1200


def train(fabric, folder):
    """Two epochs of a linear student, as the page says for several devices."""
    inputs, labels = torch.randn(23, 5, generator=torch.Generator().manual_seed(1)), torch.arange(23) % 3
    data = TensorDataset(torch.arange(23), inputs, labels)
    student = torch.nn.Linear(5, 3)
    student, optimizer = fabric.setup(student, torch.optim.SGD(student.parameters(), lr=0.1))
    loader = fabric.setup_dataloaders(DataLoader(data, batch_size=4, shuffle=True))
    options = {"part": (fabric.global_rank, fabric.world_size), "on_duplicate": "first"}
    with biasvar.Recorder(folder, num_samples=23, num_classes=3, temperature=2.0, **options) as recorder:
        fabric.barrier()
        for _ in range(2):
            for ids, batch, targets in loader:
                logits = student(batch)
                assert logits.dtype == torch.float32
                recorder.update(ids, logits, targets)
                optimizer.zero_grad()
                fabric.backward(torch.nn.functional.cross_entropy(logits, targets))
                optimizer.step()
            recorder.end_epoch()


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"devices": 2, "strategy": "ddp_spawn"}])
def test_every_row_is_recorded_in_every_epoch(tmp_path, options):
    fabric = lightning_fabric.Fabric(**{"accelerator": "cpu", "devices": 1, **options})
    fabric.launch(train, tmp_path / "run")
    rows = biasvar.open_run(tmp_path / "run").records(["epoch", "sample_id"], epochs=[1, 2])
    assert sorted(rows["sample_id"]) == sorted([*range(23)] * 2)
