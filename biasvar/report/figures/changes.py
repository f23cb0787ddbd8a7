"""The change of bias against the change of variance, sample by sample, from cross-entropy to another arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import ROLES, arms_with_role, baseline_of, baselines_in_words, failed_arms, taken_over
from biasvar.report.figure import Figure
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
    "held-out": ("test", "all", "held out\n(test rows)"),
    "non-member": ("train", "nonmember", "training rows,\nnot in the draw"),
    "member": ("train", "member", "training rows,\nin the draw"),
}
"""Which rows and replicas, by the names of the table: split, membership, and how the figure says it."""

MAX_PLANES = 4  # arms drawn side by side; the shares of all arms are in the figure `directions`
MOST_PLANES = 8  # over several runs
LINEAR = 1e-3  # nats; the axes are linear up to here and logarithmic beyond


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "mean", "bias", "variance", "quadrant" and "sample" for every arm that is drawn."""
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
    rows += [{"kind": kind, "share_clear": float(flag.mean())} for kind, flag in flags.items()]
    return pd.DataFrame(rows).assign(n_samples=found.n_samples, n_replicas=found.n_replicas)


def _shares(found: SampleChange) -> pd.DataFrame:
    return quadrants(found).rename(columns={"clear": "share_clear"}).assign(kind="quadrant")


def _samples(found: SampleChange) -> pd.DataFrame:
    frame = found.frame.drop(columns="replicas")
    both = clear_bias(frame) & clear_variance(frame)
    return frame.assign(kind="sample", clear=both, n_samples=found.n_samples, n_replicas=found.n_replicas)


def draw(frame: pd.DataFrame) -> Drawing:
    """A plane for each of a few arms and each kind of rows."""
    styles, frame = unstyled(frame)
    planes = frame.loc[frame["kind"] == "sample", ["run", "arm", "label"]].drop_duplicates()
    kinds = [name for name in ROWS if name in set(frame["rows"])]
    blocks = [planes[i : i + MAX_PLANES] for i in range(0, len(planes), MAX_PLANES)]
    heights = [1.6 * len(kinds) + 0.75] * len(blocks)
    figure = style.new_figure(height=sum(heights))
    subfigures: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    parts = list(subfigures[:, 0])
    for part, block in zip(parts, blocks, strict=True):
        axes = part.subplots(len(kinds), max(map(len, blocks)), sharex=True, sharey=True, squeeze=False)
        for ax in axes[:, len(block) :].flat:
            ax.set_axis_off()
        _planes(axes, frame, block, kinds, styles)
        part.supxlabel("change of bias (nats, symmetric log scale, linear within ±0.001)", fontsize=9.5)
        between = "\n" if len(kinds) == 1 else " "  # one row of planes is lower than the words are long
        part.supylabel(f"change of variance{between}(nats, same scale)", fontsize=9.5)
    return figure


def _planes(
    axes: np.ndarray, frame: pd.DataFrame, block: pd.DataFrame, kinds: list[str], styles: dict[str, style.Look]
) -> None:
    several = frame["run"].nunique() > 1
    samples = frame[frame["kind"] == "sample"]
    limits = [_limit(samples[name]) for name in ("d_bias", "d_variance")]
    for column, one in enumerate(each(block)):
        for row, name in enumerate(kinds):
            ax = axes[row, column]
            part = frame[(frame["run"] == one.run) & (frame["arm"] == one.arm) & (frame["rows"] == name)]
            _plane(ax, part, styles[str(one.arm)].color, limits)
            if row == 0:
                ax.set_title(style.panel_title(str(one.label), str(one.run) if several else ""), fontsize=9.5)
            if column == 0:
                ax.set_ylabel(ROWS[name][2], fontsize=9)


def _plane(ax: Axes, part: pd.DataFrame, color: str, limits: list[float]) -> None:
    samples = part[part["kind"] == "sample"]
    for clear, shade in ((False, "#b9b9b9"), (True, color)):
        shown = samples[samples["clear"].astype(bool) == clear]
        ax.scatter(shown["d_bias"], shown["d_variance"], s=5, linewidths=0, rasterized=True, color=shade, alpha=0.6)
    ax.axhline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    for axis, limit in zip(("x", "y"), limits, strict=True):
        getattr(ax, f"set_{axis}scale")("symlog", linthresh=LINEAR, linscale=0.6)
        getattr(ax, f"set_{axis}lim")(-limit, limit)
        getattr(ax, f"set_{axis}ticks")([-1.0, -0.01, 0.01, 1.0], ["−1", "−.01", ".01", "1"], fontsize=8.5)
        getattr(ax, f"set_{axis}ticks")([], minor=True)
    mean = part[part["kind"] == "mean"]
    ax.plot(mean["d_bias"], mean["d_variance"], "+", color=style.INK, markersize=9, markeredgewidth=1.6, zorder=4)
    for row in each(part[part["kind"] == "quadrant"]):
        right, up = (sign > 0 for sign in QUADRANTS[row.quadrant])
        ax.text(
            0.98 if right else 0.02, 0.98 if up else 0.02, f"{100 * row.share:.0f} % ({100 * row.share_clear:.0f})",
            transform=ax.transAxes, ha="right" if right else "left", va="top" if up else "bottom", fontsize=8.5,
            zorder=5, bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _limit(values: pd.Series) -> float:
    return 10.0 * max(float(values.abs().max()), 10 * LINEAR)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, correction, what is clear, what was left out."""
    sizes = "; ".join(
        f"{name}: {_span(part['n_samples'])} rows" for name, part in frame[frame["kind"] == "mean"].groupby("rows")
    )
    said = [arm_label(run, arm) for run in runs for arm in arms_with_role(run) if arm in failed_arms(run)]
    out = f" Left out, since replicas are at chance or not finite: {'; '.join(said)}." if said else ""
    reserved = sum(int((run.samples["pool"] == "reserved").sum()) for run in runs)
    kept = (
        f" Rows not in the draw include {reserved:,} that no student drew, a disjoint teacher's own."
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
    when = "after training" if own else "last epoch, clean view"
    training = (
        " Training rows are decomposed over the replicas that drew the row or over those that did not; a fixed teacher "
        "on all training rows has seen them either way."
    )
    training = "" if own and set(frame["rows"]) == {"held-out"} else training
    alone = f" Each alone beyond it, on held-out rows (bias and variance): {clear}." if clear else ""
    return (
        f"Change from cross-entropy ({baselines_in_words(frame['control'])}), corrected for the finite number of "
        "replicas, against the true labels at "
        f"temperature 1, {when} ({sizes}). Corners: share of rows in the quadrant, in brackets those "
        f"with both changes beyond {CLEAR:g} standard errors (paired jackknife over replicas{_chance(frame)}); "
        f"coloured dots are those.{alone} + is the mean change. The shares of all arms: figure `directions`."
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
    how_to_read="Each dot is a sample: right of the upright line its bias rose against cross-entropy, below the level "
    "line its variance fell. Distillation is said to move samples down and to the right.",
    needs="predictions of a cross-entropy arm and of another arm on the same rows by the same replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=ROLES,
)
