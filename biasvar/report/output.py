"""The files of a report or a card: made in a temporary folder, then moved into place together."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd

from biasvar.files import move_files
from biasvar.messages import all_visible, visible
from biasvar.report import style
from biasvar.report.arms.roles import LISTED, arms_with_role, too_few
from biasvar.report.figures import FIGURES
from biasvar.report.fonts import one_line_for_missing_glyphs
from biasvar.report.image_files import embedded_kind, encoded, few_colours
from biasvar.report.side_by_side import SideBySide

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from PIL.Image import Image

    from biasvar.records import Run
    from biasvar.report.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
PAGE, SUMMARY = "index.html", "summary.json"
FLOATS = "%.10g"  # beyond what any number here is known to, and the same on every machine


OTHERS = (
    *(
        "claims",
        "verdict",
        "indicators",
        "thresholds",
        "pairs",
        "classes",
        "entropy",
        "calibration",
        "worst",
        "samples",
    ),
    r"co_occurrence_k\d+",
)
_OWN = re.compile(rf"(?:(?:{'|'.join((*FIGURES, *OTHERS))})\.(?:csv|{'|'.join(style.FORMATS)})|{PAGE}|{SUMMARY})", re.A)
"""The names of files that a report or a card writes."""


def write_table(folder: Path, name: str, frame: pd.DataFrame, *, more: bool = False) -> None:
    """Write NAME.csv, or with `more` go on with it; texts as `as_text` has them, numbers as they are."""
    shown = frame.rename(columns=as_text)
    for place, kind in enumerate(frame.dtypes):
        if kind.kind not in "biufc":
            shown.isetitem(place, frame.iloc[:, place].map(as_text).to_numpy(dtype=object))
    form: dict[str, Any] = {"index": False, "lineterminator": "\n", "float_format": FLOATS}
    shown.to_csv(folder / f"{name}.csv", mode="a" if more else "w", header=not more, **form)


def as_text(value: Any) -> Any:
    """A text for a cell of a table: visible characters only, and nothing that a spreadsheet would take for a formula.

    A text that begins with =, +, - or @ and is no number gets a ' before it: a program that reads the table and wants
    the text itself takes off one leading ' that one of these follows. Any other value is given back as it is.

    >>> [as_text(value) for value in ("=1+1", "-1.5", "@me", "KD", -1.5)]
    ["'=1+1", '-1.5', "'@me", 'KD', -1.5]
    """
    if not isinstance(value, str):
        return value
    value = visible(value)
    if not value.lstrip().startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_drawing(folder: Path, name: str, draw: Callable[[], Drawing], formats: Sequence[str]) -> dict[str, Any]:
    """Write NAME.FORMAT for each of the formats; returns the pictures as the page embeds them, and the files' names.

    `draw` is called twice: the second drawing, for narrow screens, is the page's alone.
    """
    return begin_drawing(folder, name, draw, formats, SideBySide(1))()


def begin_drawing(
    folder: Path,
    name: str,
    draw: Callable[[], Drawing],
    formats: Sequence[str],
    aside: SideBySide,
    ended: Callable[[], None] | None = None,
) -> Callable[[], dict[str, Any]]:
    """Begin `write_drawing`; the function returned waits for its end. `ended` is called when it comes."""
    both = aside.begin(lambda: (_wide(folder, name, draw, formats), _narrow(draw)), ended)

    def whole() -> dict[str, Any]:
        wide, narrow = both.result()
        return {**wide, "narrow": narrow, "files": [f"{name}.{fmt}" for fmt in formats]}

    return whole


def _wide(folder: Path, name: str, draw: Callable[[], Drawing], formats: Sequence[str]) -> dict[str, Any]:
    drawing = draw()
    about, picture = _picture(drawing)
    for fmt in formats:
        path = folder / f"{name}.{fmt}"
        if fmt == "png":
            path.write_bytes(encoded(picture, "png"))
        else:
            style.save(drawing, path, fmt)
    return about


def _narrow(draw: Callable[[], Drawing]) -> dict[str, Any]:
    with style.for_narrow_screens():
        return _picture(draw())[0]


def _picture(drawing: Drawing) -> tuple[dict[str, Any], Image]:
    """A drawing, laid out, as the page embeds it with the pixels that it takes there, and its picture."""
    style.lay_out(drawing)
    picture = few_colours(style.pixels(drawing))
    kind = embedded_kind(picture)
    width, height = (round(100 * inches) for inches in drawing.get_size_inches())
    data = base64.b64encode(encoded(picture, kind)).decode()
    return {"picture": f"data:image/{kind};base64,{data}", "width": width, "height": height}, picture


def write_figure(figure: Figure, runs: list[Run], folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Draw one figure into the folder, with its table; returns what the page says of it."""
    return begin_figure(figure, runs, folder, formats, SideBySide(1))()


def begin_figure(
    figure: Figure,
    runs: list[Run],
    folder: Path,
    formats: Sequence[str],
    aside: SideBySide,
    ended: Callable[[], None] = lambda: None,
) -> Callable[[], dict[str, Any]]:
    """Begin `write_figure`; the function returned waits for its end. `ended` is called when it comes."""
    about: dict[str, Any] = {
        "name": figure.name,
        "title": figure.title,
    }
    frame = figure.collect(runs)
    if frame.empty:
        ended()
        about["why"] = why_not(figure, runs)
        return lambda: about
    if figure.title_of is not None:
        about["title"] = figure.title_of(frame)
    picture = begin_drawing(folder, figure.name, lambda: figure.draw(frame), formats, aside, ended)
    write_table(folder, figure.name, frame)
    table = f"{figure.name}.csv"
    read = figure.how_to_read if isinstance(figure.how_to_read, str) else figure.how_to_read(frame, runs)
    about |= {"how_to_read": read, "caption": figure.caption(frame, runs), "numbers_in": table}

    def whole() -> dict[str, Any]:
        pictures = picture()
        return about | pictures | {"files": [table, *pictures["files"]]}

    return whole


def why_not(figure: Figure, runs: list[Run]) -> str:
    """Why a figure has nothing to draw, as a page says it after the figure's title."""
    shows = too_few(runs, figure.roles)
    if not shows:
        return f"needs {figure.needs}"
    left = any(arms_with_role(run, figure.roles) for run in runs) and figure.roles != LISTED
    return f"needs {figure.needs}; it {shows}" if left else shows


def write_page(folder: Path, template: str, **about: Any) -> None:
    """Write index.html from one of the templates; a name that the template lacks a value for is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    (folder / PAGE).write_text(environment.get_template(template).render(**about), encoding="utf-8")


def write_summary(folder: Path, content: dict[str, Any]) -> None:
    """Write summary.json."""
    text = json.dumps(all_visible(content), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def json_value(value: Any, digits: int | None = None) -> Any:
    """A value as JSON has it, and what a container holds too: NaN, infinity and NA as None, NumPy scalars as Python's.

    Args:
        digits: significant digits of floats, all of them if None.
    """
    if isinstance(value, dict):
        return {str(key): json_value(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item, digits) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return float(f"{value:.{digits}g}") if isinstance(value, float) and digits is not None else value


@contextmanager
def into_place(out: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `out` at the end; on an error nothing is left of it.

    Its summary.json gets a list of the files. Those that the summary.json in `out` lists, and that are not written
    again, are removed: figures of an earlier report that would pass for this one's. Any other file is left alone, and
    so is one that is listed there under a name that no report writes.
    """
    there = out.absolute().parent
    while not there.exists():
        there = there.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=".report-", dir=there))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(out)) from None
    try:
        with one_line_for_missing_glyphs():
            yield folder
        names = sorted(path.name for path in folder.iterdir())
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        write_summary(folder, content | {"files": names})
        out.mkdir(parents=True, exist_ok=True)
        former = _written(out)
        # The page last: until it is there, the page of an older report stands.
        move_files(folder, out, sorted(names, key=lambda name: (name == PAGE, name)))
        for name in former - set(names):
            (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(out: Path) -> set[str]:
    """The files in a folder that an earlier report or card wrote there, as its summary.json says; none without one."""
    try:
        content = json.loads((out / SUMMARY).read_text(encoding="utf-8")) if (out / SUMMARY).is_file() else None
    except (OSError, ValueError, RecursionError):
        return set()
    if not (isinstance(content, dict) and "biasvar" in content and isinstance(content.get("files"), list)):
        return set()
    names = {name for name in content["files"] if isinstance(name, str)}
    return {name for name in names if _OWN.fullmatch(name) and not (out / name).is_dir()}
