"""Soft labels before and after revision: means and errors from single answers, and the picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from biasvar.records import Run, RunWriter, open_run
from biasvar.report import style
from biasvar.report.figures import revision
from tests.report.made_claims import answers, write_claims_run
from tests.report.seen import cut_texts, drawn

ROWS, TEST, TAU = 800, 40, 2.0
NAMES = ["cat", "dog", "ship", "truck"]
LR = {
    "loss": "label_revision", "plays": "revision", "teacher": "main", "temperature": TAU, "label": "LR",
    "revision": {"eta": 0.7, "rows": "all"},
}  # fmt: skip


def make(directory: Path, copies: int = 1, classes: int = 4, **changed: Any) -> tuple[Run, np.ndarray, np.ndarray]:
    """A run whose teachers have answered all rows; labels (N,) and logits (T, N, C) of the students' rows."""
    right = {"ce": answers(0.7, 4, TEST, seed=0), "lr": answers(0.8, 4, TEST, seed=1)}
    run = write_claims_run(
        directory, right, arms={"lr": LR | changed}, teachers={"main": {"copies": copies}}, claims={},
        soft_labels={"any": np.full((ROWS, classes), 1 / classes)}, num_classes=classes,
        class_names=NAMES if classes == 4 else None,
    )  # fmt: skip
    labels = run.samples["label"].to_numpy()
    logits = np.random.default_rng(3).normal(size=(copies, TEST + ROWS, classes)) + 2.0 * np.eye(classes)[labels]
    stored = logits[0] if copies == 1 else logits
    writer = RunWriter(directory, manifest=run.manifest, resume=True)
    writer.teacher("main", run.samples["sample_id"].to_numpy(), stored, np.zeros(stored.shape[:-1], dtype=bool))
    return open_run(directory), labels[TEST:], logits[:, TEST:].astype(np.float32).astype(np.float64)


def by_hand(logits: np.ndarray, label: int, eta: float, rows: str) -> tuple[bool, np.ndarray, np.ndarray]:
    """Whether one answer (C,) is wrong, and its soft label before and after revision, by the paper's formula."""
    before = np.exp(logits / TAU) / np.exp(logits / TAU).sum()
    wrong = bool(before.argmax() != label)
    beta = eta / (before.max() - before[label] + 1)
    after = beta * before
    after[label] += 1 - beta
    return wrong, before, after if wrong or rows == "all" else before


@pytest.mark.parametrize(("copies", "rows"), [(1, "all"), (3, "wrong")])
def test_means_and_errors_are_those_of_single_answers(copies: int, rows: str, tmp_path: Path) -> None:
    run, labels, logits = make(tmp_path / "run", copies, revision={"eta": 0.7, "rows": rows})
    frame = revision.collect([run])
    cells: dict[tuple[str, int], dict[int, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for network in logits:
        for row, (one, label) in enumerate(zip(network, labels, strict=True)):
            wrong, before, after = by_hand(one, int(label), 0.7, rows)
            cell = cells.setdefault(("wrong" if wrong else "right", int(label)), {})
            cell.setdefault(row, []).append((before, after))
    assert len(cells) == 8
    for (group, label), by_row in cells.items():
        part = frame[(frame["group"] == group) & (frame["true_class"] == label)]
        for place, series in enumerate(("teacher", "revised")):
            sums = np.array([np.sum([pair[place] for pair in pairs], axis=0) for pairs in by_row.values()])
            counts = np.array([len(pairs) for pairs in by_row.values()])
            mean = sums.sum(axis=0) / counts.sum()
            shown = part[part["series"] == series].set_index("class")
            assert shown["probability"].to_numpy() == pytest.approx(mean, abs=1e-6)
            assert set(shown["n_answers"]) == {counts.sum()}
            assert set(shown["n_rows"]) == {len(counts)}
            # By leaving out one row after another; the linear part of a ratio is the same up to its curvature.
            total, number = sums.sum(axis=0), counts.sum()
            left_out = (total - sums) / (number - counts)[:, None]
            m = len(counts)
            error = np.sqrt((m - 1) / m * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
            assert shown["stderr"].to_numpy() == pytest.approx(error, rel=0.03 if copies > 1 else 1e-6)
            half = stats.t.ppf(0.975, m - 1) * shown["stderr"]
            assert (shown["high"] - shown["probability"]).to_numpy() == pytest.approx(half.to_numpy())
        truth = part[part["series"] == "label"].set_index("class")["probability"]
        assert truth.to_dict() == {one: float(one == label) for one in range(4)}
    assert frame["n_answers"].where(frame["series"] == "label").where(frame["class"] == 0).sum() == copies * ROWS


def test_the_truth_leads_by_one_less_eta_after_revision(tmp_path: Path) -> None:
    run, labels, logits = make(tmp_path / "run")
    frame = revision.collect([run])
    answers_by_hand = [by_hand(one, int(label), 0.7, "all") for one, label in zip(logits[0], labels, strict=True)]
    lead = [before[label] - before.max() for (wrong, before, _), label in zip(answers_by_hand, labels, strict=True)
            if wrong]  # fmt: skip
    assert set(frame["lead_after"].round(9)) == {0.3}
    assert frame["lead_before"].iloc[0] == pytest.approx(np.mean(lead), abs=1e-6)
    caption = revision.caption(frame, [run])
    assert f"Of {ROWS} answers {len(lead)} are wrong" in caption
    assert "+0.30 after it" in caption
    assert "LR; teacher “main” (1 network) at temperature 2, all of them revised with η 0.7." in caption


def test_a_panel_a_class_and_of_few_classes_what_the_teacher_has_right_too(tmp_path: Path) -> None:
    run, _, _ = make(tmp_path / "few")
    frame = revision.collect([run])
    with style.context():
        drawing = revision.draw(frame)
        style.lay_out(drawing)
    panels = [ax for ax in drawing.get_axes() if ax.has_data()]
    counts = frame.drop_duplicates(["group", "true_class"])
    expected = [f"{name}\nn\u00a0=\u00a0{n}" for name, n in zip(counts["true_name"], counts["n_answers"], strict=True)]
    assert [ax.get_title(loc="left") for ax in panels] == expected
    assert [ax.get_ylabel() for ax in panels[::4]] == ["teacher wrong", "teacher right"]
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == NAMES
    run, _, _ = make(tmp_path / "many", classes=7)
    with style.context():
        drawing = revision.draw(revision.collect([run]))
    assert sum(ax.has_data() for ax in drawing.get_axes()) == 7


def test_ten_classes_fit_a_telephone(tmp_path: Path) -> None:
    run, _, _ = make(tmp_path, classes=10)
    drawing = drawn("revision", revision.collect([run]), narrow=True)
    assert not cut_texts(drawing)
    assert 100 * drawing.get_figheight() < 1400  # pixels on the page


def test_what_cannot_be_drawn_is_not(tmp_path: Path) -> None:
    assert revision.collect([make(tmp_path / "plain", revision=None)[0]]).empty
    assert revision.collect([make(tmp_path / "many", classes=13)[0]]).empty
    untold, _, _ = make(tmp_path / "untold")
    (untold.directory / "teachers" / "main.parquet").unlink()
    assert revision.collect([open_run(untold.directory)]).empty
    perfect, labels, _ = make(tmp_path / "perfect")
    writer = RunWriter(perfect.directory, manifest=perfect.manifest, resume=True)
    ids = perfect.samples["sample_id"].to_numpy()
    known = 9.0 * np.eye(4)[perfect.samples["label"].to_numpy()]
    (perfect.directory / "teachers" / "main.parquet").unlink()
    writer.teacher("main", ids, known, np.zeros(len(ids), dtype=bool))
    frame = revision.collect([open_run(perfect.directory)])
    assert set(frame.loc[frame["group"] == "wrong", "n_answers"]) == {0}
    with style.context():
        revision.draw(frame)
    assert f"Of {len(labels)} answers 0 are wrong. Lines" in revision.caption(frame, [perfect])
