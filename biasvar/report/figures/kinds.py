"""Bias, variance, flags and weights by the kinds that the user has given the samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.roles import COMPARED, core_arms, left_out
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.estimates import to_frame
from biasvar.report.statistics.sample_kinds import kind_estimates
from biasvar.report.text.captions import conditions_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "plays", "role", "regime", "split", "epoch", "kind", "quantity", "estimate", "low",
    "high", "stderr_replicas", "stderr_samples", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip
PANELS = {
    "bias": ("Bias", "nats per sample"),
    "variance": ("Variance", "nats per sample"),
    "share_opposing": ("Regularization samples", "share of rows"),
    "wsl_weight": ("WSL weight", "mean over rows"),
}
"""Heading and axis of the panel of each quantity."""
MOST_ARMS, MOST_KINDS = 8, 24
_DOT, _BETWEEN = 0.085, 0.1  # inches from arm to arm, and more from kind to kind


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, kind and quantity, with the 95 % interval over replicas."""
    found = [
        to_frame(estimates).assign(kind=kind)
        for run in runs
        for arm in (core_arms(run)[:MOST_ARMS] if run.kinds is not None else ())
        for kind, estimates in kind_estimates(run, arm).items()
    ]
    frame = pd.concat(found, ignore_index=True) if found else to_frame([]).assign(kind=[])
    frame = frame.rename(columns={"stderr": "stderr_replicas"})
    return style.styled(frame[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each quantity that there is, two in a row, with one row a kind and the arms one under another."""
    kinds = _order(frame)[:MOST_KINDS]
    shown = frame[frame["kind"].isin(kinds)]
    shown = shown.sort_values("kind", key=lambda names: names.map(kinds.index), kind="stable")
    panels = [name for name in PANELS if name in set(shown["quantity"])]
    arms = list(dict.fromkeys(frame["arm"]))
    height = _DOT * len(arms) + _BETWEEN
    where, styles = forest.places(shown, row="kind"), style.styles_of(frame)
    names = [str(name) for _, name in where.heights]
    where = where.named(names, row=height)
    columns = style.abreast(3, on_narrow=2 if max(len(styles[arm].label) for arm in arms) < 20 else 1)
    legend = 0.5 + 0.19 * -(-len(arms) // columns)
    figure = style.new_figure(height=legend + forest.height(where, len(panels), most=2, on_narrow=2, row=height))
    axes = forest.panels(figure, where, names, len(panels), most=2, on_narrow=2)
    rows = where.on(looks.put_on(shown, styles, by="arm"))
    rows["y"] += [_DOT / height * (arms.index(arm) - (len(arms) - 1) / 2) for arm in rows["arm"]]
    for ax, quantity in zip(axes, panels, strict=True):
        part = rows[rows["quantity"] == quantity]
        forest.draw(ax, part, limits=scales.limits(part, anchor=0.0), size=4.0, width=1.2)
        ax.set_title(style.panel_title(PANELS[quantity][0]) if style.narrow() else PANELS[quantity][0])
        scales.values(ax, PANELS[quantity][1], ticks=style.abreast(5, on_narrow=3))
    legends.below(
        figure, [legends.dot(styles[arm].marker, styles[arm].label, color=styles[arm].color) for arm in arms],
        columns=columns, handletextpad=0.3,
    )  # fmt: skip
    return figure


def _order(frame: pd.DataFrame) -> list[str]:
    """The kinds, from that with most rows to that with fewest."""
    sizes = frame.groupby("kind", sort=False)["n_samples"].max()
    return [str(name) for name in sizes.sort_values(ascending=False, kind="stable").index]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n a kind, what the panels are of, intervals, which kinds are drawn, draw and data."""
    sizes = frame.groupby("kind", sort=False)["n_samples"].max()
    low, high = int(sizes.min()), int(sizes.max())
    counts = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    said = []
    if frame["quantity"].isin(["bias", "variance"]).any():
        said.append(
            "Bias and variance are means over held-out rows, against the true labels at temperature 1, of "
            "cross-entropy, corrected for the finite number of replicas."
        )
    recorded = frame[frame["quantity"].isin(["share_opposing", "wsl_weight"])]
    if len(recorded):
        where = "the training pass" if (recorded["split"] == "train").any() else "a clean pass over held-out rows"
        said.append(f"Flags (b > |a|, the student surer of the truth than the teacher) and weights are of {where}.")
    many = f" Drawn are the {MOST_KINDS} largest of {len(sizes)} kinds." if len(sizes) > MOST_KINDS else ""
    cut = any(len(core_arms(run)) > MOST_ARMS for run in runs)
    return (
        f"Kinds of samples as the run's user named them (n = {counts} a kind), after the last recorded epoch. "
        f"{' '.join(said)} Bars are 95 % t intervals over replicas for these rows; the {len(frame)} intervals are not "
        "adjusted for their number. The error of bias and variance over rows, taken as independent, is in the CSV."
        f"{many}{f' Of runs with more arms, the first {MOST_ARMS}.' if cut else ''}{left_out(runs)} "
        f"{conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="kinds",
    title="Bias, variance, flags and weights by kind of sample",
    how_to_read="Each row is a kind of sample. A kind that lies right in the first panel is one that replicas agree on "
    "wrongly, in the second one that they disagree about; the lower panels say how often the student is surer of it "
    "than the teacher, and how much weight its soft labels would get.",
    needs="kinds of samples, given by `biasvar.open_run(RUN).save_kinds(kinds, sample_ids)`",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
