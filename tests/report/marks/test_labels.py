"""Names in a plane: none lies on another, on a place that is taken or outside, as the renderer sees them."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from biasvar.report import style
from biasvar.report.marks import labels

WORDS = ("KD", "Label revision", "Revision + selection", "Tf-KD reg (paper)", "ProKT", "LS 0.1", "DFA searched")


def named_plane(places, texts, reserved=()):
    with style.context():
        figure = style.new_figure(height=4.5)
        ax = figure.subplots()
        ax.set_xlim(-0.2, 1.2)
        ax.set_ylim(-0.2, 1.2)
        figure.get_layout_engine().execute(figure)
        boxes = labels.beside_points(ax, places, texts, reserved=reserved)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        panel = ax.get_window_extent()
        # Of the words alone: the line that joins them to their point counts as a part of an annotation.
        extents = [Text.get_window_extent(text, canvas.get_renderer()) for text in ax.texts]
    scale = 72.0 / figure.dpi
    drawn = [
        labels.Box((e.x0 - panel.x0) * scale, (e.y0 - panel.y0) * scale, e.width * scale, e.height * scale)
        for e in extents
    ]
    return ax, boxes, drawn, labels.Box(0, 0, panel.width * scale, panel.height * scale)


@pytest.mark.parametrize(("spread", "seed"), [(1.0, 0), (0.2, 1), (0.03, 0), (0.0, 1)])
def test_of_eighteen_names_none_lies_on_another(spread, seed):
    random = np.random.default_rng(seed)
    places = [tuple(place) for place in 0.5 + spread * (random.random((18, 2)) - 0.5)]
    corner = labels.Box(0, 0, 90, 30)
    texts = [WORDS[i % len(WORDS)] for i in range(18)]
    _, boxes, drawn, panel = named_plane(places, texts, [corner])
    for i, box in enumerate(drawn):
        assert box.left >= -1
        assert box.right <= panel.right + 1
        assert box.bottom >= -1
        assert box.top <= panel.top + 1
        assert box.shared(corner) < 1
        for other in drawn[:i]:
            assert box.shared(other) == 0
        for x, y in places:
            at = ((x + 0.2) / 1.4 * panel.width, (y + 0.2) / 1.4 * panel.height)
            assert np.hypot(*np.subtract(box.nearest(*at), at)) > 2 or spread < 0.1
    assert len(boxes) == 18


def test_a_point_without_a_name_has_none_and_keeps_others_off():
    with style.context():
        ax, boxes, *_ = named_plane([(0.5, 0.5), (0.5, 0.52)], ["KD", ""])
    assert [text.get_text() for text in ax.texts] == ["KD"]
    assert len(boxes) == 1
    scale = 72.0 / ax.figure.dpi / 1.4
    panel = ax.get_window_extent()
    other = (0.7 * panel.width * scale, 0.72 * panel.height * scale)
    assert np.hypot(*np.subtract(boxes[0].nearest(*other), other)) > 5


def test_a_name_alone_stands_close_and_one_in_a_crowd_is_joined_by_a_line():
    with style.context():
        ax, boxes, *_ = named_plane([(0.2, 0.2)], ["KD"])
    panel = ax.get_window_extent()
    at = (0.4 / 1.4 * panel.width * 72 / ax.figure.dpi, 0.4 / 1.4 * panel.height * 72 / ax.figure.dpi)
    assert np.hypot(*np.subtract(boxes[0].nearest(*at), at)) < labels.JOINED_FROM
    with style.context():
        figure = style.new_figure(height=4.5)
        ax = figure.subplots()
        figure.get_layout_engine().execute(figure)
        labels.beside_points(ax, [(0.5, 0.5)] * 12, ["Label revision"] * 12)
    assert any(text.arrow_patch is not None for text in ax.texts)


def test_a_line_to_a_name_leads_over_no_other_point():
    point, box = (0.0, 0.0), labels.Box(40.0, -5.0, 30.0, 10.0)
    assert labels._passed(point, box, [(20.0, 1.0), (20.0, 30.0), (-20.0, 0.0), (60.0, 0.0)]) == 1
    near = labels.Box(6.0, -5.0, 30.0, 10.0)  # no line is drawn to a name so close
    assert labels._passed(point, near, [(3.0, 0.0)]) == 0
    assert labels._passed(point, box, []) == 0


def test_a_line_to_a_name_is_not_laid_on_a_bar():
    point, box = (0.0, 0.0), labels.Box(40.0, -5.0, 30.0, 10.0)
    along, across, short = ((-50.0, 1.0), (50.0, 1.0)), ((20.0, -50.0), (20.0, 50.0)), ((-9.0, 0.0), (9.0, 0.0))
    assert labels._hidden(point, box, [across, along]) == 1
    assert labels._hidden(point, box, [across, short]) == 0  # one that ends before the line does hides nothing
    assert labels._hidden(point, labels.Box(6.0, -5.0, 30.0, 10.0), [along]) == 0  # no line is drawn
    assert labels._hidden(point, box, []) == 0


def test_the_width_of_a_text_is_the_renderers():
    with style.context():
        for word in WORDS:
            *_, drawn, _ = named_plane([(0.5, 0.5)], [word])
            width, height = labels.text_size(word, 9.0)
            assert drawn[0].width <= width + 0.5
            assert width == pytest.approx(drawn[0].width, rel=0.1, abs=3.0)
            assert height >= drawn[0].height - 2.5


def test_lines_through_a_box():
    box = labels.Box(1.0, 1.0, 2.0, 1.0)
    lines = labels.Lines([((0.0, 1.5), (4.0, 1.5)), ((0.0, 0.5), (4.0, 0.5))])
    assert box.crossed_by(lines) == pytest.approx([2.0, 0.0], abs=0.11)
    assert box.crossed_by(labels.Lines([])).shape == (0,)
    assert box.shared(labels.Box(2.0, 0.0, 5.0, 1.5)) == pytest.approx(0.5)
    assert box.nearest(0.0, 1.2) == (1.0, 1.2)
