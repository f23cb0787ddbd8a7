"""The plane of all methods: changes and intervals from single replicas, by hand, and a picture that can be read."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import methods
from biasvar.report.figures.methods import FIGURE
from tests.report.made import corrected_terms, make_run


def by_hand(made, kept):
    """Mean change of corrected bias and variance from ce to kd over the replicas that are kept, and by row."""
    rows = []
    for i, label in enumerate(made.labels):
        kd, ce = (corrected_terms(made.log_probs[arm][kept, i], label) for arm in ("kd", "ce"))
        rows.append(np.subtract(kd, ce))
    return np.mean(rows, axis=0), np.array(rows)


def test_changes_and_both_intervals(tmp_path):
    made = make_run(tmp_path / "run", replicas=6)
    frame = FIGURE.collect([made.run])
    assert frame["term"].tolist() == ["bias", "variance"]
    replicas = np.arange(6)
    values, rows = by_hand(made, replicas)
    deleted = np.array([by_hand(made, np.delete(replicas, r))[0] for r in replicas])
    over_replicas = np.sqrt(5 / 6 * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
    over_rows = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    for place, row in enumerate(frame.to_dict("records")):
        assert row["arm"] == "kd"
        assert row["control"] == "ce"
        assert row["estimate"] == pytest.approx(values[place])
        assert row["stderr_replicas"] == pytest.approx(over_replicas[place])
        assert row["stderr_samples"] == pytest.approx(over_rows[place])
        assert row["stderr"] == pytest.approx(np.hypot(over_replicas[place], over_rows[place]))
        half = stats.t.ppf(0.975, 5) * over_replicas[place]
        assert (row["low_replicas"], row["high_replicas"]) == pytest.approx(
            (values[place] - half, values[place] + half)
        )
        assert row["high"] - row["low"] >= 2 * half
        assert (row["n_replicas"], row["n_samples"]) == (6, len(made.labels))


def test_arms_that_failed_or_are_no_method_are_left_out(study_run: Run):
    frame = FIGURE.collect([study_run])
    assert frame["arm"].unique().tolist() == ["ls", "kd_t2", "kd", "wsl", "kd_own", "kd_disjoint"]
    entry = study_run.arm("wsl") | {"failed_replicas": [{"replica": 1, "reason": "at chance"}]}
    broken = Run(study_run.directory, study_run.manifest | {"arms": study_run.manifest["arms"] | {"wsl": entry}})
    assert "wsl" not in set(FIGURE.collect([broken])["arm"])
    assert "at chance or not finite: WSL" in FIGURE.caption(FIGURE.collect([broken]), [broken])
    entry = study_run.arm("ce") | {"failed_replicas": [{"replica": 1, "reason": "at chance"}]}
    nothing = Run(study_run.directory, study_run.manifest | {"arms": study_run.manifest["arms"] | {"ce": entry}})
    assert FIGURE.collect([nothing]).empty


def test_the_picture_names_every_point_and_says_the_quadrants(study_run: Run):
    frame = FIGURE.collect([study_run])
    with style.context():
        drawing = FIGURE.draw(frame)
    (ax,) = drawing.axes
    said = [text.get_text() for text in ax.texts]
    assert {"CE", "LS", "KD 2", "KD", "WSL", "KD, own", "KD, disjoint"} <= set(said)
    assert {"less bias,\nless variance", "more bias,\nmore variance"} <= set(said)
    assert any(text.strip(" −+").replace(".", "").isdigit() for text in said)  # a change of loss
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("change of bias (nats)", "change of variance (nats)")


def test_lines_of_equal_loss_are_where_bias_and_variance_add_up_to_it(study_run: Run):
    with style.context():
        drawing = FIGURE.draw(FIGURE.collect([study_run]))
        levels = methods._levels(drawing.axes[0])
    lines = [np.array(line.get_xydata()) for line in drawing.axes[0].lines if line.get_zorder() == 0]
    assert len(lines) == len(levels)
    for line, level in zip(lines, levels, strict=True):
        assert line.sum(axis=1) == pytest.approx(np.full(2, level))
    assert 0.0 in levels


def test_wide_intervals_do_not_shrink_the_points(study_run: Run):
    frame = FIGURE.collect([study_run])
    with style.context():
        usual = FIGURE.draw(frame).axes[0].get_xlim()
    wide = frame.assign(low=-50.0, high=50.0)
    wide.attrs = frame.attrs
    with style.context():
        drawing = FIGURE.draw(wide)
    points = frame.loc[frame["term"] == "bias", "estimate"]
    span = max(points.max(), 0) - min(points.min(), 0)
    low, high = drawing.axes[0].get_xlim()
    assert high - low < 1.2 * (1 + 2 * methods.BEYOND) * span + 1e-9
    assert low < usual[0] + span


def test_several_runs_have_a_plane_each(study_run: Run, tmp_path):
    made = make_run(tmp_path / "run", replicas=4)
    frame = FIGURE.collect([study_run, made.run])
    assert isinstance(frame, pd.DataFrame)
    with style.context():
        assert len(FIGURE.draw(frame).axes) == 2
