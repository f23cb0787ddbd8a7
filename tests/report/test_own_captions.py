"""What pages of one's own runs say under their figures: nothing that is known of a study only, and none of it cut."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from biasvar import Recorder
from biasvar.records import Run, import_predictions, open_run
from biasvar.report import style
from biasvar.report.figures import load
from biasvar.report.output import write_figure
from biasvar.report.pictures import with_pictures

N, C, R = 60, 4, 3


def said(name: str, runs: list[Run], tmp_path: Path) -> str:
    """What a page says about a figure: how to read it, and its caption."""
    about = write_figure(load(name), runs, tmp_path, formats=())
    return f"{about['how_to_read']} {about['caption']}"


DRAWN = ("epoch 1", "last epoch", "same draw", "draw of the training rows", "own draw", "of the draw", "the draw is",
         "drew the row", "as augmented")  # fmt: skip
"""What is known of a study only: when it evaluates, and which rows each replica trains on."""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Cross-entropy and distillation without teacher logits in their evaluation: recorded, and imported."""
    random = np.random.default_rng(5)
    labels = random.integers(0, C, N)
    logits = {loss: random.normal(size=(R, N, C)) + size * np.eye(C)[labels]
              for loss, size in (("cross_entropy", 1.5), ("distillation", 2.5))}  # fmt: skip
    place = tmp_path_factory.mktemp("compared")
    ids = np.arange(N)
    for loss, values in logits.items():
        for r in range(R):
            given = {"num_classes": C, "temperature": 2.0, "arm": loss, "loss": loss, "replica": r, "num_samples": N}
            teacher = 3.3 * np.eye(C)[labels] - 1.0 if loss == "distillation" else None
            with Recorder(place / "recorded", **given) as train:
                for epoch in range(1, 5):
                    train.update(ids, epoch * values[r], labels, teacher)
                    train.end_epoch()
            with Recorder(
                place / "recorded", **given, split="test", view="clean", keep_predictions="last"
            ) as evaluation:
                evaluation.update(ids, values[r], labels)
        later = loss == "distillation"
        import_predictions(list(values), labels, directory=place / "import", arm=loss, loss=loss, resume=later)
    return {"recorder": open_run(place / "recorded"), "import": open_run(place / "import")}


@pytest.mark.parametrize("kind", ["recorder", "import"])
def test_captions_of_ones_own_runs_assert_no_draw_and_no_epoch(
    kind: str, compared: dict[str, Run], tmp_path: Path
) -> None:
    run = compared[kind]
    assert run.manifest["kind"] == kind
    names = {"accuracy", "effects", "methods", "changes", "directions", "gallery", "bias_variance", "by_class"}
    names |= {"curves", "gradients", "data_map"} if kind == "recorder" else {"data_map"}
    texts = {name: said(name, [run], tmp_path) for name in names}
    for name, text in texts.items():
        assert not [words for words in DRAWN if words in text], name
    assert "Gaps to cross-entropy are paired by replica number" in texts["accuracy"]
    assert "is one that chance between trainings does not explain" in texts["accuracy"]
    assert f"mean over {R} pairs of replicas of the same number" in texts["effects"]
    for name in ("methods", "changes", "directions", "gallery"):
        assert "after training" in texts[name], name


def test_captions_of_a_study_name_its_draw(study_run: Run, tmp_path: Path) -> None:
    texts = {name: said(name, [study_run], tmp_path) for name in ("accuracy", "effects", "changes", "gallery")}
    assert "Gaps to cross-entropy are replica by replica on the same draw" in texts["accuracy"]
    assert "that the draw of the training rows does not explain" in texts["accuracy"]
    assert "mean over 4 pairs of replicas on the same draw" in texts["effects"]
    assert "last epoch, not augmented" in texts["changes"]
    assert "drew the row" in texts["changes"]
    assert "4 replicas, epoch 4)" in texts["gallery"]
    assert "what its teacher and the mean student make of it, without and with the soft label" in texts["gallery"]
    assert "being 1: the teacher's, and the students'" in texts["gallery"]
    assert "; flagged: share of replicas" in texts["gallery"]


def test_a_gallery_promises_what_it_shows(compared: dict[str, Run], tmp_path: Path) -> None:
    text = said("gallery", [compared["recorder"]], tmp_path)
    assert "teacher" not in text
    assert "flag" not in text
    assert "what the mean student makes of it, by both arms" in text
    assert "the full height being 1: the students' mean prediction" in text


def test_the_label_beside_a_single_plane_of_changes_is_not_cut(compared: dict[str, Run]) -> None:
    figure = load("changes")
    with style.context():
        drawing = figure.draw(figure.collect([compared["import"]]))
        style.lay_out(drawing)
        (label,) = [text for text in drawing.findobj(Text) if text.get_text().startswith("change of variance")]
        box = label.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= drawing.bbox.y1


def test_names_of_classes_leave_room_for_their_numbers(tmp_path: Path) -> None:
    names = ["automobile", "WWWWWWWWWWW", "cat"]
    labels = np.arange(18) % 3
    random = np.random.default_rng(0)
    made = import_predictions(
        [random.normal(size=(18, 3)) for _ in range(2)], labels, directory=tmp_path / "named", class_names=names
    )
    np.save(tmp_path / "images.npy", np.zeros((18, 4, 4), dtype=np.uint8))
    figure = load("strongest")
    seen = set()
    with style.context():
        drawing = figure.draw(figure.collect([with_pictures(made, str(tmp_path / "images.npy"), ["test"])]))
        style.lay_out(drawing)
        for ax in (ax for part in drawing.subfigs for ax in part.axes if len(ax.texts) > 1):
            for name, number in zip(ax.texts[::2], ax.texts[1::2], strict=True):
                assert name.get_window_extent().x1 + 1 < number.get_window_extent().x0, name.get_text()
                seen.add(name.get_text())
    assert "automobile" in seen  # whole
    assert any(said.startswith("WWW") and said.endswith("…") for said in seen)
