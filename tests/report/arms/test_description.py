"""An arm's settings tell it from other arms, whatever its method: also settings that no list of ours names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from biasvar.records import ArmEntry, Run, RunWriter, open_run
from biasvar.records.arms import BOOKKEEPING
from biasvar.report.arms.description import loss_in_words, same_but
from biasvar.report.arms.roles import reference_arms
from biasvar.report.arms.series import rates_in_words, series
from biasvar.report.text.description import arm_rows
from biasvar.study import ARMS, Arm

OWN = "mypackage.mymodule:MyMethod"


def made(directory: Path, **arms: dict[str, Any]) -> Run:
    """A run of the arms alone, as its manifest says."""
    writer = RunWriter(directory, manifest={"kind": "study", "study_hash": "x", "num_classes": 3, "name": "made"})
    for arm, entry in arms.items():
        writer.update_arm(arm, **entry)
    return open_run(directory)


def test_every_key_that_a_loss_takes_is_a_setting():
    taken = {key for settings_class in ARMS.values() for key in settings_class.own_keys()}
    assert not taken & BOOKKEEPING
    assert set(Arm.model_fields) - BOOKKEEPING == {"loss", "student", "teacher_shift", "label_noise"}


def test_every_key_of_a_trained_arm_is_a_setting_or_known_not_to_be(study_run):
    for arm in study_run.arms:
        entry = study_run.arm(arm)
        assert set(entry) - BOOKKEEPING <= {*ARMS[entry["loss"]].model_fields, "learning_rate", "epochs"}
        assert study_run.entry(arm).settings["loss"] == entry["loss"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("soft_label", ("votes", "random")), ("measure", ("squared_error", "candidates")), ("k", (1, 2)),
        ("layers", (["conv1"], ["conv2"])), ("student", ({"model": "resnet8"}, {"model": "resnet20"})),
    ],
)  # fmt: skip
def test_arms_that_differ_in_any_setting_are_not_joined(tmp_path, key, values):
    arms = {}
    for name, value in zip("ab", values, strict=True):
        for temperature in (1.0, 4.0):
            arms[f"{name}{temperature:g}"] = {"loss": OWN, "temperature": temperature, key: value}
    run = made(tmp_path / "run", **arms)
    assert [one.arms for one in series(run, "temperature")] == [("a1", "a4"), ("b1", "b4")]
    assert same_but(run, "a1", temperature=4.0) == "a4"
    assert same_but(run, "b1", temperature=4.0) == "b4"
    assert same_but(run, "a1", temperature=2.0) is None


def test_a_setting_at_nothing_is_no_setting(tmp_path):
    """A run from before a setting existed lacks it; one of today says that it is off."""
    run = made(
        tmp_path / "run",
        old={"loss": "distillation", "temperature": 1.0},
        new={"loss": "distillation", "temperature": 4.0, "shuffle": False, "weights_from": None, "label": "New"},
    )
    assert [one.arms for one in series(run, "temperature")] == [("old", "new")]


def test_arms_that_chose_their_own_rate_are_joined_over_it_and_others_are_not(tmp_path):
    def arm(temperature, rate, family):
        settings = {"loss": "distillation", "temperature": temperature, "learning_rate": rate}
        return settings | ({} if family is None else {"family": family})

    own = made(tmp_path / "own", a=arm(1.0, 0.1, "a"), b=arm(2.0, 0.1, "b"), c=arm(4.0, 0.03, "c"))
    (line,) = series(own, "temperature")
    assert line.arms == ("a", "b", "c")
    rows = pd.DataFrame({"run": "made", "series": line.name, "setting": "temperature", "arm": line.arms})
    assert rates_in_words(rows, [own]) == "the learning rate chosen on each"
    assert rates_in_words(rows[:2], [own]) == "one learning rate"
    both = pd.concat([rows, rows[:2].assign(series="other")])
    assert rates_in_words(both, [own]) == "one learning rate, or that chosen on each"
    shared = made(tmp_path / "shared", a=arm(1.0, 0.1, "kd"), b=arm(2.0, 0.1, "kd"), c=arm(4.0, 0.03, "c"))
    assert [one.arms for one in series(shared, "temperature")] == [("a", "b")]
    unsaid = made(tmp_path / "unsaid", a=arm(1.0, 0.1, None), b=arm(2.0, 0.03, None))
    assert series(unsaid, "temperature") == []


def test_a_users_method_is_described_by_what_is_stored(tmp_path):
    mine = {"loss": OWN, "temperature": 4.0, "margin": 0.25, "layers": ["conv1", "conv2"], "hard": True, "role": "main"}
    run = made(tmp_path / "run", mine=mine, kd={"loss": "distillation", "teacher": None})
    assert loss_in_words(ArmEntry.read("arm", mine)) == f"{OWN}, margin 0.25, layers conv1 and conv2, hard"
    row = next(row for row in arm_rows(run) if row["arm"] == "mine")
    assert (row["loss"], row["temperature"]) == (loss_in_words(ArmEntry.read("arm", mine)), "4")
    assert "mine" not in reference_arms(run).values()


def test_losses_are_said_in_words():
    scaled = {"loss": "distillation", "alpha_from": "wsl", "weights_from": None, "teacher": "main", "epochs": 3}
    assert loss_in_words(ArmEntry.read("arm", scaled)) == "distillation, α scaled by wsl"
    assert loss_in_words(ArmEntry.read("arm", scaled), {"wsl": "WSL"}) == "distillation, α scaled by WSL"
    fitted = {"loss": "soft_label", "soft_label": "votes", "measure": "candidates", "k": 3}
    assert loss_in_words(ArmEntry.read("arm", fitted)) == "soft label votes, measure candidates, k 3"
    assert loss_in_words(ArmEntry.read("arm", {"loss": OWN, "my_name": "a_b"})) == f"{OWN}, my name a_b"
    assert loss_in_words(ArmEntry.read("arm", {"family": "imported"})) == "imported"
