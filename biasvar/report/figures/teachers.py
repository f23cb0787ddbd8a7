"""The share of regularization samples against the student's accuracy, over teachers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import t_quantile
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, labels, legends, looks, scatter
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.over_teachers import SHARES, association, compared_arms, shares_and_accuracy
from biasvar.report.text.captions import conditions
from biasvar.report.text.numbers import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "counted", "teacher", "teacher_label", "differs", "value", "measure", "share",
    "share_stderr", "accuracy", "accuracy_stderr", "n_replicas", "split", "n_epochs", "last_epoch", "temperature",
    "alpha", "teacher_accuracy", "regime", "correlation", "low", "high", "n_teachers", "of_teacher_accuracy",
]  # fmt: skip
HEIGHT, TALL = 3.9, 4.6  # inches of a panel with its names, and of one on a narrow screen or with many
MANY = 20  # arms
PANEL = (3.0, 3.0)  # inches, about
TEXT = (150.0, 40.0)  # points, about: three lines of the correlation
LINE = 13.0  # points of one line more
TITLES = {"share_mean": "Over all epochs", "share_late": "Last tenth of epochs"}
DIFFERS = {
    "base": style.Look("#222222", "*", "", "reference teacher"),
    "smoothing": style.Look("#9c4fb3", "o", "", "other label smoothing"),
    "hidden": style.Look("#1f78c1", "s", "", "other width"),
    "epochs": style.Look("#8c6d1f", "^", "", "other epochs trained"),
    "stop": style.Look("#5c4426", "<", "", "stopped after other epochs"),
    "rows": style.Look("#c2447a", "D", "", "other rows trained on"),
    "model": style.Look("#4d4d4d", "v", "", "other network"),
    "arm": style.Look("#7a1f49", "X", "", "students of another arm"),
    "other": style.Look("#6b6b6b", "P", "", "several settings"),
}
SETTINGS = {
    "smoothing": "smoothing", "hidden": "width", "epochs": "epochs", "stop": "stop", "rows": "rows", "model": "network",
}  # fmt: skip
"""Settings in which teachers differ, as a name beside a point says several of them."""
VALUES = {
    "hidden": "width {}", "epochs": "{} epochs", "stop": "stopped at {}", "rows": "{} rows",
}  # fmt: skip
"""The value of a setting, as a name beside a point says it."""
OTHER_ARM = "h"  # arms that are drawn for comparison


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and measure, with the correlation over the arms that count."""
    rows = [row for run in runs for row in _of_run(run)]
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _of_run(run: Run) -> list[dict[str, Any]]:
    counted = compared_arms(run)
    if not counted:
        return []
    shown = _shown(run, counted)
    frame = shares_and_accuracy(run, [*counted, *shown])
    main = frame[frame["arm"].isin(counted)]
    if main["teacher"].nunique() < 2:
        return []
    associations = {measure: association(main, measure) for measure in SHARES}
    teachers = run.manifest.get("teachers") or {}
    own = main["teacher"].map(lambda name: float((teachers.get(name) or {}).get("accuracy_test") or math.nan))
    rival = math.nan if own.isna().any() else association(main.assign(own=own), "own").estimate
    rows = []
    for arm, part in frame.groupby("arm", sort=False):
        entry = run.entry(str(arm))
        teacher = teachers.get(entry.teacher) or {}
        differs, value = _difference(run, teacher)
        accuracy = mean_interval(part["accuracy"])
        for measure in SHARES:
            interval, share = associations[measure], mean_interval(part[measure])
            rows.append(
                {
                    "run": run.name,
                    "arm": arm,
                    "label": arm_label(run, str(arm)),
                    "counted": arm in counted,
                    "teacher": entry.teacher,
                    "teacher_label": teacher.get("label") or entry.teacher,
                    "differs": differs,
                    "value": value,
                    "measure": measure,
                    "share": share.estimate,
                    "share_stderr": share.stderr,
                    "accuracy": accuracy.estimate,
                    "accuracy_stderr": accuracy.stderr,
                    "n_replicas": share.n,
                    **{name: part[name].iloc[0] for name in ("split", "n_epochs", "last_epoch")},
                    **{name: getattr(entry, name) for name in ("temperature", "alpha", "regime")},
                    "teacher_accuracy": teacher.get("accuracy_test", math.nan),
                    "correlation": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "n_teachers": interval.n,
                    "of_teacher_accuracy": rival,
                }
            )
    return rows


def _shown(run: Run, counted: list[str]) -> list[str]:
    """Masking and WSL arms at the same temperature and alpha under a fixed teacher: drawn, not counted."""
    failed, first = failed_arms(run), run.entry(counted[0])
    chosen = []
    for arm in run.arms:
        entry = run.entry(arm)
        kind = entry.plays in ("masking", "weighting") and not entry.setting("shuffle")
        alike = kind and entry.shares(first, "temperature", "alpha")
        if alike and arm not in failed and entry.role in ("main", "control"):
            chosen.append(arm)
    return chosen


def _difference(run: Run, teacher: dict[str, Any]) -> tuple[str, str]:
    """The one setting that a teacher has unlike the reference teacher, and its value; "arm" for the students of one.

    Of one that differs in its smoothing and one setting more, that setting, and the smoothing as "LS 0.1"; of any
    other, "other" and the names of the settings.
    """
    base = (run.manifest.get("teachers") or {}).get(run.manifest.get("reference_teacher")) or {}
    if teacher.get("arm"):
        return "arm", ""
    unlike = [
        name
        for name in SETTINGS
        if (teacher.get(name) or None) != (base.get(name) or None)  # one that is not said is at none
    ]
    if not unlike:
        return "base", ""
    if len(unlike) == 2 and unlike[0] == "smoothing":
        return unlike[1], f"LS {float(teacher.get('smoothing') or 0.0):g}"
    if len(unlike) > 1:
        return "other", ", ".join(SETTINGS[name] for name in unlike)
    value = teacher.get(unlike[0])
    if isinstance(value, list):
        value = value[0] if len(set(value)) == 1 else "-".join(map(str, value))
    return unlike[0], f"{value:g}" if isinstance(value, float) else str(value)


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of two panels for each run: over all epochs, and in the last tenth of them."""
    styles, frame = unstyled(frame)
    frame = _dressed(frame, styles)
    runs = list(dict.fromkeys(frame["run"]))
    across = style.abreast(len(SHARES))
    below = len(SHARES) // across
    heights = [
        TALL if style.narrow() or count > MANY else HEIGHT for count in frame.groupby("run")["arm"].nunique()[runs]
    ]
    figure, block_of = blocks.stacked(runs, [below * height for height in heights], more=2.9 if style.narrow() else 0.9)
    panels = []
    for run, block in block_of.items():
        axes = list(block.subplots(below, across, sharey=True, squeeze=False).flat)
        for ax, measure in zip(axes, SHARES, strict=True):
            panels.append((ax, *_panel(ax, frame[(frame["run"] == run) & (frame["measure"] == measure)])))
            ax.set_title(TITLES[measure])
            ax.set_xlabel("regularization samples (% of rows)")
        for ax in axes[::across]:
            ax.set_ylabel(f"student's {frame['split'].iloc[0]} accuracy (%)")
    legends.below(figure, _entries(frame), columns=style.abreast(3), columnspacing=1.2, handlelength=2.0)
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)  # names are placed in panels of their final size
    for panel in panels:
        _name(*panel)
    return figure


def _dressed(frame: pd.DataFrame, styles: dict[str, style.Look]) -> pd.DataFrame:
    """The rows in percent: teachers that count by what differs, other arms as hexagons in their own colour."""
    counted = frame["counted"].astype(bool)
    others = {arm: replace(styles[arm], marker=OTHER_ARM) for arm in frame.loc[~counted, "arm"]}
    named = frame.assign(look=frame["differs"].where(counted, frame["arm"]))
    dressed = looks.put_on(named, {**others, **DIFFERS}, by="look")
    for name in ("share", "share_stderr", "accuracy", "accuracy_stderr"):
        dressed[name] = 100.0 * dressed[name]
    return dressed


def _panel(ax: Axes, rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[float, float]]:
    """Everything but names; returns the rows with the ends of their bars, and the corner of the correlation."""
    reach = rows["n_replicas"].map(lambda n: t_quantile(0.975, n - 1))
    low, high = (rows["accuracy"] + sign * reach * rows["accuracy_stderr"] for sign in (-1, 1))
    left, right = (rows["share"] + sign * reach * rows["share_stderr"] for sign in (-1, 1))
    ax.hlines(rows["accuracy"], left, right, colors=list(rows["color"]), linewidth=0.8, zorder=2)
    first = rows.iloc[0]
    rows = rows.assign(low=low, high=high)
    counted, base = rows["counted"].astype(bool), rows["marker"] == "*"
    for part, size, edge in ((rows[~counted], 6.0, 0.4), (rows[counted & ~base], 7.0, 0.4), (rows[base], 12.0, 0.4)):
        scatter.draw(ax, part, x="share", y="accuracy", low="low", high="high", size=size, edge=edge, alpha=1.0)
    ax.margins(0.08)
    ax.autoscale_view()
    x, y = _corner(ax, rows)
    rival = f"\nof teacher's accuracy: {_signed(first.of_teacher_accuracy)}" * _rivalled(rows)
    ax.text(
        x, y, f"rank correlation with accuracy\nof share, {first.n_teachers} teachers: {_signed(first.correlation)}\n"
        f"(95 %: {_signed(first.low)} to {_signed(first.high)}){rival}",
        transform=ax.transAxes, va="bottom" if y < 0.5 else "top", ha="left" if x < 0.5 else "right",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )  # fmt: skip
    return rows, (x, y)


def _rivalled(rows: pd.DataFrame) -> bool:
    """Whether the correlation of the teacher's own accuracy with the student's is known, which is no effect either."""
    return "of_teacher_accuracy" in rows and not math.isnan(float(rows["of_teacher_accuracy"].iloc[0]))


def _text_size(rows: pd.DataFrame) -> tuple[float, float]:
    """Width and height of the numbers, points."""
    return TEXT[0], TEXT[1] + LINE * _rivalled(rows)


def _corner(ax: Axes, part: pd.DataFrame) -> tuple[float, float]:
    """Where the numbers cover the fewest markers, as shares of the axes."""
    x, y = _points(ax, part)
    text = _text_size(part)
    width, height = (72 * size for size in PANEL)
    corners = []
    for right, top in ((0, 0), (1, 1), (0, 1), (1, 0)):
        left, bottom = right * (width - text[0]), top * (height - text[1])
        inside = (x > left - 6) & (x < left + text[0] + 6) & (y > bottom - 6) & (y < bottom + text[1] + 6)
        corners.append((int(inside.sum()), 0.97 if right else 0.03, 0.97 if top else 0.03))
    covered, place_x, place_y = min(corners, key=lambda corner: corner[0])
    if covered:  # make room below
        low, high = ax.get_ylim()
        ax.set_ylim(low - (text[1] + 12) / (height - text[1] - 12) * (high - low), high)
        _, place_x, place_y = corners[0]
    return place_x, place_y


def _points(ax: Axes, part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where the markers are, in points from the lower left of the axes; near enough before the layout is known."""
    width, height = (72 * size for size in PANEL)
    low_x, high_x, low_y, high_y = *ax.get_xlim(), *ax.get_ylim()
    x = (part["share"] - low_x) / (high_x - low_x) * width
    y = (part["accuracy"] - low_y) / (high_y - low_y) * height
    return x.to_numpy(), y.to_numpy()


def _name(ax: Axes, part: pd.DataFrame, corner: tuple[float, float]) -> None:
    """The value of the differing setting beside each marker; over an error bar rather than over a marker or a name."""
    rows = each(part)
    places = [(row.share, row.accuracy) for row in rows]
    texts = [_said(row.differs, row.value) if row.counted and not pd.isna(row.value) else "" for row in rows]
    bars = [((row.share, row.low), (row.share, row.high)) for row in rows if math.isfinite(row.accuracy_stderr)]
    width, height = (72 * side / ax.figure.dpi for side in ax.get_window_extent().size)
    text = _text_size(part)
    left = 0.97 * width - text[0] if corner[0] > 0.5 else 0.03 * width
    bottom = 0.97 * height - text[1] if corner[1] > 0.5 else 0.03 * height
    numbers = labels.Box(left, bottom, *text)
    labels.beside_points(ax, places, texts, bars=bars, reserved=[numbers], colors=list(part["color"]))


def _said(differs: str, value: Any) -> str:
    """The value of the differing setting with what it is; "LS 0.1" is of a teacher that differs in another one too."""
    text = value if isinstance(value, str) else f"{value:g}"  # a number if it was read from a CSV
    if differs == "smoothing" and style.narrow():
        return text  # alone beside markers that the legend names; the word would not fit beside each
    if differs == "smoothing" or text.startswith("LS "):
        return "smoothing " + text.removeprefix("LS ")
    return VALUES.get(differs, "{}").format(text)


def _entries(frame: pd.DataFrame) -> list[Any]:
    """Legend entries: what teachers that count differ in, and the arms that do not count."""
    counted = frame["counted"].astype(bool)
    others = frame[~counted].drop_duplicates("arm")
    shown = [look for name, look in DIFFERS.items() if name in set(frame.loc[counted, "differs"])]
    base = frame.loc[counted & (frame["differs"] == "base"), "teacher_label"].astype(str)
    named = next((name for name in base if name.lower().startswith("teacher ")), DIFFERS["base"].label)
    shown = [replace(look, label=named) if look.marker == "*" else look for look in shown]
    entries = [legends.dot(look.marker, look.label, color=look.color, size=7) for look in shown]
    return entries + [
        legends.dot(OTHER_ARM, f"{row.label} (not counted)", color=row.color, size=7) for row in each(others)
    ]


def _signed(value: float) -> str:
    return "n/a" if math.isnan(value) else signed(value, 2)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What is counted, over what, and the correlation with its n."""
    counted = frame[frame["counted"].astype(bool)]
    one = counted.iloc[0]
    replicas = sorted(counted["n_replicas"].unique())
    said = "; ".join(f"temperature {row.temperature:g}, alpha {row.alpha:g}" for row in
                     each(counted.drop_duplicates(["temperature", "alpha"])))  # fmt: skip
    rival = ""
    if not math.isnan(one.of_teacher_accuracy):
        rival = (
            " An association over teachers is no effect of the share: the teacher's own test accuracy goes with the "
            f"student's too, at rank correlation {_signed(one.of_teacher_accuracy)}."
        )
    return (
        f"Each marker but the hexagons is one teacher, all else equal ({said}): the share of "
        "training rows that are regularization samples, as augmented and before each update, over all epochs (area "
        f"under the {one.n_epochs} recorded; left) and in the last tenth of them (right), against "
        f"accuracy on the {one.split} split after the last epoch. Bars: 95 % t intervals over "
        f"{' or '.join(map(str, replicas))} replicas. A name beside a marker is the setting that differs from the "
        "reference teacher (star); smoothing is its label smoothing, also of one that differs in another setting too. "
        "Rank correlation: Spearman's, replicas averaged within each teacher first, 95 % interval by Fisher's z."
        f"{_uncounted(frame)}{rival} {conditions(runs)}"
    )


def _uncounted(frame: pd.DataFrame) -> str:
    """The arms that are drawn but not counted, as a sentence with a space before it; empty if there is none."""
    drawn = dict.fromkeys(frame.loc[~frame["counted"].astype(bool), "label"])
    if not drawn:
        return ""
    return (
        f" Hexagons: {', '.join(drawn)}, the arms of masked distillation and of unshuffled weighted soft labels at "
        "that temperature and alpha, drawn for comparison, not counted."
    )


FIGURE = Figure(
    name="teachers",
    title="Regularization samples and the student's accuracy, over teachers",
    how_to_read="If more regularization samples went with worse students, the markers would fall from left to right "
    "and the rank correlation would be below zero. Where the teacher's own accuracy goes with the student's as well, "
    "neither is shown to be the cause.",
    needs="distillation arms with at least four different teachers at equal temperature and alpha",
    collect=collect,
    draw=draw,
    caption=caption,
)
