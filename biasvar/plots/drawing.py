"""A figure of the report as a function: from runs or from its frame to axes on a pyplot figure."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.errors import RecordError
from biasvar.messages import first_few, no_such
from biasvar.plots import sources
from biasvar.plots.given_axes import GivenAxes, root_of
from biasvar.plots.showing import in_the_reports_look
from biasvar.report import style
from biasvar.report.figures import load
from biasvar.report.fonts import one_line_for_missing_glyphs
from biasvar.report.output import why_not

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from biasvar.records import Run
    from biasvar.report.figure import Figure

WIDTH = 112  # of docstrings, beside what `help` puts before a line
_DOCSTRING = """{title}

{how_to_read}Args:
    source: A run as `biasvar.open_run` gives it, its directory, a list of either; or this figure's frame, as pandas
        reads it from a report's {name}.csv; it holds no looks of arms, so they are drawn plainly.
{arms}    ax: The axes to draw in, for a drawing of one panel. Without it the drawing has a figure of its own.

Returns:
    One Axes, or an array (n,) of them where there are several panels.

Raises:
    RecordError: The runs lack what the figure needs:
{needs}.
    ValueError: The frame is that of another figure or holds too little of it, `ax` is given for several panels{no_arm}.
    FileNotFoundError: There is no such directory.
"""
_ARMS = """\
    arm, arms: The arm, or the arms, to show. By default those that a report shows.
"""
_NO_ARM = ",\n        no such arm is there, or it cannot be drawn alone"


_IMAGES = """\
    images: Images of the samples, as `biasvar-report --images` takes them: a file, a folder or the name of a data set.
"""
_PEOPLE = """\
    people: Whose labels are the truth of test rows: "cifar10h" or another of `biasvar.votes.PEOPLE`. A frame has it.
"""
EXTRAS: dict[str, tuple[str, str, Callable[[Any, list[Run]], list[Run]]]] = {
    "gallery": ("images", _IMAGES, sources.with_images),
    "strongest": ("images", _IMAGES, sources.with_images),
    "truth": ("people", _PEOPLE, sources.against),
}
"""Arguments that some figures alone take: name, what it says, what it makes of the runs."""


def plot_function(name: str) -> Callable[..., Any]:
    """The function that draws the figure of that name, with its own signature and docstring."""
    figure = load(name)
    by_arm = "arm" in (_columns(figure) or ["arm"])
    extra = EXTRAS.get(name)

    def plot(*args: Any, **options: Any) -> Axes | np.ndarray:
        given = signature.bind(*args, **options).arguments
        wanted = _wanted(given.get("arm"), given.get("arms"))
        value = None if extra is None else given.get(extra[0])
        changed = None if extra is None or value is None else partial(extra[2], value)
        return draw(figure, given["source"], wanted, given.get("ax"), changed)

    signature = _signature(by_arm=by_arm, extra=None if extra is None else extra[0])
    plot.__name__ = plot.__qualname__ = name
    plot.__module__ = "biasvar.plots"
    plot.__doc__ = _docstring(figure, by_arm=by_arm, extra="" if extra is None else extra[1])
    plot.__signature__ = signature  # type: ignore[attr-defined]
    return plot


def _signature(*, by_arm: bool, extra: str | None) -> inspect.Signature:
    """The arguments of a figure's function."""
    source = "Run | str | Path | list[Run | str | Path] | DataFrame"
    parameters = [inspect.Parameter("source", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_Words(source))]

    def add(name: str, words: str, kind: Any = inspect.Parameter.KEYWORD_ONLY) -> None:
        parameters.append(inspect.Parameter(name, kind, default=None, annotation=_Words(words)))

    if by_arm:
        add("arm", "str | None", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        add("arms", "Sequence[str] | None")
    if extra is not None:
        add(extra, "str | Path | None" if extra == "images" else "str | None")
    add("ax", "Axes | None")
    return inspect.Signature(parameters, return_annotation=_Words("Axes | np.ndarray"))


class _Words(str):
    """A type as a signature shows it, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _docstring(figure: Figure, *, by_arm: bool, extra: str) -> str:
    read = figure.how_to_read if isinstance(figure.how_to_read, str) else ""
    return _DOCSTRING.format(
        title=figure.title if figure.title.endswith("?") else f"{figure.title}.",
        how_to_read=textwrap.fill(read, WIDTH) + "\n\n" if read else "",
        name=figure.name,
        arms=(_ARMS if by_arm else "") + extra,
        needs=textwrap.indent(textwrap.fill(figure.needs, WIDTH - 8), " " * 8),
        no_arm=_NO_ARM if by_arm else "",
    )


def _wanted(arm: Any, arms: Any) -> list[str] | None:
    """The arms that are asked for by either argument; None if all are."""
    if arm is not None and arms is not None:
        raise ValueError("give arm or arms, not both")
    given = arms if arm is None else arm
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{'arms' if arm is None else 'arm'} must be names of arms, not {given!r}")
    return list(dict.fromkeys(names))


def draw(
    figure: Figure,
    source: Any,
    arms: list[str] | None,
    ax: Axes | None,
    changed: Callable[[list[Run]], list[Run]] | None = None,
) -> Axes | np.ndarray:
    """Draw a figure of the report on a pyplot figure, or in `ax`, of the runs as `changed` makes them."""
    from matplotlib import pyplot

    if ax is not None:
        _check_axes(ax)
    with one_line_for_missing_glyphs():
        frame = _frame(figure, source, arms, changed)
        with in_the_reports_look():
            open_before = _open_figures()
            try:
                if ax is not None:
                    return _in_axes(figure, frame, ax)
                with style.made_by(pyplot.figure):
                    drawing = figure.draw(frame)
            except SeveralPanels:
                raise
            except Exception as error:
                _close_others(open_before)
                if arms is not None:
                    raise ValueError(f"{figure.name} cannot be drawn of arm {', '.join(arms)} alone") from error
                if isinstance(source, pd.DataFrame):
                    raise ValueError(
                        f"{figure.name} cannot be drawn of this frame: rows that the figure puts together are not all "
                        f"there; give the whole of a report's {figure.name}.csv"
                    ) from error
                raise
            root_of(drawing).draw_without_rendering()  # ticks take their look when they are first drawn
    return _panels(drawing)


class SeveralPanels(ValueError):
    """Axes are given for a drawing of several panels."""


def _check_axes(ax: Any) -> None:
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise ValueError(f"ax must be axes, as pyplot.subplots makes them, not {type(ax).__name__}")
    if ax.figure is None:
        raise ValueError("ax was removed from its figure; make new axes")


def _in_axes(figure: Figure, frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw in axes what is one panel; where it is not, nothing is drawn in them."""
    panels = [panel for panel in figure.draw(frame).get_axes() if not _is_colour_bar(panel)]
    if len(panels) != 1:
        raise SeveralPanels(
            f"{figure.name} has {len(panels)} panels here, and ax takes a drawing of one; leave ax out, or ask "
            "for less: one arm, one run"
        )
    place = GivenAxes(ax)
    if place.root.get_layout_engine() is None:
        place.root.set_layout_engine("constrained")  # names of rows and legends need room
    with style.made_by(lambda **_: place):
        figure.draw(frame)
    place.finish()
    return ax


def _open_figures() -> list[int]:
    from matplotlib import pyplot

    return list(pyplot.get_fignums())


def _close_others(numbers: list[int]) -> None:
    """Close the figures of pyplot but these: one that could not be drawn would be shown empty."""
    from matplotlib import pyplot

    for number in set(_open_figures()) - set(numbers):
        pyplot.close(number)


def _frame(
    figure: Figure, source: Any, arms: list[str] | None, changed: Callable[[list[Run]], list[Run]] | None
) -> pd.DataFrame:
    """What the figure draws of the source, and of these arms alone."""
    if isinstance(source, pd.DataFrame):
        frame = sources.as_collected(source, figure.name, _columns(figure))
        return frame if arms is None else _of_arms(figure, frame, arms)
    runs = sources.opened(source)
    if changed is not None:
        runs = changed(runs)
    if arms is not None:
        there = list(dict.fromkeys(arm for run in runs for arm in run.arms))
        for arm in arms:
            if arm not in there:
                raise ValueError(f"{_named(runs)}: {no_such(arm, there, 'arm', limit=None)}")
    frame = figure.collect(runs)
    if arms is None:
        if frame.empty:
            raise RecordError(f"{figure.name} of {_named(runs)}: {why_not(figure, runs)}")
        return frame
    if not set(arms) <= set(_arms(frame)):  # a figure shows some arms of many: of fewer it shows those
        narrowed = figure.collect([sources.narrowed(run, arms) for run in runs])
        frame = style.styled(narrowed, runs) if len(narrowed) else frame
    if frame.empty:
        raise RecordError(f"{figure.name} of {_named(runs)}: {why_not(figure, runs)}")
    return _of_arms(figure, frame, arms)


def _of_arms(figure: Figure, frame: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    """The rows of these arms, and those of no arm."""
    shown = _arms(frame)
    for arm in arms:
        if arm not in shown:
            raise ValueError(f"{figure.name} does not show arm {arm!r}; it shows {', '.join(shown) or 'none'}")
    looks = style.styles_of(frame)  # of all: a series may take that of an arm that is not shown
    kept = frame[frame["arm"].isin(arms) | ~frame["arm"].isin(shown)].reset_index(drop=True)
    return style.with_looks(kept, looks)


def _arms(frame: pd.DataFrame) -> list[str]:
    return [arm for arm in dict.fromkeys(frame["arm"]) if isinstance(arm, str) and arm] if len(frame) else []


def _named(runs: Sequence[Run]) -> str:
    return f"run{'s' if len(runs) > 1 else ''} {first_few(run.name for run in runs)}"


def _columns(figure: Figure) -> list[str] | None:
    """The columns of a figure's frame; None where its module does not list them."""
    columns: list[str] | None = getattr(import_module(figure.draw.__module__), "COLUMNS", None)
    return columns


def _is_colour_bar(ax: Axes) -> bool:
    return ax.get_label() == "<colorbar>"


def _panels(drawing: Any) -> Axes | np.ndarray:
    """The panels of a figure or of a part of one: not the axes of colour bars, and none that is switched off."""
    import numpy as np

    axes = [ax for ax in drawing.get_axes() if ax.axison and not _is_colour_bar(ax)]
    if len(axes) == 1:
        return axes[0]
    panels = np.empty(len(axes), dtype=object)
    panels[:] = axes
    return panels
