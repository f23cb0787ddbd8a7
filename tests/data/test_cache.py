"""The cache: found again, made anew when the file changes, whole or absent whatever happens."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import biasvar.data.images
import biasvar.files
from biasvar.data import load_dataset
from biasvar.data.cache import cached
from tests.data.made import pictures, write

COUNT = """
import sys
import biasvar.data.images as images
from biasvar.data import load_dataset
plain = images._decode_into
def decode(*args):
    print("decodes", flush=True)
    plain(*args)
images._decode_into = decode
print(load_dataset(sys.argv[1]).fingerprint)
"""
DIE = """
import os, signal, sys
import biasvar.data.parquet as parquet
from biasvar.data import load_dataset
from biasvar.data.decode import Decoder
parquet.BATCH = 8
plain = Decoder.decode
def decode(self, *args):
    if self._done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, *args)
Decoder.decode = decode
load_dataset(sys.argv[1])
"""


@pytest.fixture
def decodes(monkeypatch):
    """How often images were decoded."""
    calls = []
    plain = biasvar.data.images._decode_into
    monkeypatch.setattr(biasvar.data.images, "_decode_into", lambda *args: (calls.append(1), plain(*args)))
    return calls


def kept(folders):
    return sorted(p for p in (folders / "cache" / "decoded").iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_decoded_once_and_a_changed_one_again(tmp_path, decodes):
    path = write(tmp_path / "a.parquet", pictures(12), [0, 1] * 6)
    first, again = load_dataset(path), load_dataset(path)
    assert len(decodes) == 1
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.fingerprint, first.note) == (again.fingerprint, again.note)
    np.testing.assert_array_equal(first.mean, again.mean)
    moved = tmp_path / "elsewhere" / "a.parquet"
    moved.parent.mkdir()
    shutil.copy(path, moved)
    load_dataset(moved)
    assert len(decodes) == 1
    before = path.stat()
    write(path, pictures(12), [1, 0] * 6)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the content counts, not the date
    assert path.stat().st_size == before.st_size
    assert load_dataset(path).labels[0] == 1
    assert len(decodes) == 2


def test_what_is_asked_for_is_part_of_the_key(tmp_path, decodes):
    path = write(tmp_path / "a.parquet", pictures(4), [0, 1, 0, 1], other=[1, 1, 0, 0])
    assert load_dataset(path, label_column="other").labels.tolist() == [1, 1, 0, 0]
    assert load_dataset(path, mode="L").images.ndim == 3
    assert load_dataset(path).images.ndim == 4
    assert len(decodes) == 3


def test_writing_into_the_images_changes_no_file(tmp_path):
    path = write(tmp_path / "a.parquet", pictures(4), [0, 1, 0, 1])
    load_dataset(path).images[:] = 0
    np.testing.assert_array_equal(load_dataset(path).images, pictures(4))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("harm", ["cut", "empty", "gone"])
def test_a_damaged_entry_is_made_anew(folders, decodes, name, harm):
    path = write(folders / "a.parquet", pictures(12), [0, 1] * 6)
    load_dataset(path)
    file = kept(folders)[0] / name
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: -20 if harm == "cut" else 0])
    np.testing.assert_array_equal(load_dataset(path).images, pictures(12))
    assert len(decodes) == 2
    load_dataset(path)
    assert len(decodes) == 2


def test_a_killed_process_leaves_nothing_that_counts(folders, decodes):
    path = write(folders / "a.parquet", pictures(60), [0, 1] * 30)
    dead = subprocess.run([sys.executable, "-c", DIE, str(path)], check=False)
    assert dead.returncode == -signal.SIGKILL
    (leftover,) = kept(folders)
    assert leftover.name.startswith(".")
    assert [file.name for file in leftover.iterdir()] == ["images.npy"]
    np.testing.assert_array_equal(load_dataset(path).images, pictures(60))
    assert len(decodes) == 1
    (entry,) = kept(folders)
    assert entry.name.startswith("a-")


def test_processes_that_start_together_decode_once(folders):
    path = write(folders / "a.parquet", pictures(400), [0, 1] * 200)
    started = [
        subprocess.Popen([sys.executable, "-c", COUNT, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in started]
    assert sum(words.count("decodes") for words in said) == 1
    assert {words[-1] for words in said} == {load_dataset(path).fingerprint}
    assert len(kept(folders)) == 1


def test_makers_without_a_lock_keep_one_whole_result(tmp_path, monkeypatch):
    monkeypatch.setattr(biasvar.files, "fcntl", None)
    together, found = threading.Barrier(2), []

    def fill(folder):
        together.wait(timeout=20)
        (folder / "value").write_text("7")

    def work():
        found.append(cached(tmp_path / "place", fill, lambda folder: (folder / "value").read_text()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["7", "7"]
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["place"]


def test_a_full_disk_and_a_folder_that_cannot_be(folders, monkeypatch):
    path = write(folders / "a.parquet", pictures(12), [0, 1] * 6)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(
            OSError, match=r"cannot keep decoded images in .*\(No space left on device\); set BIASVAR_C"
        ):
            load_dataset(path)
    assert kept(folders) == []
    monkeypatch.setenv("BIASVAR_CACHE", str(path))
    with pytest.raises(OSError, match="cannot keep decoded images"):
        load_dataset(path)


def test_the_folders_default_to_the_home_directory(monkeypatch, tmp_path):
    from biasvar.data.layout import cache_folder, data_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BIASVAR_CACHE")
    assert str(data_folder()) == str(tmp_path / "data")
    monkeypatch.delenv("BIASVAR_DATA")
    assert cache_folder() == data_folder() == tmp_path / ".cache" / "biasvar"
    with pytest.raises(FileNotFoundError, match=r"\.cache/biasvar \(BIASVAR_DATA names another folder\)"):
        load_dataset("cifar10")
