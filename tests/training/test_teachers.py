"""Teachers: one for all replicas, copies, one for each replica on any rows, ensembles; and what goes with none."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from biasvar.errors import StudyError
from biasvar.study import resolve_study
from biasvar.training import teacher_training
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.reuse import identity_of
from biasvar.training.soft_targets import soft_label_table
from biasvar.training.teachers import teacher_networks
from tests.conftest import TINY
from tests.training.test_execute import contents
from tests.training.test_images import folder, study  # noqa: F401 (fixtures)

KD = {"loss": "distillation", "temperature": 2, "alpha": 0.5}
SMALL = {"hidden": [8], "epochs": 2}
TEACHERS = {
    "one": SMALL,
    "copies": SMALL | {"copies": 3},
    "some": SMALL | {"rows": 500, "copies": 2},
    "later": SMALL | {"rows": 500, "first": 1},
    "each": SMALL | {"draw": "per_replica"},
    "apart": SMALL | {"draw": "per_replica", "rows": "reserved"},
    "some_each": SMALL | {"draw": "per_replica", "rows": 300},
    "mean": {"mean_of": ["one", "copies"], "label": "one and three"},
    "mean_logits": {"mean_of": ["one", "apart"], "space": "logits"},
}
REGIMES = {
    "one": "fixed, all training rows",
    "copies": "fixed, all training rows, 3 copies",
    "some": "fixed, 500 training rows, 2 copies",
    "later": "fixed, 500 training rows",
    "each": "per replica, all training rows",
    "apart": "per replica, disjoint rows",
    "some_each": "per replica, 300 training rows",
    "mean": "ensemble of 2",
    "mean_logits": "ensemble of 2",
}
COUNTS = {
    "one": 1,
    "copies": 3,
    "some": 2,
    "later": 1,
    "each": 4,
    "apart": 4,
    "some_each": 4,
    "mean": 3,
    "mean_logits": 4,
}


def tiny(**changes):
    entry = copy.deepcopy(TINY) | {"teachers": copy.deepcopy(TEACHERS), "schedule": {"epochs": 2, "batch_size": 40}}
    del entry["defaults"]
    entry["arms"] = {"ce": {"loss": "cross_entropy"}, **{name: KD | {"teacher": name} for name in TEACHERS}}
    return entry | {"reference_teacher": "one"} | changes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(resolve_study(tiny()), tmp_path_factory.mktemp("teachers") / "run", device="cpu")


@pytest.mark.parametrize("name", TEACHERS)
def test_replica_r_learns_from_network_r_mod_their_number(run, name):
    teacher = run.teacher(name)
    logits = np.asarray(teacher.logits, dtype=float)
    logits = logits if logits.ndim == 3 else logits[None]
    assert len(logits) == COUNTS[name]
    rows = run.records(arm=name, split="test", view="clean")
    place = np.searchsorted(teacher.sample_ids, rows["sample_id"])
    said = logits[rows["replica"] % len(logits), place]
    expected = -log_softmax(said, axis=-1)[np.arange(len(rows)), rows["label"]]
    np.testing.assert_allclose(rows["teacher_loss"], expected, rtol=1e-4, atol=1e-6)
    if len(logits) > 1:
        assert not np.allclose(logits[0], logits[1], atol=1e-3)


@pytest.mark.parametrize("name", TEACHERS)
def test_what_the_manifest_says_of_a_teacher(run, name):
    entry = run.manifest["teachers"][name]
    assert entry["regime"] == run.arm(name)["regime"] == REGIMES[name]
    assert ("mean_of" in entry) == ("epochs" not in entry) == name.startswith("mean")
    assert bool(entry["weights_sha256"]) == (not name.startswith("mean"))
    assert 0.05 < entry["accuracy_test"] < 1


def test_how_long_teachers_took_is_in_the_manifest_and_kept_with_them(run, tmp_path, monkeypatch):
    teachers = run.manifest["teachers"]
    assert all(("seconds" in entry) != name.startswith("mean") for name, entry in teachers.items())
    assert all(0 < entry.get(key, 1) < 600 for entry in teachers.values() for key in ("seconds", "processor_seconds"))
    assert all(("processor_seconds" in entry) == ("seconds" in entry) for entry in teachers.values())
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr(teacher_training.time, "perf_counter", lambda: float(next(clock)))
    entry = tiny(backend="sequential", keep_teachers=True, arms={"ce": {"loss": "cross_entropy"}}, replicas=3)
    entry["teachers"] = {"one": SMALL | {"copies": 3}}
    for place in ("first", "again"):  # the second time nothing is trained
        manifest = run_study(resolve_study(entry), tmp_path / place, device="cpu").manifest
        assert manifest["teachers"]["one"]["seconds"] == pytest.approx(3 * 7)
        assert not (tmp_path / place / "checkpoints").exists()
    for path in (tmp_path / "cache" / "teachers").glob("*.json"):
        path.unlink()  # as kept by an earlier version
    manifest = run_study(resolve_study(entry), tmp_path / "unknown", device="cpu").manifest
    assert "seconds" not in manifest["teachers"]["one"]


def test_the_rows_of_teachers(run):
    samples = run.samples.set_index("sample_id")
    train = set(samples.query("split == 'train'").index)
    reserved = set(samples.query("pool == 'reserved'").index)

    def rows(name):
        teacher = run.teacher(name)
        return [set(teacher.sample_ids[member]) for member in np.atleast_2d(teacher.member)]

    assert rows("one") == [train]
    assert rows("copies") == [train] * 3
    assert rows("each") == [train] * 4
    assert rows("apart") == [reserved] * 4
    assert [len(part) for part in rows("some")] == [500] * 2
    assert [len(part) for part in rows("some_each")] == [300] * 4
    assert rows("some")[0] != rows("some")[1]
    assert rows("some_each")[0] < rows("some")[0]  # the first is drawn as ever: fewer rows are some of more
    assert rows("mean") == [train] * 3


def test_the_first_copy_is_the_teacher_without_copies(run):
    np.testing.assert_allclose(run.teacher("copies").logits[0], run.teacher("one").logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.teacher("each").logits[:3], run.teacher("copies").logits, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_counts_from_another_number_is_that_copy(run):
    """Weights, rows and order of a teacher with the same settings, from its network number 1 on."""
    some, later = run.teacher("some"), run.teacher("later")
    np.testing.assert_array_equal(later.member, some.member[1])
    assert (some.member[0] != some.member[1]).any()
    np.testing.assert_allclose(later.logits, some.logits[1], rtol=1e-4, atol=1e-5)
    assert np.abs(later.logits - some.logits[0]).max() > 0.01


def test_an_ensemble_is_the_mean_of_its_members(run):
    one, copies, apart = (np.asarray(run.teacher(name).logits, dtype=float) for name in ("one", "copies", "apart"))
    expected = (softmax(one, -1) + softmax(copies, -1)) / 2
    np.testing.assert_allclose(np.exp(run.teacher("mean").logits), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(run.teacher("mean_logits").logits, (one + apart) / 2, rtol=1e-4, atol=1e-5)


def test_students_stay_paired(run):
    first = {arm: run.records(arm=arm, epochs=[1], split="train", view="augmented") for arm in run.arms}
    for arm in run.arms:
        assert first[arm]["sample_id"].equals(first["ce"]["sample_id"])


def test_processes_side_by_side_and_a_resumed_run_make_no_difference(run, tmp_path, monkeypatch):
    """An ensemble waits for its members, whichever process trains them, and goes on with those that are there."""
    run_study(resolve_study(tiny()), tmp_path / "two", device="cpu", jobs=2)
    assert contents(tmp_path / "two") == contents(run.directory)
    write, count = teacher_training.write_teacher, []

    def stop(*arguments):
        count.append(arguments)
        if len(count) == 5:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr("biasvar.training.workers.write_teacher", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(resolve_study(tiny()), tmp_path / "three", device="cpu")
    run_study(resolve_study(tiny()), tmp_path / "three", device="cpu")
    assert contents(tmp_path / "three") == contents(run.directory)


def test_a_run_with_every_kind_of_teacher_is_reported(run, tmp_path):
    from biasvar.report.__main__ import main

    assert main([str(run.directory), "--out", str(tmp_path / "report"), "--figures", "accuracy,bias_variance"]) == 0
    page = (tmp_path / "report/index.html").read_text()
    for regime in set(REGIMES.values()):
        assert regime in page


def test_the_views_that_students_see_are_what_ensembles_and_copies_are_asked_about(study, tmp_path):  # noqa: F811
    network = {"model": "convnet", "epochs": 1, "batch_size": 20}
    study |= {"student": {"model": "convnet"}, "replicas": 3, "schedule": {"epochs": 1, "batch_size": 20}}
    study["teachers"] = {
        "one": network, "copies": network | {"copies": 2},
        "mean": {"mean_of": ["one", "copies"], "space": "logits"},
    }  # fmt: skip
    study["arms"] = {name: {"loss": "distillation", "teacher": name} for name in ("mean", "copies")}
    study["arms"]["again"] = study["arms"]["mean"]
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(study), tmp_path / "run", torch.device("cpu"))
    one, copies = (teacher_networks(context, name, [0, 1, 2]) for name in ("one", "copies"))
    assert (len(one), len(copies)) == (1, 3)
    assert copies[0] is copies[2]
    for r in range(3):
        rows = run.records(arm="mean", split="train", view="augmented", epochs=[1], replicas=[r])
        ids = torch.tensor(rows["sample_id"].tolist())
        views = context.inputs.training(ids[None], [r], 1)[0]
        with torch.no_grad():
            logits = (one[0](views) + copies[r](views)) / 2
            loss = torch.nn.functional.cross_entropy(logits, context.labels[ids], reduction="none")
        np.testing.assert_allclose(rows["teacher_loss"], loss, rtol=1e-3, atol=1e-5)
    run_study(resolve_study(study | {"keep_views": True}), tmp_path / "kept", device="cpu")
    kept, asked = contents(tmp_path / "kept"), contents(tmp_path / "run")
    assert kept.pop("study.yaml") != asked.pop("study.yaml")
    assert kept == asked


def test_soft_labels_of_copies_are_those_of_each_replica(tmp_path):
    entry = tiny(arms={"ce": {"loss": "cross_entropy"}, "s": {"loss": "soft_label", "soft_label": "of_both"}})
    entry["teachers"] = {name: TEACHERS[name] for name in ("one", "copies", "each")}
    entry["soft_labels"] = {
        "of_copies": {"kind": "teacher", "teacher": "copies"},
        "of_each": {"kind": "teacher", "teacher": "each"},
        "of_both": {"kind": "mixture", "shares": {"of_copies": 0.5, "of_each": 0.5}},
    }
    run = run_study(resolve_study(entry), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(entry), tmp_path / "run", torch.device("cpu"))
    table = soft_label_table(context, "of_copies")
    assert len(table) == 4
    np.testing.assert_array_equal(table[3], table[0])
    assert not np.allclose(table[1], table[0], atol=1e-3)
    assert run.soft_labels("of_both").values.shape[0] == 4


def test_kept_copies_serve_studies_with_more_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    entry = tiny(backend="sequential", keep_teachers=True, arms={"ce": {"loss": "cross_entropy"}}, replicas=3)
    trained, train = [], teacher_training.train_teacher

    def counting(context, name, replicas, on_epoch=None):
        trained.append((name, *replicas))
        return train(context, name, replicas, on_epoch)

    monkeypatch.setattr(teacher_training, "train_teacher", counting)
    for copies in (1, 3):
        entry["teachers"] = {"one": SMALL | {"copies": copies}}
        run_study(resolve_study(entry), tmp_path / f"run{copies}", device="cpu")
    assert trained == [("one", 0), ("one", 1), ("one", 2)]
    first, second = ((tmp_path / f"run{n}/weights/teacher=one/group=000.safetensors").read_bytes() for n in (1, 3))
    assert first == second


def test_defaults_are_no_part_of_a_study_s_identity_and_settings_are():
    entry = tiny()
    before = resolve_study(entry).hash
    entry["teachers"]["one"] = SMALL | {"copies": 1, "mean_of": None, "space": "probabilities"}
    assert resolve_study(entry).hash == before
    changes = {
        "one": {"learning_rate": 0.01}, "copies": {"copies": 2}, "mean_logits": {"space": "probabilities"},
        "mean": {"mean_of": ["one", "each"]},
    }  # fmt: skip
    hashes = {
        resolve_study(tiny(teachers=TEACHERS | {name: TEACHERS[name] | change})).hash
        for name, change in changes.items()
    }
    assert len(hashes | {before}) == 5
    assert len(resolve_study(entry).hashes) == 1  # earlier versions knew none of this


def test_an_arm_is_another_where_a_member_of_its_ensemble_is(tmp_path):
    def identity(**settings):
        entry = tiny()
        entry["teachers"]["copies"] |= settings
        return identity_of(open_study(resolve_study(entry), tmp_path, torch.device("cpu")), "mean", 0.1)

    assert identity() == identity(label="copies")
    assert identity() != identity(learning_rate=0.01)


ENSEMBLE = {"mean_of": ["one", "copies"]}


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"rows": "own"}, r"teachers\.t: rows: own \(each replica's own rows\) needs draw: per_replica"),
        ({"copies": 2, "draw": "per_replica"}, r"copies: draw: per_replica has a teacher for each replica already"),
        ({"copies": 5}, r"teachers\.t\.copies: 5 are more than the 4 replicas; replica r learns from number r mod 5"),
        ({"first": 1, "rows": "own", "draw": "per_replica"}, r"teachers\.t: first: with rows: own"),
        ({"first": -1}, r"teachers\.t\.first: "),
        ({"copies": 0}, r"teachers\.t\.copies: "),
        ({"space": "logits"}, r"teachers\.t: space: only an ensemble \(mean_of\) has it"),
        ({"mean_of": ["one"]}, r"teachers\.t\.mean_of: "),
        ({"mean_of": ["one", "one"]}, "mean_of: names one more than once"),
        ({"mean_of": ["one", "copis"]}, r"teachers\.t\.mean_of: no teacher named 'copis', did you mean 'copies'"),
        ({"mean_of": ["one", "kd"]}, r"teachers\.t\.mean_of: no teacher named 'kd'"),
        (ENSEMBLE | {"space": "softmax"}, r"teachers\.t\.space: must be 'probabilities' or 'logits'"),
        (ENSEMBLE | {"epochs": 3, "follow": True}, "an ensemble is not trained itself; leave out epochs, follow"),
        ({"mean_of": ["one", "mean"]}, r"teachers\.t\.mean_of: mean is an ensemble itself"),
        ({"mean_of": ["one", "t"]}, r"teachers\.t\.mean_of: t is an ensemble itself"),
        (
            {"mean_of": ["one", "copies", "each"]},
            r"mean_of: teachers must be one or equally many networks, not copies \(3\), each \(4\)",
        ),
    ],
)
def test_teachers_that_cannot_be_are_named(teacher, message):
    entry = tiny()
    entry["teachers"]["t"] = teacher
    with pytest.raises(StudyError, match=message):
        resolve_study(entry)


def test_rows_that_are_not_there_are_named_before_training(tmp_path):
    entry = tiny()
    entry["teachers"]["some_each"]["rows"] = 5000
    with pytest.raises(ValueError, match=r"teachers\.some_each\.rows: 5000 rows asked for, the train split has 1297"):
        run_study(resolve_study(entry), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
