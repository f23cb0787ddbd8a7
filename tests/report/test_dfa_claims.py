"""The claims on DFA on made data: where they hold, fail and must stay undecided; depth, draws and seconds by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.report.claims.table import claims_table
from biasvar.report.statistics.layer_weights import centroids, unlearned
from biasvar.study.ledger.dfa import CLAIMS
from tests.report.made_claims import answers, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REPLICAS, EPOCHS, ROWS = 8, 6, 200
LAYERS = (3, 3)  # of two groups, searched in three epochs each
Make = Callable[[Path], Run]
BRIDGE = {"loss": "dfa_search", "plays": "features", "objective": "bridge", "teacher": "a"}
OWN = {**BRIDGE, "objective": "student"}


def fixed(weights: Any, **more: Any) -> dict[str, Any]:
    return {"loss": "dfa", "plays": "features", "weights": weights, "teacher": "a", "distill_weight": 1.0, **more}


def searched(search: str = "bridge", **more: Any) -> dict[str, Any]:
    return fixed("searched", search=search, **more)


def search_table(
    depth: float, *, spread: float = 0.02, accuracy: float = 0.7, lost: int = 0, seed: int = 0
) -> pd.DataFrame:
    """A search that goes from even weights to weights of about this centroid; `lost` replicas are at chance."""
    rng = np.random.default_rng(seed)
    rows = []
    for replica in range(REPLICAS):
        for group, count in enumerate(LAYERS):
            aim = np.clip(depth + spread * rng.normal(), 0.0, 1.0)
            end = np.array([0.8 * (1 - aim) + 0.0, 0.2, 0.8 * aim])
            for epoch in range(EPOCHS + 1):
                gone = np.clip((epoch - 3 * group) / 3, 0, 1)
                active = 3 * group < epoch <= 3 * group + 3
                right = 0.25 if replica < lost else accuracy
                rows += [
                    {
                        "replica": replica, "epoch": epoch, "group": group, "layer": layer, "height": 8, "width": 8,
                        "student_module": f"s{group}", "teacher_module": f"t{group}{layer}", "weight": weight,
                        "accuracy": right if active else math.nan, "rows": ROWS if active else 0,
                    }
                    for layer, weight in enumerate((1 - gone) / count + gone * end)
                ]  # fmt: skip
    return pd.DataFrame(rows)


def with_searches(directory: Path, **tables: pd.DataFrame) -> Run:
    """The run with these tables of layer weights."""
    writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
    for arm, frame in tables.items():
        writer.method_table("feature_weights", arm, 0, frame)
    return open_run(directory)


def accuracies(
    claim: str, settings: dict[str, dict[str, Any]], roles: dict[str, Any], *, lost: int = 0, spread: float = 0.0,
    searches: dict[str, dict[str, Any]] | None = None, teachers: dict[str, dict[str, Any]] | None = None,
    noise: float = 0.0, **shares: float,
) -> Make:  # fmt: skip
    """Arms that are right with these probabilities, beside the searches that they name."""
    found = {"bridge": BRIDGE} if searches is None else searches

    def make(directory: Path) -> Run:
        right = {
            arm: answers(share, REPLICAS, 2000, seed=place, of_replicas=noise)
            for place, (arm, share) in enumerate(shares.items())
        }
        right |= {arm: answers(0.26, REPLICAS, 2000, seed=99) for arm in found}
        chance = {"failed_replicas": [{"replica": r, "reason": "at chance"} for r in range(REPLICAS)]}
        arms = {**settings, **{arm: {**setting, **chance} for arm, setting in found.items()}}
        write_claims_run(directory, right, arms=arms, claims={claim: [roles]}, teachers=teachers or {"a": {}})
        return with_searches(directory, **{arm: search_table(0.7, lost=lost) for arm in found})

    return make


PAIR = {"treatment": "dfa", "control": "last"}


def d1(dfa: float, last: float, **more: Any) -> Make:
    return accuracies("D1", {"dfa": searched(), "last": fixed("last")}, PAIR, dfa=dfa, last=last, **more)


def d2(dfa: float, average: float, *drawn: float, **more: Any) -> Make:
    names = [f"random_{i}" for i in range(len(drawn))]
    settings = {"dfa": searched(), "average": fixed("average")}
    settings |= {name: fixed("random", number=i) for i, name in enumerate(names)}
    roles = {"treatment": "dfa", "average": "average", "arms": names}
    return accuracies("D2", settings, roles, dfa=dfa, average=average, **dict(zip(names, drawn, strict=True)), **more)


def d3(bridge: float, own: float, *, spread: float = 0.02, lost: int = 0, objective: str = "student") -> Make:
    """Two searches; the students of the first are at chance, as those of the bridge loss are."""

    def make(directory: Path) -> Run:
        chance = [{"replica": r, "reason": "at chance"} for r in range(REPLICAS)]
        right = {"by_bridge": answers(0.25, REPLICAS, seed=0), "by_own": answers(0.7, REPLICAS, seed=1)}
        arms = {"by_bridge": {**BRIDGE, "failed_replicas": chance}, "by_own": {**OWN, "objective": objective}}
        roles = {"treatment": "by_bridge", "control": "by_own"}
        write_claims_run(directory, right, arms=arms, claims={"D3": [roles]}, teachers={"a": {}})
        tables = {
            "by_bridge": search_table(bridge, spread=spread, lost=lost),
            "by_own": search_table(own, spread=spread, seed=1),
        }
        return with_searches(directory, **tables)

    return make


def d4(bridge: float, own: float, other: dict[str, Any] = OWN) -> Make:
    settings = {"dfa": searched(), "drifted": searched("own")}
    roles = {"treatment": "dfa", "control": "drifted"}
    return accuracies("D4", settings, roles, searches={"bridge": BRIDGE, "own": other}, dfa=bridge, drifted=own)


def d5(given: float, last: float, weights: Any = ([0.2, 0.8], [1.0])) -> Make:
    settings = {"dfa": fixed(weights if isinstance(weights, str) else [*weights]), "last": fixed("last")}
    return accuracies("D5", settings, PAIR, searches={}, dfa=given, last=last)


def d6(dfa: float, ensemble: float, seconds: float, members: int = 3, **more: Any) -> Make:
    """Seconds of a teacher's network; a student takes 2 to 3, its search 4."""
    names = ["a", "b", "c"][:members]
    teachers: dict[str, Any] = {
        name: {"copies": 8, "seconds": 16 * seconds, "processor_seconds": 8 * seconds} for name in names
    }
    teachers["all"] = {"mean_of": names}
    took = {key: np.linspace(2, 3, REPLICAS).tolist() for key in ("group_processor_seconds", "group_seconds")}
    found = {key: [4.0] * REPLICAS for key in took}
    settings = {"dfa": searched() | took, "kd": {"teacher": "all", **took}}
    return accuracies(
        "D6", settings, {"treatment": "dfa", "control": "kd"}, searches={"bridge": BRIDGE | found}, teachers=teachers,
        dfa=dfa, kd=ensemble, **more,
    )  # fmt: skip


CASES: dict[tuple[str, str], Make] = {
    ("D1", HOLDS): d1(0.8, 0.7),
    ("D1", FAILS): d1(0.6, 0.7),
    ("D1", UNDECIDED): d1(0.7, 0.7),
    ("D2", HOLDS): d2(0.8, 0.7, 0.7, 0.71, 0.7, 0.69, 0.7),
    ("D2", FAILS): d2(0.7, 0.6, 0.8, 0.8, 0.81, 0.8, 0.79),
    ("D2", UNDECIDED): d2(0.8, 0.7, 0.7, 0.71, 0.7, 0.7),
    ("D3", HOLDS): d3(0.8, 0.4),
    ("D3", FAILS): d3(0.5, 0.5),
    ("D3", UNDECIDED): d3(0.8, 0.4, lost=6),
    ("D4", HOLDS): d4(0.8, 0.7),
    ("D4", FAILS): d4(0.6, 0.7),
    ("D4", UNDECIDED): d4(0.8, 0.7, other=BRIDGE),
    ("D5", HOLDS): d5(0.8, 0.7),
    ("D5", FAILS): d5(0.6, 0.7),
    ("D5", UNDECIDED): d5(0.8, 0.7, weights="average"),
    ("D6", HOLDS): d6(0.8, 0.7, 100.0),
    ("D6", FAILS): d6(0.8, 0.7, 1.0),
    ("D6", UNDECIDED): d6(0.8, 0.7, 100.0, members=2),
}


def judge(run: Run) -> pd.DataFrame:
    return claims_table([run])


def test_every_claim_has_its_cases() -> None:
    assert set(CASES) == {(claim.id, outcome) for claim in CLAIMS for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = judge(CASES[claim, outcome](tmp_path / "run"))
    assert set(found["id"]) == {claim}
    assert set(found["overall"]) == {outcome}, found[["test", "effect", "low", "high", "threshold", "detail"]].to_dict()


@pytest.mark.parametrize(
    ("claim", "make"),
    [
        ("D1", d1(0.8, 0.7, lost=6)),
        ("D2", d2(0.8, 0.7, 0.7, 0.71, 0.7, 0.69, 0.7, lost=6)),
        ("D3", d3(0.8, 0.4, lost=6)),
        ("D6", d6(0.8, 0.7, 100.0, lost=6)),
    ],
)
def test_weights_of_a_search_at_chance_decide_nothing(claim: str, make: Make, tmp_path: Path) -> None:
    """Chance of 4 classes on 200 rows: 0.25 + 3 sqrt(0.25 x 0.75 / 200) = 0.342."""
    found = judge(make(tmp_path / "run"))
    assert set(found["verdict"]) == {UNDECIDED}
    name = "by_bridge" if claim == "D3" else "bridge"
    expected = (
        f"the search {name} learned nothing in 6 of 8 replicas: what its loss classifies in the last epoch of group 0, "
        "1 is at chance (accuracy up to 0.250 on 200 rows)"
    )
    assert set(found["detail"]) == {expected}


@pytest.mark.parametrize(("accuracy", "learned"), [(0.34, False), (0.345, True)])
def test_chance_ends_three_standard_errors_above_it(accuracy: float, learned: bool, tmp_path: Path) -> None:
    run = d1(0.8, 0.7)(tmp_path / "run")
    run = with_searches(run.directory, bridge=search_table(0.7, accuracy=accuracy))
    assert (unlearned(run, "bridge") == "") == learned


def test_a_search_that_says_nothing_of_its_answers_or_is_not_finite_decides_nothing(tmp_path: Path) -> None:
    run = d1(0.8, 0.7)(tmp_path / "run")
    silent = search_table(0.7).drop(columns=["accuracy", "rows"]).assign(accuracy=math.nan, rows=0)
    run = with_searches(run.directory, bridge=silent)
    assert set(judge(run)["detail"]) == {"the run does not say what the search bridge learned; run it anew"}
    run.manifest["arms"]["bridge"]["failed_replicas"] = [{"replica": 3, "reason": "not finite"}]
    assert set(judge(run)["detail"]) == {"the search bridge is not finite in 1 of 8 replicas"}


def test_arms_out_of_place_decide_nothing(tmp_path: Path) -> None:
    def said(make: Make, name: str) -> str:
        found = judge(make(tmp_path / name))
        assert set(found["verdict"]) == {UNDECIDED}
        return str(found["detail"].iloc[0])

    assert said(CASES["D2", UNDECIDED], "a") == "4 draws of random weights, where 5 are needed"
    assert said(CASES["D4", UNDECIDED], "b") == (
        "the search of drifted, own must have loss dfa_search and objective student"
    )
    assert said(CASES["D5", UNDECIDED], "c") == "dfa must have loss dfa and weights given as lists"
    assert said(CASES["D6", UNDECIDED], "d") == ("kd as control must learn from an ensemble of 3 teachers or more")
    wrong = accuracies("D1", {"dfa": searched(), "last": fixed("last", distill_weight=2.0)}, PAIR, dfa=0.8, last=0.7)
    assert said(wrong, "e") == "dfa and last must differ in their weights alone, not in distill_weight"
    assert said(d3(0.8, 0.4, objective="bridge"), "f") == "by_own must have loss dfa_search and objective student"


def test_a_search_that_is_not_done_is_not_tested(tmp_path: Path) -> None:
    run = d3(0.8, 0.4)(tmp_path / "run")
    RunWriter(run.directory, manifest=run.manifest, resume=True).update_arm("by_own", status="waiting")
    (row,) = (row for _, row in judge(open_run(run.directory)).iterrows())
    assert (row["verdict"], row["detail"]) == (UNDECIDED, "not trained to the end yet: by_own")


def test_the_centroid_is_that_of_the_last_weights_over_depth(tmp_path: Path) -> None:
    """By hand from the tables: per replica the mean over groups of 0 a_0 + 0.5 a_1 + 1 a_2."""
    run = d3(0.8, 0.4)(tmp_path / "run")
    by_hand = {}
    for arm, (depth, seed) in {"by_bridge": (0.8, 0), "by_own": (0.4, 1)}.items():
        table = search_table(depth, seed=seed).query("epoch == 6")
        weights = table["weight"].to_numpy().reshape(REPLICAS, 2, 3)
        by_hand[arm] = (weights @ np.array([0.0, 0.5, 1.0])).mean(axis=1)
        np.testing.assert_allclose(centroids(run, arm), by_hand[arm], rtol=1e-12)
    apart = by_hand["by_bridge"] - by_hand["by_own"]
    (row,) = (row for _, row in judge(run).iterrows())
    assert row["effect"] == pytest.approx(apart.mean(), rel=1e-12)
    assert row["stderr"] == pytest.approx(apart.std(ddof=1) / math.sqrt(REPLICAS), rel=1e-9)
    assert row["threshold"] == 0.1


def test_random_weights_have_an_error_over_their_draws(tmp_path: Path) -> None:
    run = d2(0.8, 0.7, 0.6, 0.76, 0.7, 0.69, 0.75)(tmp_path / "run")
    of_random = judge(run).iloc[1]
    means = [answers(share, REPLICAS, 2000, seed=2 + i).mean() for i, share in enumerate((0.6, 0.76, 0.7, 0.69, 0.75))]
    over_draws = np.std(means, ddof=1) / math.sqrt(5)
    dfa = answers(0.8, REPLICAS, 2000, seed=0).mean()
    assert of_random["effect"] == pytest.approx(dfa - np.mean(means), rel=1e-9)
    assert of_random["stderr_crossed"] > over_draws > 5 * of_random["stderr"]
    assert of_random["df"] < 5


def test_seconds_are_those_of_student_search_and_teachers(tmp_path: Path) -> None:
    """A processor's second of a network of a teacher is half of one by the clock, and the device is not known."""
    run = d6(0.8, 0.7, 10.0)(tmp_path / "run")
    own = np.linspace(2, 3, REPLICAS)
    by_clock = judge(run).iloc[1]
    assert by_clock["effect"] == pytest.approx(((own + 4 + 20) / (own + 3 * 20)).mean(), rel=1e-9)
    assert by_clock["test"].startswith("seconds of training, with search and teachers")
    run.manifest["device"] = "cpu"
    of_processor = judge(run).iloc[1]
    ratios = (own + 4 + 10) / (own + 3 * 10)
    assert of_processor["effect"] == pytest.approx(ratios.mean(), rel=1e-9)
    assert of_processor["stderr"] == pytest.approx(ratios.std(ddof=1) / math.sqrt(REPLICAS), rel=1e-9)
    assert of_processor["test"].startswith("seconds of the processor")
    del run.manifest["teachers"]["b"]["seconds"], run.manifest["teachers"]["b"]["processor_seconds"]
    assert judge(run)["detail"].tolist() == ["the records lack what this claim is measured by"]
