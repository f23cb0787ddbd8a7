"""The callback and the mixin in Hugging Face's own Trainer."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

import biasvar
from biasvar.losses import DistillationLoss
from tests.integrations.pages import REPLICAS, ROOT, run_page

transformers = pytest.importorskip("transformers", reason="needs transformers: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

ROWS, CLASSES, LENGTH = 23, 3, 6
TOKENS = torch.randint(0, 11, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
LABELS = [i % CLASSES for i in range(ROWS)]
DATA = [{"sample_id": i, "input_ids": TOKENS[i], "labels": LABELS[i]} for i in range(ROWS)]


class Seen:
    """Adds what it said of each batch to a student, to compare with the record."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def forward(self, input_ids, labels=None, **kwargs):
        output = super().forward(input_ids=input_ids, labels=labels)
        self.seen.append((self.training, input_ids, output["logits"].detach()))
        return output


class Small(torch.nn.Module):
    """A classifier of tokens that returns a plain dictionary, and knows no other arguments."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Embedding(11, 4), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(4 * LENGTH, CLASSES)
        )

    def forward(self, input_ids, labels=None):
        logits = self.layers(input_ids)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class SeenSmall(Seen, Small):
    pass


class LossOnly(Small):
    def forward(self, input_ids, labels=None):
        return {"loss": super().forward(input_ids, labels)["loss"]}


class Inside(Small):
    """A model with its teacher inside."""

    def forward(self, input_ids, labels=None):
        output = super().forward(input_ids, labels)
        return {**output, "teacher_logits": -output["logits"].detach()}


class Distiller(biasvar.integrations.huggingface.RecorderMixin, transformers.Trainer):
    pass


def bert():
    config = transformers.BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        num_labels=CLASSES, max_position_embeddings=LENGTH,
    )  # fmt: skip
    return type("SeenBert", (Seen, transformers.BertForSequenceClassification), {})(config)


def arguments(folder, **options):
    known = {
        "num_train_epochs": 2, "per_device_train_batch_size": 5, "per_device_eval_batch_size": 5, "use_cpu": True,
        "report_to": [], "save_strategy": "no", "disable_tqdm": True, "learning_rate": 0.05,
    }  # fmt: skip
    return transformers.TrainingArguments(str(folder / "trainer"), **{**known, **options})


def callback(folder, **options):
    known = {"num_samples": ROWS, "num_classes": CLASSES, "temperature": 2.0, "arm": "kd"}
    return biasvar.integrations.huggingface.RecorderCallback(folder / "run", **{**known, **options})


def records(folder, split="train", view="augmented", **options):
    return biasvar.open_run(folder / "run").records(arm="kd", split=split, view=view, **options)


def losses(seen, training):
    """The cross-entropy of every row in the order seen, from the logits that a student gave, and the rows' ids."""
    ids = [
        next(i for i in range(ROWS) if torch.equal(TOKENS[i], row))
        for mode, rows, _ in seen
        if mode == training
        for row in rows
    ]
    logits = torch.cat([logits for mode, _, logits in seen if mode == training])
    labels = torch.tensor([LABELS[i] for i in ids])
    return ids, torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("how", ["callback", "mixin"])
@pytest.mark.parametrize("student", [bert, SeenSmall])
def test_the_record_is_what_the_student_said(tmp_path, how, student, accumulated):
    model = student()
    options = {"eval_strategy": "epoch", "gradient_accumulation_steps": accumulated}
    recorder, data = callback(tmp_path, validation=ROWS), {"train_dataset": DATA, "eval_dataset": DATA}
    if how == "callback":
        args = arguments(tmp_path, label_names=["labels", "sample_id"], **options)
        trainer = transformers.Trainer(model, args, **data, callbacks=[recorder])
    else:
        trainer = Distiller(model, arguments(tmp_path, **options), **data, recorder=recorder)
    trainer.train()
    for training, split, view in ((True, "train", "augmented"), (False, "test", "clean")):
        ids, expected = losses(model.seen, training)
        for epoch in (1, 2):
            rows = records(tmp_path, split, view, epochs=epoch).set_index("sample_id")["student_loss"]
            assert sorted(rows.index) == list(range(ROWS))
            own = slice((epoch - 1) * ROWS, epoch * ROWS)
            np.testing.assert_allclose(rows.loc[ids[own]], expected[own], rtol=1e-5)
    said = len(model.seen)
    trainer.evaluate()  # after training nothing is recorded, and the hooks are gone
    trainer.predict(DATA)
    assert len(model.seen) > said
    assert records(tmp_path, "test", "clean", columns=["epoch"])["epoch"].unique().tolist() == [1, 2]


def test_a_teacher_in_eval_mode_distils(tmp_path):
    teacher = Small().train()
    trainer = Distiller(
        Small(), arguments(tmp_path), train_dataset=DATA, recorder=callback(tmp_path), teacher=teacher,
        distillation_loss=DistillationLoss(temperature=2.0, alpha=1.0),
    )  # fmt: skip
    before = [parameter.clone() for parameter in teacher.parameters()]
    trainer.train()
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(
            teacher.eval()(TOKENS)["logits"], torch.tensor(LABELS), reduction="none"
        )
    for epoch in (1, 2):
        rows = records(tmp_path, epochs=epoch).sort_values("sample_id")
        np.testing.assert_allclose(rows["teacher_loss"], expected, rtol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(before, teacher.parameters(), strict=True))
    logged = [entry for entry in trainer.state.log_history if "biasvar/train/accuracy" in entry]
    assert [entry["epoch"] for entry in logged] == [1, 2]


def test_accumulated_batches_learn_as_one_batch(tmp_path):
    trained = []
    for batch, accumulated in ((8, 1), (4, 2)):
        transformers.set_seed(0)
        teacher, model = Small(), bert()
        for module in model.modules():
            module.p = 0.0  # of dropout
        args = arguments(
            tmp_path / str(batch), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
            optim="sgd", max_grad_norm=0.0, lr_scheduler_type="constant",
        )  # fmt: skip
        recorder = callback(tmp_path / str(batch))
        recorder.record.records = lambda split: False
        Distiller(
            model, args, train_dataset=DATA[:16], recorder=recorder, teacher=teacher,
            distillation_loss=DistillationLoss(temperature=2.0, alpha=1.0),
        ).train()  # fmt: skip
        trained.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-6)


def test_an_epoch_that_max_steps_cuts_short_is_left_out(tmp_path):
    trainer = Distiller(Small(), arguments(tmp_path, max_steps=7), train_dataset=DATA, recorder=callback(tmp_path))
    with pytest.warns(UserWarning, match="epoch 2 of split 'train' is not recorded: at 1.4 epochs it is not whole"):
        trainer.train()
    assert records(tmp_path, columns=["epoch"])["epoch"].unique().tolist() == [1]


def test_a_training_goes_on_from_a_checkpoint(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 5}
    Distiller(Small(), arguments(tmp_path, **saving), train_dataset=DATA, recorder=callback(tmp_path)).train()
    more = arguments(tmp_path, **{**saving, "num_train_epochs": 3})
    again = Distiller(Small(), more, train_dataset=DATA, recorder=callback(tmp_path, resume=True))
    again.train(resume_from_checkpoint=True)
    assert records(tmp_path, columns=["epoch"], epochs=[1, 2, 3])["epoch"].unique().tolist() == [1, 2, 3]


def test_an_epoch_entered_in_its_middle_is_left_out(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 7, "max_steps": 7}
    with pytest.warns(UserWarning, match="epoch 2"):
        Distiller(Small(), arguments(tmp_path, **saving), train_dataset=DATA, recorder=callback(tmp_path)).train()
    more = arguments(tmp_path, num_train_epochs=3)
    again = Distiller(Small(), more, train_dataset=DATA, recorder=callback(tmp_path, resume=True))
    with pytest.warns(UserWarning, match="epoch 2 of split 'train' is not recorded"):
        again.train(resume_from_checkpoint=str(tmp_path / "trainer/checkpoint-7"))
    assert records(tmp_path, columns=["epoch"], epochs=[1, 3])["epoch"].unique().tolist() == [1, 3]


def test_a_teacher_inside_the_model_is_recorded(tmp_path):
    Distiller(Inside(), arguments(tmp_path), train_dataset=DATA, recorder=callback(tmp_path)).train()
    assert records(tmp_path, columns=["teacher_loss"])["teacher_loss"].notna().all()


@pytest.mark.parametrize(
    ("model", "data", "options", "said"),
    [
        (Small, DATA, {}, r"no 'sample_id': .* label_names=\['labels', 'sample_id'\], or RecorderMixin"),
        (bert, DATA, {"label_smoothing_factor": 0.1, "remove_unused_columns": False}, "no 'labels': .* RecorderMixin"),
        (LossOnly, DATA, {"remove_unused_columns": False}, r"a dictionary of loss: let forward return .*'logits'"),
    ],
    ids=["ids dropped", "labels taken", "loss only"],
)
def test_what_a_batch_lacks_is_said_with_the_cure(tmp_path, model, data, options, said):
    trainer = transformers.Trainer(
        model(), arguments(tmp_path, **options), train_dataset=data, callbacks=[callback(tmp_path)]
    )
    with pytest.raises(ValueError, match=said) as caught:
        trainer.train()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_training_that_failed_is_tried_again(tmp_path):
    args, model = arguments(tmp_path, label_names=["labels", "sample_id"]), Small()
    trainer = transformers.Trainer(model, args, train_dataset=[*DATA, DATA[0]], callbacks=[callback(tmp_path)])
    with pytest.raises(ValueError, match="sample_ids 0 were given more than once"):
        trainer.train()
    trainer.train_dataset = DATA
    trainer.train()
    assert len(records(tmp_path, epochs=[1, 2])) == 2 * ROWS
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_several_devices_in_one_process_are_refused_where_hooks_record(tmp_path):
    args = types.SimpleNamespace(n_gpu=2, process_index=0, world_size=1, eval_strategy="no")
    with pytest.raises(ValueError, match="2 GPUs in one process: start it by torchrun, or use RecorderMixin"):
        callback(tmp_path).on_train_begin(args, None, None, model=Small())


def test_the_mixin_says_what_is_missing(tmp_path):
    data = [{name: row[name] for name in ("input_ids", "labels")} for row in DATA]
    with pytest.raises(ValueError, match="no 'sample_id': the data set needs a column 'sample_id'"):
        Distiller(Small(), arguments(tmp_path), train_dataset=data, recorder=callback(tmp_path)).train()
    with pytest.raises(ValueError, match="distillation_loss needs a teacher"):
        Distiller(Small(), arguments(tmp_path), recorder=callback(tmp_path), distillation_loss=torch.nn.MSELoss())
    recorder = callback(tmp_path, validation=ROWS)
    with pytest.raises(ValueError, match="validation needs eval_strategy='epoch', not 'no'"):
        Distiller(Small(), arguments(tmp_path), train_dataset=DATA, recorder=recorder).train()


def test_two_processes_record_one_epoch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom tests.integrations.test_huggingface import *\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "args = arguments(folder, ddp_backend='gloo', eval_strategy='epoch', per_device_train_batch_size=3)\n"
        "recorder = callback(folder, validation=ROWS)\n"
        "Distiller(Small(), args, train_dataset=DATA, eval_dataset=DATA, recorder=recorder).train()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run([sys.executable, *launch], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for split, view in (("train", "augmented"), ("test", "clean")):
        rows = records(tmp_path, split, view, epochs=[1, 2], columns=["sample_id", "epoch"])
        assert sorted(rows["sample_id"]) == sorted([*range(ROWS)] * 2)  # of an odd number of rows one came twice


def test_the_page_runs_as_it_stands(tmp_path):
    run_page("huggingface", tmp_path)
    run = biasvar.open_run(tmp_path / "runs/huggingface")
    assert run.decomposition("distillation", split="test").totals().variance.n_replicas == REPLICAS


def test_a_causal_language_model_is_recorded_by_token(tmp_path):
    known = {"vocab_size": 11, "n_positions": LENGTH, "n_embd": 8, "n_layer": 1, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **known))
    data = [{"sample_id": i, "input_ids": TOKENS[i], "labels": TOKENS[i]} for i in range(ROWS)]
    recorder = callback(tmp_path, num_classes=11, tokens=LENGTH, validation=ROWS)
    options = arguments(tmp_path, eval_strategy="epoch", label_names=["labels", "sample_id"])
    transformers.Trainer(model, options, train_dataset=data, eval_dataset=data, callbacks=[recorder]).train()
    frame = records(tmp_path, "test", "clean", epochs=2)
    assert frame["label"].tolist() == TOKENS[:, 1:].flatten().tolist()
    with torch.no_grad():
        loss = model.eval()(input_ids=TOKENS, labels=TOKENS).loss
    assert frame["student_loss"].mean() == pytest.approx(float(loss), rel=1e-5)
    assert len(records(tmp_path, epochs=2)) == ROWS * (LENGTH - 1)
