"""The fuzzer: some hundreds of its cases, and that it notices functions that are not clear."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import biasvar
from biasvar import analysis, losses

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def fuzzer():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("fuzz")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize(
    "part", ["analysis.", "losses.", "Recorder", "import_predictions", "open_", "Run.", "from_arrays"]
)
def test_odd_arguments_give_a_result_or_are_refused_by_name(fuzzer, part):
    faults, counts = fuzzer.fuzz(300 if "." in part else 60, seed=7, only=part)
    assert list(faults.lines()) == []
    assert counts["result"] > 0
    assert counts["refused"] > 20


def test_every_public_function_is_tried(fuzzer, tmp_path):
    tried = {target.name.split(".")[-1] for target in fuzzer.targets(tmp_path)}
    owners = {target.name.split(".")[-2] for target in fuzzer.targets(tmp_path / "again") if "." in target.name}
    results = {
        "Bregman", "Change", "Component", "Crossed", "Decomposition", "Diversity", "Estimate", "Guarantee",
        "Indicator", "Indicators", "Interval", "LabelQuality", "Learnability", "LinearNetworkTerms", "PartialLabels",
        "Plan", "StudentCondition", "Totals", "TradeoffTerms", "Verdict", "BadTeacherTerms", "DISTANCES", "Evidence",
        "KEEP", "SCORES", "analysis", "data", "errors", "integrations", "losses", "modules", "plots", "with_sample_ids",
    }  # fmt: skip
    public = {*biasvar.__all__, *analysis.__all__, *losses.__all__}
    assert public - results - tried - owners == set()


def unclear(x, y):
    return x.sum() + y


def ignoring(x, y):
    return np.asarray(x).sum() + len(np.asarray(y))


def by_place(x, y):
    if not isinstance(x, np.ndarray):
        return 0.0
    return float(x.sum())


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (unclear, "AttributeError"),
        (ignoring, "the mask of a masked array is ignored"),
        (by_place, "another result for the same numbers"),
    ],
)
def test_functions_that_are_not_clear_are_noticed(fuzzer, monkeypatch, function, said):
    good = {"x": np.arange(12.0).reshape(4, 3), "y": np.arange(4)}
    monkeypatch.setattr(fuzzer, "targets", lambda folder: [fuzzer.Target("mine", function, good)])
    faults, counts = fuzzer.fuzz(250, seed=1)
    assert any(said in line for line in faults.lines())
    assert counts["fault"] == sum(faults.count.values()) > 0
