"""The accuracy of teachers themselves, from their answers by hand, and where it stands beside their students'."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.records.placement import GROUPS
from biasvar.report.claims.table import claims_table
from biasvar.report.figures import accuracy
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher, own_accuracies
from biasvar.report.summary import summarise
from biasvar.report.text.claims import claim_groups
from biasvar.report.text.description import arm_rows
from tests.report.made import grouped
from tests.report.made_claims import CLASSES, answers, predictions, write_claims_run

ROWS, REPLICAS = 300, 6
KNOWN = np.random.default_rng(0).random((3, ROWS)) < np.array([0.6, 0.7, 0.8])[:, None]
ARMS: dict[str, dict[str, Any]] = {
    "ce": {},
    "kd": {"teacher": "one", "label": "KD"},
    "many": {"teacher": "three", "label": "KD of three"},
    "told": {"teacher": "told"},
    "silent": {"teacher": "silent"},
    "from_file": {"soft_label": "by_one"},
}
TEACHERS = {"one": {}, "three": {"copies": 3}, "told": {"accuracy_test": 0.25}, "silent": {}}


def make(directory: Path) -> Run:
    """Arms whose teachers have left their logits, or an accuracy only, or nothing."""
    right = {arm: answers(0.7, REPLICAS, ROWS, seed=place) for place, arm in enumerate(ARMS)}
    return write_claims_run(
        directory, right, arms=ARMS, teachers=TEACHERS, teachers_right={"one": KNOWN[0], "three": KNOWN},
        soft_labels={"by_one": np.full((20, CLASSES), 0.25)},
        definitions={"by_one": {"kind": "teacher", "teacher": "one"}},
        claims={"W8": [{"treatment": "many", "control": "kd"}, {"treatment": "kd", "control": "ce"}]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make(tmp_path_factory.mktemp("teachers") / "run")


def crossed_error(right: np.ndarray) -> float:
    """sqrt(V_teachers + V_rows - V_both), at least the larger of the first two, by their definitions."""
    t, n = right.shape
    mean = right.mean()
    of_t, of_n = right.mean(axis=1) - mean, right.mean(axis=0) - mean
    rest = right - mean - of_t[:, None] - of_n
    v_t, v_n = (of_t**2).sum() / (t - 1) / t, (of_n**2).sum() / (n - 1) / n
    v_both = (rest**2).sum() / (t - 1) / (n - 1) / (t * n)
    return math.sqrt(max(v_t + v_n - v_both, v_t, v_n))


def test_accuracies_and_errors_are_those_of_the_answers(run: Run) -> None:
    one = accuracy_of_its_teacher(run, "kd")
    assert one is not None
    assert (one.value, one.n_samples, one.n_networks) == (KNOWN[0].mean(), ROWS, 1)
    assert one.stderr == pytest.approx(KNOWN[0].std(ddof=1) / math.sqrt(ROWS))
    three = accuracy_of_its_teacher(run, "many")
    assert three is not None
    assert (three.value, three.n_samples, three.n_networks) == (pytest.approx(KNOWN.mean()), ROWS, 3)
    assert three.stderr == pytest.approx(crossed_error(KNOWN.astype(float)))
    assert three.stderr > 1.5 * one.stderr  # networks differ by far more than rows make them
    told = accuracy_of_its_teacher(run, "told")
    assert told is not None
    assert (told.value, told.stderr) == (0.25, pytest.approx(math.sqrt(0.25 * 0.75 / ROWS)))
    by_file = accuracy_of_its_teacher(run, "from_file")
    assert by_file is not None
    assert (by_file.teacher, by_file.value) == ("one", one.value)
    assert accuracy_of_its_teacher(run, "ce") is None
    assert accuracy_of_its_teacher(run, "silent") is None


@pytest.mark.parametrize("replicas", [REPLICAS, 20])
def test_teachers_that_train_along_have_that_of_their_last_answers(replicas: int, tmp_path: Path) -> None:
    labels = np.arange(ROWS) % CLASSES
    students = {"joint": predictions(2.0, 0.5, labels, replicas, seed=0)}
    run = write_claims_run(tmp_path / "run", log_probs=students, arms={"joint": {"own_teacher": True}}, claims={})
    assert accuracy_of_its_teacher(run, "joint") is None
    writer = RunWriter(run.directory, manifest=run.manifest, resume=True)
    for epoch in (1, 10):
        said = predictions(0.1 * epoch, 1.0, labels, replicas, seed=epoch)
        counts, means = grouped(said, np.ones((replicas, ROWS), dtype=bool), min(GROUPS, replicas))
        writer.predictions("joint", "test", "all", epoch, 0, np.arange(ROWS), counts, means, of="teacher")
    found = accuracy_of_its_teacher(open_run(run.directory), "joint")
    if replicas > GROUPS:
        assert found is None  # what is kept is the mean of several teachers' answers
        return
    right = (said.argmax(-1) == labels).astype(float)
    assert found is not None
    assert (found.teacher, found.n_networks) == ("its own", REPLICAS)
    assert (found.value, found.stderr) == pytest.approx((right.mean(), crossed_error(right)))


def test_it_stands_beside_every_result(run: Run) -> None:
    one = f"{KNOWN[0].mean():.3f} ± {KNOWN[0].std(ddof=1) / math.sqrt(ROWS):.3f}, n = 300"
    three = f"{KNOWN.mean():.3f} ± {crossed_error(KNOWN.astype(float)):.3f}, n = 300, 3 networks"
    table = {row["arm"]: row for row in arm_rows(run)}
    assert {arm: row["own"] for arm, row in table.items()} == {
        "ce": "–", "kd": one, "many": three, "told": "0.250 ± 0.025, n = 300", "silent": "–", "from_file": one,
    }  # fmt: skip
    right = run.metrics.query("arm == 'kd' and split == 'test'")["accuracy"]
    assert table["kd"]["accuracy"] == f"{right.mean():.3f} ± {right.std() / math.sqrt(REPLICAS):.3f}, n = 300"
    claims = claims_table([run])
    assert claims["teachers"].tolist() == [f"{three} (three); {one} (one)", f"{one} (one)"]
    assert [row["teachers"] for group in claim_groups(claims) for row in group["rows"]] == claims["teachers"].tolist()
    arms = summarise([run], claims)["runs"]["made"]["arms"]
    assert arms["ce"]["teacher_accuracy"] is None
    assert arms["many"]["teacher_accuracy"] == {
        "teacher": "three", "value": pytest.approx(KNOWN.mean()), "stderr": pytest.approx(crossed_error(1.0 * KNOWN)),
        "n_samples": ROWS, "n_networks": 3,
    }  # fmt: skip
    said = own_accuracies(run, ["kd", "many", "told", "from_file"])
    assert said == f"{one} (one); {three} (three); 0.250 ± 0.025, n = 300 (told)"


def test_the_numbers_of_the_figure_of_accuracies_name_each_arms_teacher(run: Run) -> None:
    frame = accuracy.collect([run])
    levels = frame[(frame["metric"] == "accuracy") & (frame["against"] == "")].set_index("arm")
    assert levels["teacher"].dropna().to_dict() == {"kd": "one", "many": "three", "told": "told", "from_file": "one"}
    assert levels["teacher_accuracy"]["many"] == pytest.approx(KNOWN.mean())
    others = frame.drop(index=frame.index[(frame["metric"] == "accuracy") & (frame["against"] == "")])
    assert others["teacher_accuracy"].isna().all()
