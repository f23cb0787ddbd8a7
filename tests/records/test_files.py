"""Files are whole or absent, and the same content gives the same bytes."""

import errno
import io
import os
import socket
import stat
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar import files
from biasvar.files import write_bytes, write_json
from biasvar.records import RunWriter, write_table
from biasvar.records.files import table_bytes
from biasvar.records.schema import metadata_of

from .conftest import MANIFEST, record_columns


def visible(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_full_disk_keeps_the_old_file_and_leaves_no_temporary(tmp_path, monkeypatch, broken):
    write_bytes(tmp_path / "a.json", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(broken, full)
    with pytest.raises(OSError, match=r"(?i)no space left"):
        write_bytes(tmp_path / "a.json", b"new")
    assert visible(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_full_disk_while_writing(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            super().write(bytes(data[:3]))
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "open", Full, raising=False)
    with pytest.raises(OSError, match=r"(?i)no space left"):
        write_table(tmp_path / "t.parquet", pa.table({"a": [1]}))
    assert visible(tmp_path) == []


def test_full_disk_during_a_record_leaves_the_run_readable(writer, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match=r"(?i)no space left"):
            writer.record("kd", "train", "augmented", 1, 0, record_columns())
    assert not [path for path in writer.directory.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert writer.record("kd", "train", "augmented", 1, 0, record_columns()).exists()


def test_file_and_directory_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    calls = []
    replace, sync = os.replace, os.fsync

    def spied_sync(descriptor):
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", spied_sync)
    monkeypatch.setattr("os.replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    write_bytes(tmp_path / "a", b"1")
    assert calls == ["file", "rename", "directory"]
    calls.clear()
    write_bytes(tmp_path / "new" / "deeper" / "a", b"1")
    assert calls == ["directory", "directory", "file", "rename", "directory"]


def test_same_content_same_bytes(tmp_path):
    columns = record_columns()
    shuffled = np.random.default_rng(1).permutation(len(columns["replica"]))
    paths = []
    for name, order in (("a", slice(None)), ("b", shuffled)):
        run = RunWriter(tmp_path / name, manifest={**MANIFEST, "name": "same"})
        rows = {key: columns[key][order] for key in (columns if name == "a" else reversed(columns))}
        metadata = {"temperature": 4.0, "reference_teacher": "t"}
        if name == "b":
            metadata = dict(reversed(metadata.items()))
        run.record("kd", "train", "augmented", 3, 0, rows, metadata=metadata)
        paths.append(run.directory)
    names = sorted(path.relative_to(paths[0]) for path in paths[0].rglob("*") if path.is_file())
    assert len(names) == 2
    for name in names:
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()


def test_bytes_do_not_depend_on_the_metadata_order(tmp_path):
    table = pa.table({"sample_id": [1, 2], "x": [0.5, None]})
    one = table_bytes(table, {b"a": b"1", b"b": b"2"})
    two = table_bytes(table.replace_schema_metadata({"pandas": "{}"}), {b"b": b"2", b"a": b"1"})
    assert one.to_pybytes() == two.to_pybytes()
    write_table(tmp_path / "t.parquet", table, metadata_of(arm="kd"))
    assert pq.read_metadata(tmp_path / "t.parquet").metadata[b"biasvar"] == b'{"arm": "kd", "schema_version": 1}'


def test_json_speaks_plain_values(tmp_path):
    content = {"a": np.float32(0.5), "b": np.array([1, 2]), 3: tmp_path, "d": float("inf"), "e": [True, None, "ü"]}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert '"a": 0.5' in text
    assert '"d": null' in text
    assert "ü" in text
    assert text.endswith("}\n")
    with pytest.raises(TypeError, match="set"):
        write_json(tmp_path / "a.json", {"a": {1}})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text


def test_leftovers_of_killed_writers_are_removed_and_those_of_living_ones_kept(writer, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = writer.directory / "records"
    folder.mkdir()
    host = files._HOST
    assert host
    assert socket.gethostname()[0] == host[0]
    names = {
        f".group=000.parquet.{dead.pid}@{host}.tmp": False,
        f".group=000.parquet.{os.getppid()}@{host}.tmp": True,
        f".group=000.parquet.{dead.pid}@another-{host}.tmp": True,
        ".notes.tmp": True,
    }
    for name in names:
        (folder / name).write_bytes(b"part")
    RunWriter(writer.directory, manifest=MANIFEST, resume=True)
    assert {name: (folder / name).exists() for name in names} == names

    def denied(*_):
        raise PermissionError

    monkeypatch.setattr("os.kill", denied)
    assert files._is_running(1)


def test_importing_records_is_light():
    code = (
        "import sys, biasvar.records\n"
        "print([name for name in ('torch', 'pandas', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
