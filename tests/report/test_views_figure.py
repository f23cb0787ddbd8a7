"""The figure of views shows every network of a run that compares networks, each in a colour of its own."""

from __future__ import annotations

from biasvar.report.figures import views
from tests.report.seen import cut_texts, drawn
from tests.report.test_bias_variance_claims import depth


def frame_of(directory, **changes):
    run = depth((2.0, 1.0), (2.0, 2.0), view=True, rows=40)(directory)
    assert run.study is not None  # read before its arms become others
    for entry in run.manifest["arms"].values():
        entry.update({"loss": "cross_entropy", "plays": "baseline", **changes})
    return views.collect([run])


def test_networks_trained_by_cross_entropy_are_all_drawn(tmp_path):
    frame = frame_of(tmp_path)
    assert set(frame["arm"]) == {"d20", "d8"}
    looks = views._looks(frame)
    assert looks["d20"].color != looks["d8"].color
    assert [looks[arm].label for arm in ("d20", "d8")] == ["d20", "d8"]


def test_the_caption_says_which_arms_of_many_are_here(tmp_path, monkeypatch):
    run = depth((2.0, 1.0), (2.0, 2.0), view=True, rows=40)(tmp_path)
    for entry in run.manifest["arms"].values():
        entry.update({"loss": "cross_entropy", "plays": "baseline"})
    every = views.collect([run])
    assert "are the first" not in views.caption(every, [run])
    monkeypatch.setattr(views, "MOST_ARMS", 1)
    some = views.collect([run])
    assert set(some["arm"]) == {next(iter(run.manifest["arms"]))}
    assert f"Of the 2 arms of {run.name} here are the first 1 of its study." in views.caption(some, [run])


def test_arms_of_a_sweep_are_drawn_where_there_are_no_others(tmp_path):
    assert set(frame_of(tmp_path, role="grid")["arm"]) == {"d20", "d8"}


def test_panels_stand_side_by_side_on_a_telephone_with_the_views_above_their_rows(tmp_path):
    frame = frame_of(tmp_path)
    drawing = drawn("views", frame, narrow=True)
    axes = [ax for ax in drawing.axes if ax.axison]
    assert len({round(ax.get_position().y0, 2) for ax in axes}) == 1
    assert [text.get_text() for text in axes[0].texts] == list(dict.fromkeys(frame["view"]))
    assert not cut_texts(drawing)


def test_methods_keep_the_colours_that_they_have_everywhere(tmp_path):
    frame = frame_of(tmp_path).assign(plays=lambda rows: rows["plays"].where(rows["arm"] == "d8", "smoothing"))
    assert views._looks(frame) == frame.attrs["styles"]
