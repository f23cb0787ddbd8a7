"""The callback in Lightning's own Trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import biasvar
from tests.integrations.pages import REPLICAS, run_page

L = pytest.importorskip("lightning", reason="needs Lightning: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

ROWS, CLASSES = 23, 3
INPUTS = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(ROWS) % CLASSES
DATA = TensorDataset(torch.arange(ROWS), INPUTS, LABELS)


class Student(L.LightningModule):
    """A linear student and its teacher; keeps the logits of each step, to compare with the record."""

    def __init__(self, **returned):
        super().__init__()
        self.student, self.teacher = torch.nn.Linear(5, CLASSES), torch.nn.Linear(5, CLASSES).requires_grad_(False)
        self.returned, self.seen = returned, []

    def training_step(self, batch):
        ids, inputs, labels = batch[0], batch[-2], batch[-1]
        logits = self.student(inputs)
        with torch.no_grad():
            teacher_logits = self.teacher(inputs)
        self.seen.append((self.current_epoch, ids, logits.detach(), teacher_logits))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "student_logits": logits, "teacher_logits": teacher_logits, **self.returned}

    def validation_step(self, batch):
        return {"student_logits": self.student(batch[1])}

    def configure_optimizers(self):
        return torch.optim.SGD(self.student.parameters(), lr=0.1)


class LossOnly(Student):
    def training_step(self, batch):
        return super().training_step(batch)["loss"]


def trainer(folder, callback, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return L.Trainer(default_root_dir=folder, callbacks=[callback], **{**quiet, "max_epochs": 2, **options})


def callback(folder, **options):
    known = {"num_samples": ROWS, "num_classes": CLASSES, "temperature": 2.0, "arm": "kd"}
    return biasvar.integrations.lightning.RecorderCallback(folder / "run", **{**known, **options})


def loader(data=DATA, **options):
    return DataLoader(data, **{"batch_size": 5, **options})


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulated"])
def test_the_record_is_that_of_a_plain_loop(tmp_path, options):
    module = Student()
    trainer(tmp_path, callback(tmp_path), **options).fit(module, loader(shuffle=True))
    plain = biasvar.Recorder(tmp_path / "plain", num_samples=ROWS, num_classes=CLASSES, temperature=2.0, arm="kd")
    for epoch in range(2):
        for seen, ids, logits, teacher_logits in module.seen:
            if seen == epoch:
                plain.update(ids, logits, LABELS[ids], teacher_logits)
        plain.end_epoch()
    ours, theirs = (biasvar.open_run(tmp_path / name).records(epochs=[1, 2], arm="kd") for name in ("run", "plain"))
    assert len(ours) == 2 * ROWS
    assert ours.equals(theirs)


def test_evaluations_at_the_end_of_an_epoch_are_recorded(tmp_path):
    module = Student()
    made = trainer(tmp_path, callback(tmp_path, validation=ROWS), val_check_interval=3)  # of 6: one within an epoch
    made.fit(module, loader(batch_size=4), loader())
    rows = biasvar.open_run(tmp_path / "run").records(arm="kd", split="test", view="clean", epochs=[1, 2])
    assert rows.groupby("epoch")["sample_id"].nunique().tolist() == [ROWS, ROWS]
    last = rows[rows["epoch"] == 2].sort_values("sample_id")
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(module.student(INPUTS), LABELS, reduction="none")
    np.testing.assert_allclose(last["student_loss"], loss, rtol=1e-5)


def test_evaluations_within_epochs_alone_are_none(tmp_path):
    made = trainer(tmp_path, callback(tmp_path, validation=ROWS), val_check_interval=2)  # of 5
    with pytest.warns(UserWarning, match="no evaluation is recorded: none was made at the end of an epoch"):
        made.fit(Student(), loader(), loader())


def test_evaluations_of_every_second_epoch_have_its_number(tmp_path):
    options = {"check_val_every_n_epoch": 2, "max_epochs": 4}
    trainer(tmp_path, callback(tmp_path, validation=ROWS), **options).fit(Student(), loader(), loader())
    run = biasvar.open_run(tmp_path / "run")
    assert run.records(["epoch"], arm="kd", split="test", view="clean")["epoch"].unique().tolist() == [2, 4]


def test_the_summary_goes_to_the_loggers(tmp_path):
    logger = L.pytorch.loggers.CSVLogger(tmp_path)
    made = trainer(tmp_path, callback(tmp_path, validation=ROWS), logger=logger)
    made.fit(Student(), loader(), loader())
    accuracy = (biasvar.open_run(tmp_path / "run").metrics.query("epoch == 2 and split == 'train'"))["accuracy"].item()
    assert made.callback_metrics["biasvar/train/accuracy"].item() == pytest.approx(accuracy)
    written = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "biasvar/train/share_opposing" in written
    assert "biasvar/test/nll" in written


def test_an_epoch_that_max_steps_cuts_short_is_left_out(tmp_path):
    options = {"max_steps": 7, "max_epochs": -1}
    with pytest.warns(UserWarning, match="epoch 2 of split 'train' is not recorded: it has 2 of 5 batches"):
        trainer(tmp_path, callback(tmp_path), **options).fit(Student(), loader())
    run = biasvar.open_run(tmp_path / "run")
    assert run.records(["epoch"], arm="kd")["epoch"].unique().tolist() == [1]


def test_a_training_goes_on_from_a_checkpoint(tmp_path):
    made = trainer(tmp_path, callback(tmp_path))
    made.fit(Student(), loader())
    made.save_checkpoint(tmp_path / "last.ckpt")
    more = trainer(tmp_path, callback(tmp_path, resume=True), max_epochs=3)
    more.fit(Student(), loader(), ckpt_path=tmp_path / "last.ckpt")
    run = biasvar.open_run(tmp_path / "run")
    assert run.records(["epoch"], arm="kd", epochs=[1, 2, 3])["epoch"].unique().tolist() == [1, 2, 3]


def test_a_step_that_returns_only_a_loss_is_told_what_to_return(tmp_path):
    with pytest.raises(ValueError, match=r"training_step returned no logits but .* return a dictionary"):
        trainer(tmp_path, callback(tmp_path)).fit(LossOnly(), loader())
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_batch_without_ids_is_told_where_they_belong(tmp_path):
    data = TensorDataset(INPUTS, LABELS)
    with pytest.raises(ValueError, match="the batch has no sample ids"):
        trainer(tmp_path, callback(tmp_path)).fit(Student(), loader(data))


def test_two_processes_record_one_epoch(tmp_path):
    made = trainer(tmp_path, callback(tmp_path, validation=ROWS), devices=2, strategy="ddp_spawn")
    made.fit(Student(), loader(shuffle=True), loader())  # of an odd number of rows one comes twice
    run = biasvar.open_run(tmp_path / "run")
    for split, view in (("train", "augmented"), ("test", "clean")):
        rows = run.records(["sample_id", "epoch"], arm="kd", split=split, view=view, epochs=[1, 2])
        assert sorted(rows["sample_id"]) == sorted([*range(ROWS)] * 2)


def test_the_page_runs_as_it_stands(tmp_path):
    run_page("lightning", tmp_path)
    run = biasvar.open_run(tmp_path / "runs/lightning")
    assert run.decomposition("distillation", split="test").totals().variance.n_replicas == REPLICAS
