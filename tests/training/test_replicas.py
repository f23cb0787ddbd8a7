"""Batched and sequential replicas are the same trainings; both are those of torch's own loop."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.study.arms import CrossEntropy, Distillation, WeightedSoftLabel
from biasvar.training.inputs import Features
from biasvar.training.loop import predict, train
from biasvar.training.methods import method_of
from biasvar.training.methods.distillation import StoredWeights
from biasvar.training.networks import MLP, ConvNet, seeded
from biasvar.training.objective import Objective
from biasvar.training.optimizers import SGD, AdamW
from biasvar.training.replicas import BatchedReplicas, SequentialReplica, groups_of, make_replicas
from biasvar.training.schedules import rate_at

R, N, D, C = 3, 40, 6, 4
SOFT = {"teacher": "main", "temperature": 4.0, "alpha": 2.25}
MOMENTUM = SGD(momentum=0.9, nesterov=True, weight_decay=1e-3)
ADAMW = AdamW(betas=(0.9, 0.99), epsilon=1e-8, weight_decay=1e-2)
OPTIMIZERS = [MOMENTUM, SGD(momentum=0.9, nesterov=False, weight_decay=1e-3), ADAMW]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, C, (N,), generator=generator)
    teacher = torch.randn(N, C, generator=generator, dtype=torch.float64)
    return features, labels, teacher


def models(kind=None):
    if kind is None:
        return [seeded(r, lambda: MLP(D, [8, 5], C)).double() for r in range(R)]
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, C)).double() for _ in range(R)]


def rows_of(replicas, counts=None):
    ids = np.stack([np.random.default_rng(r).choice(N, 25, replace=False) for r in replicas])
    return Rows(ids, None if counts is None else counts[list(replicas)], list(replicas))


def run(net, replicas, objective, data, counts=None, **options):
    features, labels, _ = data
    rate_of = lambda step, steps: rate_at("cosine", 0.1, step, steps, 5)  # noqa: E731
    settings = {"epochs": 5, "batch_size": 8, "rate_of": rate_of, "seed": 7, **options}
    train(net, rows_of(replicas, counts), objective, Features(features), labels, **settings)
    return net.parameters()


@pytest.mark.parametrize("kind", [None, "sequential module, by vmap"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["nesterov", "momentum", "adamw"])
@pytest.mark.parametrize("weighted", [False, True])
def test_batched_and_sequential_reach_the_same_parameters(data, kind, optimizer, weighted):
    objective = Objective(method_of(Distillation(loss="distillation", **SOFT)), StoredWeights(), data[2])
    counts = np.random.default_rng(9).integers(0, 3, size=(R, 25)) if weighted else None
    batched = run(BatchedReplicas(models(kind), optimizer=optimizer), range(R), objective, data, counts)
    for r in range(R):
        alone = run(SequentialReplica([models(kind)[r]], optimizer=optimizer), [r], objective, data, counts)
        for name, value in alone.items():
            torch.testing.assert_close(batched[name][r], value[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (MOMENTUM, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
        (ADAMW, torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 1e-2}),
    ],
    ids=["sgd", "adamw"],
)
def test_the_loop_is_torchs_optimiser_on_the_mean_loss(data, ours, theirs, options):
    """Against torch's own optimiser in a loop written out here."""
    features, labels, _ = data
    model = models()[1]
    optimizer = theirs(model.parameters(), lr=0.1, **options)
    rows = rows_of([1])
    steps = 0
    for epoch in range(1, 6):
        order = rows.ids[0][rows.orders(7, epoch)[0]]
        for start in range(0, 25, 8):
            optimizer.param_groups[0]["lr"] = 0.1 * 0.5 * (1 + np.cos(np.pi * steps / 20))
            ids = order[start : start + 8]
            optimizer.zero_grad()
            F.cross_entropy(model(features[ids]), labels[ids]).backward()
            optimizer.step()
            steps += 1
    net = BatchedReplicas(models(), optimizer=ours)
    found = run(net, range(R), Objective(method_of(CrossEntropy(loss="cross_entropy"))), data)
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name][1], value.detach(), rtol=0, atol=1e-12)


def test_clipped_gradients_reach_the_same_parameters_by_adamw():
    """Each replica's gradient is clipped by its own norm."""
    together = BatchedReplicas(models(), optimizer=ADAMW)
    alone = [SequentialReplica([model], optimizer=ADAMW) for model in models()]
    for step in range(3):
        x = torch.randn(R, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        together.step(together(x).square().mean((1, 2)) * 100, 0.1, max_norm=0.5)
        for r, replica in enumerate(alone):
            replica.step(replica(x[r : r + 1]).square().mean((1, 2)) * 100, 0.1, max_norm=0.5)
    for name, values in together.parameters().items():
        for r, replica in enumerate(alone):
            torch.testing.assert_close(values[r], replica.parameters()[name][0], rtol=0, atol=1e-10)


def test_states_are_of_one_form_in_both_backends():
    """What a checkpoint of the one holds, the other could go on from."""
    for optimizer in OPTIMIZERS:
        together = BatchedReplicas(models(), optimizer=optimizer)
        alone = SequentialReplica(models()[:1], optimizer=optimizer)
        for _ in range(2):
            states = [together.state(), alone.state()]
            assert {n: v.shape[1:] for n, v in states[0].items()} == {n: v.shape[1:] for n, v in states[1].items()}
            for name, value in states[0].items():
                torch.testing.assert_close(value[:1], states[1][name], rtol=0, atol=1e-12)
            x = torch.ones(R, 5, D, dtype=torch.float64)
            together.step(together(x).square().mean((1, 2)), 0.1)
            alone.step(alone(x[:1]).square().mean((1, 2)), 0.1)


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("backend", ["batched", "sequential"])
def test_a_training_goes_on_from_its_state(data, backend, optimizer):
    replicas = range(R) if backend == "batched" else [0]
    objective = Objective(method_of(WeightedSoftLabel(loss="weighted_soft_label", shuffle=True, **SOFT)), None, data[2])
    fresh = lambda: make_replicas(backend, models()[: len(replicas)], optimizer=optimizer)  # noqa: E731
    whole = run(fresh(), replicas, objective, data, arm="a")

    first = fresh()
    state = {}

    def stop(epoch, rate):
        if epoch == 2:
            state.update({name: value.clone() for name, value in first.state().items()})
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(first, replicas, objective, data, arm="a", on_epoch=stop)
    second = fresh()
    second.load_state(state)
    for name, value in run(second, replicas, objective, data, arm="a", start=2).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)


def test_stacked_forward_is_the_network_itself():
    nets = models()
    x = torch.randn(R, 9, D, dtype=torch.float64)
    stacked = {
        name: torch.stack([dict(net.named_parameters())[name] for net in nets])
        for name, _ in nets[0].named_parameters()
    }
    expected = torch.stack([net(x[r]) for r, net in enumerate(nets)])
    torch.testing.assert_close(MLP.forward_stacked(stacked, x), expected)


def test_prediction_is_chunked_without_effect(data):
    net = BatchedReplicas(models(), optimizer=MOMENTUM)
    ids = torch.arange(N)
    torch.testing.assert_close(predict(net, Features(data[0]), ids, chunk=7), predict(net, Features(data[0]), ids))


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    a, b, c = (seeded(seed, lambda: MLP(D, [8], C)) for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.layers[0].weight, c.layers[0].weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["nesterov", "momentum", "adamw"])
def test_networks_with_batch_norm_train_together_as_they_do_alone(optimizer):
    """Parameters, running statistics and their counter; and evaluation by those statistics."""
    nets = [seeded(r, lambda: ConvNet(in_channels=1, num_classes=C, width=4).double()) for r in range(R)]
    together = BatchedReplicas([copy.deepcopy(net) for net in nets], optimizer=optimizer)
    alone = [SequentialReplica([net], optimizer=optimizer) for net in nets]
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        x = torch.randn(R, 6, 1, 8, 8, dtype=torch.float64, generator=generator)
        together.step(together(x).logsumexp(2).mean(1), 0.1)
        for r, replica in enumerate(alone):
            replica.step(replica(x[r : r + 1]).logsumexp(2).mean(1), 0.1)
    found = together.parameters()
    assert list(found) == list(nets[0].state_dict())
    for r, replica in enumerate(alone):
        for name, value in replica.parameters().items():
            torch.testing.assert_close(found[name][r], value[0], rtol=0, atol=1e-10)
    assert found["norms.0.num_batches_tracked"].tolist() == [4] * R
    for replica in (together, *alone):
        replica.train(False)
    x = torch.randn(R, 6, 1, 8, 8, dtype=torch.float64, generator=generator)
    expected = torch.cat([replica(x[r : r + 1]) for r, replica in enumerate(alone)])
    torch.testing.assert_close(together(x), expected, rtol=0, atol=1e-10)
    assert torch.equal(together.parameters()["norms.0.running_mean"], found["norms.0.running_mean"])


def test_batch_norm_goes_on_from_a_state():
    nets = [seeded(r, lambda: ConvNet(in_channels=1, num_classes=C, width=4)) for r in range(2 * R)]
    first, second = (BatchedReplicas(nets[i * R : (i + 1) * R], optimizer=MOMENTUM) for i in range(2))
    x = torch.randn(R, 6, 1, 8, 8)
    first.step(first(x).square().mean((1, 2)), 0.1)
    second.load_state(first.state())
    for net in (first, second):
        net.step(net(x).square().mean((1, 2)), 0.1)
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_groups():
    assert groups_of("batched", range(3)) == [[0, 1, 2]]
    assert groups_of("sequential", range(3)) == [[0], [1], [2]]
