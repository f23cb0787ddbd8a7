"""Distillation of features on a selection of the rows, with revised labels, against a loop of its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.analysis import revise_labels
from biasvar.errors import StudyError
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.students import Students
from biasvar.training.teachers import teacher_networks
from tests.training.test_dfa import apart, batches, dfa_study, optimizer_of, prepared
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted

BOTH = {
    "loss": "dfa", "teacher": "main", "weights": "last", "distill_weight": 0.7, "label_weight": 0.3,
    "label_temperature": 2.0, "revision": {"eta": 0.6}, "selection": {"score": "random", "keep": 0.3},
}  # fmt: skip


def test_the_selected_rows_alone_learn_from_features_and_revised_labels(tmp_path):
    """Two epochs: CE of all rows, and of Set II the features' distance and tau^2 KL from the revised label."""
    study = dfa_study({"arm": BOTH}, schedule={"epochs": 2, "batch_size": 40})
    trained, context = prepared(study, tmp_path)
    student = copy.deepcopy(trained.net.network)
    one, two = (copy.deepcopy(connector) for connector in trained.objective.state.connectors.student)
    (teacher,) = teacher_networks(context, "main", [1])
    table = trained.objective.method.tables(trained.objective.state)["selection_scores"]
    chosen = torch.as_tensor(table["sample_id"][table["selected"]])
    assert len(chosen) == 27
    trained.train()
    optimizer = optimizer_of(context, student, one, two)
    rate, steps = context.rate_of(0.1, 2), 0
    for epoch in range(1, 3):
        for ids in batches(trained, context, epoch)[0]:
            x, y = context.inputs.clean(ids), context.labels[ids]
            first = student.first(x)
            second = student.second(F.max_pool2d(F.relu(first), 2))
            logits = student.after_second(second)
            mine = torch.isin(ids, chosen)
            with torch.no_grad():
                (_, _, c), (_, e) = teacher.layers(x[mine])
                soft = (teacher(x[mine]) / 2.0).softmax(-1).double().numpy()
            target = torch.as_tensor(revise_labels(soft, y[mine].numpy(), margin=0.4)).float()
            loss = F.cross_entropy(logits, y, reduction="sum")
            distances = (one(first[mine]) - c).square().mean((1, 2, 3)) + (two(second[mine]) - e).square().mean(
                (1, 2, 3)
            )
            log_probs = F.log_softmax(logits[mine] / 2.0, -1)
            apart_from = 4.0 * (target * (target.log() - log_probs)).sum(-1)
            loss = (loss + (0.7 * distances + 0.3 * apart_from).sum()) / len(ids)
            optimizer.param_groups[0]["lr"] = rate(steps, 3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    assert apart(student, trained.net.network) < 1e-5
    assert apart(nn.ModuleList([one, two]), trained.objective.state.connectors.student) < 1e-5


def test_the_teachers_layers_are_asked_about_the_selected_rows_alone(tmp_path):
    """Of augmented images: once for the features and once for the label in each of 4 epochs."""
    data = {"name": "digits", "test": 300, "validation": 200, "reserved": 150, "crop": 1}
    study = resolve_study(dfa_study({"arm": BOTH}, data=data))
    run_study(study, tmp_path, device="cpu")
    context = open_study(study, tmp_path, torch.device("cpu"))
    trained = Students(context, "arm", 0.1, [0])
    shown: list[int] = []
    networks = [trained.objective.state.targets._network, *trained.objective.networks]
    for network in {id(network): network for network in networks}.values():
        network.register_forward_pre_hook(lambda _, arguments: shown.append(len(arguments[0])))
    trained.train()
    assert sum(shown) == 2 * 4 * 27


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    study = resolve_study(dfa_study({"arm": BOTH}))
    whole = run_study(study, tmp_path / "whole", device="cpu")
    interrupted(monkeypatch, study, tmp_path / "parts")
    assert contents(run_study(study, tmp_path / "parts", device="cpu").directory) == contents(whole.directory)
    rows = whole.records(arm="arm", split="train", view="augmented", epochs=[4]).set_index(["replica", "sample_id"])
    scores = whole.method_table("selection_scores", "arm").set_index(["replica", "sample_id"])
    np.testing.assert_array_equal(rows["loss_weight"].sort_index(), scores["selected"].sort_index().astype(float))


def test_a_setting_of_labels_needs_a_revision():
    plain = {key: value for key, value in BOTH.items() if key != "revision"}
    with pytest.raises(StudyError, match="label_weight: without revision no label of the teacher is learned from"):
        resolve_study(dfa_study({"arm": plain}))
