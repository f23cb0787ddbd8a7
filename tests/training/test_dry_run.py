"""Dry runs: a step of everything, estimates beside what a run really takes, made images, and nothing left behind."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch
import yaml

from biasvar import progress
from biasvar.run import main
from biasvar.study import load_study, resolve_study
from biasvar.training import rehearsal
from biasvar.training.dry_run import estimated, open_for_rehearsal
from biasvar.training.estimate_words import estimates_in_words
from biasvar.training.estimates import Estimate
from biasvar.training.execute import run_study
from biasvar.training.peaks import Peak

CPU = torch.device("cpu")
PAIR = {  # networks of two families on CIFAR-100
    "name": "pair", "replicas": 3, "backend": "sequential",
    "data": {"name": "cifar100", "validation": 2000, "crop": 4, "flip": True},
    "student": {"model": "resnet8"}, "draw": {"kind": "seed_only"},
    "schedule": {"epochs": 240, "batch_size": 64, "decay": "step", "milestones": [150, 180, 210]},
    "learning_rate": {"value": 0.05}, "record": {"epochs": 20}, "evaluate_every": 10,
    "teachers": {"main": {"model": "convnet", "epochs": 240, "batch_size": 64}},
    "arms": {"ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation", "temperature": 4, "alpha": 2.25}},
}  # fmt: skip
IMAGENET = {  # 1,281,167 images of 224x224; a small network of one's own, so that the test is quick
    **PAIR, "name": "imagenet",
    "data": {"name": "imagenet", "validation": 10_000, "crop": 4, "flip": True},
    "student": {"model": "tests.training.own_network:make"},
    "schedule": {"epochs": 100, "batch_size": 512},
    "teachers": {"main": {"model": "tests.training.own_network:make", "epochs": 90, "batch_size": 256}},
}  # fmt: skip
STREAMED = {
    **IMAGENET, "name": "streamed", "data": {"name": "imagenet", "validation": 10_000, "streamed": {"image_size": 160}},
}  # fmt: skip
TF_KD = {
    **PAIR, "name": "tf_kd", "teachers": {},
    "arms": {
        "ce": {"loss": "cross_entropy"},
        "self_": {"loss": "tfkd_self", "teacher": "ce", "variant": "paper", "temperature": 20, "alpha": 0.95},
        "reg": {"loss": "tfkd_reg", "variant": "paper", "alpha": 0.1, "temperature": 20, "correct_probability": 0.99},
    },
}  # fmt: skip
DFA = {
    **PAIR, "name": "dfa", "data": {"name": "cinic10", "validation": 2000, "crop": 4, "flip": True},
    "teachers": {"main": {"model": "resnet14", "epochs": 140, "batch_size": 96}},
    "arms": {
        "ce": {"loss": "cross_entropy"},
        "search": {"loss": "dfa_search", "teacher": "main", "searched": "in_turn"},
        "dfa": {"loss": "dfa", "teacher": "main", "weights": "searched", "search": "search"},
    },
}  # fmt: skip


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def dry(study, tmp_path, capsys, *more) -> list[str]:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert main([str(tmp_path / "study.yaml"), "--dry-run", "--device", "cpu", *more]) == 0
    said = capsys.readouterr()
    first, *later = said.err.splitlines()
    assert first.startswith("biasvar: note: the dry run takes a step of ")
    assert all(line.startswith("biasvar: dry run: ") for line in later), later  # one a minute, where it takes so long
    return said.out.splitlines()


def rows_of(lines: list[str]) -> dict[str, list[str]]:
    """The cells of the table by the name of their row."""
    start = next(i for i, line in enumerate(lines) if line.startswith("estimates, on the CPU"))
    end = next(i for i, line in enumerate(lines) if line.startswith("  total"))
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines[start + 2 : end + 1]]
    return {row[0]: row[1:] for row in cells}


def test_every_teacher_rate_and_arm_has_a_row(tiny_study, tmp_path, capsys):
    grid = {"grid": [0.1, 0.3], "replicas": 2, "families": {family: family for family in ("kd",)}}
    arms = {name: {**arm, "family": "kd"} for name, arm in tiny_study["arms"].items()}
    lines = dry({**tiny_study, "learning_rate": grid, "arms": arms}, tmp_path, capsys)
    rows = rows_of(lines)
    wanted = [f"teacher {name}" for name in tiny_study["teachers"]] + ["rate of kd"] + [f"arm {n}" for n in arms]
    assert sorted(rows) == sorted([*wanted, "samples and draws", "total"])
    assert not [line for line in lines if "made" in line and "images" in line]  # the digits are here
    assert rows["teacher main"][0] == "mlp 16"
    # 1,297 rows in batches of 100 through 6 epochs; 90 rows in batches of 40 through 4.
    assert rows["teacher main"][3] == "78"
    assert rows["arm kd"][1] == f"{64 * 12 + 12 + 12 * 10 + 10:,}"
    assert rows["arm kd"][3] == "12"
    assert rows["rate of kd"][3] == "24"  # at two rates


def test_it_is_said_at_once_what_is_done_and_then_how_far_it_is(tiny_study, tmp_path, capsys, monkeypatch):
    """Lines without pause here: the first words come before any arm, those of progress name the one in hand."""
    honest, said = rehearsal._arm, []

    def arm(*given):
        time.sleep(0.1)
        said.append(capsys.readouterr())
        return honest(*given)

    monkeypatch.setattr(rehearsal, "_arm", arm)
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0.0)
    monkeypatch.setattr(progress, "SECONDS_A_PICTURE", 0.01)
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    assert main([str(tmp_path / "study.yaml"), "--dry-run", "--device", "cpu"]) == 0
    assert all(one.out == "" for one in said)
    assert "takes a step of 3 teachers and 2 arms on cpu" in said[0].err.splitlines()[0]
    lines = said[1].err.splitlines()
    assert re.fullmatch(r"biasvar: dry run: 80 % done, 4 of 5 rehearsals.*; now arm kd", lines[-1]), lines[-1]


def test_nothing_is_written_and_nothing_is_left(tiny_study, tmp_path, monkeypatch, capsys):
    for name in ("elsewhere", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    tiny_study["keep_teachers"] = True  # which a run would keep in the cache
    dry(tiny_study, tmp_path, capsys)
    dry(tiny_study, tmp_path, capsys, "--out", str(tmp_path / "run"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "study.yaml", "temporary"]
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not list((tmp_path / "temporary").iterdir())


def test_bytes_on_disk_are_those_of_the_run(tiny_study, tmp_path):
    """Estimate beside reality: a file of each kind has its size from made numbers, a run's from trained ones."""
    study = resolve_study(tiny_study)
    _, found = estimated(open_for_rehearsal(study, tmp_path / "run", CPU))
    run = run_study(study, tmp_path / "run", device="cpu")
    folders = {"records": "records", "predictions": "predictions", "weights": "weights", "teachers": "teachers' logits"}
    for folder, what in folders.items():
        real = sum(path.stat().st_size for path in (run.directory / folder).rglob("*") if path.is_file())
        expected = sum(one.disk.get(what, 0.0) for one in found)
        assert 1 / 1.5 < expected / real < 1.5, (folder, expected, real)
    steps = {one.what: one.steps for one in found}
    assert steps["arm ce"] == 4 * 3  # of the four replicas in one pass


@pytest.mark.parametrize(
    "study",
    [PAIR, IMAGENET, TF_KD, *(pytest.param(study, marks=pytest.mark.slow) for study in (STREAMED, DFA))],
    ids=lambda study: study["name"],
)
def test_studies_whose_data_are_not_here_are_rehearsed_on_made_images(study, no_data, tmp_path, capsys):
    lines = dry(study, tmp_path, capsys)
    (said,) = (line for line in lines if line.startswith("made images"))
    assert f"{study['data']['name']} is not in {tmp_path / 'data'}" in said
    assert "random pixels" in said
    assert {f"arm {name}" for name in study["arms"]} < set(rows_of(lines))
    assert ("160x160x3" in said) == any(line.strip().startswith("streamed images:") for line in lines)


def test_made_images_are_never_trained_on(no_data, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(PAIR))
    assert main(["study.yaml", "--device", "cpu", "--jobs", "1"]) == 2
    assert "no data for 'cifar100'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_data_of_ones_own_that_are_not_there_are_not_made(tiny_study, no_data, tmp_path, capsys):
    tiny_study["data"]["name"] = "./mine.npz"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    assert main(["study.yaml", "--dry-run"]) == 2
    assert "mine.npz" in capsys.readouterr().err


def test_a_million_images_take_no_memory(no_data, tmp_path):
    peak = Peak(CPU)
    peak.begin()
    context = open_for_rehearsal(resolve_study(IMAGENET), tmp_path / "run", CPU)
    assert context.dataset.images.nbytes > 2 * 10**11
    if not peak.resets:
        pytest.skip("needs a system that tells the memory of a piece of work")
    assert peak.highest() < 10**9


def test_a_batch_that_is_cut_is_said_and_scaled_back(no_data, tmp_path, capsys, monkeypatch):
    whole = rows_of(dry(PAIR, tmp_path, capsys, "--set", "threads=1"))
    assert not whole["arm kd"][2].endswith("*")
    monkeypatch.setattr(rehearsal, "SLOW", 0.0)
    lines = dry(PAIR, tmp_path, capsys, "--set", "threads=1")
    cut = rows_of(lines)
    assert any("cut to fewer rows of a batch (8 of 64)" in line and "scaled back" in line for line in lines)
    for who in ("teacher main", "arm ce", "arm kd"):
        assert cut[who][2].endswith("*")
        assert cut[who][5].endswith("*")
        assert cut[who][3] == whole[who][3]  # steps are those of whole batches


@pytest.mark.parametrize(
    ("peak", "built", "weights", "slots", "expected"),
    [
        (100, 0, 0, 1, 800),  # nothing but activations, eight times as many
        (130, 10, 10, 1, 30 + 8 * 100),  # weights were built; gradients and momentum do not grow with the batch
        (20, 10, 10, 2, 40),  # less than what must be there: that
    ],
)
def test_memory_is_scaled_but_for_what_a_batch_does_not_change(peak, built, weights, slots, expected):
    assert rehearsal._scaled_peak(peak, built, weights, slots, 8, 64) == expected


def test_activations_of_a_cut_batch_scale_to_those_of_a_whole_one(tmp_path, no_data, monkeypatch):
    """The peak of a step on 8 rows, scaled to 64, beside that of a step on all 64."""
    found = {}
    for slow in (1e9, 0.0):
        monkeypatch.setattr(rehearsal, "SLOW", slow)
        study = resolve_study({**PAIR, "arms": {"ce": PAIR["arms"]["ce"]}, "teachers": {}})
        rehearsed, _ = estimated(open_for_rehearsal(study, tmp_path / "run", CPU))
        if not rehearsed.resets:
            pytest.skip("needs a system that tells the memory of a piece of work")
        found[slow] = rehearsed.arms["ce"]
    assert not found[1e9].cut
    assert found[0.0].cut
    assert 0.5 < found[0.0].peak / found[1e9].peak < 2


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Scalar", r"arms\.a: method .*Scalar: loss must return floating-point losses of shape"),
        ("TooLarge", r"arm a: the CPU's memory is too small for this study; nothing was written: lower schedule"),
    ],
)
def test_a_step_that_fails_names_its_arm(tmp_path, capsys, monkeypatch, method, message):
    monkeypatch.chdir(tmp_path)
    study = {
        "name": "faulty", "replicas": 2, "backend": "sequential",
        "data": {"name": "digits", "test": 100, "validation": 50, "student": 200},
        "student": {"model": "mlp", "hidden": [8]}, "draw": {"kind": "subsample", "rows": 60},
        "schedule": {"epochs": 4, "batch_size": 30}, "learning_rate": {"value": 0.1},
        "arms": {"ce": {"loss": "cross_entropy"}, "a": {"loss": f"tests.training.faulty_methods:{method}"}},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["study.yaml", "--dry-run", "--device", "cpu"]) == 2
    said = capsys.readouterr()
    first, *_, last = said.err.splitlines()
    assert first == "biasvar: note: the dry run takes a step of 2 arms on cpu; then it says what all of it would take"
    assert last.startswith("biasvar: error: ")
    assert re.search(message, last), last
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]


def test_ctrl_c_leaves_nothing(tiny_study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsal, "rehearse_arm", stop)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    assert main(["study.yaml", "--dry-run"]) == 130
    assert "interrupted before anything was trained" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_the_sum_of_redraws_is_of_all_of_them(tiny_study, tmp_path):
    study = resolve_study(tiny_study)
    rehearsed, found = estimated(open_for_rehearsal(study, tmp_path / "run", CPU))
    once, thrice = (estimates_in_words(rehearsed, found, repeats=n) for n in (1, 3))
    steps = sum(one.steps for one in found)
    assert any(line.strip().startswith("total ") and f"  {steps:,}  " in line for line in once)
    assert any("total of 3 redraws" in line and f"  {3 * steps:,}  " in line for line in thrice)
    assert Estimate("arm a", disk={"records": 3.0, "weights": 4.0}).bytes == 7.0


def test_a_checkpoint_may_come_before_anything_is_evaluated(tiny_study, tmp_path, capsys):
    """Of epochs that are not recorded the third is rehearsed: it has a checkpoint, and no evaluation before it."""
    study = {**tiny_study, "record": {"epochs": "last"}, "evaluate_every": 4, "checkpoint_every": 3}
    study |= {"arms": {"ce": tiny_study["arms"]["ce"]}, "teachers": {}}
    assert "arm ce" in rows_of(dry(study, tmp_path, capsys))


def test_every_kind_of_epoch_is_rehearsed_by_phase_and_record():
    from biasvar.training.schedules import Phase

    kinds = rehearsal.kinds_of_epochs([Phase("a", 3), Phase("b", 2)], {1, 5})
    assert sum(kind.count for kind in kinds) == 5
    assert [(kind.phase, kind.recorded, kind.last) for kind in kinds] == [
        ("a", True, 1), ("a", False, 3), ("b", False, 4), ("b", True, 5),
    ]  # fmt: skip


def test_a_method_may_take_what_a_small_study_has(tmp_path, capsys):
    """A selection of few rows in every class of many: the small study has rows enough to choose from."""
    study = {
        **PAIR, "name": "few", "student": {"model": "convnet"},
        "data": {"name": "fashion_mnist", "validation": 1000},
        "teachers": {"main": {"model": "convnet", "epochs": 5}},
        "arms": {
            "rld": {
                "loss": "label_revision", "teacher": "main", "temperature": 4, "revision": {"eta": 0.8},
                "selection": {"score": "loss", "model": "teacher", "keep": 0.05, "which": "lowest", "per_class": True},
                "ce_selected": 1, "ce_rest": 1, "distill": 1, "distance": "kl",
            }
        },
    }  # fmt: skip
    assert "arm rld" in rows_of(dry(study, tmp_path, capsys))


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["cifar100", "imagenet", "teacher_free", "dfa_cifar100", "dfa_cinic10"])
def test_studies_of_the_protocols_are_rehearsed(folder, no_data, tmp_path, capsys):
    """The first study of each kind, on made images; a folder that has none yet is said."""
    place = Path(__file__).parents[2] / "experiments" / "protocols" / folder
    studies = [path for path in sorted(place.glob("*.yaml")) if path.stem != "base"]
    if not studies:
        pytest.skip(f"needs a study in {place}")
    assert main([str(studies[0]), "--dry-run", "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("made images") for line in lines)
    arms = load_study(studies[0]).arms
    assert {f"arm {name}" for name in arms} < set(rows_of(lines))
    assert not (tmp_path / "run").exists()


def test_parameters_are_those_of_the_network_without_its_buffers(tmp_path, capsys):
    """resnet8 of 100 classes has 83,892; its running means and variances are none."""
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: small, replicas: 2, backend: sequential, student: {model: resnet8}, learning_rate: 0.1,\n"
        " data: {name: cifar100, test: 200, validation: 200, reserved: 0, student: 400}, draw: {kind: seed_only},\n"
        " schedule: {epochs: 2, batch_size: 8}, arms: {ce: {loss: cross_entropy}}}\n",
        encoding="utf-8",
    )
    assert main([str(study), "--dry-run", "--out", str(tmp_path / "run")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("arm ce"))
    assert " 83,892 " in line
