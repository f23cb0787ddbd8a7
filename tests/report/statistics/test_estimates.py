"""The table of estimates: every kind of row against a computation of its own from the run's arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import biasvar
from biasvar.report.claims.common import change_of_term
from biasvar.report.statistics import estimates
from tests.report.made import make_run

REPLICAS = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """More replicas than groups: what they are the degrees of freedom of can be told apart."""
    return make_run(tmp_path_factory.mktemp("estimates") / "run", replicas=REPLICAS, groups=16)


def corrected(made, arm):
    return biasvar.decompose(made.log_probs[arm], made.labels).corrected()


@pytest.mark.parametrize("term", ["bias", "variance"])
def test_a_term_is_the_mean_over_held_out_rows(made, term):
    row = estimates.decomposition_term(made.run, "kd", term)
    assert row.estimate == pytest.approx(getattr(corrected(made, "kd"), term).mean())
    assert row.stderr_samples == pytest.approx(stats.sem(getattr(corrected(made, "kd"), term)))
    assert (row.rows, row.split, row.n_replicas, row.n_samples) == ("held-out", "test", REPLICAS, 60)
    half = stats.t.ppf(0.975, row.df) * row.stderr
    assert (row.low, row.high) == pytest.approx((row.estimate - half, row.estimate + half))


@pytest.mark.parametrize("term", ["bias", "variance"])
def test_a_change_is_paired_and_its_degrees_of_freedom_count_groups(made, term):
    row = estimates.term_change(made.run, "kd", "ce", term)
    difference = getattr(corrected(made, "kd"), term) - getattr(corrected(made, "ce"), term)
    assert row.estimate == pytest.approx(difference.mean())
    assert row.stderr_samples == pytest.approx(stats.sem(difference))
    assert row.df == 15
    assert estimates.decomposition_term(made.run, "kd", term).df == 15


def test_claims_and_figures_have_the_same_degrees_of_freedom(made):
    (part,) = change_of_term("bias", "greater")(made.run, {"treatment": "kd", "control": "ce"})
    assert part.row is estimates.term_change(made.run, "kd", "ce", "bias")


def test_members_and_others_are_told_apart(made):
    rows = {name: estimates.decomposition_term(made.run, "kd", "bias", name) for name in ("member", "nonmember")}
    assert rows["member"].estimate != rows["nonmember"].estimate
    assert {row.split for row in rows.values()} == {"train"}


def test_what_a_run_does_not_hold_is_no_row(recorder_run):
    assert estimates.final_level(recorder_run, "kd", "accuracy") is None
    assert estimates.final_difference(recorder_run, "kd", "kd", "accuracy") is None
    assert estimates.decomposition_term(recorder_run, "kd", "bias") is None
    assert estimates.to_frame([None, None]).columns.tolist() == estimates.COLUMNS


def test_metrics_are_means_over_replicas_after_the_last_epoch(study_run):
    metrics = study_run.metrics.query("arm == 'kd' and split == 'test' and view == 'clean'")
    for name in estimates.METRICS:
        last = metrics[metrics["epoch"] == metrics["epoch"].max()].sort_values("replica")[name].to_numpy()
        row = estimates.final_level(study_run, "kd", name)
        assert row.estimate == pytest.approx(last.mean())
        assert row.stderr == pytest.approx(stats.sem(last))
        assert (row.df, row.n_samples, row.epoch) == (3, 97, 4)


def test_the_interval_of_an_accuracy_ends_where_accuracies_do(study_run, monkeypatch):
    metrics = study_run.metrics.query("arm == 'ce' and split == 'test' and view == 'clean'").copy()
    two = metrics[metrics["replica"].isin(sorted(metrics["replica"].unique())[:2])].copy()
    for values in ((1.0, 0.9), (0.0, 0.2)):
        two["accuracy"] = two["nll"] = two["replica"].map(dict(zip(two["replica"].unique(), values, strict=True)))
        wide, cut = (estimates.by_epoch(study_run, two, name)[-1] for name in ("nll", "accuracy"))
        assert not 0 <= wide.low <= wide.high <= 1  # what a t interval of two replicas says
        assert (cut.low, cut.high) == (max(wide.low, 0.0), min(wide.high, 1.0))
        assert (cut.estimate, cut.stderr) == (wide.estimate, wide.stderr)
        last = two[two["epoch"] == two["epoch"].max()].set_index("replica")
        monkeypatch.setattr(estimates, "final_metrics", lambda *given, last=last, **more: last)
        level = estimates.final_level.__wrapped__(study_run, "ce", "accuracy")
        assert (level.low, level.high) == (cut.low, cut.high)
        monkeypatch.undo()
    one = estimates.between_0_and_1(estimates.over_replicas(study_run, "ce", [0.5], "accuracy"))
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_differences_of_metrics_are_paired(study_run):
    frame = study_run.metrics.query("split == 'test' and view == 'clean' and epoch == 4")
    wide = frame.pivot(index="replica", columns="arm", values="accuracy")
    row = estimates.final_difference(study_run, "wsl", "kd", "accuracy", "KD")
    assert row.estimate == pytest.approx((wide["wsl"] - wide["kd"]).mean())
    assert row.stderr == pytest.approx(stats.sem(wide["wsl"] - wide["kd"]))
    assert (row.arm, row.against, row.control) == ("wsl", "KD", "kd")
    both = estimates.accuracy_combination(study_run, ["wsl", "ls"], ["kd", "ce"])
    assert both.estimate == pytest.approx((wide["wsl"] + wide["ls"] - wide["kd"] - wide["ce"]).mean())


def test_the_frame_has_one_row_an_estimate(study_run):
    frame = estimates.to_frame([estimates.final_level(study_run, arm, "nll") for arm in ("ce", "kd")])
    assert frame["arm"].tolist() == ["ce", "kd"]
    assert frame["label"].tolist() == ["CE", "KD"]
    assert np.isfinite(frame["stderr_samples"]).all()
    assert frame["stderr_teachers"].isna().all()


def test_a_number_of_several_arms_says_what_they_share(study_run):
    interval = biasvar.analysis.Interval(0.5, 0.4, 0.6, 0.05, 7, 0.95)
    row = estimates.measured(study_run, ["kd", "wsl"], interval, math.inf, "x", n_teachers=7)
    assert (row.arm, row.loss, row.role, row.replicas) == ("kd, wsl", "", "main", 8)
