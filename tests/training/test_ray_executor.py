"""What is said where there is no Ray, no cluster, or no machine large enough; with Ray: tests/integrations."""

from __future__ import annotations

import socket
import sys
import time
from types import SimpleNamespace

import pytest

from biasvar.errors import BiasvarError
from biasvar.run import main
from biasvar.training import ray_executor
from biasvar.training.ray_executor import Cluster, _slots, _Tasks, connected


def machines(*amounts):
    """A module that says to have machines of so many CPUs and GPUs, and that they are there."""
    nodes = [
        {"Alive": alive, "NodeManagerHostname": f"m{i}", "Resources": {"CPU": cpus, "GPU": gpus}}
        for i, (cpus, gpus, alive) in enumerate(amounts)
    ]
    return SimpleNamespace(
        nodes=lambda: nodes, is_initialized=lambda: False, init=lambda **options: None, shutdown=lambda: None,
        exceptions=SimpleNamespace(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"),
    [(1, 0, 10), (2, 0, 5), (4, 0, 2), (1, 1, 2), (2, 0.5, 3), (1, 0.4, 4), (1, 2, 1), (9, 0, 0)],
)
def test_as_many_tasks_at_a_time_as_fit_on_single_machines(cpus, gpus, slots):
    ray = machines((6.0, 2.0, True), (4.0, 0.0, True), (64.0, 8.0, False), (0.0, 0.0, True))
    assert _slots(ray, cpus, gpus) == slots


def test_without_ray_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["experiments/digits.yaml", "--out", str(tmp_path / "run"), "--executor", "ray"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("biasvar: error: --executor needs Ray")
    assert said.endswith("pip install 'biasvar[cluster]'")
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["http://head", "http://head:8265", "head", ""])
def test_a_wrong_address_is_told_before_ray_is_asked_for(tmp_path, capsys, monkeypatch, address):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["experiments/digits.yaml", "--out", str(tmp_path / "run"), "--executor", address]) == 2
    assert f"--executor {address}: no address of a Ray cluster; allowed are ray, auto" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch, scheme):
    monkeypatch.setattr(ray_executor, "_ray", lambda: machines((1.0, 0.0, True)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BiasvarError, match=rf"{scheme}127.0.0.1:{port} does not answer .*ray start --head"):
        connected(f"{scheme}127.0.0.1:{port}", cpus=1, gpus=0).__enter__()


def test_a_cluster_that_never_answers_is_given_up(monkeypatch):
    ray = machines((1.0, 0.0, True))
    ray.init = lambda **options: time.sleep(60)
    monkeypatch.setattr(ray_executor, "_ray", lambda: ray)
    monkeypatch.setattr(ray_executor, "SECONDS_TO_ANSWER", 0.2)
    with (
        pytest.raises(BiasvarError, match=r"at ray://127.0.0.1:\d+ did not answer within 0 s"),
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        connected(f"ray://127.0.0.1:{server.getsockname()[1]}", cpus=1, gpus=0).__enter__()


def test_a_head_that_is_gone_is_told_at_the_second_look():
    with socket.create_server(("127.0.0.1", 0)) as head:
        place = f"127.0.0.1:{head.getsockname()[1]}"
        tasks = SimpleNamespace(_cluster=Cluster("auto", 1, 0, 1, place), _unheard=1)
        assert _Tasks._hears_head(tasks)  # which it did not the time before
    assert not _Tasks._hears_head(tasks)
    with pytest.raises(ConnectionRefusedError):
        _Tasks._hears_head(tasks)


@pytest.mark.parametrize("address", ["somewhere", "ray://", "host:port", "s3://bucket/x", ""])
def test_what_is_no_address_is_refused(monkeypatch, address):
    monkeypatch.setattr(ray_executor, "_ray", machines)
    with pytest.raises(BiasvarError, match="allowed are ray, auto, HOST:PORT and ray://HOST:PORT"):
        connected(address, cpus=1, gpus=0).__enter__()


def test_what_ray_says_first_is_what_is_told(monkeypatch):
    def refuse(**options):
        raise RuntimeError("Version mismatch: Ray 1\nTraceback and advice\n")

    ray = machines()
    ray.init = refuse
    monkeypatch.setattr(ray_executor, "_ray", lambda: ray)
    with pytest.raises(BiasvarError, match=r"^Ray on this machine cannot be used: Version mismatch: Ray 1$"):
        connected("auto", cpus=1, gpus=0).__enter__()


def test_a_cluster_without_a_machine_that_is_large_enough_is_refused(monkeypatch):
    monkeypatch.setattr(ray_executor, "_ray", lambda: machines((2.0, 0.0, True), (8.0, 0.0, False)))
    with pytest.raises(BiasvarError, match=r"takes a task of 4 CPUs: there is m0 \(2 CPUs\); lower --cpus-per-task"):
        connected("auto", cpus=4, gpus=0).__enter__()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cpus-per-task", "2"], "--cpus-per-task goes with --executor"),
        (["--gpus-per-task", "0.5"], "--gpus-per-task goes with --executor"),
        (["--executor", "ray", "--cpus-per-task", "0"], "--cpus-per-task must be above 0, not 0"),
        (["--executor", "ray", "--gpus-per-task", "-1"], "--gpus-per-task must be at least 0, not -1"),
        (["--executor", "ray", "--device", "cuda:1"], "--device cuda:1: Ray chooses which one; say --device cuda"),
        (["--executor", "ray", "--devices", "2"], "--devices is for one machine"),
        (["--executor", "ray", "--cpus-per-task", "nan"], "--cpus-per-task must be above 0, not nan"),
    ],
)
def test_amounts_that_cannot_be_are_refused(tmp_path, capsys, arguments, message):
    assert main(["experiments/digits.yaml", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_directory_is_no_address(capsys):
    assert main(["experiments/digits.yaml", "--out", "s3://bucket/run"]) == 2
    assert "--out s3://bucket/run: a run directory is a folder by its path" in capsys.readouterr().err
