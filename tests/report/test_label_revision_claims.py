"""The claims on label revision and data selection on made data: where they hold, fail and must stay undecided."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.analysis.statistics.crossed import Component, combined
from biasvar.records import Run, RunWriter, open_redraws, open_run
from biasvar.records.redraws import begin_redraws, end_redraws
from biasvar.records.schema import redraw_path
from biasvar.report.arms.roles import reference_arms
from biasvar.report.claims.label_revision import missing_settings
from biasvar.report.claims.measurement import Measurement
from biasvar.report.claims.over_redraws import claims_over_redraws
from biasvar.report.claims.table import claims_table
from biasvar.report.claims.worst_of import least
from biasvar.report.statistics.estimates import Estimate
from biasvar.study.ledger.label_revision import CLAIMS
from tests.report.made_claims import answers, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REPLICAS, ROWS = 8, 1000
Make = Callable[[Path], Run]
TEACHER = {"teacher": "main", "temperature": 4.0}
KD = {"loss": "distillation", "plays": "distillation", "alpha": 1.0, **TEACHER}
WEIGHTS = {"ce_rest": 1.0, "ce_selected": 1.0, "distill": 1.0}
BASE = {"loss": "label_revision", "plays": "revision", "distance": "kl", **TEACHER, **WEIGHTS}
REVISION = {"revision": {"eta": 0.8, "rows": "all"}}
SELECTION = {"selection": {"score": "influence", "keep": 0.5, "which": "lowest", "per_class": False, "seed": 0}}
RANDOM = {"selection": {"score": "random", "keep": 0.5, "which": None, "per_class": False, "seed": 3}}
WSL = {"loss": "weighted_soft_label", "plays": "weighting", "alpha": 2.25, **TEACHER}
LAST = {"loss": "dfa", "plays": "features", "weights": "last", "distill_weight": 1.0, "teacher": "main"}
GRID = [
    *((eta, 1.0, 1.0) for eta in (0.2, 0.5, 0.8, 0.95)),
    *((0.8, weight, 1.0) for weight in (0.25, 4.0)),
    *((0.8, 1.0, weight) for weight in (0.25, 4.0)),
]


def judge(run: Run) -> pd.DataFrame:
    return claims_table([run])


def write(
    directory: Path, arms: dict[str, dict[str, Any]], right: dict[str, np.ndarray], claims: Any, seed: int = 0
) -> Run:
    return write_claims_run(directory, right, arms=arms, teachers={"main": {}}, claims=claims, seed=seed)


def accuracies(claim: str, settings: dict[str, dict[str, Any]], **shares: float) -> Make:
    """Arms named as the roles of a claim, with these settings, right with these probabilities."""

    def make(directory: Path) -> Run:
        right = {role: answers(share, REPLICAS, ROWS, seed=place) for place, (role, share) in enumerate(shares.items())}
        return write(directory, settings, right, {claim: [{role: role for role in shares}]})

    return make


def revised(treatment: float, control: float, **changed: Any) -> Make:
    arms = {"treatment": BASE | REVISION | changed, "control": KD}
    return accuracies("R1", arms, treatment=treatment, control=control)


def selected(treatment: float, control: float, random: float, **changed: Any) -> Make:
    arms = {"treatment": BASE | SELECTION | changed, "control": KD, "random": BASE | RANDOM}
    return accuracies("R2", arms, treatment=treatment, control=control, random=random)


def both(treatment: float, revision: float, selection: float, eta: float = 0.8) -> Make:
    alone = BASE | {"revision": {"eta": eta, "rows": "all"}}
    arms = {"treatment": BASE | REVISION | SELECTION, "revision": alone, "selection": BASE | SELECTION}
    return accuracies("R3", arms, treatment=treatment, revision=revision, selection=selection)


def added(wsl: tuple[float, float], last: tuple[float, float] | None) -> Make:
    """(with, without) revision and selection, of WSL and of the last feature."""

    def make(directory: Path) -> Run:
        pairs = {"wsl": (WSL, wsl)} | ({} if last is None else {"last": (LAST, last)})
        arms: dict[str, dict[str, Any]] = {}
        right = {}
        for place, (name, (settings, shares)) in enumerate(pairs.items()):
            weighted = {"label_weight": 1.0, "label_temperature": 1.0} if settings is LAST else {}
            arms |= {f"{name}_with": settings | REVISION | SELECTION | weighted, name: settings}
            right |= {f"{name}_with": answers(shares[0], REPLICAS, ROWS, seed=2 * place)}
            right |= {name: answers(shares[1], REPLICAS, ROWS, seed=2 * place + 1)}
        roles = {"arms": [f"{name}_with" for name in pairs], "controls": list(pairs)}
        return write(directory, arms, right, {"R4": [roles]})

    return make


def grid(
    gains: dict[tuple[float, float, float], float],
    noise: float = 0.0005,
    settings: Any = GRID,
    rows: int = 2500,
    seed: int = 2,
) -> Make:
    """Settings that differ from distillation in few answers: a share is gained, and others change either way."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(seed)
        base = answers(0.7, REPLICAS, rows, seed=1)
        right, arms = {"kd": base}, {"kd": KD}
        for place, (eta, label, soft) in enumerate(settings):
            changed = base ^ (rng.random(base.shape) < noise * np.where(base, 3, 7))  # as many lost as gained
            gain, draw = gains.get((eta, label, soft), 0.0), rng.random(base.shape)
            right[f"set_{place}"] = np.where(draw < abs(gain) / (0.3 if gain > 0 else 0.7), gain > 0, changed)
            weights = {"ce_selected": label, "distill": soft}
            arms[f"set_{place}"] = BASE | weights | {"revision": {"eta": eta, "rows": "all"}}
        roles = {"arms": [arm for arm in right if arm != "kd"], "control": "kd"}
        return write(directory, arms, right, {"R5": [roles]}, seed)

    return make


CASES: dict[tuple[str, str], Make] = {
    ("R1", HOLDS): revised(0.8, 0.7),
    ("R1", FAILS): revised(0.6, 0.7),
    ("R1", UNDECIDED): revised(0.7, 0.7),
    ("R2", HOLDS): selected(0.8, 0.7, 0.65),
    ("R2", FAILS): selected(0.8, 0.7, 0.9),
    ("R2", UNDECIDED): selected(0.8, 0.7, 0.8),
    ("R3", HOLDS): both(0.8, 0.7, 0.65),
    ("R3", FAILS): both(0.7, 0.6, 0.8),
    ("R3", UNDECIDED): both(0.8, 0.8, 0.7),
    ("R4", HOLDS): added((0.8, 0.7), (0.75, 0.6)),
    ("R4", FAILS): added((0.8, 0.7), (0.5, 0.6)),
    ("R4", UNDECIDED): added((0.8, 0.7), None),
    ("R5", HOLDS): grid({}),
    ("R5", FAILS): grid({(0.95, 1.0, 1.0): -0.05}),
    ("R5", UNDECIDED): grid({}, noise=0.02, rows=400),
}


def test_every_claim_has_its_cases() -> None:
    assert set(CASES) == {(claim.id, outcome) for claim in CLAIMS for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = judge(CASES[claim, outcome](tmp_path / "run"))
    shown = found[["test", "effect", "low", "high", "threshold", "detail"]]
    assert set(found["id"]) == {claim}
    assert set(found["overall"]) == {outcome}, shown.to_dict("records")


@pytest.mark.parametrize(
    ("claim", "pairs"),
    [
        ("R1", [("treatment", "control")]),
        ("R2", [("treatment", "control"), ("treatment", "random")]),
        ("R3", [("treatment", "revision"), ("treatment", "selection")]),
        ("R4", [("wsl_with", "wsl"), ("last_with", "last")]),
    ],
)
def test_effects_are_paired_differences_of_accuracy(claim: str, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    run = CASES[claim, HOLDS](tmp_path / "run")
    found = judge(run)
    right = run.metrics.query("split == 'test'").pivot(index="replica", columns="arm", values="accuracy")
    for (a, b), row in zip(pairs, found.to_dict("records"), strict=True):
        difference = right[a] - right[b]
        assert row["effect"] == pytest.approx(difference.mean(), abs=1e-7)
        assert row["stderr"] == pytest.approx(stats.sem(difference), rel=1e-4)
        assert (row["n_replicas"], row["n_samples"], row["threshold"]) == (REPLICAS, ROWS, 0.002)


def test_what_was_revised_and_selected_is_said(tmp_path: Path) -> None:
    (found,) = judge(revised(0.8, 0.7)(tmp_path / "a"))["test"]
    assert found == "test accuracy, treatment − control; all revised, η 0.8"
    wrong = {"revision": {"eta": 0.5, "rows": "wrong"}, "distance": "mse_logits", "distill": 4.0}
    (found,) = judge(revised(0.8, 0.7, **wrong)(tmp_path / "b"))["test"]
    assert found.endswith(
        "; revised where the teacher is wrong, η 0.5; besides: distance mse logits, weights of label and soft label 1 "
        "and 4, the control's 1 and 1"
    )
    found = judge(CASES["R2", HOLDS](tmp_path / "c"))["test"].tolist()
    assert found == [f"test accuracy, treatment − {other}; lowest 50 % by influence" for other in ("control", "random")]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (revised(0.8, 0.7, temperature=1.0), "treatment and control must have one teacher and one temperature"),
        (revised(0.8, 0.7, **SELECTION), "treatment must not select rows"),
        (revised(0.8, 0.7, revision=None), "treatment must revise its labels"),
        (selected(0.8, 0.7, 0.6, **RANDOM), "treatment must not select at random"),
        (selected(0.8, 0.7, 0.6, **REVISION), "treatment must not revise its labels"),
        (
            selected(0.8, 0.7, 0.6, selection=SELECTION["selection"] | {"keep": 0.3}),
            "treatment and random must keep as many rows, both of every class or both of all",
        ),
        (selected(0.8, 0.7, 0.6, distill=4.0), "treatment and random differ in distill"),
        (both(0.8, 0.7, 0.6, eta=0.5), "treatment and revision differ in revision"),
        (
            grid({}, settings=[*GRID[:3], (0.8, 4.0, 1.0)]),
            "not trained: η 0.95, weights 1 and 1, η 0.8, weights 0.25 and 1, η 0.8, weights 1 and 0.25, "
            "η 0.8, weights 1 and 4",
        ),
        (added((0.8, 0.7), None), "distillation of the last feature with both was not tested"),
    ],
)  # fmt: skip
def test_arms_out_of_place_carry_no_claim(make: Make, said: str, tmp_path: Path) -> None:
    found = judge(make(tmp_path / "run"))
    assert set(found["overall"]) == {UNDECIDED}
    assert said in found["detail"].tolist()
    assert not found["test"].str.contains("; *(?:;|$)").any()  # nothing is said of a revision that is not there


def test_a_part_that_fails_refutes_a_claim_whatever_else_was_not_tested(tmp_path: Path) -> None:
    assert set(judge(added((0.6, 0.7), None)(tmp_path / "a"))["overall"]) == {FAILS}
    few = judge(grid({(0.5, 1.0, 1.0): -0.05}, settings=GRID[:3])(tmp_path / "b"))
    assert set(few["overall"]) == {FAILS}
    assert few["verdict"].tolist() == [FAILS, UNDECIDED]
    assert set(few["threshold"]) == {-0.002}


def test_every_score_that_was_tried_is_tested(tmp_path: Path) -> None:
    """Five scores of which one is good by luck: all are reported, or none is decided."""
    scores = ["influence", "self_influence", "gradient_norm", "loss", "margin"]
    arms = {
        name: BASE | {"selection": SELECTION["selection"] | {"score": name}} for name in scores
    } | {"kd": KD, "random": BASE | RANDOM}  # fmt: skip
    right = {name: answers(0.8 if name == "loss" else 0.7, REPLICAS, ROWS, seed=i) for i, name in enumerate(arms)}

    def asked(names: list[str]) -> Any:
        return {"R2": [{"treatment": name, "control": "kd", "random": "random"} for name in names]}

    found = judge(write(tmp_path / "all", arms, right, asked(scores)))
    by_score = found.groupby("arms", sort=False)["overall"].first().tolist()
    assert by_score == [HOLDS if name == "loss" else UNDECIDED for name in scores]
    assert found["level"].max() >= 1 - 0.05 / 2  # Holm's over ten tests, of which two were decided
    assert found["level"].nunique() > 1
    picked = judge(write(tmp_path / "one", arms, right, asked(["loss"])))
    assert set(picked["overall"]) == {UNDECIDED}
    assert picked["detail"].tolist() == [
        "other selections of the run are not tested: influence, self_influence, gradient_norm, margin"
    ] * 2  # fmt: skip
    assert (picked["low"] > picked["threshold"]).all()  # by the numbers alone it would hold


def test_the_worst_setting_is_the_least_difference(tmp_path: Path) -> None:
    run = grid({(0.2, 1.0, 1.0): -0.01, (0.8, 4.0, 1.0): -0.02})(tmp_path / "run")
    (found,) = judge(run).to_dict("records")
    right = run.metrics.query("split == 'test'").pivot(index="replica", columns="arm", values="accuracy")
    apart = right.drop(columns="kd").sub(right["kd"], axis=0)
    assert found["effect"] == pytest.approx(apart.mean().min(), abs=1e-7)
    worst = apart.mean().idxmin()
    assert f"the worst is {worst}, η 0.8, weights 4 and 1" in found["test"]
    assert found["test"].startswith("test accuracy of the worst of 8 settings − kd")
    # Over replicas alone: the least of all lower ends, and of upper ends that are widened for eight settings.
    error, level = apart.sem(), 1 - found["level"]
    low = (apart.mean() - stats.t.ppf(1 - level / 2, REPLICAS - 1) * error).min()
    high = (apart.mean() + stats.t.ppf(1 - level / 2 / 8, REPLICAS - 1) * error).min()
    assert (found["low_replicas"], found["high_replicas"]) == pytest.approx((low, high), abs=1e-6)
    assert found["overall"] == FAILS


def made_part(value: float, error: float = 1.0, df: int = 7) -> Measurement:
    row = Estimate(
        run="", arm="", label="", loss="", plays="", role="", regime="", replicas=8, failed=0, quantity="", rows="",
        split="", epoch=None, against="", control="", estimate=value, low=0.0, high=0.0, stderr=error,
        stderr_samples=math.nan, stderr_teachers=math.nan, df=df, n_replicas=8, n_samples=0, n_teachers=None,
        crossed=combined(value, {"replicas": Component(error, df, 8)}),
    )  # fmt: skip
    return Measurement("", row, -2.0, "greater", "accuracy")


@pytest.mark.parametrize(("spread", "nearly"), [(0.0, True), (100.0, False)])
def test_the_least_of_many_errs_on_neither_side_more_than_it_says(spread: float, nearly: bool) -> None:
    """All settings, or one, lie at the threshold: each wrong verdict comes in 2.5 % of studies or less.

    By the interval of the least estimate alone, a study of eight equal settings fails far more often.
    """
    rng = np.random.default_rng(5)
    studies, settings = 300, 8
    truth = -2.0 + spread * (np.arange(settings) > 0)
    wrong = {HOLDS: 0, FAILS: 0}
    naive = 0
    for _ in range(studies):
        draws = truth + rng.normal(size=(8, settings)) * math.sqrt(8)
        errors = draws.std(axis=0, ddof=1) / math.sqrt(8)
        parts = [made_part(float(m), float(e)) for m, e in zip(draws.mean(axis=0), errors, strict=True)]
        found = least(parts, "")
        outcome = found.verdict(0.05)[0].outcome
        assert (found.p_value <= 0.05) == (outcome != UNDECIDED)
        if outcome in wrong:
            wrong[outcome] += 1
        worst = min(parts, key=lambda part: part.row.estimate)
        naive += worst.verdict(0.05)[0].outcome == FAILS
    bound = 0.025 * studies + 3 * math.sqrt(0.025 * studies)
    assert wrong[HOLDS] <= bound
    assert wrong[FAILS] <= bound
    assert (naive > 2 * bound) == nearly


def test_the_least_of_one_is_that_one() -> None:
    part = made_part(-1.0, 0.3)
    alone, plain = (one.verdict(0.05)[0].effect for one in (least([part], ""), part))
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high))
    assert least([part], "").p_value == part.p_value
    with pytest.raises(ValueError, match="one or more that are claimed to be greater than one threshold"):
        least([part, replace(part, threshold=0.0)], "")


def test_a_grid_is_whole_about_one_of_its_settings() -> None:
    assert missing_settings(GRID) == []
    scaled = [(eta, 0.3 * label, 2 * soft) for eta, label, soft in GRID]
    assert missing_settings(scaled) == []
    assert missing_settings(GRID[:-1]) == [(0.8, 1.0, 4.0)]
    whole = [(eta, a, b) for eta in (0.2, 0.5, 0.8, 0.95) for a in (0.25, 1, 4) for b in (0.25, 1, 4)]
    assert missing_settings(whole) == []


def test_revised_and_selected_arms_are_not_the_distillation_that_others_are_compared_with(tmp_path: Path) -> None:
    arms = {"ds": BASE | SELECTION, "lr": BASE | REVISION, "port": BASE | {"preset": "rld_port"}, "kd": KD}
    right = {name: answers(0.7, 2, 10, seed=0) for name in arms}
    run = write_claims_run(
        tmp_path / "run", right, arms=arms, teachers={"main": {}}, claims={}, reference_teacher="main"
    )
    assert reference_arms(run)["KD"] == "kd"


def test_what_was_not_trained_or_not_recorded_is_said(tmp_path: Path) -> None:
    arms = {"treatment": BASE | REVISION, "control": KD}
    run = accuracies("R1", arms, treatment=0.8, control=0.7)(tmp_path / "run")
    writer = RunWriter(run.directory, manifest=run.manifest, resume=True)
    writer.update_arm("treatment", status="waiting")
    (row,) = judge(open_run(run.directory)).to_dict("records")
    assert (row["overall"], row["detail"]) == (UNDECIDED, "not trained to the end yet: treatment")
    run = CASES["R5", HOLDS](tmp_path / "grid")
    for kept in ("metrics", "records"):
        shutil.rmtree(run.directory / kept / "arm=set_3")
    (row,) = judge(open_run(run.directory)).to_dict("records")
    assert (row["overall"], row["detail"]) == (UNDECIDED, "the records lack what this claim is measured by")


def test_over_redraws_every_setting_is_judged_by_its_own_mean(tmp_path: Path) -> None:
    """A mean of minima is no minimum of means: with noise it lies below all of them."""
    place, count = tmp_path / "redraws", 5
    begin_redraws(place, name="made", title="", study_hash="made", seed=3, seeds=[*range(count)])
    accuracies_of = []
    for number in range(count):
        run = grid({}, noise=0.004, rows=600, seed=number)(redraw_path(place, number))
        accuracies_of.append(run.metrics.query("split == 'test'").groupby("arm")["accuracy"].mean())
    end_redraws(place)
    found = claims_over_redraws(open_redraws(place))
    apart = pd.DataFrame(accuracies_of).drop(columns="kd").sub([one["kd"] for one in accuracies_of], axis=0)
    by_setting = apart.mean()[[f"set_{place}" for place in range(8)]]
    assert found["effect"].to_numpy() == pytest.approx(by_setting.to_numpy(), abs=1e-7)
    assert apart.min(axis=1).mean() < apart.mean().min() - 1e-4
    assert set(found["threshold"]) == {-0.002}
