"""The examples of CONTRIBUTING.md: a figure and a claim, run as they stand there."""

from __future__ import annotations

import io
import re

import numpy as np

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.claims import measures
from biasvar.report.claims.table import claims_table
from biasvar.study import claims
from biasvar.study.ledger import base
from tests.report.conftest import ROOT


def example(heading: str, place: int) -> str:
    """The code block at a place of a section."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    found: str = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[place]
    return found


def test_the_figure_is_drawn(study_run: Run) -> None:
    names: dict = {}
    exec(example("Add a figure", 0), names)
    figure = names["FIGURE"]
    frame = figure.collect([study_run])
    assert set(frame["arm"]) <= set(study_run.arms)
    ce = study_run.metrics.query("arm == 'ce' and split == 'test' and view == 'clean'")
    last = ce[ce["epoch"] == ce["epoch"].max()]["ece"]
    np.testing.assert_allclose(frame.loc[frame["arm"] == "ce", "estimate"], last.mean())
    with style.context():
        picture = io.BytesIO()
        style.save(figure.draw(frame), picture, "png")
    assert len(picture.getvalue()) > 5000
    assert "n = 97 rows" in figure.caption(frame, [study_run])


def test_the_claim_is_judged(study_run: Run, monkeypatch) -> None:
    claim = eval(example("Add a claim", 0), vars(base).copy())
    names = vars(measures).copy()
    exec(example("Add a claim", 1), names)
    monkeypatch.setattr("biasvar.report.claims.table.LEDGER", (*claims.LEDGER, claim))
    monkeypatch.setitem(claims_table.__globals__["MEASURES"], "C1", names["calibration"])
    asked = {"C1": [{"treatment": "kd", "control": "ce"}]}
    run = Run(study_run.directory, {**study_run.manifest, "claims": asked})
    run.study = {**(study_run.study or {}), "claims": asked}
    table = claims_table([run])
    assert table["id"].tolist() == ["C1"]
    final = study_run.metrics.query("split == 'test' and view == 'clean' and epoch == epoch.max()")
    ece = final.pivot(index="replica", columns="arm", values="ece")
    np.testing.assert_allclose(table["effect"], (ece["kd"] - ece["ce"]).mean())
