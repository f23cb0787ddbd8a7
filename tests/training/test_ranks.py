"""One training divided over processes is the training of one: shares, gradients, companions, batch norm by hand."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.errors import RecordError, StudyError
from biasvar.records import RunWriter
from biasvar.run import main
from biasvar.study import ARMS, resolve_study
from biasvar.study.arms import CrossEntropy, Distillation
from biasvar.training import loop
from biasvar.training.checks import open_study
from biasvar.training.companions import Companions
from biasvar.training.divided import batch_normed, check_divided
from biasvar.training.inputs import Features
from biasvar.training.loop import train
from biasvar.training.manifest import study_manifest
from biasvar.training.methods import method_of
from biasvar.training.methods.base import Method, mean_over_rows
from biasvar.training.methods.distillation import StoredWeights
from biasvar.training.objective import Objective
from biasvar.training.optimizers import SGD, AdamW
from biasvar.training.ranks import ONE, flat_gradients, put_gradients, share_of
from biasvar.training.replicas import SequentialReplica
from tests.training.processes import BUILDING, together
from tests.training.test_methods import example

N, D, C, ROWS = 40, 6, 4, 23
FAST = SGD(momentum=0.9, nesterov=True, weight_decay=1e-2)
ADAMW = AdamW(betas=(0.9, 0.99), epsilon=1e-8, weight_decay=1e-2)


@given(st.integers(0, 50), st.integers(0, 40), st.integers(1, 9))
def test_shares_hold_every_row_once_and_are_even(start, rows, world):
    shares = [share_of(slice(start, start + rows), rank, world) for rank in range(world)]
    assert [i for share in shares for i in range(share.start, share.stop)] == list(range(start, start + rows))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)  # process 0 has rows wherever one has


@given(st.integers(1, 12), st.integers(1, 5), st.booleans())
def test_means_of_shares_add_up_to_the_mean_of_the_batch(rows, world, weighted):
    random = np.random.default_rng(rows)
    values = torch.as_tensor(random.normal(size=(2, rows)))
    counts = torch.as_tensor(random.integers(0, 3, size=(2, rows)).astype(float)) if weighted else None
    whole = rows if counts is None else counts.sum(-1)
    parts = []
    for rank in range(world):
        share = share_of(slice(0, rows), rank, world)
        parts.append(mean_over_rows(values[:, share], None if counts is None else counts[:, share], whole))
    torch.testing.assert_close(sum(parts), mean_over_rows(values, counts), rtol=0, atol=1e-12)


def test_a_parameter_without_gradient_anywhere_stays_without_one():
    """An optimiser decays the others; one that a single process uses gets its gradient everywhere."""
    here = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(1))]
    there = [nn.Parameter(p.detach().clone()) for p in here]
    here[0].grad, there[0].grad = torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)
    there[2].grad = torch.full((1,), 7.0)
    total = flat_gradients(here) + flat_gradients(there)
    put_gradients(here, total)
    assert torch.equal(here[0].grad, torch.full((2, 3), 5.0))
    assert here[1].grad is None
    assert torch.equal(here[2].grad, torch.tensor([7.0]))


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, C)).double()


def material():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, C, (N,), generator=generator)
    return features, labels, torch.randn(N, C, generator=generator, dtype=torch.float64)


class Scaled(Method):
    """Cross-entropy of logits that a module of the method scales, which is trained beside the student."""

    max_norm = 0.05

    def __init__(self):
        super().__init__(None)

    def prepare(self):
        module = nn.Linear(C, C).double()
        nn.init.eye_(module.weight)
        return module

    def loss(self, state, batch):
        return F.cross_entropy(state(batch.logits).movedim(-1, 1), batch.labels, reduction="none"), None


def train_in(ranks, *, optimizer=FAST, counts=None, batch_size=5, scaled=False, seen=None, epochs=3, start=None):
    """A student of 23 rows in batches of 5, the last of 3; returns what training changed."""
    features, labels, teacher = material()
    rows = Rows(np.random.default_rng(1).choice(N, (1, ROWS), replace=False), counts, [0])
    with BUILDING:
        model = network() if start is None else copy.deepcopy(start)
    net = SequentialReplica([model], optimizer=optimizer, ranks=ranks)
    companions = None
    if scaled:
        method = Scaled()
        with BUILDING:
            torch.manual_seed(4)
            state = method.prepare()
        objective = Objective(method, state)
        companions = Companions([state], optimizer=optimizer, ranks=ranks)
    else:
        soft = Distillation(loss="distillation", teacher="main", temperature=2.0, alpha=0.5)
        objective = Objective(method_of(soft), StoredWeights(), teacher)

    def on_batch(batch, weights):
        if seen is not None:
            seen.append((batch.epoch, batch.ids[0].tolist()))

    train(
        net, rows, objective, Features(features), labels, epochs=epochs, batch_size=batch_size,
        rate_of=lambda step, steps: 0.1, seed=7, companions=companions, ranks=ranks, on_batch=on_batch,
    )  # fmt: skip
    return {**net.state(), **({} if companions is None else companions.state())}


@pytest.mark.parametrize("world", [2, 3, 4])  # with 4 the last batch leaves one without a row
@pytest.mark.parametrize("optimizer", [FAST, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("kind", ["plain", "bootstrap", "companions, clipped"])
def test_processes_reach_the_parameters_of_one(world, optimizer, kind):
    counts = np.random.default_rng(2).integers(0, 3, (1, ROWS)) if kind == "bootstrap" else None
    options = {"optimizer": optimizer, "counts": counts, "scaled": kind.startswith("companions")}
    alone = train_in(ONE, **options)
    for found in together(world, lambda ranks: train_in(ranks, **options)):
        assert found.keys() == alone.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, alone[name], rtol=0, atol=1e-12)


def test_every_row_is_seen_once_an_epoch_in_the_batch_it_belongs_to():
    whole, shares = [], [[] for _ in range(3)]
    train_in(ONE, seen=whole)
    together(3, lambda ranks: train_in(ranks, seen=shares[ranks.rank]))
    assert [(e, ids) for e, ids in whole] == [
        (shares[0][i][0], [sample for share in shares for sample in share[i][1]]) for i in range(len(whole))
    ]


def test_all_processes_start_from_the_first_ones_weights():
    """One that had drawn others, such as a network with a random stream of its own, is put right."""
    torch.manual_seed(8)
    other = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, C)).double()
    alone = train_in(ONE)
    for found in together(2, lambda ranks: train_in(ranks, start=other if ranks.rank else None)):
        torch.testing.assert_close(found["parameter.0.weight"], alone["parameter.0.weight"], rtol=0, atol=1e-12)


def test_what_networks_draw_is_each_process_s_own_and_the_same_again(monkeypatch):
    """Dropout: a stream for each process and epoch; a process alone is left as it is."""
    seeds = []
    monkeypatch.setattr(loop, "draw_from", seeds.append)
    for _ in range(2):
        together(3, train_in)
    assert len(set(seeds[:9])) == 9  # three processes, three epochs
    assert sorted(seeds[:9]) == sorted(seeds[9:])
    train_in(ONE)
    assert len(seeds) == 18


def normed():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, C)).double()


def test_batch_norm_has_the_statistics_of_each_share():
    """By hand: each share of a batch goes through the network by itself, the losses are weighted by its rows."""
    features, labels, _ = material()
    rows = Rows(np.random.default_rng(1).choice(N, (1, ROWS), replace=False), None, [0])

    def work(ranks):
        with BUILDING:
            model = normed()
        net = SequentialReplica([model], optimizer=SGD(0.0, False, 0.0), ranks=ranks)
        objective = Objective(method_of(CrossEntropy(loss="cross_entropy")))
        train(
            net, rows, objective, Features(features), labels, epochs=2, batch_size=9,
            rate_of=lambda step, steps: 0.1, seed=7, ranks=ranks,
        )  # fmt: skip
        return net.parameters()

    model = normed()
    for epoch in (1, 2):
        order = rows.ids[0][rows.orders(7, epoch)[0]]
        for batch in (order[:9], order[9:18], order[18:]):
            first, second = np.array_split(batch, 2)
            model.zero_grad()
            loss = F.cross_entropy(model(features[first]), labels[first], reduction="sum")
            kept = {name: value.clone() for name, value in model[1].named_buffers()}
            loss = loss + F.cross_entropy(model(features[second]), labels[second], reduction="sum")
            (loss / len(batch)).backward()
            model[1].load_state_dict({**model[1].state_dict(), **kept})  # the running ones are process 0's
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
    alone = work(ONE)
    divided = together(2, work)[0]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(divided[name][0], value, rtol=0, atol=1e-12)
    assert (divided["0.weight"] - alone["0.weight"]).abs().max() > 1e-3


def context_of(tiny_study, tmp_path, **changes):
    tiny_study["backend"] = "sequential"
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd", "wsl")}
    tiny_study.update(changes)
    return open_study(resolve_study(tiny_study), tmp_path / "run", torch.device("cpu"))


def test_what_one_device_does_several_may(tiny_study, tmp_path):
    check_divided(context_of(tiny_study, tmp_path), 2)


WHOLE = {"dfa", "dfa_search", "infodrop", "prokt", "soft_label"}  # besides what is set so, below


@pytest.mark.parametrize(
    ("loss", "settings", "splits"),
    [
        *((loss, {}, loss not in WHOLE) for loss in ARMS if loss != "masked_distillation"),
        ("weighted_soft_label", {"shuffle": True}, False),
        ("masked_distillation", {"keep": "other"}, True),
        ("masked_distillation", {"keep": "random"}, False),
        ("label_revision", {"preset": "rld_port", "revision": None, "selection": None}, False),
    ],
)
def test_methods_whose_loss_is_of_each_row_alone_split(loss, settings, splits):
    assert method_of(ARMS[loss].model_validate({**example(ARMS[loss]), **settings})).splits is splits


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "weighted_soft_label", "shuffle": True}, "weighted_soft_label, as it is set here, needs whole"),
        ({"loss": "tests.training.own_methods:Focal"}, "own_methods:Focal, as it is set here, needs whole batches"),
        ({"loss": "tests.training.own_methods:Kept"}, "own_methods:Kept keeps a state of its own"),
    ],
)
def test_methods_that_need_whole_batches_are_refused_by_name(tiny_study, tmp_path, settings, words):
    context = context_of(tiny_study, tmp_path, arms={"ce": {"loss": "cross_entropy"}, "mine": settings})
    check_divided(context, 1)
    with pytest.raises(StudyError, match=f"^arms.mine: .*{words}"):
        check_divided(context, 2)


def test_other_things_that_cannot_be_are_refused(tiny_study, tmp_path, monkeypatch):
    context = context_of(tiny_study, tmp_path)
    with pytest.raises(ValueError, match="devices must be at least 1, not 0"):
        check_divided(context, 0)
    with pytest.raises(ValueError, match="one network at a time: leave jobs=3 out"):
        check_divided(context, 2, 3)
    context.device = torch.device("cuda", 1)
    with pytest.raises(ValueError, match="give device cuda, not cuda:1"):
        check_divided(context, 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    context.device = torch.device("cuda")
    with pytest.raises(ValueError, match="2 devices are asked for, and 1 CUDA device can be seen"):
        check_divided(context, 2)
    context.device = torch.device("mps")
    with pytest.raises(ValueError, match="of kind cpu or cuda, not mps"):
        check_divided(context, 2)
    with pytest.raises(StudyError, match="backend: batched trains all replicas in one pass"):
        check_divided(context_of(tiny_study, tmp_path, backend="batched"), 2)


def test_a_run_with_batch_norm_goes_on_with_as_many_devices_only(tiny_study, tmp_path):
    """Without it the numbers are those of one device but for the order of sums."""
    plain = context_of(tiny_study, tmp_path / "plain")
    assert batch_normed(plain) == []
    images = {"student": {"model": "resnet8"}, "schedule": {"epochs": 2, "batch_size": 40}}
    normed = context_of(tiny_study, tmp_path / "normed", **images)
    assert batch_normed(normed) == ["student"]
    for context in (plain, normed):
        entries = {**study_manifest(context.study, context), "devices": 2, "status": "running"}
        RunWriter(context.directory, manifest=entries)
        check_divided(context, 2)
    check_divided(plain, 1)
    with pytest.raises(RecordError, match=r"begun on 2 devices and is to go on on 1: with batch norm \(student\)"):
        check_divided(normed, 1)


def refused(arguments, capsys):
    """The one line of a command that refuses."""
    assert main(arguments) == 2
    said, errors = capsys.readouterr()
    assert not said
    return errors.rstrip("\n")


def test_the_command_refuses_in_one_line_and_writes_nothing(tiny_study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_study))
    command = ["tiny.yaml", "--device", "cpu", "--devices"]
    assert refused([*command, "0"], capsys) == "biasvar: error: --devices must be at least 1, not 0"
    batched = (
        "biasvar: error: backend: batched trains all replicas in one pass, which cannot be divided over 2 devices; "
    )
    for more in ([], ["--dry-run"]):
        assert refused([*command, "2", *more], capsys) == batched + "use backend: sequential, or one device"
    sequential = ["--set", "backend=sequential"]
    error = refused([*command, "2", *sequential], capsys)
    assert error.startswith(
        "biasvar: error: arms.kd_random: masked_distillation, as it is set here, needs whole batches, which 2 devices"
    )
    assert not (tmp_path / "runs").exists()


def test_without_lightning_the_command_says_what_to_install(tiny_study, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    monkeypatch.chdir(tmp_path)
    tiny_study |= {"backend": "sequential", "arms": {"ce": {"loss": "cross_entropy"}}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_study))
    error = refused(["tiny.yaml", "--device", "cpu", "--devices", "2"], capsys)
    assert error.startswith("biasvar: error: several devices need Lightning Fabric (")
    assert error.endswith("pip install 'biasvar[fabric]'")
    assert not (tmp_path / "runs").exists()
