"""What a worker on another machine finds there, tried in this process: data that differ from the driver's."""

from __future__ import annotations

import pickle

import pytest
import torch

import biasvar
from biasvar.errors import RecordError
from biasvar.study import load_study
from biasvar.training import far_worker, workers
from biasvar.training.drivers import driving
from biasvar.training.execute import run_study
from tests.test_places import faces, there  # noqa: F401


@pytest.fixture
def begun(there, monkeypatch):  # noqa: F811
    """The folder of a run whose teachers are there, of a study on pictures, in a process that has set nothing up."""
    faces(there / "studies/data/faces.parquet", 0)
    run_study(load_study("../studies/study.yaml"), "run", device="cpu", teachers_only=True)
    for module, name in ((far_worker, "_set_up_for"), (workers, "_context"), (workers, "_writer")):
        monkeypatch.setattr(module, name, None)
    return there


def asked(folder):
    """What such a worker answers to the task of finishing the teacher "main"."""
    run = folder / "elsewhere/run"
    with driving(run) as word:
        known = far_worker.about(load_study("../studies/study.yaml"), run, torch.device("cpu"), word)
        return far_worker.there(known, lambda told: None, workers.finish_teacher, ("main",))


def test_a_worker_with_the_drivers_data_does_its_task(begun):
    status, answer, said = asked(begun)
    assert (status, said) == ("done", "")
    assert answer == biasvar.open_run(begun / "elsewhere/run").manifest["teachers"]["main"]


def test_a_worker_with_other_data_is_named_and_writes_nothing(begun):
    before = {path: path.read_bytes() for path in (begun / "elsewhere/run").rglob("*.parquet")}
    faces(begun / "studies/data/faces.parquet", 1)
    status, error, _ = asked(begun)
    assert status == "failed"
    found = pickle.loads(error)
    assert isinstance(found, RecordError)
    assert "the data faces are not those that " in str(found)
    assert "(on machine " in str(found)
    assert before == {path: path.read_bytes() for path in (begun / "elsewhere/run").rglob("*.parquet")}
