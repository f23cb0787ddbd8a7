"""The claims on biased soft labels on made data: for each, data where it holds, fails and stays undecided."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import biasvar
from biasvar.analysis.statistics.comparison import spearman
from biasvar.report.claims.table import MEASURES, claims_table
from biasvar.report.statistics import stored
from biasvar.report.statistics.accuracy_draws import accuracy_draws
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.report.summary import summarise
from biasvar.study.claims import CLAIM_ROLES, LISTS
from tests.report.made_claims import CLASSES, answers, candidates, predictions, write_claims_run


def test_a_made_run_holds_what_it_was_made_of(tmp_path):
    right = {"ce": answers(0.7, 4, 200, seed=0), "kd": answers(0.8, 4, 200, seed=1, of_rows=1.0)}
    assert abs(answers(0.7, 200, 200, seed=0, of_rows=1.0, of_replicas=0.5).mean() - 0.7) < 0.05
    log_probs = predictions(2.0, 1.0, np.arange(200) % CLASSES, 4, seed=2)
    shares = np.linspace(0.1, 0.4, 20)[:, None] + np.arange(4) / 100
    run = write_claims_run(
        tmp_path / "run", right, log_probs={"wsl": log_probs}, shares={"kd": shares}, claims={"W4": [{"arm": "kd"}]},
        arms={"kd": {"teacher": "main", "label": "KD"}}, teachers={"main": {"copies": 2}},
    )  # fmt: skip
    assert run.study is not None
    assert run.arms == ["ce", "kd", "wsl"]
    assert (run.entry("kd").teacher, run.entry("kd").label, run.entry("ce").loss) == ("main", "KD", "cross_entropy")
    for arm in ("ce", "kd"):
        assert np.array_equal(final_accuracy(run, arm), right[arm].mean(axis=1))
        record = run.records(["label", "student_prediction"], arm=arm, split="test", view="clean")
        answered = (record["student_prediction"] == record["label"]).to_numpy()
        assert np.array_equal(answered.reshape(4, 200), right[arm])
    assert np.array_equal(final_accuracy(run, "wsl"), (log_probs.argmax(-1) == np.arange(200) % CLASSES).mean(1))
    kept = run.predictions("wsl")  # whose losses are held against the metrics
    assert np.allclose(kept.mean_log_probs, log_probs)
    training = stored.metrics_of(run, "kd", "train", "augmented").pivot(
        index="epoch", columns="replica", values="share_opposing"
    )
    assert training.index.tolist() == [*range(1, 21)]
    assert np.array_equal(training, shares)


def judged(run, claim):
    """The rows of the claims table on one claim, and the claim's verdict."""
    table = claims_table([run])
    assert set(table["id"]) == {claim}
    return table, table["overall"].iloc[0]


# L1: teachers below 30 % can teach good students.


def bad_teacher(directory, student, truth, teacher, **more):
    """A student of the soft labels of one teacher, and one of true labels; `teacher` is what it knows of test rows."""
    networks = {"copies": len(teacher)} if teacher.ndim == 2 else {}
    teacher = {"accuracy_test": float(np.mean(teacher)), "label": "Bad teacher", **networks}
    return write_claims_run(
        directory, {"student": student, "truth": truth}, arms={"student": {"soft_label": "bad"}},
        definitions={"bad": {"kind": "teacher", "teacher": "bad"}}, teachers={"bad": teacher},
        claims={"L1": [{"student": "student", "truth": "truth"}]}, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("student", "teacher", "verdicts"),
    [
        (0.89, 0.2, ("holds", "holds")),
        (0.7, 0.2, ("does not hold", "holds")),
        (0.89, 0.5, ("holds", "does not hold")),
        (0.87, 0.2, ("undecided", "holds")),
        (0.89, 0.29, ("holds", "undecided")),
    ],
)
def test_l1(student, teacher, verdicts, tmp_path):
    truth, rows = answers(0.9, 8, 2000, seed=0), 2000
    run = bad_teacher(tmp_path / "run", answers(student, 8, rows, seed=1), truth, np.arange(rows) < teacher * rows)
    table, overall = judged(run, "L1")
    assert tuple(table["verdict"]) == verdicts
    assert table["said"].str.contains("with this teacher").tolist() == [one != "undecided" for one in verdicts]
    assert overall == ("holds" if set(verdicts) == {"holds"} else sorted(set(verdicts) - {"holds"})[0])
    assert table["effect"].tolist() == pytest.approx([run_gap(run, "student", "truth"), teacher])
    assert table["stderr_samples"].iloc[1] == pytest.approx(np.sqrt(teacher * (1 - teacher) / rows))


def run_gap(run, arm, control):
    """Mean accuracy of an arm less another's, from the record."""
    frame = run.records(["label", "student_prediction"], arm=[arm, control], split="test", view="clean")
    right = (frame["student_prediction"] == frame["label"]).groupby(frame["arm"], observed=True).mean()
    return right[arm] - right[control]


def test_few_test_rows_leave_undecided_what_replicas_alone_would_decide(tmp_path):
    """Eight replicas that all miss the same three rows of 200 more: no error over replicas, a large one over rows."""
    truth = np.ones((8, 200), dtype=bool)
    student = truth.copy()
    student[:, :3] = False
    run = bad_teacher(tmp_path / "run", student, truth, np.zeros(200, dtype=bool))
    table, overall = judged(run, "L1")
    assert table["stderr"].iloc[0] == 0
    assert table["stderr_crossed"].iloc[0] == pytest.approx(np.std(student[0], ddof=1) / np.sqrt(200))
    assert (table["verdict"].iloc[0], overall) == ("undecided", "undecided")


def test_a_teacher_of_several_networks_has_an_error_over_them(tmp_path):
    truth = answers(0.9, 6, 1000, seed=0)
    known = np.stack([answers(share, 1, 1000, seed=9)[0] for share in (0.1, 0.2, 0.3)])
    student = truth.copy()
    student[0, :3] ^= True  # a difference that varies a little
    run = bad_teacher(tmp_path / "run", student, truth, known, teachers_right={"bad": known})
    table, _ = judged(run, "L1")
    assert table["said"].tolist()[0] == "holds"  # with teachers like these
    found = table.iloc[1]
    assert found["effect"] == pytest.approx(known.mean())
    assert (found["n"], found["n_samples"]) == (3, 1000)
    assert found["stderr_crossed"] >= np.std(known.mean(axis=1), ddof=1) / np.sqrt(3)
    assert "3 networks" in found["test"]


def test_students_of_one_copy_of_a_bad_teacher_are_not_independent(tmp_path):
    """Six replicas, of which two each share a copy: what differs between copies counts once a copy."""
    rng = np.random.default_rng(0)
    by_copy = rng.random((3, 1000)) < np.array([[0.8], [0.85], [0.9]])
    student = by_copy[np.arange(6) % 3]
    known = np.zeros((3, 1000), dtype=bool)
    run = bad_teacher(tmp_path / "run", student, np.ones((6, 1000), dtype=bool), known, teachers_right={"bad": known})
    found = judged(run, "L1")[0].iloc[0]
    assert found["n_teachers"] == 3
    assert found["stderr_teachers"] == pytest.approx(stats.sem(by_copy.mean(axis=1)))
    assert found["stderr_crossed"] >= found["stderr_teachers"]


# L2: Delta + gamma predicts the student better than the teacher's accuracy does.


def kinds(directory, name, by, *, seed=0, number=10, spread=0.3, definition="a"):
    """Soft labels whose Delta + gamma and whose own accuracy have nothing to do with each other.

    A share of the rows has the truth second behind a rival, which costs accuracy and leaves the sets of two alone; a
    share has it last. The students' accuracy falls with `by`: "missing" (then Delta + gamma predicts it), "behind"
    (then the accuracy of the soft label does).
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(600) % CLASSES
    missing = np.linspace(0.02, 0.4, number)
    accuracy = rng.permutation(np.linspace(0.1, 0.5, number))  # of the soft label
    behind = 1.0 - accuracy - missing
    cost = {"missing": missing, "behind": behind + missing}[by]
    soft, right = {}, {"truth": answers(0.95, 4, 500, seed=seed)}
    for i in range(number):
        place = rng.random((600, 1))
        others = rng.permuted(np.tile(np.arange(1, CLASSES), (600, 1)), axis=1)
        first = np.hstack([np.zeros((600, 1), dtype=int), others])
        second, last = first[:, [1, 0, *range(2, CLASSES)]], first[:, [*range(1, CLASSES), 0]]
        order = np.where(place < missing[i], last, np.where(place < missing[i] + behind[i], second, first))
        values = np.empty((600, CLASSES))
        np.put_along_axis(values, (labels[:, None] + order) % CLASSES, np.array([[0.4, 0.3, 0.2, 0.1]]), axis=1)
        soft[f"kind_{i}"] = values
        right[f"kind_{i}"] = answers(0.95 - spread * cost[i] / cost.max(), 4, 500, seed=100 * seed + i)
    definitions = {kind: {"kind": "file", "path": f"{definition}.npy"} for kind in soft}
    run = write_claims_run(
        directory, right, arms={kind: {"soft_label": kind} for kind in soft}, soft_labels=soft, definitions=definitions,
        train_labels=labels, claims={"L2": [{"arms": [*soft], "truth": "truth"}]}, name=name, data={"name": name},
    )  # fmt: skip
    rho = [stats.spearmanr(x, [right[kind].mean() for kind in soft]).statistic for x in (missing, accuracy)]
    return run, rho


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of one list of kinds by data set and by what the accuracy falls with, and the two correlations put in."""
    place = tmp_path_factory.mktemp("kinds")
    return {
        (name, by): kinds(place / f"{name}_{by}", name, by, seed=seed)
        for seed, name in enumerate(("digits", "letters", "shirts"))
        for by in ("missing", "behind")
    }


def over_data(made, *by):
    """One run a data set, the correlations put in, and their table."""
    chosen = [made[name, one] for name, one in zip(("digits", "letters", "shirts"), by, strict=True)]
    runs = [run for run, _ in chosen]
    return runs, np.array([rho for _, rho in chosen]), claims_table(runs)


def test_l2_holds_over_three_data_sets(made):
    _, rho, table = over_data(made, "missing", "missing", "missing")
    alone, together = table[:-2], table[-2:]
    assert (alone["verdict"] == "undecided").all()
    assert (alone["detail"] == "one data set: the rule asks for 3").all()
    assert (alone["n"] == 10).all()
    assert alone["effect"].iloc[::2].to_numpy() == pytest.approx(rho[:, 0], abs=0.1)  # realised, not asked for
    assert set(together["run"]) == {"digits+letters+shirts"}
    assert set(together["overall"]) == {"holds"}
    for part in (0, 1):
        estimates = alone["effect"].iloc[part::2]
        found = together.iloc[part]
        assert found["effect"] == pytest.approx(estimates.mean())
        assert found["stderr"] == pytest.approx(stats.sem(estimates))  # over data sets alone
        assert found["n"] == 3
        half = stats.t.ppf(1 - (1 - found["level"]) / 2, 2) * stats.sem(estimates)
        assert found["high_replicas"] - found["effect"] == pytest.approx(half)
        assert found["stderr_crossed"] > found["stderr"]
        half = stats.t.ppf(1 - (1 - found["level"]) / 2, found["df"]) * found["stderr_crossed"]
        assert found["high"] - found["effect"] == pytest.approx(half)
    assert sorted(together["level"]) == pytest.approx([0.95, 0.975])  # a family by themselves


def test_the_error_over_soft_labels_is_that_of_a_list_that_all_data_sets_share(made):
    """Against a bootstrap by hand: the same ten kinds drawn in all three data sets, the mean of the correlations."""
    runs, _, table = over_data(made, "missing", "missing", "missing")
    names = [f"kind_{i}" for i in range(10)]
    x = np.array([[judged_sum(run, name) for name in names] for run in runs])
    y = np.array([[final_accuracy(run, name).mean() for name in names] for run in runs])
    rng = np.random.default_rng(1)
    drawn = [rng.integers(10, size=10) for _ in range(1000)]
    rho = [np.mean([spearman(np.stack([a[i], b[i]]))[0] for a, b in zip(x, y, strict=True)]) for i in drawn]
    found = table.iloc[-2]
    over_kinds = np.sqrt(found["stderr_crossed"] ** 2 - found["stderr"] ** 2)
    assert 0.85 < over_kinds / np.nanstd(rho, ddof=1) < 1.3  # it has the errors over replicas and rows besides


def judged_sum(run, arm):
    """The smallest Delta + gamma over k of an arm's soft labels."""
    stored = run.soft_labels(arm)
    found = biasvar.measure_indicators(stored.values, stored.labels, ks=range(1, CLASSES), thresholds=[0.0])
    return found.table()["sum"].min()


def test_the_summary_holds_what_several_runs_say_together(made):
    runs, _, table = over_data(made, "missing", "missing", "missing")
    found = summarise(runs, table)
    assert [row["effect"] for row in found["claims_over_data_sets"]] == pytest.approx(table["effect"].iloc[-2:])
    assert [len(one["claims"]) for one in found["runs"].values()] == [2, 2, 2]
    assert summarise(runs[:1], table[:2])["claims_over_data_sets"] == []


def test_l2_fails_where_the_labels_own_accuracy_predicts_as_well(made):
    _, rho, table = over_data(made, "behind", "behind", "behind")
    assert (np.abs(rho[:, 1]) > 0.9).all()
    together = table[-2:]
    assert together["verdict"].iloc[1] == "does not hold"  # the lead
    assert set(together["overall"]) == {"does not hold"}


def test_l2_is_undecided_where_data_sets_disagree_or_are_too_few(made, tmp_path):
    runs, _, table = over_data(made, "missing", "behind", "missing")
    assert set(table[-2:]["overall"]) == {"undecided"}
    assert re.search(r"data sets and .* soft labels together would decide", table[-2:]["detail"].iloc[1])
    two = claims_table(runs[:2])
    assert len(two) == 4
    assert set(two["detail"]) == {"one data set: the rule asks for 3"}
    other, _ = kinds(tmp_path / "other", "shirts", "missing", seed=2, definition="b")
    assert len(claims_table([*runs[:2], other])) == 6  # another list of kinds


def test_l2_counts_several_runs_on_one_data_set_once(made, tmp_path):
    again, _ = kinds(tmp_path / "again", "shirts", "missing", seed=7)
    runs = [made[name, "missing"][0] for name in ("digits", "letters", "shirts")]
    assert len(claims_table([runs[0], runs[2], again])) == 6  # two data sets, three runs
    table = claims_table([*runs, again])
    rho = table["effect"].iloc[:8:2].to_numpy()
    strata = [rho[0], rho[1], (rho[2] + rho[3]) / 2]
    found = table.iloc[-2]
    assert (found["n"], found["effect"]) == (3, pytest.approx(np.mean(strata)))
    assert found["stderr"] == pytest.approx(stats.sem(strata))


# L3: Delta + gamma < 1 suffices.

SIZES = (50, 100, 400, 1600)


def growing(directory, gaps, *, delta=0.05, gamma=0.2, replicas=8, rows=4000):
    """Partial labels of more and more rows, and true labels of as many; the students' gap to true labels is given."""
    labels = np.arange(1600) % CLASSES
    sets = candidates(delta, gamma, labels, seed=0)
    soft = {f"p_{n}": np.where(np.arange(1600)[:, None] < n, sets, 0.0) for n in SIZES}
    truth = np.linspace(0.7, 0.9, len(SIZES))
    right = {}
    for i, n in enumerate(SIZES):
        right[f"truth_{n}"] = answers(truth[i], replicas, rows, seed=i)
        right[f"p_{n}"] = answers(truth[i] - gaps[i], replicas, rows, seed=10 + i)
    roles = {"arms": [*soft], "truths": [f"truth_{n}" for n in SIZES]}
    return write_claims_run(
        directory, right, arms={name: {"soft_label": name} for name in soft}, soft_labels=soft, train_labels=labels,
        definitions={name: {"kind": "partial", "unreliability": delta, "ambiguity": gamma} for name in soft},
        claims={"L3": [roles]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gaps", "verdicts", "overall"),
    [
        ((0.3, 0.2, 0.1, 0.01), ("holds", "holds"), "holds"),
        ((0.35, 0.25, 0.15, 0.08), ("holds", "does not hold"), "does not hold"),
        ((0.0, 0.005, 0.01, 0.015), ("does not hold", "holds"), "does not hold"),
        ((0.3, 0.2, 0.1, 0.026), ("holds", "undecided"), "undecided"),
    ],
)
def test_l3(gaps, verdicts, overall, tmp_path):
    run = growing(tmp_path / "run", gaps)
    table, found = judged(run, "L3")
    assert (*table["verdict"], found) == (*verdicts, overall)
    apart = [run_gap(run, f"truth_{n}", f"p_{n}") for n in SIZES]
    assert table["effect"].tolist() == pytest.approx([np.polyfit(np.log(SIZES), apart, 1)[0], apart[-1]])
    assert (table["stderr_samples"] > 0).all()
    assert table["threshold"].tolist() == [-0.002, 0.03]


def test_l3_is_undecided_where_delta_and_gamma_may_be_nine_tenths(tmp_path):
    table, overall = judged(growing(tmp_path / "run", (0.3, 0.2, 0.1, 0.01), delta=0.4, gamma=0.5), "L3")
    assert (set(table["verdict"]), overall) == ({"undecided"}, "undecided")
    assert table["detail"].str.contains("the rule is for soft labels where that is below 0.9").all()
    assert table["effect"].iloc[1] == pytest.approx(0.01, abs=0.02)  # shown all the same


def test_l3_asks_for_the_gap_at_the_largest_n_whatever_the_order(tmp_path):
    run = growing(tmp_path / "run", (0.3, 0.2, 0.1, 0.01))
    roles = run.manifest["claims"]["L3"][0]
    backwards = {role: names[::-1] for role, names in roles.items()}
    one, other = (MEASURES["L3"](run, asked) for asked in (roles, backwards))
    assert [part.row.estimate for part in one] == pytest.approx([part.row.estimate for part in other])


# L4: Delta + gamma < 1 is not necessary.


def unfit(directory, student, sure, rows=1600):
    """Soft labels with the truth first in a share of the rows and nowhere in the others, wrong labels in one order."""
    labels = np.arange(rows) % CLASSES
    known = np.arange(rows) // CLASSES < sure * rows / CLASSES  # of every class as many
    mass = np.where(known[:, None], [0.7, 0.15, 0.1, 0.05], [0.0, 0.5, 0.3, 0.2])
    values = np.take_along_axis(mass, (np.arange(CLASSES) - labels[:, None]) % CLASSES, axis=1)
    return write_claims_run(
        directory, {"student": answers(student, 8, 2000, seed=1), "truth": answers(0.9, 8, 2000, seed=0)},
        arms={"student": {"soft_label": "soft"}}, soft_labels={"soft": values}, train_labels=labels,
        claims={"L4": [{"student": "student", "truth": "truth"}]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("student", "sure", "rows", "verdicts"),
    [
        (0.89, 0.3, 1600, ("holds", "holds")),
        (0.7, 0.3, 1600, ("does not hold", "holds")),
        (0.89, 0.9, 1600, ("holds", "does not hold")),
        (0.89, 0.4, 80, ("holds", "undecided")),
        (0.87, 0.3, 1600, ("undecided", "holds")),
    ],
)
def test_l4(student, sure, rows, verdicts, tmp_path):
    run = unfit(tmp_path / "run", student, sure, rows)
    table, overall = judged(run, "L4")
    assert tuple(table["verdict"]) == verdicts
    assert overall == ("holds" if set(verdicts) == {"holds"} else sorted(set(verdicts) - {"holds"})[0])
    assert table["effect"].tolist() == pytest.approx([run_gap(run, "student", "truth"), 2 * (1 - sure)])
    bounds = biasvar.effectiveness(run.soft_labels("soft").values, run.soft_labels("soft").labels, level=1 - 0.05 / 4)
    first = bounds.iloc[0]  # k = 1, of three k and the entries above 0
    side = first["sum"] - first["sum_low"] if 2 * (1 - sure) > 1.1 else first["sum_high"] - first["sum"]
    assert 1.96 * table["stderr"].iloc[1] == pytest.approx(side)


# L5: with partial labels accuracy falls as Delta or gamma grows.

CELLS = [(delta, gamma) for delta in np.linspace(0, 0.5, 6) for gamma in np.linspace(0, 0.5, 6)]


def grid(directory, of_delta, of_gamma, *, replicas=4, rows=1000, wiggle=0.0):
    """Partial labels over a grid; accuracy falls by so much a unit of Delta and of gamma."""
    labels = np.arange(300) % CLASSES
    noise = wiggle * np.random.default_rng(0).normal(size=len(CELLS))
    soft = {f"c_{i}": candidates(*cell, labels, seed=i) for i, cell in enumerate(CELLS)}
    right = {
        f"c_{i}": answers(0.8 - of_delta * delta - of_gamma * gamma + noise[i], replicas, rows, seed=50 + i)
        for i, (delta, gamma) in enumerate(CELLS)
    }
    run = write_claims_run(
        directory, right, arms={name: {"soft_label": name} for name in soft}, soft_labels=soft, train_labels=labels,
        claims={"L5": [{"arms": [*soft]}]},
    )  # fmt: skip
    support = {name: values > 0 for name, values in soft.items()}
    delta = [1 - inside[np.arange(300), labels].mean() for inside in support.values()]
    rho = stats.spearmanr(delta, [right[name].mean() for name in soft]).statistic
    return run, rho


@pytest.mark.parametrize(
    ("of_delta", "of_gamma", "verdicts", "overall"),
    [
        (0.4, 0.4, ("holds", "holds"), "holds"),
        (-0.3, 0.3, ("does not hold", "holds"), "does not hold"),
        (0.4, 0.0, ("holds", "undecided"), "undecided"),
    ],
)
def test_l5(of_delta, of_gamma, verdicts, overall, tmp_path):
    run, rho = grid(tmp_path / "run", of_delta, of_gamma)
    table, found = judged(run, "L5")
    assert (*table["verdict"], found) == (*verdicts, overall)
    assert table["effect"].iloc[0] == pytest.approx(rho)
    own = (1 - rho**2) * np.sqrt((1 + rho**2 / 2) / (len(CELLS) - 3))
    assert table["stderr"].iloc[0] == pytest.approx(own)
    assert (table["stderr_crossed"] > table["stderr"]).all()
    assert (table["n"] == 36).all()


def test_a_perfect_order_of_the_grid_is_judged_too(tmp_path):
    """A correlation of -1 has no error by Fisher's z and is judged as its nearest neighbour."""
    labels = np.arange(2000) % CLASSES
    steps = np.linspace(0, 0.6, 12)
    soft = {f"c_{i}": candidates(step, step, labels, seed=i) for i, step in enumerate(steps)}
    right = {name: np.arange(1000) < np.full((4, 1), 900 - 50 * i) for i, name in enumerate(soft)}
    run = write_claims_run(
        tmp_path / "run", right, arms={name: {"soft_label": name} for name in soft}, soft_labels=soft,
        train_labels=labels, claims={"L5": [{"arms": [*soft]}]},
    )  # fmt: skip
    table, overall = judged(run, "L5")
    assert overall == "holds"
    assert (table["effect"] > -1).all()
    assert (table["effect"] < -0.99).all()


def test_a_single_replica_decides_nothing(tmp_path):
    run, _ = grid(tmp_path / "grid", 0.4, 0.4, replicas=1)
    table, overall = judged(run, "L5")
    assert overall == "undecided"
    assert set(table["detail"]) == {"the effect or its error could not be computed"}
    run = growing(tmp_path / "rows", (0.3, 0.2, 0.1, 0.01), replicas=1)
    assert judged(run, "L3")[1] == "undecided"


# L6: with additive noise students stay good while Delta + gamma < 1.

SCALES = {"s_02": 0.2, "s_1": 1.0, "s_2": 2.0, "s_10": 10.0}


def noisy(directory, accuracy, **more):
    """Students of noise of four scales, the largest with an exact Delta + gamma above .9, and of true labels."""
    right = {name: answers(one, 8, 2000, seed=i) for i, (name, one) in enumerate(accuracy.items())}
    definitions = {name: {"kind": "noise", "scale": scale} for name, scale in SCALES.items()} | more
    return write_claims_run(
        directory, {**right, "truth": answers(0.9, 8, 2000, seed=9)}, definitions=definitions,
        arms={name: {"soft_label": name, "measure": "squared_error"} for name in accuracy},
        claims={"L6": [{"arms": [*accuracy], "truth": "truth"}]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_scale_2", "verdict", "overall"),
    [(0.89, "holds", "holds"), (0.6, "does not hold", "does not hold"), (0.87, "undecided", "undecided")],
)
def test_l6(of_scale_2, verdict, overall, tmp_path):
    run = noisy(tmp_path / "run", {"s_02": 0.9, "s_1": 0.895, "s_2": of_scale_2, "s_10": 0.3})
    table, found = judged(run, "L6")
    assert (table["verdict"].tolist(), found) == (["holds", "holds", verdict], overall)  # the worst of them decides
    assert table["effect"].tolist() == pytest.approx([run_gap(run, arm, "truth") for arm in ("s_02", "s_1", "s_2")])
    assert (table["threshold"] == -0.03).all()
    for row, scale in zip(table["test"], (0.2, 1.0, 2.0), strict=True):
        assert f"exact Δ + γ {_simulated(scale):.2f}" in row or f"exact Δ + γ {_simulated(scale) + 0.01:.2f}" in row


def _simulated(scale):
    """The smallest Delta + gamma over k of one-hot labels with noise, by a million draws."""
    scores = scale * np.random.default_rng(0).normal(size=(1_000_000, CLASSES))
    scores[:, 0] += 1.0
    rank = (scores[:, 1:] > scores[:, :1]).sum(axis=1)  # wrong labels before the truth
    of_last = (scores > scores[:, -1:]).sum(axis=1)
    return min((rank >= k).mean() + (of_last < k).mean() for k in range(1, CLASSES))


def test_l6_is_undecided_where_the_exact_indicators_are_not_known_or_not_below_nine_tenths(tmp_path):
    good = {"s_02": 0.9, "s_1": 0.9, "s_2": 0.9, "s_10": 0.9}
    projected = noisy(tmp_path / "projected", good, s_1={"kind": "noise", "scale": 1.0, "project": True})
    table, overall = judged(projected, "L6")
    assert overall == "undecided"
    assert table.loc[table["verdict"] == "undecided", "detail"].tolist() == [
        "the exact Δ + γ of s_1 is not known: its noise is projected, which makes ties"
    ]
    partial = noisy(tmp_path / "partial", good, s_2={"kind": "partial", "unreliability": 0.1, "ambiguity": 0.1})
    table, overall = judged(partial, "L6")
    assert overall == "undecided"
    assert "no Gaussian noise (kind: partial)" in table["detail"].iloc[-1]
    above, overall = judged(noisy(tmp_path / "above", {"s_10": 0.9}), "L6")
    assert overall == "undecided"
    assert "no setting has an exact Δ + γ below 0.9; the smallest is 0.956" in above["detail"].iloc[0]
    assert above["effect"].iloc[0] == pytest.approx(0, abs=0.02)  # shown all the same


# The error over replicas and test rows of a statistic of several arms.


def test_draws_over_replicas_and_rows_move_a_correlation_as_fresh_ones_do(tmp_path):
    """Against redrawing the world: rows that are hard for some soft labels, replicas that are good for some."""
    x = np.arange(10.0)

    def world(rng):
        rows, replicas = 0.8 * rng.normal(size=(10, 1, 120)), 0.3 * rng.normal(size=(10, 6, 1))
        return 0.8 - 0.06 * x[:, None, None] + rows + replicas + rng.normal(size=(10, 6, 120)) > 0

    rng = np.random.default_rng(0)
    truth = np.std([stats.spearmanr(x, world(rng).mean((1, 2))).statistic for _ in range(600)], ddof=1)
    told = []
    for i in range(8):
        right = {f"a_{k}": one for k, one in enumerate(world(rng))}
        run = write_claims_run(tmp_path / str(i), right, claims={"W4": [{"arm": "a_0"}]})
        drawn = accuracy_draws(run, [*right], resamples=200)
        rho = [np.std(spearman(np.vstack([drawn[factor].T, x]))) for factor in ("replicas", "rows")]
        told.append(np.hypot(*rho))
    assert 0.9 < np.mean(told) / truth < 1.35


@pytest.mark.parametrize("claim", ["L2", "L3", "L4", "L5"])
def test_arms_that_learn_from_no_soft_label_leave_a_claim_on_soft_labels_unmeasured(claim: str) -> None:
    run: Any = SimpleNamespace(entry=lambda arm: SimpleNamespace(soft_label=None), soft_label_names=[])
    roles = {role: ["ce", "kd"] if role in LISTS else "ce" for role in CLAIM_ROLES[claim]}
    assert MEASURES[claim](run, roles) == []
