"""What arms were given and took, counted by hand from the manifest, the metrics and the trials of learning rates."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.records import Run
from biasvar.report.statistics import stored
from biasvar.report.statistics.budgets import CONVERGED, Rise, budgets, rise
from biasvar.report.text.budgets import budget_rows, not_converged


def changed(run: Run, **changes) -> Run:
    return Run(run.directory, {**run.manifest, **changes})


def test_settings_steps_and_seconds(study_run: Run):
    frame = budgets(study_run).set_index("arm")
    assert list(frame.index) == study_run.arms
    for arm, row in frame.iterrows():
        entry = study_run.arm(str(arm))
        assert row["seconds"] == pytest.approx(sum(entry["group_processor_seconds"]) / 4)
        assert (row["settings_tried"], row["tuning_replicas"]) == (2, 2)  # rates 0.02 and 0.1, two replicas each
        assert row["learning_rate"] == entry["learning_rate"]
        assert (row["rows"], row["steps"]) == (120, 4 * 120 / 20)
    teachers = study_run.manifest["teachers"]
    assert set(frame["timed"]) == {"processor"}
    assert frame.loc["kd", "teacher_seconds"] == pytest.approx(teachers["main"]["processor_seconds"])
    assert frame.loc["kd_own", "teacher_seconds"] == pytest.approx(teachers["own"]["processor_seconds"] / 4)
    assert frame.loc["kd_own", "teacher_networks"] == 4
    assert frame.loc["ce", "teacher"] == ""
    assert math.isnan(frame.loc["ce", "teacher_seconds"])


def test_the_rise_over_the_last_quarter(study_run: Run):
    metrics = study_run.metrics.query("arm == 'kd' and split == 'validation' and view == 'clean'")
    table = metrics.pivot(index="replica", columns="epoch", values="accuracy")
    expected = (table[4] - table[2]).to_numpy()  # the last evaluation that is not after epoch 3
    found = rise(study_run, "kd")
    assert isinstance(found, Rise)
    assert (found.since, found.interval.n) == (2, 4)
    assert found.interval.estimate == pytest.approx(expected.mean())
    assert found.interval.stderr == pytest.approx(stats.sem(expected))
    assert found.interval.high == pytest.approx(expected.mean() + stats.t.ppf(0.975, 3) * stats.sem(expected))
    row = budgets(study_run).set_index("arm").loc["kd"]
    assert row["rise"] == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    ("rises", "said"),
    [
        ([0.001, 0.002, 0.001, 0.002], "yes"),
        ([-0.02, -0.03, -0.02, -0.03], "yes"),
        ([-0.03, 0.03, 0.0, 0.01], "yes (interval reaches above 0.005)"),
        ([0.0, 0.02, 0.0, 0.02], "no (interval reaches below 0.005)"),
        ([0.03, 0.031, 0.03, 0.031], "no"),
    ],
)
def test_an_arm_has_converged_below_the_threshold(study_run: Run, monkeypatch, rises, said):
    table = pd.DataFrame({"replica": range(4), "epoch": 3, "accuracy": 0.5})
    last = table.assign(epoch=4, accuracy=0.5 + np.array(rises))
    monkeypatch.setattr(stored, "metrics_of", lambda *_: pd.concat([table, last]))
    found = rise(study_run, "kd")
    assert isinstance(found, Rise)
    assert found.converged == said
    assert (found.interval.estimate < CONVERGED) == said.startswith("yes")


def test_what_was_evaluated_too_seldom_is_not_known(study_run: Run, monkeypatch):
    frame = pd.DataFrame({"replica": [0, 1] * 2, "epoch": [1, 1, 4, 4], "accuracy": 0.5})
    monkeypatch.setattr(stored, "metrics_of", lambda *_: frame)
    assert rise(study_run, "kd") == "not known, evaluated every 2 epochs"
    monkeypatch.setattr(stored, "metrics_of", lambda *_: frame[frame["epoch"] < 4])  # one that was not finished
    assert rise(study_run, "kd") == "not known, evaluated every 2 epochs"
    monkeypatch.setattr(stored, "metrics_of", lambda *_: frame.iloc[:0])
    assert rise(study_run, "kd") == "not known, never evaluated"


def test_arms_that_were_taken_over_took_no_time_that_is_known(study_run: Run):
    entry = study_run.arm("kd") | {"shared_from": ["other"]}
    frame = budgets(changed(study_run, arms=study_run.manifest["arms"] | {"kd": entry})).set_index("arm")
    assert math.isnan(frame.loc["kd", "seconds"])
    assert frame.loc["wsl", "seconds"] > 0


def test_students_that_teach_take_the_seconds_of_their_arm(study_run: Run):
    teachers = study_run.manifest["teachers"] | {"main": {"arm": "ce", "label": "students of CE"}}
    row = budgets(changed(study_run, teachers=teachers)).set_index("arm").loc["kd"]
    assert row["teacher_seconds"] == pytest.approx(sum(study_run.arm("ce")["group_processor_seconds"]) / 4)
    assert row["teacher_networks"] == 4


def test_seconds_are_the_clocks_where_not_all_of_the_processor_are_known(study_run: Run):
    arms = study_run.manifest["arms"]
    kd = arms["kd"] | {"group_processor_seconds": [None], "seconds": 8.0}
    one_unknown = changed(study_run, arms=arms | {"kd": kd})
    for run in (changed(study_run, device="cuda:0"), one_unknown):
        frame = budgets(run).set_index("arm")
        assert set(frame["timed"]) == {"clock"}
        assert frame.loc["ce", "seconds"] == pytest.approx(arms["ce"]["seconds"] / 4)
        assert frame.loc["kd", "teacher_seconds"] == pytest.approx(run.manifest["teachers"]["main"]["seconds"])
    assert budgets(one_unknown).set_index("arm").loc["kd", "seconds"] == pytest.approx(2.0)


def test_an_arm_with_failed_replicas_has_not_converged(study_run: Run):
    arms = study_run.manifest["arms"]
    for lost, said in ((range(4), "at chance"), (range(3), "at chance, 3 of 4"), ((), None)):
        one = arms["kd"] | {"failed_replicas": [{"replica": i, "reason": "at chance"} for i in lost]}
        run = changed(study_run, arms=arms | {"kd": one})
        frame, rows = budgets(run).set_index("arm"), {row["arm"]: row for row in budget_rows(run)}
        usual = budgets(study_run).set_index("arm").loc["kd", "converged"]
        assert frame.loc["kd", "converged"] == rows["kd"]["converged"] == (said or usual)
        assert math.isnan(frame.loc["kd", "rise"]) == (len(lost) == 4)


def test_a_group_that_was_interrupted_counts_as_the_mean_of_the_others(study_run: Run):
    arms = study_run.manifest["arms"]
    one = arms["kd"] | {"group_processor_seconds": [3.0, None, 5.0, 4.0]}
    frame = budgets(changed(study_run, arms=arms | {"kd": one})).set_index("arm")
    assert (frame.loc["kd", "timed"], frame.loc["kd", "seconds"]) == ("processor", pytest.approx(4.0))


def test_a_search_that_an_arm_takes_over_is_told_beside_its_own_seconds(study_run: Run):
    arms = study_run.manifest["arms"]
    frame = budgets(changed(study_run, arms=arms | {"kd": arms["kd"] | {"search": "ls"}})).set_index("arm")
    assert frame.loc["kd", "search_seconds"] == pytest.approx(frame.loc["ls", "seconds"])
    assert math.isnan(frame.loc["ls", "search_seconds"])


def test_other_runs_have_no_budget(recorder_run: Run, imported_run: Run):
    assert budgets(recorder_run).empty
    assert budgets(imported_run).empty
    assert budget_rows(imported_run) == not_converged(imported_run) == []


def test_the_page_names_arms_that_still_rise(study_run: Run):
    frame = budgets(study_run)
    risen = frame[frame["converged"].str.startswith("no") & ~frame["converged"].str.startswith("not")]
    shown = risen[risen["role"] != "teacher sweep"]
    said = " ".join(not_converged(study_run))
    assert len(shown)  # four epochs are too few
    assert all(f"{label} (+" in said for label in shown["label"])
    assert all(f"{label} (" not in said for label in set(frame["label"]) - set(shown["label"]))
    rows = {row["arm"]: row for row in budget_rows(study_run)}
    assert (rows["kd"]["tried"], rows["kd"]["steps"]) == ("2 × 2", "24")
    assert rows["ce"]["teacher"] == "–"
    assert rows["kd_own"]["teacher"].startswith("own: 4 networks of 0.")
