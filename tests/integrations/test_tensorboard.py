"""Summaries on TensorBoard's curves, read back by TensorBoard's own reader."""

from __future__ import annotations

import math

import pytest
import torch

import biasvar
from tests.integrations.pages import REPLICAS, run_page

pytest.importorskip("tensorboard", reason="needs TensorBoard: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
LOGITS = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))


def curves(folder):
    """By tag, the (step, value) pairs of a folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def recorded(folder, replicas=(0,)):
    """The summaries of two epochs of a recording without a teacher."""
    known = {"num_samples": 6, "num_classes": 3, "temperature": 2.0, "arm": "mine"}
    summaries = []
    for replica in replicas:
        with biasvar.Recorder(folder, replica=replica, **known) as recorder:
            for sign in (1, -1):
                recorder.update(range(6), sign * LOGITS[replica], LABELS)
                summaries.append(recorder.end_epoch())
    return summaries


def test_a_summary_is_a_curve_a_number(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    summaries = recorded(tmp_path / "run")
    with SummaryWriter(str(tmp_path / "events")) as writer:
        for epoch, summary in enumerate(summaries, 1):
            biasvar.integrations.tensorboard.add_summary(writer, summary, epoch, prefix="mine/")
    found = curves(tmp_path / "events")
    assert set(found) == {"mine/n", "mine/accuracy", "mine/nll", "mine/loss_weight"}  # no teacher, no shares
    expected = [torch.nn.functional.cross_entropy(sign * LOGITS[0], LABELS).item() for sign in (1, -1)]
    assert found["mine/nll"] == [(1, pytest.approx(expected[0])), (2, pytest.approx(expected[1]))]


def test_a_run_is_written_by_arm_and_replica(tmp_path):
    recorded(tmp_path / "run", replicas=(0, 1))
    folders = biasvar.integrations.tensorboard.write_run(tmp_path / "run", tmp_path / "events")
    assert folders == [tmp_path / "events/mine/replica=0", tmp_path / "events/mine/replica=1"]
    metrics = biasvar.open_run(tmp_path / "run").metrics
    for replica, folder in enumerate(folders):
        found = curves(folder)
        assert all(math.isfinite(value) for pairs in found.values() for _, value in pairs)
        own = metrics[metrics["replica"] == replica].sort_values("epoch")
        assert found["train/augmented/nll"] == [
            (1, pytest.approx(own["nll"].iloc[0])),
            (2, pytest.approx(own["nll"].iloc[1])),
        ]
    with pytest.raises(FileExistsError, match="exists: delete it, or give another log_dir"):
        biasvar.integrations.tensorboard.write_run(tmp_path / "run", tmp_path / "events")


def test_the_page_runs_as_it_stands(tmp_path):
    run_page("tensorboard", tmp_path)
    run = biasvar.open_run(tmp_path / "runs/plain")
    assert run.decomposition("distillation", split="test").totals().variance.n_replicas == REPLICAS
    found = curves(tmp_path / "runs/events/distillation/replica=1")
    assert len(found["biasvar/train/share_opposing"]) == len(found["biasvar/test/nll"]) == 8
