"""Names beside the points of a plane, placed so that no name lies on another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

RADII = (6.0, 11.0, 17.0, 25.0, 34.0, 46.0, 60.0, 76.0, 94.0, 114.0, 136.0, 160.0, 186.0, 214.0)
"""Distances in points of a name from its point that are tried, the nearest that is free first."""
DIRECTIONS = 24
JOINED_FROM = 11.0
"""Points of distance from which on a thin line joins a name to its point."""
ROUNDS = 4
"""How often names are placed anew, at most."""
_ON_BAR = 2.5  # points between a line and a bar that are not told apart
_DOT = 5.5  # points from the middle of a point that a name leaves free
_FORBIDDEN, _POINT, _PASSED, _LEADER, _BAR = 1e6, 600.0, 240.0, 160.0, 0.6


@dataclass(frozen=True)
class Box:
    """A rectangle in points from the lower left of the axes."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def top(self) -> float:
        return self.bottom + self.height

    def shared(self, other: Box) -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(wide, 0.0) * max(high, 0.0)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place in it that lies nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def crossed_by(self, lines: Lines) -> np.ndarray:
        """The length of each straight line that lies inside, to a fortieth of the line."""
        low, high = (self.left, self.bottom), (self.right, self.top)
        inside = ((lines.along >= low) & (lines.along <= high)).all(axis=2)
        return np.asarray(inside.mean(axis=1) * lines.length)


class Lines:
    """Straight lines, by 41 points on each.

    Attributes:
        along: (n, 41, 2) the points.
        length: (n,).
    """

    def __init__(self, ends: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> None:
        start, stop = np.asarray(ends, dtype=float).reshape(-1, 2, 2).transpose(1, 0, 2)
        self.along = start[:, None] + np.linspace(0.0, 1.0, 41)[:, None] * (stop - start)[:, None]
        self.length = np.hypot(*(stop - start).T)


def shortened(text: str, letters: int) -> str:
    """A text of at most so many letters, longer ones with an ellipsis in their middle: arms differ at either end.

    >>> shortened("a network taught by students of another arm", 24)
    'a network taug…other arm'
    """
    if len(text) <= letters:
        return text
    front = (3 * (letters - 1) + 4) // 5
    return f"{text[:front]}…{text[len(text) - (letters - 1 - front) :]}"


@lru_cache(maxsize=4096)
def text_size(text: str, size: float) -> tuple[float, float]:
    """Width and height of a text of one line or several, points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    lines = text.split("\n")
    font = FontProperties(size=size)
    widths = [path_width(TextPath((0, 0), line, prop=font)) if line.strip() else 0.0 for line in lines]
    return 1.06 * max(widths) + 2.0, 1.25 * size * len(lines)  # the renderer's are wider, by whole pixels


def path_width(path: Path) -> float:
    """The width of a path of straight lines and curves, as `Path.get_extents` has it, all curves at once."""
    codes, x = np.asarray(path.codes), np.asarray(path.vertices, dtype=float)[:, 0]
    if (codes == path.CURVE4).any():  # of OpenType fonts
        return float(path.get_extents().width)
    bends = np.flatnonzero(codes == path.CURVE3)[::2]  # each curve has a point that it bends to, and its end
    start, bend, end = x[bends - 1], x[bends], x[bends + 1]
    curved = start - 2.0 * bend + end
    at = np.clip(np.divide(start - bend, curved, out=np.zeros_like(curved), where=curved != 0), 0.0, 1.0)
    turns = start + 2.0 * at * (bend - start) + at**2 * curved
    on_path = codes != path.CLOSEPOLY
    on_path[bends] = False
    places = np.concatenate([x[on_path], turns])
    return float(places.max() - places.min())


def beside_points(
    ax: Axes,
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    reserved: Sequence[Box] = (),
    size: float = 9.0,
    colors: Sequence[str] | None = None,
) -> list[Box]:
    """Write a name beside every point that has one; returns where the names lie, in their order.

    The axes must have their limits and their place in the figure. A name takes the free place that is nearest to its
    point, costs least of the bars and covers no point; one that is moved away is joined to its point by a line. Names
    are placed anew when all have a place, and in several orders, of which the best is taken.

    Args:
        ax: the axes to write on.
        places: the points, in data coordinates.
        texts: their names, "" for a point without one.
        bars: straight lines in data coordinates that names avoid where they can.
        reserved: places that are taken.
        size: of the names, points.
        colors: of the points, for the lines that join names to them, and in a darker shade for the names; grey lines
            and names in ink without.
    """
    panel = Box(0.0, 0.0, *_panel_size(ax))
    points = [_in_points(ax, place) for place in places]
    lines = [(_in_points(ax, start), _in_points(ax, end)) for start, end in bars]
    room = _Room(panel, points, lines, Lines(lines), list(reserved))
    sizes = {number: text_size(text, size) for number, text in enumerate(texts) if text}
    orders = [
        lambda i: -_crowd(points, i), lambda i: _crowd(points, i), lambda i: points[i][0], lambda i: -points[i][0],
        lambda i: points[i][1], lambda i: -points[i][1],
    ]  # fmt: skip
    taken = min((room.placed(sorted(sizes, key=order), sizes) for order in orders), key=lambda found: found[0])[1]
    for number, box in taken.items():
        color, ink = (style.MUTED, style.INK) if colors is None else (colors[number], style.as_ink(colors[number]))
        _write(ax, places[number], points[number], texts[number], box, size, color, ink)
    return [taken[number] for number in sorted(taken)]


@dataclass(frozen=True)
class _Room:
    """What names are placed among, in points from the lower left of the axes."""

    panel: Box
    points: list[tuple[float, float]]
    bars: list[tuple[tuple[float, float], tuple[float, float]]]
    across: Lines
    reserved: list[Box]
    tried: dict[int, _Places] = field(default_factory=dict)

    def placed(self, order: Sequence[int], sizes: Mapping[int, tuple[float, float]]) -> tuple[float, dict[int, Box]]:
        """The names' places, found one after another in an order and then anew, with what they cost together."""
        taken: dict[int, Box] = {}
        costs: dict[int, float] = {}
        for _ in range(ROUNDS):
            before = dict(taken)
            for number in order:
                others = {i: box for i, box in taken.items() if i != number}
                costs[number], taken[number] = self.best(number, sizes[number], others)
            if taken == before:
                break
        return sum(costs.values()), taken

    def best(self, number: int, size: tuple[float, float], taken: Mapping[int, Box]) -> tuple[float, Box]:
        """The place of the name of a point that costs least, given those of the others, and its cost."""
        point, here = self.points[number], self._places(number, size)
        leaders = [(self.points[i], box.nearest(*self.points[i])) for i, box in taken.items()]
        drawn, names = Lines(leaders), _sides(taken.values())
        blocked = here.blocked + _shared(here.sides, names).sum(axis=1)
        floor = np.where(blocked > 0, _FORBIDDEN + blocked, 0.0) + here.covered
        best, place, least = self.panel, 0, math.inf
        for i in np.argsort(floor, kind="stable").tolist():
            if floor[i] > least:
                break
            box, cost = here.boxes[i], float(floor[i]) + self._beside(number, i, here)
            if cost <= least:
                cost += _LEADER * _crossings(point, box, names, leaders, drawn)
            if cost < least or (cost == least and i < place):
                best, place, least = box, i, cost
        return least, best

    def _places(self, number: int, size: tuple[float, float]) -> _Places:
        """The places that are tried for a name, looked at once: the same for all orders and rounds."""
        if number not in self.tried:
            point = self.points[number]
            others = np.array([other for i, other in enumerate(self.points) if i != number], dtype=float).reshape(-1, 2)
            found = list(_candidates(point, size))
            boxes = [box for _, box in found]
            sides = _sides(boxes)
            outside = size[0] * size[1] - _shared(sides, _sides([self.panel]))[:, 0]
            reserved = _shared(sides, _sides(self.reserved)).sum(axis=1)
            near = np.clip(others[None], sides[:, None, :2], sides[:, None, 2:])
            covered = (np.hypot(*(near - others).transpose(2, 0, 1)) < _DOT).sum(axis=1)
            far = np.array([_far(radius) for radius, _ in found])
            self.tried[number] = _Places(boxes, sides, outside + reserved, _POINT * covered + far, others)
        return self.tried[number]

    def _beside(self, number: int, place: int, here: _Places) -> float:
        """What a place costs for the bars, and for the points and bars that its line leads over."""
        if place not in here.beside:
            point, box = self.points[number], here.boxes[place]
            over = _PASSED * _passed(point, box, here.others) + _LEADER * _hidden(point, box, self.bars)
            here.beside[place] = over + _BAR * float(box.crossed_by(self.across).sum())
        return here.beside[place]


@dataclass(frozen=True)
class _Places:
    """The places that are tried for one name.

    Attributes:
        boxes: in the order in which they are preferred.
        sides: (n, 4) left, bottom, right, top.
        blocked: (n,) the area outside the panel or on what is reserved.
        covered: (n,) what the points that it covers and the distance cost.
        others: (m, 2) the other points.
        beside: what the bars and the line to the point cost, by place, as far as it was asked for.
    """

    boxes: list[Box]
    sides: np.ndarray
    blocked: np.ndarray
    covered: np.ndarray
    others: np.ndarray
    beside: dict[int, float] = field(default_factory=dict)


def _sides(boxes: Iterable[Box]) -> np.ndarray:
    return np.array([(box.left, box.bottom, box.right, box.top) for box in boxes], dtype=float).reshape(-1, 4)


def _shared(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area (n, m) that each of n rectangles shares with each of m."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    found: np.ndarray = np.clip(high - low, 0.0, None).prod(axis=2)
    return found


def _write(
    ax: Axes, place: tuple[float, float], point: tuple[float, float], text: str, box: Box, size: float, color: str,
    ink: str,
) -> None:  # fmt: skip
    from matplotlib.patheffects import withStroke

    near = box.nearest(*point)
    arrow: dict[str, Any] | None = None
    if math.dist(near, point) >= JOINED_FROM:
        at = ((near[0] - box.left) / box.width, (near[1] - box.bottom) / box.height)
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "relpos": at, "shrinkA": 0, "shrinkB": 3}
    offset = (box.left + box.width / 2 - point[0], box.bottom + box.height / 2 - point[1])
    name = ax.annotate(
        text, place, xytext=offset, textcoords="offset points", ha="center", va="center", fontsize=size,
        arrowprops=arrow, annotation_clip=False, zorder=6, color=ink,
    )  # fmt: skip
    name.set_in_layout(False)  # it lies inside the axes
    name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])  # bars and lines do not strike it through


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> Iterator[tuple[float, Box]]:
    width, height = size
    for radius in RADII:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            x = point[0] + math.cos(angle) * (radius + width / 2)
            y = point[1] + math.sin(angle) * (radius + height / 2)
            box = Box(x - width / 2, y - height / 2, width, height)
            if math.dist(box.nearest(*point), point) >= min(radius, _DOT) - 1e-9:
                yield radius, box


def _far(radius: float) -> float:
    """What a distance costs: a name that is far away is hard to find, though nothing lies between."""
    return radius + radius**2 / 60.0


def _crowd(points: Sequence[tuple[float, float]], number: int) -> float:
    return sum(1.0 / (8.0 + math.dist(points[number], other)) for i, other in enumerate(points) if i != number)


def _crossings(
    point: tuple[float, float], box: Box, names: np.ndarray,
    leaders: Sequence[tuple[tuple[float, float], tuple[float, float]]], drawn: Lines,
) -> int:  # fmt: skip
    """How many names the line to a box crosses, and how many such lines, drawn already, the box or its line crosses."""
    line = (point, box.nearest(*point))
    along = Lines([line]).along[0]
    over_names = ((along >= names[:, None, :2]) & (along <= names[:, None, 2:])).all(axis=2).any(axis=1)
    long = math.dist(*line) > 0
    crossed = box.crossed_by(drawn) > 0
    return long * int(over_names.sum()) + sum(
        bool(over) or _cross(line, other) for over, other in zip(crossed, leaders, strict=True)
    )


def _passed(point: tuple[float, float], box: Box, others: Any) -> int:
    """How many other points the line to a box leads over, so that the name would seem to be theirs."""
    end = box.nearest(*point)
    long = math.dist(point, end)
    if long < JOINED_FROM:  # no line is drawn
        return 0
    along = np.subtract(end, point) / long
    away = np.reshape(others, (-1, 2)) - point
    forth = away @ along
    aside = np.abs(away @ (-along[1], along[0]))
    return int(np.sum((forth > _DOT / 2) & (forth < long) & (aside < 1.5 * _DOT)))


def _hidden(
    point: tuple[float, float], box: Box, bars: Sequence[tuple[tuple[float, float], tuple[float, float]]]
) -> int:
    """1 if the line to a box lies on a bar, which it would seem to be a part of; else 0."""
    end = box.nearest(*point)
    if not bars or math.dist(point, end) < JOINED_FROM:
        return 0
    start, stop = np.array(bars, dtype=float).transpose(1, 0, 2)
    found = []
    for at in (end, ((point[0] + end[0]) / 2, (point[1] + end[1]) / 2)):
        along = np.clip(((at - start) * (stop - start)).sum(1) / np.maximum(((stop - start) ** 2).sum(1), 1e-12), 0, 1)
        found.append(np.hypot(*(start + along[:, None] * (stop - start) - at).T) < _ON_BAR)
    return int((found[0] & found[1]).any())


def _cross(
    one: tuple[tuple[float, float], tuple[float, float]], other: tuple[tuple[float, float], tuple[float, float]]
) -> bool:
    def side(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    apart = side(*one, other[0]) * side(*one, other[1]) < 0
    return apart and side(*other, one[0]) * side(*other, one[1]) < 0


def _panel_size(ax: Axes) -> tuple[float, float]:
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    return 72.0 * extent.width / dpi, 72.0 * extent.height / dpi


def _in_points(ax: Axes, place: tuple[float, float]) -> tuple[float, float]:
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    x, y = ax.transData.transform(place)
    return 72.0 * (float(x) - extent.x0) / dpi, 72.0 * (float(y) - extent.y0) / dpi
