"""Teachers whose copies meet every replica: the arms that this makes, and what they are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.errors import StudyError
from biasvar.study import load_study, resolve_study
from biasvar.training.execute import run_study


def crossed_study(tiny_study, **more):
    tiny_study["teachers"] = {"main": {"hidden": [8], "epochs": 3, "copies": 3, "crossed": True}}
    tiny_study["arms"] = {
        "ce": {"loss": "cross_entropy"},
        "kd": {"loss": "distillation"},
        "recorded": {"loss": "distillation", "weights_from": "kd"},
    }
    return {**tiny_study, "replicas": 4, **more}


def test_crossed_arms_meet_every_copy_with_every_replica_once(tiny_study, tmp_path):
    study = resolve_study(crossed_study(tiny_study))
    assert list(study.arms) == ["ce", "kd", "kd_shift1", "kd_shift2", "recorded", "recorded_shift1", "recorded_shift2"]
    assert study.uses("recorded_shift2") == ["kd_shift2"]
    assert study.arms["kd_shift2"].in_words().endswith("teachers shifted by 2")
    pairs = [(r, study.teacher_number(arm, r)) for arm in ("kd", "kd_shift1", "kd_shift2") for r in range(4)]
    assert sorted(pairs) == [(r, t) for r in range(4) for t in range(3)]
    run = run_study(study, tmp_path / "run", device="cpu")
    logits = run.teacher("main").logits
    ids = run.teacher("main").sample_ids
    for shift, arm in enumerate(("kd", "kd_shift1", "kd_shift2")):
        rows = run.records(arm=arm, split="test", view="clean", epochs=[4])
        for r, part in rows.groupby("replica"):
            said = logits[(r + shift) % 3][np.searchsorted(ids, part["sample_id"])]
            assert (part["teacher_prediction"] == said.argmax(-1)).all()
    first, second = (run.predictions(arm).mean_log_probs for arm in ("kd", "kd_shift1"))
    assert not np.array_equal(first, second)


def test_a_selection_goes_by_the_shift_that_had_the_same_copies(tiny_study):
    raw = crossed_study(tiny_study)
    selection = {"score": "wsl_weight", "which": "highest", "keep": 0.5, "arm": "kd"}
    raw["arms"]["selected"] = {"loss": "label_revision", "selection": selection}
    study = resolve_study(raw)
    assert [study.arms[f"selected{shift}"].selection.arm for shift in ("", "_shift1", "_shift2")] == [
        "kd", "kd_shift1", "kd_shift2",
    ]  # fmt: skip
    assert study.uses("selected_shift1") == ["kd_shift1"]


def test_a_crossed_study_written_out_is_the_same_study(tiny_study, tmp_path):
    study = resolve_study(crossed_study(tiny_study))
    (tmp_path / "resolved.yaml").write_text(study.to_yaml())
    assert load_study(tmp_path / "resolved.yaml") == study
    assert len(study.hashes) == 1
    plain = crossed_study(tiny_study)
    plain["teachers"]["main"]["crossed"] = False
    assert resolve_study(plain).hash != study.hash


def test_the_arm_itself_is_what_it_is_without_crossing(tiny_study, tmp_path):
    crossed = run_study(resolve_study(crossed_study(tiny_study)), tmp_path / "crossed", device="cpu")
    tiny_study["teachers"]["main"]["crossed"] = False
    plain = run_study(resolve_study({**tiny_study, "replicas": 4}), tmp_path / "plain", device="cpu")
    for arm in ("kd", "recorded"):
        np.testing.assert_array_equal(crossed.predictions(arm).mean_log_probs, plain.predictions(arm).mean_log_probs)


def test_kept_views_are_of_the_copy_that_a_replica_meets(tiny_study, tmp_path):
    raw = crossed_study(tiny_study, backend="sequential", replicas=3)
    raw["data"] |= {"crop": 1}
    raw["student"] = {"model": "tests.training.own_network:make"}
    raw["teachers"]["main"] = {"model": "tests.training.own_network:make", "epochs": 1, "copies": 2, "crossed": True}
    raw["schedule"]["epochs"] = 2
    runs = [
        run_study(resolve_study({**raw, "keep_views": keep}), tmp_path / str(keep), device="cpu")
        for keep in (False, True)
    ]
    for arm in ("kd", "kd_shift1"):
        one, other = (run.records(arm=arm, split="train", view="augmented") for run in runs)
        np.testing.assert_array_equal(one["teacher_loss"], other["teacher_loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teachers": {"main": {"crossed": True}}}, "teachers.main: crossed: needs copies: 2 or more"),
        ({"arms": {"kd_shift1": {"loss": "cross_entropy"}}}, "arms.kd_shift1: the name is needed for arm kd with"),
        ({"arms": {"ce": {"loss": "cross_entropy", "teacher_shift": 1}}}, "arms.ce.teacher_shift: 1 needs a teacher"),
        (
            {"arms": {"kd": {"loss": "distillation", "teacher_shift": 3}}},
            "arms.kd.teacher_shift: 3 needs a teacher",
        ),
    ],
)
def test_crossings_that_cannot_be_are_named(tiny_study, change, message):
    raw = crossed_study(tiny_study)
    for section, entries in change.items():
        raw[section] |= entries
    with pytest.raises(StudyError, match=message):
        resolve_study(raw)
