"""Figures over what was swept, on a made grid of arms, and the numbers on samples that they draw."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from biasvar.analysis import decompose
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.arms import roles
from biasvar.report.arms.sweep import curves, drawn_curves, in_words
from biasvar.report.figures import load
from biasvar.report.output import write_figure
from biasvar.report.statistics.sample_moves import TOP, moves
from biasvar.report.text import description
from biasvar.study.sweep import swept_name
from tests.report.made import grouped, log_softmax
from tests.report.made_claims import CLASSES, predictions, write_claims_run

WIDTHS, SHARES = (2, 4, 8, 16), (0.0, 0.2)
REPLICAS, ROWS = 8, 240
LABELS = np.arange(ROWS) % CLASSES
NOISE = {0.0: (0.6, 1.2, 1.0, 0.7), 0.2: (0.8, 1.2, 1.6, 1.3)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four widths by two shares of label noise, and an arm beside them."""
    made, arms = {"plain": predictions(2.0, 1.0, LABELS, REPLICAS, seed=9)}, {}
    for share, (width, noise) in itertools.product(SHARES, zip(WIDTHS, NOISE[0.0], strict=True)):
        noise = NOISE[share][WIDTHS.index(width)]
        cell = {"student.width": width, "data.label_noise.share": share}
        name = swept_name("ce", cell)
        made[name] = predictions(2.0, noise, LABELS, REPLICAS, seed=width)
        arms[name] = {"role": "grid", "swept": cell, "student": {"model": "mlp", "width": width}}
    arms["ce_width2_share0"]["failed_replicas"] = [{"replica": 1, "reason": "at chance"}]
    return write_claims_run(tmp_path_factory.mktemp("sweep") / "run", log_probs=made, claims={}, arms=arms)


def test_curves_are_arms_that_differ_in_one_number(run: Run) -> None:
    found = curves(run)
    assert [(one.key, one.name) for one in found] == [
        ("student.width", "true labels"), ("student.width", "20 % label noise"),
        *(("data.label_noise.share", f"width {width}") for width in WIDTHS),
    ]  # fmt: skip
    assert found[1].values == WIDTHS
    assert found[1].arms == tuple(f"ce_width{width}_share0p2" for width in WIDTHS)
    assert {one.base for one in found} == {"ce"}
    assert drawn_curves(run) == found
    assert in_words("data.label_noise.share", 0.1) == "10 % label noise"


def test_the_curves_hold_both_decompositions_and_the_error(run: Run) -> None:
    figure = load("sweep")
    frame = figure.collect([run])
    assert not frame["arm"].eq("plain").any()
    one = frame[(frame["arm"] == "ce_width4_share0") & (frame["key"] == "student.width")]
    probs = predictions(2.0, 1.2, LABELS, REPLICAS, seed=4)
    for loss in ("cross_entropy", "squared_error"):
        totals = decompose(probs, LABELS, loss=loss).corrected().totals()
        there = one[one["decomposed"] == loss].set_index("quantity")
        for quantity, term in (("bias", "bias"), ("variance", "variance"), ("risk", "loss")):
            assert there.loc[quantity, "estimate"] == pytest.approx(getattr(totals, term).value)
            assert there.loc[quantity, "stderr"] == pytest.approx(getattr(totals, term).stderr_replicas)
    accuracy = one[one["decomposed"] == "accuracy"].iloc[0]
    assert accuracy["estimate"] == pytest.approx((probs.argmax(-1) == LABELS).mean())
    assert frame[frame["value"] == 2]["failed"].max() == 1
    with style.context():
        drawn = figure.draw(frame)
    assert [ax.get_title(loc="left") for ax in drawn.axes[:4]] == ["Bias", "Variance", "Risk (sum)", "Error (%)"]
    assert drawn.axes[0].get_xscale() == "log"
    assert drawn.axes[8].get_xscale() == "linear"
    said = figure.caption(frame, [run])
    assert "true labels: " in said
    assert " at width 4" in said
    assert "these do not set the scale" in said


def test_classes_and_samples_are_drawn_for_every_curve(run: Run) -> None:
    for name, panels in (("sweep_classes", 4), ("sweep_samples", 3)):
        figure = load(name)
        frame = figure.collect([run])
        assert set(frame["curve"]) == {"true labels", "20 % label noise"}
        with style.context():
            drawn = figure.draw(frame)
        assert len(drawn.axes) == panels
        assert "8 replicas" in figure.caption(frame, [run])
    assert set(load("sweep_classes").collect([run])["class"]) == {*range(CLASSES)}


def swept(directory: Path, *, labels: bool = True, beside: bool = False, replicas: int = REPLICAS) -> Run:
    """Cross-entropy and squared error by two widths and two shares of label noise, all of role grid."""
    made, arms = {}, {}
    losses = {"ce": "cross_entropy", "se": "squared_error"}
    for (base, loss), width, share in itertools.product(losses.items(), WIDTHS[:3], SHARES):
        cell = {"student.width": width, "data.label_noise.share": share}
        name = swept_name(base, cell)
        noise = 2.0 if width == 4 else 0.8
        made[name] = predictions(2.0, noise, LABELS, replicas, seed=width)
        label = f"{base.upper()}, width {width}, label noise {share:g}" if labels else f"{base.upper()}, narrow"
        student = {"model": "mlp", "width": width}
        arms[name] = {"role": "grid", "swept": cell, "student": student, "loss": loss, "label": label}
    if beside:
        made["plain"] = predictions(2.0, 1.0, LABELS, replicas, seed=9)
    return write_claims_run(directory / "run", log_probs=made, claims={}, arms=arms)


def test_a_page_says_what_a_sweep_is(tmp_path: Path) -> None:
    for beside, ways in ((False, "12 ways"), (True, "13 ways")):
        said = description.paragraph(swept(tmp_path / ways, beside=beside))
        them = "12 of them " if beside else ""
        assert said.startswith(
            f"{ways} of training a network, called arms, {them}a sweep of 2 arms (CE and SE) over 3 values of width "
            "(2, 4 and 8) and 2 values of label noise (0 and 0.2); compared on "
        )


def test_curves_have_the_labels_of_the_arms_that_were_swept(tmp_path: Path) -> None:
    assert {one.name.split(", ")[0] for one in curves(swept(tmp_path / "told"))} == {"CE", "SE"}
    assert {one.name.split(", ")[0] for one in curves(swept(tmp_path / "own", labels=False))} == {
        "cross-entropy",
        "squared error",
    }


def test_a_figure_that_leaves_out_a_grid_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = swept(tmp_path)
    grid = "all 12 here are of role grid, as those of a sweep"
    for name in ("methods", "curves", "gallery", "costs", "by_class", "changes", "effects"):
        said = write_figure(load(name), [run], tmp_path, [])["why"]
        assert said.startswith("shows arms of role main"), name
        assert said.endswith(grid), name
    assert "picture" in write_figure(load("bias_variance"), [run], tmp_path, [])
    monkeypatch.setattr(roles, "MOST_LISTED", 11)
    assert write_figure(load("bias_variance"), [run], tmp_path, [])["why"] == (
        f"shows arms of role main, control or regime, and up to 11 of role grid: {grid}"
    )
    assert write_figure(load("revision"), [run], tmp_path, [])["why"].startswith("needs an arm with revised labels")
    said = write_figure(load("methods"), [swept(tmp_path / "more", beside=True)], tmp_path, [])["why"]
    assert said == (
        "needs predictions of a cross-entropy arm and of another arm on the same held-out rows by the same replicas; "
        "it shows arms of role main or regime only: 12 of the 13 here are of role grid, as those of a sweep"
    )


def test_no_corner_of_a_sweep_is_what_others_are_compared_with(tmp_path: Path) -> None:
    figure = load("bias_variance")
    for beside in (False, True):
        one = swept(tmp_path / str(beside), beside=beside)
        frame = figure.collect([one])
        with style.context():
            drawing = figure.draw(frame)
        value = frame.query("arm == 'plain' and term == 'bias'")["estimate"].tolist()
        lines = [line for line in drawing.axes[0].lines if line.get_color() == style.MUTED]
        assert [line.get_xdata()[0] for line in lines] == value
        told = [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
        assert any(text.startswith("cross-entropy") for text in told) == beside


def test_bands_are_promised_where_there_are_some(tmp_path: Path) -> None:
    figure = load("sweep_samples")
    few, many = swept(tmp_path / "few", replicas=4), swept(tmp_path / "many")
    one, other = figure.collect([few]), figure.collect([many])
    assert one["low"].isna().all()
    assert other["low"].notna().all()
    said, usual = figure.caption(one, [few]), figure.caption(other, [many])
    assert "No bands are drawn, since an interval needs 6 replicas or more." in said
    assert "Bands are" not in said
    assert "Bands are 95 % t intervals" in usual
    assert "No bands" not in usual
    assert "which noise can bring above 1" in figure.caption(other.assign(quantity="kept"), [many])
    both = pd.concat([one.assign(run="short"), other])
    assert "not adjusted for their number; none of short, since" in figure.caption(both, [few, many])


def test_peaks_at_one_value_are_seen_beside_each_other(tmp_path: Path) -> None:
    figure = load("sweep_samples")
    frame = figure.collect([swept(tmp_path)])
    assert set(frame["peak"]) == {4.0}
    with style.context():
        rows = figure.draw(frame).axes[1::3]  # of more curves than have room for their bands each arm has its own
    assert len(rows) == 2
    for middle in rows:
        dashes = [line._dash_pattern for line in middle.lines if line.get_gid() in set(frame["curve"])]
        assert len(dashes) == 2
        along = np.arange(0.5, sum(dashes[0][1]))
        drawn = [(along + offset) % (on + off) < on for offset, (on, off) in dashes]
        assert (np.sum(drawn, axis=0) == 1).all()  # each place on the line has the colour of one curve


def test_axes_end_where_correlations_and_shares_do(run: Run) -> None:
    figure = load("sweep_samples")
    frame = figure.collect([run]).assign(low=-3.0, high=3.0)  # intervals as wide as few replicas make them
    with style.context():
        drawn = figure.draw(frame)
    limits = [tuple(round(end, 2) for end in ax.get_ylim()) for ax in drawn.axes]
    assert limits == [(-1.05, 1.05), (-1.05, 1.05), (-0.05, 1.05)]


def test_published_curves_stand_beside_those_of_the_same_network_and_data(tmp_path: Path) -> None:
    cells = [{"student.width": width, "data.label_noise.share": 0.2} for width in (2, 8, 64)]
    names = [swept_name("ce", cell) for cell in cells]
    made = {name: predictions(2.0, 1.0, LABELS, REPLICAS, seed=i) for i, name in enumerate(names)}
    arms = {name: {"swept": cell} for name, cell in zip(names, cells, strict=True)}
    figure, frames = load("sweep"), {}
    for model in ("resnet34", "resnet18"):
        study = {"student": {"model": model}, "data": {"name": "cifar10"}}
        one = write_claims_run(tmp_path / model, log_probs=made, claims={}, arms=arms, **study)
        frames[model] = figure.collect([one])
        with style.context():
            assert figure.draw(frames[model]).axes
        assert ("Yang et al. 2020" in figure.caption(frames[model], [one])) == (model == "resnet34")
    shown = frames["resnet34"].query("published != ''")
    assert set(shown["published"]) == {"Yang et al. 2020"}
    at = shown.query("value == 12").set_index("quantity")["estimate"]
    assert at.to_dict() == {"bias": 0.229, "variance": 0.196, "risk": 0.425, "accuracy": 0.712}
    assert frames["resnet18"]["published"].eq("").all()
    assert len(frames["resnet34"]) == len(frames["resnet18"]) + 4 * 13


def test_published_curves_stand_beside_students_of_their_loss(tmp_path: Path) -> None:
    """Those trained by squared error, whose largest variance is of squared error too."""
    cells = [{"student.width": width} for width in (2, 8, 64)]
    arms = {swept_name(base, cell): {"swept": cell, "loss": loss} for cell in cells
            for base, loss in (("ce", "cross_entropy"), ("se", "squared_error"))}  # fmt: skip
    made = {name: predictions(2.0, 1.0, LABELS, REPLICAS, seed=i) for i, name in enumerate(arms)}
    study = {"student": {"model": "resnet34"}, "data": {"name": "cifar10"}}
    one = write_claims_run(tmp_path / "run", log_probs=made, claims={}, arms=arms, **study)
    figure = load("sweep")
    frame = figure.collect([one])
    assert set(frame.query("published != ''")["base"]) == {"se"}
    assert set(frame.query("published == ''")["base"]) == {"ce", "se"}
    said = figure.caption(frame, [one]).split("Largest variance")[1].split(";")
    assert ["squared error" in part.split(" at width")[1] for part in said[:2]] == [False, True]


def test_a_run_without_a_sweep_draws_none_of_it(tmp_path: Path) -> None:
    plain = write_claims_run(
        tmp_path / "run", log_probs={"ce": predictions(2.0, 1.0, LABELS, REPLICAS, seed=1)}, claims={}
    )
    for name in ("sweep", "sweep_classes", "sweep_samples"):
        assert load(name).collect([plain]).empty


def unequal(spreads: np.ndarray, *, replicas: int = 16, classes: int = 3, seed: int = 0) -> np.ndarray:
    """Log-probabilities (R, N, C) whose noise differs by row."""
    rng = np.random.default_rng(seed)
    return log_softmax(spreads[:, None] * rng.normal(size=(replicas, len(spreads), classes)))


def stored(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return grouped(probs, np.ones(probs.shape[:2], dtype=bool), len(probs))


def test_samples_that_keep_their_places_are_found_by_other_replicas() -> None:
    """The same rows vary at the first two values, others at the last."""
    rng = np.random.default_rng(1)
    spreads = np.exp(rng.normal(size=600))
    at = [unequal(spreads, seed=0), unequal(1.5 * spreads, seed=0), unequal(spreads[::-1].copy(), seed=0)]
    counts = stored(at[0])[0]
    found = moves(counts, [stored(one)[1] for one in at])
    assert found.peak == 1
    assert (found.n_samples, found.n_replicas, found.df) == (600, 16, 14)
    assert found.estimates["kept"][0] == pytest.approx(1.0, abs=0.05)
    assert abs(found.estimates["next"][1]) < 0.15
    assert found.estimates["same"].min() > 0.6
    assert found.estimates["peak's top"][1] == found.estimates["own top"][1]
    assert found.estimates["peak's top"][0] > 2 * TOP > 2 * found.estimates["peak's top"][2] - 0.05
    half = [decompose(at[0][parity::2], np.zeros(600, int)).variance for parity in (0, 1)]
    assert found.estimates["same"][0] == pytest.approx(spearmanr(*half).statistic)
    top = [half[1 - i][one >= np.quantile(one, 1 - TOP)].sum() / half[1 - i].sum() for i, one in enumerate(half)]
    assert found.estimates["own top"][0] == pytest.approx(np.mean(top))


def test_noise_alone_keeps_no_places_although_the_replicas_are_the_same() -> None:
    """Arms of a sweep share their draws: by the same replicas, samples would seem to keep their places."""
    flat = [unequal(np.ones(800), replicas=8, seed=0), 1.0 * unequal(1.1 * np.ones(800), replicas=8, seed=0)]
    found = moves(stored(flat[0])[0], [stored(one)[1] for one in flat])
    by_all = [decompose(one, np.zeros(800, int)).variance for one in flat]
    assert spearmanr(*by_all).statistic > 0.9
    error = np.hypot(found.stderr_replicas["next"][0], found.stderr_samples["next"][0])
    assert abs(found.estimates["next"][0]) < 3 * error < 0.5
    assert found.estimates["own top"].max() == pytest.approx(TOP, abs=0.02)


def test_errors_over_samples_are_those_of_other_samples() -> None:
    rng = np.random.default_rng(2)
    found = []
    for seed in range(30):
        probs = unequal(np.exp(rng.normal(size=400)), replicas=6, seed=seed)
        found.append(moves(stored(probs)[0], [stored(probs)[1]] * 2))
    spread = np.std([one.estimates["same"][0] for one in found], ddof=1)
    said = np.mean([one.stderr_samples["same"][0] for one in found])
    assert 0.7 < said / spread < 1.4
    assert np.isfinite([one.stderr_replicas["same"][0] for one in found]).all()
