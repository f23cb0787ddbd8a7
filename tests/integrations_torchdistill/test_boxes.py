"""Trainings by torchdistill, with biasvar in their configuration: what is recorded of them, and what is refused."""

from __future__ import annotations

import argparse
import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, Subset

import biasvar

pytest.importorskip("torchdistill", reason="torchdistill is not installed: make test-integrations has it")

from torchdistill.common.main_util import load_ckpt, save_ckpt
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchdistill.misc.log import MetricLogger, SmoothedValue

from biasvar.integrations.torchdistill import RecordedLoss, SampleIds, sample_ids
from tests.integrations_torchdistill.boxes import IDS, TAU, WSL, C, N, Pictures, networks, train_config

CPU = torch.device("cpu")
DATA = {"train": Pictures(), "val": Pictures(64, seed=1)}


def distillation(config, nets=None, data=DATA):
    teacher, student = nets or networks()
    return get_distillation_box(teacher, student, data, config, CPU, None, False, 1)


def run(box):
    """The loop of torchdistill's examples, without its validation."""
    torch.manual_seed(7)
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for images, labels, supplement in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(images, labels, supplement))
        box.post_epoch_process()
    box.clean_modules()


def test_the_examples_flow_fills_every_column_of_every_sample(tmp_path):
    config = train_config(
        tmp_path / "run", scheduler={"key": "MultiStepLR", "kwargs": {"milestones": [1], "gamma": 0.1}}
    )
    box = distillation(config)
    best = 0.0
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        log = MetricLogger(delimiter="  ")
        log.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
        for images, labels, supplement in log.log_every(box.train_data_loader, config["log_freq"], f"Epoch: [{epoch}]"):
            loss = box.forward_process(images, labels, supplement)
            box.post_forward_process(loss=loss)
            log.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        with torch.inference_mode():
            box.student_model.eval()
            hits = [(box.student_model(x).argmax(1) == y).float().mean().item() for x, y in box.val_data_loader]
        best = max(best, np.mean(hits))
        arguments = argparse.Namespace(config="config.yaml")
        save_ckpt(box.student_model, box.optimizer, box.lr_scheduler, best, arguments, str(tmp_path / "student.pt"))
        box.post_epoch_process()
    assert load_ckpt(str(tmp_path / "student.pt"), model=networks()[1])[0] == best
    assert box.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)  # torchdistill's own step after an epoch
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "complete"
    records = biasvar.open_run(tmp_path / "run").records(arm="wsl")
    assert records.groupby("epoch")["sample_id"].apply(lambda ids: sorted(ids) == list(range(N))).tolist() == [True] * 2
    assert not records.isna().any().any()
    assert (records["label"] == DATA["train"].targets.numpy()[records["sample_id"]]).all()
    weights = 1 - np.exp(-records["student_loss"] / (records["teacher_loss"] + 1e-7))  # the loss's epsilon
    np.testing.assert_allclose(records["wsl_weight"], weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(records["loss_weight"], weights, rtol=1e-3, atol=1e-5)  # what the loss used


@pytest.mark.parametrize("process", ["biasvar.teacher_eval", "default_pre_epoch_process_with_teacher"])
@pytest.mark.filterwarnings("ignore:the teacher is in train mode")
def test_the_record_is_that_of_a_plain_loop_on_the_same_logits(tmp_path, process):
    nets = networks()
    config = train_config(tmp_path / "box", pre_epoch_process=process)
    box = distillation(config, copy.deepcopy(nets))
    run(box)
    teacher, student = nets
    loss = biasvar.losses.WeightedSoftLabelLoss(temperature=TAU, alpha=2.25)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    sampler = RandomSampler(DATA["train"], generator=torch.Generator().manual_seed(5))
    loader = DataLoader([(i, *DATA["train"][i]) for i in range(N)], sampler=sampler, batch_size=60)
    torch.manual_seed(7)
    with biasvar.Recorder(tmp_path / "plain", arm="wsl", num_samples=N, num_classes=C, temperature=TAU) as recorder:
        for _ in range(2):
            student.train()
            teacher.train(process != "biasvar.teacher_eval")
            for ids, images, labels in loader:
                with torch.no_grad():
                    target = teacher(images)
                logits = student(images)
                recorder.update(ids, logits, labels, target, loss_weight=loss.weights(logits, target, labels))
                optimizer.zero_grad()
                loss(logits, target, labels).backward()
                optimizer.step()
            recorder.end_epoch()
    boxed, plain = (biasvar.open_run(tmp_path / name).records(arm="wsl") for name in ("box", "plain"))
    pd.testing.assert_frame_equal(boxed, plain, check_exact=True)
    assert all(torch.equal(*pair) for pair in zip(box.student_model.parameters(), student.parameters(), strict=True))


def test_torchdistills_teacher_learns_its_batches_unless_told(tmp_path):
    moved = {}
    for name in ("default_pre_epoch_process_with_teacher", "biasvar.teacher_eval"):
        box = distillation(train_config(tmp_path / name[:7], pre_epoch_process=name))
        before = box.teacher_model[1].running_mean.clone()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run(box)
        moved[name] = not torch.equal(before, box.teacher_model[1].running_mean), len(said)
    assert list(moved.values()) == [(True, 2), (False, 0)]
    config = train_config(tmp_path / "warned")
    del config["pre_epoch_process"]  # off by default
    with pytest.warns(
        UserWarning, match="train mode .* pre_epoch_process: biasvar.teacher_eval puts it into eval mode"
    ):
        run(distillation(config))


def test_without_a_teacher_its_columns_are_null(tmp_path):
    config = train_config(tmp_path / "run", arm="ce")
    del config["pre_epoch_process"]
    config["criterion"]["kwargs"]["sub_terms"] = {
        "ce": {"criterion": {"key": "biasvar.CrossEntropyLoss", "kwargs": {}}, "weight": 1}
    }
    run(get_training_box(networks()[1], DATA, config, CPU, None, False, 1))
    records = biasvar.open_run(tmp_path / "run").records(arm="ce")
    assert len(records) == 2 * N
    assert records["student_loss"].notna().all()
    assert records["teacher_loss"].isna().all()


def test_a_training_that_breaks_off_is_not_complete(tmp_path):
    box = distillation(train_config(tmp_path / "run", num_epochs=2))
    box.pre_epoch_process(epoch=0)
    for images, labels, supplement in box.train_data_loader:
        box.post_forward_process(loss=box.forward_process(images, labels, supplement))
    box.post_epoch_process()
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "running"


def test_rows_of_a_subset_keep_their_number(tmp_path):
    data = {"train": Subset(Subset(DATA["train"], range(0, N, 2)), list(range(10, 110))), "val": DATA["val"]}
    run(distillation(train_config(tmp_path / "run", num_epochs=1), data=data))
    records = biasvar.open_run(tmp_path / "run").records(arm="wsl")
    assert records["sample_id"].tolist() == list(range(20, 220, 2))
    assert (records["label"] == DATA["train"].targets[20:220:2].numpy()).all()


def test_each_stage_has_a_record_of_its_own(tmp_path):
    stages = {f"stage{i}": train_config(tmp_path / "run", arm=f"stage{i}", num_epochs=i) for i in (1, 2)}
    run(distillation(stages))
    records = [biasvar.open_run(tmp_path / "run").records(arm=name) for name in stages]
    assert [len(frame) for frame in records] == [N, 2 * N]
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "complete"


@pytest.mark.parametrize("pack", [lambda logits: {"logits": logits}, lambda logits: argparse.Namespace(logits=logits)])
def test_logits_may_stand_in_a_dictionary_or_an_object(tmp_path, pack):
    class Packed(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            return pack(self.net(images))

    nets = networks()
    torch.manual_seed(3)
    plain = first_step(train_config(tmp_path / "plain"), copy.deepcopy(nets))[1]
    torch.manual_seed(3)
    assert first_step(train_config(tmp_path / "packed"), [Packed(net) for net in nets])[1] == plain


def test_ids_are_no_loss_of_the_model(tmp_path):
    config = train_config(tmp_path / "run")
    config["criterion"]["kwargs"]["model_term"] = {"weight": 1.0}
    assert first_step(config)[1] < 100


def test_several_processes_record_their_parts(tmp_path, monkeypatch):
    """As under DistributedDataParallel, whose sampler fills up the last batches."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
    boxes = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda *_, rank=rank: rank)
        config = train_config(tmp_path / "run", num_epochs=1)
        config["train_data_loader"]["sampler"] = {
            "class_or_func": torch.utils.data.DistributedSampler, "kwargs": {"num_replicas": 2, "rank": rank}
        }  # fmt: skip
        data = {"train": Subset(DATA["train"], range(N - 1)), "val": DATA["val"]}  # an odd number of rows
        boxes.append(distillation(config, data=data))
    for box in boxes:
        run(box)
    records = biasvar.open_run(tmp_path / "run").records(arm="wsl")
    assert records["sample_id"].tolist() == list(range(N - 1))


# What a configuration may lack


def first_step(config, nets=None):
    box = distillation(config, nets)
    box.pre_epoch_process(epoch=0)
    return box, box.forward_process(*next(iter(box.train_data_loader)))


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_batch_without_ids_names_the_wrapper(tmp_path):
    config = train_config(tmp_path / "run")
    del config["train_data_loader"]["dataset_wrapper"]
    with pytest.raises(ValueError, match="no ids in the batch") as error:
        first_step(config)
    one_line(error, "train_data_loader needs dataset_wrapper: {key: biasvar.sample_ids}")
    with pytest.raises(ValueError, match="no ids in the batch"):
        sample_ids(torch.zeros(1, 2), torch.zeros(1), supp_dict=None)


def test_a_criterion_without_ids_names_the_function(tmp_path):
    config = train_config(tmp_path / "run")
    del config["criterion"]["func2extract_model_loss"]
    with pytest.raises(ValueError, match="RecordedLoss needs") as error:
        first_step(config)
    one_line(error, "func2extract_model_loss: biasvar.sample_ids")


class OnlyLoss(nn.Module):
    def __init__(self, found):
        super().__init__()
        self.weight, self.found = nn.Parameter(torch.zeros(1)), found

    def forward(self, images):
        return self.found


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (torch.tensor(2.3), "shape ()"),
        ({"loss": torch.tensor(2.3)}, "type dict"),
        ((torch.zeros(2, 10),), "type tuple"),
    ],
)
def test_a_model_that_returns_only_a_loss_is_told_to_return_logits(tmp_path, found, kind):
    teacher, student = networks()
    for position, name in enumerate(("teacher", "student")):
        nets = [teacher, student]
        nets[position] = OnlyLoss(found)
        with pytest.raises(TypeError, match="let its forward return them") as error:
            first_step(train_config(tmp_path / f"{name}"), nets)
        one_line(error, f"the {name} returned {kind}", "logits (B, C)")


def test_epochs_that_nobody_ends_are_not_lost_silently(tmp_path):
    config = train_config(tmp_path / "run")
    del config["post_epoch_process"]
    with pytest.raises(ValueError, match=r"needs post_epoch_process: biasvar\.end_epoch"):
        run(distillation(config))


def test_an_epochs_end_without_a_record_is_refused(tmp_path):
    config = train_config(tmp_path / "run", num_epochs=1)
    config["criterion"] = {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"wsl": WSL}}}
    with pytest.raises(TypeError, match=r"needs criterion: \{key: biasvar.RecordedLoss\}"):
        run(distillation(config))


def test_a_distilling_term_without_a_teacher_says_so(tmp_path):
    config = train_config(tmp_path / "run")
    del config["pre_epoch_process"]
    with pytest.raises(ValueError, match="needs the teacher's logits, and the configuration has no teacher"):
        run(get_training_box(networks()[1], DATA, config, CPU, None, False, 1))


def test_a_run_that_is_there_is_not_written_over(tmp_path):
    config = train_config(tmp_path / "run", num_epochs=1)
    run(distillation(config))
    with pytest.raises(biasvar.errors.RecordError, match="pass resume=True"):
        distillation(train_config(tmp_path / "run"))
    more = train_config(tmp_path / "run", num_epochs=1)
    more["criterion"]["kwargs"]["recorder"]["resume"] = True
    run(distillation(more))
    assert sorted(set(biasvar.open_run(tmp_path / "run").records(arm="wsl")["epoch"])) == [1, 2]


def test_a_data_set_of_pairs_is_wrapped():
    assert SampleIds(DATA["train"])[3][1:] == (int(DATA["train"].targets[3]), {"sample_id": 3})
    assert len(SampleIds(DATA["train"])) == N
    assert issubclass(RecordedLoss, nn.Module)
    assert IDS == {"key": "biasvar.sample_ids"}
