"""The figures of the report, one module each, in the order of the page; imported only when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biasvar.report.figure import Figure

FIGURES = (
    "methods",
    "for_whom",
    "costs",
    "bias_variance",
    "truth",
    "accuracy",
    "effects",
    "published",
    "changes",
    "directions",
    "by_class",
    "kinds",
    "sweep",
    "sweep_classes",
    "sweep_samples",
    "views",
    "few_shots",
    "training",
    "paths",
    "revision",
    "selection",
    "layers",
    "shares",
    "temperatures",
    "teachers",
    "ablations",
    "gradients",
    "weights",
    "flags",
    "indicators",
    "conditions",
    "predictors",
    "bad_teacher",
    "partial",
    "noise",
    "rounds",
    "people",
    "gallery",
    "curves",
    "redraws",
    "term_histograms",
    "bias_against_variance",
    "data_map",
    "reliability",
    "strongest",
)


def load(name: str) -> Figure:
    """The figure of that name, one of `FIGURES`."""
    figure: Figure = import_module(f"biasvar.report.figures.{name}").FIGURE
    return figure
