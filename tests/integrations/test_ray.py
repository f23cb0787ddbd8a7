"""Studies on a Ray cluster of several nodes: the bytes of a local run, whoever is killed meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from biasvar.run import main

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # before Ray is imported

ray = pytest.importorskip("ray", reason="needs Ray: make test-integrations")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]
SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
STUDY = {
    "name": "tiny",
    "seed": 3,
    "replicas": 2,
    "backend": "sequential",
    "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150},
    "student": {"model": "mlp", "hidden": [12]},
    "draw": {"kind": "subsample", "rows": 90},
    "schedule": {"epochs": 4, "batch_size": 40},
    "learning_rate": {"value": 0.1},
    "checkpoint_every": 1,
    "teachers": {"main": {"hidden": [16], "epochs": 6}},
    "defaults": {"teacher": "main", "temperature": 2, "alpha": 0.5},
    "arms": {
        "ce": {"loss": "cross_entropy"},
        "kd": {"loss": "distillation"},
        "recorded": {"loss": "distillation", "weights_from": "kd"},
    },
}


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the manifest, which holds times, and the locks."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json" and p.name[0] != ".")
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def cluster():
    """A head that takes no task, and two nodes of one CPU each."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    for _ in range(2):
        made.add_node(num_cpus=1, **SMALL)
    yield made
    made.shutdown()


def written(folder: Path, **changes) -> str:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return str(path)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The run by one process of this machine."""
    folder = tmp_path_factory.mktemp("local")
    assert main([written(folder), "--out", str(folder / "run"), "--jobs", "1"]) == 0
    return folder / "run"


def test_a_run_on_several_nodes_has_the_bytes_of_a_local_one(cluster, local, tmp_path):
    assert main([written(tmp_path), "--out", str(tmp_path / "run"), "--executor", cluster.address]) == 0
    assert contents(tmp_path / "run") == contents(local)
    assert any(name.endswith(".safetensors") for name in contents(local))
