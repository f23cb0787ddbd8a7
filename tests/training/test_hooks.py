"""What a method of a user's own must not do, in words: never a traceback, always the arm, the method and the fault."""

from __future__ import annotations

import importlib
import shutil
import sys

import pytest
import torch

from biasvar.errors import RecordError, StudyError
from biasvar.study.reading import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.reuse import identity_of
from biasvar.training.soft_targets import soft_label_table

STUDY = {
    "name": "faulty",
    "replicas": 2,
    "backend": "sequential",
    "data": {"name": "digits", "test": 100, "validation": 50, "student": 200},
    "student": {"model": "mlp", "hidden": [8]},
    "draw": {"kind": "subsample", "rows": 60},
    "schedule": {"epochs": 4, "batch_size": 30},
    "learning_rate": {"value": 0.1},
    "checkpoint_every": 2,
}


def faulty(name, **arm):
    loss = f"tests.training.faulty_methods:{name}"
    return {**STUDY, "arms": {"ce": {"loss": "cross_entropy"}, "a": {"loss": loss, **arm}}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Scalar", r"loss must return floating-point losses of shape \(1, 30\), not float32 of shape \(\)"),
        ("Whole", r"floating-point losses of shape \(1, 30\), not int64"),
        ("Cut", r"no gradient"),
        ("Bare", r"loss must return \(losses, weights or None\), not float32 of shape \(1, 30\)"),
        ("Nothing", r"\(losses, weights or None\), not NoneType"),
        ("NarrowWeights", r"floating-point weights of shape \(1, 30\), not float32 of shape \(3,\)"),
        ("Leaves", r"failed with SystemExit: 3 \(.*faulty_methods.py, line \d+\)"),
        ("Raises", r"failed with TwoPartError: in the middle \(.*faulty_methods.py, line \d+\)"),
        ("NoRows", r"ids as an array of 1 replicas x at least 1 row, not shape \(1, 0\)"),
        ("TestRows", r"rows must select from replica 0's draw, each sample once: samples .* are not"),
        ("NoStudent", r"student must return a torch.nn.Module, not NoneType"),
        ("NothingToTrain", r"the modules have no parameters to train"),
        ("SavesNumbers", r"saved must return tensors by name, not int for 'steps'"),
    ],
)
def test_what_hooks_must_not_give_is_named_with_the_arm(name, message, tmp_path):
    with pytest.raises(StudyError, match=rf"arms\.a: method tests.training.faulty_methods:{name}.*{message}"):
        run_study(resolve_study(faulty(name)), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Lossless", r"it has no loss; define loss\(self, state, batch\)"),
        ("MisspeltNeed", r"needs must be a set of 'teacher', .*, not 'teachers'"),
        ("PathOnly", r"features must be a tuple of module paths, such as \('layers',\)"),
        ("NoPhases", r"sum to the schedule's 4 epochs, not none"),
        ("HalfEpochs", r"whole epochs .* not 'a' 2.5, 'b' 1.5"),
        ("Uphill", r"phase 'a': rate must be a number from 0 up, not -1.0"),
    ],
)
def test_methods_that_cannot_be_are_named_before_anything_is_written(name, message, tmp_path):
    with pytest.raises(StudyError, match=rf"arms\.a: method tests.training.faulty_methods:{name}: .*{message}"):
        run_study(resolve_study(faulty(name)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "arm", "message"),
    [
        ("OwnLabel", {}, "arms.a.loss: .* its settings may not define 'label', which every arm has"),
        ("OwnTau", {}, "arms.a.temperature: must be a number above 0, at which the arm is recorded, not 'hot'"),
        ("LooseTeacher", {}, "arms.a.loss: .* the key teacher must be a biasvar.study.TaughtBy"),
        ("SetOfNames", {}, "arms.a.names: a set has no order to be known by; make it a list"),
        ("Anything", {}, "arms.a.value: a value that can be written to a file is needed"),
        ("Validated", {"value": 3}, "arms.a: .*Validated.Settings failed with KeyError: 3"),
        ("Hidden", {}, "arms.a.loss: its settings class must be found as .*Local by worker processes"),
        ("Star", {}, "arms.a.loss: .* plays must be one of baseline, .* not 'star'"),
    ],
)
def test_settings_of_ones_own_that_cannot_be_are_named(name, arm, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(faulty(name, **arm))


def test_an_error_in_a_worker_ends_the_run_in_words_and_keeps_what_was_done(tmp_path):
    with pytest.raises(StudyError, match="failed with TwoPartError: in the middle"):  # its class cannot be unpickled
        run_study(resolve_study(faulty("Raises")), tmp_path / "run", jobs=2)
    assert (tmp_path / "run" / "weights" / "arm=ce").is_dir()
    assert (tmp_path / "run" / "checkpoints" / "arm=a").is_dir()


def test_a_number_beyond_all_memory_is_refused_before_it_fills_it():
    for key, study in (("schedule.epochs", {"schedule": {"epochs": 10**12}}), ("replicas", {"replicas": 10**12})):
        with pytest.raises(StudyError, match=f"{key}: must be less than or equal to 1000000"):
            resolve_study({**STUDY, **study, "arms": {"ce": {"loss": "cross_entropy"}}})


def test_a_loss_that_is_no_text_is_refused():
    with pytest.raises(StudyError, match=r"arms.a.loss: must be 'cross_entropy', .*not b'cross_entropy'"):
        resolve_study({**STUDY, "arms": {"a": {"loss": b"cross_entropy"}}})


def test_a_method_that_left_nothing_may_be_mended_and_the_run_goes_on(tmp_path, monkeypatch):
    source = tmp_path / "mended_method.py"
    head = "from tests.training.faulty_methods import Sound\n\n\nclass Mine(Sound):\n    "
    source.write_text(f"{head}def loss(self, state, batch):\n        raise KeyError(batch.epoch)\n")
    monkeypatch.syspath_prepend(tmp_path)
    study = {**STUDY, "arms": {"ce": {"loss": "cross_entropy"}, "a": {"loss": "mended_method:Mine"}}}
    with pytest.raises(StudyError, match="failed with KeyError: 1"):
        run_study(resolve_study(study), tmp_path / "run")
    kept = (tmp_path / "run/weights/arm=ce/group=000.safetensors").stat().st_mtime_ns
    source.write_text(f"{head}pass\n")
    del sys.modules["mended_method"]
    importlib.invalidate_caches()
    run = run_study(resolve_study(study), tmp_path / "run")
    assert run.manifest["status"] == "complete"
    assert (tmp_path / "run/weights/arm=ce/group=000.safetensors").stat().st_mtime_ns == kept
    source.write_text(f"{head}name = 'another'\n")  # now its replicas would be of two kinds
    shutil.rmtree(tmp_path / "run/records/arm=ce")
    with pytest.raises(RecordError, match=r"source of mended_method:Mine was changed .* with which arm a was trained"):
        run_study(resolve_study(study), tmp_path / "run")


def test_the_source_of_a_method_is_no_part_of_arms_without_it(tmp_path):
    alone = resolve_study({**STUDY, "arms": {"ce": {"loss": "cross_entropy"}}})
    beside = resolve_study(faulty("Sound"))
    device = torch.device("cpu")
    one, two = (identity_of(open_study(study, tmp_path, device), "ce", 0.1) for study in (alone, beside))
    assert one == two


def test_the_order_of_a_mixture_is_part_of_a_study_and_of_its_arms(tmp_path):
    def study(*names):
        parts = {name: {"kind": name} for name in ("label", "random")}
        mixed = {"kind": "mixture", "shares": dict.fromkeys(names, 0.5)}
        return resolve_study(
            {
                **STUDY,
                "soft_labels": {**parts, "mixed": mixed},
                "arms": {"a": {"loss": "soft_label", "soft_label": "mixed"}},
            }
        )

    one, two = study("label", "random"), study("random", "label")
    contexts = [open_study(each, tmp_path, torch.device("cpu")) for each in (one, two)]
    assert (soft_label_table(contexts[0], "mixed") != soft_label_table(contexts[1], "mixed")).any()
    assert one.hash != two.hash
    assert identity_of(contexts[0], "a", 0.1) != identity_of(contexts[1], "a", 0.1)
