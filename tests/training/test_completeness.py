"""Files of a run that are missing, doubled or in another's place: named when read, made again by the same command."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from biasvar import open_run
from biasvar.errors import RecordError
from biasvar.report.__main__ import main as report
from biasvar.run import main
from tests.conftest import TINY
from tests.training.test_execute import contents

RECORD = "records/arm=kd/split=test/view=clean/epoch=0002"
SEEN = "records/arm=kd/split=train/view=augmented"
PREDICTED = "predictions/arm=kd/split=test/membership=all/epoch=0002"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `study.yaml` and its run, `run`, of three replicas, each by itself; `other` has another seed."""
    folder = tmp_path_factory.mktemp("complete")
    study = copy.deepcopy(TINY) | {"replicas": 3, "backend": "sequential"}
    study["schedule"] = {"epochs": 2, "batch_size": 40}
    study["learning_rate"] = {"value": 0.4}
    study["teachers"] = {"main": {"hidden": [16], "epochs": 3}}
    study["arms"] = {name: study["arms"][name] for name in ("ce", "kd")}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    (folder / "other.yaml").write_text(yaml.safe_dump(study | {"seed": 4}))
    for name, out in (("study.yaml", "run"), ("other.yaml", "other")):
        assert main([str(folder / name), "--jobs", "1", "--device", "cpu", "--out", str(folder / out)]) == 0
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def delete(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink() if (run / name).is_file() else shutil.rmtree(run / name)


def put(source: str, target: str) -> Callable[[Path], None]:
    return lambda run: shutil.copyfile(run / source, run / target) and None


def swap(one: str, two: str) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        first = (run / one).read_bytes()
        (run / one).write_bytes((run / two).read_bytes())
        (run / two).write_bytes(first)

    return harm


def cut(name: str, keep: float) -> Callable[[Path], None]:
    return lambda run: (
        (run / name).write_bytes((run / name).read_bytes()[: int(keep * (run / name).stat().st_size)]) and None
    )


def other_rows(run: Path) -> None:
    """The record of test rows under the words and the name of one of training rows."""
    path = run / "records/arm=kd/split=train/view=clean/epoch=0002/group=001.parquet"
    said = pq.read_schema(path).metadata
    pq.write_table(pq.read_table(run / RECORD / "group=001.parquet").replace_schema_metadata(said), path)


def newer(run: Path) -> None:
    path = run / RECORD / "group=001.parquet"
    table = pq.read_table(path)
    said = table.schema.metadata[b"biasvar"].replace(b'"schema_version": 1', b'"schema_version": 7')
    pq.write_table(table.replace_schema_metadata({b"biasvar": said}), path)


def other_label(run: Path) -> None:
    path = run / "samples.parquet"
    table = pq.read_table(path)
    labels = table.column("label").to_pylist()
    column = pa.array([labels[-1 - i] for i in range(len(labels))], table.schema.field("label").type)
    pq.write_table(table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), column), path)


# What is done to a run, and the words when it is read; None where only a new run looks at the file.
HARMS = {
    "a record is missing": (delete(f"{RECORD}/group=001.parquet"), "lacks replica 1 of 3"),
    "a record of training is missing": (delete(f"{SEEN}/epoch=0001/group=002.parquet"), "lacks replica 2 of 3"),
    "an epoch is missing": (delete(f"{SEEN}/epoch=0001"), None),
    "predictions are missing": (delete(f"{PREDICTED}/group=001.parquet"), "of 2 groups of replicas, not of 3"),
    "metrics are missing": (delete("metrics/arm=kd/group=000.parquet"), "lacks replica 0 of 3"),
    "weights are missing": (delete("weights/arm=kd/group=001.safetensors"), None),
    "a folder is missing": (delete("predictions/arm=kd"), None),
    "the teacher is missing": (delete("teachers/main.parquet"), None),
    "samples are missing": (delete("samples.parquet"), None),
    "draws are missing": (delete("membership.parquet"), "keeps no membership"),
    "the study file is missing": (delete("study.yaml"), None),
    "a record comes from another arm": (
        put(f"{RECORD}/group=001.parquet".replace("kd", "ce"), f"{RECORD}/group=001.parquet"),
        "of arm 'ce', not 'kd'",
    ),
    "a record comes from another epoch": (
        put(f"{SEEN}/epoch=0002/group=000.parquet", f"{SEEN}/epoch=0001/group=000.parquet"),
        "of epoch 2, not 1",
    ),
    "predictions come from another split": (
        put(f"{PREDICTED}/group=000.parquet".replace("test", "validation"), f"{PREDICTED}/group=000.parquet"),
        "of split 'validation', not 'test'",
    ),
    "predictions come from another run": (
        put(f"../other/{PREDICTED}/group=001.parquet", f"{PREDICTED}/group=001.parquet"),
        "another split|not those of its metrics|comes more than once|replicas in group",
    ),
    "metrics come from another arm": (
        put("metrics/arm=ce/group=001.parquet", "metrics/arm=kd/group=001.parquet"),
        "it holds metrics of arm 'ce'",
    ),
    "a record is put in the place of another": (
        put(f"{RECORD}/group=000.parquet", f"{RECORD}/group=001.parquet"),
        "it holds replica 0 and is named as that of replica 1",
    ),
    "records are swapped": (swap(f"{RECORD}/group=000.parquet", f"{RECORD}/group=001.parquet"), "in the wrong place"),
    "predictions are doubled": (
        put(f"{PREDICTED}/group=000.parquet", f"{PREDICTED}/group=001.parquet"),
        "groups of replicas|replicas in group",
    ),
    "metrics are doubled": (
        put("metrics/arm=kd/group=000.parquet", "metrics/arm=kd/group=001.parquet"),
        "comes more than once",
    ),
    "weights are swapped": (swap(*(f"weights/arm=kd/group=00{r}.safetensors" for r in range(2))), None),
    "a record has rows of another split": (other_rows, "are they rows of another split or run"),
    "a record is empty": (cut(f"{RECORD}/group=001.parquet", 0), "damaged or cut short"),
    "a record is cut short": (cut(f"{SEEN}/epoch=0001/group=001.parquet", 0.7), "damaged or cut short"),
    "predictions are cut short": (cut(f"{PREDICTED}/group=001.parquet", 0.5), "damaged or cut short"),
    "the teacher is cut short": (cut("teachers/main.parquet", 0.5), "damaged or cut short"),
    "samples are empty": (cut("samples.parquet", 0), "damaged or cut short"),
    "a record is of a newer version": (newer, "schema version 7"),
    "the teacher's weights are missing": (delete("weights/teacher=main"), None),
    "the teacher's weights are cut short": (cut("weights/teacher=main/group=000.safetensors", 0.5), None),
    "the teacher's weights are those of an arm": (
        put("weights/arm=ce/group=000.safetensors", "weights/teacher=main/group=000.safetensors"),
        None,
    ),
    "samples have another label": (other_label, None),
    "draws come from another run": (put("../other/membership.parquet", "membership.parquet"), None),
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_wrong_is_named_and_made_again(here: Path, capsys, name: str) -> None:
    harm, words = HARMS[name]
    run, whole = here / "run", contents(here / "run")
    harm(run)
    assert contents(run) != whole
    if words is not None:
        with pytest.raises(RecordError, match=words) as refused:
            everything(run)
        assert "\n" not in str(refused.value)
    assert main([str(here / "study.yaml"), "--jobs", "1", "--device", "cpu", "--out", str(run)]) == 0
    said = capsys.readouterr().err
    of_the_run = name.split()[0] in ("samples", "draws") or name.startswith(("the teacher", "the study file"))
    assert ("arm kd is trained again: " in said) != of_the_run
    assert "arm ce is trained again" not in said
    assert contents(run) == whole
    everything(run)


def everything(directory: Path) -> None:
    run = open_run(directory)
    run.records(["student_loss"])
    run.predictions("kd")
    assert len(run.metrics) + len(run.samples) + len(run.membership) + len(run.teacher("main").sample_ids)


def test_a_run_that_is_whole_is_left_alone(here: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("biasvar.training.execute.make_executor", None)  # nothing may be trained
    assert main([str(here / "study.yaml"), "--jobs", "1", "--device", "cpu", "--out", str(here / "run")]) == 0
    assert "again" not in capsys.readouterr().err


def test_a_file_that_no_training_writes_is_named_with_the_cure(here: Path, capsys) -> None:
    extra = here / "run" / RECORD / "group=007.parquet"
    shutil.copyfile(here / "run" / RECORD / "group=001.parquet", extra)
    for command, arguments in (
        (main, [str(here / "study.yaml"), "--jobs", "1", "--device", "cpu", "--out", str(here / "run")]),
        (report, [str(here / "run"), "--out", str(here / "report"), "--figures", "flags,gallery,accuracy"]),
    ):
        capsys.readouterr()
        assert command(arguments) == 2
        said = capsys.readouterr().err
        assert "again: " not in said  # training would not help
        line = said.splitlines()[-1]
        assert line.startswith("biasvar: error: ")
        assert str(extra) in line
        assert "named as that of replica 7" in line
    extra.unlink()
    assert main([str(here / "study.yaml"), "--jobs", "1", "--device", "cpu", "--out", str(here / "run")]) == 0
    assert open_run(here / "run").manifest["status"] == "complete"


def test_a_loop_of_ones_own_names_a_record_in_the_wrong_place_or_twice(tmp_path: Path) -> None:
    from biasvar.records import RunWriter
    from tests.records.conftest import record_columns

    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": 4})
    first = writer.record("kd", "train", "augmented", 1, 0, record_columns(0, replicas=[0]))
    second = writer.record("kd", "train", "augmented", 2, 0, record_columns(1, replicas=[0]))
    shutil.copyfile(second, first)
    with pytest.raises(RecordError, match=r"epoch=0001.*of epoch 2, not 1.*restore what was written there"):
        open_run(tmp_path / "run").records()
    writer.record("kd", "train", "augmented", 1, 0, record_columns(0, replicas=[0]), replace=True)
    shutil.copyfile(first, first.with_name("group=001.parquet"))
    with pytest.raises(RecordError, match=r"replica 0 more than once .*group=000.parquet, group=001.parquet"):
        open_run(tmp_path / "run").records()
    rest = record_columns(2, replicas=[0], ids=range(50, 60))  # other rows of the same replica are no copy
    first.with_name("group=001.parquet").unlink()
    writer.record("kd", "train", "augmented", 1, 1, rest)
    assert len(open_run(tmp_path / "run").records(epochs=1)) == 30
    foreign = pq.read_table(first).replace_schema_metadata(None)
    assert isinstance(foreign, pa.Table)
    pq.write_table(foreign, first)  # another tool says nothing of the file
    assert len(open_run(tmp_path / "run").records(epochs=1)) == 30
