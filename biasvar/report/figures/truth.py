"""People's labels as the truth: the noise of each class's rows, and bias and variance of students against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.calibration import entropy
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, forest, legends, looks, panels, scales
from biasvar.report.statistics.estimates import TERMS, decomposition_term, interval_columns
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes
from biasvar.report.truth import JUDGED, PeopleRun, small_sample_noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "term", "truth", "row", "label", "estimate", "low", "high", "stderr_replicas", "stderr_samples",
    "n_replicas", "n_samples", "votes", "unanimous", "people",
]  # fmt: skip
PEOPLE, LABEL, ADDED = "people's labels", "one label a row", "noise with what few votes lack"
LOOKS = {
    PEOPLE: style.Look("#0072b2", "o", "-", PEOPLE),
    LABEL: style.Look("#d55e00", "s", "-", LABEL),
    ADDED: style.Look("#56b4e9", "D", "-", "noise, corrected for few votes"),
}
TITLES = {
    "noise": "Noise by true class: how far people disagree",
    "bias": "Bias, against each truth",
    "variance": "Variance, same for both",
}
_APART = 0.17  # of a row


def collect(runs: list[Run]) -> pd.DataFrame:
    """Noise by true class with its error over rows; bias and variance by arm and truth, with theirs over replicas."""
    rows = [row for run in runs if isinstance(run, PeopleRun) for row in (*_noise(run), *_terms(run))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _noise(run: PeopleRun) -> list[dict[str, Any]]:
    people = run.people
    noise, lacking = entropy(people.soft_labels()), small_sample_noise(people)
    votes, found = people.counts.sum(axis=1), []
    kinds = {"all": np.ones(len(noise), dtype=bool)}
    kinds |= {name: people.labels == place for place, name in enumerate(people.class_names)}
    for name, inside in kinds.items():
        if inside.sum() < 2:
            continue
        about = {
            "run": run.name, "term": "noise", "row": name, "label": name, "n_samples": int(inside.sum()),
            "votes": float(votes[inside].mean()), "unanimous": float((noise[inside] == 0).mean()),
            "people": people.note,
        }  # fmt: skip
        for truth, values in ((PEOPLE, noise), (ADDED, noise + lacking)):
            interval = interval_columns(mean_interval(values[inside]))
            interval |= {"stderr_samples": interval.pop("stderr"), "n_replicas": None}
            found.append({**about, "truth": truth, **interval})
    return found


def _terms(run: PeopleRun) -> list[dict[str, Any]]:
    """Of the arms of the claims that are judged, in the order of the run."""
    tests = [entry for claim in JUDGED for entry in run.manifest.get("claims", {}).get(claim, [])]
    named = {arm for entry in tests for arm in entry.values()}
    found = []
    for arm in run.arms:
        for truth, judged in ((PEOPLE, run), (LABEL, run.by_labels)):
            for term in TERMS if arm in named else ():
                row = decomposition_term(judged, arm, term)
                if row is None or row.split != "test":
                    continue
                about = {"run": run.name, "term": term, "truth": truth, "row": arm, "label": arm_label(run, arm)}
                numbers = {"estimate": row.estimate, "low": row.low, "high": row.high, "stderr_replicas": row.stderr}
                counts = {"n_replicas": row.n_replicas, "n_samples": row.n_samples}
                found.append({**about, **numbers, "stderr_samples": row.stderr_samples, **counts})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run the noise by class, and under it bias of its arms against both truths, and their one variance."""
    runs = list(dict.fromkeys(frame["run"]))
    parts = {run: [part for _, part in rows.groupby(rows["term"] == "noise")] for run, rows in frame.groupby("run")}
    heights = {
        run: [
            panels.height(forest.ROW_HEIGHT * part["row"].nunique(), part["term"].nunique()) + 0.1
            for part in parts[run][::-1]
        ]
        for run in runs
    }
    columns = style.abreast(len(LOOKS))
    figure, block_of = blocks.stacked(runs, [sum(heights[run]) for run in runs], more=0.3 + 0.2 * len(LOOKS) / columns)
    for run, block in block_of.items():
        places: Any = block.subfigures(len(parts[run]), 1, squeeze=False, height_ratios=heights[run])[:, 0]
        for place, part in zip(places, parts[run][::-1], strict=True):
            terms = list(dict.fromkeys(part["term"]))
            where = forest.places(part, row="row")
            axes = panels.sharing_rows(place, where, list(part.drop_duplicates("row")["label"]), len(terms))
            for ax, term in zip(axes, terms, strict=True):
                mine = where.on(looks.put_on(part[part["term"] == term], LOOKS, by="truth"))
                if term == "variance":
                    mine = mine[mine["truth"] == PEOPLE].assign(color=style.INK, marker="D")
                else:
                    mine["y"] += np.where(mine["truth"] == PEOPLE, -_APART, _APART)
                forest.draw(ax, mine, size=4.4)
                ax.set_title(panels.fitted(TITLES[term]))
                scales.values(ax, "nats a row", ticks=5)
    entries = [legends.dot(look.marker, look.label, color=look.color) for look in LOOKS.values()]
    legends.below(figure, entries, columns=columns, handletextpad=0.3)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, votes, what few votes do to noise and bias, intervals, draw and data."""
    noise = frame[frame["term"] == "noise"]
    whole = noise[noise["row"] == "all"].drop_duplicates("run")
    terms = frame[frame["term"] != "noise"]
    votes, alike = (f"{whole[name].mean():.3g}" for name in ("votes", "unanimous"))
    return (
        f"n = {sizes(whole['n_samples'])} test rows, {votes} votes a row on average "
        f"({'; '.join(whole['people'].unique())}); all votes agree on {100 * float(alike):.0f} % of them. Risk against "
        "people's labels is noise + bias + variance, cross-entropy at temperature 1 in nats, bias and variance "
        "corrected for the finite number of replicas. Noise, the entropy of the shares of votes, belongs to the rows "
        "and is the same for every arm; bars are 95 % t intervals over rows. Few votes make it too low and the bias "
        "too high by about (classes named − 1) / (2 votes) a row (Miller 1955), added in the lighter dots; the change "
        "of bias between arms is linear in the shares and not shifted by it. Bias and variance: means over "
        f"{sizes(terms['n_replicas'])} replicas, 95 % t intervals over replicas for these rows; the error over rows is "
        "in the CSV. Variance does not depend on the truth. "
        f"{conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="truth",
    title="Noise, bias and variance against people's labels",
    how_to_read="Above, how much people disagree about rows of each class: risk that no network can avoid. Below, "
    "further left is better; against one label a row, what people disagree about counts as bias of the network.",
    needs="people's labels of the test rows, by --truth, and claims on bias or variance",
    collect=collect,
    draw=draw,
    caption=caption,
)
