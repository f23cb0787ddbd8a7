"""Soft labels that a study takes from a file, patterns, and mixtures of soft labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from biasvar import open_run
from biasvar.analysis import from_top_k, measure_indicators
from biasvar.data import load_dataset
from biasvar.errors import StudyError
from biasvar.run import main
from biasvar.study import load_study, resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.reuse import identity_of
from biasvar.training.soft_targets import soft_label_table

SURE = [0.91] + [round(0.014 - 0.001 * j, 3) for j in range(9)]
FLAT = [0.0] + [round(0.12 - 0.00225 * j, 5) for j in range(9)]


def spread(mass: list[float]) -> list[float]:
    """Scaled to sum to 1."""
    return (np.asarray(mass) / sum(mass)).tolist()


@pytest.fixture
def digits():
    return load_dataset("digits")


@pytest.fixture
def soft(digits):
    """(N, 10) soft labels of all digits that no other kind gives."""
    rng = np.random.default_rng(5)
    return 0.7 * np.eye(10)[digits.labels] + 0.3 * rng.dirichlet(np.ones(10), len(digits.labels))


@pytest.fixture
def plain(tiny_study, tmp_path, monkeypatch):
    """A study file in a folder of its own, whose soft labels are in the file beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    tiny_study |= {"teachers": {}, "soft_labels": {"ours": {"kind": "file", "path": "soft.parquet"}}}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}, "ours": {"loss": "soft_label", "soft_label": "ours"}}
    tiny_study.pop("defaults")

    def write(**ours):
        tiny_study["soft_labels"]["ours"] |= ours
        (tmp_path / "studies/study.yaml").write_text(yaml.safe_dump(tiny_study))
        return tmp_path / "studies"

    return write


def parquet(path, soft, ids=None, **columns):
    ids = np.arange(len(soft)) if ids is None else ids
    pd.DataFrame({"sample_id": ids, "soft_label": list(soft), **columns}).to_parquet(path)


def context_of(study):
    return open_study(study, "nowhere", torch.device("cpu"))


def test_students_learn_from_a_file_and_the_run_knows_it(plain, soft, digits, capsys):
    folder = plain()
    order = np.random.default_rng(0).permutation(len(soft))
    parquet(folder / "soft.parquet", soft[order], order, label=digits.labels[order])
    command = ["studies/study.yaml", "--device", "cpu", "--jobs", "1", "--out", "runs/files"]
    assert main(command) == 0
    manifest = json.loads((folder.parent / "runs/files/manifest.json").read_text())
    kept = manifest["soft_label_files"]["ours"]
    assert kept["path"] == str(folder / "soft.parquet")
    study = load_study("studies/study.yaml")
    assert kept["sha256"] == study.soft_labels["ours"].sha256
    stored = open_run("runs/files").soft_labels("ours")
    np.testing.assert_allclose(stored.values, soft[stored.sample_ids], rtol=1e-6)
    # What the run says of its study is a study that finds the file.
    assert load_study("runs/files/study.yaml").hash == study.hash

    # The same content elsewhere is the same study; a changed file is another.
    (folder / "moved").mkdir()
    (folder / "soft.parquet").rename(folder / "moved/soft.parquet")
    assert main([*command, "--set", "soft_labels.ours.path=studies/moved/soft.parquet"]) == 0
    parquet(folder / "soft.parquet", soft[order], order)
    capsys.readouterr()
    assert main(command) == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["soft.npy", "soft.npz", "columns.parquet"])
def test_row_i_is_sample_i_where_there_are_no_ids(plain, soft, name):
    folder = plain(path=name)
    if name == "soft.npy":
        np.save(folder / name, soft.astype(np.float32))
    elif name == "soft.npz":
        np.savez(folder / name, soft_labels=soft, other=np.zeros(3))
    else:
        pd.DataFrame(soft, columns=[f"p{c}" for c in range(10)]).to_parquet(folder / name)
    context = context_of(load_study(folder / "study.yaml"))
    np.testing.assert_allclose(soft_label_table(context, "ours"), soft[context.blocks["student"]], rtol=1e-6)


def test_numbers_that_are_no_distributions_are_read_as_the_study_says(plain, soft):
    folder = plain(path="soft.npy", normalize=True)
    np.save(folder / "soft.npy", 3 * soft)
    context = context_of(load_study(folder / "study.yaml"))
    rows = context.blocks["student"]
    np.testing.assert_allclose(soft_label_table(context, "ours"), soft[rows])
    np.save(folder / "soft.npy", 2 * np.log(soft))
    plain(normalize=False, temperature=2)
    np.testing.assert_allclose(soft_label_table(context_of(load_study(folder / "study.yaml")), "ours"), soft[rows])
    np.save(folder / "soft.npy", soft - 0.1)
    plain(temperature=None, scores=True, project=True)
    made = soft_label_table(context_of(load_study(folder / "study.yaml")), "ours")
    np.testing.assert_allclose(made.sum(1), 1)
    plain(project=False)
    with pytest.raises(StudyError, match=r"arms\.ours\.measure: ours are raw scores, whose cross-entropy has no lower"):
        load_study(folder / "study.yaml")


@pytest.mark.parametrize("rest", ["uniform", "zero"])
def test_the_largest_entries_of_a_row_are_completed_as_the_study_says(plain, soft, rest):
    indices = np.argsort(-soft, axis=1)[:, :4]
    values = np.take_along_axis(soft, indices, axis=1)
    folder = plain(path="top.npz", rest=rest)
    np.savez(folder / "top.npz", indices=indices, values=values)
    context = context_of(load_study(folder / "study.yaml"))
    expected = from_top_k(indices, values, 10, rest=rest)[context.blocks["student"]]
    np.testing.assert_array_equal(soft_label_table(context, "ours"), expected)
    plain(rest=None)
    with pytest.raises(StudyError, match=r"soft_labels\.ours: .*the others get with rest: uniform, or rest: zero"):
        context_of(load_study(folder / "study.yaml"))
    plain(rest=rest, normalize=True)
    with pytest.raises(StudyError, match="rest: makes distributions"):
        load_study(folder / "study.yaml")


def changed(soft, row, value):
    soft = soft.copy()
    soft[row, 2] = value
    return soft


BAD = {
    "a sum": (lambda s, y: parquet("soft.parquet", changed(s, 7, 0.9)), "row 7 does not .*; normalize: true divides"),
    "negative": (lambda s, y: parquet("soft.parquet", changed(s, 3, -0.1)), "row 3 holds a negative entry"),
    "nan": (lambda s, y: parquet("soft.parquet", changed(s, 11, np.nan)), "must be finite; row 11 holds NaN"),
    "classes": (lambda s, y: parquet("soft.parquet", s[:, :7]), "has 7 classes, digits has 10"),
    "missing": (
        lambda s, y: parquet("soft.parquet", s[:1700]),
        r"soft.parquet lacks \d+ of the 1,147 samples of the students' pool: sample_id 17\d\d",
    ),
    "outside": (lambda s, y: parquet("soft.parquet", s, np.arange(len(s)) + 5), "sample_id 1797.* is no sample of"),
    "twice": (lambda s, y: parquet("soft.parquet", s, [4, 4, *range(2, len(s))]), "sample_id 4 comes more than once"),
    "real ids": (lambda s, y: parquet("soft.parquet", s, np.arange(len(s)) + 0.5), "whole numbers, not float"),
    "labels": (
        lambda s, y: parquet("soft.parquet", s, label=np.roll(y, 1)),
        r"row .* has another label than its sample in digits \(the first is sample_id 0, label 8 here and 0 there\)",
    ),
    "no ids": (
        lambda s, y: pd.DataFrame(s[:9], columns=[f"p{c}" for c in range(10)]).to_parquet("soft.parquet"),
        "has 9 rows without a column 'sample_id', and digits has 1,797 samples",
    ),
    "text": (lambda s, y: Path("soft.parquet").write_text("0.1,0.9"), "cannot be read as Parquet"),
    "empty": (lambda s, y: Path("soft.parquet").touch(), "cannot be read as Parquet"),
    "no file": (lambda s, y: None, "path: .*soft.parquet cannot be read .No such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_wrong_is_refused_before_anything_is_written(plain, soft, digits, case, monkeypatch, capsys):
    folder = plain()
    make, message = BAD[case]
    monkeypatch.chdir(folder)
    make(soft, digits.labels)
    before = sorted(folder.iterdir())
    for extra in (["--dry-run"], ["--jobs", "2"]):
        assert main(["study.yaml", "--device", "cpu", *extra]) == 2
        error = capsys.readouterr().err
        assert error.startswith("biasvar: error: ")
        assert "soft_labels.ours" in error
        assert error.count("\n") == 1
        assert re.search(message, error), error
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ({"path": None}, "soft_labels.ours.path: needed for kind file"),
        ({"path": "soft.csv"}, "soft.csv must end in .npy, .npz, .parquet"),
        ({"normalize": True, "scores": True}, "normalize: rows are divided by their sum, or are scores"),
        ({"project": True}, "project: for scores: true"),
        ({"teacher": "main"}, "teacher: not used by kind file"),
        ({"sha256": "0" * 64}, "is another file now: its SHA-256 is"),
    ],
)
def test_keys_of_a_file(plain, soft, ours, message):
    folder = plain(**ours)
    parquet(folder / "soft.parquet", soft)
    with pytest.raises(StudyError, match=message):
        load_study(folder / "study.yaml")


def test_a_file_that_changes_after_the_study_was_read_is_refused(plain, soft, tmp_path):
    folder = plain()
    parquet(folder / "soft.parquet", soft)
    study = load_study(folder / "study.yaml")
    parquet(folder / "soft.parquet", soft[::-1])
    with pytest.raises(StudyError, match=r"soft\.parquet is another file now"):
        run_study(study, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def mixed(tiny_study, **shares):
    tiny_study["soft_labels"] = {
        "sure": {"kind": "pattern", "mass": spread(SURE)},
        "flat": {"kind": "pattern", "mass": spread(FLAT)},
        "mixed": {"kind": "mixture", "shares": shares or {"sure": 0.4, "flat": 0.6}},
    }
    tiny_study["arms"] = {"mixed": {"loss": "soft_label", "soft_label": "mixed"}}
    return tiny_study


def test_a_pattern_puts_its_masses_behind_the_truth_in_one_order_a_class(tiny_study):
    context = context_of(resolve_study(mixed(tiny_study)))
    made, labels = soft_label_table(context, "sure"), context.dataset.labels[context.blocks["student"]]
    for row, y in zip(made[:50], labels[:50], strict=True):
        np.testing.assert_array_equal(row, np.roll(spread(SURE), y))


def test_sure_where_right_and_nearly_flat_where_wrong_breaks_the_condition_at_every_k(tiny_study):
    """The construction behind claim L4: the mean soft label is right in every class, Delta + gamma > 1 for every k."""
    context = context_of(resolve_study(mixed(tiny_study)))
    made, labels = soft_label_table(context, "mixed"), context.dataset.labels[context.blocks["student"]]
    wrong = np.take_along_axis(made, labels[:, None], 1)[:, 0] == 0
    assert wrong.mean() == pytest.approx(0.6, abs=0.05)
    found = measure_indicators(made, labels, ks=range(1, 10), thresholds=[0.0])
    table = found.table()
    np.testing.assert_allclose(table["delta"], wrong.mean())
    assert table["gamma"].iloc[0] == pytest.approx(0.6, abs=0.15)
    np.testing.assert_allclose(table["gamma"].iloc[1:], 1.0)
    assert found.student_condition().per_class == "holds"


def test_a_row_that_a_larger_first_share_takes_it_keeps(tiny_study):
    tables = {}
    for share in (0.3, 0.4):
        context = context_of(resolve_study(mixed(tiny_study, sure=share, flat=1 - share)))
        labels = context.dataset.labels[context.blocks["student"]]
        tables[share] = np.take_along_axis(soft_label_table(context, "mixed"), labels[:, None], 1)[:, 0] > 0
    assert (tables[0.3] <= tables[0.4]).all()
    assert tables[0.3].sum() < tables[0.4].sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "pattern", "mass": [0.5, 0.6]}, "mass: must be numbers from 0 up that sum to 1"),
        ({"kind": "pattern", "mass": [1.5, -0.5]}, "mass: must be numbers from 0 up that sum to 1"),
        ({"kind": "mixture", "shares": {"sure": 0.4, "flat": 0.4}}, "shares: must be numbers from 0 up that sum to 1"),
        ({"kind": "mixture", "shares": {}}, "shares: must be numbers from 0 up"),
        ({"kind": "mixture", "shares": {"sur": 1}}, "did you mean 'sure'"),
        ({"kind": "mixture", "shares": {"other": 1}}, "shares.other: no mixture, soft labels of students"),
        ({"kind": "mixture"}, "shares: needed for kind mixture"),
    ],
)
def test_keys_of_patterns_and_mixtures(tiny_study, change, message):
    study = mixed(tiny_study)
    study["soft_labels"] |= {"other": dict(study["soft_labels"]["mixed"]), "mixed": change}
    with pytest.raises(StudyError, match=message):
        resolve_study(study)


def test_a_pattern_has_a_mass_for_each_class(tiny_study):
    study = mixed(tiny_study)
    study["soft_labels"]["sure"]["mass"] = [0.5, 0.5]
    with pytest.raises(StudyError, match=r"soft_labels\.sure\.mass: must hold one number for each of the 10 classes"):
        context_of(resolve_study(study))


def test_what_a_soft_label_is_made_of_is_part_of_its_arms_identity(tiny_study):
    def identity(**flat):
        study = mixed(tiny_study)
        study["soft_labels"]["flat"] |= flat
        return identity_of(context_of(resolve_study(study)), "mixed", 0.1)

    assert identity() == identity()
    assert identity() != identity(mass=spread([0.0, *[1.0] * 9]))
