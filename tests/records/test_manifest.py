"""An edited manifest: one line that names the file and the key, wherever the run is opened, or the same numbers."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from biasvar.errors import RecordError
from biasvar.records import ArmEntry, RunWriter, open_run
from biasvar.records.manifest import check_agreement, check_manifest
from biasvar.report.__main__ import main as report
from biasvar.run import main as run
from tests.conftest import TINY

VALUES: tuple[Any, ...] = (5, "x", [], {}, None, True, -1, 1e9, float("nan"), "delete")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file, `study.yaml`, and what it left, `run`."""
    folder = tmp_path_factory.mktemp("manifest")
    study = copy.deepcopy(TINY)
    study["arms"] = {name: study["arms"][name] for name in ("ce", "kd", "wsl_recorded")}
    study["claims"] = {"W1": [{"treatment": "kd", "control": "ce"}]}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    assert run([str(folder / "study.yaml"), "--jobs", "1", "--device", "cpu", "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def edited(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """The way to every value inside a manifest."""
    if above:
        yield above
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(entry, (*above, key))


def changed(manifest: dict[str, Any], place: tuple, value: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(manifest)
    holder: Any = manifest
    for key in place[:-1]:
        holder = holder[key]
    if value == "delete":
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return manifest


def test_any_value_anywhere_is_refused_with_its_key_or_can_be_read(finished: Path) -> None:
    manifest = json.loads((finished / "run" / "manifest.json").read_text())
    study = yaml.safe_load((finished / "run" / "study.yaml").read_text())
    outcomes = {"refused": 0, "read": 0}
    for place in places(manifest):
        for value in VALUES:
            if place[0] in ("kind", "num_classes", "schema_version") or place == ("arms",):
                continue  # looked at before
            broken = changed(manifest, place, value)
            try:
                check_manifest(broken, "manifest.json")
                check_agreement(broken, study, "manifest.json")
            except RecordError as error:
                said = str(error)
            else:
                said = ""
                for name, entry in broken["arms"].items():
                    ArmEntry.read(name, entry)
            outcomes["refused" if said else "read"] += 1
            assert not said or str(place[0]) in said
            assert "\n" not in said
    assert outcomes["refused"] > 3 * outcomes["read"] > 300


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("draw",), 5, "draw is 5, it must be an object"),
        (("data",), "x", "data is 'x', it must be an object"),
        (("teachers",), [1], "teachers is [1], it must be an object"),
        (("arms", "kd", "failed_replicas"), 5, "arms.kd.failed_replicas is 5, it must be a list of objects"),
        (("arms", "kd", "failed_replicas"), [{"replica": 9, "reason": "x"}], "different replicas, from 0 to 3"),
        (("arms", "kd", "failed_replicas"), [{"reason": "x"}], "arms.kd.failed_replicas[0].replica is None"),
        (("arms",), None, "arms is None, it must be an object"),
        (("replicas",), "3", "replicas is '3', it must be a whole number"),
        (("replicas",), True, "replicas is True, it must be a whole number"),
        (("replicas",), 5, "replicas is 5, but its study (study.yaml) says 4"),
        (("claims",), [], "claims is [], it must be an object"),
        (("claims",), {}, "claims is [], but its study (study.yaml) says ['W1']"),
        (("seed",), 5, "seed is 5, but its study"),
        (("draw", "rows"), 91, "draw.rows is 91, but its study (study.yaml) says 90"),
        (("arms", "kd", "temperature"), 5, "arms.kd.temperature is 5, but its study (study.yaml) says 2.0"),
        (("arms", "kd", "record_temperature"), 5, "arms.kd.record_temperature is 5, but"),
        (("arms", "kd", "regime"), "none", "arms.kd.regime is 'none', but"),
        (("arms", "kd"), "delete", "arms is 'without kd', but"),
        (("arms", "kd", "alpha"), "delete", "arms.kd is 'without alpha', but"),
        (("replicas",), "delete", "replicas is None, it must be a whole number, since teachers.own is"),
        (("seed",), "delete", "seed is None, but its study"),
        (("draw",), None, "draw is None, but its study"),
        (("reference_teacher",), "delete", "reference_teacher is None, but its study (study.yaml) says 'disjoint'"),
        (("claims",), "delete", "claims is None, but its study (study.yaml) says {'W1'"),
        (("arms", "kd", "epochs"), "delete", "arms.kd is 'without epochs', but"),
        (("arms", "kd", "replicas"), "delete", "arms.kd is 'without replicas', but"),
        (("arms", "kd", "record_temperature"), "delete", "arms.kd is 'without record_temperature', but"),
        (("arms", "kd", "failed_replicas"), "delete", "arms.kd is 'without failed_replicas', but"),
        (("arms", "kd", "label"), 3, "arms.kd.label is 3, it must be a text"),
        (("teachers", "main", "smoothing"), 0.3, "teachers.main.smoothing is 0.3, but"),
        (("class_names",), ["a"], "a list of 10 texts (num_classes), not 1"),
        (("num_classes",), True, "num_classes True a whole number"),
        (("arms", ".."), {}, "the name of an arm or a teacher is '..'"),
    ],
)
def test_an_edit_is_one_line_from_every_command(edited: Path, capsys, place, value, words) -> None:
    path = edited / "run" / "manifest.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), place, value)))
    with pytest.raises(RecordError) as refused:
        _ = open_run(edited / "run").study
    assert words in str(refused.value)
    for arguments, command in (
        (["run", "--out", "out"], report),
        (["study.yaml", "--jobs", "1", "--device", "cpu", "--out", "run"], run),
    ):
        capsys.readouterr()
        where = [str(edited / word) if word in ("run", "out", "study.yaml") else word for word in arguments]
        assert command(where) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert words in said.err
        assert str(path) in said.err
    assert not (edited / "out").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "\ud800", '{"a": NaN', ""])
def test_what_is_no_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(RecordError, match=r"manifest\.json is damaged"):
        open_run(tmp_path)


def test_nothing_is_written_that_could_not_be_read_again(tmp_path: Path) -> None:
    start = {"kind": "recorder", "num_classes": 3}
    with pytest.raises(RecordError, match=r"was not written: draw is 5, it must be an object"):
        RunWriter(tmp_path / "new", manifest={**start, "draw": 5})
    assert not (tmp_path / "new").exists()
    writer = RunWriter(tmp_path / "run", manifest={**start, "anything": [1, {"else": None}]})
    with pytest.raises(RecordError, match=r"was not changed: arms\.kd\.replicas is 0, it must be a whole number"):
        writer.update_arm("kd", replicas=0)
    with pytest.raises(RecordError, match=r"was not changed: replicas is 'x'"):
        writer.update_manifest(replicas="x")
    writer.update_arm("kd", mine={"free": 1}, alpha=2)
    assert open_run(tmp_path / "run").arm("kd") == {"mine": {"free": 1}, "alpha": 2}


def test_settings_of_a_method_of_ones_own_may_mean_what_they_like(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": 3})
    with pytest.raises(RecordError, match=r"arms\.kd\.alpha"):
        writer.update_arm("kd", loss="distillation", alpha=[1, 2])
    writer.update_arm("mine", loss="package.module:Method", alpha=[1, 2])
    assert open_run(tmp_path / "run").entry("mine").alpha == [1, 2]


def test_a_teacher_of_each_replica_needs_their_number(tmp_path: Path) -> None:
    start = {"kind": "recorder", "num_classes": 3, "teachers": {"own": {"draw": "per_replica"}}}
    with pytest.raises(RecordError, match=r"replicas is None, .* teachers\.own is one network for each replica"):
        RunWriter(tmp_path / "run", manifest=start)
    RunWriter(tmp_path / "run", manifest={**start, "replicas": 2})


def test_failed_replicas_are_those_of_the_metrics(edited: Path, capsys) -> None:
    """A replica at chance by the accuracies that the arm left, taken off the list."""
    directory = edited / "run"
    path = next((directory / "metrics" / "arm=kd").glob("*.parquet"))
    table = pq.read_table(path)
    place = table.schema.get_field_index("accuracy")
    replicas, accuracy = (table[key].to_pylist() for key in ("replica", "accuracy"))
    low = [0.0 if replica == 2 else value for replica, value in zip(replicas, accuracy, strict=True)]
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(low, pa.float64())), path)
    with pytest.raises(RecordError, match=r"manifest\.json is damaged: arms\.kd\.failed_replicas lacks replica 2"):
        _ = open_run(directory).metrics
    assert report([str(directory), "--out", str(edited / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "failed_replicas lacks" in said
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["arms"]["kd"]["failed_replicas"] = [{"replica": 2, "reason": "at chance"}]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert len(open_run(directory).metrics)
