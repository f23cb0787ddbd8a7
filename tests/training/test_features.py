"""Studies on features instead of images, and on images made smaller."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from biasvar.errors import StudyError
from biasvar.records import open_run
from biasvar.report.figures import gallery
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from tests.training.test_execute import contents

CPU = torch.device("cpu")


@pytest.fixture
def study(tmp_path, monkeypatch, tiny_study):
    """The tiny study on three clusters of five features, some of them negative."""
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = 3 * np.eye(5)[labels] - 1 + rng.normal(0, 1, (300, 5))
    columns = {"features": pa.array(rows.tolist()), "label": labels, "split": ["train"] * 240 + ["test"] * 60}
    pq.write_table(pa.table(columns), tmp_path / "clusters.parquet")
    tiny_study["data"] = {"name": str(tmp_path / "clusters.parquet"), "validation": 30, "reserved": 60}
    tiny_study["draw"] = {"kind": "subsample", "rows": 60}
    arms = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    return tiny_study | {"arms": arms, "teachers": {"main": tiny_study["teachers"]["main"]}, "claims": {}}


def test_students_take_features_as_they_are(study, tmp_path):
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(study), tmp_path / "run", CPU)
    written = pq.read_table(tmp_path / "clusters.parquet").column("features").to_pylist()
    np.testing.assert_array_equal(context.inputs.clean(context.labels[:3] * 0).numpy(), np.float32([written[0]] * 3))
    last = run.metrics.query("split == 'test' and view == 'clean'")
    last = last[last["epoch"] == last["epoch"].max()]
    assert last["accuracy"].min() > 0.5  # of three classes
    assert run.manifest["data"]["features"] == 5
    assert "5 features each" in run.manifest["data"]["note"]
    again = run_study(resolve_study(study), tmp_path / "again", device="cpu", jobs=2)
    assert contents(again.directory) == contents(run.directory)
    frame = gallery.FIGURE.collect([run])
    assert len(frame)
    assert not frame["has_image"].any()
    assert "vectors of features, which have no image" in gallery.FIGURE.caption(frame, [run])
    gallery.FIGURE.draw(frame)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"model": "convnet"}}, r"student.model: convnet takes images, the rows of .*clusters.parquet are "
         "vectors of 5 features; use model mlp"),
        ({"student": {"model": "tests.training.own_network:make"}}, "takes images, the rows of"),
        ({"data": {"size": 4}}, "data: clusters holds features, not images: size and mode are for images"),
        ({"data": {"mode": "grey"}}, "data: clusters holds features, not images"),
        ({"data": {"flip": True}}, "data.crop and data.flip are for networks that take images, not for model mlp"),
        ({"data": {"mode": "gray"}}, "data.mode: must be 'grey' or 'colour', not 'gray', did you mean 'grey'"),
        ({"data": {"size": 0}}, "data.size: must be greater than or equal to 1"),
        ({"data": {"name": "digits", "size": 9, "test": 300}}, "data: size 9 is more than the 8 pixels that images of "
         "digits have; images are only made smaller: give at most 8"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(study, tmp_path, changes, message):
    for key, value in changes.items():
        study[key] = study[key] | value if key == "data" else value
    if "student" in changes:
        study |= {"backend": "sequential", "teachers": {}, "arms": {"ce": {"loss": "cross_entropy"}}}
    with pytest.raises((StudyError, ValueError), match=message):
        open_study(resolve_study(study), tmp_path / "run", CPU)


def test_smaller_images_are_another_study_and_are_found_again_for_the_gallery(tiny_study, tmp_path, capsys):
    arms = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    tiny_study |= {"arms": arms, "teachers": {"main": tiny_study["teachers"]["main"]}, "claims": {}}
    tiny_study["schedule"] = {"epochs": 10, "batch_size": 15}  # enough that no arm stays at chance
    before = resolve_study(tiny_study)
    tiny_study["data"] |= {"size": 4}
    study = resolve_study(tiny_study)
    assert study.hash != before.hash
    assert len(study.hashes) == 1
    run = run_study(study, tmp_path / "run", device="cpu")
    assert (run.manifest["data"]["size"], run.manifest["data"]["features"]) == (4, None)
    assert "made of 8x8 pixels, each new one the mean over its area" in run.manifest["data"]["note"]
    frame = gallery.FIGURE.collect([run])
    assert len(frame)
    assert frame["has_image"].all()
    assert next(iter(frame.attrs["images"].values())).shape == (4, 4)
    assert "made of 8x8 pixels" in gallery.FIGURE.caption(frame, [run])
    (tmp_path / "study.json").write_text(json.dumps(tiny_study | {"data": tiny_study["data"] | {"size": 30}}))
    assert main([str(tmp_path / "study.json"), "--dry-run"]) == 2
    assert "data: size 30 is more than the 8 pixels" in capsys.readouterr().err
    assert open_run(tmp_path / "run").study["data"]["size"] == 4
