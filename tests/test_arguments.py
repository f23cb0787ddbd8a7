"""Plain arguments of public functions: what stands for a number, and what is refused by name."""

from __future__ import annotations

import decimal
import fractions
import inspect
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

import biasvar
from biasvar import analysis, losses
from biasvar.arguments import checked


@checked
def plain(
    factor: float,
    times: int | None = None,
    *,
    flag: bool = False,
    name: str | None = "a",
    keep: Literal["a", "b"] = "a",
    anything: list | int = 0,
) -> tuple:
    return factor, times, flag, name, keep, anything


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"factor": 2}, 2),
        ({"factor": np.float32(0.5)}, 0.5),
        ({"factor": np.array(0.5)}, 0.5),
        ({"factor": torch.tensor(0.5, dtype=torch.bfloat16)}, 0.5),
        ({"factor": decimal.Decimal("0.5")}, 0.5),
        ({"factor": fractions.Fraction(1, 2)}, 0.5),
        ({"factor": 1.0, "times": 3.0}, 3),
        ({"factor": 1.0, "times": np.int8(3)}, 3),
        ({"factor": 1.0, "times": torch.tensor(3)}, 3),
        ({"factor": 1.0, "times": None}, None),
        ({"factor": 1.0, "flag": np.bool_(True)}, True),
        ({"factor": 1.0, "flag": 1}, True),
        ({"factor": 1.0, "name": np.str_("b")}, "b"),
        ({"factor": 1.0, "name": None}, None),
        ({"factor": 1.0, "anything": "x"}, "x"),
    ],
)
def test_what_stands_for_a_plain_value_is_taken_as_one(given, taken):
    last = list(given)[-1]
    out = dict(zip(("factor", "times", "flag", "name", "keep", "anything"), plain(**given), strict=True))[last]
    assert out == taken
    assert type(out) is type(taken)
    if set(given) <= {"factor", "times"}:
        assert plain(*given.values()) == plain(**given)


ODD = [None, "1", b"1", [], [1], {}, {1}, 1j, True, len, object(), pd.NA, pd.NaT, np.ma.masked, np.zeros(0), [None]]


@pytest.mark.parametrize("odd", [*ODD, torch.zeros((), device="meta"), np.datetime64("2026-01-01"), pd.Series([1])])
def test_what_is_no_number_is_refused_by_name(odd):
    with pytest.raises(ValueError, match=r"^factor must be a number, not "):
        plain(odd)
    if odd is not None:
        with pytest.raises(ValueError, match=r"^times must be a whole number or None, not "):
            plain(1.0, times=odd)


@pytest.mark.parametrize("broken", [2.5, np.nan, np.inf, np.float32(0.5), decimal.Decimal("0.5")])
def test_broken_numbers_are_no_whole_ones(broken):
    with pytest.raises(ValueError, match=r"^times must be a whole number or None, not "):
        plain(1.0, broken)


@pytest.mark.parametrize(("name", "odd"), [("flag", 2), ("flag", "no"), ("name", 1), ("name", b"a"), ("keep", None)])
def test_flags_and_texts_are_checked_too(name, odd):
    with pytest.raises(ValueError, match=f"^{name} must be (True or False|text)"):
        plain(1.0, **{name: odd})


FUNCTIONS = [getattr(analysis, name) for name in analysis.__all__ if inspect.isfunction(getattr(analysis, name))]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_function_of_analysis_has_its_plain_arguments_checked(function):
    annotations = [parameter.annotation for parameter in inspect.signature(function).parameters.values()]
    plain = {"float", "int", "bool", "str"} & {part for text in annotations for part in str(text).split(" | ")}
    assert hasattr(function, "__wrapped__") or not plain


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: biasvar.decompose(np.zeros((2, 3, 2)), [0, 1, 0], groups="4"), "groups"),
        (lambda: analysis.tempered(np.zeros((3, 2)), [1.0]), "temperature"),
        (lambda: analysis.Accumulator(3, None), "num_classes"),
        (lambda: losses.DistillationLoss(temperature={}, alpha=0.5), "temperature"),
        (lambda: losses.WeightedSoftLabelLoss(temperature=2, alpha=pd.NA), "alpha"),
        (lambda: biasvar.Recorder("never", num_samples="3", num_classes=2, temperature=1), "num_samples"),
        (lambda: biasvar.open_soft_labels("never.npy", temperature="1"), "temperature"),
        (lambda: biasvar.import_predictions([np.eye(2)], [0, 1], clip="x"), "clip"),
    ],
)
def test_public_functions_refuse_by_name(call, name):
    with pytest.raises(ValueError, match=f"^{name} must be "):
        call()
