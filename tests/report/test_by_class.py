"""Bias and variance by true class: recomputed from single replicas, and readable with many classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from biasvar.records import RunWriter, open_run
from biasvar.report import style
from biasvar.report.figures import by_class
from biasvar.report.figures.by_class import FIGURE
from tests.report.made import CLASSES, corrected_terms, grouped, log_softmax, make_run


def by_hand(log_probs, labels, name):
    """Mean corrected bias and variance of the rows of one class, with those without each replica."""
    mine = np.flatnonzero(labels == name)

    def means(kept):
        return np.mean([corrected_terms(log_probs[kept, i], name) for i in mine], axis=0)

    replicas = np.arange(len(log_probs))
    return means(replicas), np.array([means(np.delete(replicas, r)) for r in replicas])


def test_every_class_has_the_terms_of_its_rows(tmp_path):
    made = make_run(tmp_path / "run", replicas=6)
    frame = FIGURE.collect([made.run])
    assert len(frame) == 2 * CLASSES * 2
    for arm in ("ce", "kd"):
        for name in range(CLASSES):
            values, deleted = by_hand(made.log_probs[arm], made.labels, name)
            mine = np.flatnonzero(made.labels == name)
            spread = np.std([corrected_terms(made.log_probs[arm][:, i], name) for i in mine], axis=0, ddof=1)
            stderr = np.sqrt(5 / 6 * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
            for place, term in enumerate(("bias", "variance")):
                chosen = (frame["arm"] == arm) & (frame["class"] == name) & (frame["term"] == term)
                (row,) = frame[chosen].to_dict("records")
                assert row["estimate"] == pytest.approx(values[place])
                assert row["stderr_replicas"] == pytest.approx(stderr[place])
                assert row["high"] - row["low"] == pytest.approx(2 * student_t.ppf(0.975, 5) * stderr[place])
                over_rows = spread[place] / np.sqrt((made.labels == name).sum())
                assert row["stderr_crossed"] == pytest.approx(np.hypot(stderr[place], over_rows))
                assert row["low_crossed"] <= row["low"] < row["high"] <= row["high_crossed"]
                assert (row["n_samples"], row["n_replicas"]) == ((made.labels == name).sum(), 6)
    with style.context():
        drawing = FIGURE.draw(frame)
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["0", "1", "2", "3"]
    said = [text.get_text() for text in drawing.legends[0].get_texts()]
    assert said[-2:] == ["95 % over replicas, on these test rows", "95 % over replicas and test rows"]
    widths = [float(bars.get_linewidth()[0]) for bars in drawing.axes[0].collections[:2]]
    assert widths == [by_class.THICK, by_class.THIN]
    heights = {float(y) for ax in drawing.axes for _, y in ax.collections[-1].get_offsets()}
    assert len(heights) == 2 * CLASSES  # the arms of a class do not cover each other
    counts = np.bincount(made.labels)
    assert f"n = {counts.min()} to {counts.max()} a class" in FIGURE.caption(frame, [made.run])


def test_of_many_classes_those_with_most_are_drawn_and_all_are_in_the_frame(tmp_path):
    classes, rng = 130, np.random.default_rng(0)
    labels = np.arange(2 * classes) % classes
    log_probs = log_softmax(rng.normal(size=(4, len(labels), classes)) + 4 * np.eye(classes)[labels])
    log_probs[:, labels == 129] = log_softmax(np.zeros((4, 2, classes)) + 9 * np.eye(classes)[0])  # all wrong
    writer = RunWriter(tmp_path, manifest={"kind": "study", "study_hash": "m", "num_classes": classes, "name": "many"})
    writer.samples(np.arange(len(labels)), labels, np.repeat("test", len(labels)), [None] * len(labels))
    writer.update_arm("ce", loss="cross_entropy", role="main", regime="none", replicas=4, label="CE")
    counts, means = grouped(log_probs, np.ones((4, len(labels)), bool), 4)
    writer.predictions("ce", "test", "all", 1, 0, np.arange(len(labels)), counts, means)
    runs = [open_run(tmp_path)]
    frame = FIGURE.collect(runs)
    assert frame["class"].nunique() == classes
    shown = by_class._shown(frame)
    assert shown["class"].nunique() == 43
    sums = frame.groupby("class")["estimate"].sum()
    assert 129 in set(shown["class"])
    assert sums[sorted(set(shown["class"]))].min() > sums[sorted(set(frame["class"]) - set(shown["class"]))].max()
    assert "the 43 of 130 classes" in FIGURE.caption(frame, runs)


def test_a_run_without_held_out_predictions_has_none(recorder_run):
    frame = FIGURE.collect([recorder_run])
    assert isinstance(frame, pd.DataFrame)
    assert frame.empty
