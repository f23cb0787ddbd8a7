"""Claims that two kinds of teachers differ, judged over copies of both."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import biasvar
from biasvar.analysis.statistics.crossed import crossed_mean
from biasvar.report import style
from biasvar.report.arms.teachers import groups_by_teacher, teacher_count
from biasvar.report.claims.table import MEASURES, claims_table
from biasvar.report.claims.words import in_words, limits_in_words, teachers_in_words
from biasvar.report.statistics.estimates import accuracy_combination, final_difference, final_level, term_change
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY

REPLICAS = 6


def trained(directory, **teacher):
    entry = copy.deepcopy(TINY) | {"replicas": REPLICAS, "schedule": {"epochs": 12, "batch_size": 20}}
    plain = {"hidden": [16], "epochs": 6} | teacher
    entry["teachers"] = {"main": plain, "smooth": plain | {"smoothing": 0.2}}
    kd = {"loss": "distillation"}
    entry["arms"] = {"ce": {"loss": "cross_entropy"}, "kd": kd, "kd_smooth": kd | {"teacher": "smooth"}}
    entry["claims"] = {claim: [{"treatment": "kd_smooth", "control": "kd"}] for claim in ("W10", "W11")}
    return run_study(resolve_study(entry), directory, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By the number of networks of each teacher; 6 of them twice: as copies, and as one for each replica."""
    folder = tmp_path_factory.mktemp("copies")
    settings = {1: {}, 3: {"copies": 3}, 6: {"copies": 6}, "each": {"draw": "per_replica"}}
    return {count: trained(folder / str(count), **teacher) for count, teacher in settings.items()}


ROLES = {"treatment": "kd_smooth", "control": "kd"}


@pytest.fixture(scope="module")
def crossed_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("crossed") / "run", copies=3, crossed=True)


def by_replica(run, treatment="kd_smooth", control="kd"):
    final = run.metrics.query("split == 'test' and view == 'clean' and epoch == 12")
    accuracy = final.pivot(index="replica", columns="arm", values="accuracy")
    return (accuracy[treatment] - accuracy[control]).to_numpy()


def test_the_error_of_a_paired_difference_is_over_copies_that_replicas_share(runs):
    difference = by_replica(runs[3])
    by_copy = difference.reshape(2, 3)  # replicas 0 and 3 share a copy, 1 and 4, 2 and 5
    row = final_difference(runs[3], "kd_smooth", "kd", "accuracy")
    assert row.estimate == pytest.approx(difference.mean())
    assert row.stderr_teachers == row.crossed.stderr == pytest.approx(stats.sem(by_copy.mean(0)))
    assert (row.n_teachers, row.crossed.df, row.n_replicas) == (3, 2, REPLICAS)
    within = np.sqrt(by_copy.var(axis=0, ddof=1).mean() / REPLICAS)  # for these teachers
    assert (row.stderr, row.df) == pytest.approx((within, 3))


def test_accuracies_are_crossed_over_copies_and_rows(runs):
    right = []
    for arm in ("kd_smooth", "kd"):
        frame = runs[3].records(
            ["sample_id", "replica", "label", "student_prediction"], arm=arm, split="test", view="clean"
        )
        frame["right"] = (frame["student_prediction"] == frame["label"]).astype(float)
        right.append(frame.pivot(index="replica", columns="sample_id", values="right").to_numpy())
    difference = right[0] - right[1]
    by_copy = (difference[:3] + difference[3:]) / 2
    expected = crossed_mean(by_copy, ("teachers", "rows"))
    row = accuracy_combination(runs[3], ["kd_smooth"], ["kd"])
    assert (row.crossed.stderr, row.crossed.df) == pytest.approx((expected.stderr, expected.df))
    assert row.stderr_samples == pytest.approx(expected.components["rows"].stderr)


def test_crossed_arms_meet_every_copy(crossed_run):
    """The table is copies x replicas x rows: replica r of shift s learned from copy (r + s) mod 3."""
    cells = np.empty((3, REPLICAS))
    for shift in range(3):
        names = [arm if not shift else f"{arm}_shift{shift}" for arm in ("kd_smooth", "kd")]
        for replica, value in enumerate(by_replica(crossed_run, *names)):
            cells[(replica + shift) % 3, replica] = value
    row = final_difference(crossed_run, "kd_smooth", "kd", "accuracy")
    expected = crossed_mean(cells, ("teachers", "replicas"))
    assert row.estimate == pytest.approx(cells.mean())
    assert (row.crossed.stderr, row.crossed.df) == pytest.approx((expected.stderr, expected.df))
    assert row.stderr == pytest.approx(stats.sem(cells.mean(0)))
    assert (row.n_teachers, row.n_replicas) == (3, REPLICAS)


@pytest.mark.parametrize("term", ["bias", "variance"])
def test_changes_of_terms_are_over_copies(runs, crossed_run, term):
    """Copies are left out with all their replicas, by hand; in the crossed run in every turn."""
    row = term_change(runs[3], "kd", "ce", term)
    expected, stderr = over_copies([(runs[3], "kd", 0)], term)
    assert (row.estimate, row.stderr_teachers) == pytest.approx((expected, stderr))
    assert row.n_teachers == 3
    assert row.crossed.df <= 2
    rows = row.crossed.components["rows"].stderr
    assert row.crossed.stderr == pytest.approx(math.hypot(stderr, rows))
    met = term_change(crossed_run, "kd", "ce", term)
    arms = [(crossed_run, arm, shift) for shift, arm in enumerate(("kd", "kd_shift1", "kd_shift2"))]
    expected, stderr = over_copies(arms, term)
    assert (met.estimate, met.stderr_teachers) == pytest.approx((expected, stderr))
    assert set(met.crossed.components) == {"teachers", "replicas", "rows"}
    assert (
        teachers_in_words(
            crossed_run, ["kd", "ce"], MEASURES["W1"](crossed_run, {"treatment": "kd", "control": "ce"})[0]
        )
        == ""
    )


def over_copies(arms, term):
    """The jackknife-corrected mean change against ce, and its jackknife error over three copies of two replicas."""

    def change(run, arm, keep):
        terms = []
        for name in (arm, "ce"):
            found = run.predictions(name)
            plain = biasvar.decompose(found.mean_log_probs[keep], found.labels)
            terms.append((plain.bias.mean(), plain.variance.mean()))
        return np.subtract(*terms)

    def whole(left_out):
        values = []
        for run, arm, shift in arms:
            copy = (np.arange(REPLICAS) + shift) % 3
            values.append(change(run, arm, ~np.isin(copy, left_out)))
        return np.mean(values, axis=0)

    full, once = whole([]), np.array([whole([t]) for t in range(3)])
    variance = 3 * full[1] - 2 * once[:, 1].mean()
    estimate = {"bias": full.sum() - variance, "variance": variance}[term]
    variance = once[:, 1] * 2 / 1  # two copies are left; errors are those of the ratio form, by copies
    deleted = {"bias": once.sum(axis=1) - variance, "variance": variance}[term]
    return estimate, math.sqrt(2 / 3 * np.sum((deleted - deleted.mean()) ** 2))


@pytest.mark.parametrize("count", [1, 6, "each"])
def test_without_shared_copies_it_is_over_replicas(runs, count):
    row = final_difference(runs[count], "kd_smooth", "kd", "accuracy")
    assert row.stderr == pytest.approx(stats.sem(by_replica(runs[count])))
    assert (row.n_teachers, row.df) == (None, REPLICAS - 1)
    assert np.isnan(row.stderr_teachers)


def test_levels_are_over_replicas(runs):
    assert final_level(runs[3], "kd", "accuracy").df == REPLICAS - 1


def test_claims_say_what_they_rest_on(runs):
    for count, run in runs.items():
        table = claims_table([run])
        assert set(table["id"]) == {"W10", "W11"}
        assert (table["n"] == (3 if count == 3 else REPLICAS)).all()
        assert table["test"].str.contains("over 3 copies of each teacher").all() == (count == 3)
        decided = table[table["verdict"] != "undecided"]
        assert (decided["said"].str.contains("with these teachers") == (count == 1)).all()
        words = {teachers_in_words(run, ["kd", "kd_smooth"], part) for part in MEASURES["W11"](run, ROLES)}
        assert words == {"with these teachers" if count == 1 else ""}
        assert teachers_in_words(run, ["kd"], MEASURES["W11"](run, ROLES)[0]) == (
            "with this teacher" if count == 1 else ""
        )


def test_verdicts_on_given_features_say_so(runs, monkeypatch):
    """Features of a pretrained network know more than the training rows: what holds on them rests on it."""
    part = MEASURES["W11"](runs[1], ROLES)[0]
    assert limits_in_words(runs[1], ["kd"], part) == "with this teacher"
    monkeypatch.setitem(runs[1].manifest, "data", {**runs[1].manifest["data"], "features": 256})
    assert limits_in_words(runs[1], ["kd"], part) == "with this teacher on given features"
    assert limits_in_words(runs[1], ["ce"], part) == "on given features"
    assert in_words("does not hold", "on given features") == (
        "does not hold on given features, for this data, network and size"
    )


def test_how_many_networks_a_teacher_is(runs):
    assert [teacher_count(runs[count], "main") for count in (1, 3, 6, "each")] == [1, 3, 6, 6]
    groups = [groups_by_teacher(runs[count], ["kd", "ce"]) for count in (1, 3, 6, "each")]
    assert groups == [0, 3, 0, 0]


@pytest.mark.parametrize(("counts", "groups"), [((4, 2), 2), ((3, 2), 1), ((1, 4), 4), ((8, 4), 4), ((16, 1), 0)])
def test_copies_of_two_teachers_are_grouped_so_that_none_is_shared_between_groups(counts, groups, monkeypatch):
    from biasvar.report.arms import teachers

    monkeypatch.setattr(teachers, "teacher_count", lambda run, name: counts[int(name)])
    run = SimpleNamespace(manifest={"replicas": 16}, entry=lambda arm: SimpleNamespace(teacher=arm))
    assert groups_by_teacher(run, ["0", "1"]) == groups
    if groups > 1:
        for count in counts:
            shared = {(r % count, r % groups) for r in range(16)}
            assert len(shared) == max(count, groups)


def test_an_ensemble_is_not_marked_like_copies_on_fewer_rows() -> None:
    markers = [style.regime_marker(name) for name in ("ensemble of 3", "fixed, 2000 training rows, 8 copies", "none")]
    assert len(set(markers)) == 3
    assert style.regime_label("fixed, 2000 training rows, 8 copies") == "teacher fixed, 2,000 training rows, 8 copies"
