"""The change of bias against the change of variance, sample by sample, from cross-entropy to another arm."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import ROLES, arms_with_role, baseline_of, baselines_in_words, failed_arms, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import legends, roots
from biasvar.report.statistics.changes import (
    CLEAR,
    QUADRANTS,
    SampleChange,
    change,
    clear_bias,
    clear_variance,
    each,
    quadrants,
    unstyled,
)
from biasvar.report.text.captions import any_own, conditions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "control", "rows", "kind", "sample_id", "d_bias", "d_variance", "se_bias", "se_variance",
    "clear", "quadrant", "share", "stderr_samples", "stderr_replicas", "share_clear", "n_samples", "n_replicas", "df",
]  # fmt: skip
ROWS = {
    "held-out": ("test", "all", "test rows"),
    "non-member": ("train", "nonmember", "training rows it did not see"),
    "member": ("train", "member", "rows it trained on"),
}
"""Which rows and replicas, by the names of the table: split, membership, and how the figure says it."""

NAMED = {
    "bias up, variance down": "only variance\nfalls",
    "bias up, variance up": "both rise",
    "bias down, variance up": "only bias\nfalls",
    "bias down, variance down": "both fall",
}
"""What the picture calls a quadrant."""

MAX_PLANES = 4  # arms drawn of a run; the shares of all arms are in the figure `directions`
MOST_PLANES = 8  # over several runs
MEAN: dict[str, Any] = {"marker": "+", "markersize": 9, "markeredgewidth": 1.6}
MEDIAN: dict[str, Any] = {"marker": "o", "markersize": 6, "markeredgewidth": 1.4, "markerfacecolor": "white"}
GOOD = "#e3f1ea"
UNCLEAR = "#b9b9b9"
PLANE = 2.1  # inches of height


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "mean", "median", "bias", "variance", "quadrant" and "sample" for every arm that is drawn."""
    most = min(MAX_PLANES, max(1, MOST_PLANES // max(len(runs), 1)))
    parts = [part for run in runs for part in _of_run(run, most, taken_over(run, runs))]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return style.styled(frame.reindex(columns=COLUMNS), runs)


def _of_run(run: Run, most: int, taken: set[str]) -> list[pd.DataFrame]:
    failed = failed_arms(run)
    controls = {arm: baseline_of(run, arm) for arm in arms_with_role(run) if arm not in failed and arm not in taken}
    arms = [arm for arm, control in controls.items() if control not in (None, arm, *failed)]
    parts = []
    for arm in _drawn(run, arms, most):
        control = str(controls[arm])
        for name, (split, membership, _) in ROWS.items():
            changed = change(run, arm, control, split=split, membership=membership)
            if changed is None:
                continue
            part = pd.concat([_summary(changed), _shares(changed), _samples(changed)], ignore_index=True)
            parts.append(
                part.assign(run=run.name, arm=arm, label=arm_label(run, arm), control=control, rows=name, df=changed.df)
            )
    return parts


def _drawn(run: Run, arms: list[str], most: int) -> list[str]:
    """The treatments of the claims on the trade-off and on weighting, else the first arms of each loss."""
    claims = run.manifest.get("claims") or {}
    wanted = [entry.get("treatment") for name in ("W6", "W1", "W8") for entry in claims.get(name, [])]
    first = {str(run.entry(arm).loss): arm for arm in reversed(arms)}
    order = [arm for arm in dict.fromkeys([*wanted, *sorted(first.values(), key=arms.index), *arms]) if arm in arms]
    return sorted(order[:most], key=arms.index)


def _summary(found: SampleChange) -> pd.DataFrame:
    frame, totals = found.frame, found.totals
    flags = {"bias": clear_bias(frame), "variance": clear_variance(frame)}
    rows: list[dict[str, Any]] = [
        {
            "kind": "mean",
            "d_bias": totals.bias.value,
            "d_variance": totals.variance.value,
            "se_bias": totals.bias.stderr_replicas,
            "se_variance": totals.variance.stderr_replicas,
            "share_clear": float((flags["bias"] & flags["variance"]).mean()),
        }
    ]
    rows.append({"kind": "median", "d_bias": frame["d_bias"].median(), "d_variance": frame["d_variance"].median()})
    rows += [{"kind": kind, "share_clear": float(flag.mean())} for kind, flag in flags.items()]
    return pd.DataFrame(rows).assign(n_samples=found.n_samples, n_replicas=found.n_replicas)


def _shares(found: SampleChange) -> pd.DataFrame:
    return quadrants(found).rename(columns={"clear": "share_clear"}).assign(kind="quadrant")


def _samples(found: SampleChange) -> pd.DataFrame:
    frame = found.frame.drop(columns="replicas")
    both = clear_bias(frame) & clear_variance(frame)
    return frame.assign(kind="sample", clear=both, n_samples=found.n_samples, n_replicas=found.n_replicas)


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of planes for each of a few arms, a plane for each kind of rows; all planes are of one size."""
    styles, frame = unstyled(frame)
    arms = each(frame.loc[frame["kind"] == "sample", ["run", "arm", "label"]].drop_duplicates())
    kinds = [name for name in ROWS if name in set(frame["rows"])]
    places = _places(len(arms), len(kinds))
    rows, across = (1 + max(place[side] for place in places.values()) for side in (0, 1))
    figure = style.new_figure(height=(PLANE + 0.45) * rows + 1.1, width=style.FULL_WIDTH if across > 1 else 5.0)
    axes = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    samples = frame[frame["kind"] == "sample"]
    limits = [
        _limits(samples[name], room)
        for name, room in (("d_bias", 0.04), ("d_variance", 0.24 if style.narrow() else 0.17))
    ]
    several = frame["run"].nunique() > 1
    for (number, kind), place in places.items():
        one, name, ax = arms[number], kinds[kind], axes[place]
        part = frame[(frame["run"] == one.run) & (frame["arm"] == one.arm) & (frame["rows"] == name)]
        if not part.empty:
            _plane(ax, part, styles[str(one.arm)].color, limits)
        arm = str(one.label) if not several else f"{one.run}: {one.label}"
        ax.set_title(_title(arm, ROWS[name][2], across), weight="normal", fontsize=9.5)
    for ax in axes.flat:
        ax.set_axis_on() if ax.collections else ax.set_axis_off()
    between = "\n" if style.narrow() or across == 1 else " "
    figure.supxlabel(f"change of bias against cross-entropy, nats{between}({roots.SAID})", fontsize=9.5)
    figure.supylabel(f"change of variance, nats\n({roots.SAID})", fontsize=9.5)
    _legend(figure, [styles[str(arm)].color for arm in dict.fromkeys(one.arm for one in arms)])
    return figure


def _places(arms: int, kinds: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Row and column of the plane of every arm and kind of rows, both by number.

    Kinds stand beside each other; on a narrow screen, or where there is one kind, arms do.
    """
    if kinds > 1 and not style.narrow():
        return {(arm, kind): (arm, kind) for arm in range(arms) for kind in range(kinds)}
    abreast = style.abreast(min(arms, 2 if arms == 4 else 3), on_narrow=2)
    return {
        (arm, kind): (kinds * (arm // abreast) + kind, arm % abreast) for arm in range(arms) for kind in range(kinds)
    }


def _title(arm: str, rows: str, across: int) -> str:
    """The arm over the rows, broken to the width of a plane."""
    widest = 36 if across == 1 else 17 if style.narrow() else 27
    return "\n".join([style.panel_title(arm, width=widest), *textwrap.wrap(rows, widest + 3)])


def _legend(figure: Drawing, colors: list[str]) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D

    clear = f"sample, both changes > {CLEAR:g} standard errors"
    dots = tuple(legends.dot("o", clear, color=color, size=4) for color in dict.fromkeys(colors))
    rest = legends.dot("o", "other sample", color=UNCLEAR, size=4)
    mean = Line2D([], [], linestyle="none", color=style.INK, **MEAN)
    median = Line2D([], [], linestyle="none", color=style.INK, **MEDIAN)
    names = [clear, "other sample", "mean change", "median change"]
    if style.narrow():
        names = [textwrap.fill(name, legends.WIDEST_ON_NARROW) for name in names]
    handles: list[Any] = [dots, rest, mean, median]
    figure.legend(
        handles, names, loc="outside upper left", ncols=style.abreast(4), columnspacing=1.4,
        handletextpad=0.5, handlelength=1.6, handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)},
    )  # fmt: skip


def _plane(ax: Axes, part: pd.DataFrame, color: str, limits: list[tuple[float, float]]) -> None:
    samples = part[part["kind"] == "sample"]
    roots.put_on(ax, "x", *limits[0], apart=0.14)
    roots.put_on(ax, "y", *limits[1], apart=0.1)
    ax.fill([limits[0][0], 0, 0, limits[0][0]], [limits[1][0], limits[1][0], 0, 0], color=GOOD, linewidth=0, zorder=0.5)
    for clear, shade in ((False, UNCLEAR), (True, color)):
        shown = samples[samples["clear"].astype(bool) == clear]
        ax.scatter(shown["d_bias"], shown["d_variance"], s=5, linewidths=0, rasterized=True, color=shade, alpha=0.6)
    ax.axhline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    for kind, mark in (("mean", MEAN), ("median", MEDIAN)):
        middle = part[part["kind"] == kind]
        ax.plot(middle["d_bias"], middle["d_variance"], color=style.INK, zorder=4, **mark)
    for row in each(part[part["kind"] == "quadrant"]):
        right, up = (sign > 0 for sign in QUADRANTS[row.quadrant])
        ax.text(
            0.98 if right else 0.02, 0.98 if up else 0.02, f"{_words(row.quadrant)} {100 * row.share:.0f} %",
            transform=ax.transAxes, ha="right" if right else "left", va="top" if up else "bottom", fontsize=9,
            linespacing=1.1, zorder=5,
        )  # fmt: skip


def _words(quadrant: str) -> str:
    return NAMED[quadrant].replace(" ", "\n", 1) if style.narrow() else NAMED[quadrant]


def _limits(values: pd.Series, room: float) -> tuple[float, float]:
    """Ends of an axis with that part of it free at both ends, and neither side of 0 much narrower than the other."""
    low, high = (float(roots.root(value)) for value in (min(values.min(), 0.0), max(values.max(), 0.0)))
    least = 0.4 * max(high, -low, 0.02)
    low, high = min(low, -least), max(high, least)
    free = room * (high - low) / (1 - 2 * room)
    return float(roots.square(low - free)), float(roots.square(high + free))


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, correction, what is clear, what was left out."""
    means = frame[frame["kind"] == "mean"]
    sizes = "; ".join(
        f"{ROWS[name][2]}, n = {_span(part['n_samples'])}" for name in ROWS if len(part := means[means["rows"] == name])
    )
    said = [arm_label(run, arm) for run in runs for arm in arms_with_role(run) if arm in failed_arms(run)]
    out = f" Left out, since replicas are at chance or not finite: {'; '.join(said)}." if said else ""
    reserved = sum(int((run.samples["pool"] == "reserved").sum()) for run in runs)
    kept = (
        f" Training rows it did not see include {reserved:,} that no student drew, a disjoint teacher's own."
        if reserved
        else ""
    )
    held = frame[(frame["rows"] == "held-out") & frame["kind"].isin(["bias", "variance"])]
    drawn = held[held["arm"].isin(frame.loc[frame["kind"] == "sample", "arm"])]
    clear = "; ".join(
        f"{label} {100 * part.set_index('kind')['share_clear']['bias']:.0f} % and "
        f"{100 * part.set_index('kind')['share_clear']['variance']:.0f} %"
        for (_, label), part in drawn.groupby(["run", "label"], sort=False)
    )
    own = any_own(frame, runs)
    when = "after training" if own else "last epoch, not augmented"
    training = (
        " Training rows are decomposed over the replicas that drew the row or over those that did not, where there are "
        "two or more of these; a fixed teacher on all training rows has seen them either way."
    )
    training = "" if own and set(frame["rows"]) == {"held-out"} else training
    alone = f" On test rows bias moves beyond that on, and variance on: {clear}." if clear else ""
    return (
        f"Change from cross-entropy ({baselines_in_words(frame, runs)}), corrected for the finite number of "
        "replicas, against the true labels at "
        f"temperature 1, {when} ({sizes}). Corners: share of rows in the quadrant, however far they move; "
        "the cross is the mean of the changes, the ring their median. Standard "
        f"errors: paired jackknife over replicas{_chance(frame)}.{alone} The shares of all arms: figure “How many "
        "samples go which way”."
        f"{training}{kept}{out} {conditions(runs)}"
    )


def _chance(frame: pd.DataFrame) -> str:
    """The share of unchanged rows whose change would pass as clear, by Student's t."""
    from scipy.special import stdtr

    degrees = sorted(int(df) for df in frame.loc[frame["df"] > 1, "df"].unique())
    if not degrees:
        return ""
    said = " or ".join(f"{200 * stdtr(df, -CLEAR):.1f} %" for df in degrees)
    listed = " or ".join(map(str, degrees))
    return f"; by Student's t with {listed} degrees of freedom {said} of rows would pass for each change by chance"


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


FIGURE = Figure(
    name="changes",
    title="Bias against variance, sample by sample",
    how_to_read="Each dot is a sample, against the same sample under cross-entropy. In the shaded corner both bias and "
    "variance fall. The percentages count rows, however little they move; the cross, the mean, weighs how far. Where "
    "most rows fall and the mean rises, a few rows that rise far outweigh many that fall a little: the ring, the "
    "median, is then on the other side. Distillation is said to move samples down and to the right.",
    needs="predictions of a cross-entropy arm and of another arm on the same rows by the same replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=ROLES,
)
