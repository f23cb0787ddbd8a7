from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import biasvar
from biasvar.errors import DiskFullError, RecordError
from biasvar.records import RunWriter
from biasvar.training import recorder_rows as module

N, C, TAU = 30, 5, 4.0


@pytest.fixture
def epoch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, N, C, generator=generator)
    labels = torch.randint(0, C, (N,), generator=generator)
    return torch.randperm(N, generator=generator), student, teacher, labels


def settings(**changes):
    return {"num_samples": N, "num_classes": C, "temperature": TAU, **changes}


def feed(recorder, epoch, size=8, teacher=True, **extra):
    ids, student, teachers, labels = epoch
    for piece in torch.split(ids, size):
        more = {name: value[piece] for name, value in extra.items()}
        recorder.update(piece, student[piece], labels[piece], teachers[piece] if teacher else None, **more)


def test_every_column_is_what_the_formulas_say(tmp_path, epoch):
    with biasvar.Recorder(tmp_path / "run", **settings(arm="kd")) as recorder:
        feed(recorder, epoch)
        summary = recorder.end_epoch()
    _, student, teacher, labels = epoch
    frame = biasvar.open_run(tmp_path / "run").records(arm="kd")
    assert frame["sample_id"].tolist() == list(range(N))
    zs, zt, y = student.double().numpy(), teacher.double().numpy(), labels.numpy()
    soft = lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)  # noqa: E731
    at = lambda p: p[np.arange(N), y]  # noqa: E731
    p, ps, pt = soft(zs), soft(zs / TAU), soft(zt / TAU)
    a = p - np.eye(C)[y]
    b = TAU * (ps - pt) - a
    expected = {
        "label": y,
        "student_loss": -np.log(at(p)),
        "teacher_loss": -np.log(at(soft(zt))),
        "student_prob": at(ps),
        "teacher_prob": at(pt),
        "student_prediction": zs.argmax(1),
        "teacher_prediction": zt.argmax(1),
        "bias_gradient": at(a),
        "variance_gradient": at(b),
        "bias_gradient_norm": np.linalg.norm(a, axis=1),
        "variance_gradient_norm": np.linalg.norm(b, axis=1),
        "opposing": at(b) > np.abs(at(a)),
        "wsl_weight": 1 - np.exp(-np.log(at(p)) / np.log(at(soft(zt)))),
        "loss_weight": np.ones(N),
        "member": np.ones(N, dtype=bool),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(frame[name].to_numpy(dtype=float), values.astype(float), rtol=2e-6, err_msg=name)
    assert summary["share_opposing"][0] == pytest.approx(expected["opposing"].mean())
    assert frame["epoch"].unique().tolist() == [1]


def test_confident_samples_keep_their_sign(tmp_path):
    """In float32 probabilities a is exactly 0 here and the flag is lost; the recorder works from logits in float64."""
    student = torch.tensor([[30.0, 0.0], [31.0, 0.0]])
    teacher = torch.tensor([[31.0, 0.0], [30.0, 0.0]])
    with biasvar.Recorder(tmp_path / "run", num_samples=2, num_classes=2, temperature=1.0) as recorder:
        recorder.update(torch.arange(2), student, torch.zeros(2, dtype=torch.long), teacher)
    frame = biasvar.open_run(tmp_path / "run").records()
    assert (frame["bias_gradient"] < 0).all()
    assert frame["opposing"].tolist() == [False, True]


def test_without_a_teacher_its_columns_are_null(tmp_path, epoch):
    with biasvar.Recorder(tmp_path / "run", **settings()) as recorder:
        feed(recorder, epoch, teacher=False)
        recorder.end_epoch()
    frame = biasvar.open_run(tmp_path / "run").records()
    for name in ("teacher_loss", "variance_gradient", "opposing", "wsl_weight"):
        assert frame[name].isna().all()
    assert frame["student_loss"].notna().all()


def test_batches_pieces_and_replicas_together_make_no_difference(tmp_path, epoch, monkeypatch):
    ids, student, teacher, labels = epoch
    with biasvar.Recorder(tmp_path / "one", **settings(replica=1)) as recorder:
        feed(recorder, epoch, size=30)
    monkeypatch.setattr(module, "PENDING_ELEMENTS", 40)  # several pieces an epoch
    with biasvar.Recorder(tmp_path / "two", **settings(replica=[0, 1])) as recorder:
        for piece in torch.split(ids, 7):
            both = torch.stack([piece, piece])
            recorder.update(both, student[both], labels[both], teacher[both])
    one = biasvar.open_run(tmp_path / "one").records()
    two = biasvar.open_run(tmp_path / "two").records(replicas=[1])
    assert one.equals(two)


def test_the_callers_buffers_may_change_after_update(tmp_path):
    logits = torch.zeros(2, C)
    with biasvar.Recorder(tmp_path / "run", **settings()) as recorder:
        recorder.update(torch.arange(2), logits, torch.tensor([0, 1]))
        logits.fill_(100.0)
    loss = biasvar.open_run(tmp_path / "run").records()["student_loss"]
    np.testing.assert_allclose(loss, np.log(C), rtol=1e-6)


def test_resume_goes_on_and_a_second_run_is_refused(tmp_path, epoch):
    for _ in range(2):
        with biasvar.Recorder(tmp_path / "run", **settings(resume=True)) as recorder:
            feed(recorder, epoch)
            recorder.end_epoch()
    assert recorder.epoch == 3
    with pytest.raises(RecordError, match="resume=True"):
        biasvar.Recorder(tmp_path / "run", **settings())
    biasvar.Recorder(tmp_path / "run", **settings(replica=1))
    biasvar.Recorder(tmp_path / "run", **settings(arm="other"))
    with pytest.raises(RecordError, match="num_classes"):
        biasvar.Recorder(tmp_path / "run", **settings(num_classes=C + 1, arm="more"))


def bad_range(ids, student, teacher, labels):
    return ids + 3, student, teacher, labels


def bad_twice(ids, student, teacher, labels):
    return torch.cat([ids[:-1], ids[:1]]), student, teacher, labels


def bad_label(ids, student, teacher, labels):
    return ids, student, teacher, torch.where(labels == 2, C, labels)


def bad_student(ids, student, teacher, labels):
    return ids, student.index_fill(0, torch.tensor([4, 9]), float("nan")), teacher, labels


def bad_teacher(ids, student, teacher, labels):
    return ids, student, teacher.index_fill(0, torch.tensor([6]), float("inf")), labels


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad_range, r"sample_ids .* lie outside 0 .. 29"),
        (bad_twice, "given more than once"),
        (bad_label, r"labels 5.* lie outside 0 .. 4"),
        (bad_student, r"logits of sample_ids (4, 9|9, 4) are not finite"),
        (bad_teacher, r"logits of sample_ids 6 are not finite"),
    ],
)
def test_a_bad_epoch_is_refused_whole_and_can_be_recorded_anew(tmp_path, epoch, spoil, message):
    recorder = biasvar.Recorder(tmp_path / "run", **settings())
    ids, student, teacher, labels = spoil(*epoch)
    rows = epoch[0]
    recorder.update(ids, student[rows], labels[rows], teacher[rows])
    with pytest.raises(ValueError, match=message):
        recorder.end_epoch()
    assert not list((tmp_path / "run").rglob("*.parquet"))
    feed(recorder, epoch)
    recorder.end_epoch()
    assert biasvar.open_run(tmp_path / "run").record_epochs("default", "train", "augmented") == [1]


def test_shapes_that_disagree_are_refused_at_once(tmp_path, epoch):
    ids, student, teacher, labels = epoch
    recorder = biasvar.Recorder(tmp_path / "run", **settings())
    cases = {
        "student_logits has shape": (ids, student[:, :4], labels, teacher),
        "teacher_logits has shape": (ids, student, labels, teacher[:5]),
        "labels has shape": (ids, student, labels[:5], teacher),
        "sample_ids has shape": (ids[None], student, labels, teacher),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            recorder.update(*arguments)
    recorder.update(ids[:5], student[:5], labels[:5], teacher[:5])
    with pytest.raises(ValueError, match="in every batch of an epoch or in none"):
        recorder.update(ids[5:], student[5:], labels[5:])
    with pytest.raises(ValueError, match="loss_weight must be given in every batch"):
        recorder.update(ids[5:], student[5:], labels[5:], teacher[5:], loss_weight=torch.ones(N - 5))
    with pytest.raises(ValueError, match="loss_weight has shape"):
        recorder.update(ids[5:], student[5:], labels[5:], teacher[5:], loss_weight=torch.ones(3))


def test_empty_epochs_and_settings_out_of_range(tmp_path):
    recorder = biasvar.Recorder(tmp_path / "run", **settings())
    with pytest.raises(ValueError, match="has no samples"):
        recorder.end_epoch()
    for change, message in (({"temperature": 0.0}, "temperature"), ({"num_classes": 1}, "num_classes")):
        with pytest.raises(ValueError, match=message):
            biasvar.Recorder(tmp_path / "other", **settings(**change))


def test_an_error_in_the_loop_drops_the_open_epoch(tmp_path, epoch):
    def loop():
        with biasvar.Recorder(tmp_path / "run", **settings()) as recorder:
            feed(recorder, epoch)
            recorder.end_epoch()
            feed(recorder, epoch)
            raise RuntimeError("the loop fails")

    with pytest.raises(RuntimeError, match="the loop fails"):
        loop()
    assert biasvar.open_run(tmp_path / "run").record_epochs("default", "train", "augmented") == [1]


def test_a_diverged_replica_is_left_out_when_asked(tmp_path, epoch):
    ids, student, teacher, labels = epoch
    both = torch.stack([ids, ids])
    logits = torch.stack([student, student])
    logits[1, 3] = float("nan")
    options = settings(replica=[0, 1], drop_not_finite=True)
    with biasvar.Recorder(tmp_path / "run", **options) as recorder:
        recorder.update(both, torch.stack([logits[0][ids], logits[1][ids]]), labels[both], teacher[both])
        summary = recorder.end_epoch()
    assert summary["replica"].tolist() == [0]
    assert biasvar.open_run(tmp_path / "run").records()["replica"].unique().tolist() == [0]


@pytest.mark.parametrize("bad", [np.float32, np.bool_, np.complex64])
@pytest.mark.parametrize("which", ["sample_ids", "labels"])
def test_ids_and_labels_that_are_not_integers_are_refused(tmp_path, bad, which):
    recorder = biasvar.Recorder(tmp_path / "run", **settings())
    given = {"sample_ids": np.arange(2), "labels": np.arange(2)}
    given[which] = given[which].astype(bad)
    with pytest.raises(ValueError, match=f"{which} must be integers, not {np.dtype(bad).name}"):
        recorder.update(student_logits=torch.zeros(2, C), **given)


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), lambda x: x.tolist(), lambda x: x.numpy()[::-1][::-1]])
def test_arrays_and_lists_are_recorded_as_tensors_are(tmp_path, epoch, convert):
    ids, student, teacher, labels = epoch
    weight, member = torch.arange(N) % 3, ids < 20
    arguments = (ids, student[ids], labels[ids], teacher[ids])
    for name, kind in (("tensors", lambda x: x), ("others", convert)):
        with biasvar.Recorder(tmp_path / name, **settings()) as recorder:
            recorder.update(*map(kind, arguments), loss_weight=kind(weight), member=kind(member))
    one, two = (biasvar.open_run(tmp_path / name).records() for name in ("tensors", "others"))
    assert one.equals(two)
    assert set(one["loss_weight"]) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("change", [{"view": "clear"}, {"arm": "a b"}, {"split": "a/b"}])
def test_a_bad_name_leaves_the_disk_alone(tmp_path, change):
    with pytest.raises(RecordError):
        biasvar.Recorder(tmp_path / "run", **settings(**change))
    assert not (tmp_path / "run").exists()
    biasvar.Recorder(tmp_path / "there", **settings())
    before = (tmp_path / "there" / "manifest.json").read_bytes()
    with pytest.raises(RecordError):
        biasvar.Recorder(tmp_path / "there", **settings(**change))
    assert (tmp_path / "there" / "manifest.json").read_bytes() == before


def test_other_settings_than_the_arms_are_refused(tmp_path, epoch):
    with biasvar.Recorder(tmp_path / "run", **settings()) as recorder:
        feed(recorder, epoch)
    manifest = biasvar.open_run(tmp_path / "run").manifest
    assert manifest["arms"]["default"] == {
        "label": "default",
        "temperature": TAU,
        "num_samples": {"train": N},
        "recording": {"train augmented 000": "complete"},
    }
    for change, message in (
        ({"temperature": 2.0}, "temperature 4.0, not 2.0"),
        ({"num_samples": N + 1}, "num_samples of train 30, not 31"),
        ({"num_classes": C + 1}, "num_classes is 5, not 6"),
    ):
        with pytest.raises(RecordError, match=message):
            biasvar.Recorder(tmp_path / "run", **settings(resume=True, **change))
        with pytest.raises(RecordError, match=message):
            biasvar.Recorder(tmp_path / "run", **settings(replica=1, **change))
    assert biasvar.open_run(tmp_path / "run").manifest == manifest
    biasvar.Recorder(tmp_path / "run", **settings(num_samples=7, split="test", view="clean"))
    arm = biasvar.open_run(tmp_path / "run").manifest["arms"]["default"]
    assert arm["num_samples"] == {"train": N, "test": 7}
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        biasvar.Recorder(tmp_path / "run", **settings(temperature=float("inf")))


@pytest.mark.parametrize("replica", [-1, 0.5, True, "0", None, [], [0, 0], [0, -1], [0.0], [[0, 1]]])
def test_replicas_that_are_no_numbers_are_refused(tmp_path, replica):
    with pytest.raises(ValueError, match="replica must be a whole number"):
        biasvar.Recorder(tmp_path / "run", **settings(replica=replica))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("replica", "expected"),
    [(np.int64(3), [3]), (range(2), [0, 1]), (np.arange(2), [0, 1]), ((np.int32(4), 1), [4, 1])],
)
def test_replicas_may_be_numpy_numbers(tmp_path, replica, expected):
    assert biasvar.Recorder(tmp_path / "run", **settings(replica=replica)).replicas == expected


@pytest.mark.parametrize("row", [[1e39, 0.0], [-1e39, 0.0], [-3e38, 3e38]])
@pytest.mark.parametrize("teacher", [False, True])
def test_logits_and_losses_beyond_float32_are_named(tmp_path, row, teacher):
    logits = torch.zeros(3, 2, dtype=torch.float64)
    logits[1] = torch.tensor(row, dtype=torch.float64)
    recorder = biasvar.Recorder(tmp_path / "run", num_samples=3, num_classes=2, temperature=1.0)
    both = (torch.zeros_like(logits), logits)
    student, other = both if teacher else both[::-1]
    recorder.update(torch.arange(3), student, torch.zeros(3, dtype=torch.long), other)
    with pytest.raises(ValueError, match="logits of sample_ids 1 are not finite in float32"):
        recorder.end_epoch()


def test_a_study_passes_its_writer_and_keeps_its_manifest(tmp_path, epoch):
    writer = RunWriter(tmp_path / "run", manifest={"kind": "study", "study_hash": "x", "num_classes": C})
    ids, student, teacher, labels = epoch
    both = torch.stack([ids, ids])
    for temperature in (TAU, 2.0):
        recorder = biasvar.Recorder(writer, **settings(replica=[2, 3], replace=True, group=1, temperature=temperature))
        recorder.epoch = 1
        recorder.update(both, student[both], labels[both], teacher[both])
        recorder.end_epoch()
    assert biasvar.open_run(tmp_path / "run").manifest["arms"] == {}
    assert biasvar.open_run(tmp_path / "run").records()["replica"].unique().tolist() == [2, 3]


class TestOverlap:
    """Files that are written beside the training are the same, and nothing that goes wrong is lost."""

    @staticmethod
    def fill(recorder, epoch):
        rng = np.random.default_rng(epoch)
        recorder.update(np.arange(6), rng.normal(size=(6, 3)), np.arange(6) % 3, rng.normal(size=(6, 3)))

    def record(self, folder, **options):
        with biasvar.Recorder(folder, num_samples=6, num_classes=3, temperature=2.0, **options) as recorder:
            for epoch in range(1, 4):
                self.fill(recorder, epoch)
                recorder.end_epoch()
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.parquet")}

    def test_files_are_the_same(self, tmp_path):
        assert self.record(tmp_path / "beside", overlap=True) == self.record(tmp_path / "waiting")

    def test_end_epoch_returns_before_the_file_is_there_and_settle_waits(self, tmp_path, monkeypatch):
        go, honest = threading.Event(), RunWriter.record

        def held(*args, **options):
            assert go.wait(60)
            return honest(*args, **options)

        monkeypatch.setattr(RunWriter, "record", held)
        recorder = biasvar.Recorder(tmp_path / "run", num_samples=6, num_classes=3, temperature=2.0, overlap=True)
        self.fill(recorder, 1)
        assert recorder.end_epoch()["n"].tolist() == [6]
        assert not list((tmp_path / "run").rglob("*.parquet"))
        go.set()
        recorder.settle()
        assert len(list((tmp_path / "run").rglob("*.parquet"))) == 1
        recorder.close()

    def test_what_went_wrong_is_raised_by_the_next_to_wait(self, tmp_path, monkeypatch):
        def full(*args, **options):
            raise DiskFullError(28, "No space left", "record")

        monkeypatch.setattr(RunWriter, "record", full)
        recorder = biasvar.Recorder(tmp_path / "run", num_samples=6, num_classes=3, temperature=2.0, overlap=True)
        self.fill(recorder, 1)
        recorder.end_epoch()
        self.fill(recorder, 2)
        with pytest.raises(DiskFullError):
            recorder.end_epoch()
        self.fill(recorder, 2)
        recorder.end_epoch()
        with pytest.raises(DiskFullError):
            recorder.close()

    def test_not_with_parts(self, tmp_path):
        with pytest.raises(ValueError, match="overlap cannot be combined with part"):
            biasvar.Recorder(tmp_path / "run", num_samples=6, num_classes=3, temperature=2.0, overlap=True, part=(0, 2))
        assert not (tmp_path / "run").exists()
