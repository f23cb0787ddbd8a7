"""What the adapters share, without any of their libraries; and what they say where a library is absent."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import biasvar
from biasvar.errors import RecordError
from biasvar.integrations.recording import TrainingRecord, output_columns, step_columns

IDS, LABELS = torch.arange(6), torch.tensor([0, 1, 2, 0, 1, 2])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def record(folder, **options):
    return TrainingRecord(folder / "run", **{"num_samples": 6, "num_classes": 3, "temperature": 2.0, **options})


def update(recording, split, rows=slice(None)):
    recording.update(split, sample_ids=IDS[rows], student_logits=LOGITS[rows], labels=LABELS[rows])


def test_passes_are_recorded_by_the_epoch_that_the_framework_counts(tmp_path):
    recording = record(tmp_path, validation=6)
    recording.open()
    for epoch in (2, 5):
        update(recording, "train")
        update(recording, "test")
        means = recording.end_epoch("train", epoch)
        assert list(recording.end_epoch("test", epoch).values()) == list(means.values())
    recording.close()
    assert means["biasvar/train/accuracy"] == pytest.approx((LOGITS.argmax(1) == LABELS).double().mean().item())
    run = biasvar.open_run(tmp_path / "run")
    assert run.records(["epoch"], split="train", view="augmented")["epoch"].unique().tolist() == [2, 5]
    assert run.records(["epoch"], split="test", view="clean")["epoch"].unique().tolist() == [2, 5]


def test_without_validation_there_is_no_record_of_it(tmp_path):
    recording = record(tmp_path)
    recording.open()
    assert recording.records("train")
    assert not recording.records("test")
    assert recording.end_epoch("test", 1) == recording.end_epoch("train", 1) == {}


def test_predictions_without_an_evaluation_pass_name_its_argument(tmp_path):
    with pytest.raises(ValueError, match="pass validation="):
        record(tmp_path, keep_predictions="last").open()


@pytest.mark.parametrize("partial", [False, True])
def test_an_epoch_cut_short_is_left_out_with_a_warning_unless_asked_for(tmp_path, partial):
    recording = record(tmp_path, partial_epochs=partial)
    recording.open()
    update(recording, "train", slice(0, 4))
    if partial:
        assert recording.end_epoch("train", 1, cut="it has 2 of 3 batches")["biasvar/train/n"] == 4
    else:
        with pytest.warns(UserWarning, match=r"epoch 1 .* not recorded: it has 2 of 3 batches; partial_epochs=True"):
            assert recording.end_epoch("train", 1, cut="it has 2 of 3 batches") == {}
    assert len(list(tmp_path.rglob("*.parquet"))) == partial


@pytest.mark.parametrize("error", [RuntimeError("lost"), None])
def test_an_epoch_that_was_not_ended_is_dropped(tmp_path, error):
    recording = record(tmp_path)
    recording.open()
    update(recording, "train", slice(0, 4))
    if error is None:
        with pytest.warns(UserWarning, match="not recorded: training ended within it"):
            recording.close()
    else:
        recording.close(error)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_second_training_of_a_replica_is_refused(tmp_path):
    for attempt in range(2):
        recording = record(tmp_path)
        if attempt:
            with pytest.raises(RecordError, match="recorded already"):
                recording.open()
        else:
            recording.open()
            update(recording, "train")
            recording.end_epoch("train", 1)


def test_processes_record_parts_and_keep_the_first_of_a_sample(tmp_path):
    both = [record(tmp_path), record(tmp_path)]
    for rank, recording in enumerate(both):
        recording.open(rank, 2)
    for rank, recording in enumerate(both):
        update(recording, "train", [slice(0, 4), slice(3, 6)][rank])  # id 3 in both
        recording.end_epoch("train", 1)
    run = biasvar.open_run(tmp_path / "run")
    assert sorted(run.records(["sample_id"])["sample_id"]) == list(range(6))


@pytest.mark.parametrize("name", ["split", "view", "part"])
def test_what_the_adapter_says_itself_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is for the adapter to say"):
        record(tmp_path, **{name: "clean"})


def test_arguments_are_asked_for_before_training(tmp_path):
    with pytest.raises(TypeError, match="num_classes"):
        TrainingRecord(tmp_path / "run", num_samples=6, temperature=2.0)
    with pytest.raises(TypeError, match="temprature"):
        record(tmp_path, temprature=2.0)
    with pytest.raises(TypeError, match="how many evaluation samples"):
        record(tmp_path, validation=True)
    assert not list(tmp_path.iterdir())


def test_columns_come_from_the_step_and_the_batch():
    outputs = {"loss": 1.0, "student_logits": LOGITS, "teacher_logits": -LOGITS}
    for batch in ((IDS, LOGITS, LABELS), [IDS, LOGITS, LOGITS, LABELS], {"sample_id": IDS, "labels": LABELS}):
        columns = step_columns("training_step", outputs, batch)
        assert columns["sample_ids"] is IDS
        assert columns["labels"] is LABELS
        assert columns["teacher_logits"] is outputs["teacher_logits"]
    own = step_columns("training_step", {**outputs, "sample_ids": IDS + 1, "labels": LABELS}, (LOGITS, LABELS))
    assert own["sample_ids"].tolist() == (IDS + 1).tolist()


@pytest.mark.parametrize("outputs", [None, torch.tensor(1.0), {"loss": torch.tensor(1.0)}])
def test_a_step_that_returns_only_a_loss_is_told_what_to_return(outputs):
    with pytest.raises(ValueError, match=r"training_step returned no logits but .*'student_logits'") as caught:
        step_columns("training_step", outputs, (IDS, LOGITS, LABELS))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [(LOGITS, LABELS), {"x": LOGITS, "labels": LABELS}, LOGITS])
def test_a_batch_without_ids_is_told_where_they_belong(batch):
    with pytest.raises(ValueError, match=r"the batch has no sample ids: let the data set give \(id, ..., label\)"):
        step_columns("training_step", {"student_logits": LOGITS}, batch)


@pytest.mark.parametrize(
    ("adapter", "library"),
    [("huggingface", "transformers"), ("lightning", "lightning"), ("tensorboard", "tensorboard")],
)
def test_a_library_that_is_absent_is_named_with_the_cure(adapter, library):
    code = f"import sys; sys.modules[{library!r}] = None; import biasvar; biasvar.integrations.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert last.endswith(f"pip install 'biasvar[{adapter}]'")


def test_integrations_are_reached_by_name():
    assert "lightning" in dir(biasvar.integrations)
    with pytest.raises(AttributeError, match="there is huggingface, lightning"):
        biasvar.integrations.nothing  # noqa: B018


@pytest.mark.parametrize(
    "output", [{"logits": LOGITS, "teacher_logits": -LOGITS}, type("Output", (), {"logits": LOGITS})()]
)
def test_columns_come_from_a_model_and_its_batch(output):
    columns = output_columns({"sample_id": IDS, "labels": LABELS}, output)
    assert columns["student_logits"] is LOGITS
    assert (columns["teacher_logits"] is None) == (not isinstance(output, dict))
    assert output_columns({"sample_id": IDS, "labels": LABELS}, output, LABELS)["teacher_logits"] is LABELS


def test_a_causal_language_model_is_recorded_by_token(tmp_path):
    sequences, length, classes = 3, 4, 7
    logits = torch.randn(sequences, length, classes, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, classes, (sequences, length), generator=torch.Generator().manual_seed(1))
    labels[1, 2:] = -100
    recording = record(tmp_path, num_samples=sequences, num_classes=classes, tokens=length, temperature=1.0)
    recording.open()
    recording.update("train", sample_ids=torch.arange(sequences), student_logits=logits, labels=labels)
    recording.end_epoch("train", 1)
    recording.close()
    frame = biasvar.open_run(tmp_path / "run").records(["sample_id", "label", "student_loss"])
    assert frame["sample_id"].tolist() == [1, 2, 3, 5, 9, 10, 11]  # of each token that is asked for
    counts = labels[:, 1:] != -100
    assert frame["label"].tolist() == labels[:, 1:][counts].tolist()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1][counts], labels[:, 1:][counts], reduction="none")
    np.testing.assert_allclose(frame["student_loss"], losses, rtol=1e-5)
    recording = record(tmp_path / "other", tokens=3, temperature=1.0)
    recording.open()
    with pytest.raises(ValueError, match=r"tokens=3 needs labels \(B, t\) of at most 3 tokens, got \(3, 4\)"):
        recording.update("train", sample_ids=torch.arange(3), student_logits=logits, labels=labels)
    recording.close()
