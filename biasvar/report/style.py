"""How every figure looks: sizes, type, and one colour, marker and line for each arm everywhere.

Figures are made with matplotlib's objects, never with pyplot's global state:

    with style.context():
        figure = style.new_figure(height=3.0)
        ...
        style.save(figure, "name.svg", "svg")

An arm's hue says what its loss is, its shade tells arms of one loss apart, its marker and line say what its teacher
was trained on. Arms that are read only beside others (controls, teacher sweep) are grey or share one hue.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from matplotlib.transforms import Bbox

from biasvar.report.arms.roles import reference_arms
from biasvar.report.fonts import families

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.records import Run

FORMATS = ("png", "svg", "pdf")
FULL_WIDTH = 7.2  # inches
NARROW_WIDTH = 3.58  # inches: what a telephone of 390 pixels has beside the page's margins
PNG_DPI = 200  # twice the 100 pixels an inch at which the page shows a figure

INK, MUTED, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
BAD = "#b3261e"

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same on every machine
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no ticks on top that a title would have to make room for, which takes time to find out
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "errorbar.capsize": 0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.unicode_minus": True,
    "text.parse_math": False,  # names of runs and arms may hold a "$"
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "biasvar",  # the same ids, hence the same bytes, every time
    "pdf.fonttype": 42,
}


def context() -> AbstractContextManager[Any]:
    """The settings under which figures are made and saved."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault}  # a user's matplotlibrc must not change a figure
    kept = {name: mpl.rcParams[name] for name in ("backend", "interactive")}  # where and when a notebook shows figures
    settings |= {**_RC, **kept, "font.family": families()}
    return mpl.rc_context(settings)


_NARROW: ContextVar[bool] = ContextVar("narrow", default=False)


@contextmanager
def for_narrow_screens() -> Iterator[None]:
    """In the block figures are made for a narrow screen: `NARROW_WIDTH`, their panels under one another."""
    token = _NARROW.set(True)
    try:
        yield
    finally:
        _NARROW.reset(token)


def narrow() -> bool:
    """Whether figures are being made for a narrow screen."""
    return _NARROW.get()


def abreast(count: int, *, on_narrow: int = 1) -> int:
    """How many of so many panels stand side by side: all of them, on a narrow screen no more than `on_narrow`."""
    return min(count, on_narrow) if narrow() else count


_MAKER: ContextVar[Callable[..., Any]] = ContextVar("maker", default=Drawing)


@contextmanager
def made_by(maker: Callable[..., Any]) -> Iterator[None]:
    """In the block figures are made by a function that takes `figsize` and `layout`, such as `pyplot.figure`."""
    token = _MAKER.set(maker)
    try:
        yield
    finally:
        _MAKER.reset(token)


def new_figure(*, height: float, width: float = FULL_WIDTH) -> Drawing:
    """An empty figure, inches, whose parts are laid out without overlap; no wider than the screen it is made for."""
    size = (min(width, NARROW_WIDTH) if narrow() else width, height)
    figure: Drawing = _MAKER.get()(figsize=size, layout="constrained")
    return figure


def lay_out(figure: Drawing) -> None:
    """Settle where the parts are, once, so that every format has them there and none makes the layout again."""
    with context():
        figure.set_dpi(PNG_DPI)
        for axis in (axis for ax in figure.get_axes() for axis in (ax.xaxis, ax.yaxis)):
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.0)  # or matplotlib looks for room for the empty label, again and again
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine(None)
        _round_places(figure)


def _round_places(figure: Any) -> None:
    """Rounds where the parts of a figure are to a billionth of it.

    The last digits of the layout differ between processes; where they decide a rounding, so would the bytes of a file.
    """
    for part in figure.subfigs:
        part.bbox_relative.p0, part.bbox_relative.p1 = part.bbox_relative.p0.round(9), part.bbox_relative.p1.round(9)
        _round_places(part)
    for text in figure.texts:
        text.set_position(tuple(round(float(place), 9) for place in text.get_position()))
    for ax in figure.get_axes():
        ax.set_position(Bbox(ax.get_position(original=True).get_points().round(9)))


def pixels(figure: Drawing) -> np.ndarray:
    """A figure, laid out, as a picture: uint8 (height, width, 3), red, green and blue."""
    with context():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save(figure: Drawing, path: str | Path | IO[bytes], fmt: str) -> None:
    """Write a figure as "png", "svg" or "pdf", the same bytes every time: no dates, no version in the metadata."""
    metadata: dict[str, dict[str, None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    made = io.BytesIO()
    with context():
        figure.savefig(made, format=fmt, dpi=PNG_DPI, metadata=metadata[fmt])
    data = _numbered(made.getvalue()) if fmt == "svg" else made.getvalue()
    if isinstance(path, str | Path):
        Path(path).write_bytes(data)
    else:
        path.write(data)


_HASHED = re.compile(rb'( id="|url\(#|href="#)[A-Za-z0-9_]*[0-9a-f]{10}(?=["\)])')


def _numbered(svg: bytes) -> bytes:
    """The ids that matplotlib makes of hashes, renamed to a running number in the order in which they appear.

    Matplotlib hashes unrounded numbers, and the layout's last digits differ between processes.
    """
    names: dict[bytes, bytes] = {}

    def renamed(match: re.Match[bytes]) -> bytes:
        before, name = match[1], match[0][len(match[1]) :]
        return before + names.setdefault(name, b"id%d" % (len(names) + 1))

    return _HASHED.sub(renamed, svg)


@dataclass(frozen=True)
class Look:
    """How one thing, such as an arm, is drawn and named: colour, marker, line, label."""

    color: str
    marker: str
    linestyle: Any
    label: str


# Light, usual and dark shade of the hue of each kind of arm; told apart with the common colour-blindnesses.
_SHADES: dict[str, tuple[str, str, str]] = {
    "baseline": ("#777777", "#222222", "#000000"),
    "smoothing": ("#f2c14e", "#e69f00", "#a87400"),
    "distillation": ("#86bdea", "#1f78c1", "#0b3c6f"),
    "distillation, other teacher": ("#d7a6e0", "#9c4fb3", "#561a6b"),
    "distillation, stored weights": ("#66c2c2", "#00808a", "#004d55"),
    "weighting": ("#5cc49a", "#009e73", "#00624a"),
    "weighting, other teacher": ("#c4d66a", "#90a81c", "#5c6d0a"),
    "masking": ("#d55e00", "#d55e00", "#f2a36b"),
    "joint distillation": ("#f2a3c4", "#cc3f7c", "#6b0f3a"),
    "revision": ("#f4a58a", "#d1495b", "#7a1626"),
    "control": ("#7d7d7d", "#9a9a9a", "#b8b8b8"),
    "teacher sweep": ("#9c7a4d", "#9c7a4d", "#9c7a4d"),
    "features": ("#e39ab5", "#c2447a", "#7a1f49"),
    "grid": ("#4f7ca3", "#4f7ca3", "#4f7ca3"),
}
_PLAIN = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c6d1f")
_MARKERS = {
    "none": "D", "fixed, all training rows": "o", "fixed, disjoint rows": "s", "per replica": "^",
    "students of another arm": "P",
}  # fmt: skip
_LINES: dict[str, Any] = {"none": "-", "fixed, all training rows": "-", "fixed, disjoint rows": "--"}
ENSEMBLE_MARKER = "p"
OTHER_MARKER = "v"


def as_ink(color: str) -> str:
    """A colour for words on white, darkened until they are read with ease: a contrast of 4.5 or more.

    >>> as_ink("#86bdea"), as_ink("#00624a")
    ('#567996', '#00624a')
    """
    channels, part = _channels(color), 1.0
    while 1.05 / (_luminance([part * value for value in channels]) + 0.05) < 4.5:
        part -= 0.02
    return "#" + "".join(f"{round(part * value):02x}" for value in channels)


def _luminance(channels: Sequence[float]) -> float:
    """Of sRGB channels 0 to 255, as the Web Content Accessibility Guidelines have it."""
    linear = [(((value / 255) + 0.055) / 1.055) ** 2.4 if value > 10.0 else value / 255 / 12.92 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def regime_marker(regime: str) -> str:
    """The marker of a teacher regime as the manifest names it ("none", "per replica", ...)."""
    return ENSEMBLE_MARKER if regime.startswith("ensemble") else _MARKERS.get(_one_copy(regime), OTHER_MARKER)


def regime_label(regime: str) -> str:
    """A teacher regime as a legend says it."""
    named = {"none": "no teacher", "per replica": "own teacher per replica"}
    named |= {"students of another arm": "taught by students of another arm"}
    return named.get(regime) or "teacher " + re.sub(r"\d{4,}", lambda number: f"{int(number[0]):,}", regime)


def _one_copy(regime: str) -> str:
    """The regime without how many copies of such a teacher there are."""
    return re.sub(r", \d+ copies$", "", regime)


def panel_title(label: str, run: str = "", *, width: int = 17) -> str:
    r"""The head of a narrow panel: an arm, under the run's name if there are several, on lines of about that width.

    >>> panel_title("KD, disjoint teacher", "wsl_regularization_samples")
    'wsl_\nregularization_\nsamples: KD,\ndisjoint teacher'
    """
    lines = [""]
    for word in re.split(r"(?<=[_ ])", f"{run}: {label}" if run else label):
        if lines[-1] and len((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def arm_styles(runs: Run | Sequence[Run]) -> dict[str, Look]:
    """Colour, marker, line and label of every arm of the runs; an arm of several runs looks the same in all.

    Computed from all arms of the runs, never from those of one figure, so that it is the same in every figure.
    """
    runs = list(runs) if isinstance(runs, list | tuple) else [runs]  # type: ignore[list-item]
    entries: dict[str, tuple[dict[str, Any], str]] = {}
    for run in runs:
        for arm in run.arms:
            entries.setdefault(arm, (run.arm(arm), _kind(run, arm)))
    colors = _colors({arm: kind for arm, (_, kind) in entries.items()}, _usual(runs), _order(entries))
    styles = {}
    for arm, (entry, kind) in entries.items():
        regime = str(entry.get("regime") or "none")
        line = (
            "--" if "other teacher" in kind else _LINES.get(_one_copy(regime), "-." if regime == "per replica" else ":")
        )
        styles[arm] = Look(colors[arm], regime_marker(regime), line, str(entry.get("label") or arm))
    return styles


def arm_colors(source: Run | Sequence[Run] | Iterable[str]) -> dict[str, str]:
    """The colour of every arm of the runs; for bare names (no run at hand) plain distinct colours in their order."""
    items = list(source) if isinstance(source, Iterable) else [source]
    if items and isinstance(items[0], str):
        return _colors({str(name): "" for name in items})
    return {arm: style.color for arm, style in arm_styles(items).items()}  # type: ignore[arg-type]


class _Styles(dict[str, Look]):
    """Styles that are never changed: pandas copies `attrs` deeply with every row it hands out, which takes seconds."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Styles:
        return self


def styled(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The frame, carrying the styles of the runs' arms for `styles_of`: how collect() hands them to draw()."""
    return with_looks(frame, arm_styles(list(runs)))


def with_looks(frame: pd.DataFrame, looks: dict[str, Look]) -> pd.DataFrame:
    """The frame, carrying these looks of arms for `styles_of`."""
    frame.attrs["styles"] = _Styles(looks)
    return frame


def styles_of(frame: pd.DataFrame, column: str = "arm") -> dict[str, Look]:
    """The styles that `styled` put on the frame; for a frame without any, plain ones for the arms it names."""
    if "styles" in frame.attrs:
        styles: dict[str, Look] = frame.attrs["styles"]
        return styles
    arms = list(dict.fromkeys(frame[column].astype(str)))
    return {arm: Look(color, "o", "-", arm) for arm, color in arm_colors(arms).items()}


def _kind(run: Run, arm: str) -> str:
    """The row of `_SHADES` that an arm belongs to; "" for an arm of which nothing is known."""
    entry = run.arm(arm)
    role, part = entry.get("role"), run.entry(arm).plays or ""
    if role in ("control", "teacher sweep", "grid"):
        return str(role)
    if part == "distillation" and entry.get("weights_from"):
        return "distillation, stored weights"
    elsewhere = entry.get("teacher") not in (None, run.manifest.get("reference_teacher"))
    if role == "main" and elsewhere and f"{part}, other teacher" in _SHADES:
        return f"{part}, other teacher"
    # Arms that differ from a main one in the teacher's regime take its usual shade.
    return f"{part}/regime" if role == "regime" and part in _SHADES else (part if part in _SHADES else "")


def _usual(runs: Sequence[Run]) -> list[str]:
    """The arms at the setting of KD, which take the usual shade of their kind in whatever company."""
    usual: list[str] = []
    for run in runs:
        references = reference_arms(run)
        usual += references.values()
        if "KD" in references:
            kd = run.arm(references["KD"])
            setting = (kd.get("temperature"), kd.get("alpha"))
            usual += [
                arm for arm in run.arms if (run.arm(arm).get("temperature"), run.arm(arm).get("alpha")) == setting
            ]
    return usual


def _order(entries: dict[str, tuple[dict[str, Any], str]]) -> dict[str, tuple[float, float]]:
    """Arms of one kind go from light to dark by temperature, then by alpha, or by the pull of a joint teacher."""
    return {
        arm: (float(entry.get("temperature") or 0.0), float(entry.get("alpha") or entry.get("pull") or 0.0))
        for arm, (entry, _) in entries.items()
    }


def _colors(
    kinds: dict[str, str], usual: Sequence[str] = (), order: dict[str, tuple[float, float]] | None = None
) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for arm, kind in kinds.items():
        members.setdefault(kind, []).append(arm)
    colors: dict[str, str] = {}
    for kind, arms in members.items():
        if kind == "":
            colors |= {arm: _PLAIN[place % len(_PLAIN)] for place, arm in enumerate(arms)}
        elif kind.endswith("/regime"):
            colors |= {arm: _SHADES[kind.removesuffix("/regime")][1] for arm in arms}
        else:
            pivot = next((arm for arm in usual if arm in arms), None)
            ranked = sorted(arms, key=lambda arm: (order or {}).get(arm, (0.0, 0.0)))
            colors |= {arm: _shade(_SHADES[kind], at) for arm, at in _positions(ranked, pivot).items()}
    return colors


def _positions(arms: list[str], pivot: str | None) -> dict[str, float]:
    """Where arms lie from light (0) over usual (1) to dark (2): the pivot at 1, the others on its two sides."""
    if pivot is None:
        return {arm: 2.0 * place / (len(arms) - 1) if len(arms) > 1 else 1.0 for place, arm in enumerate(arms)}
    middle = arms.index(pivot)
    after = len(arms) - 1 - middle
    return {
        arm: 1.0
        if place == middle
        else 0.65 * place / max(middle - 1, 1)
        if place < middle
        else 2.0 - 0.65 * (after - (place - middle)) / max(after - 1, 1)
        for place, arm in enumerate(arms)
    }


def _shade(shades: tuple[str, str, str], position: float) -> str:
    """The colour at a position from light (0) over usual (1) to dark (2)."""
    first = min(int(position), 1)
    low, high = _channels(shades[first]), _channels(shades[first + 1])
    mixed = [round(a + (b - a) * (position - first)) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def halo() -> list[Any]:
    """A thin white edge of letters that are written over lines and bands: these go on behind them, unbroken."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.6, foreground="white", alpha=0.8)]
