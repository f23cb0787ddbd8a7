"""Kept weights that do not fit a network, or are damaged, are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from biasvar.errors import RecordError
from biasvar.training.checkpoints import check_fit, check_kept_teacher, read_weights, weights_file
from biasvar.training.networks import build_network
from biasvar.training.optimizers import SGD
from biasvar.training.replicas import SequentialReplica


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "kept.safetensors"
    network = build_network("resnet8", in_channels=3, num_classes=10)
    sgd = SGD(momentum=0.9, nesterov=True, weight_decay=0.0)
    path.write_bytes(weights_file(SequentialReplica([network], optimizer=sgd), [4]))
    check_kept_teacher(path, build_network("resnet8", in_channels=3, num_classes=10), [4], what="teacher a (resnet8)")
    for name, classes, found in (
        ("resnet8", 7, r".*4.fc.weight has shape \(10, 64\), expected \(7, 64\)"),
        ("resnet14", 10, r".*4.layer1.1.\S+ is missing;.* and \d+ more"),
    ):
        other = build_network(name, in_channels=3, num_classes=classes)
        with pytest.raises(RecordError, match=rf"kept.safetensors does not fit teacher a: {found}.*Delete the file"):
            check_kept_teacher(path, other, [4], what="teacher a")
    with pytest.raises(RecordError, match=r"0.conv1.weight is missing"):
        check_kept_teacher(path, network, [0], what="teacher a")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match=r"kept.safetensors is damaged .* delete it"):
        check_kept_teacher(path, network, [4], what="teacher a")


def test_a_tensor_too_many_is_no_fit():
    one = torch.zeros(1)
    with pytest.raises(RecordError, match=r"w does not fit x: b is not expected. Was the network changed since"):
        check_fit({"a": one, "b": one}, {"a": one}, path=Path("w"), what="x")


def test_tied_layers_are_written_under_both_names(tmp_path):
    layer = nn.Linear(2, 2)
    net = SequentialReplica(
        [nn.Sequential(layer, layer)], optimizer=SGD(momentum=0.9, nesterov=False, weight_decay=0.0)
    )
    (tmp_path / "tied.safetensors").write_bytes(weights_file(net, [0]))
    tensors, _ = read_weights(tmp_path / "tied.safetensors")
    assert torch.equal(tensors["0.0.weight"], layer.weight)
    assert torch.equal(tensors["0.1.weight"], layer.weight)
