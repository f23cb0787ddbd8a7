"""The figures on samples, teachers, gradients, weights, flags, indicators and images."""

import copy
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from scipy.stats import t as student_t

from biasvar.data import load_dataset
from biasvar.records import Run, RunWriter, import_predictions, open_run
from biasvar.report import style
from biasvar.report.figures import changes, flags, gallery, gradients, indicators, load, teachers, weights
from biasvar.report.statistics.changes import change, quadrants
from biasvar.report.statistics.flag_meaning import flag_auc
from biasvar.report.statistics.over_teachers import association, compared_arms, shares_and_accuracy
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY
from tests.report.made import make_run

NAMES = ("changes", "teachers", "gradients", "weights", "flags", "indicators", "gallery")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six replicas of a study in miniature, with five teachers that differ in one setting."""
    study = copy.deepcopy(TINY)
    main = {"hidden": [16], "epochs": 6}
    sweep = {"smooth": {"smoothing": 0.2}, "short": {"epochs": 1}, "narrow": {"hidden": [4]}, "few": {"rows": 60}}
    study["teachers"] |= {name: main | extra for name, extra in sweep.items()}
    wanted = ("ce", "kd", "wsl", "kd_scaled", "kd_random", "kd_own", "kd_disjoint")
    arms = {name: TINY["arms"][name] for name in wanted}
    arms |= {f"kd_{name}": {"loss": "distillation", "teacher": name, "role": "teacher sweep"} for name in sweep}
    study |= {"arms": arms, "replicas": 6, "reference_teacher": "main", "reference_temperature": 2}
    study["record"] = {"epochs": 2}
    study["schedule"] = {"epochs": 8, "batch_size": 15}  # enough that no arm stays at chance
    pairs = [{"treatment": arm, "control": "ce"} for arm in ("kd", "kd_disjoint", "kd_own")]
    study["claims"] = {"W6": pairs, "W5": [{"arms": ["kd", *(f"kd_{name}" for name in sweep)]}]}
    return run_study(resolve_study(study), tmp_path_factory.mktemp("tiny") / "run", device="cpu")


@pytest.fixture(scope="module")
def bare_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A recorder's run without a teacher, an import of one arm, an import of two, and a run with nothing in it."""
    folder = tmp_path_factory.mktemp("bare")
    rng = np.random.default_rng(0)
    writer = RunWriter(folder / "own", manifest={"kind": "recorder", "num_classes": 3, "name": "own"})
    floats = ("student_loss", "student_prob", "bias_gradient", "bias_gradient_norm", "loss_weight")
    columns = {name: rng.random(20) for name in floats}
    columns |= {"sample_id": np.tile(np.arange(10), 2), "replica": np.repeat([0, 1], 10), "label": np.tile([0, 1], 10)}
    columns |= {"student_prediction": np.zeros(20, dtype=int), "member": np.ones(20, dtype=bool)}
    writer.record("default", "train", "augmented", 1, 0, columns)
    labels = np.arange(30) % 3
    one = import_predictions(list(rng.normal(size=(4, 30, 3))), labels, directory=folder / "one")
    import_predictions(list(rng.normal(size=(4, 30, 3))), labels, directory=folder / "two", arm="ce")
    two = import_predictions(
        list(rng.normal(size=(4, 30, 3))), labels, directory=folder / "two", arm="kd", control="ce", resume=True
    )
    RunWriter(folder / "empty", manifest={"kind": "recorder", "num_classes": 3, "name": "empty"})
    return [open_run(folder / "own"), one, two, open_run(folder / "empty")]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_draws_one_run_and_two(name: str, run: Run, tmp_path: Path) -> None:
    figure = load(name)
    made = make_run(tmp_path / "made", samples=40).run
    for runs in ([run], [run, made]):
        frame = figure.collect(runs)
        assert not frame.empty
        assert frame["run"].isin([one.name for one in runs]).all()
        with style.context():
            drawing = figure.draw(frame)
        caption = figure.caption(frame, runs)
        assert "replicas" in caption
        assert "nan" not in caption
    style.save(drawing, tmp_path / "figure.png", "png")  # laying out two runs warns where parts do not fit
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_lacks_what_a_figure_needs_gives_no_rows(name: str, bare_runs: list[Run]) -> None:
    drawable = {"changes": "two", "gallery": "two"}.get(name)
    for run in bare_runs:
        frame = load(name).collect([run])
        if run.directory.name == drawable:
            with style.context():
                load(name).draw(frame)
        else:
            assert frame.empty
            assert "run" in frame.columns


def test_changes_hold_every_sample_drawn_and_every_share(run: Run) -> None:
    frame = changes.collect([run])
    found = change(run, "kd", "ce", split="train", membership="nonmember")
    assert found is not None
    part = frame[(frame["arm"] == "kd") & (frame["rows"] == "non-member")]
    samples = part[part["kind"] == "sample"]
    assert samples["sample_id"].tolist() == found.frame["sample_id"].tolist()
    assert samples["d_bias"].tolist() == found.frame["d_bias"].tolist()
    shares = part[part["kind"] == "quadrant"].set_index("quadrant")["share"]
    pd.testing.assert_series_equal(shares, quadrants(found).set_index("quadrant")["share"])
    median = part[part["kind"] == "median"].iloc[0]
    assert (median["d_bias"], median["d_variance"]) == (
        found.frame["d_bias"].median(),
        found.frame["d_variance"].median(),
    )
    mean = part[part["kind"] == "mean"].iloc[0]
    assert mean["d_variance"] == found.totals.variance.value
    assert "ce" not in set(frame["arm"])
    assert set(frame["rows"]) == {"held-out", "member", "non-member"}


def test_failed_arms_are_left_out_and_named(run: Run, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run.directory, copied)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["arms"]["wsl"]["failed_replicas"] = [{"replica": 2, "reason": "at chance"}]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    failed = open_run(copied)
    frame = changes.collect([failed])
    assert "wsl" not in set(frame["arm"])
    assert "Left out" in changes.caption(frame, [failed])
    assert "wsl" not in set(weights.collect([failed])["arm"])


def test_sweep_reads_shares_from_the_record(run: Run) -> None:
    arms = compared_arms(run)
    assert arms == ["kd", "kd_smooth", "kd_short", "kd_narrow", "kd_few"]
    frame = shares_and_accuracy(run, arms)
    records = run.records(["replica", "opposing"], arm="kd_few", split="train", view="augmented")
    share = records.groupby(["replica", "epoch"])["opposing"].mean().unstack()
    mine = frame[frame["arm"] == "kd_few"].sort_values("replica")
    np.testing.assert_allclose(mine["share_mean"], np.trapezoid(share, x=share.columns) / 7, rtol=1e-6)
    np.testing.assert_allclose(mine["share_late"], share[8])  # of eight epochs the last tenth is the last
    final = run.records(["replica", "label", "student_prediction"], arm="kd_few", split="test", view="clean", epochs=8)
    right = (final["label"] == final["student_prediction"]).groupby(final["replica"]).mean()
    np.testing.assert_allclose(mine["accuracy"], right)
    means = frame.groupby("teacher")[["share_mean", "accuracy"]].mean()
    interval = association(frame)
    assert interval.n == 5
    assert interval.estimate == pytest.approx(spearmanr(means["share_mean"], means["accuracy"]).statistic)


def test_sweep_is_found_without_a_claim(run: Run) -> None:
    named = copy.deepcopy(run.manifest)
    named["claims"] = {}
    found = compared_arms(Run(run.directory, named))
    # Every regime counts when no claim says which arms differ in the teacher alone.
    assert found == ["kd", "kd_own", "kd_disjoint", "kd_smooth", "kd_short", "kd_narrow", "kd_few"]


def test_arms_that_differ_in_more_than_the_teacher_are_no_sweep(run: Run) -> None:
    named = copy.deepcopy(run.manifest)
    named["claims"] = {}
    named["arms"]["kd_few"]["student"] = {"model": "mlp", "hidden": [9]}
    named["arms"]["kd_narrow"]["permute"] = "non_target"
    assert compared_arms(Run(run.directory, named)) == ["kd", "kd_own", "kd_disjoint", "kd_smooth", "kd_short"]


def test_a_teacher_that_was_stopped_is_drawn_as_such(run: Run) -> None:
    base = run.manifest["teachers"][run.manifest["reference_teacher"]]
    assert teachers._difference(run, {**base, "stop": 2}) == ("stop", "2")
    frame = teachers.collect([run])
    frame.loc[frame["arm"] == "kd_short", ["differs", "value"]] = ["stop", "2"]
    with style.context():
        drawing = teachers.draw(frame)
    labels = [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
    assert "stopped after other epochs" in labels


def test_teachers_count_only_plain_distillation(run: Run) -> None:
    frame = teachers.collect([run])
    assert set(frame.loc[~frame["counted"], "arm"]) == {"wsl", "kd_random"}
    assert frame["n_teachers"].unique().tolist() == [5]
    differs = frame.drop_duplicates("arm").set_index("arm")[["differs", "value"]]
    assert differs.loc["kd_smooth"].tolist() == ["smoothing", "0.2"]
    assert differs.loc["kd_narrow"].tolist() == ["hidden", "4"]
    assert differs.loc["kd"].tolist() == ["base", ""]


@pytest.mark.parametrize("rival", [0.81, math.nan])
def test_the_panels_of_teachers_say_what_else_goes_with_accuracy(run: Run, rival: float) -> None:
    frame = teachers.collect([run])
    frame["of_teacher_accuracy"] = rival
    frame.loc[frame["differs"] == "base", "teacher_label"] = "Teacher on all rows"
    with style.context():
        drawing = teachers.draw(frame)
        with style.for_narrow_screens():
            narrow = teachers.draw(frame)
    for ax in drawing.axes:
        said = [text.get_text() for text in ax.texts]
        assert any("of teacher's accuracy: +0.81" in text for text in said) != math.isnan(rival)
        assert "smoothing 0.2" in said
    assert {"0.2", "width 4"} <= {text.get_text() for text in narrow.axes[0].texts}
    named = [text.get_text() for text in drawing.legends[0].get_texts()]
    assert "Teacher on all rows" in named
    assert "reference teacher" not in named
    assert teachers._said("hidden", "LS 0.3") == "smoothing 0.3"


def test_gradients_bin_every_row_and_count_the_flagged(run: Run) -> None:
    frame = gradients.collect([run])
    assert list(dict.fromkeys(frame["arm"])) == ["kd", "ce"]
    for (arm, epoch), part in frame.groupby(["arm", "epoch"]):
        whole = part[part["kind"] == "panel"].iloc[0]
        bins = part[part["kind"] == "bin"]
        assert bins["count"].sum() + whole["outside"] == whole["n_rows"] == 6 * 90
        records = run.records(["opposing"], arm=arm, split="train", view="augmented", epochs=int(epoch))
        assert whole["share"] == pytest.approx(records["opposing"].astype(float).mean())


def test_weights_are_quantiles_of_the_record(run: Run) -> None:
    frame = weights.collect([run])
    bands = frame[(frame["panel"] == "bands") & (frame["arm"] == "wsl")].set_index("epoch")
    assert set(frame.loc[frame["panel"] == "bands", "arm"]) == {"wsl"}
    records = run.records(["wsl_weight"], arm="wsl", split="train", view="augmented", epochs=2)["wsl_weight"]
    assert bands.loc[2, "q25"] == pytest.approx(np.quantile(records, 0.25))
    assert bands.loc[2, "below"] == pytest.approx((records < 1 - 1 / math.e).mean())
    means = frame[(frame["panel"] == "mean")].set_index(["arm", "epoch"])["mean"]
    assert means["wsl", 2] == pytest.approx(records.mean(), rel=1e-5)  # WSL trains with the weights it records
    assert means["kd_scaled", 8] == pytest.approx(means["wsl", 8], rel=1e-5)


def test_every_mean_weight_has_a_panel_and_says_where_it_lies_on_another(run: Run) -> None:
    frame = weights.collect([run])
    with style.context():
        drawing = weights.draw(frame)
    panels = {ax.get_title("left"): ax for ax in drawing.axes if ax.axison}
    assert next(iter(panels)) == "wsl"  # with its bands
    assert [text.get_text() for text in panels["kd_scaled"].texts] == ["same mean as\nwsl"]
    assert len({line.get_color() for line in panels["kd_scaled"].lines if line.get_linestyle() == "-"}) == 2
    assert not panels["wsl"].texts


def test_captions_count_chance_and_name_what_is_not_counted(run: Run) -> None:
    frame = changes.collect([run])
    df = frame["df"].max()
    assert df == frame["n_replicas"].max() - 1
    if df > 1:
        assert f"{200 * student_t.sf(2.0, df):.1f} %" in changes.caption(frame, [run])
    drawn = teachers.collect([run])
    uncounted = drawn.loc[~drawn["counted"].astype(bool), "label"].unique()
    said = teachers.caption(drawn, [run])
    assert ("Hexagons:" in said) == bool(len(uncounted))
    assert all(label in said for label in uncounted)


def test_flags_show_each_regime(run: Run) -> None:
    frame = flags.collect([run])
    assert list(dict.fromkeys(frame["arm"])) == ["kd", "kd_disjoint", "kd_own"]
    mine = frame[frame["arm"] == "kd_own"].reset_index(drop=True)
    expected = flag_auc(run, "kd_own", "ce")
    pd.testing.assert_frame_equal(mine[list(expected.columns)], expected)


def test_indicators_are_taken_on_test_rows(run: Run) -> None:
    frame = indicators.collect([run])
    teacher = run.teacher("narrow")
    test = run.samples[run.samples["split"] == "test"]
    logits = teacher.logits[np.isin(teacher.sample_ids, test["sample_id"])]
    labels = test["label"].to_numpy()
    mine = frame[frame["teacher"] == "narrow"].set_index("k")
    assert mine.loc[1, "delta"] == pytest.approx(np.mean(logits.argmax(axis=1) != labels))
    top = np.argsort(-logits, axis=1)[:, :3]
    assert mine.loc[3, "delta"] == pytest.approx(
        np.mean([label not in row for label, row in zip(labels, top, strict=True)])
    )
    rates = [np.mean([j in row for row in top[labels == c]]) for c in range(10) for j in range(10) if j != c]
    assert mine.loc[3, "gamma"] == pytest.approx(max(rates))
    own = frame[frame["teacher"] == "own"].iloc[0]
    assert own["n_teachers"] == 6
    assert own["delta_low"] <= own["delta"] <= own["delta_high"]
    smoothed = frame[frame["teacher"] == indicators.SMOOTHED].set_index("k")
    assert smoothed.loc[4, "sum"] == pytest.approx(3 / 9)


def test_each_teachers_smallest_sum_has_a_dot_and_lines_that_stand_out_a_name(run: Run) -> None:
    frame = indicators.collect([run])
    shift = {"short": 0.6, "few": 0.9}  # of teachers that are grey otherwise
    real = frame["teacher"] != indicators.SMOOTHED
    frame.loc[real, "delta"] = 0.01 * frame["k"] + frame["teacher"].map(shift).fillna(0.0)
    frame.loc[real, "sum"] = 0.3 + 0.1 * (frame["k"] - 2).abs() + frame["teacher"].map(shift).fillna(0.0)
    with style.context():
        figure = indicators.draw(frame)
    panel = figure.axes[2]
    dots = {tuple(line.get_xydata()[0].round(9)) for line in panel.lines if line.get_color() == style.INK} - {(1, 0)}
    assert dots == {(2.0, 0.3), (2.0, 0.9), (2.0, 1.2)}
    count = frame.loc[real, "teacher"].nunique()
    assert panel.texts[0].get_text().startswith(f"{count - 1} of {count} teachers")
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"Teacher, few", "Teacher, short", "95 % over rows"} <= set(named)
    assert "Teacher, narrow" not in named


def test_gallery_picks_the_extremes_and_their_images(run: Run) -> None:
    frame = gallery.collect([run])
    found = change(run, "kd", "ce")
    assert found is not None
    first = frame[(frame["row"] == "bias up most") & (frame["place"] == 0)]
    assert first["sample_id"].iloc[0] == found.frame.loc[found.frame["d_bias"].idxmax(), "sample_id"]
    sums = frame.groupby(["row", "place", "series"])["probability"].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-9)
    data = load_dataset("digits")
    for (_, number), image in frame.attrs["images"].items():
        np.testing.assert_array_equal(image, data.images[number])
    assert frame["has_image"].all()
    # The mean student's probability of the truth is the plug-in bias in another form.
    mine = first[(first["series"] == "treatment") & (first["class"] == first["true_class"])].iloc[0]
    place = list(run.predictions("kd").sample_ids).index(mine["sample_id"])
    assert -math.log(mine["probability"]) == pytest.approx(run.decomposition("kd").bias[place], rel=1e-9)


def test_gallery_leaves_a_gap_for_other_data(run: Run) -> None:
    manifest = copy.deepcopy(run.manifest)
    manifest["data"]["fingerprint"] = "another"
    other = Run(run.directory, manifest)
    frame = gallery.collect([other])
    assert not frame["has_image"].any()
    assert "No image" in gallery.caption(frame, [other])
    with style.context():
        texts = [text.get_text() for text in gallery.draw(frame).findobj(match=lambda item: hasattr(item, "get_text"))]
    assert "no\nimage" in texts
