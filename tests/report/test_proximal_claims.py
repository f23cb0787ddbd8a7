"""The claims on teachers that train along on made data: where they hold, fail and must stay undecided; and the path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.analysis import decompose
from biasvar.records import Run, RunWriter, open_run
from biasvar.records.schema import metrics_path
from biasvar.report import style
from biasvar.report.claims.common import best_on_validation
from biasvar.report.claims.table import claims_table
from biasvar.report.figures import load, paths
from biasvar.study.ledger.proximal import CLAIMS
from tests.report.made import grouped
from tests.report.made_claims import CLASSES, answers, predictions, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ROWS, REPLICAS, EPOCHS = 400, 8, 20
LABELS = np.arange(ROWS) % CLASSES
Make = Callable[[Path], Run]


def joint(pull: float, **more: Any) -> dict[str, Any]:
    settings = {"loss": "prokt", "plays": "joint distillation", "pull": pull, "temperature": 1.0, **more}
    return {**settings, "record_temperature": settings["temperature"]}


def add_metrics(directory: Path, arm: str, frame: pd.DataFrame) -> None:
    """More rows of the metrics of an arm, beside those that are there."""
    there = pd.read_parquet(metrics_path(directory, arm))
    writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
    writer.metrics(arm, 0, pd.concat([there, frame.assign(arm=arm, n=ROWS)], ignore_index=True))


def pulls(shares: dict[float, float], validation: dict[float, float] | None = None, **settings: Any) -> Make:
    """Arms with these pulls, right on test rows with these probabilities, and on validation rows."""

    def make(directory: Path) -> Run:
        names = {pull: f"pull_{pull:g}".replace(".", "_") for pull in shares}
        right = {names[pull]: answers(share, REPLICAS, 1500, seed=int(100 * pull)) for pull, share in shares.items()}
        arms = {name: joint(pull, **(settings if pull else {})) for pull, name in names.items()}
        roles = {"arms": [name for pull, name in names.items() if pull], "control": names[min(shares)]}
        write_claims_run(directory, right, arms=arms, claims={"P2": [roles]})
        for pull, name in names.items():
            told = (validation or shares)[pull]
            frame = pd.DataFrame({"replica": range(REPLICAS), "accuracy": told, "nll": 1.0})
            add_metrics(directory, name, frame.assign(epoch=10, split="validation", view="clean"))
        return open_run(directory)

    return make


def distances(pulled: float, free: float, spread: float = 0.05, control: float = 0.0) -> Make:
    """KL(s || t') of every epoch of an arm with a pull and of one without."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(2)
        right = {arm: answers(0.7, REPLICAS, 300, seed=0) for arm in ("pulled", "free")}
        arms = {"pulled": joint(0.4), "free": joint(control)}
        roles = {"treatment": "pulled", "control": "free"}
        write_claims_run(directory, right, arms=arms, claims={"P3": [roles]})
        for arm, level in (("pulled", pulled), ("free", free)):
            epoch, replica = np.indices((10, REPLICAS)).reshape(2, -1)
            values = level + spread * rng.normal(size=REPLICAS)[replica] + 0.01 * (epoch - 4.5)
            frame = pd.DataFrame({"epoch": epoch + 1, "replica": replica, "teacher_divergence": values})
            add_metrics(directory, arm, frame.assign(split="train", view="augmented"))
        return open_run(directory)

    return make


def course(first: float, last: float, noise: float = 0.4, kept: tuple[int, ...] = (1, 2, 10, 19, 20)) -> Make:
    """Teachers whose logit at the truth goes from `first` to `last`, kept after some of 20 epochs."""

    def make(directory: Path) -> Run:
        student = {"pulled": predictions(2.0, noise, LABELS, REPLICAS, seed=9)}
        arms = {"pulled": joint(0.4, epochs=EPOCHS)}
        asked = {"P4": [{"arm": "pulled"}]}
        write_claims_run(directory, log_probs=student, arms=arms, claims=asked, schedule={"epochs": EPOCHS})
        writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
        for epoch in kept:
            size = first + (last - first) * (epoch - 1) / (EPOCHS - 1)
            said = predictions(size, noise, LABELS, REPLICAS, seed=epoch)
            counts, means = grouped(said, np.ones((REPLICAS, ROWS), dtype=bool), REPLICAS)
            writer.predictions("pulled", "test", "all", epoch, 0, np.arange(ROWS), counts, means, of="teacher")
        return open_run(directory)

    return make


def spreads(prokt: float, kd: float, kind: str = "seed_only") -> Make:
    def make(directory: Path) -> Run:
        levels = {"prokt": prokt, "kd": kd}
        log_probs = {
            arm: predictions(2.0, noise, LABELS, REPLICAS, seed=place)
            for place, (arm, noise) in enumerate(levels.items())
        }
        arms = {"prokt": joint(0.4), "kd": {"teacher": "own"}}
        asked = {"P5": [{"treatment": "prokt", "control": "kd"}]}
        teachers = {"own": {"draw": "per_replica", "rows": "own"}}
        return write_claims_run(
            directory, log_probs=log_probs, arms=arms, claims=asked, draw={"kind": kind}, teachers=teachers
        )

    return make


def pair(treatment: float, control: float) -> Make:
    def make(directory: Path) -> Run:
        right = {"prokt": answers(treatment, REPLICAS, seed=0), "kd": answers(control, REPLICAS, seed=1)}
        arms = {"prokt": joint(0.4), "kd": {"teacher": "main"}}
        asked = {"P1": [{"treatment": "prokt", "control": "kd"}]}
        return write_claims_run(directory, right, arms=arms, claims=asked, teachers={"main": {}})

    return make


CASES: dict[tuple[str, str], Make] = {
    ("P1", HOLDS): pair(0.8, 0.7),
    ("P1", FAILS): pair(0.6, 0.7),
    ("P1", UNDECIDED): pair(0.7, 0.7),
    ("P2", HOLDS): pulls({0.0: 0.6, 0.3: 0.8, 0.7: 0.7}),
    ("P2", FAILS): pulls({0.0: 0.8, 0.3: 0.6, 0.7: 0.7}),
    ("P2", UNDECIDED): pulls({0.0: 0.7, 0.3: 0.7, 0.7: 0.7}),
    ("P3", HOLDS): distances(0.3, 0.6),
    ("P3", FAILS): distances(0.6, 0.5),
    ("P3", UNDECIDED): distances(0.59, 0.6, spread=0.2),
    ("P4", HOLDS): course(0.5, 3.0),
    ("P4", FAILS): course(2.0, 2.0, noise=0.1),
    ("P4", UNDECIDED): course(0.5, 3.0, kept=(10, 19, 20)),
    ("P5", HOLDS): spreads(0.4, 0.9),
    ("P5", FAILS): spreads(0.9, 0.5),
    ("P5", UNDECIDED): spreads(0.4, 0.9, kind="subsample"),
}


def judge(run: Run) -> pd.Series:
    (row,) = (row for _, row in claims_table([run]).iterrows())
    return row


def test_every_claim_has_its_cases() -> None:
    assert set(CASES) == {(claim.id, outcome) for claim in CLAIMS for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = judge(CASES[claim, outcome](tmp_path / "run"))
    assert (found["id"], found["overall"]) == (claim, outcome), found.to_dict()


def test_p2_takes_the_pull_that_is_best_on_validation_rows_not_on_test_rows(tmp_path: Path) -> None:
    run = pulls({0.0: 0.6, 0.3: 0.8, 0.7: 0.7}, {0.0: 0.9, 0.3: 0.5, 0.7: 0.6})(tmp_path / "run")
    assert best_on_validation(run, ["pull_0_3", "pull_0_7"]) == "pull_0_7"
    found = judge(run)
    assert found["effect"] == pytest.approx(0.1, abs=0.02)
    assert "pull_0_7 − pull_0; pull_0_7 is the best of 2 on validation rows" in found["test"]


def test_pulls_out_of_place_decide_nothing(tmp_path: Path) -> None:
    found = judge(pulls({0.1: 0.6, 0.3: 0.8})(tmp_path / "a"))
    assert (found["verdict"], found["detail"]) == (UNDECIDED, "pull_0_1 as control must have pull 0, not 0.1")
    found = judge(pulls({0.0: 0.6, 0.3: 0.8}, temperature=4.0)(tmp_path / "b"))
    assert (found["verdict"], found["detail"]) == (UNDECIDED, "pull_0_3 and pull_0 must have one temperature")
    found = judge(distances(0.3, 0.6, control=0.2)(tmp_path / "c"))
    assert (found["verdict"], found["detail"]) == (UNDECIDED, "free as control must have pull 0, not 0.2")


def test_p3_is_the_mean_over_all_steps(tmp_path: Path) -> None:
    run = distances(0.3, 0.6, spread=0.0)(tmp_path / "run")
    found = judge(run)
    assert found["effect"] == pytest.approx(-0.3)
    assert found["threshold"] == pytest.approx(-0.05 * 0.6)


def test_p4_is_the_fall_of_the_mean_bias_of_the_tenths(tmp_path: Path) -> None:
    """From the answers themselves: epochs 1 and 2 against 19 and 20 of 20."""
    found = judge(course(0.5, 3.0)(tmp_path / "run"))
    biases = {}
    for epoch in (1, 2, 19, 20):
        size = 0.5 + 2.5 * (epoch - 1) / 19
        said = predictions(size, 0.4, LABELS, REPLICAS, seed=epoch)
        biases[epoch] = decompose(said, LABELS).corrected().bias.mean()
    early, late = (np.mean([biases[e] for e in some]) for some in ((1, 2), (19, 20)))
    assert found["effect"] == pytest.approx(early - late, rel=1e-9)
    assert found["threshold"] == pytest.approx(0.05 * early, rel=1e-9)
    assert found["stderr_crossed"] > found["stderr"] > 0
    assert "first tenth of epochs (kept: 1, 2) − last tenth (19, 20)" in found["test"]


def test_the_figure_draws_targets_and_students(tmp_path: Path) -> None:
    run = course(0.5, 3.0)(tmp_path / "run")
    writer = RunWriter(run.directory, manifest=run.manifest, resume=True)
    for epoch in (1, 2, 19, 20):  # those of epoch 10 are there, as its metrics say
        counts, means = grouped(
            predictions(1.0 + epoch / 20, 0.3, LABELS, REPLICAS, seed=epoch), np.ones((REPLICAS, ROWS), bool), REPLICAS
        )
        writer.predictions("pulled", "test", "all", epoch, 0, np.arange(ROWS), counts, means)
    replica = np.arange(REPLICAS)
    frames = [pd.DataFrame({"epoch": e, "replica": replica, "teacher_divergence": 0.1 / e}) for e in range(1, 21)]
    add_metrics(run.directory, "pulled", pd.concat(frames).assign(split="train", view="augmented"))
    run = open_run(run.directory)
    frame = paths.collect([run])
    counts = frame.groupby(["whose", "term"])["epoch"].nunique().to_dict()
    assert counts == {
        ("student", "bias"): 5, ("student", "variance"): 5, ("teacher", "bias"): 5, ("teacher", "variance"): 5,
        ("teacher", "distance"): 20,
    }  # fmt: skip
    of_target = frame[(frame["whose"] == "teacher") & (frame["term"] == "bias")].set_index("epoch")["value"]
    expected = decompose(predictions(0.5, 0.4, LABELS, REPLICAS, seed=1), LABELS).corrected().bias.mean()
    assert of_target[1] == pytest.approx(expected, rel=1e-9)
    figure = load("paths")
    with style.context():
        drawing = figure.draw(frame)
        style.lay_out(drawing)
    assert [ax.get_title(loc="left") for ax in drawing.get_axes()] == [frame["label"].iloc[0], "", ""]
    assert [ax.get_ylabel().split("\n")[0] for ax in drawing.get_axes()] == ["bias", "variance", "distance, KL"]
    solid, dashed = (
        next(line for line in drawing.get_axes()[0].get_lines() if line.get_linestyle() == way) for way in ("-", "--")
    )
    assert list(dashed.get_ydata()) == pytest.approx(list(of_target.sort_index()))
    of_student = frame[(frame["whose"] == "student") & (frame["term"] == "bias")].sort_values("epoch")["value"]
    assert list(solid.get_ydata()) == pytest.approx(list(of_student))
    assert len(drawing.get_axes()[2].get_lines()[0].get_ydata()) == 20
    assert "n = 400" in figure.caption(frame, [run])


def test_runs_without_such_teachers_have_no_such_figure(tmp_path: Path) -> None:
    run = pair(0.8, 0.7)(tmp_path / "run")
    assert paths.collect([run]).empty
