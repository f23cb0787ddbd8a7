"""What arms take from the record of another: of one that failed, was recorded in part, or weights nothing."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.errors import StudyError
from biasvar.study import resolve_study
from biasvar.training.execute import run_study

BY_RECORD = {"score": "wsl_weight", "which": "highest", "keep": 0.5, "arm": "wsl"}


def study_of(tiny_study, arms, **more):
    first = {"main": tiny_study["teachers"]["main"]}
    return resolve_study({**tiny_study, "replicas": 2, "teachers": first, "arms": arms, **more})


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"loss": "distillation", "weights_from": "wsl"},
            "weights_from: arm wsl has no record: all of its",
        ),
        (
            {"loss": "label_revision", "selection": BY_RECORD},
            "selection.arm: arm wsl has no record: all of",
        ),
        (
            {"loss": "distillation", "teacher": "wsl"},
            r"arms\.wsl: its students teach, but those of replicas 0, 1 are not finite; give it a lower learning rate",
        ),
    ],
)
def test_students_that_diverged_are_named_where_others_go_by_them(tiny_study, tmp_path, arm, message):
    arms = {"wsl": {"loss": "weighted_soft_label"}, "a": arm}
    study = study_of(tiny_study, arms, learning_rate={"value": 1e12})
    with pytest.raises(StudyError, match=message):
        run_study(study, tmp_path / "run", device="cpu")


def test_alpha_from_students_that_diverged_stays_as_it_is(tiny_study, tmp_path):
    arms = {"wsl": {"loss": "weighted_soft_label"}, "a": {"loss": "distillation", "alpha_from": "wsl"}}
    run = run_study(study_of(tiny_study, arms, learning_rate={"value": 1e12}), tmp_path / "run", device="cpu")
    assert [item["reason"] for item in run.arm("a")["failed_replicas"]] == ["not finite"] * 2


def test_alpha_from_an_arm_that_weights_nothing_changes_nothing(tiny_study, tmp_path):
    """Whichever epochs of it were recorded, and whether or not its method measures something in the others."""
    joint = {"loss": "prokt", "pull": 0.3, "joint_teacher": {"hidden": [8]}, "record": {"epochs": [1]}}
    arms = {
        "ls": {"loss": "label_smoothing", "record": {"epochs": [1, 3]}},
        "joint": joint,
        "kd": {"loss": "distillation"},
        "by_ls": {"loss": "distillation", "alpha_from": "ls"},
        "by_joint": {"loss": "distillation", "alpha_from": "joint"},
    }
    run = run_study(study_of(tiny_study, arms), tmp_path / "run", device="cpu")
    for arm in ("by_ls", "by_joint"):
        np.testing.assert_array_equal(run.predictions(arm).mean_log_probs, run.predictions("kd").mean_log_probs)


def test_an_arm_that_is_used_is_recorded_even_where_none_of_its_epochs_is_reached(tiny_study):
    arms = {
        "wsl": {"loss": "weighted_soft_label", "record": {"epochs": [9]}},
        "a": {"loss": "distillation", "weights_from": "wsl"},
    }
    assert study_of(tiny_study, arms).arms["wsl"].record.epochs == "all"
