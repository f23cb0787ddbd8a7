"""The figures of the studies on images: training, directions, temperatures, ablations, effects, published numbers."""

import copy
import io
import json
import math
import shutil
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.analysis import crossed_mean
from biasvar.records import Run, open_run
from biasvar.report import published, style
from biasvar.report.arms.contrasts import CONTROLS, FILTERING, SMOOTHED, WEIGHTING, contrasts
from biasvar.report.arms.description import same_but
from biasvar.report.arms.roles import core_arms
from biasvar.report.arms.series import ablated_controls, series
from biasvar.report.figures import load
from biasvar.report.figures.published import networks_of
from biasvar.report.statistics.crossing import right_by_replica
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY
from tests.report.made import corrected_terms, make_run
from tests.report.seen import cut_texts, drawn, hollow_dots, intervals, texts

NAMES = ("training", "directions", "temperatures", "ablations", "effects")
REPLICAS = range(5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five replicas of a study in miniature with every kind of arm; predictions after epochs 1, 3 and 6."""
    study = copy.deepcopy(TINY)
    study["teachers"]["smooth"] = {"hidden": [16], "epochs": 6, "smoothing": 0.1}
    study |= {"replicas": 5, "reference_teacher": "main", "reference_temperature": 2}
    study["schedule"] = {"epochs": 6, "batch_size": 15}
    study["evaluate_every"] = 3
    study["predictions"] = {"epochs": [1, 3], "train": True}
    study["record"] = {"epochs": 2}
    kd, wsl = {"loss": "distillation"}, {"loss": "weighted_soft_label"}
    study["arms"] |= {
        "kd": kd | {"label": "KD τ 2", "record": {"epochs": "all"}},
        "wsl": wsl | {"label": "WSL"},
        "wsl_own": wsl | {"teacher": "own", "role": "regime"},
        "kd_masked": {"loss": "masked_distillation", "keep": "other"},
        "kd_t1": kd | {"temperature": 1, "label": "KD τ 1", "role": "control"},
        "kd_t4": kd | {"temperature": 4, "label": "KD τ 4", "role": "control"},
        "wsl_t4": wsl | {"temperature": 4, "label": "WSL τ 4", "role": "control"},
        "kd_a1": kd | {"alpha": 1, "label": "KD α 1", "role": "control"},
        "kd_smooth": kd | {"teacher": "smooth", "label": "KD, LS teacher"},
        "kd_smooth_t1": kd | {"teacher": "smooth", "temperature": 1, "label": "KD τ 1, LS teacher"},
    }
    return run_study(resolve_study(study), tmp_path_factory.mktemp("tiny") / "run", device="cpu")


def edited(run: Run, folder: Path, **arms: dict) -> Run:
    """A copy of the run, without its study, whose manifest says other things of some arms."""
    shutil.copytree(run.directory, folder)
    (folder / "study.yaml").unlink(missing_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    for arm, changes in arms.items():
        manifest["arms"][arm] |= changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_run(folder)


def accuracies(run: Run, arm: str) -> np.ndarray:
    last = run.metrics.query("arm == @arm and split == 'test' and view == 'clean' and epoch == 6")
    return last.sort_values("replica")["accuracy"].to_numpy()


def test_core_arms_are_the_usual_four_and_their_regimes(run: Run, tmp_path: Path) -> None:
    assert core_arms(run) == ["ce", "ls", "kd", "wsl", "kd_own", "kd_disjoint", "wsl_own"]
    failing = {"failed_replicas": [{"replica": 0, "reason": "at chance"}]}
    assert "ls" not in core_arms(edited(run, tmp_path / "edited", ls=failing))


def test_series_differ_in_one_setting_only(run: Run, tmp_path: Path) -> None:
    found = {one.name: one for one in series(run, "temperature")}
    assert {name: one.arms for name, one in found.items()} == {
        "KD": ("kd_t1", "kd", "kd_t4"), "WSL": ("wsl", "wsl_t4"), "KD, LS teacher": ("kd_smooth_t1", "kd_smooth"),
    }  # fmt: skip
    assert found["KD"].values == (1.0, 2.0, 4.0)
    assert {name: one.reference for name, one in found.items()} == {
        "KD": "kd", "WSL": "wsl", "KD, LS teacher": "kd_smooth",
    }  # fmt: skip
    assert [one.arms for one in series(run, "alpha")] == [("kd", "kd_a1")]
    assert ablated_controls(run) == ["kd_t1", "kd_t4", "wsl_t4", "kd_a1"]
    other = edited(run, tmp_path / "edited", kd_t4={"learning_rate": 0.5})
    assert {one.name: one.arms for one in series(other, "temperature")}["KD"] == ("kd_t1", "kd")
    assert same_but(run, "wsl", plays="distillation") == "kd"
    assert same_but(run, "wsl_own", plays="distillation") == "kd_own"
    assert same_but(run, "wsl_t4", plays="baseline") is None


def test_training_holds_the_terms_of_every_stored_epoch(run: Run) -> None:
    frame = load("training").collect([run])
    assert set(frame["epoch"]) == {1, 3, 6}
    assert set(frame["arm"]) == set(core_arms(run))
    part = frame[(frame["arm"] == "kd") & (frame["epoch"] == 3)].set_index(["rows", "term"])
    found = run.predictions("kd", epoch=3)
    each = [corrected_terms(found.mean_log_probs[:, n], label) for n, label in enumerate(found.labels)]
    for place, term in enumerate(("bias", "variance")):
        row = part.loc[("held-out", term)]
        assert row["value"] == pytest.approx(np.mean([terms[place] for terms in each]))
        assert (row["n"], row["n_replicas"]) == (300, 5)
        assert row["low"] < row["value"] < row["high"]
    for rows in ("member", "nonmember"):
        stored = run.predictions("kd", split="train", membership=rows, epoch=3)
        # The jackknife needs two replicas of a row after one has gone, three for a total.
        use = (stored.counts > 0).sum(axis=0) >= 3
        each = [
            corrected_terms(stored.mean_log_probs[stored.counts[:, n] > 0, n], stored.labels[n])
            for n in np.flatnonzero(use)
        ]
        assert part.loc[(rows, "bias"), "value"] == pytest.approx(np.mean([terms[0] for terms in each]))
        assert part.loc[(rows, "bias"), "n"] == use.sum()


def test_directions_count_samples(run: Run) -> None:
    frame = load("directions").collect([run])
    held = frame[frame["rows"] == "held-out"]
    assert not set(ablated_controls(run)) & set(frame["arm"])
    assert set(frame.loc[frame["rows"] != "held-out", "arm"]) == set(core_arms(run)) - {"ce"}
    terms = {
        arm: np.array(
            [
                corrected_terms(run.predictions(arm).mean_log_probs[:, n], label)
                for n, label in enumerate(run.predictions(arm).labels)
            ]
        )
        for arm in ("kd", "ce")
    }
    change = terms["kd"] - terms["ce"]
    shares = held[held["arm"] == "kd"].set_index("quadrant")
    expected = ((change[:, 0] > 0) & (change[:, 1] < 0)).mean()
    assert shares.loc["bias up, variance down", "share"] == pytest.approx(expected)
    assert (held["share_clear"] <= held["share"]).all()
    assert held["low"].between(0, held["share"]).all()
    assert held["high"].between(held["share"], 1).all()
    assert held.groupby("arm")["share"].sum().between(0.99, 1.0 + 1e-9).all()


def test_temperatures_count_what_was_recorded(run: Run) -> None:
    frame = load("temperatures").collect([run])
    assert set(frame["series"]) == {"KD", "KD, LS teacher"}  # distillation only
    kd = frame[frame["arm"] == "kd"].set_index("quantity")
    assert kd.loc["opposing", "epochs"] == 4  # 1, 2, 4, 6: not all six that kd alone recorded
    record = run.records(["replica", "opposing"], arm="kd", split="train", view="augmented", epochs=[1, 2, 4, 6])
    by_epoch = record["opposing"].astype(float).groupby([record["replica"], record["epoch"]]).mean()
    by_replica = np.trapezoid(by_epoch.unstack("epoch"), x=[1, 2, 4, 6]) / 5  # the mean over all epochs, not over those
    assert kd.loc["opposing", "estimate"] == pytest.approx(by_replica.mean())
    assert kd.loc["opposing", "stderr"] == pytest.approx(stats.sem(by_replica))
    assert kd.loc["accuracy", "estimate"] == pytest.approx(accuracies(run, "kd").mean())
    # At temperature 1 all criteria but the literal one agree, and that counts everything.
    cool = frame[frame["arm"] == "kd_t1"].set_index("quantity")["estimate"]
    assert cool["magnitude"] == pytest.approx(cool["opposing"])
    assert cool["literal"] == pytest.approx(1.0)


def test_temperatures_are_drawn_on_one_axis_from_0_and_joined_by_dots_only(run: Run) -> None:
    frame = load("temperatures").collect([run])
    with style.context():
        drawing = load("temperatures").draw(frame)
    assert len(drawing.axes) == 4  # accuracy has a figure of its own
    for ax, name in zip(drawing.axes, ("opposing", "literal", "magnitude", "norm"), strict=True):
        low, high = ax.get_ylim()
        assert low < 0 < 100 < high < 110
        shares = 100 * frame.loc[frame["quantity"] == name, "estimate"]
        drawn = np.concatenate([line.get_ydata() for line in ax.lines])
        np.testing.assert_allclose(np.sort(drawn), np.sort(shares))
        assert {line.get_linestyle() for line in ax.lines} == {":"}
    assert "mean over epochs (%)" in drawing.axes[0].get_ylabel()
    assert any("95 % over replicas" in text.get_text() for text in drawing.legends[0].get_texts())


def test_ablations_share_the_reference_arm_and_show_bands(run: Run) -> None:
    frame = load("ablations").collect([run])
    assert frame[frame["arm"] == "kd"]["setting"].tolist() == ["temperature", "alpha"]
    assert frame.loc[frame["setting"] == "", "arm"].tolist() == ["ce", "ls"]
    row = frame[frame["arm"] == "kd_a1"].iloc[0]
    values = accuracies(run, "kd_a1")
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert (row["value"], row["held_value"], row["n"]) == (1.0, 2.0, 300)
    caption = load("ablations").caption(frame, [run])
    assert "CE, LS" not in caption
    assert "ce, ls" in caption


def test_ablations_are_named_after_what_varies(run: Run) -> None:
    figure = load("ablations")
    frame = figure.collect([run])
    assert figure.title_of is not None
    assert figure.title_of(frame) == "Accuracy against temperature and the weight of the soft labels"
    alone = frame[frame["setting"] != "alpha"]
    assert figure.title_of(alone) == "Accuracy against temperature"
    read = figure.how_to_read(alone, [run])
    assert "one learning rate, which may suit some settings better: temperature rescales" in read
    assert "weight" not in read


def test_effects_pair_arms_by_what_they_answer(run: Run) -> None:
    pairs = {(one.question, one.treatment, one.control) for one in contrasts(run)}
    assert {pair[1:] for pair in pairs if pair[0] == FILTERING} == {
        ("kd_masked", "kd"), ("kd_random", "kd"), ("kd_masked", "kd_random"),
    }  # fmt: skip
    assert {pair[1:] for pair in pairs if pair[0] == WEIGHTING} == {("wsl", "kd"), ("wsl_own", "kd_own")}
    controls = ("kd_scaled", "wsl_shuffled", "wsl_recorded")
    assert {pair[1:] for pair in pairs if pair[0] == CONTROLS} == {
        *(("wsl", arm) for arm in controls), *((arm, "kd") for arm in controls),
    }  # fmt: skip
    assert {pair[1:] for pair in pairs if pair[0] == SMOOTHED} == {("kd_smooth", "kd"), ("kd_smooth_t1", "kd_t1")}
    frame = load("effects").collect([run])
    assert len(frame) == len(pairs)
    row = frame[(frame["arm"] == "wsl") & (frame["control"] == "wsl_shuffled")].iloc[0]
    test = stats.ttest_rel(accuracies(run, "wsl"), accuracies(run, "wsl_shuffled"))
    interval = test.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), nan_ok=True)
    assert row["estimate"] == pytest.approx((accuracies(run, "wsl") - accuracies(run, "wsl_shuffled")).mean())


def test_effects_over_test_rows_are_those_that_claims_are_judged_by(run: Run) -> None:
    figure = load("effects")
    frame = figure.collect([run])
    row = frame[(frame["arm"] == "wsl") & (frame["control"] == "kd")].iloc[0]
    right = [right_by_replica(run, arm, "test") for arm in ("wsl", "kd")]
    over = crossed_mean((right[0] - right[1]).to_numpy(), ("replicas", "rows")).interval()
    assert (row["low_crossed"], row["high_crossed"]) == pytest.approx((over.low, over.high))
    assert row["high_crossed"] - row["low_crossed"] >= row["high"] - row["low"]
    with style.context():
        words = texts(figure.draw(frame))
        alone = texts(figure.draw(frame.assign(low_crossed=math.nan, high_crossed=math.nan)))
    assert "on these test rows" in words
    assert "on these test rows" in alone
    assert "over replicas and test rows" in words
    assert "over replicas and test rows" not in alone
    assert "thin ones" in figure.caption(frame, [run])


def test_published_numbers_have_a_source_and_no_error() -> None:
    theirs = published.gains()
    assert theirs["source"].str.len().min() > 20
    assert not theirs["source"].str.contains("http").any()
    one = theirs[(theirs["pair"] == "ResNet-110 → 32") & (theirs["against"] == "KD")].set_index("by")["difference"]
    assert one.to_dict() == {"authors": 1.04, "others": -0.17}
    assert theirs.loc[theirs["who"] == "PaddleClas", "difference"].tolist() == [1.43]
    kd = theirs[theirs["treatment"] == "KD"].set_index(["data", "pair"])["difference"]
    assert kd["CIFAR-100", "WRN-40-2 → WRN-16-2"] == 1.66
    assert kd["CINIC-10", "ShuffleNetV2-2 → ShuffleNetV2"] == 7.67
    assert len(kd) == len(published.pairs()) - 2  # of ImageNet's no KD beside its students was found


def test_a_run_stands_beside_numbers_of_its_own_data_and_networks_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure, module = load("published"), import_module("biasvar.report.figures.published")
    assert figure.collect([run]).empty
    assert "CIFAR-100, ResNet-56 → 20" in figure.needs
    monkeypatch.setattr(module, "networks_of", lambda run, arm: ("CIFAR-100", "ResNet-56 → 20"))
    frame = figure.collect([run])
    assert set(frame["group"]) == {"CIFAR-100, ResNet-56 → 20"}
    theirs, own = frame[frame["run"] == ""], frame[frame["run"] == "tiny"].set_index(["arm", "against"])
    names = ["published by the authors", "reproduced (issue 6)", "published (CRD)"]
    assert theirs["row"].unique().tolist() == names
    assert theirs.set_index(["row", "treatment", "against"])["difference"][names[2], "KD", "student alone"] == 1.6
    assert theirs[["low", "high", "stderr"]].isna().all(axis=None)
    gain = 100 * (accuracies(run, "wsl") - accuracies(run, "kd")).mean()
    assert own.loc[("wsl", "KD"), "difference"] == pytest.approx(gain)
    assert own.loc[("wsl_own", "student alone"), "control"] == "ce"
    gain = 100 * (accuracies(run, "kd") - accuracies(run, "ce")).mean()
    assert own.loc[("kd", "student alone"), ["treatment", "difference"]].tolist() == ["KD", pytest.approx(gain)]
    assert "none from memory" in figure.caption(frame, [run])
    for narrow in (False, True):
        drawing = drawn("published", frame, narrow=narrow)
        assert not cut_texts(drawing)
        assert hollow_dots(drawing) == 0
        assert max(intervals(drawing)) <= len(own)
    told = frame.groupby(["treatment", "against"])["row"].nunique()
    pairs = [("WSL", "KD"), ("WSL", "student alone"), ("KD", "student alone")]
    assert [len(ax.get_yticks()) for ax in drawing.axes] == [told[pair] for pair in pairs]  # none without a mark


def test_data_and_networks_have_the_names_of_published_tables() -> None:
    entry = SimpleNamespace(teacher="main", setting={"student": {"model": "resnet8x4"}}.get)
    run = SimpleNamespace(
        entry=lambda arm: entry, study={"data": {"name": "cifar100"}, "student": {"model": "mlp"}},
        manifest={"teachers": {"main": {"model": "resnet32x4"}}},
    )  # fmt: skip
    known = published.gains()
    assert networks_of(run, "wsl") == ("CIFAR-100", "ResNet-32x4 → 8x4")
    assert networks_of(run, "wsl") in set(zip(known["data"], known["pair"], strict=True))
    run.study["data"]["name"], entry.setting = "digits", {}.get
    assert networks_of(run, "wsl") == ("digits", "ResNet-32x4 → mlp")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_is_the_same_every_time_for_one_run_and_two(name: str, run: Run, tmp_path: Path) -> None:
    figure = load(name)
    other = edited(run, tmp_path / "other")
    other = Run(other.directory, {**other.manifest, "name": "other"})
    for runs in ([run], [run, other]):
        frame = figure.collect(runs)
        pictures = []
        for _ in range(2 if len(runs) == 1 else 1):
            with style.context():
                drawing = figure.draw(frame)
            style.lay_out(drawing)
            made = io.BytesIO()
            style.save(drawing, made, "svg")
            pictures.append(made.getvalue())
        assert len(set(pictures)) == 1
        assert b"<text" in pictures[0]
        assert set(frame["run"]) - {""} == {one.name for one in runs}
        caption = figure.caption(frame, runs)
        assert "n = " in caption
        assert "replicas" in caption
        assert "nan" not in caption.lower().replace("finance", "")
        ticks = [text for ax in drawing.axes for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]]
        assert min(text.get_fontsize() for text in ticks) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_lacks_what_is_needed_gives_no_rows(
    name: str, recorder_run: Run, imported_run: Run, tmp_path: Path
) -> None:
    made = make_run(tmp_path / "made", samples=20).run  # one epoch, no settings
    for one in (recorder_run, imported_run, made):
        frame = load(name).collect([one])
        assert frame.empty or (name in ("directions", "effects") and one is made)
        assert "run" in frame


def test_a_figure_of_one_of_several_runs_says_which(run: Run, imported_run: Run) -> None:
    figure = load("training")
    frame = figure.collect([imported_run, run])
    assert "Only run tiny holds what this needs." in figure.caption(frame, [imported_run, run])


def test_failed_replicas_are_hollow_named_and_do_not_set_the_scale(run: Run, tmp_path: Path) -> None:
    failing = {"failed_replicas": [{"replica": 0, "reason": "at chance"}]}
    failed = edited(run, tmp_path / "edited", kd_t4=failing, kd_masked=failing)
    figure = load("ablations")
    frame = figure.collect([failed])
    frame.loc[frame["arm"] == "kd_t4", ["estimate", "low", "high"]] = -9.0
    with style.context():
        drawing = figure.draw(frame)
    assert drawing.axes[0].get_ylim()[0] > 0
    assert "KD τ 4, 1 of 5" in figure.caption(frame, [failed])
    effects = load("effects").collect([failed])
    assert effects.loc[effects["arm"] == "kd_masked", "failed"].tolist() == [1] * (effects["arm"] == "kd_masked").sum()
    assert "kd_masked, 1 of 5" in load("effects").caption(effects, [failed])


def test_without_errors_nothing_is_drawn_for_them(run: Run) -> None:
    for name in NAMES:
        frame = load(name).collect([run])
        bounds = [column for column in ("low", "high", "stderr") if column in frame]
        frame[bounds] = math.nan
        with style.context():
            load(name).draw(frame)
    assert isinstance(frame, pd.DataFrame)
