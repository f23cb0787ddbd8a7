"""The figures on biased soft labels: predictors, partial labels, noise, rounds, bad teachers."""

import copy
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.text import Text
from scipy.stats import spearmanr
from scipy.stats import t as student_t

from biasvar.analysis.indicators.learnability import additive_noise_indicators
from biasvar.records import Run, open_run
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.claims import table as claims
from biasvar.report.figure import Figure
from biasvar.report.figures import accuracy, bad_teacher, conditions, noise, partial, people, predictors, rounds
from biasvar.report.statistics import accuracy_prediction, label_indicators
from biasvar.report.statistics.changes import change
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY
from tests.report.made import make_run

FIGURES = [one.FIGURE for one in (conditions, predictors, partial, noise, rounds, bad_teacher, people)]
REPLICAS = 4
LABELLED = 150


def _study() -> dict[str, Any]:
    """The digits in miniature, with soft labels of every kind that the figures look for."""
    study = copy.deepcopy(TINY)
    bad = {"k": 3, "punishment": 5, "rivals": 2}
    study["teachers"] = {
        "good": {"hidden": [16], "epochs": 6, "follow": True},
        "bad": {"hidden": [16], "epochs": 6, "follow": True, "bad": bad},
    }
    soft: dict[str, Any] = {
        "truth": {"kind": "label"},
        "few": {"kind": "label", "labelled": LABELLED},
        "again": {"kind": "student", "arm": "few", "labelled": LABELLED, "hard": True},
        "third": {"kind": "student", "arm": "again", "labelled": LABELLED, "hard": True},
        "few_partial": {"kind": "partial", "unreliability": 0.1, "ambiguity": 0.2, "labelled": LABELLED},
        "votes": {"kind": "partial", "unreliability": 0.1, "ambiguity": 0.05},
        "smooth": {"kind": "smoothing", "smoothing": 0.3},
        "good": {"kind": "teacher", "teacher": "good"},
        "bad": {"kind": "teacher", "teacher": "bad"},
        "bad_first": {"kind": "teacher", "teacher": "bad", "hard": True},
        "chance": {"kind": "random"},
    }
    for drop in (0.0, 0.4):
        for add in (0.0, 0.2, 0.5):
            soft[f"p_{10 * drop:.0f}_{10 * add:.0f}"] = {"kind": "partial", "unreliability": drop, "ambiguity": add}
    for scale in (0.5, 1, 4):
        soft[f"n_{10 * scale:.0f}"] = {"kind": "noise", "scale": scale}
        soft[f"n_{10 * scale:.0f}_projected"] = {"kind": "noise", "scale": scale, "project": True, "redraw": True}
    arms = {f"of_{name}" if name == "bad" else name: {"loss": "soft_label", "soft_label": name} for name in soft}
    for name, said in soft.items():
        if said["kind"] == "noise" and not said.get("project"):
            arms[name]["measure"] = "squared_error"
        if name.startswith("p_"):
            arms[f"{name}_sets"] = {"loss": "soft_label", "soft_label": name, "measure": "candidates"}
    arms["bad_sets"] = {"loss": "soft_label", "soft_label": "bad", "measure": "candidates", "k": 3}
    study |= {"soft_labels": soft, "arms": {"ce": {"loss": "cross_entropy"}, **arms}, "replicas": REPLICAS}
    study["name"] = "soft"
    study.pop("defaults", None)
    study["record"] = {"epochs": "last"}
    study["predictions"] = {"epochs": "last", "train": True}
    study["schedule"] = {"epochs": 4, "batch_size": 15}
    return study


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The study; what it says of one partial label is then put as if three people's votes were behind it."""
    made = run_study(resolve_study(_study()), tmp_path_factory.mktemp("soft") / "run", device="cpu")
    path = made.directory / "study.yaml"
    study = yaml.safe_load(path.read_text())
    study["soft_labels"]["votes"] |= {"kind": "votes", "people": "cifar10n"}
    path.write_text(yaml.safe_dump(study))
    return open_run(made.directory)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda one: one.name)
def test_draws_one_run_and_two_beside_one_without(figure: Figure, run: Run, tmp_path: Path) -> None:
    other = Run(run.directory, {**run.manifest, "name": "again"})
    made = make_run(tmp_path / "made", samples=40).run
    for runs in ([run], [run, other, made]):
        frame = figure.collect(runs)
        assert set(frame["run"]) == {one.name for one in runs} - {"made"}
        with style.context():
            drawing = figure.draw(frame)
            style.save(drawing, tmp_path / "figure.png", "png")  # a layout that does not fit warns, which is an error
        caption = figure.caption(frame, runs)
        assert "nan" not in caption.lower()
        assert f"{REPLICAS} replicas" in caption
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.parametrize("figure", FIGURES, ids=lambda one: one.name)
def test_no_rows_without_soft_labels_of_the_study(figure: Figure, tmp_path: Path) -> None:
    frame = figure.collect([make_run(tmp_path / "made", samples=40).run])
    assert frame.empty
    assert "run" in frame.columns


@pytest.mark.parametrize("figure", FIGURES, ids=lambda one: one.name)
def test_an_unfinished_run_draws_what_it_has_or_nothing(figure: Figure, run: Run, tmp_path: Path) -> None:
    """While a study runs, soft labels and arms are there whose students are not."""
    directory = tmp_path / "begun"
    directory.mkdir()
    for path in run.directory.iterdir():
        if path.name not in ("metrics", "predictions", "records"):
            (directory / path.name).symlink_to(path)
    (directory / "metrics").mkdir()
    for arm in ("truth", "few", "of_bad"):
        for part in ("metrics", "predictions"):
            (directory / part).mkdir(exist_ok=True)
            (directory / part / f"arm={arm}").symlink_to(run.directory / part / f"arm={arm}")
    begun = open_run(directory)
    frame = figure.collect([begun])
    if figure.name in ("bad_teacher", "conditions"):
        with style.context():
            figure.draw(frame)
        figure.caption(frame, [begun])
    else:
        assert frame.empty


def test_the_arms_that_are_compared(run: Run) -> None:
    truth, arms = accuracy_prediction.compared_arms(run)
    assert truth == "truth"
    left_out = {"truth", "few", "again", "third", "few_partial", "bad_sets", "n_10", "p_0_2_sets", "ce"}
    assert not left_out & set(arms)
    assert {"smooth", "good", "of_bad", "bad_first", "chance", "p_4_5", "n_10_projected"} <= set(arms)
    assert [soft_labels.kind(run, arm) for arm in ("good", "of_bad", "chance")] == [
        "teacher",
        "bad teacher",
        "random",
    ]


def test_ranking_is_spearmans_and_its_lead_is_that_over_accuracy(run: Run) -> None:
    frame = predictors.collect([run])
    table = predictors.ranking_table(frame).set_index("candidate")
    points = frame[frame["part"] == predictors.SOFT_LABEL]
    for name, row in table.iterrows():
        expected = spearmanr(points[name].astype(float), points["accuracy"].astype(float)).statistic
        assert row["rho"] == pytest.approx(expected)
        assert row["low"] <= row["size"] + 1e-12
        assert row["high"] <= 1.0 + 1e-12
        if name != "teacher_accuracy":
            assert row["versus"] == pytest.approx(row["size"] - table.loc["teacher_accuracy", "size"])
    assert table["size"].is_monotonic_decreasing
    assert math.isnan(table.loc["teacher_accuracy", "versus"])
    accuracy = points.set_index("arm").loc["smooth"]
    assert accuracy["accuracy"] == pytest.approx(final_accuracy(run, "smooth").mean())


def _made_candidates(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    accuracy = rng.random(n)
    frame = pd.DataFrame(
        {"arm": [f"a{i:02}" for i in range(n)], **{name: rng.random(n) for name in accuracy_prediction.NAMES}}
    )
    frame["origin"] = frame["arm"]
    return frame.assign(sum=-accuracy + 0.01 * rng.random(n), accuracy=accuracy, ece=0.5)


def test_bootstrap_finds_the_candidate_that_predicts_and_covers_none_that_does_not() -> None:
    table = accuracy_prediction.ranking(_made_candidates(40, 0), resamples=300).set_index("candidate")
    assert table.index[0] == "sum"
    assert table.loc["sum", "rho"] < -0.99
    assert table.loc["sum", "versus_low"] > 0
    assert table.loc["entropy", "low"] < 0.25 < 0.6 < table.loc["sum", "low"]
    assert "ece" not in table.index  # it does not vary
    covered = [
        row["low"] <= 0 for seed in range(20)
        for name, row in accuracy_prediction.ranking(_made_candidates(30, seed), resamples=200)
        .set_index("candidate").iterrows() if name == "entropy"
    ]  # fmt: skip
    assert np.mean(covered) > 0.7


def test_draws_of_the_bootstrap_are_spearmans_of_redrawn_soft_labels() -> None:
    """Those of one origin go together."""
    frame = _made_candidates(12, 3).assign(origin=[*"aabcdefghhhh"])
    found = accuracy_prediction.correlations(frame, resamples=50, seed=4)
    members = [[0, 1], [2], [3], [4], [5], [6], [7], [8, 9, 10, 11]]
    drawn = np.random.default_rng(4).integers(8, size=(50, 8))
    rows = [[row for i in one for row in members[i]] for one in drawn]
    assert (found.n, found.origins) == (12, 8)
    for place, name in enumerate(found.names):
        drawn = [spearmanr(frame[name].to_numpy()[row], frame["accuracy"].to_numpy()[row]).statistic for row in rows]
        assert found.draws[place] == pytest.approx(drawn)
    value, draws = found.lead("sum")
    sizes = [found.draws[found.names.index(name)] * np.sign(found.rho[found.names.index(name)])
             for name in ("sum", "teacher_accuracy")]  # fmt: skip
    assert draws == pytest.approx(sizes[0] - sizes[1])
    assert value == pytest.approx(abs(found.rho[found.names.index("sum")]) - abs(found.size("teacher_accuracy")[0]))
    shuffled = frame.sample(frac=1.0, random_state=1).assign(entropy=0.5)  # a candidate less, in another order
    again = accuracy_prediction.correlations(shuffled, seed=4, resamples=50)
    assert again.lead("sum")[1] == pytest.approx(draws)


def test_the_claim_says_of_the_indicators_what_the_figure_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its interval counts replicas and test rows too, which the figure leaves out, as its caption says."""
    truth, arms = accuracy_prediction.compared_arms(run)
    roles = {"truth": truth, "arms": arms[::-1]}
    monkeypatch.setitem(run.manifest, "claims", {"L2": [roles]})
    monkeypatch.setattr(claims, "holm_levels", lambda p_values: [0.05] * len(p_values))
    rho, lead = claims.claims_table([run]).to_dict("records")
    drawn = predictors.ranking_table(predictors.collect([run])).set_index("candidate").loc["sum"]
    assert rho["effect"] == pytest.approx(drawn["rho"])
    assert lead["effect"] == pytest.approx(drawn["versus"])
    for low, high, of_figure in (
        (-rho["high"], -rho["low"], drawn[["low", "high"]]),
        (lead["low"], lead["high"], drawn[["versus_low", "versus_high"]]),
    ):
        assert low < of_figure.iloc[0] < of_figure.iloc[1] < high
        assert high - low < 2 * (of_figure.iloc[1] - of_figure.iloc[0])


def test_two_data_sets_are_ranked_apart(run: Run) -> None:
    other = Run(run.directory, {**run.manifest, "name": "again"})
    frame = predictors.ranking_table(predictors.collect([run, other]))
    one, two = (frame[frame["run"] == name].drop(columns="run").reset_index(drop=True) for name in ("soft", "again"))
    pd.testing.assert_frame_equal(one, two)
    assert one["n_soft_labels"].iloc[0] == len(accuracy_prediction.compared_arms(run)[1])


def test_labelled_rows_without_a_class_leave_ambiguity_open(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """... but not unreliability, which is a share of all rows."""
    values, labels = label_indicators._rows(run, "votes")
    kept = ~np.isin(labels, [2, 7])
    monkeypatch.setattr(label_indicators, "_rows", lambda *_: (values[kept], labels[kept]))
    label_indicators.table.cache_clear()
    try:
        table, best = label_indicators.table(run, "votes"), label_indicators.best(run, "votes")
    finally:
        label_indicators.table.cache_clear()
    support = table[table["k"].isna()].iloc[0]
    missed = (values[kept][np.arange(kept.sum()), labels[kept]] == 0).mean()
    assert support["delta"] == pytest.approx(missed)
    assert support["delta_low"] < missed < support["delta_high"]
    assert table[["gamma", "sum", "worst_class_sum", "kappa", "sum_high"]].isna().all().all()
    assert set(table["reason"]) == {
        "no row of classes 2, 7 has a label, and nothing can be said within a class that has no row"
    }
    assert math.isnan(best["sum"])
    assert best["reason"] == table["reason"].iloc[0]
    monkeypatch.undo()
    whole = label_indicators.table(run, "votes")
    assert set(whole["reason"]) == {""}
    assert whole["gamma"].notna().all()


def test_partial_cells_hold_realised_indicators_and_accuracy(run: Run) -> None:
    frame = partial.collect([run])
    cells = frame[frame["part"] == partial.CELL].set_index("arm")
    assert len(cells) == 12
    row = cells.loc["p_4_2"]
    stored = run.soft_labels("p_4_2")
    right = stored.values[np.arange(len(stored.labels)), stored.labels] > 0
    assert row["delta"] == pytest.approx(1 - right.mean())
    assert row["delta_low"] < row["delta"] < row["delta_high"]
    shares = [
        (stored.values[stored.labels == c, j] > 0).mean() for c in range(10) for j in range(10) if j != c
    ]  # fmt: skip
    assert row["gamma"] == pytest.approx(max(shares))
    # An empty set becomes all labels: nothing is dropped for good where nothing is added.
    assert cells.loc["p_4_0", "delta"] == 0.0
    assert cells.loc["p_4_0", "gamma"] > 0.3
    accuracy = final_accuracy(run, "p_4_2_sets")
    half = student_t.ppf(0.975, REPLICAS - 1) * accuracy.std() / math.sqrt(REPLICAS)
    assert cells.loc["p_4_2_sets", "high"] == pytest.approx(accuracy.mean() + half)


def test_partial_gap_is_paired_with_as_many_true_labels(run: Run) -> None:
    gaps = partial.collect([run]).query("part == 'gap'")
    assert gaps["labelled"].tolist() == [LABELLED]
    expected = final_accuracy(run, "few") - final_accuracy(run, "few_partial")
    assert gaps["estimate"].iloc[0] == pytest.approx(expected.mean())
    assert gaps["stderr"].iloc[0] == pytest.approx(expected.std() / math.sqrt(REPLICAS))


def test_noise_measures_raw_scores_at_the_k_of_the_formula(run: Run) -> None:
    frame = noise.collect([run])
    measured = frame[(frame["part"] == noise.MEASURED) & (frame["scale"] == 1)].set_index("quantity")
    sums = [sum(additive_noise_indicators(10, k, 1.0)) for k in range(1, 10)]
    assert measured.loc["sum", "k"] == int(np.argmin(sums)) + 1
    delta, _ = additive_noise_indicators(10, int(measured.loc["delta", "k"]), 1.0)
    assert measured.loc["delta", "low"] < delta < measured.loc["delta", "high"]
    assert set(frame.loc[frame["part"] == noise.STUDENT, "fit"]) == {noise.RAW, noise.PROJECTED}
    projected = frame[(frame["part"] == noise.STUDENT) & (frame["fit"] == noise.PROJECTED)]
    assert set(projected["drawn"]) == {noise.REDRAWN}


def test_rounds_follow_pseudo_labels_and_end_with_the_last_students(run: Run) -> None:
    assert rounds.chains(run) == [["few", "again", "third"]]
    found = rounds.pseudo_accuracy(run, ["few", "again", "third"])
    assert found is not None
    values, n = found
    free = ~(run.soft_labels("few").values != 0).any(axis=1)
    assert (values.shape, n) == ((3, REPLICAS), int(free.sum()))
    # What a round teaches the next is what its students' record says of the same rows.
    ids = run.soft_labels("few").sample_ids[free]
    recorded = rounds._recorded(run, "again", ids)
    assert recorded is not None
    assert recorded.tolist() == pytest.approx(values[1].tolist())
    frame = rounds.collect([run])
    gains = frame[frame["part"] == rounds.GAIN]
    assert gains["estimate"].tolist() == pytest.approx(np.diff(values, axis=0).mean(axis=1).tolist())
    slope = frame[frame["part"] == rounds.SLOPE].iloc[0]
    assert slope["estimate"] == pytest.approx(np.polyfit(values[0], values[1], 1)[0])


def test_rounds_that_no_longer_move_are_called_fixed(run: Run) -> None:
    frame = rounds.collect([run])
    still = frame.copy()
    last = (still["part"] == rounds.GAIN) & (still["round"] == still["round"].max())
    still.loc[last, ["estimate", "low", "high", "stderr", "moved"]] = 0.0
    assert "no replica moves any more" in rounds.caption(still, [run])
    still.loc[last, ["estimate", "low", "high", "moved"]] = [0.02, 0.01, 0.03, 4]
    assert "not yet on the line" in rounds.caption(still, [run])


def test_bad_teacher_holds_every_epoch_and_the_changes_against_true_labels(run: Run) -> None:
    frame = bad_teacher.collect([run])
    epochs = run.teacher_epochs("bad")
    assert epochs is not None
    drawn = frame[(frame["part"] == bad_teacher.TEACHER) & (frame["teacher"] == "bad")]
    for split in ("train", "test"):
        kept = epochs[(epochs["split"] == split) & (epochs["k"] == 3)]
        for quantity, column in (("accuracy", "accuracy"), ("delta", "unreliability"), ("gamma", "ambiguity")):
            part = drawn[(drawn["quantity"] == quantity) & (drawn["rows"] == split)]
            assert part["estimate"].tolist() == pytest.approx(kept[column].tolist())
            assert (part["low"] <= part["estimate"]).all()
            assert (part["estimate"] <= part["high"]).all()
    labelled = label_indicators.table(run, "bad").set_index("k").loc[3]  # of what the finished teacher gave
    last = drawn[drawn["rows"] == "train"].groupby("quantity").last()
    for quantity in ("delta", "gamma"):
        assert last.loc[quantity, "estimate"] == pytest.approx(labelled[quantity], abs=1e-9)
    ends = frame[(frame["part"] == bad_teacher.STUDENT) & (frame["arm"] == "of_bad")].set_index("quantity")
    moved = change(run, "of_bad", "truth")
    assert moved is not None
    assert ends.loc["variance", "estimate"] == moved.totals.variance.value
    half = student_t.ppf(0.975, REPLICAS - 1) * moved.totals.bias.stderr_replicas
    assert ends.loc["bias", "high"] == pytest.approx(moved.totals.bias.value + half)
    sets = frame[(frame["arm"] == "bad_sets") & (frame["part"] == bad_teacher.STUDENT)].iloc[0]
    table = label_indicators.table(run, "bad")
    assert sets["sum"] == table.loc[table["k"] == 3, "sum"].iloc[0]
    assert {"truth", "good", "bad_first", "chance"} <= set(frame["arm"].dropna())
    assert "few" not in set(frame["arm"].dropna())


def test_without_cross_entropy_accuracy_is_compared_with_true_labels(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "reference_arms", lambda run: {})
    frame = accuracy.collect([run])
    last = run.metrics.query("split == 'test' and view == 'clean' and epoch == 4").set_index("replica")
    changes = last.loc[last["arm"] == "smooth", "accuracy"] - last.loc[last["arm"] == "truth", "accuracy"]
    found = frame[(frame["arm"] == "smooth") & (frame["metric"] == "accuracy") & (frame["against"] == "true labels")]
    assert found["estimate"].item() == pytest.approx(changes.mean())
    assert set(frame["against"]) == {"", "true labels"}


def test_people_bins_rows_by_what_the_votes_say(run: Run) -> None:
    frame = people.collect([run])
    assert set(frame["arm"]) == {"truth", "votes", "smooth"}
    entropy = people.human_entropy(run, "votes")
    candidates = (run.soft_labels("votes").values > 0).sum(axis=1)
    assert entropy.to_numpy() == pytest.approx(np.log(candidates), abs=1e-6)
    found = run.decomposition("votes", split="train", membership="nonmember").corrected()
    ids = run.predictions("votes", split="train", membership="nonmember").sample_ids
    agreed = entropy.reindex(ids).to_numpy() < 1e-6
    totals = found.totals(agreed)
    rows = frame[(frame["arm"] == "votes") & (frame["part"] == people.BY_ENTROPY)]
    first = rows[rows["quantity"] == "bias"].iloc[0]
    assert (first["entropy"], first["n"]) == (pytest.approx(0.0, abs=1e-6), totals.bias.n_samples)
    assert first["estimate"] == pytest.approx(totals.bias.value)
    errors = math.hypot(totals.bias.stderr_replicas, totals.bias.stderr_samples)
    assert first["high"] - first["estimate"] == pytest.approx(student_t.ppf(0.975, REPLICAS - 1) * errors)


def test_people_disagreement_is_correlated_with_each_rows_terms(run: Run) -> None:
    part = people.collect([run]).query("part == 'correlation' and arm == 'votes'").set_index("quantity")
    found = run.decomposition("votes", split="train", membership="nonmember").corrected()
    ids = run.predictions("votes", split="train", membership="nonmember").sample_ids
    entropy = people.human_entropy(run, "votes").reindex(ids).to_numpy()
    for name in people.TERMS:
        values = getattr(found, name)
        known = np.isfinite(values) & np.isfinite(entropy)
        assert part.loc[name, "estimate"] == pytest.approx(spearmanr(entropy[known], values[known]).statistic)
        assert part.loc[name, "n"] == known.sum()
        assert part.loc[name, "low"] < part.loc[name, "estimate"] < part.loc[name, "high"]


def test_many_entropies_are_put_into_like_sized_bins() -> None:
    entropy = np.random.default_rng(0).random(1000)
    counts = np.bincount(people.bins_of(entropy))
    assert counts.tolist() == [200] * 5
    mostly_agreed = np.where(np.arange(1000) < 700, 0.0, entropy)
    assert np.bincount(people.bins_of(mostly_agreed))[0] == 700


def test_half_the_page_can_be_read(run: Run) -> None:
    """No text of any figure is smaller than nine points."""
    for figure in FIGURES:
        with style.context():
            drawing = figure.draw(figure.collect([run]))
            style.lay_out(drawing)
            texts = drawing.findobj(lambda artist: hasattr(artist, "get_fontsize") and bool(artist.get_text()))
        assert min(text.get_fontsize() for text in texts) >= 9.0


def test_a_run_from_before_intervals_were_kept_draws_its_teachers_without(run: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run.directory, old)
    for path in (old / "teacher_epochs").glob("*.parquet"):
        frame = pd.read_parquet(path).query("split != 'train'").reset_index(drop=True)
        frame.drop(columns=[name for name in frame if name.endswith(("_low", "_high"))]).to_parquet(path)
    before = open_run(old)
    frame = bad_teacher.collect([before])
    gamma = frame[(frame["part"] == bad_teacher.TEACHER) & (frame["quantity"] == "gamma")]
    assert gamma["low"].isna().all()
    assert set(gamma["rows"]) == {"test"}
    with style.context():
        drawing = bad_teacher.draw(frame)
    said = [text.get_text() for text in drawing.findobj(Text)]
    assert said.count("not kept") == len(bad_teacher.PANELS)
    caption = bad_teacher.caption(frame, [before])
    assert "test rows" in caption
    assert "to which it gives" not in caption
