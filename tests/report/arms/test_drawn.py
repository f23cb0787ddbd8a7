"""What figures say of arms: names of rows, failed replicas, settings that a line's arms share."""

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn

FRAME = pd.DataFrame(
    {
        "run": ["r", "r", "s", "s"], "arm": ["a", "b", "a", "a"], "label": ["A", "B", "A", "A"], "failed": [0, 3, 1, 1],
        "replicas": [4, 4, 8, 8], "n_replicas": [4, 4, 8, 8], "regime": ["none", "per replica", "none", "none"],
        "series": ["KD", "WSL", "KD", None], "reference": ["a", "b", "a", None],
        "held": ["alpha", "alpha", "temperature", None], "held_value": [2.25, 1.0, 4.0, None],
    }
)  # fmt: skip


def test_rows_are_named_once_each_with_a_dagger_for_failures() -> None:
    assert drawn.row_names(FRAME) == ["A", "B †", "A †"]


def test_failures_are_counted_by_arm_and_named_with_their_run_where_there_are_several() -> None:
    assert drawn.failure_note(FRAME) == "replicas at chance or not finite (r: B, 3 of 4; s: A, 1 of 8)"
    assert drawn.dagger_note(FRAME[:2]) == " † With replicas at chance or not finite: B, 3 of 4."
    assert drawn.hollow_note(FRAME[:2]).startswith(" Hollow: with replicas at chance or not finite (B, 3 of 4);")
    sound = FRAME[:1]
    assert (drawn.failure_note(sound), drawn.dagger_note(sound), drawn.hollow_note(sound)) == ("", "", "")


def test_legends_list_regimes_and_explain_the_dagger() -> None:
    labels = [entry.get_label() for entry in drawn.regime_entries(FRAME[:2])]
    assert labels == ["no teacher", "own teacher per replica", "† replicas at chance or not finite (B, 3 of 4)"]
    assert drawn.regime_entries(FRAME[:1]) == []


def test_teachers_that_were_stopped_share_a_marker_and_an_entry() -> None:
    regimes = ["none", "per replica", *(f"per replica, stopped after {k} of 40 epochs" for k in (3, 1))]
    frame = pd.DataFrame({"run": "r", "arm": list("abcd"), "label": "", "failed": 0, "replicas": 4, "n_replicas": 4})
    labels = [entry.get_label() for entry in drawn.regime_entries(frame.assign(regime=regimes))]
    assert labels[:2] == ["no teacher", "own teacher per replica"]
    assert labels[2:] == ["teacher per replica, stopped after 3 of 40 epochs or 1 of 40 epochs"]


def test_a_series_looks_as_its_reference_arm_unless_that_look_is_taken() -> None:
    frame = FRAME.assign(series=["KD", "WSL", "KD, other", None])
    frame.attrs["styles"] = {"a": style.Look("#000000", "o", "-", "A"), "b": style.Look("#ff0000", "s", "--", "B")}
    found = drawn.series_looks(frame)
    assert (found["KD"].color, found["WSL"].marker, found["KD"].label) == ("#000000", "s", "KD")
    assert found["KD, other"].color == drawn.OTHER_LOOKS[0][0]


def test_shared_settings_are_listed_by_symbol() -> None:
    assert drawn.held_settings(FRAME) == "α 1 and 2.25, τ 4"
    assert drawn.held_settings(FRAME[3:]) == ""
