"""A run that goes on: with other data or another study it is refused, under other versions it says so."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from biasvar.data import load_dataset
from biasvar.errors import RecordError
from biasvar.records import open_run
from biasvar.report.summary import summarise
from biasvar.report.text.description import provenance
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.study.claims import ledger_hash
from biasvar.training import checks, continuing, reuse
from biasvar.training.context import StudyContext
from biasvar.training.continuing import check_same_study, sessions_with
from biasvar.training.execute import run_study
from tests.conftest import TINY


def small():
    study = copy.deepcopy(TINY)
    study["arms"] = {name: study["arms"][name] for name in ("ce", "kd")}
    study["teachers"] = {"main": study["teachers"]["main"]}
    study["schedule"]["epochs"] = 2
    return study


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    return run_study(resolve_study(small()), directory, device="cpu")


@pytest.fixture
def interrupted(finished, tmp_path):
    """A run of which one arm is left to train."""
    shutil.copytree(finished.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/weights/arm=kd")
    return tmp_path / "run"


def edit(directory, **entries):
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def change_data(monkeypatch, **changes):
    digits = load_dataset("digits")
    dataset = replace(digits, **{key: change(getattr(digits, key).copy()) for key, change in changes.items()})
    monkeypatch.setattr(checks, "load_dataset", lambda name: dataset)


def one_pixel(images):
    images[5, 3, 3] ^= 1
    return images


def one_label(labels):
    labels[7] = (labels[7] + 1) % 10
    return labels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": one_pixel}, "the labels of its samples are the same, but images"),
        ({"labels": one_label}, r"1 of 1,797 labels differ, that of sample 7 was 7 and is 8"),
        (
            {"images": lambda x: x[:1700], "labels": lambda x: x[:1700]},
            "there are 1,700 samples, and the run has sample",
        ),
    ],
)
def test_other_data_than_a_run_was_begun_with_are_refused(interrupted, monkeypatch, changes, message):
    change_data(monkeypatch, **changes)
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}
    with pytest.raises(RecordError, match=f"the data digits are not those that .*: {message}.*fingerprint"):
        run_study(resolve_study(small()), interrupted, device="cpu")
    assert before == {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}


def test_a_complete_run_of_other_data_is_not_called_done(finished, tmp_path, monkeypatch, capsys):
    change_data(monkeypatch, images=one_pixel)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(small()))
    assert main([str(tmp_path / "study.yaml"), "--out", str(finished.directory), "--jobs", "1"]) == 2
    assert "put them back as they were, or give the study another --out" in capsys.readouterr().err


def test_people_that_said_something_else_are_refused_and_share_no_arm(finished, monkeypatch, tiny_study):
    study = resolve_study(small())
    context = checks.open_study(study, finished.directory, torch.device("cpu"))
    monkeypatch.setattr(continuing, "fingerprints_of_people", lambda context: {"cifar10h": "one"})
    for before in ({"cifar10h": "one"}, {}, None):  # None: of an earlier version
        edit(finished.directory, people=before)
        continuing.check_same_data(context)
    edit(finished.directory, people={"cifar10h": "two"})
    with pytest.raises(RecordError, match="the people's labels cifar10h are not those"):
        continuing.check_same_data(context)
    edit(finished.directory, people={})

    tiny_study["data"]["name"] = "cifar10"
    tiny_study["soft_labels"] = {"said": {"kind": "votes", "people": "cifar10n", "votes": "majority"}}
    tiny_study["arms"]["taught"] = {"loss": "soft_label", "soft_label": "said"}
    with_people = StudyContext(
        resolve_study(tiny_study), context.dataset, context.blocks, context.device, context.inputs, context.labels,
        context.directory,
    )  # fmt: skip
    identities = []
    for fingerprint in ("one", "two"):
        people = type("People", (), {"fingerprint": fingerprint})
        monkeypatch.setattr(reuse, "load_people", lambda name, dataset, people=people: people)
        identities.append([reuse.identity_of(with_people, arm, 0.1) for arm in ("ce", "taught")])
    assert identities[0][0] == identities[1][0]
    assert identities[0][1] != identities[1][1]


def test_data_that_change_while_a_run_goes_on_are_found_by_its_workers(finished, monkeypatch):
    from biasvar.training import workers

    change_data(monkeypatch, images=one_pixel)
    with pytest.raises(RecordError, match="the data digits are not those"):
        workers.set_up(resolve_study(small()), finished.directory, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["arms"]["kd"].update(temperature=3), "arms.kd.temperature was 2.0 and is 3.0; put"),
        (lambda s: s.update(seed=4), "seed was 3 and is 4; put"),
        (lambda s: s["arms"].update(ls={"loss": "label_smoothing"}), "arms.ls is new, a mapping; put"),
        (lambda s: s["arms"].pop("ce"), "arms.ce was a mapping and is gone; put"),
        (lambda s: s["teachers"]["main"].update(hidden=[17]), r"teachers.main.hidden was \[16\] and is \[17\]; put"),
        (lambda s: s.update(keep_views=True, title="T"), "keep_views was false and is true; put"),
        (lambda s: s["data"].update(test=301, crop=1), "data.test was 300 and is 301; data.crop was 0 and is 1; put"),
        (lambda s: s["arms"]["ce"].update(student={"hidden": [5]}), "arms.ce.student was null and is a mapping; put"),
        (lambda s: s["student"].update(bias=False), "student.bias was true and is false; put"),
        (lambda s: s["arms"]["ce"].update(loss="label_smoothing"), "arms.ce.loss was 'cross_entropy' and is 'label"),
    ],
)
def test_a_study_that_was_changed_names_the_keys(finished, change, message):
    study = small()
    change(study)
    with pytest.raises(RecordError, match=f"holds another run, 'tiny', of a study that differs: {message}"):
        run_study(resolve_study(study), finished.directory, device="cpu")


def test_labels_and_later_keys_at_their_default_make_no_other_study(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "run")
    text = yaml.safe_load((tmp_path / "run/study.yaml").read_text())
    del text["keep_views"], text["arms"]["ce"]["teacher_shift"], text["schedule"]["precision"]
    text["arms"]["ce"]["label"] = "other"
    (tmp_path / "run/study.yaml").write_text(yaml.safe_dump(text))
    study = resolve_study({**small(), "seed": 5})
    with pytest.raises(RecordError, match=r"differs: seed was 3 and is 5; put"):
        check_same_study(study, tmp_path / "run")
    text["student"]["bias"] = False  # left out of a study without it
    (tmp_path / "run/study.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(RecordError, match=r"seed was 3 and is 5; student.bias was false and is true; put"):
        check_same_study(study, tmp_path / "run")
    (tmp_path / "run/study.yaml").unlink()
    check_same_study(study, tmp_path / "run")  # the writer refuses by the hash alone
    with pytest.raises(RecordError, match="holds another run, 'tiny': its study_hash is"):
        run_study(study, tmp_path / "run", device="cpu")


FIXED = {"date": "2026-11-20", "ledger": ledger_hash([])}
STATED = {"claims_fixed": FIXED, "designs_tried": {"count": 6, "seeds": [3]}}


def test_a_run_notes_what_its_study_said_when_it_began(tmp_path, finished):
    noted = finished.manifest["begun"]
    assert abs(date.fromisoformat(noted["date"]) - date.today()) <= timedelta(days=1)
    assert (noted["ledger"], noted["claims_fixed"]) == (ledger_hash(finished.manifest["claims"]), None)
    study = resolve_study({**small(), **STATED})
    assert continuing.begun(study, tmp_path)["begun"] == {**noted, "claims_fixed": FIXED}
    assert continuing.begun(study, finished.directory) == {}


@pytest.mark.parametrize("whole", [True, False])
def test_statements_may_be_added_to_the_study_of_a_run_and_its_beginning_stays(finished, interrupted, tmp_path, whole):
    directory = tmp_path / "whole" if whole else interrupted
    if whole:
        shutil.copytree(finished.directory, directory)
    run = run_study(resolve_study({**small(), **STATED}), directory, device="cpu")
    assert run.manifest["status"] == "complete"
    assert run.manifest["begun"] == finished.manifest["begun"]  # what it did not say then it does not say now
    assert run.study | STATED == run.study
    assert run.manifest["study_hash"] == finished.manifest["study_hash"]
    changed = {**STATED, "claims_fixed": {**FIXED, "date": "2026-11-21"}}
    before = (directory / "manifest.json").read_bytes()
    assert (
        run_study(resolve_study({**small(), **changed}), directory, device="cpu").study["claims_fixed"]
        == changed["claims_fixed"]
    )
    again = run_study(resolve_study(small()), directory, device="cpu")
    assert again.study["claims_fixed"] is None
    assert (directory / "manifest.json").read_bytes() == before


def test_an_older_run_that_goes_on_does_not_begin_now(interrupted):
    edit(interrupted, begun=None)
    run = run_study(resolve_study({**small(), **STATED}), interrupted, device="cpu")
    assert run.manifest["begun"] is None
    path = interrupted / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["begun"]
    path.write_text(json.dumps(manifest))
    assert "begun" not in run_study(resolve_study({**small(), **STATED}), interrupted, device="cpu").manifest


def test_a_run_that_goes_on_under_other_versions_says_so_and_lists_them(interrupted, capsys, monkeypatch):
    began = json.loads((interrupted / "manifest.json").read_text())
    assert len(began["sessions"]) == 1
    entry = began["arms"]["kd"] | {"status": "waiting"}
    edit(
        interrupted, versions={**began["versions"], "torch": "2.0.0", "python": "3.10.1"}, commit="abc",
        device="cuda", sessions=None, arms={**began["arms"], "kd": entry},
    )  # fmt: skip
    run = run_study(resolve_study(small()), interrupted, device="cpu")
    said = capsys.readouterr().err
    assert said.count("biasvar: note: ") == 1
    line = next(line for line in said.splitlines() if "note" in line)
    for words in (
        "torch 2.0.0 before and ",
        "python 3.10.1 before and ",
        "commit abc before and ",
        "device cuda before",
    ):
        assert words in line
    sessions = run.manifest["sessions"]
    assert [session["device"] for session in sessions] == ["cuda", "cpu"]
    assert [session["arms_before"] for session in sessions] == [[], ["ce"]]
    shown = dict(provenance(run))
    assert "torch 2.0.0" in shown["Session 1"]
    assert shown["Session 1"].endswith("arms ended in it: ce")
    assert shown["Session 2"].endswith("arms ended in it: kd")
    assert shown["Device"] == "cuda"
    assert len(summarise([run], pd.DataFrame({"run": []}))["runs"]["tiny"]["provenance"]["sessions"]) == 2


def test_a_run_that_goes_on_as_it_began_has_one_session(finished, interrupted, capsys):
    run = run_study(resolve_study(small()), interrupted, device="cpu")
    assert " before and " not in capsys.readouterr().err
    assert run.manifest["sessions"] == finished.manifest["sessions"]
    assert "Session 1" not in dict(provenance(run))


def test_manifests_of_earlier_versions_and_edited_ones_are_read(finished):
    now = {key: finished.manifest[key] for key in continuing.SESSION}
    for listed in (None, []):
        sessions, said = sessions_with({**finished.manifest, "sessions": listed}, now)
        assert (len(sessions), said) == (1, "")
    without = {key: value for key, value in finished.manifest.items() if key not in ("sessions", "versions")}
    assert sessions_with(without, now)[1] == ""
    assert sessions_with(without, {**now, "threads": 2})[1] == "threads 1 before and 2 now"


def test_the_summary_and_the_page_of_an_older_run_have_no_sessions(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "old")
    edit(tmp_path / "old", sessions=None)
    assert not [name for name, _ in provenance(open_run(tmp_path / "old")) if name.startswith("Session")]
    assert np.isfinite(open_run(tmp_path / "old").arm("ce")["learning_rate"])
