"""The figures of the report as functions, for a notebook: `biasvar.plots.accuracy(run)`.

There is one function for each figure, under the name that it has in a report, and there are marks for any frame of
estimates, `forest`, `lines` and `scatter`, and for images of samples, `images`. `dir(biasvar.plots)` lists them all,
`help(biasvar.plots.accuracy)` says what one shows, how to read it and what a run must hold for it.

A figure takes a run, its directory, a list of runs, or its own frame: what a report wrote beside it as a CSV. It is
made by pyplot, so that a notebook shows it, and has the report's look whatever pyplot's settings are; these stay as
they were. What is returned are the axes: `axes.figure` of one panel, `axes[0].figure` of several.

>>> import biasvar
>>> "data_map" in dir(biasvar.plots), "forest" in dir(biasvar.plots)
(True, True)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from biasvar.messages import no_such
from biasvar.report.figures import FIGURES

MARKS = ("forest", "images", "lines", "scatter")

__all__ = sorted([*FIGURES, *MARKS])


def __getattr__(name: str) -> Callable[..., Any]:
    if name in MARKS:
        from biasvar.plots import marks

        function: Callable[..., Any] = getattr(marks, name)
    elif name in FIGURES:
        from biasvar.plots.drawing import plot_function

        function = plot_function(name)
    else:
        raise AttributeError(no_such(name, __all__, "plot", limit=None))
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
