"""Names in a script that the font of the figures lacks: one line, and a font of one's own as the cure."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from biasvar import import_predictions
from biasvar.report import style
from biasvar.report.__main__ import main as report
from biasvar.report.fonts import families

CJK = "猫犬鳥魚"
LENT = "ᶁᶄᶊᶍ"  # in STIXGeneral, which comes with Matplotlib, and not in DejaVu Sans


def made(directory: Path, names: str) -> str:
    """A run whose name and classes are these characters."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % len(names)
    logits = [3 * np.eye(len(names))[labels] + rng.normal(size=(200, len(names))) for _ in range(3)]
    import_predictions(logits, labels, directory=directory, class_names=list(names), name=names)
    return str(directory)


def card(folder: Path, names: str) -> list[str]:
    """The arguments of a card of soft labels with these classes, whose matrix of pairs bears them."""
    labels = np.arange(200) % len(names)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "soft.npy", np.random.default_rng(0).dirichlet(np.ones(len(names)), 200))
    return [
        *("--soft-labels", str(folder / "soft.npy"), "--labels", str(folder / "labels.npy")),
        *("--class-names", ",".join(names), "--out", str(folder / "card")),
    ]


def notes(capsys: pytest.CaptureFixture, arguments: list[str]) -> list[str]:
    """What the command says beside its progress."""
    capsys.readouterr()
    assert report(arguments) == 0
    return [line for line in capsys.readouterr().err.splitlines() if "biasvar" in line or "Glyph" in line]


@pytest.mark.parametrize("formats", ["png", "png,svg,pdf"])
def test_missing_glyphs_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, formats: str) -> None:
    said = notes(capsys, [*card(tmp_path, CJK), "--formats", formats])
    assert len(said) == 1
    assert said[0].startswith("biasvar: note: the figures show boxes for 4 characters")
    assert set(CJK) < set(said[0])
    assert "font.family: " in said[0]


def test_of_a_report_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [made(tmp_path / name, CJK[i:] + CJK[:i]) for i, name in enumerate(("one", "two"))]
    said = notes(capsys, [*runs, "--out", str(tmp_path / "report"), "--figures", "accuracy,bias_variance"])
    assert [line[:15] for line in said] == ["biasvar: note: "]


@pytest.mark.parametrize("key", ["font.family", "font.sans-serif"])
def test_a_font_of_ones_own_is_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture, key: str) -> None:
    assert len(notes(capsys, card(tmp_path, LENT))) == 1
    with mpl.rc_context({key: ["STIXGeneral"]}):
        assert notes(capsys, card(tmp_path, LENT)) == []


def test_a_setting_does_not_change_a_figure_that_needs_no_other_font(tmp_path: Path) -> None:
    pictures = []
    for family in ("sans-serif", "STIXGeneral", "No Such Font"):
        with mpl.rc_context({"font.family": family}), style.context():
            figure = style.new_figure(height=2)
            figure.add_subplot().set_title("accuracy, 12 %")
            style.lay_out(figure)
            style.save(figure, tmp_path / "it.png", "png")
            pictures.append((tmp_path / "it.png").read_bytes())
            assert families() == ["sans-serif", *(["STIXGeneral"] if family == "STIXGeneral" else [])]
    assert pictures[0] == pictures[1] == pictures[2]
