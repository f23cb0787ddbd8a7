"""Studies on a Ray cluster of several nodes: the bytes of a local run, whoever is killed meanwhile."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from biasvar import progress
from biasvar.errors import BiasvarError
from biasvar.run import main
from biasvar.training import drivers, far_worker, workers
from biasvar.training.ray_executor import beside_driver, connected, placed

pytest.importorskip("ray", reason="needs Ray: make test-integrations")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
STUDY = {
    "name": "tiny",
    "seed": 3,
    "replicas": 2,
    "backend": "sequential",
    "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150},
    "student": {"model": "mlp", "hidden": [12]},
    "draw": {"kind": "subsample", "rows": 90},
    "schedule": {"epochs": 4, "batch_size": 30},
    "learning_rate": {"value": 0.1},
    "checkpoint_every": 1,
    "teachers": {"main": {"hidden": [16], "epochs": 6}},
    "defaults": {"teacher": "main", "temperature": 2, "alpha": 0.5},
    "arms": {
        "kd": {"loss": "distillation"},
        "recorded": {"loss": "distillation", "weights_from": "kd"},
        "slow": {"loss": "tests.integrations.slow:Slow"},
    },
}


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the manifest, which holds times, and the locks."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json" and p.name[0] != ".")
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


class Nodes:
    """A head that takes no task, and two nodes of one CPU each."""

    def __init__(self, port: int) -> None:
        from ray.cluster_utils import Cluster

        self.port = port
        head = {"num_cpus": 0, "ray_client_server_port": port, **SMALL}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.nodes = [self.add(num_gpus=1), self.add()]

    def add(self, **more):
        return self.cluster.add_node(num_cpus=1, **SMALL, **more)

    def lose(self, worker: int) -> None:
        """The node of a worker process is killed with all that runs on it, and another one comes."""
        parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        [node] = [node for node in self.nodes if node.all_processes["raylet"][0].process.pid == parent]
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self.add())


@pytest.fixture(scope="module")
def nodes():
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as taken:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        port = taken.getsockname()[1]
        taken.close()
        made = Nodes(port)
        yield made
        made.cluster.shutdown()


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return str(path)


@pytest.fixture(scope="module")
def local(study, tmp_path_factory):
    """What a run by one process of this machine holds."""
    folder = tmp_path_factory.mktemp("local") / "run"
    assert main([study, "--out", str(folder), "--jobs", "1"]) == 0
    found = contents(folder)
    assert any(name.endswith(".safetensors") for name in found)
    return found


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Steps of the slow arm, which others than this process take too: process, replica and epoch of each."""
    path = tmp_path / "log"
    monkeypatch.setenv("BIASVAR_TEST_LOG", str(path))

    def steps():
        return [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []

    return steps


def wait_until(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def under_way(log):
    """Both replicas are in their second epoch or later, so that each has a checkpoint."""
    return {replica for _, replica, epoch in log() if epoch >= 2} == {0, 1}


def test_a_run_on_several_nodes_has_the_bytes_of_a_local_one(nodes, study, local, tmp_path):
    assert main([study, "--out", str(tmp_path / "run"), "--executor", nodes.address]) == 0
    assert contents(tmp_path / "run") == local


def test_tasks_take_parts_of_a_machine(nodes):
    for cpus, gpus, slots in ((1, 0, 2), (0.5, 0, 4), (0.1, 0.3, 3), (1, 1, 1)):
        with connected(nodes.address, cpus=cpus, gpus=gpus) as cluster:
            assert cluster.slots == slots
    with pytest.raises(BiasvarError, match=r"takes a task of 1 CPUs and 2 of a GPU: there is .*1 CPUs and 1 of a GPU"):
        connected(nodes.address, cpus=1, gpus=2).__enter__()


def test_a_process_has_one_task_on_a_gpu_and_any_number_on_a_cpu(nodes):
    import ray

    for gpus in (1, 0):
        with connected(nodes.address, cpus=1, gpus=gpus) as cluster:
            task = placed(ray, cluster, lambda: (os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")))
            met = [ray.get(task.remote()) for _ in range(3)]
        if gpus:
            assert len({process for process, _ in met}) == 3
            assert {device for _, device in met} == {"0"}
        else:
            assert len({process for process, _ in met}) < 3  # there are two nodes of one CPU


def test_what_tasks_tell_is_kept_on_the_drivers_machine(nodes):
    import ray

    class Here:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    with connected(nodes.address, cpus=1, gpus=0):
        kept = [beside_driver(ray, Here) for _ in range(6)]
        assert {ray.get(one.node.remote()) for one in kept} == {nodes.cluster.head_node.node_id}


def test_a_client_of_a_cluster_is_enough(nodes, study, local, tmp_path):
    address = f"ray://127.0.0.1:{nodes.port}"
    assert main([study, "--out", str(tmp_path / "run"), "--executor", address]) == 0
    assert contents(tmp_path / "run") == local


def test_a_node_that_is_killed_costs_what_came_after_a_checkpoint(
    nodes, study, local, tmp_path, log, monkeypatch, capsys
):
    monkeypatch.setenv("BIASVAR_TEST_SLOW", "0.5")
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 1.0)

    def kill():
        wait_until(lambda: log() and log()[-1][2] in (2, 3))  # there is a checkpoint to go on from
        nodes.lose(log()[-1][0])

    killer = threading.Thread(target=kill)
    killer.start()
    status = main([study, "--out", str(tmp_path / "run"), "--executor", nodes.address])
    killer.join()
    said = capsys.readouterr()
    assert status == 0, said.err
    assert contents(tmp_path / "run") == local
    assert said.err.count("a machine was lost; what it had in hand goes on from its checkpoint") == 1
    assert re.search(r"arm slow, replica [01], epoch [234] of 4", said.err)  # what a task told on its way
    assert "raylet" not in said.out + said.err
    steps = log()
    [lost] = [r for r in (0, 1) if len({process for process, replica, _ in steps if replica == r}) == 2]
    epochs = [epoch for _, replica, epoch in steps if replica == lost]
    assert epochs == sorted(epochs)  # it went on in the epoch that was cut off
    assert len(epochs) < 4 * 3 + 3
    assert len(steps) - len(epochs) == 4 * 3  # the other went through


def test_a_driver_that_is_killed_leaves_no_worker_and_goes_on(nodes, study, local, tmp_path, log, monkeypatch, capsys):
    command = [study, "--out", str(tmp_path / "run"), "--executor", nodes.address]
    monkeypatch.setattr(drivers, "SECONDS_REFUSED", 0.2)
    environment = {**os.environ, "BIASVAR_TEST_SLOW": "2", "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-m", "biasvar.run", *command], env=environment)
    try:
        wait_until(lambda: under_way(log))
        for other in (command, [*command[:3], "--jobs", "1"]):
            assert main(other) == 2
            assert f"run is being trained by process {driver.pid} on" in capsys.readouterr().err
    finally:
        driver.kill()
        driver.wait()
    before = {process for process, _, _ in log()}
    assert main(command) == 0
    assert contents(tmp_path / "run") == local
    order = [process in before for process, _, _ in log()]
    assert order == sorted(order, reverse=True)  # once others went on, none of before took a step
    assert not all(order)


def test_an_interrupt_ends_with_one_line(nodes, study, local, tmp_path, log):
    command = [study, "--out", str(tmp_path / "run"), "--executor", nodes.address]
    environment = {**os.environ, "BIASVAR_TEST_SLOW": "0.5", "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(
        [sys.executable, "-m", "biasvar.run", *command], env=environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    wait_until(lambda: under_way(log))
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert said.strip() == f"interrupted; {tmp_path / 'run'} is whole so far, the same command goes on from here"
    assert driver.returncode == 130
    taken = len(log())
    assert main(command) == 0
    assert contents(tmp_path / "run") == local
    assert len(log()) - taken <= 2 * 4 * 3 - taken + 2 * 3  # from the checkpoints


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("error", "no such luck"),
        ("memory", "the CPU's memory is too small for this study of 2 processes (3.0 GiB more were asked for); "),
        ("killed", "worker processes were lost 2 times, most likely killed by the system for lack of memory; "),
    ],
)
def test_what_ends_a_task_ends_the_run_with_one_line(nodes, study, tmp_path, monkeypatch, capsys, end, message):
    monkeypatch.setattr(workers, "MOST_LOSSES", 1)
    command = [study, "--out", str(tmp_path / "run"), "--executor", nodes.address, "--jobs", "2"]
    monkeypatch.setenv("BIASVAR_TEST_END", end)
    assert main(command) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("biasvar: error: ")
    assert message in said[-1]
    lost = "biasvar: note: a worker was lost; what it had in hand goes on from its checkpoint"
    others = [line for line in said[:-1] if not line.startswith("biasvar: tiny: ")]  # after a minute, how far it is
    assert set(others) == ({lost} if end == "killed" else set())


def test_a_machine_with_other_versions_is_named(nodes, study, tmp_path, monkeypatch, capsys):
    here = far_worker.versions()
    monkeypatch.setattr(far_worker, "versions", lambda: {**here, "torch": "1.0"})
    assert main([study, "--out", str(tmp_path / "run"), "--executor", nodes.address]) == 2
    said = capsys.readouterr().err.strip()
    assert f"machine {socket.gethostname()} has torch {here['torch']} instead of 1.0: install there what" in said
    assert "\n" not in said
