"""Figures of rows with intervals: what a reader sees of them, on wide screens and on narrow ones."""

import math
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import load
from biasvar.report.marks import forest
from tests.report.seen import cut_texts, drawn, hollow_dots, intervals, texts

ROOT = Path(__file__).parents[2]


def test_accuracy_has_one_interval_an_arm_and_tells_differences_by_a_number(study_run: Run) -> None:
    frame = load("accuracy").collect([study_run])
    arms = frame["arm"].nunique()
    drawing = drawn("accuracy", frame)
    assert intervals(drawing) == [arms] * 3
    assert hollow_dots(drawing) == 0
    assert not cut_texts(drawing)
    said = texts(drawing)
    assert all(words in said for words in ("Accuracy", "Loss (NLL)", "Calibration error", "left is better", "gap"))
    gap = frame.query("arm == 'wsl' and metric == 'accuracy' and against == 'cross-entropy'").iloc[0]
    numbers = {text.get_text(): text.get_weight() for text in drawing.axes[0].texts}
    shown = next(text for text in numbers if text == f"{100 * gap['estimate']:+.1f}".replace("-", "−"))
    assert (numbers[shown] == "bold") == (gap["low"] > 0 or gap["high"] < 0)


def test_only_an_arm_with_failed_replicas_is_hollow(study_run: Run) -> None:
    for name in ("accuracy", "bias_variance"):
        frame = load(name).collect([study_run])
        assert hollow_dots(drawn(name, frame)) == 0
        frame.loc[frame["arm"] == "wsl", "failed"] = 1
        assert hollow_dots(drawn(name, frame)) == len(drawn(name, frame).axes)


def test_many_arms_stand_in_groups(study_run: Run) -> None:
    frame = load("accuracy").collect([study_run])
    assert dict(zip(frame["arm"], frame["group"], strict=True)) | {"kd_other": ""} == {
        "ce": "No teacher", "ls": "No teacher", "kd_t2": "KD and WSL", "kd": "KD and WSL", "wsl": "KD and WSL",
        "kd_own": "Teacher of other rows", "kd_disjoint": "Teacher of other rows", "kd_other": "",
    }  # fmt: skip
    again = {f"ls{i}": f"LS again {i}" for i in range(3)}
    copies = [frame[frame["arm"] == "ls"].assign(arm=arm, label=label) for arm, label in again.items()]
    more = pd.concat([frame, *copies], ignore_index=True)
    more.attrs = {"styles": frame.attrs["styles"] | dict.fromkeys(again, frame.attrs["styles"]["ls"])}
    first = drawn("accuracy", more).axes[0]
    assert [text.get_text() for text in first.texts][:3] == ["No teacher", "KD and WSL", "Teacher of other rows"]
    assert [label.get_text() for label in first.get_yticklabels()][:5] == ["CE", "LS", *again.values()]
    assert "KD and WSL" not in texts(drawn("accuracy", frame))


def test_long_names_stand_above_their_rows() -> None:
    frame = pd.DataFrame({"run": "r", "arm": ["a", "b"]})
    long = "a name that is far too long to stand at the left of a picture of 390 pixels"
    where = forest.places(frame)
    assert where.named(["A", "B"]) == where
    wide = where.named(["A", long])
    assert wide.names == ("A", long)
    assert wide.heights["r", "b"] - wide.heights["r", "a"] > 1.7
    with style.for_narrow_screens():
        assert where.named(["A", "B"]) == where
        above = where.named(["A", long])
        assert above.names[0] == "A"
        assert above.names[1].replace("\n", " ") == long
        assert above.names[1].count("\n") >= 1
        assert above.heights["r", "b"] - above.heights["r", "a"] > 1.9
        assert where.named(["A", "B"], above=True).heights == {
            ("r", "a"): pytest.approx(0.8),
            ("r", "b"): pytest.approx(2.6),
        }


FIGURES = ROOT / "figures"
PUBLISHED = {
    "accuracy": "all_methods",
    "flags": "converged/digits",
    "bias_variance": "digits",
    "effects": "converged/digits",
    "by_class": "digits",
    "kinds": "tokens",
    "conditions": "biased_soft_labels/which_indicator",
    "few_shots": "infodrop/few_shots",
    "redraws": "digits_redrawn",
    "directions": "converged/features",
}
"""A published table of each figure of rows with intervals."""


NUMBERS_ADDED = ("low_crossed", "high_crossed", "stderr_crossed", "n_teachers")
"""Columns of numbers that tables published before them lack."""


def published(name: str) -> pd.DataFrame:
    frame = pd.read_csv(FIGURES / PUBLISHED[name] / f"{name}.csv", keep_default_na=False, na_values=[""])
    texts = frame.select_dtypes(["object", "string"])
    frame[list(texts)] = texts.astype(object).fillna("")
    for column in set(getattr(import_module(load(name).collect.__module__), "COLUMNS", ())) - set(frame):
        frame[column] = math.nan if column in NUMBERS_ADDED else ""
    return frame


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_are_drawn_whole_on_every_screen(name: str, narrow: bool) -> None:
    frame = published(name)
    drawing = drawn(name, frame, narrow=narrow)
    assert drawing.get_figwidth() == (style.NARROW_WIDTH if narrow else style.FULL_WIDTH)
    assert not cut_texts(drawing)
    failed = "failed" in frame and (frame["failed"].astype(float) > 0).any()
    assert (hollow_dots(drawing) > 0) == failed
    sizes = [text.get_fontsize() for text in drawing.findobj(Text) if text.get_text().strip()]
    assert min(sizes) >= 9


def test_the_flag_is_asked_in_words(study_run: Run) -> None:
    frame = load("flags").collect([study_run])
    panels = frame["arm"].nunique()
    for narrow in (False, True):
        drawing = drawn("flags", frame, narrow=narrow)
        assert len([ax for ax in drawing.axes if ax.get_visible()]) == panels
        assert max(intervals(drawing)) <= frame["score"].nunique()
        assert hollow_dots(drawing) == 0
        said = texts(drawing)
        assert all(words in said for words in ("b > |a| (opposing)", "low teacher probability", "coin toss"))
        assert "claim: .6 or more" in said
        assert not set(frame["score"]) & set(said.splitlines())
    assert len(load("flags").caption(frame, [study_run]).split(" 4 replicas, each trained")[0].split()) < 90
