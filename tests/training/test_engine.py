"""How a network runs changes its numbers by rounding alone; what was chosen is in the manifest, and kept to."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn

from biasvar.errors import RecordError
from biasvar.records import open_run
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.training.engine import DEFAULT, ENGINES, Engine, check_engine, chosen, engine_in
from biasvar.training.execute import run_study
from biasvar.training.networks import ConvNet, seeded
from biasvar.training.optimizers import SGD
from biasvar.training.replicas import SequentialReplica

HAS_COMPILER = shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler on a CPU")
OPTIMIZER = SGD(momentum=0.9, nesterov=True, weight_decay=1e-3)


def conv_net(seed: int = 0) -> nn.Module:
    return seeded(seed, lambda: ConvNet(in_channels=3, num_classes=4, width=4))


def trained(engine: Engine, steps: int = 3) -> dict[str, torch.Tensor]:
    net = SequentialReplica([conv_net().double()], optimizer=OPTIMIZER, engine=engine)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(1, 6, 3, 8, 8, dtype=torch.float64, generator=generator)
        net.step(net(x).logsumexp(2).mean(1), 0.1)
    return net.parameters()


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES[name] != DEFAULT])
def test_engines_train_to_the_same_parameters(name):
    expected, found = trained(DEFAULT), trained(ENGINES[name])
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10)


def test_contiguous_images_train_to_the_same_parameters():
    expected, found = trained(DEFAULT), trained(ENGINES["contiguous"])
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10)


def test_a_network_that_is_watched_is_not_compiled():
    model = conv_net()
    assert Engine(compiled=True).runner(model) is not model
    hook = model.norms[0].register_forward_hook(lambda *_: None)
    assert Engine(compiled=True).runner(model) is model
    hook.remove()
    net = SequentialReplica([model], optimizer=OPTIMIZER, engine=Engine(compiled=True))
    assert net._run is not model
    assert net.network is model
    assert net._run is model


def test_an_engine_has_a_name():
    check_engine("auto")
    with pytest.raises(ValueError, match=r"engine 'contigous'.*did you mean.*contiguous"):
        check_engine("contigous")


def test_auto_measures_and_says_so(monkeypatch):
    """On made images, of every engine; one that cannot be had is named with its reason."""

    def refuse(model, **_):
        raise RuntimeError("no compiler here\nand more")

    monkeypatch.setattr(torch, "compile", refuse)
    before = torch.random.get_rng_state()
    entry = chosen("auto", conv_net, (5, 3, 8, 8), 4, device=torch.device("cpu"), steps=100)
    assert torch.equal(before, torch.random.get_rng_state())
    assert entry["chosen"] == "measured"
    assert set(entry["step_seconds"]) == {"channels_last", "contiguous"}
    assert entry["name"] == min(entry["step_seconds"], key=entry["step_seconds"].__getitem__)
    assert entry["failed"] == {name: "no compiler here" for name in ENGINES if "compile" in name}
    assert engine_in({"engine": entry}) == ENGINES[entry["name"]]
    assert engine_in({}) == DEFAULT


def test_what_compiling_takes_is_spread_over_the_steps(monkeypatch):
    """A compiled network that is twice as quick a step is not worth it for a few steps."""
    clock, compiled = [0.0], set()
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Timed(nn.Module):
        def __init__(self, model: nn.Module, first: float, usual: float) -> None:
            super().__init__()
            self.model, self.first, self.usual = model, first, usual

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clock[0] += self.first if self not in compiled else self.usual
            compiled.add(self)
            return self.model(x)

    monkeypatch.setattr(torch, "compile", lambda model, **_: Timed(model.model, 30.0, 0.5))
    for steps, best in ((10, "channels_last"), (1000, "channels_last+compile")):
        entry = chosen(
            "auto", lambda: Timed(copy.deepcopy(conv_net()), 1.0, 1.0), (5, 3, 8, 8), 4, device=torch.device("cpu"),
            steps=steps,
        )  # fmt: skip
        assert entry["name"] == best
        assert entry["step_seconds"]["channels_last+compile"] == pytest.approx(0.5 + 29.5 / steps)


@pytest.fixture
def image_study():
    return resolve_study(
        {
            "name": "engines", "replicas": 2, "backend": "sequential", "student": {"model": "convnet", "width": 2},
            "data": {"name": "digits", "student": 60, "test": 100, "validation": 40, "reserved": 0},
            "draw": {"kind": "bootstrap"}, "schedule": {"epochs": 1, "batch_size": 30}, "learning_rate": 0.05,
            "arms": {"ce": {"loss": "cross_entropy"}},
        }
    )  # fmt: skip


def test_a_run_keeps_to_the_engine_that_it_was_begun_with(image_study, tmp_path):
    run_study(image_study, tmp_path / "run", device="cpu", engine="contiguous")
    entry = open_run(tmp_path / "run").manifest["engine"]
    assert entry == {"channels_last": False, "compiled": False, "name": "contiguous", "chosen": "asked"}
    run_study(image_study, tmp_path / "run", device="cpu")
    with pytest.raises(RecordError, match="begun with --engine contiguous"):
        run_study(image_study, tmp_path / "run", device="cpu", engine="channels_last")
    run_study(image_study, tmp_path / "usual", device="cpu")
    assert open_run(tmp_path / "usual").manifest["engine"]["name"] == "channels_last"


def test_workers_run_by_the_engine_in_the_manifest(image_study, tmp_path):
    runs = [
        run_study(image_study, tmp_path / str(jobs), device="cpu", jobs=jobs, engine="contiguous") for jobs in (1, 2)
    ]
    assert runs[0].metrics.equals(runs[1].metrics)


def test_an_engine_is_refused_where_there_is_none(tiny_study, tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(resolve_study(tiny_study).to_yaml(), encoding="utf-8")
    assert main([str(path), "--out", str(tmp_path / "run"), "--engine", "contiguous"]) == 2
    assert "engine contiguous: is for networks for images" in capsys.readouterr().err
    assert main([str(path), "--out", str(tmp_path / "run"), "--engine", "quick"]) == 2
    assert "engine 'quick'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
