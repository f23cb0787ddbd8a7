"""The claims on InfoDrop on made data: where they hold, fail and must stay undecided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.records.schema import metrics_path
from biasvar.report.claims.table import claims_table
from biasvar.study.ledger.infodrop import CLAIMS
from tests.report.made_claims import CLASSES, EPOCHS, _record, answers, predictions, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ROWS, REPLICAS = 1500, 8
LABELS = np.arange(ROWS) % CLASSES
Make = Callable[[Path], Run]


def on_views(claim: str, treatment: Mapping[str, float], control: Mapping[str, float], **study: Any) -> Make:
    """Two arms that are right with these probabilities on these views; "clean" are the rows as they are."""

    def make(directory: Path) -> Run:
        views = [view for view in treatment if view != "clean"]
        right = {
            arm: {
                view: answers(share, REPLICAS, ROWS, seed=len(arm) + 7 * at)
                for at, (view, share) in enumerate(by.items())
            }
            for arm, by in (("infodrop", treatment), ("plain", control))
        }
        write_claims_run(
            directory, {arm: by.get("clean", by[views[0]]) for arm, by in right.items()},
            claims={claim: [{"treatment": "infodrop", "control": "plain"}]}, views=views, **study,
        )  # fmt: skip
        writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
        for arm, by in right.items():
            there = [pd.read_parquet(metrics_path(directory, arm))]
            for view in views:
                writer.record(arm, "test", view, EPOCHS, 0, _record(by[view], LABELS, CLASSES, None))
                told = {"replica": range(REPLICAS), "accuracy": by[view].mean(1), "nll": 1.0, "n": ROWS}
                there.append(pd.DataFrame(told).assign(arm=arm, epoch=EPOCHS, split="test", view=view))
            writer.metrics(arm, 0, pd.concat(there, ignore_index=True))
        return open_run(directory)

    return make


def variances(treatment: float, control: float, rows: int = 400) -> Make:
    labels = np.arange(rows) % CLASSES

    def make(directory: Path) -> Run:
        made = {
            arm: predictions(2.0, noise, labels, seed=3) for arm, noise in (("infodrop", treatment), ("plain", control))
        }
        roles = {"treatment": "infodrop", "control": "plain"}
        return write_claims_run(directory, log_probs=made, claims={"I4": [roles]})

    return make


CORRUPTED = ("fog-3", "jpeg-5")
TRAINED = {"data": {"train_views": ["original", "grey", "posterised"]}}


def corrupted(claim: str, treatment: float, control: float) -> Make:
    return on_views(claim, dict.fromkeys(CORRUPTED, treatment), dict.fromkeys(CORRUPTED, control))


def shuffled(treatment: float, control: float) -> Make:
    view = "shuffled_patches-4"
    return on_views("I3", {"clean": 0.9, view: treatment}, {"clean": 0.9, view: control})


def attacked(fgsm: float, pgd: float) -> Make:
    return on_views("I5", {"fgsm-0.03": fgsm, "pgd-0.03": pgd}, {"fgsm-0.03": 0.5, "pgd-0.03": 0.4})


def rendered(grey: float, edges: float, **study: Any) -> Make:
    return on_views("I6", {"grey": grey, "edges": edges}, {"grey": 0.6, "edges": 0.5}, **study)


def few_shots(one: float, five: float, rows: int = 400, *, shots: tuple[int, ...] = (1, 5), ways: int = 5) -> Make:
    """InfoDrop adds so much to the accuracy of episodes, which all replicas find easy or hard alike."""

    def make(directory: Path) -> Run:
        right = answers(0.5, REPLICAS, 10, seed=1)
        told = {"data": {"few_shots": {"classes": 20, "ways": ways, "shots": [*shots]}}}
        roles = {"treatment": "infodrop", "control": "plain"}
        write_claims_run(directory, {"infodrop": right, "plain": right}, claims={"I7": [roles]}, **told)
        writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
        rng = np.random.default_rng(2)
        for arm, gain in (("infodrop", (one, five)), ("plain", (0.0, 0.0))):
            parts = []
            for shot, added in zip(shots, gain, strict=False):
                easy = np.random.default_rng(shot).normal(0.4, 0.1, rows)
                values = easy + added + rng.normal(0, 0.02, (REPLICAS, rows))
                index = pd.MultiIndex.from_product([range(REPLICAS), range(rows)], names=["replica", "episode"])
                parts.append(pd.DataFrame({"accuracy": values.ravel()}, index=index).assign(shots=shot).reset_index())
            writer.method_table("few_shots", arm, 0, pd.concat(parts))
        return open_run(directory)

    return make


CASES: dict[tuple[str, str], Make] = {
    ("I1", HOLDS): corrupted("I1", 0.7, 0.6),
    ("I1", FAILS): corrupted("I1", 0.55, 0.6),
    ("I1", UNDECIDED): on_views("I1", {"grey": 0.7}, {"grey": 0.6}),  # no corruption at all
    ("I2", HOLDS): corrupted("I2", 0.7, 0.6),
    ("I2", FAILS): corrupted("I2", 0.55, 0.6),
    ("I2", UNDECIDED): corrupted("I2", 0.604, 0.6),
    ("I3", HOLDS): shuffled(0.3, 0.5),  # it loses more
    ("I3", FAILS): shuffled(0.6, 0.5),
    ("I3", UNDECIDED): shuffled(0.48, 0.5),
    ("I4", HOLDS): variances(0.5, 1.0),
    ("I4", FAILS): variances(1.0, 0.5),
    ("I4", UNDECIDED): variances(0.97, 1.0, rows=40),
    ("I5", HOLDS): attacked(0.6, 0.5),
    ("I5", FAILS): attacked(0.6, 0.3),  # both must
    ("I5", UNDECIDED): on_views("I5", {"fgsm-0.03": 0.6}, {"fgsm-0.03": 0.5}),
    ("I6", HOLDS): rendered(0.3, 0.6, **TRAINED),  # edges alone were left out
    ("I6", FAILS): rendered(0.9, 0.4, **TRAINED),
    ("I6", UNDECIDED): rendered(0.9, 0.9),  # nothing was left out
    ("I7", HOLDS): few_shots(0.03, 0.02),
    ("I7", FAILS): few_shots(0.03, -0.02),  # with five shots too
    ("I7", UNDECIDED): few_shots(0.03, 0.002),
}


def test_every_claim_has_a_case_of_each_outcome():
    assert set(CASES) == {(claim.id, outcome) for claim in CLAIMS for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_verdicts(claim, outcome, tmp_path):
    found = claims_table([CASES[claim, outcome](tmp_path / "run")])
    assert set(found["overall"]) == {outcome}, found[["test", "effect", "low", "high", "threshold", "verdict"]]


def test_images_as_they_are_may_be_what_is_left_out(tmp_path):
    trained = {"data": {"train_views": ["grey", "edges", "posterised"]}}
    run = on_views("I6", {"clean": 0.8, "grey": 0.1}, {"clean": 0.5, "grey": 0.9}, **trained)(tmp_path)
    (row,) = claims_table([run]).to_dict("records")
    assert row["effect"] == pytest.approx(0.3, abs=0.03)
    assert "original images, left out of training" in row["test"]


def test_the_effect_is_the_mean_over_corruptions(tmp_path):
    run = on_views("I1", {"fog-3": 0.8, "jpeg-5": 0.6, "grey": 0.1}, {"fog-3": 0.5, "jpeg-5": 0.5, "grey": 0.9})(
        tmp_path
    )
    row = claims_table([run]).iloc[0]
    wanted = np.mean([
        run.metrics.query("arm == @arm and view == @view")["accuracy"].mean() * sign
        for arm, sign in (("infodrop", 2), ("plain", -2)) for view in ("fog-3", "jpeg-5")
    ])  # fmt: skip
    assert row["effect"] == pytest.approx(wanted)
    assert "fog-3, jpeg-5" in row["test"]


def test_shuffling_costs_what_clean_accuracy_less_shuffled_is(tmp_path):
    row = claims_table([shuffled(0.3, 0.5)(tmp_path)]).iloc[0]
    assert row["effect"] == pytest.approx(0.2, abs=0.02)
    assert row["threshold"] == 0.02


def test_few_shots_are_paired_by_replica_and_episode(tmp_path):
    run = few_shots(0.03, -0.02)(tmp_path)
    rows = claims_table([run])
    tables = [run.method_table("few_shots", arm) for arm in ("infodrop", "plain")]
    for (_, row), shots in zip(rows.iterrows(), (1, 5), strict=True):
        mine = [table[table["shots"] == shots] for table in tables]
        both = [one.pivot(index="replica", columns="episode", values="accuracy").to_numpy() for one in mine]
        difference = both[0] - both[1]
        assert row["effect"] == pytest.approx(difference.mean())
        assert row["stderr"] == pytest.approx(difference.mean(1).std(ddof=1) / np.sqrt(REPLICAS))
        assert row["stderr_samples"] == pytest.approx(difference.mean(0).std(ddof=1) / np.sqrt(400))
        assert (row["n_replicas"], row["n_samples"]) == (REPLICAS, 400)
        assert f"with {shots} shot" in row["test"]


@pytest.mark.parametrize("made", [{"ways": 4}, {"shots": (1, 2)}])
def test_episodes_of_another_kind_leave_the_claim_undecided(made, tmp_path):
    (row,) = claims_table([few_shots(0.03, 0.03, rows=20, **made)(tmp_path)]).to_dict("records")
    assert (row["overall"], row["detail"]) == (UNDECIDED, "the records lack what this claim is measured by")
