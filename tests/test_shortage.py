"""A machine that is short of something is no damaged file: one line says what is short, and no file is blamed."""

from __future__ import annotations

import errno
import io
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors

from biasvar import import_predictions, open_run
from biasvar.errors import BiasvarError, RecordError, ShortageError
from biasvar.files import memory_of_machine, short_of
from biasvar.records.manifest import read_manifest
from biasvar.records.soft_labels import open_soft_labels
from biasvar.report.__main__ import main as report
from biasvar.run import main as run
from biasvar.training.checkpoints import read_weights

SHORTAGES = [
    (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
    (OSError(errno.ENFILE, "Too many open files in system"), "too many files are open on this machine"),
    (OSError("Failed to open local file. Detail: [errno 24] Too many open files"), "too many files are open"),
    (OSError(errno.EACCES, "Permission denied"), "permission to read it is denied"),
    (OSError(errno.EIO, "Input/output error"), "does not answer"),
    (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
    (MemoryError(), "memory is short"),
    (pa.ArrowMemoryError("malloc of size 4096 failed"), "memory is short"),
    (RuntimeError("can't start new thread"), "no more threads"),
    (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "no more threads"),
]
DAMAGE = [
    pa.ArrowInvalid("Parquet magic bytes not found"),
    OSError("Corrupt snappy compressed data."),
    RuntimeError("?"),
]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    import_predictions([rng.normal(size=(12, 3)) for _ in range(2)], labels, directory=tmp_path / "run")
    return tmp_path / "run"


def readings(directory: Path) -> dict[str, Callable[[], Any]]:
    run = open_run(directory)
    return {
        "records": run.records,
        "predictions": lambda: run.predictions("predictions"),
        "metrics": lambda: run.metrics,
        "samples": lambda: run.samples,
        "soft labels": lambda: open_soft_labels(directory / "samples.parquet"),
    }


@pytest.mark.parametrize(("error", "words"), SHORTAGES)
def test_a_shortage_is_said_and_no_file_is_blamed(imported: Path, monkeypatch, error, words) -> None:
    read = readings(imported)
    monkeypatch.setattr(pq, "ParquetFile", raising(error))
    for name, reading in read.items():
        with pytest.raises(ShortageError, match=words) as refused:
            reading()
        said = str(refused.value)
        assert ".parquet could not be read" in said, name
        assert not [word for word in ("restore", "delete", "damaged", "cut short", "\n") if word in said], said
        assert short_of(error) in said


@pytest.mark.parametrize("error", DAMAGE)
def test_damage_is_still_damage(imported: Path, monkeypatch, error) -> None:
    read = readings(imported)
    monkeypatch.setattr(pq, "ParquetFile", raising(error))
    for reading in read.values():
        with pytest.raises(RecordError, match=r"cannot be read as Parquet .*damaged or cut short: restore it"):
            reading()


@pytest.mark.parametrize(("error", "words"), SHORTAGES)
def test_weights_manifests_and_arrays_too(imported: Path, tmp_path: Path, monkeypatch, error, words) -> None:
    np.save(tmp_path / "soft.npy", np.ones((3, 2)) / 2)
    (tmp_path / "a.safetensors").write_bytes(b"")
    monkeypatch.setattr(safetensors, "safe_open", raising(error))
    monkeypatch.setattr(Path, "read_bytes", raising(error))
    monkeypatch.setattr("biasvar.records.numpy_files._open", raising(error))
    for read in (
        lambda: read_weights(tmp_path / "a.safetensors"),
        lambda: read_manifest(imported),
        lambda: open_soft_labels(tmp_path / "soft.npy"),
        lambda: import_predictions([str(tmp_path / "soft.npy")], [0, 1, 0], directory=tmp_path / "new"),
    ):
        with pytest.raises(ShortageError, match=words):
            read()


@pytest.mark.parametrize(("error", "words"), [(MemoryError(), "memory is short"), SHORTAGES[-2]])
def test_the_commands_end_in_one_line(imported: Path, tmp_path: Path, monkeypatch, capsys, error, words) -> None:
    monkeypatch.setattr("biasvar.report.page.open_runs", raising(error))
    monkeypatch.setattr("biasvar.study.load_study", raising(error))
    for command, argument in ((report, imported), (run, tmp_path / "study.yaml")):
        assert command([str(argument)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("biasvar: error: ")
        assert said.count("\n") == 1
        assert words in said


def test_an_error_of_the_program_is_not_hidden(imported: Path, monkeypatch) -> None:
    monkeypatch.setattr("biasvar.report.page.open_runs", raising(RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        report([str(imported)])


TOO_MANY = """
import resource, sys
from pathlib import Path
from biasvar.errors import BiasvarError
from biasvar.records.stored_files import read_columns
from biasvar.training.checkpoints import read_weights
record, weights = Path(sys.argv[1]), Path(sys.argv[2])
read_columns(record)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = []
try:
    while True:
        kept.append(open("/dev/null"))
except OSError:
    pass
for read in (lambda: read_columns(record), lambda: read_weights(weights)):
    try:
        read()
    except BiasvarError as error:
        kept.pop().close()
        kept.append(open("/dev/null"))
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on open files are those of Linux")
def test_a_process_with_too_many_open_files(imported: Path, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TOO_MANY, str(imported / "samples.parquet"), str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("too many files are open in this process" in line and "ulimit -n" in line for line in lines)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64  # of this process: untouched


# Files that claim what they do not hold


def head(shape: tuple[int, ...], dtype: str = "<f8", data: bytes = b"\x00" * 48) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def zipped(content: bytes, size: int | None = None) -> bytes:
    """An .npz of one array; `size` is what the archive says of it instead of the truth."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", content)
    raw = file.getvalue()
    return raw if size is None else raw.replace(len(content).to_bytes(4, "little"), size.to_bytes(4, "little"))


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"run": "anything"}], dtype=object), allow_pickle=True)
FILES = {
    "rows.npy": head((10**12, 3)),
    "columns.npy": head((3, 10**12)),
    "more_than_64_bits.npy": head((10**30, 3)),
    "negative.npy": head((-1, 3)),
    "cut.npy": head((100, 3)),
    "objects.npy": OBJECTS.getvalue(),
    "pickle.npy": pickle.dumps([1, 2]),
    "empty.npy": b"",
    "no_head.npy": b"\x93NUMPY\x01\x00\xff\xff{",
    "wild_head.npy": b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os') ",
    "rows.npz": zipped(head((10**12, 3))),
    "objects.npz": zipped(OBJECTS.getvalue()),
    "pickle.npz": zipped(pickle.dumps([1, 2])),
    "size.npz": zipped(head((2, 3)), 2**31),
    "cut.npz": zipped(head((2, 3)))[:90],
    "garbage.npz": zipped(head((2, 3))).replace(b"\x78\x9c", b"\x00\x00")[:-9],
    "none.npz": b"PK\x05\x06" + bytes(18),
    "rows.parquet": b"PAR1" + bytes(100) + (60).to_bytes(4, "little") + b"PAR1",
    "footer.parquet": b"PAR1" + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    "empty.parquet": b"",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_claims_too_much_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    for read in (
        lambda: list(open_soft_labels(path, [0, 1, 0]).batches()),
        lambda: import_predictions([path], [0, 1, 0], directory=tmp_path / "run"),
        lambda: import_predictions([np.ones((3, 2))], path, directory=tmp_path / "run"),
    ):
        with pytest.raises((BiasvarError, ValueError), match=name.partition(".")[0]) as refused:
            read()
        assert "\n" not in str(refused.value)
        assert not isinstance(refused.value, ShortageError)
    assert not (tmp_path / "run").exists()


def test_an_array_that_unpacks_to_more_than_the_memory_is_one_line(tmp_path: Path, monkeypatch) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((5000, 100)))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr("biasvar.records.numpy_files.memory_of_machine", lambda: 2**20)
    with pytest.raises(RecordError, match=r"3\.8 MiB unpacked, which is more than this machine's memory of 1\.0 MiB"):
        import_predictions([tmp_path / "bomb.npz"], np.zeros(5000, int), directory=tmp_path / "run")
    assert open_soft_labels(tmp_path / "bomb.npz").rows == 5000  # read some rows at a time
    assert 2**30 < memory_of_machine() < 2**60


def test_metadata_of_a_parquet_file_may_be_anything(imported: Path) -> None:
    path = next(imported.rglob("records/**/*.parquet"))
    table = pq.read_table(path)
    for said, words in (
        (b"[" * 100_000, "cannot be read as Parquet"),
        (b"[1]", "no object"),
        (b'{"replicas": 5}', "its replicas are 5"),
        (b'{"replicas": ["0"]}', "its replicas are"),
        (b'{"schema_version": 9}', "schema version 9, this biasvar reads up to 2; update biasvar"),
        (b'{"schema_version": "x"}', "its schema_version is 'x', it must be a whole number"),
        (b"\xff", "cannot be read as Parquet"),
    ):
        pq.write_table(table.replace_schema_metadata({b"biasvar": said}), path)
        with pytest.raises(RecordError, match=words):
            open_run(imported).records(replicas=[0])
