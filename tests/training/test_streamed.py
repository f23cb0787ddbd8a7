"""Studies on images that are read from their files: the same numbers however they are read, and whole runs."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
import yaml

from biasvar.data.renderings import show
from biasvar.errors import BiasvarError, RecordError, StudyError
from biasvar.records import open_run
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.training import context as contexts
from biasvar.training import loop, teachers, view_images
from biasvar.training.checks import open_study
from biasvar.training.dry_run import estimated
from biasvar.training.estimate_words import estimates_in_words
from biasvar.training.estimates import data_bytes
from biasvar.training.execute import run_study
from biasvar.training.inputs import Images
from biasvar.training.streamed import Loader, Streamed
from tests.data.made import tree
from tests.training.test_execute import contents

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    if Loader._running is not None:
        Loader._running.close()
    assert multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def study(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    return {
        "name": "photos",
        "seed": 5,
        "replicas": 2,
        "backend": "sequential",
        "data": {"name": str(folder), "validation": 9, "streamed": {"image_size": 16, "resize": 18, "workers": 0}},
        "student": {"model": "convnet"},
        "draw": {"kind": "subsample", "rows": 24},
        "schedule": {"epochs": 2, "batch_size": 10},
        "learning_rate": 0.05,
        "evaluate_every": 1,
        "checkpoint_every": 1,
        "teachers": {"main": {"model": "convnet", "epochs": 1, "batch_size": 40}},
        "arms": {"kd": {"loss": "distillation", "temperature": 4, "alpha": 1}},
    }


def with_workers(study, workers, **streamed):
    changed = copy.deepcopy(study)
    changed["data"]["streamed"] |= {"workers": workers, **streamed}
    return resolve_study(changed)


def numbers(directory):
    """The files of a run by their content, without what says how it was read."""
    return {name: value for name, value in contents(directory).items() if name != "study.yaml"}


def test_any_number_of_processes_and_a_run_cut_off_give_the_same_run(study, tmp_path, monkeypatch):
    run = run_study(with_workers(study, 0), tmp_path / "none", device=CPU)
    assert run.manifest["status"] == "complete"
    assert run.manifest["data"]["streamed"] == {"size": 16, "resize": 18}
    assert "fingerprint of names and byte sizes" in run.manifest["data"]["note"]
    assert run.samples["split"].value_counts().to_dict() == {"train": 36, "test": 15, "validation": 9}
    expected = numbers(tmp_path / "none")
    for workers in (1, 2):
        run_study(with_workers(study, workers), tmp_path / f"{workers}", device=CPU)
        assert numbers(tmp_path / f"{workers}") == expected

    tell, seen = loop.tell, []

    def cut_off(epoch, *rest):
        seen.append(epoch)
        if seen.count(2) == 4:  # in the second epoch of the second replica, whose first is in a checkpoint
            raise KeyboardInterrupt
        tell(epoch, *rest)

    monkeypatch.setattr(loop, "tell", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_study(with_workers(study, 2), tmp_path / "cut", device=CPU)
    assert multiprocessing.active_children() == []
    assert (tmp_path / "cut/checkpoints/arm=kd/group=001.safetensors").exists()
    monkeypatch.setattr(loop, "tell", tell)
    run_study(with_workers(study, 1), tmp_path / "cut", device=CPU)  # with another number of processes
    assert numbers(tmp_path / "cut") == expected


def test_without_augmentation_a_run_is_that_of_the_same_pixels_in_memory(study, tmp_path, monkeypatch):
    resolved = with_workers(study, 2, augment=False)
    run_study(resolved, tmp_path / "streamed", device=CPU)

    def in_memory(study, dataset, images, device, directory):
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return Images(torch.from_numpy(images[:]), mean, std, 255.0, study.seed)

    monkeypatch.setattr(contexts, "_streamed", in_memory)
    run_study(resolved, tmp_path / "memory", device=CPU)
    assert numbers(tmp_path / "streamed") == numbers(tmp_path / "memory")


def test_a_view_of_images_is_made_some_at_a_time(study, tmp_path, monkeypatch):
    study["data"]["views"] = {"gaussian_noise": [3]}
    context = open_study(with_workers(study, 0), tmp_path, CPU)
    ids, (view,) = context.blocks["test"], context.study.data.shown
    monkeypatch.setattr(view_images, "CHUNK", 4)
    made = view_images.view_images(context.dataset, view, ids)
    assert (made == show(context.dataset.images[ids], ids, view.kind, view.amount, scale=255.0)).all()
    assert (made != context.dataset.images[ids]).any()


def test_a_pass_gives_what_is_asked_for_one_by_one(study, tmp_path):
    context = open_study(with_workers(study, 2), tmp_path, CPU)
    inputs = context.inputs
    assert isinstance(inputs, Streamed)
    ids = np.random.default_rng(0).permutation(45)[None, :41]
    places = [slice(0, 17), slice(17, 34), slice(34, 41)]
    batches = list(inputs.training_pass(torch.from_numpy(ids), ids, [1], 2, places))
    assert [batch.shape for batch in batches] == [(1, n, 3, 16, 16) for n in (17, 17, 7)]
    together = torch.cat(batches, dim=1)
    assert torch.equal(together, inputs.training(torch.from_numpy(ids), [1], 2))
    assert not torch.equal(together, inputs.training(torch.from_numpy(ids), [1], 3))
    assert torch.equal(
        inputs.plain().training(torch.from_numpy(ids), [1], 2)[0], inputs.clean(torch.from_numpy(ids[0]))
    )
    pixels = torch.from_numpy(context.dataset.images[ids[0]]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in inputs.pixel_scale)
    pieces = [x for _, x in inputs.clean_pass(torch.from_numpy(ids[0]), 40)]
    assert [len(x) for x in pieces] == [40, 1]
    torch.testing.assert_close(torch.cat(pieces), ((pixels - mean) / std).float())


def test_one_loader_has_processes_and_a_pass_in_a_pass_has_none(study, tmp_path):
    ids = torch.arange(60)
    first, second = (open_study(with_workers(study, 2), tmp_path, CPU).inputs for _ in range(2))
    outer = first.clean_pass(ids, 10)
    next(outer)
    own = {process.pid for process in multiprocessing.active_children()}
    assert len(own) == 2
    assert torch.equal(torch.cat([x for _, x in first.clean_pass(ids, 10)]), first.clean(ids))
    assert {process.pid for process in multiprocessing.active_children()} == own
    list(outer)
    list(first.clean_pass(ids[:3]))
    assert {process.pid for process in multiprocessing.active_children()} == own  # the same ones, pass after pass
    list(second.clean_pass(ids[:3]))
    others = {process.pid for process in multiprocessing.active_children()}
    assert len(others) == 2
    assert not others & own
    broken_off = second.clean_pass(ids, 10)
    next(broken_off)
    del broken_off
    assert torch.equal(torch.cat([x for _, x in second.clean_pass(ids, 10)]), first.clean(ids))


def test_a_teacher_is_asked_once_about_clean_rows_and_once_about_each_view(study, tmp_path, monkeypatch):
    asked: list[tuple[int, ...]] = []
    make = teachers.teacher_networks

    def counted(context, name, replicas):
        networks = make(context, name, replicas)
        for network in networks:
            network.register_forward_pre_hook(lambda _, given: asked.append(tuple(given[0].shape)))
        return networks

    for module in ("teachers", "teacher_training", "students"):
        monkeypatch.setattr(f"biasvar.training.{module}.teacher_networks", counted)
    run_study(with_workers(study, 0), tmp_path / "run", device=CPU)
    assert sum(shape[0] for shape in asked) == 60 + 2 * 2 * 24  # all rows; two replicas' 24 rows in two epochs
    assert [shape[0] for shape in asked] == [60, *[10, 10, 4] * 4]  # in the batches of the training itself


def test_a_broken_file_stops_a_run_that_goes_on_once_it_is_whole(study, tmp_path, monkeypatch):
    own = tree(tmp_path / "photos")
    study["data"]["name"] = str(own)
    expected = run_study(with_workers(study, 0), tmp_path / "whole", device=CPU)
    row = expected.membership.query("replica == 1")["sample_id"].iloc[0]
    name = open_study(with_workers(study, 0), tmp_path, CPU).dataset.files[row]
    content = (own / name).read_bytes()
    run_study(with_workers(study, 0), tmp_path / "run", device=CPU, teachers_only=True)
    (own / name).write_bytes(bytes(len(content)))  # of the same size: nothing is seen of it beforehand
    for workers in (0, 2):
        with pytest.raises(
            ValueError, match=f"{name} is no image that can be read .* the same command goes on"
        ) as info:
            run_study(with_workers(study, workers), tmp_path / "run", device=CPU)
        assert "Traceback" not in str(info.value)
        assert "\n" not in str(info.value)
    assert open_run(tmp_path / "run").manifest["status"] == "running"
    (own / name).write_bytes(content)
    run_study(with_workers(study, 2), tmp_path / "run", device=CPU)
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")

    (own / name).write_bytes(content[:-300])  # a file that was cut off: the whole one has another size
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{name} is no image .*; put a whole file in its place, and the same"):
            run_study(with_workers(study, 2), tmp_path / "cut", device=CPU)
    (own / name).write_bytes(content)
    run = run_study(with_workers(study, 0), tmp_path / "cut", device=CPU)
    assert numbers(tmp_path / "cut") == numbers(tmp_path / "whole")
    assert run.manifest["data"] == expected.manifest["data"]

    (own / name).write_bytes(content + b"\0")
    with pytest.raises(RecordError, match="are not those that"):
        run_study(with_workers(study, 2), tmp_path / "run", device=CPU)


@pytest.mark.parametrize("part", ["student", "test"])
def test_a_dry_run_that_meets_a_broken_file_says_of_nothing_that_it_was_recorded(study, part, tmp_path, capsys):
    """Whichever part of it reads the file: the choice of its steps, or the small study."""
    own = tree(tmp_path / "photos")
    study["data"]["name"] = str(own)
    context = open_study(with_workers(study, 0), tmp_path, CPU)
    for row in context.blocks[part]:
        (own / context.dataset.files[row]).write_bytes(b"x" * 900)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert main([str(tmp_path / "study.yaml"), "--dry-run", "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "is no image that can be read" in said
    assert said.endswith("; put a whole file in its place")


def test_a_process_that_is_lost_is_told(study, tmp_path):
    inputs = open_study(with_workers(study, 2), tmp_path, CPU).inputs
    ids = torch.arange(60)
    seen = inputs.clean_pass(ids, 1)
    next(seen)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(BiasvarError, match="a process that reads images was lost"):
        list(seen)
    assert torch.equal(torch.cat([x for _, x in inputs.clean_pass(ids, 30)]), inputs.clean(ids))


def test_a_dry_run_counts_no_memory_for_images_that_are_streamed(study, tmp_path):
    assert data_bytes(open_study(with_workers(study, 0), tmp_path, CPU)) == 0
    data = {"name": "imagenet", "validation": 2000, "streamed": {"image_size": 64, "resize": 72}}
    made = resolve_study(study | {"data": data})
    context = open_study(made, tmp_path, CPU, make_absent=True)
    assert context.dataset.images.shape == (1_331_167, 64, 64, 3)
    assert context.inputs.augmented  # as those are in whose place they stand: the teacher is asked in every step
    assert data_bytes(context) == 0


def test_a_dry_run_times_the_reading_of_streamed_images(study, tmp_path, monkeypatch):
    took, alone, said = {}, {}, {}
    for seconds in (1e-9, 0.5):  # of an image
        monkeypatch.setattr(Loader, "seconds", lambda self, view, seconds=seconds: seconds)
        for workers in (0, 4):
            rehearsal, found = estimated(open_study(with_workers(study, workers), tmp_path, CPU))
            took[seconds, workers] = {one.what: one.step for one in found}
            alone[seconds, workers] = {one.what: one.seconds for one in found}
            said[seconds, workers] = "\n".join(estimates_in_words(rehearsal, found))
    assert "streamed images: one is ready every 125 ms, by the median of 16" in said[0.5, 4]
    assert took[0.5, 4]["arm kd"] == pytest.approx(10 * 0.5 / 4)  # the images of a batch, by four processes
    assert 10 * 0.5 < took[0.5, 0]["arm kd"] < 10 * 0.5 + 1
    assert took[1e-9, 4]["arm kd"] < 0.5
    assert alone[0.5, 4]["teacher main"] > alone[1e-9, 4]["teacher main"] + 24 * 0.5 / 4


def test_the_reading_of_an_image_is_timed_by_its_decoding(study, tmp_path):
    context = open_study(with_workers(study, 2), tmp_path, CPU)
    assert 1e-6 < context.inputs.reading(context.train_ids[:3]) < 1


def test_the_number_of_processes_is_no_part_of_a_study(study, tmp_path):
    hashes = {with_workers(study, workers).hash for workers in (None, 0, 7)}
    assert len(hashes) == 1
    assert with_workers(study, 0, resize=20).hash not in hashes
    del study["data"]["streamed"]
    assert resolve_study(study).hash not in hashes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"crop": 4}}, "data: crop: not with streamed images"),
        ({"data": {"size": 16}}, "data: size: not with streamed images"),
        ({"data": {"few_shots": {"classes": 5}}}, "data: few_shots: not with streamed images"),
        ({"backend": "batched", "student": {"hidden": [4]}, "teachers": {}}, "use backend: sequential"),
        ({"data": {"streamed": {"image_size": 32, "resize": 18}}}, "give a resize of at least 32"),
        ({"data": {"streamed": {"area": [0.5, 0.1]}}}, "the least and the largest share"),
    ],
)
def test_keys_that_do_not_go_with_streamed_images_are_refused(study, change, said):
    for key, value in change.items():
        study[key] = {**study[key], **value} if key == "data" else value
    if not study["teachers"]:
        study["arms"] = {"ce": {"loss": "cross_entropy"}}
    with pytest.raises(StudyError, match=said):
        resolve_study(study)
