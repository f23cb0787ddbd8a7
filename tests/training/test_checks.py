"""What is refused before anything is trained: networks that do not take the data, or were changed under a run."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from biasvar.errors import RecordError, StudyError
from biasvar.study import resolve_study
from biasvar.study.import_path import source_hash
from biasvar.training import workers
from biasvar.training.checks import check_networks
from biasvar.training.execute import run_study


def wrong_classes(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes + 1))


def wants_32(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 32 * 32, num_classes))


@pytest.mark.parametrize(
    ("key", "model", "shape", "message"),
    [
        ("student", f"{__name__}:wrong_classes", (12, 12, 3), r"student.model: network .*:wrong_classes.* gave shape "
         r"\(2, 6\) for images of shape \(2, 3, 12, 12\); expected \(2, 5\)"),
        ("teacher", f"{__name__}:wrong_classes", (12, 12), r"teachers.main.model: network .* expected \(2, 5\)"),
        ("student", f"{__name__}:wants_32", (12, 12, 3), r"student.model: .*failed on images of shape \(2, 3, 12"),
        ("student", f"{__name__}:no_such", (12, 12, 3), "student.model: .* has no 'no_such'"),
        ("teacher", "resnet8", (7, 9), "teachers.main.model: resnet8 takes images of at least 8x8 pixels, those of "
         "digits have 9x7; use model mlp"),
    ],
)  # fmt: skip
def test_networks_are_tried_before_anything_is_written(tiny_study, key, model, shape, message):
    chosen = {"student": "mlp", "teacher": "mlp", key: model}
    tiny_study["backend"] = "sequential"
    tiny_study["student"] = {"model": "mlp", "hidden": [4]} if chosen["student"] == "mlp" else {"model": model}
    tiny_study["teachers"] = {"main": {"model": chosen["teacher"], **({"hidden": [4]} if key == "student" else {})}}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    before = torch.random.get_rng_state()
    with pytest.raises(StudyError, match=message):
        check_networks(resolve_study(tiny_study), shape, 5)
    assert torch.equal(torch.random.get_rng_state(), before)


OWN = """
from torch import nn
def make(in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear({width}), nn.ReLU(), nn.Linear({width}, num_classes))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A network of one's own whose source can be changed, and a study with a kept teacher of that kind."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))

    def write(width: int) -> None:
        (tmp_path / "changing_network.py").write_text(OWN.format(width=width))
        sys.modules.pop("changing_network", None)

    write(8)
    yield write
    sys.modules.pop("changing_network", None)


@pytest.fixture
def kept_study(tiny_study):
    tiny_study |= {"backend": "sequential", "keep_teachers": True, "replicas": 2}
    tiny_study["student"] = {"model": "changing_network:make"}
    tiny_study["teachers"] = {"main": {"model": "changing_network:make", "epochs": 1}}
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    return tiny_study


def test_a_kept_teacher_is_for_one_source_of_its_network(own, kept_study, tmp_path):
    study, teachers = resolve_study(kept_study), tmp_path / "cache" / "teachers"
    run_study(study, tmp_path / "one", device="cpu")
    (first,) = teachers.glob("*.safetensors")
    before = source_hash("changing_network:make")
    own(9)
    assert source_hash("changing_network:make") != before
    run_study(study, tmp_path / "two", device="cpu")
    assert len(list(teachers.glob("*.safetensors"))) == 2  # the other width was trained, not taken

    own(8)
    first.write_bytes(max(teachers.glob("*.safetensors"), key=lambda path: path != first).read_bytes())
    with pytest.raises(RecordError, match=r"does not fit teacher main \(changing_network:make\).*Delete the file"):
        run_study(study, tmp_path / "three", device="cpu")
    first.write_bytes(b"damaged")
    with pytest.raises(RecordError, match=r"is damaged .*delete it and run the study again"):
        run_study(study, tmp_path / "three", device="cpu")
    first.unlink()
    run = run_study(study, tmp_path / "three", device="cpu")
    assert run.manifest["status"] == "complete"
    assert (tmp_path / "three/metrics/arm=kd/group=000.parquet").read_bytes() == (
        tmp_path / "one/metrics/arm=kd/group=000.parquet"
    ).read_bytes()


def test_a_network_that_changes_under_a_run_is_refused(own, kept_study, tmp_path, monkeypatch):
    study = resolve_study(kept_study)
    real, calls = workers.train_group, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr("biasvar.training.execute.train_group", once)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", device="cpu")
    monkeypatch.undo()
    own(9)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(RecordError, match="source of changing_network:make was changed since"):
            run_study(study, tmp_path / "run", device="cpu")
        own(8)
        assert run_study(study, tmp_path / "run", device="cpu").manifest["status"] == "complete"
    finally:
        sys.path.remove(str(tmp_path))
