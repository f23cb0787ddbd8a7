"""Parts of an epoch: merged they are what one writer would have written, and what is not whole is not read."""

import itertools
import os
import signal
import warnings

import numpy as np
import pytest

from biasvar.errors import RecordError
from biasvar.records import RunWriter, open_run
from biasvar.records.epoch_parts import check_part, incomplete_epochs, part_path
from biasvar.records.merging import PartWriter, first_rows
from biasvar.records.schema import record_folder, record_path
from biasvar.records.stored_files import incomplete_records
from biasvar.report.text import description

from .conftest import MANIFEST, record_columns

KEY = ("kd", "train", "augmented")
METADATA = {"temperature": 4.0, "reference_teacher": "wide"}


def rows(columns, chosen):
    return {name: values[chosen] for name, values in columns.items()}


def part_writer(writer, rank, world=3, **options):
    return PartWriter(writer, *KEY, 0, (rank, world), **options)


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("teacher", [True, False])
def test_parts_in_any_order_are_the_file_of_one_writer(tmp_path, world, teacher):
    columns = record_columns(5, teacher=teacher)
    shuffled = np.random.default_rng(world).permutation(len(columns["replica"]))
    one = RunWriter(tmp_path / "one", manifest=MANIFEST).record(*KEY, 4, 0, columns, metadata=METADATA)
    writer = RunWriter(tmp_path / "parts", manifest=MANIFEST)
    ranks = np.random.default_rng(1).permutation(world)
    for turn, rank in enumerate(ranks):
        chosen = rows(columns, shuffled[rank::world])
        answer = part_writer(writer, rank, world).record(4, chosen, METADATA)
        assert answer == (0 if turn == world - 1 else None)
    merged = record_path(writer.directory, *KEY, 4)
    assert merged.read_bytes() == one.read_bytes()
    assert sorted(p.name for p in writer.directory.rglob("*") if p.is_file()) == ["group=000.parquet", "manifest.json"]


def test_an_epoch_that_lacks_a_part_is_named_and_not_read(writer):
    columns = record_columns(1)
    for epoch, ranks in ((1, (0, 1)), (2, (1,))):
        for rank in ranks:
            part_writer(writer, rank, 2).record(epoch, rows(columns, slice(rank, None, 2)), METADATA)
    folder = record_folder(writer.directory, *KEY)
    assert incomplete_epochs(folder) == {2: "group 0 lacks part 0 of 2"}
    run = open_run(writer.directory)
    with pytest.warns(UserWarning, match=r"epoch 2 is not complete and not read: group 0 lacks part 0 of 2"):
        assert run.records()["epoch"].unique().tolist() == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(run.records(epochs=1)) == 60
    with pytest.raises(RecordError, match=r"epoch 2 is not complete .* go on with resume=True"):
        run.records(epochs=[1, 2])


def test_the_same_part_twice_is_refused(writer):
    columns = record_columns(1)
    part_writer(writer, 0, 2).record(1, rows(columns, slice(0, 30)), METADATA)
    with pytest.raises(RecordError, match=r"part 0 of 2 of the record of arm 'kd', .* written by another process"):
        part_writer(writer, 0, 2).record(1, rows(columns, slice(30, 60)), METADATA)
    part_writer(writer, 1, 2).record(1, rows(columns, slice(30, 60)), METADATA)
    for rank in range(2):
        with pytest.raises(RecordError, match=r"epoch 1 is already recorded; go on from a later epoch"):
            part_writer(writer, rank, 2).record(1, rows(columns, slice(30, 60)), METADATA)
    assert len(open_run(writer.directory).records()) == 60


def test_samples_in_two_parts(writer):
    columns = record_columns(1, replicas=[0])
    first, second = rows(columns, np.r_[0:12]), rows(columns, np.r_[10:20])
    second["student_loss"] = second["student_loss"] + 1
    part_writer(writer, 1, 2).record(1, second, METADATA)
    with pytest.raises(RecordError, match=r"parts of the record of .*epoch 1 share sample_ids 20, 22: .*'first'"):
        part_writer(writer, 0, 2).record(1, first, METADATA)
    assert not record_path(writer.directory, *KEY, 1).exists()
    assert incomplete_epochs(record_folder(writer.directory, *KEY)) == {1: "group 0 has 2 parts that are not merged"}
    part_writer(writer, 0, 2, on_duplicate="first").settle()  # opened again with the cure that the message names
    loss = open_run(writer.directory).records(columns="student_loss")["student_loss"].to_numpy()
    np.testing.assert_array_equal(loss, columns["student_loss"] + (np.arange(20) >= 12))
    arm = open_run(writer.directory).manifest["arms"]["kd"]
    assert arm["duplicates_dropped"] == {"train": {"augmented": 2}}
    assert not list(writer.directory.rglob("*.part=*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 2.0}, "temperature is 4.0 in part 0 and 2.0 in part 1"),
        ({"reference_teacher": None}, "reference_teacher is 'wide' in part 0 and None in part 1"),
    ],
)
def test_parts_that_disagree_are_not_merged(writer, change, message):
    columns = record_columns(1)
    part_writer(writer, 0, 2).record(1, rows(columns, slice(0, 30)), METADATA)
    with pytest.raises(RecordError, match=message):
        part_writer(writer, 1, 2).record(1, rows(columns, slice(30, 60)), METADATA | change)
    part_writer(writer, 0, 2).record(2, rows(columns, slice(0, 30)), METADATA)
    other = rows(record_columns(1, teacher=False), slice(30, 60))
    with pytest.raises(RecordError, match="column 'teacher_loss' is empty in part 1 only; give teacher_logits in all"):
        part_writer(writer, 1, 2).record(2, other, METADATA)


def test_opening_again_removes_ones_own_part_of_what_is_not_complete(writer):
    columns = record_columns(1)
    for rank in (0, 1):
        part_writer(writer, rank).record(1, rows(columns, slice(rank, None, 3)), METADATA)
    assert part_writer(writer, 1).begun() == [1]
    part_writer(writer, 1).settle()
    assert part_writer(writer, 1).begun() == []
    assert part_writer(writer, 0).begun() == [1]
    part_writer(writer, 0, 2).settle()  # another number of processes: nothing of the former can be completed
    assert incomplete_epochs(record_folder(writer.directory, *KEY)) == {}
    for rank in (2, 1, 0):
        part_writer(writer, rank).record(1, rows(columns, slice(rank, None, 3)), METADATA)
    assert len(open_run(writer.directory).records()) == 60


def test_recorded_epochs_are_replaced_on_request(writer):
    for seed in (1, 2):
        columns = record_columns(seed)
        for rank in range(2):
            part_writer(writer, rank, 2, replace=True).record(1, rows(columns, slice(rank, None, 2)), METADATA)
    loss = open_run(writer.directory).records(columns="student_loss")["student_loss"]
    np.testing.assert_array_equal(loss, record_columns(2)["student_loss"])


def in_a_child(work, kill_at=None):
    """Run `work` in a process; kill it with SIGKILL just before its call number `kill_at` of os.unlink or os.fsync."""
    child = os.fork()
    if not child:
        try:
            calls = itertools.count()
            for name in ("unlink", "fsync", "link"):
                function = getattr(os, name)

                def counted(*given, function=function, **options):
                    if next(calls) == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*given, **options)

                setattr(os, name, counted)
            work()
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_step_of_writing_and_merging(tmp_path):
    columns = record_columns(3)
    one = RunWriter(tmp_path / "one", manifest=MANIFEST).record(*KEY, 1, 0, columns, metadata=METADATA).read_bytes()
    moments = 0
    for kill_at in itertools.count():
        directory = tmp_path / str(kill_at)

        def end_epoch(rank, directory=directory):
            writer = RunWriter(directory, manifest=MANIFEST, resume=True)
            part_writer(writer, rank, 2).record(1, rows(columns, slice(rank, None, 2)), METADATA)

        end_epoch(0)
        if not in_a_child(lambda: end_epoch(1), kill_at):
            break
        moments += 1
        merged = record_path(directory, *KEY, 1)
        assert not merged.exists() or merged.read_bytes() == one
        writer = RunWriter(directory, manifest=MANIFEST, resume=True)
        parts = [part_writer(writer, rank, 2) for rank in range(2)]
        for part in parts:
            part.settle()
        if not merged.exists():
            for rank, part in enumerate(parts):
                part.record(1, rows(columns, slice(rank, None, 2)), METADATA)
        assert merged.read_bytes() == one
        names = sorted(path.name for path in directory.rglob("*") if path.is_file())
        assert names == ["group=000.parquet", "manifest.json"]
    assert moments > 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_end_an_epoch_together(tmp_path):
    columns, world, epochs = record_columns(3), 4, range(1, 6)
    one = RunWriter(tmp_path / "one", manifest=MANIFEST).record(*KEY, 1, 0, columns, metadata=METADATA)

    def work(rank):
        parts = part_writer(RunWriter(tmp_path / "run", manifest=MANIFEST, resume=True), rank, world)
        for epoch in epochs:
            parts.record(epoch, rows(columns, slice(rank, None, world)), METADATA)
        os._exit(0)

    children = []
    for rank in range(world):
        child = os.fork()
        if not child:
            try:
                work(rank)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * world
    run = open_run(tmp_path / "run")
    assert run.record_epochs(*KEY) == list(epochs)
    expected = open_run(tmp_path / "one").records(columns=None).drop(columns="epoch")
    for frame in run.iter_records():
        assert frame.drop(columns="epoch").equals(expected)
    assert one.read_bytes() == record_path(tmp_path / "run", *KEY, 1).read_bytes()


def test_what_is_not_complete_stands_on_the_page(writer):
    part_writer(writer, 1).record(7, record_columns(1), METADATA)
    said = ["arm kd, train augmented, epoch 7: group 0 lacks part 0, 2 of 3"]
    assert incomplete_records(writer.directory) == said
    assert description.warnings(open_run(writer.directory)) == [f"Not complete, and left out: {said[0]}."]


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0.0, 2), (True, 2), (0,), "01", 1, (0, 0), [0, None], {0, 1}])
def test_parts_that_are_none(part):
    with pytest.raises(ValueError, match=r"part must be \(rank, world size\)"):
        check_part(part)


def test_parts_of_numpy_numbers_and_of_one_process():
    assert check_part([np.int64(1), np.int32(2)]) == (1, 2)
    assert check_part((0, 1)) is None
    assert part_path(record_path("r", *KEY, 3, 2), 1, 2).name == "epoch=0003.group=002.part=1-of-2.parquet"


def test_first_rows_against_a_loop():
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 40):
        replicas, ids = rng.integers(0, 3, n), rng.integers(0, 8, n)
        seen: set = set()
        expected = [not (pair in seen or seen.add(pair)) for pair in zip(replicas.tolist(), ids.tolist(), strict=True)]
        assert first_rows(replicas, ids).tolist() == expected
