"""Claims over redraws against numbers from scipy, and the figure and the page of a directory of redraws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.records import Redraws, RunWriter, open_redraws
from biasvar.records.redraws import begin_redraws, end_redraws
from biasvar.records.schema import redraw_path
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.claims.over_redraws import claims_over_redraws, common_words
from biasvar.report.figures import load
from biasvar.report.page import open_runs, write_report
from biasvar.study.claims import ledger_hash
from tests.report.made_claims import write_claims_run

REDRAWS, REPLICAS, ROWS = 6, 4, 2000
TEACHERS = {"main": {"smoothing": 0.0}, "smooth": {"smoothing": 0.1}}
ARMS: dict[str, dict[str, Any]] = {
    "kd": {"teacher": "main", "label": "KD"},
    "wsl": {"teacher": "main", "loss": "weighted_soft_label", "label": "WSL"},
    "kd_smooth": {"teacher": "smooth", "label": "KD, smooth"},
    "kd_masked": {"teacher": "main", "loss": "masked_distillation", "label": "masked"},
    "kd_random": {"teacher": "main", "loss": "masked_distillation", "label": "random"},
}
# Mean accuracy of each arm, less KD's, and how much it differs between redraws.
EFFECTS = {
    "kd": (0.0, 0.0), "wsl": (-0.02, 0.004), "kd_smooth": (0.0, 0.03), "kd_masked": (-0.1, 0.01),
    "kd_random": (0.0, 0.002),
}  # fmt: skip
CLAIMS = {
    "W7": [{"masked": "kd_masked", "full": "kd", "random": "kd_random"}],
    "W8": [{"treatment": "wsl", "control": "kd"}],
    "W11": [{"treatment": "kd_smooth", "control": "kd"}],
}


def make_redraws(
    directory: Path, *, count: int = REDRAWS, begun: int | None = None, claims: Any = CLAIMS, **more: Any
) -> dict[str, np.ndarray]:
    """Made redraws, and the accuracies (count, R) of their arms."""
    rng = np.random.default_rng(5)
    begin_redraws(directory, name="made", title="Made <redraws>", study_hash="made", seed=3, seeds=[*range(count)])
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    for number in range(count if begun is None else begun):
        right = {}
        for arm, (effect, spread) in EFFECTS.items():
            share = 0.8 + effect + spread * rng.normal()
            right[arm] = rng.random((REPLICAS, ROWS)) < share
            found[arm].append(right[arm].mean(axis=1))
        write_claims_run(
            redraw_path(directory, number), right, claims=claims, arms=ARMS, teachers=TEACHERS, seed=number, **more
        )
    if begun is None:
        end_redraws(directory)
    return {arm: np.array(values) for arm, values in found.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    directory = tmp_path_factory.mktemp("redraws") / "made"
    return directory, make_redraws(directory)


@pytest.fixture(scope="module")
def redraws(made) -> Redraws:
    return open_redraws(made[0])


PARTS = [("W7", 0, "kd_masked", "kd", -0.002), ("W7", 1, "kd_masked", "kd_random", -0.002),
         ("W8", 0, "wsl", "kd", 0.002), ("W11", 0, "kd_smooth", "kd", -0.002)]  # fmt: skip


def test_a_claim_is_judged_by_students_t_over_redraws_and_holm_over_all(made, redraws) -> None:
    accuracy = made[1]
    table = claims_over_redraws(redraws)
    assert len(table) == len(PARTS)
    differences = [(accuracy[a] - accuracy[b]) for _, _, a, b, _ in PARTS]
    p = [stats.ttest_1samp(d.mean(axis=1), limit).pvalue for d, (*_, limit) in zip(differences, PARTS, strict=True)]
    levels = {}
    for rank, test in enumerate(np.argsort(p)):  # Holm, step by step
        levels[int(test)] = 0.05 / (len(p) - rank)
        if p[test] > levels[int(test)]:
            levels |= {int(other): levels[int(test)] for other in np.argsort(p)[rank:]}
            break
    for number, (claim, place, _, _, limit) in enumerate(PARTS):
        by_redraw = differences[number].mean(axis=1)
        row = table[table["id"] == claim].iloc[place]
        assert row["effect"] == pytest.approx(by_redraw.mean())
        assert row["stderr"] == pytest.approx(stats.sem(by_redraw))
        assert row["level"] == pytest.approx(1 - levels[number])
        ends = stats.t.interval(1 - levels[number], REDRAWS - 1, by_redraw.mean(), stats.sem(by_redraw))
        assert (row["low"], row["high"]) == pytest.approx(ends)
        assert (row["n"], row["threshold"], row["run"]) == (REDRAWS, limit, "made")
        errors = stats.sem(differences[number], axis=1)
        assert row["stderr_within"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert table["verdict"].tolist() == ["holds", "holds", "does not hold", "undecided"]
    assert table["overall"].tolist() == table["verdict"].tolist()
    assert "redraws would decide" in table["detail"].iloc[3]


def test_one_redraw_alone_would_say_more_than_there_is(redraws) -> None:
    """W11's spread between redraws is far beyond the error within one: that is what redraws are for."""
    row = claims_over_redraws(redraws).set_index("id").loc["W11"]
    assert row["stderr"] > 2 * row["stderr_within"] / np.sqrt(REDRAWS)
    assert "within a redraw ±" in row["detail"]


def test_words_say_what_was_drawn(redraws) -> None:
    test = claims_over_redraws(redraws)["test"].iloc[2]
    assert test.startswith("test accuracy, WSL − KD")
    assert test.endswith("over 6 redrawn training rows (the test rows stay), teachers and replicas")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a − b", "a − b"], "a − b"),
        (["mean 3 (of +.5; 2)", "mean 3 (of +.5; 4)"], "mean 3 (of +.5; 3 (mean over redraws))"),
        (["gap −0.10, 1,200 rows", "gap +0.30, 1,200 rows"], "gap +0.10 (mean over redraws), 1,200 rows"),
        (["rho over 9 teachers (n counts teachers; the error is over them)"] * 2, "rho over 9 teachers"),
        (["slope, 3 rows (at most a)", "slope, 3 rows"], "slope, 3 rows"),
    ],
)
def test_what_tests_have_in_common(texts: list[str], words: str) -> None:
    assert common_words(texts) == words


def test_correlations_are_averaged_on_fishers_z(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    arms = {f"kd_{i}": {"teacher": f"t{i}"} for i in range(6)}
    begin_redraws(tmp_path / "many", name="many", title="", study_hash="made", seed=0, seeds=[0, 1, 2, 3])
    rho = []
    for number in range(4):
        shares = {arm: np.full((10, 3), 0.1 * i) for i, arm in enumerate(arms)}
        right = {arm: rng.random((3, 400)) < 0.8 - 0.03 * i + 0.04 * rng.normal() for i, arm in enumerate(arms)}
        rho.append(stats.spearmanr(range(6), [right[arm].mean() for arm in arms]).statistic)
        write_claims_run(
            redraw_path(tmp_path / "many", number), right, claims={"W5": [{"arms": [*arms]}]}, arms=arms, shares=shares,
            teachers={f"t{i}": {} for i in range(6)}, seed=number,
        )  # fmt: skip
    row = claims_over_redraws(open_redraws(tmp_path / "many")).iloc[0]
    z = np.arctanh(rho)
    assert row["effect"] == pytest.approx(np.tanh(z.mean()))
    assert row["stderr"] == pytest.approx(stats.sem(z) * (1 - np.tanh(z.mean()) ** 2))
    assert (row["low"], row["high"]) == pytest.approx(np.tanh(stats.t.interval(0.95, 3, z.mean(), stats.sem(z))))
    assert (row["n"], row["unit"]) == (4, "rank correlation")


def test_a_redraw_with_failed_replicas_or_without_arms_leaves_its_claims_undecided(tmp_path: Path) -> None:
    accuracy = make_redraws(tmp_path / "made")
    for number, arm, change in (
        (1, "kd_masked", {"failed_replicas": [{"replica": 2, "reason": "at chance"}]}),
        (4, "wsl", {"status": "running"}),
    ):
        manifest = json.loads((redraw_path(tmp_path / "made", number) / "manifest.json").read_text())
        manifest["arms"][arm] |= change
        (redraw_path(tmp_path / "made", number) / "manifest.json").write_text(json.dumps(manifest))
    table = claims_over_redraws(open_redraws(tmp_path / "made"))
    assert table["verdict"].tolist() == ["undecided"] * 4
    said = table["detail"].tolist()
    named = "left undecided by 1 of 6 redraws: redraw=001: 1 of 4 replicas of masked failed (at chance)"
    assert said[0].startswith(named)
    assert said[1].startswith(named)
    assert said[2].startswith("left undecided by 1 of 6 redraws: redraw=004: not trained to the end yet: WSL")
    assert "would decide" in said[3]  # W11 has all its arms
    difference = (accuracy["kd_masked"] - accuracy["kd"]).mean(axis=1)
    assert table["effect"].iloc[0] == pytest.approx(difference.mean())  # shown, and named
    assert table["n"].tolist() == [6, 6, 5, 6]


def test_redraws_that_were_not_begun_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_redraws(tmp_path / "made", begun=2)
    table = claims_over_redraws(open_redraws(tmp_path / "made"))
    assert set(table["verdict"]) == {"undecided"}
    assert "left undecided by 4 of 6 redraws: redraw=002: not trained yet; redraw=003" in table["detail"].iloc[0]
    assert main([str(tmp_path / "made"), "--formats", "png"]) == 0
    assert "4 redraws not begun: redraw=002" in (tmp_path / "made/report/index.html").read_text()
    shutil.rmtree(tmp_path / "made/redraw=000")
    shutil.rmtree(tmp_path / "made/redraw=001")
    assert main([str(tmp_path / "made")]) == 2
    assert "holds no redraw that was begun" in capsys.readouterr().err


def test_the_figure_holds_each_redraw_and_their_mean(made, redraws) -> None:
    figure = load("redraws")
    frame = figure.collect(redraws.runs)
    assert len(frame) == len(PARTS) * (REDRAWS + 1)
    for number, (claim, _, a, b, limit) in enumerate(PARTS):
        mine = frame[frame["part"] == number]
        assert set(mine["id"]) == {claim}
        assert set(mine["threshold"]) == {limit}
        differences = (made[1][a] - made[1][b]).mean(axis=1)
        single, mean = mine[mine["redraw"] != "mean"], mine[mine["redraw"] == "mean"].iloc[0]
        assert single["estimate"].to_numpy() == pytest.approx(differences)
        assert single["redraw"].tolist() == [f"redraw={k:03d}" for k in range(REDRAWS)]
        ends = stats.t.interval(0.95, REDRAWS - 1, differences.mean(), stats.sem(differences))
        assert (mean["low"], mean["high"]) == pytest.approx(ends)
    with style.context():
        drawing = figure.draw(frame)
    drawn = [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert drawn == ["W7 · masked − KD", "W7 · masked − random", "W8 · WSL − KD", "W11 · KD, smooth − KD"]
    low, high = drawing.axes[0].get_xlim()
    assert low <= frame[["estimate", "low", "threshold"]].min().min()
    assert high >= frame[["estimate", "high", "threshold"]].max().max()
    assert "n = 6 redraws" in figure.caption(frame, redraws.runs)
    assert figure.collect(redraws.runs[:3]).empty  # some of the redraws are no redraws of the study


def test_the_command_reports_redraws_as_one(made, tmp_path: Path) -> None:
    assert main([str(made[0]), "--out", str(tmp_path / "out"), "--formats", "png"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "summary.json", "claims.csv", "redraws.csv", "redraws.png"}
    page = (tmp_path / "out/index.html").read_text()
    assert (
        page.count("The study file does not say when its claims were fixed.") == 1
    )  # what all redraws say is said once
    assert "Made &lt;redraws&gt;" in page
    assert "Everything was drawn 6 times" in page
    assert "Only the test rows are the same in all redraws" in page
    assert all(str(redraw_path(made[0], number)) in page for number in range(REDRAWS))
    assert "n counts redraws" in page
    assert "Here every interval is over redraws" in page
    whole = json.loads((tmp_path / "out/summary.json").read_text())
    assert whole["ledger"]["hash"] == ledger_hash(CLAIMS)
    summary = whole["runs"]["made"]
    assert (summary["claims_fixed"], summary["claims_fixed_before_the_run"]) == (None, False)
    over = made[1]["kd"].mean(axis=1)
    assert summary["arms"]["kd"]["accuracy"]["value"] == pytest.approx(over.mean())
    assert summary["arms"]["kd"]["accuracy"]["stderr_redraws"] == pytest.approx(stats.sem(over))
    assert [entry["seed"] for entry in summary["redraws"].values()] == [*range(REDRAWS)]
    table = pd.read_csv(tmp_path / "out/claims.csv")
    assert len(table) == len(summary["claims"]) == 4
    again = write_report(open_redraws(made[0]), tmp_path / "again", figures=[], formats=["png"])
    assert again.read_text() == page


def test_redraws_without_claims_are_reported(tmp_path: Path) -> None:
    make_redraws(tmp_path / "made", count=2, claims={})
    assert main([str(tmp_path / "made"), "--out", str(tmp_path / "out"), "--formats", "png"]) == 0
    assert json.loads((tmp_path / "out/summary.json").read_text())["runs"]["made"]["claims"] == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["OTHER"], "redraws, which are reported alone"),
        (["--figures", "accuracy"], "of which only the figure redraws is drawn, not accuracy"),
    ],
)
def test_what_does_not_go_with_redraws_is_refused(made, tmp_path, capsys, more: list[str], message: str) -> None:
    RunWriter(tmp_path / "other", manifest={"kind": "recorder", "num_classes": 3})
    more = [str(tmp_path / "other") if word == "OTHER" else word for word in more]
    assert main([str(made[0]), *more, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_redraw_is_reported_as_a_run(made, tmp_path: Path) -> None:
    figures = ["redraws", "accuracy"]
    page = write_report(open_runs([made[0] / "redraw=002"]), tmp_path / "out", figures=figures, formats=[])
    assert "needs a directory of redraws (a study with redraws)" in page.read_text()
