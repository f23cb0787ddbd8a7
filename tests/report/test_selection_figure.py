"""Scores of selected rows and of the rest: counts by hand, and the picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.report import style
from biasvar.report.figures import selection
from tests.report.made_claims import answers, write_claims_run

REPLICAS, ROWS = 3, 400
ARM = {"loss": "label_revision", "plays": "revision", "teacher": "main", "temperature": 4.0}


def make(directory: Path, by: dict[str, dict[str, Any]]) -> tuple[Run, dict[str, pd.DataFrame]]:
    """Arms with these selections, and the scores that they have stored: normal ones with a few that lie far off."""
    right = {arm: answers(0.7, REPLICAS, 20, seed=0) for arm in ("ce", *by)}
    arms = {arm: ARM | {"label": arm.upper(), "selection": chosen} for arm, chosen in by.items()}
    run = write_claims_run(directory, right, arms=arms, teachers={"main": {}}, claims={})
    writer = RunWriter(directory, manifest=run.manifest, resume=True)
    tables = {}
    for place, (arm, chosen) in enumerate(by.items()):
        rng = np.random.default_rng(place)
        scores = rng.normal(size=(REPLICAS, ROWS))
        scores[:, 0] = 500.0
        order = -scores if chosen["which"] == "highest" else scores
        cut = np.quantile(order, chosen["keep"], axis=1, keepdims=True)
        replica, row = np.indices(scores.shape)
        table = {
            "replica": replica.ravel(), "sample_id": row.ravel(), "label": row.ravel() % 4, "score": scores.ravel(),
            "selected": (order < cut).ravel(),
        }  # fmt: skip
        writer.method_table("selection_scores", arm, 0, table)
        tables[arm] = pd.DataFrame(table)
    return open_run(directory), tables


LOWEST = {"score": "influence", "keep": 0.25, "which": "lowest", "per_class": True}
MARGIN = {"score": "margin", "keep": 0.5, "which": "highest"}
RANDOM = {"score": "random", "keep": 0.5, "which": None}


def test_counts_and_shares_are_those_of_the_stored_scores(tmp_path: Path) -> None:
    run, tables = make(tmp_path / "run", {"ds": LOWEST, "other": MARGIN})
    frame = selection.collect([run])
    assert list(dict.fromkeys(frame["arm"])) == ["ds", "other"]
    for arm, table in tables.items():
        for which in (True, False):
            mine = table.loc[table["selected"] == which, "score"]
            part = frame[(frame["arm"] == arm) & (frame["selected"] == which)]
            inside = [((mine >= a) & (mine < b)).sum() for a, b in zip(part["low"], part["high"], strict=True)]
            assert part["count"].tolist()[:-1] == inside[:-1]
            assert part["share"].sum() == pytest.approx(part["count"].sum() / len(table))
            assert set(part["n_rows"]) == {len(mine)}
            assert set(part["n_outside"]) == {len(mine) - part["count"].sum()}
            assert part["median"].iloc[0] == pytest.approx(mine.median())
            assert part["quantile_05"].iloc[0] == pytest.approx(mine.quantile(0.05))
    assert frame["high"].max() < 500  # what lies far off does not set the scale
    assert set(frame["n_replicas"]) == {REPLICAS}


def test_the_picture_has_a_panel_an_arm_and_the_caption_says_what_lies_outside(tmp_path: Path) -> None:
    run, tables = make(tmp_path / "run", {"ds": LOWEST, "other": MARGIN, "random": RANDOM, "again": LOWEST})
    frame = selection.collect([run])
    assert set(frame["arm"]) == {"ds", "other"}  # of equal selections the first, and no random one
    with style.context():
        drawing = selection.draw(frame)
        style.lay_out(drawing)
    panels = [ax for ax in drawing.get_axes() if ax.has_data()]
    assert [ax.get_title(loc="left") for ax in panels] == ["DS", "OTHER"]
    assert [ax.get_xlabel() for ax in panels] == [
        "lowest 25 % of every class\nby influence (log scale far from 0)",
        "highest 50 %\nby margin (log scale far from 0)",
    ]
    heights = [sum(bar.get_height() for bar in ax.patches) for ax in panels]
    assert [text.get_text() for text in panels[0].get_xticklabels()][:3] == ["−1", "0", "1"]
    assert heights == pytest.approx([100 * frame.loc[frame["arm"] == arm, "share"].sum() for arm in ("ds", "other")])
    caption = selection.caption(frame, [run])
    assert f"n = {REPLICAS * ROWS:,} scores an arm" in caption
    medians = tables["ds"].groupby("selected")["score"].median()
    assert f"DS {medians[True]:.3g} against {medians[False]:.3g}; ".replace("-", "−") in caption
    table = tables["ds"]["score"]
    outside = 1 - table.between(frame["low"].min(), frame["high"].max()).mean()
    assert f"at most {100 * outside:.1f} %" in caption


def test_all_rows_or_equal_scores_are_drawn_too_and_without_scores_nothing(tmp_path: Path) -> None:
    run, _ = make(tmp_path / "all", {"ds": LOWEST | {"keep": 1.0}})
    writer = RunWriter(run.directory, manifest=run.manifest, resume=True)
    rows = np.arange(20)
    same = {"replica": 0 * rows, "sample_id": rows, "label": rows % 4, "score": 0.0 * rows, "selected": rows >= 0}
    writer.method_table("selection_scores", "ds", 0, same)
    frame = selection.collect([open_run(run.directory)])
    assert frame["count"].sum() == 20
    with style.context():
        selection.draw(frame)
    assert "DS 0 against none" in selection.caption(frame, [run])
    bare = write_claims_run(
        tmp_path / "bare", {"ds": answers(0.7, 2, 20, seed=0)}, arms={"ds": ARM | {"selection": LOWEST}}, claims={}
    )
    assert selection.collect([bare]).empty
