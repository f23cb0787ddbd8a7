"""Figures 1, 2, 4 and 11 hold the numbers of the run, by other means; and how arms look."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.records import Run
from biasvar.records.arms import ArmEntry
from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import MOST_LISTED, listed_arms, reference_arms
from biasvar.report.figures import FIGURES, load
from biasvar.report.marks import scales
from biasvar.report.statistics import stored
from biasvar.report.text.captions import conditions
from biasvar.report.text.claims import claim_groups
from biasvar.report.text.numbers import signed
from tests.report import seen


def one(frame: pd.DataFrame, **keys: object) -> pd.Series:
    for key, value in keys.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_bias_and_variance_by_the_definition(study_run: Run) -> None:
    frame = load("bias_variance").collect([study_run])
    assert frame["arm"].unique().tolist() == [arm for arm in study_run.arms if arm != "kd_other"]
    found = study_run.predictions("kd")
    means = found.mean_log_probs  # four replicas, one a group

    def totals(replicas: list[int]) -> tuple[float, float]:
        mean = means[replicas].mean(axis=0)
        variance = -np.log(np.exp(mean).sum(axis=1))
        bias = -mean[np.arange(len(mean)), found.labels] - variance
        missing = variance / (len(replicas) - 1)
        return float((bias - missing).mean()), float((variance + missing).mean())

    everyone = [0, 1, 2, 3]
    deleted = np.array([totals([r for r in everyone if r != left]) for left in everyone])
    errors = np.sqrt(3 / 4 * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
    for term, value, error in zip(("bias", "variance"), totals(everyone), errors, strict=True):
        row = one(frame, arm="kd", term=term)
        assert row["estimate"] == pytest.approx(value)
        assert row["stderr_replicas"] == pytest.approx(error)
        assert row["high"] - row["estimate"] == pytest.approx(stats.t.ppf(0.975, 3) * error)
        assert (row["n_replicas"], row["n_samples"], row["regime"]) == (4, 97, "fixed, all training rows")


def test_accuracy_and_paired_differences(study_run: Run) -> None:
    frame = load("accuracy").collect([study_run])
    last = study_run.metrics.query("split == 'test' and view == 'clean' and epoch == 4")
    values = {arm: part.sort_values("replica") for arm, part in last.groupby("arm")}
    assert reference_arms(study_run) == {"cross-entropy": "ce", "KD": "kd"}  # and not kd_t2, which comes first
    for metric in ("accuracy", "nll", "ece"):
        level = one(frame, arm="wsl", metric=metric, against="")
        assert level["estimate"] == pytest.approx(values["wsl"][metric].mean())
        assert level["stderr"] == pytest.approx(stats.sem(values["wsl"][metric]))
        for against, control in (("cross-entropy", "ce"), ("KD", "kd")):
            row = one(frame, arm="wsl", metric=metric, against=against)
            test = stats.ttest_rel(values["wsl"][metric], values[control][metric])
            interval = test.confidence_interval(0.95)
            assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert frame[(frame["arm"] == "ce") & (frame["against"] == "cross-entropy")].empty


def test_shares_are_counted_from_the_record(study_run: Run) -> None:
    frame = load("shares").collect([study_run])
    assert frame["arm"].unique().tolist() == ["kd_t2", "kd", "wsl"]
    record = study_run.records(
        ["replica", "opposing", "bias_gradient", "variance_gradient"],
        arm="kd", split="train", view="augmented", epochs=3,
    )  # fmt: skip
    opposing = record["opposing"].astype(float).groupby(record["replica"]).mean()
    larger = record["variance_gradient"].abs() > record["bias_gradient"].abs()
    row = one(frame, arm="kd", epoch=3, criterion="opposing")
    assert row["share"] == pytest.approx(opposing.mean())
    assert row["stderr"] == pytest.approx(opposing.std() / 2)
    assert (row["n"], row["n_replicas"]) == (120, 4)
    magnitude = one(frame, arm="kd", epoch=3, criterion="magnitude")
    assert magnitude["share"] == pytest.approx(larger.groupby(record["replica"]).mean().mean())


def test_curves_are_the_metrics(study_run: Run) -> None:
    frame = load("curves").collect([study_run])
    assert frame["arm"].unique().tolist() == ["ce", "ls", "kd_t2", "kd", "wsl"]
    metrics = study_run.metrics.query("arm == 'ls' and split == 'validation' and epoch == 2")
    row = one(frame, arm="ls", split="validation", metric="nll", epoch=2)
    assert row["value"] == pytest.approx(metrics["nll"].mean())
    assert row["n"] == 60
    training = frame[(frame["arm"] == "ls") & (frame["split"] == "train")]
    assert training["epoch"].tolist() == [1, 2, 3, 4]


def test_two_epochs_are_no_curve(study_run: Run) -> None:
    ends = stored.metrics(study_run).query("epoch in (1, 4)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "metrics", lambda run: ends)
        assert load("curves").collect([study_run]).empty


def test_accuracy_above_one_is_not_on_the_axis(study_run: Run) -> None:
    figure = load("curves")
    frame = figure.collect([study_run])
    frame.loc[frame["metric"] == "accuracy", ["value", "low", "high"]] = [1.0, 0.9, 1.1]
    with style.context():
        drawing = figure.draw(frame)
    tops = [ax.get_ylim()[1] for ax in drawing.axes if ax.get_yscale() == "linear" and ax.lines]
    assert len(tops) == frame["arm"].nunique()
    assert max(tops) < 1.03  # a line at 1 is whole


def test_a_grid_is_listed_where_little_else_is() -> None:
    def roles(*names: str) -> Any:
        said = {f"arm{i}": {"role": name} for i, name in enumerate(names)}
        return SimpleNamespace(arms=list(said), entry=lambda name: ArmEntry.read(name, said[name]))

    assert listed_arms(roles("main", "grid", "teacher sweep", "grid")) == ["arm0", "arm1", "arm3"]
    assert listed_arms(roles("main", "control", "grid")) == ["arm0", "arm1"]
    assert listed_arms(roles("main", *["grid"] * (MOST_LISTED - 1)))[1:]
    assert listed_arms(roles("main", *["grid"] * MOST_LISTED)) == ["arm0"]


def test_many_failures_are_told_in_the_caption_alone(study_run: Run) -> None:
    frame = load("bias_variance").collect([study_run])
    frame["failed"] = 4
    assert len(drawn.failure_note(frame)) > drawn.LONGEST_NOTE
    assert drawn.regime_entries(frame)[-1].get_label().endswith("(see below)")
    assert drawn.failure_note(frame) in load("bias_variance").caption(frame, [study_run])


@pytest.mark.parametrize("name", ["bias_variance", "accuracy", "shares", "curves"])
def test_what_is_drawn_is_the_frame(study_run: Run, name: str) -> None:
    figure = load(name)
    frame = figure.collect([study_run])
    with style.context():
        drawing = figure.draw(frame)
    if name in ("bias_variance", "accuracy"):
        dots = np.concatenate([dots.get_offsets() for ax in drawing.axes for dots in ax.collections])
        shown = frame[frame["against"] == ""] if name == "accuracy" else frame
        scale = shown["metric"].map({"accuracy": 100, "nll": 1, "ece": 100}) if name == "accuracy" else 1
        missing = set((scale * shown["estimate"]).round(7)) - set(dots[:, 0].astype(float).round(7))
    else:
        points = np.concatenate([line.get_xydata() for ax in drawing.axes for line in ax.get_lines()])
        wanted = frame["value"] if name == "curves" else frame.loc[frame["criterion"] == "opposing", "share"]
        missing = set(wanted.round(9)) - set(points[:, 1].round(9))
    if name == "shares":  # the other readings as a span from their least to their most
        spans = [paths.vertices for ax in drawing.axes for band in ax.collections for paths in band.get_paths()]
        ends = frame.groupby(["arm", "epoch"])["share"].agg(["min", "max"]).to_numpy().ravel()
        missing |= set(ends.round(9)) - set(np.concatenate(spans)[:, 1].round(9))
        assert "(%)" in drawing.axes[0].get_ylabel()
        assert [tick.get_text() for tick in drawing.axes[0].get_yticklabels()] == ["0", "50", "100"]
    assert not missing
    sizes = [text.get_fontsize() for ax in drawing.axes for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]]
    assert min(sizes) >= 9
    caption = figure.caption(frame, [study_run])
    assert "n = " in caption
    assert conditions([study_run]) in caption


def test_an_arm_at_chance_does_not_set_the_scale(study_run: Run) -> None:
    figure = load("bias_variance")
    frame = figure.collect([study_run])
    frame.loc[frame["arm"] == "ls", ["estimate", "low", "high"]] = 50.0
    scale = scales.limits(frame)[1]
    frame.loc[frame["arm"] == "ls", "failed"] = 4
    assert scale > 50
    assert scales.limits(frame)[1] < 10
    with style.context():
        drawing = figure.draw(frame)
    assert "50" in [text.get_text() for ax in drawing.axes for text in ax.texts]
    assert "LS †" in [label.get_text() for label in drawing.axes[0].get_yticklabels()]
    assert "LS, 4 of 4" in figure.caption(frame, [study_run])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_copes_with_little(name: str, recorder_run: Run, imported_run: Run, study_run: Run) -> None:
    figure = load(name)
    assert figure.name == name
    for runs in ([recorder_run], [imported_run], [imported_run, study_run, recorder_run]):
        frame = figure.collect(runs)
        if len(frame):
            assert "run" in frame
            with style.context():
                figure.draw(frame)
            assert figure.caption(frame, runs)


def test_an_arm_looks_the_same_everywhere(study_run: Run, imported_run: Run) -> None:
    alone, together = style.arm_styles(study_run), style.arm_styles([study_run, imported_run])
    assert all(together[arm] == look for arm, look in alone.items())
    main = [arm for arm in study_run.arms if study_run.arm(arm)["role"] == "main"]
    assert len({alone[arm].color for arm in main}) == len(main)
    assert alone["kd_own"].marker != alone["kd"].marker
    assert style.arm_colors(study_run) == {arm: look.color for arm, look in alone.items()}
    assert style.arm_colors(["a", "b"])["a"] != style.arm_colors(["a", "b"])["b"]
    bare = pd.DataFrame({"arm": ["x", "y"]})
    assert list(style.styles_of(bare)) == ["x", "y"]


def test_places_of_a_layout_do_not_hold_digits_that_differ_between_processes() -> None:
    with style.context():
        figure = style.new_figure(height=5.0)
        upper, lower = figure.subfigures(2, 1)
        title, ax = upper.suptitle("Above"), lower.subplots()
        ax.set_ylabel("loss")
        style.lay_out(figure)
    places = [*title.get_position(), *ax.get_position().extents, *upper.bbox_relative.extents]
    assert places == [round(float(place), 9) for place in places]
    assert 0.05 < ax.get_position().x0 < 0.2  # the layout itself stands


def test_the_cache_reads_once_and_says_none_for_nothing(study_run: Run, recorder_run: Run) -> None:
    assert stored.terms(study_run, "kd") is stored.terms(study_run, "kd")
    assert stored.decomposition(recorder_run, "kd") is None
    assert stored.records(recorder_run, "kd", "test", "clean", None, ("label",)) is None
    assert stored.records(recorder_run, "kd", "train", "augmented", (99,), ("label",)) is None
    last = stored.records(recorder_run, "kd", "train", "augmented", None, ("label",))
    assert last is not None
    assert set(last["epoch"]) == {3}


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        ({"kind": "subsample", "rows": 30, "pool": 120}, "holds about 75 % of that over fresh rows"),
        ({"kind": "disjoint", "rows": 30}, "30 rows of its own, disjoint"),
        ({"kind": "bootstrap", "pool": 1200}, "a bootstrap of the 1,200 training rows"),
        ({"kind": "seed_only"}, "differ in initial weights and batch order only"),
        ({}, "2 replicas. Data"),
    ],
)
def test_captions_say_what_differs_between_replicas(recorder_run: Run, draw: dict, words: str) -> None:
    manifest = {**recorder_run.manifest, "draw": draw, "data": {"note": "made up"}}
    assert words in conditions([Run(recorder_run.directory, manifest)])


def test_numbers_show_two_digits_of_their_error() -> None:
    row = {
        "effect": -0.046812, "low": -0.0512, "high": -0.0424, "stderr": 0.0021, "threshold": -0.00591, "level": 0.99,
        "direction": "less", "unit": "nats", "n": 16.0, "verdict": "holds", "regime": "per replica", "test": "t",
        "detail": float("nan"), "said": "holds with this teacher", "low_replicas": -0.0493, "high_replicas": -0.0443,
        "stderr_samples": 0.002, "n_replicas": 16,
        "n_samples": 500, "n_teachers": float("nan"), "designs_tried": float("nan"), "arms": "a, b", "overall": "holds",
    }  # fmt: skip
    found = claim_groups(pd.DataFrame([{**row, "run": "r", "id": "W1", "claim": "c", "source": "s"}]))
    shown = found[0]["rows"][0]
    assert (shown["effect"], shown["interval"], shown["needs"]) == ("−0.0468", "−0.0512 to −0.0424", "below −0.00591")
    assert (shown["n"], shown["level"], shown["detail"]) == ("16 replicas, 500 rows", "99 %", "")
    assert (shown["said"], shown["alone"]) == ("with this teacher", "−0.0493 to −0.0443")


def test_zero_has_no_sign() -> None:
    assert [signed(value, 2) for value in (-0.001, 0.0, 0.004, -0.006, 0.25)] == [
        "0.00", "0.00", "0.00", "−0.01", "+0.25",
    ]  # fmt: skip


def test_the_intervals_are_said_not_to_be_adjusted(study_run: Run) -> None:
    figure = load("accuracy")
    frame = figure.collect([study_run])
    intervals = len(frame[frame["low"].notna() & (frame["against"] != "KD")])  # those to KD are in the CSV alone
    assert f"The {intervals} intervals are not adjusted for their number" in figure.caption(frame, [study_run])


def test_no_interval_is_spoken_of_where_none_is_drawn(study_run: Run) -> None:
    figure = load("bias_variance")
    frame = figure.collect([study_run])
    without = frame.assign(low=np.nan, high=np.nan)
    assert "95 %" in seen.texts(seen.drawn("bias_variance", frame))
    assert "95 %" in figure.caption(frame, [study_run])
    assert "95 %" not in seen.texts(seen.drawn("bias_variance", without))
    assert "95 %" not in figure.caption(without, [study_run])
