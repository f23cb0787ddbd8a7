"""The plane of all methods: changes and intervals from single replicas, by hand, and a picture that can be read."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from biasvar.records import Run, open_run
from biasvar.report import style
from biasvar.report.figures import accuracy, directions, methods
from biasvar.report.figures.methods import FIGURE
from biasvar.report.marks import arrows
from biasvar.report.text.description import paragraph
from tests.report.made import corrected_terms, make_run
from tests.report.seen import intervals


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


def test_an_arm_of_another_network_is_compared_with_cross_entropy_of_that_network(study_run: Run, tmp_path):
    shutil.copytree(study_run.directory, tmp_path / "run")
    big = {"student": {"model": "mlp", "hidden": [99]}}
    plain = {"loss": "cross_entropy", "plays": "baseline", "smoothing": None}
    for name, read, write in (
        ("manifest.json", json.loads, json.dumps),
        ("study.yaml", yaml.safe_load, yaml.safe_dump),
    ):
        whole = read((tmp_path / "run" / name).read_text())
        whole["arms"]["ls"] |= plain | big
        whole["arms"]["kd_own"] |= big
        (tmp_path / "run" / name).write_text(write(whole))
    run = open_run(tmp_path / "run")
    frame = FIGURE.collect([run])
    controls = frame.drop_duplicates("arm").set_index("arm")["control"]
    assert controls.drop("kd_own").unique().tolist() == ["ce"]
    assert controls["kd_own"] == "ls"
    assert "ls" not in controls
    named = f"{run.entry('ce').label} or {run.entry('ls').label}"
    assert f"(+, at the origin; {named}, whichever has the same network)" in FIGURE.caption(frame, [run])
    levels = accuracy.collect([run])
    differences = levels[levels["against"] != ""].drop_duplicates(["arm", "against"]).set_index(["arm", "against"])
    assert differences.loc["kd_own", "control"].to_dict() == {"cross-entropy": "ls"}
    assert differences.loc["wsl", "control"].to_dict() == {"cross-entropy": "ce", "KD": "kd"}
    assert "Gaps to cross-entropy of the same network" in accuracy.caption(levels, [run])
    assert directions.collect([run]).drop_duplicates("arm").set_index("arm")["control"]["kd_own"] == "ls"
    assert "or, in 2 of them, another" in paragraph(run)


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


def test_many_methods_have_rows_on_a_narrow_screen(study_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods, "MOST_NAMES", 3)
    frame = FIGURE.collect([study_run])
    with style.context(), style.for_narrow_screens():
        drawing = FIGURE.draw(frame)
    bias, variance = drawing.axes
    loss = frame.groupby("arm", sort=False)["estimate"].sum()  # bias and variance
    labels = frame.drop_duplicates("arm").set_index("arm")["label"]
    said = [f"{labels[arm]}: loss {change:+.3f}".replace("-", "−") for arm, change in loss.items()]
    assert [text.get_text() for text in bias.texts] == said
    assert not variance.texts
    assert bias.get_xlabel() == "change of bias from\ncross-entropy (nats)"
    assert variance.get_xlabel() == "change of variance from\ncross-entropy (nats)"
    assert intervals(drawing) == [2 * frame["arm"].nunique()] * 2  # over all that was drawn, and over replicas


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
    marks = [line.get_marker() for line in drawing.axes[0].lines if line.get_markersize() == arrows.HEAD]
    arms = frame["arm"].nunique()
    assert [marks.count(arrow) for arrow in "<>v^"] == [arms] * 4  # of the bars that are cut, at every edge


def test_a_corner_is_named_only_where_its_words_lie_on_its_side_of_the_lines(study_run: Run):
    frame = FIGURE.collect([study_run])
    moved = frame.assign(**{name: frame[name].abs() + 10.0 for name in ("estimate", "low", "high")})
    moved.attrs = frame.attrs  # every point far to the upper right of the origin, which then is a corner
    with style.context():
        (ax,) = FIGURE.draw(moved).axes
    corners = [text.get_text() for text in ax.texts if text.get_style() == "italic"]
    assert corners == ["more bias,\nmore variance"]


def test_several_runs_have_a_plane_each(study_run: Run, tmp_path):
    made = make_run(tmp_path / "run", replicas=4)
    frame = FIGURE.collect([study_run, made.run])
    assert isinstance(frame, pd.DataFrame)
    with style.context():
        assert len(FIGURE.draw(frame).axes) == 2
