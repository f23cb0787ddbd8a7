"""The figure of layer weights on made searches: its numbers by hand, its panels, its caption."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import layers
from tests.report.test_dfa_claims import EPOCHS, LAYERS, REPLICAS, d1, d3, d5, search_table


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A search by the bridge loss that learned nothing in two replicas, and one by the student's loss."""
    return d3(0.8, 0.4, lost=2)(tmp_path / "run")


def test_rows_are_means_over_replicas_with_their_spread(run: Run) -> None:
    frame = layers.collect([run])
    assert len(frame) == 2 * sum(LAYERS) * (EPOCHS + 1)
    by_hand = search_table(0.8)
    for epoch, layer in ((0, 1), (3, 2), (6, 0)):
        place = f"group == 0 and epoch == {epoch} and layer == {layer}"
        values = by_hand.query(place)["weight"].to_numpy()
        (row,) = frame.query(f"arm == 'by_bridge' and {place}").itertuples()
        half = stats.t.ppf(0.975, REPLICAS - 1) * values.std(ddof=1) / math.sqrt(REPLICAS)
        assert row.estimate == pytest.approx(values.mean(), rel=1e-9)
        assert row.sd == pytest.approx(values.std(ddof=1), abs=1e-12)
        assert (row.low, row.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-9)
    sums = frame.groupby(["arm", "epoch", "group"])["estimate"].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    answered = frame.query("arm == 'by_bridge' and group == 1").groupby("epoch")["accuracy"].first()
    np.testing.assert_allclose(answered, [np.nan] * 4 + [(2 * 0.25 + 6 * 0.7) / 8] * 3)


def test_each_group_of_each_search_has_a_panel_with_its_layers(run: Run) -> None:
    frame = layers.collect([run])
    with style.context():
        figure = layers.draw(frame)
        style.lay_out(figure)
    panels = [ax for ax in figure.get_axes() if ax.get_yticks().size and ax.collections and ax.texts]
    heads = [part.get_suptitle() for part in figure.subfigs]
    assert heads == ["by_bridge †", "by_own", ""]
    assert len(panels) == 4
    first = panels[0]
    assert [text.get_text() for text in first.get_yticklabels()] == ["1 of 3", "2 of 3", "3 of 3"]
    assert first.get_ylabel() == "teacher's layers\n(deep: below)"
    assert first.get_title(loc="left") == "student's features of 8×8"
    values = np.asarray(first.collections[0].get_array()).reshape(3, EPOCHS + 1)
    expected = frame.query("arm == 'by_bridge' and group == 0").pivot(index="layer", columns="epoch", values="estimate")
    np.testing.assert_allclose(values, expected)
    last = search_table(0.8).query("group == 0 and epoch == 6 and layer == 2")["weight"]
    assert first.texts[-1].get_text() == f"{last.mean():.2f} ± {last.std():.2f}".replace("0.", ".")


def test_layers_that_are_taken_after_their_norms_say_so(run: Run) -> None:
    frame = layers.collect([run])
    frame["teacher_module"] = [f"norms.{layer}" for layer in frame["layer"]]
    with style.context():
        figure = layers.draw(frame)
    assert "teacher's layers,\nafter their norms\n(deep: below)" in {ax.get_ylabel() for ax in figure.get_axes()}


def test_the_caption_says_what_was_learned_and_which_weights_say_nothing(run: Run, tmp_path: Path) -> None:
    said = layers.caption(layers.collect([run]), [run])
    assert "n = 8 replicas" in said
    assert "last epoch of each group: by_bridge 0.59, 0.59; by_own 0.70, 0.70." in said
    assert "† Weights that say nothing: the search by_bridge learned nothing in 2 of 8 replicas" in said
    both = layers.collect([run, d1(0.8, 0.7)(tmp_path / "other")])
    with style.context():
        assert layers.draw(both).get_axes()


def test_a_run_without_a_search_has_no_such_figure(tmp_path: Path) -> None:
    frame = layers.collect([d5(0.8, 0.7)(tmp_path / "run")])
    assert frame.empty
    assert isinstance(frame, pd.DataFrame)
