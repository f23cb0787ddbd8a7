"""Accuracy against seconds: the numbers of the run, and a picture with a name at each point."""

import math

import numpy as np
import pytest
from scipy import stats

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import costs
from biasvar.report.figures.costs import FIGURE


def test_accuracy_and_seconds_are_the_runs(study_run: Run):
    frame = FIGURE.collect([study_run])
    assert frame["arm"].tolist() == ["ce", "ls", "kd_t2", "kd", "wsl", "kd_own", "kd_disjoint"]
    last = study_run.metrics.query("split == 'test' and view == 'clean' and epoch == 4")
    for row in frame.to_dict("records"):
        values = last.loc[last["arm"] == row["arm"], "accuracy"]
        half = stats.t.ppf(0.975, 3) * stats.sem(values)
        assert row["accuracy"] == pytest.approx(values.mean())
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
            (values.mean() - half, values.mean() + half)
        )
        assert row["seconds"] == pytest.approx(sum(study_run.arm(row["arm"])["group_processor_seconds"]) / 4)


def test_points_lines_and_names(study_run: Run):
    frame = FIGURE.collect([study_run])
    with style.context():
        drawing = FIGURE.draw(frame)
    (ax,) = drawing.axes
    assert ax.get_xscale() == "log"
    assert {text.get_text() for text in ax.texts} >= set(frame["label"])
    low, high = ax.get_xlim()
    dearest = (frame["seconds"] + frame["teacher_seconds"].fillna(0)).max()
    assert low < frame["seconds"].min()
    assert high > dearest
    dotted = [np.array(line.get_xydata()) for line in ax.lines if line.get_linestyle() == ":"]
    taught = frame.dropna(subset=["teacher_seconds"])
    assert ax.get_xlabel() == "seconds of training and recording on the processor, one replica"
    assert len(dotted) == len(taught) == 5
    assert sorted(line[1, 0] for line in dotted) == pytest.approx(sorted(taught["seconds"] + taught["teacher_seconds"]))


def test_many_arms_have_rows_on_a_narrow_screen(study_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "MOST_NAMES", 3)
    frame = FIGURE.collect([study_run])
    with style.context(), style.for_narrow_screens():
        drawing = FIGURE.draw(frame)
    accuracy, seconds = drawing.axes
    best_first = frame.sort_values("accuracy", ascending=False, kind="stable")
    assert [text.get_text() for text in accuracy.texts] == list(best_first["label"])
    assert seconds.get_xscale() == "log"
    assert accuracy.get_ylim() == seconds.get_ylim()


def test_a_search_lengthens_the_line_of_the_arm_that_takes_it_over(study_run: Run):
    frame = FIGURE.collect([study_run])
    searched = frame.assign(search_seconds=np.where(frame["arm"] == "kd", 3.0, np.nan))
    searched.attrs = frame.attrs
    with style.context():
        ends = [
            max(line.get_xdata()[1] for line in FIGURE.draw(one).axes[0].lines if line.get_linestyle() == ":")
            for one in (frame, searched)
        ]
    kd = frame.set_index("arm").loc["kd"]
    assert ends == pytest.approx([ends[0], max(ends[0], kd["seconds"] + kd["teacher_seconds"] + 3.0)])
    assert "search of its layer weights" in FIGURE.caption(searched, [study_run])
    assert "search of its layer weights" not in FIGURE.caption(frame, [study_run])


def test_the_caption_says_machine_search_and_teachers(study_run: Run):
    caption = FIGURE.caption(FIGURE.collect([study_run]), [study_run])
    assert "Seconds are those of the processor that one replica took" in caption
    assert "cpu, 1 thread for each group of replicas" in caption
    assert "Every family of losses was tried at 2 learning rates on 2 replicas, on validation rows." in caption
    assert "Gradient steps of a replica: 24." in caption
    assert "(Teacher on all rows, 1 network of" in caption
    assert "own, 4 networks of" in caption


def test_without_seconds_there_is_nothing(study_run: Run):
    untimed_arm = {"seconds": None, "group_processor_seconds": None}
    arms = {name: entry | untimed_arm for name, entry in study_run.manifest["arms"].items()}
    assert FIGURE.collect([Run(study_run.directory, {**study_run.manifest, "arms": arms})]).empty
    untimed_teacher = {"seconds": None, "processor_seconds": None}
    teachers = {name: entry | untimed_teacher for name, entry in study_run.manifest["teachers"].items()}
    untimed = Run(study_run.directory, {**study_run.manifest, "teachers": teachers})
    frame = FIGURE.collect([untimed])
    assert all(math.isnan(value) for value in frame["teacher_seconds"])
    with style.context():
        FIGURE.draw(frame)
    assert "dotted" not in FIGURE.caption(frame, [untimed])
