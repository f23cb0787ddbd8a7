"""AdamW beside SGD as the optimiser of a study; that its steps are torch's is held in test_replicas.py."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.errors import StudyError
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from biasvar.training.students import _Group
from tests.training.test_execute import contents


@pytest.fixture
def small(tiny_study):
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    tiny_study["teachers"] = {"main": tiny_study["teachers"]["main"]}
    tiny_study["schedule"] |= {"optimizer": "adamw", "weight_decay": 0.01}
    return tiny_study | {"replicas": 2, "checkpoint_every": 1, "learning_rate": {"value": 0.01}}


@pytest.mark.parametrize("backend", ["batched", "sequential"])
def test_a_study_by_adamw_that_was_interrupted_ends_with_the_same_bytes(small, tmp_path, monkeypatch, backend):
    study = resolve_study(small | {"backend": backend})
    whole = run_study(study, tmp_path / "whole", device="cpu")
    note = _Group._note

    def stop(self, split, view, epoch, numbers, rate):
        note(self, split, view, epoch, numbers, rate)
        if self.run.name == "kd" and epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Group, "_note", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", device="cpu")
    monkeypatch.undo()
    run_study(study, tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == contents(whole.directory)
    assert whole.study["schedule"]["optimizer"] == "adamw"


def test_both_backends_train_the_same_students_by_adamw_and_others_by_sgd(small, tmp_path):
    found = {}
    for name, changes in (
        ("batched", {}),
        ("sequential", {"backend": "sequential"}),
        ("sgd", {"schedule": {"epochs": 4, "batch_size": 40, "weight_decay": 0.01}}),
    ):
        run = run_study(resolve_study(small | changes), tmp_path / name, device="cpu")
        found[name] = run.predictions("kd").mean_log_probs
    np.testing.assert_allclose(found["batched"], found["sequential"], rtol=0, atol=1e-4)
    assert np.abs(found["batched"] - found["sgd"]).max() > 0.01


def test_the_optimiser_is_part_of_a_studys_identity(small):
    plain = {key: value for key, value in small["schedule"].items() if key != "optimizer"}
    sgd, named = (resolve_study(small | {"schedule": plain | more}) for more in ({}, {"optimizer": "sgd"}))
    assert sgd.hashes == named.hashes
    assert not set(sgd.hashes) & set(resolve_study(small).hashes)
    betas = resolve_study(small | {"schedule": small["schedule"] | {"betas": [0.9, 0.95]}})
    assert not set(betas.hashes) & set(resolve_study(small).hashes)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"optimizer": "adamw", "momentum": 0.5}, "schedule.*momentum: belongs to optimizer: sgd; adamw has none"),
        (
            {"optimizer": "adamw", "nesterov": False},
            "nesterov: belongs to optimizer: sgd; adamw has none, leave it out",
        ),
        ({"betas": [0.9, 0.95]}, "betas: belongs to optimizer: adamw; sgd has none, leave it out"),
        ({"epsilon": 1e-6}, "epsilon: belongs to optimizer: adamw"),
        ({"optimizer": "adam"}, "schedule.optimizer: .*sgd.*adamw"),
        ({"optimizer": "adamw", "betas": [0.9, 1.0]}, "schedule.betas"),
        ({"optimizer": "adamw", "betas": [0.9]}, "schedule.betas"),
        ({"optimizer": "adamw", "epsilon": 0}, "schedule.epsilon"),
    ],
)
def test_settings_of_the_other_optimiser_are_refused(small, schedule, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(small | {"schedule": {"epochs": 4, "batch_size": 40, **schedule}})


def test_kept_teachers_of_sgd_keep_their_names_and_are_not_those_of_adamw(small):
    plain = {key: value for key, value in small["schedule"].items() if key != "optimizer"}
    sgd, adamw = (resolve_study(small | {"schedule": plain | more}).schedule for more in ({}, {"optimizer": "adamw"}))
    before = ("epochs", "batch_size", "momentum", "nesterov", "weight_decay", "decay", "milestones", "gamma", "warmup")
    assert list(sgd.decisive()) == [*before, "precision"]
    assert {*adamw.decisive()} == {*before, "precision", "optimizer", "betas", "epsilon"} - {"momentum", "nesterov"}


def test_a_momentum_at_its_default_may_stand_beside_adamw(small):
    """As in the study file that a run keeps, which names every key."""
    written = {**small["schedule"], "momentum": 0.9, "nesterov": True, "betas": [0.9, 0.999]}
    assert resolve_study(small | {"schedule": written}).hashes == resolve_study(small).hashes
