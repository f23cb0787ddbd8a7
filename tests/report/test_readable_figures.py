"""What a reader of a figure would stumble over: code names, too many lines, cut titles, words that nothing explains."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from biasvar.records import Run, import_predictions, open_run
from biasvar.report.arms import drawn as drawn_arms
from biasvar.report.arms.sweep import most_apart
from biasvar.report.figures import load
from biasvar.report.figures.sweep import MOST_LINES
from biasvar.report.figures.weights import COLUMNS as WEIGHTS
from biasvar.report.marks import lines, roots
from tests.report.test_narrow_screens import drawn, fits, published, redraw

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def texts(drawing: Drawing) -> list[str]:
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def completed(name: str, place: str) -> pd.DataFrame:
    """A published frame as the script that redraws it hands it on."""
    script, frame = redraw(), published(name, place)
    summary = json.loads((script.PUBLISHED / place / "summary.json").read_text(encoding="utf-8"))
    shown: pd.DataFrame = script.completed(frame, name, script.described(summary["runs"]))
    return shown


@pytest.mark.parametrize("name", ["sweep", "sweep_samples"])
def test_curves_of_a_sweep_are_called_by_their_loss(name: str) -> None:
    frame = completed(name, "bias_variance/digits")
    fits(lambda: load(name).draw(frame))
    said = texts(drawn(lambda: load(name).draw(frame)))
    assert {"cross-entropy, true labels", "squared error, 20 % label noise"} <= set(said)
    assert not any(text.startswith(("ce, ", "se, ")) for text in said)


@pytest.mark.parametrize(("name", "beside"), [("sweep", 3), ("sweep_samples", 2)])
def test_curves_with_short_names_are_named_at_their_ends(name: str, beside: int) -> None:
    frame = completed(name, "bias_variance/convnet")
    fits(lambda: load(name).draw(frame))
    drawing = drawn(lambda: load(name).draw(frame), narrow=False)
    assert {text.get_text() for text in drawing.get_axes()[beside].texts} == {"true labels", "20 % label noise"}
    named = [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
    assert not {"true labels", "20 % label noise"} & set(named)
    assert "20 % label noise" in [
        text.get_text() for legend in drawn(lambda: load(name).draw(frame)).legends for text in legend.get_texts()
    ]


def test_hollow_dots_of_a_sweep_are_explained() -> None:
    frame = completed("sweep", "bias_variance/digits")
    assert "replicas at chance or not finite" in texts(drawn(lambda: load("sweep").draw(frame)))
    sound = frame.assign(failed=0)
    assert "replicas at chance or not finite" not in texts(drawn(lambda: load("sweep").draw(sound)))


def test_no_published_arm_is_called_by_a_key() -> None:
    script = redraw()
    named = {
        (str(path.parent), arm): str(said["label"])
        for path in script.PUBLISHED.rglob("summary.json")
        for run in json.loads(path.read_text(encoding="utf-8")).get("runs", {}).values()
        for arm, said in run["arms"].items()
    }
    assert len(named) > 100
    assert [arm for (_, arm), label in named.items() if label == arm and "_" in arm] == []


@pytest.mark.parametrize("name", ["conditions", "predictors"])
def test_runs_whose_titles_begin_alike_are_called_by_what_tells_them_apart(name: str) -> None:
    script = redraw()
    frame = script.frame_of(script.PUBLISHED / "biased_soft_labels/which_indicator", name)
    said = texts(drawn(lambda: load(name).draw(frame), narrow=False))
    assert {"Digits", "Fashion-MNIST in 14x14", "Frozen features of CIFAR-10"} <= set(said)
    assert not any("_" in text for text in said)


@pytest.mark.parametrize(
    ("titles", "called"),
    [
        (("Which? Digits", "Which? Cats"), {"a": "Digits", "b": "Cats"}),
        (("Which? Digits", "Which? Digits"), {}),
        (("Which digits", "Which cats"), {}),
        (("", ""), {}),
        (("Which? Digits",), {}),
    ],
)
def test_titles_call_runs_only_where_they_tell_them_apart(titles: tuple[str, ...], called: dict[str, str]) -> None:
    runs = [Run(Path(name), {"kind": "study", "title": title}) for name, title in zip("ab", titles, strict=False)]
    frame = drawn_arms.with_titles(pd.DataFrame({"run": [run.name for run in runs]}), runs)
    assert frame.attrs.get("titles", {}) == called
    assert list(drawn_arms.titled(frame)["run"]) == [called.get(run.name, run.name) for run in runs]


def test_views_call_arms_without_a_label_by_their_loss() -> None:
    frame = published("views", "bias_variance/corruptions")
    said = texts(drawn(lambda: load("views").draw(frame)))
    assert "cross-entropy, width 8" in said
    assert not any(text.startswith("ce, ") for text in said)


def test_a_sweep_draws_no_more_curves_than_can_be_told_apart() -> None:
    frame = completed("sweep", "bias_variance/digits")
    own = frame[frame["curve"] == "cross-entropy, true labels"]
    many = pd.concat([own.assign(curve=f"noise {i}") for i in range(20)], ignore_index=True)
    panel = drawn(lambda: load("sweep").draw(many), narrow=False).get_axes()[0]
    assert len(panel.lines) == MOST_LINES == 7
    assert most_apart([str(i) for i in range(20)], 3)[::2] == ["0", "19"]


def test_bands_of_arms_with_failed_replicas_do_not_leave_the_frame() -> None:
    frame = completed("sweep", "bias_variance/digits")
    assert (frame["failed"] > 0).any()
    few = frame[frame["curve"].isin(frame["curve"].unique()[:2])]
    drawing = drawn(lambda: load("sweep").draw(few), narrow=False)
    bands = [(ax, one) for ax in drawing.get_axes() for one in ax.collections if isinstance(one, PolyCollection)]
    assert bands
    for ax, band in bands:
        low, high = ax.get_ylim()
        heights = np.concatenate([path.vertices[:, 1] for path in band.get_paths()])
        assert low <= np.nanmin(heights) <= np.nanmax(heights) <= high


@pytest.mark.parametrize("place", ["not_necessary", "which_indicator"])
def test_titles_of_conditions_break_between_words_and_number(place: str) -> None:
    frame = published("conditions", f"biased_soft_labels/{place}")
    fits(lambda: load("conditions").draw(frame))
    for narrow in (True, False):
        drawing = drawn(lambda: load("conditions").draw(frame), narrow=narrow)
        titles = [ax.get_title(loc="left") for ax in drawing.get_axes()]
        assert titles[:2] == ["Sets:\nbelow\u00a01", "Mean label:\nabove\u00a00"]


def test_the_bands_of_weights_are_named() -> None:
    quantiles = {"q05": 0.1, "q25": 0.3, "median": 0.5, "q75": 0.7, "q95": 0.9, "mean": 0.5, "stderr_replicas": 0.01}
    about = {"run": "run", "regime": "none", "temperature": 4.0, "below": 0.2, "n_rows": 90, "n_replicas": 3}
    about |= {"shuffled": False, "fixed": False}
    rows = [
        {**about, **quantiles, "arm": f"wsl_{arm}", "label": f"WSL {arm}", "panel": panel, "epoch": epoch}
        for arm, panel, epoch in itertools.product(range(9), ("bands", "mean"), (1, 2, 3))
    ]
    frame = pd.DataFrame(rows)[WEIGHTS]
    fits(lambda: load("weights").draw(frame))
    for narrow in (True, False):
        drawing = drawn(lambda: load("weights").draw(frame), narrow=narrow)
        said = {"mean weight in the loss", "middle half of the rows", "middle 90 % of the rows"}
        assert said <= set(texts(drawing))
        assert len([ax for ax in drawing.get_axes() if ax.axison]) == 8
    third = frame["arm"] == "wsl_3"
    shuffled = frame.assign(shuffled=third, mean=frame["mean"] + 0.2 * third)
    said = "those of its own\nstudents, shuffled"
    assert texts(drawn(lambda: load("weights").draw(shuffled))).count(said) == 1
    assert said not in texts(drawn(lambda: load("weights").draw(frame)))
    assert said not in texts(drawn(lambda: load("weights").draw(frame.drop(columns="shuffled"))))


def test_names_at_the_ends_of_lines_do_not_touch() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    values = [0.1, 0.5, 0.5, 0.5, 0.51, 0.99, 1.0]
    rows = [{"x": x, "name": i, "estimate": end, "color": "#222222"} for i, end in enumerate(values) for x in (0, 1)]
    ax.set_ylim(0, 1)
    high = 72 * ax.get_position().height * 3
    lines.name_ends(ax, pd.DataFrame(rows), {i: f"class {i}" for i in range(7)}, x="x", line="name", high=high)
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == len(values)
    assert all(one.y1 <= other.y0 + 1.0 for one, other in itertools.pairwise(boxes))


def test_courses_of_failed_arms_are_hollow_and_the_dagger_is_explained() -> None:
    frame = published("shares", "converged/features")
    frame = frame.assign(failed=[3 if arm == frame["arm"].iloc[-1] else 0 for arm in frame["arm"]])
    frame.attrs = published("shares", "converged/features").attrs
    assert not any("†" in text for text in texts(drawn(lambda: load("shares").draw(frame.assign(failed=0)))))
    drawing = drawn(lambda: load("shares").draw(frame))
    assert "† replicas at chance or not finite" in texts(drawing)
    hollow = [line for ax in drawing.get_axes() for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert hollow
    assert len({line.axes for line in hollow}) == 1


@pytest.mark.parametrize(("arms", "replicas"), [(60, 3), (2, 2)])
def test_histograms_of_many_arms_keep_their_names_in_the_picture(arms: int, replicas: int, tmp_path: Path) -> None:
    random, labels = np.random.default_rng(5), np.arange(60) % 3
    for arm in range(arms):
        answers = [2 * np.eye(3)[labels] + random.normal(size=(60, 3)) for _ in range(replicas)]
        import_predictions(answers, labels, directory=tmp_path / "run", arm=f"arm_{arm}", resume=arm > 0)
    figure = load("term_histograms")
    frame = figure.collect([open_run(tmp_path / "run")])
    fits(lambda: figure.draw(frame))
    drawing = drawn(lambda: figure.draw(frame))
    assert [ax.get_title(loc="left") for ax in drawing.get_axes()[::2]] == [f"arm_{i}" for i in range(min(arms, 7))]
    assert {ax.get_xlabel() for ax in drawing.get_axes()[-2:]} == {
        f"{term}, nats\n(square-root scale)" for term in ("bias", "variance")
    }


@pytest.mark.parametrize(("low", "high"), [(-0.004, 0.006), (0.0, 0.005), (0.2, 0.8), (-3.0, 20.0)])
def test_a_square_root_scale_has_two_ticks_or_more(low: float, high: float) -> None:
    ticks = roots._ticks(low, high, 0.08)
    assert len(ticks) >= 2
    assert all(low <= tick <= high for tick in ticks)


def test_few_shot_accuracies_are_percent_like_all_others() -> None:
    frame = published("few_shots", "infodrop/few_shots")
    drawing = drawn(lambda: load("few_shots").draw(frame))
    assert {ax.get_xlabel() for ax in drawing.get_axes()} == {"accuracy (%)"}
    low, high = drawing.get_axes()[0].get_xlim()
    shots = frame[frame["shots"] == frame["shots"].min()]
    assert low < 100 * shots["estimate"].min() < 100 * shots["estimate"].max() < high


def test_numbers_beside_layers_are_explained_and_no_dagger_stands_for_nothing() -> None:
    frame = published("layers", "dfa/drift")
    said = " ".join(texts(drawn(lambda: load("layers").draw(frame)))).replace("\n", " ")
    assert "after the last epoch, ± standard deviation" in said
    assert "†" not in said
    lost = frame.assign(unlearned="no label was told apart")
    said = " ".join(texts(drawn(lambda: load("layers").draw(lost)))).replace("\n", " ")
    assert said.count("†") == frame["arm"].nunique() + 1
    fits(lambda: load("layers").draw(lost))
