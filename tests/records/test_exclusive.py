"""One epoch, several writers: exactly one succeeds, and what it acknowledged stays as it wrote it."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from biasvar import files
from biasvar.errors import RecordError
from biasvar.files import write_bytes
from biasvar.records import RunWriter, open_run

from .conftest import MANIFEST, record_columns

EPOCHS, WRITERS = 25, 3


def no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def race(directory, number, barrier, answers, links=True):
    """Write every epoch at the same moment as the others; answer which were acknowledged."""
    if not links:
        os.link = no_links
    writer = RunWriter(directory, manifest=MANIFEST, resume=True)
    acknowledged = []
    for epoch in range(EPOCHS):
        barrier.wait(30)
        with suppress(RecordError):
            writer.record("kd", "train", "augmented", epoch, 0, record_columns(1000 * number + epoch))
            acknowledged.append(epoch)
    answers.put((number, acknowledged))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("links", [True, False])
def test_racing_processes_lose_no_acknowledged_epoch(tmp_path, links):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(WRITERS), context.Queue()
    workers = [context.Process(target=race, args=(tmp_path, n, barrier, answers, links)) for n in range(WRITERS)]
    for worker in workers:
        worker.start()
    owner = {}
    for _ in workers:
        number, epochs = answers.get(timeout=60)
        assert not owner.keys() & set(epochs), "two writers were both told that an epoch is theirs"
        owner |= dict.fromkeys(epochs, number)
    for worker in workers:
        worker.join()
    assert sorted(owner) == list(range(EPOCHS))
    for epoch, frame in zip(range(EPOCHS), open_run(tmp_path).iter_records(), strict=True):
        for name, values in record_columns(1000 * owner[epoch] + epoch).items():
            np.testing.assert_array_equal(frame[name].to_numpy(), values)
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.parametrize("links", [True, False])
def test_racing_threads_have_one_winner(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    barrier, won = threading.Barrier(8), []

    def write(number):
        for turn in range(20):
            barrier.wait(30)
            try:
                write_bytes(tmp_path / str(turn), str(number).encode(), exclusive=True)
            except FileExistsError:
                continue
            won.append((turn, number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(turn for turn, _ in won) == list(range(20))
    assert all((tmp_path / str(turn)).read_text() == str(number) for turn, number in won)
    assert len(list(tmp_path.iterdir())) == 20


def test_the_second_writer_is_told_which_file_and_what_to_do(writer):
    other = RunWriter(writer.directory, manifest=MANIFEST, resume=True)
    path = writer.record("kd", "train", "augmented", 3, 0, record_columns(0))
    before = path.read_bytes()
    with pytest.raises(RecordError) as refused:
        other.record("kd", "train", "augmented", 3, 0, record_columns(1))
    for word in (str(path), "arm 'kd'", "epoch 3", "replica 0, 1, 2", "another replica or arm", "replace=True"):
        assert word in str(refused.value)
    assert path.read_bytes() == before


def test_a_file_system_without_links_and_without_locks_writes_nothing(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with pytest.raises(OSError, match="not supported"):
        write_bytes(tmp_path / "a", b"1", exclusive=True)
    assert not list(tmp_path.iterdir())


def test_a_link_whose_answer_was_lost_counts_as_made(tmp_path, monkeypatch):
    link = os.link

    def asked_twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", asked_twice)
    write_bytes(tmp_path / "a", b"1", exclusive=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(FileExistsError):
        write_bytes(tmp_path / "a", b"2", exclusive=True)
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_ends_with_the_process_that_held_it(writer):
    """A process killed while it changes the manifest blocks nobody, and leaves the manifest whole."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with files.locked(writer.directory):
            os.write(writing, b"held")
            time.sleep(600)
        os._exit(1)
    assert os.read(reading, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert writer.update_arm("kd", temperature=4.0) == {"temperature": 4.0}
    assert open_run(writer.directory).manifest["arms"] == {"kd": {"temperature": 4.0}}
