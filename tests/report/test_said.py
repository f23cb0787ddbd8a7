"""What the command line says of arms whose run does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from biasvar.records import Run, import_predictions
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.arms.description import arm_label
from biasvar.report.figures import load
from biasvar.report.statistics import stored
from biasvar.report.text.description import warnings

N, C = 40, 3


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    for place, arm in enumerate(("plain", "soft", "other")):
        logits = rng.normal(size=(3, N, C)) + np.eye(C)[labels]
        import_predictions(list(logits), labels, directory=tmp_path / "run", arm=arm, resume=place > 0)
    return tmp_path / "run"


def directions(run, *words):
    out = run.parent / "page"
    assert main([str(run), "--out", str(out), "--figures", "directions,effects", "--formats", "png", *words]) == 0
    found = {}
    for name in ("directions", "effects"):
        path = out / f"{name}.csv"
        frame = pd.read_csv(path) if path.exists() else pd.DataFrame({"arm": [], "control": []})
        found[name] = set(zip(frame["arm"], frame["control"], strict=True))
    return found


def test_arms_are_compared_as_the_command_line_says(run, capsys):
    before = (run / "manifest.json").read_bytes()
    assert not any(directions(run).values())
    found = directions(run, "--control", "soft=plain", "--control", "other=soft")
    assert found["effects"] == {("soft", "plain"), ("other", "soft")}
    found = directions(run, "--loss", "plain=cross_entropy")
    assert found["effects"] == {("soft", "plain"), ("other", "plain")}
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--control", "soft"], "--control soft: give ARM=OTHER_ARM"),
        (["--control", "soft=soft"], "give ARM=OTHER_ARM"),
        (["--loss", "=x"], "--loss =x: give ARM=LOSS"),
        (["--control", "sof=plain"], "no run has an arm 'sof'; did you mean 'soft'"),
        (["--control", "soft=pain"], "no run has an arm 'pain'; did you mean 'plain'"),
    ],
)
def test_words_that_fit_no_arm_are_refused(run, words, message, capsys):
    assert main([str(run), "--out", str(run.parent / "page"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (run.parent / "page").exists()


@pytest.mark.parametrize(("keep", "flagged"), [("regularization", 0.004), ("other", 0.996)])
def test_an_arm_whose_mask_leaves_hardly_a_soft_label_is_named(
    study_run: Run, monkeypatch: pytest.MonkeyPatch, keep: str, flagged: float
) -> None:
    arms = study_run.manifest["arms"]
    manifest = study_run.manifest | {"arms": arms | {"kd": arms["kd"] | {"keep": keep}}}
    assert not any("its mask leaves" in line for line in warnings(Run(study_run.directory, manifest)))
    metrics = study_run.metrics.copy()
    metrics.loc[metrics["arm"] == "kd", "share_opposing"] = flagged
    monkeypatch.setattr(stored, "metrics", lambda run: metrics)
    run = Run(study_run.directory, manifest)
    (line,) = (line for line in warnings(run) if "its mask leaves" in line)
    assert "0.4 % of the rows" in line
    label = arm_label(run, "kd")
    assert line.startswith(f"Arm {label} (‡ in the figures): ")
    figure = load("accuracy")
    frame = figure.collect([run])
    assert f"‡ {label}: the mask leaves hardly any soft labels" in figure.caption(frame, [run])
    assert figure.caption(frame, [study_run]).count("‡") == 0
    with style.context():
        texts = {text.get_text() for text in figure.draw(frame).findobj(Text)}
    assert f"{label} ‡" in texts
    assert label in set(frame["label"])  # the table has the name as it is
