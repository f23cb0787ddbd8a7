"""Accuracy, negative log-likelihood and calibration error of every arm, and what each gains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import rows, style
from biasvar.report.arms import label_sources
from biasvar.report.arms.roles import listed_arms, reference_arms
from biasvar.report.figure import Figure, conditions, sizes
from biasvar.report.statistics.estimates import Estimate, final_difference, final_level, final_metrics, to_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "role", "regime", "split", "epoch", "metric", "against", "control", "estimate", "low",
    "high", "stderr", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip
METRICS = {"accuracy": "accuracy", "nll": "NLL, nats", "ece": "ECE"}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, metric and comparison: "" for the level, else the difference to a control arm."""
    found = [row for run in runs for row in _of_run(run)]
    return style.styled(to_frame(found).rename(columns={"quantity": "metric"})[COLUMNS], runs)


def _of_run(run: Run) -> list[Estimate | None]:
    references = reference_arms(run)
    if "cross-entropy" not in references and (truth := label_sources.truth_arm(run)) is not None:
        references["true labels"] = truth
    shown = [arm for arm in listed_arms(run) if final_metrics(run, arm) is not None]
    controls = {name: arm for name, arm in references.items() if arm in shown}
    found: list[Estimate | None] = []
    for arm in shown:
        for metric in METRICS:
            found.append(final_level(run, arm, metric))
            for against, control in controls.items():
                found.append(final_difference(run, arm, control, metric, against) if control != arm else None)
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """A block of levels and, where there is an arm to compare with, a block of paired differences."""
    _, _, total = rows.layout(frame)
    blocks = [frame[frame["against"] == ""]]
    differences = frame[frame["against"] != ""]
    blocks += [differences] if len(differences) else []
    figure = style.new_figure(height=0.9 + len(blocks) * (0.75 + rows.ROW_HEIGHT * total))
    metrics = [metric for metric in METRICS if (frame["metric"] == metric).any()]
    grid = figure.subplots(len(blocks), len(metrics), squeeze=False)
    for axes, block in zip(grid, blocks, strict=True):
        places = rows.prepare(list(axes), frame)
        for ax, metric in zip(axes, metrics, strict=True):
            part = block[block["metric"] == metric]
            if block is blocks[0]:
                ax.set_xlim(*rows.limits(part))
                rows.dots(ax, part, places)
                rows.scale(ax, METRICS[metric], ticks=3)
            else:
                _differences(ax, part, places)
                rows.scale(ax, f"change of {METRICS[metric]}", ticks=3)
        titles = ("Value", "Difference, paired by replica")
        axes[0].set_title(titles[block is not blocks[0]])
    handles = rows.regime_handles(frame)
    if len(differences):
        against = differences["against"].drop_duplicates().sort_values(key=_order)
        handles += [rows.handle("o", f"difference to {name}", hollow=name == "KD") for name in against]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=2, columnspacing=1.6, handletextpad=0.3)
    return figure


def _differences(ax: Any, part: pd.DataFrame, places: pd.Series) -> None:
    ax.set_xlim(*rows.limits(part, anchor=0.0))
    low, high = ax.get_xlim()
    ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    for against, rows_of in part.groupby("against", sort=False):
        kd = against == "KD"
        rows.dots(ax, rows_of, places, shift=0.19 if kd else -0.19, hollow=kd, size=4.0)


def _order(names: pd.Series) -> pd.Series:
    return names == "KD"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, what is compared with what, failures, draw and data."""
    count = sizes(frame["n_samples"])
    splits = " and ".join(dict.fromkeys(frame["split"]))
    named = frame[frame["against"] != ""].drop_duplicates(["against", "control"]).sort_values("against", key=_order)
    compared = " and ".join(f"{row['against']} (arm {row['control']})" for row in named.to_dict("records"))
    note = rows.failure_note(frame)
    intervals = int(frame["low"].notna().sum())
    when = " after the last epoch" if (frame["epoch"] > 0).any() else ""
    return (
        f"n = {count} {splits} rows{when}; NLL is cross-entropy with the true label at "
        "temperature 1, ECE has 15 equal-width bins. Dots are means over replicas, bars 95 % t intervals over replicas "
        "for these rows."
        + (f" Below, replica by replica on the same draw, the difference to {compared}." if compared else "")
        + f" The {intervals} intervals are not adjusted for their number; those of the claims table are."
        + (f" † {note}; these do not set the scale." if note else "")
        + f" {conditions(runs)}"
    )


FIGURE = Figure(
    name="accuracy",
    title="Accuracy, likelihood and calibration",
    how_to_read="Accuracy is better to the right, NLL and ECE to the left. In a difference, a bar that does not cross "
    "the line at 0 is a gain or a loss that the draw of the training rows does not explain. The bars are not adjusted "
    "for their number, so among so many some miss 0 by chance.",
    needs="clean evaluations on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
