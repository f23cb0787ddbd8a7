"""Several recorders of one epoch: two that exclude each other, and parts that add up to what one would have written."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

import biasvar
from biasvar.errors import RecordError
from biasvar.records.schema import record_path

N, C, TAU = 31, 5, 4.0


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, N, C, generator=generator)
    return student, teacher, torch.randint(0, C, (N,), generator=generator)


def recorder(directory, **changes):
    return biasvar.Recorder(directory, **{"num_samples": N, "num_classes": C, "temperature": TAU, **changes})


def feed(writer, data, ids):
    student, teacher, labels = data
    for piece in torch.as_tensor(ids).split(4):
        writer.update(piece, student[piece], labels[piece], teacher[piece])


def epoch_file(directory, epoch=1):
    return record_path(directory, "default", "train", "augmented", epoch)


def sampled(rank, world, epoch):
    sampler = DistributedSampler(range(N), num_replicas=world, rank=rank, seed=3)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_parts_of_a_distributed_sampler_are_the_file_of_one_recorder(tmp_path, data, world):
    with recorder(tmp_path / "one", on_duplicate="first") as one:
        feed(one, data, range(N))
    ranks = [recorder(tmp_path / "run", part=(rank, world), on_duplicate="first") for rank in range(world)]
    for epoch in (1, 2):
        for rank, writer in enumerate(ranks):
            feed(writer, data, sampled(rank, world, epoch))
            summary = writer.end_epoch()
            assert summary["n"].tolist() == [-(-N // world)]
    run = biasvar.open_run(tmp_path / "run")
    expected = biasvar.open_run(tmp_path / "one").records()
    for epoch, frame in zip((1, 2), run.iter_records(), strict=True):
        assert frame.assign(epoch=np.int32(1)).equals(expected), epoch
    padded = -(-N // world) * world - N
    if not padded:
        assert epoch_file(tmp_path / "run").read_bytes() == epoch_file(tmp_path / "one").read_bytes()
    dropped = run.manifest["arms"]["default"].get("duplicates_dropped", {"train": {"augmented": 0}})
    assert dropped == {"train": {"augmented": 2 * padded}}


def test_repeats_of_a_distributed_sampler_are_refused_by_default(tmp_path, data):
    ranks = [recorder(tmp_path / "run", part=(rank, 2)) for rank in range(2)]
    for rank, writer in enumerate(ranks):
        feed(writer, data, sampled(rank, 2, 1))
    ranks[0].end_epoch()
    with pytest.raises(RecordError, match=r"share sample_ids \d+: it is not recorded\. .*on_duplicate='first'"):
        ranks[1].end_epoch()
    assert not epoch_file(tmp_path / "run").exists()
    ranks = [recorder(tmp_path / "run", part=(rank, 2), on_duplicate="first", resume=True) for rank in range(2)]
    assert [writer.epoch for writer in ranks] == [2, 2]
    assert len(biasvar.open_run(tmp_path / "run").records()) == N


def test_a_sample_twice_in_one_recorder(tmp_path, data):
    student, teacher, labels = data
    ids = torch.tensor([3, 5, 3, 7, 5, 3])
    with recorder(tmp_path / "first", on_duplicate="first") as writer:
        logits = student[ids] + torch.arange(6)[:, None] * torch.tensor([1.0, 0, 0, 0, 0])
        writer.update(ids[:2], logits[:2], labels[ids[:2]], teacher[ids[:2]])
        writer.update(ids[2:], logits[2:], labels[ids[2:]], teacher[ids[2:]])
        summary = writer.end_epoch()
        assert (summary["n"].tolist(), summary["duplicates_dropped"].tolist()) == ([3], [3])
        feed(writer, data, range(N))
        assert writer.end_epoch()["duplicates_dropped"].tolist() == [0]
    with recorder(tmp_path / "alone") as writer:
        feed_ids = torch.tensor([0, 1, 3])
        writer.update(ids[feed_ids], logits[feed_ids], labels[ids[feed_ids]], teacher[ids[feed_ids]])
        assert "duplicates_dropped" not in writer.end_epoch()
    first, alone = (biasvar.open_run(tmp_path / name).records(epochs=1) for name in ("first", "alone"))
    assert first.equals(alone)
    arm = biasvar.open_run(tmp_path / "first").manifest["arms"]["default"]
    assert arm["duplicates_dropped"] == {"train": {"augmented": 3}}


def test_duplicates_are_counted_by_replica(tmp_path, data):
    student, _, labels = data
    ids = torch.tensor([[0, 1, 2], [4, 4, 4]])
    with recorder(tmp_path / "run", replica=[2, 7], on_duplicate="first") as writer:
        writer.update(ids, student[ids], labels[ids])
        assert writer.end_epoch()["duplicates_dropped"].tolist() == [0, 2]


def test_an_interrupted_epoch_is_recorded_anew(tmp_path, data):
    halves = [range(0, N, 2), range(1, N, 2)]
    ranks = [recorder(tmp_path / "run", part=(rank, 2)) for rank in range(2)]
    for rank, writer in enumerate(ranks):
        feed(writer, data, halves[rank])
        writer.end_epoch()
    feed(ranks[1], data, halves[1])
    ranks[1].end_epoch()  # and then all are killed
    with pytest.raises(RecordError, match="is recorded already up to epoch 2; pass resume=True"):
        recorder(tmp_path / "run", part=(1, 2))
    ranks = [recorder(tmp_path / "run", part=(rank, 2), resume=True) for rank in range(2)]
    assert [writer.epoch for writer in ranks] == [2, 2]
    for rank in (1, 0):
        feed(ranks[rank], data, halves[1 - rank])  # another shuffle than before
        ranks[rank].end_epoch()
    run = biasvar.open_run(tmp_path / "run")
    assert run.record_epochs("default", "train", "augmented") == [1, 2]
    first, second = run.iter_records()
    assert first.drop(columns="epoch").equals(second.drop(columns="epoch"))


@pytest.mark.parametrize("other", [None, (0, 3), (2, 3)])
def test_processes_that_count_another_world_are_refused(tmp_path, data, other):
    first, second = recorder(tmp_path / "run", part=(0, 2)), recorder(tmp_path / "run", part=(1, 2))
    odd = recorder(tmp_path / "run", part=other)
    feed(first, data, range(0, N, 2))
    first.end_epoch()
    feed(odd, data, range(1, N, 2))
    with pytest.raises(RecordError, match=r"part 0 of 2 .* this one counts \d; .* same world size .* resume=True"):
        odd.end_epoch()
    feed(second, data, range(1, N, 2))
    second.end_epoch()
    assert len(biasvar.open_run(tmp_path / "run").records()) == N
    odd.epoch = 2
    feed(odd, data, range(N))
    odd.end_epoch()
    feed(first, data, range(0, N, 2))
    if other is None:
        with pytest.raises(RecordError, match="epoch 2 is already recorded"):
            first.end_epoch()
        return
    with pytest.raises(RecordError, match=r"part \d of 3 .* this one counts 2"):
        first.end_epoch()
    again = recorder(tmp_path / "run", resume=True)  # what the message says
    feed(again, data, range(N))
    again.end_epoch()
    assert biasvar.open_run(tmp_path / "run").record_epochs("default", "train", "augmented") == [1, 2]


def test_settings_of_parts(tmp_path):
    for change, message in (
        ({"part": (2, 2)}, r"part must be \(rank, world size\)"),
        ({"part": (0, 2), "drop_not_finite": True}, "cannot be combined with part"),
        ({"on_duplicate": "last"}, r"unknown on_duplicate 'last'; .*'refuse', 'first'"),
    ):
        with pytest.raises((ValueError, RecordError), match=message):
            recorder(tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


RACE = """
import sys, torch, biasvar
from biasvar.errors import RecordError
directory, shift = sys.argv[1], float(sys.argv[2])
recorder = biasvar.Recorder(directory, num_samples=3, num_classes=2, temperature=1.0, resume=True)
print("ready", flush=True)
sys.stdin.readline()
for epoch in range(1, 31):
    recorder.epoch = epoch
    recorder.update(torch.arange(3), torch.tensor([[shift, -1.0]] * 3), torch.zeros(3, dtype=torch.long))
    try:
        recorder.end_epoch()
        print(epoch, flush=True)
    except RecordError as error:
        words = ("group=000.parquet exists", "arm 'default'", f"epoch {epoch},", "replica 0", "another replica or arm")
        assert all(word in str(error) for word in words), error
"""


def test_two_processes_lose_no_acknowledged_epoch(tmp_path):
    directory = tmp_path / "run"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(directory), str(shift)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for shift in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(said[0] + said[1]) == list(range(1, 31))
    for epoch, frame in enumerate(biasvar.open_run(directory).iter_records(columns="student_loss"), start=1):
        shift = 0 if epoch in said[0] else 1
        np.testing.assert_allclose(frame["student_loss"], np.log1p(np.exp(-1.0 - shift)), rtol=1e-6)
