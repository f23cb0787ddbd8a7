"""The card in words: opening paragraph, warnings, what stands at each figure, rows of tables, provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import biasvar
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.messages import first_few
from biasvar.report.card.collect import Collected, Worst
from biasvar.report.card.options import CardOptions
from biasvar.report.card.source import Source
from biasvar.report.card.tabulate import BINS, LABELS_SHOWN, CalibrationError, Tables, accuracy, log_counts
from biasvar.report.card.verdict import LEVEL, Verdict
from biasvar.report.text.numbers import counted, short_number

FEW = 100  # samples of a class, below which gamma's interval is too wide to say much
FEW_CLUSTERS = 30  # below which the spread between clusters is itself little known
NAMED_RULES = 3


@dataclass(frozen=True)
class FigureText:
    """What stands above and below a figure of the card."""

    title: str
    how_to_read: str
    caption: str


def paragraph(collected: Collected, source: Source, options: CardOptions, error: CalibrationError | None) -> str:
    """What the soft labels are, and their plainest numbers."""
    n = len(collected.samples.labels)
    what = "raw scores" if options.scores else "soft labels"
    made = ""
    if options.temperature is not None:
        made = f", softmax of logits at temperature {options.temperature:g}"
    elif options.normalize:
        made = ", rows divided by their sums"
    elif "teacher " in source.name:
        made = ", softmax of logits at temperature 1"
    right, low, high = accuracy(collected)
    text = [
        f"{n:,} {what}{_in_clusters(collected)} over {source.num_classes:,} classes{made}. Their largest entry is the "
        f"truth in {_share(right)} of samples ({_share(low)} to {_share(high)})."
    ]
    samples = collected.samples
    if samples.entropy is not None and error is not None:
        text.append(
            f"Mean mass on the truth {samples.truth.mean():.3f}, mean entropy {samples.entropy.mean():.3f} nats of at "
            f"most {math.log(source.num_classes):.3f}, expected calibration error {error.value:.3f} "
            f"(15 bins of equal width; {error.low:.3f} to {error.high:.3f}, debiased {error.debiased:.3f})."
        )
    return " ".join(text)


def _in_clusters(collected: Collected) -> str:
    """The clusters that rows come in, in words; "" where rows are independent."""
    if collected.clusters is None:
        return ""
    return f" in {collected.tops.sets[0].units:,} clusters ({collected.clusters})"


def _how(collected: Collected, exact: str = "Clopper-Pearson") -> str:
    """How intervals of shares are made."""
    if collected.clusters is None:
        return exact
    return f"over {collected.tops.sets[0].units:,} clusters: {exact} at the effective number of rows"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def warnings(collected: Collected, source: Source, names: list[str]) -> list[str]:
    """What a reader must know before believing a number."""
    said = list(source.notes)
    top, n = collected.samples.top, len(collected.samples.labels)
    if several := int((top > 1).sum()):
        said.append(
            f"{several:,} of {n:,} rows have more than one largest entry: accuracy counts the first, Δ at k = 1 "
            + ("all." if collected.tops.ties == "include" else "one drawn at random.")
        )
    if collected.tops.ties == "include":
        grown = [counts for counts in collected.tops.sets if counts.k is not None and counts.set_size > counts.k]
        if grown:
            sizes = ", ".join(f"{counts.set_size:.3g} at {counts.rule}" for counts in grown[:NAMED_RULES])
            said.append(f"All tied labels are in a set, so that sets hold more than k labels on average: {sizes}.")
    else:
        said += _tied(collected)
    said += _clustered(collected)
    by_class = _units_by_class(collected)
    what = "samples" if collected.clusters is None else "clusters"
    if (small := by_class.min()) < FEW:
        least = np.flatnonzero(by_class < FEW)
        which = f"Class {names[int(by_class.argmin())]}" if len(least) == 1 else f"{len(least):,} classes"
        said.append(
            f"{which} {'has' if len(least) == 1 else 'have'} fewer than {FEW} {what} ({small:,} at least): "
            "intervals of γ, which allow for all pairs of classes, are wide, and γ itself leans upwards, as the "
            "largest of many shares does."
        )
    return said


def _units_by_class(collected: Collected) -> np.ndarray:
    """How many independent units each class has: samples, or clusters that have any of it."""
    counts = collected.tops.sets[0]
    return counts.class_sizes if counts.sums is None else counts.sums.members.clusters[:, 0].astype(np.int64)


def _clustered(collected: Collected) -> list[str]:
    """What to know of rows that share something."""
    samples = collected.samples
    n = len(samples.labels)
    if samples.clusters is None:
        different = len(np.unique(samples.ids))
        return [] if different == n else [
            f"{n:,} rows have {different:,} different sample ids: rows of one sample are not independent, and the "
            "intervals take them to be. Give --clusters (sample_id, if it is a column)."
        ]  # fmt: skip
    sizes = np.bincount(samples.clusters)
    least, most = int(sizes.min()), int(sizes.max())
    of = counted(least, "row") if least == most else f"{least:,} to {most:,} rows"
    said = [
        f"Rows come in {len(sizes):,} clusters of {of} ({collected.clusters}): intervals are over clusters, which are "
        "taken to be independent of each other."
    ]
    if len(sizes) < FEW_CLUSTERS:
        said.append(f"Fewer than {FEW_CLUSTERS} clusters tell little of how clusters differ: intervals are rough.")
    return said


def _tied(collected: Collected) -> list[str]:
    moved = []
    for counts in collected.tops.sets:
        spread = counts.tie_range() if counts.ties else {}
        reach = [f"{name} within {low:.3g} to {high:.3g}" for key, name in (("delta", "Δ"), ("class", "γ"))
                 for low, high in [spread.get(key, (0.0, 0.0))] if low != high]  # fmt: skip
        if reach:
            moved.append(f"at {counts.rule} ({counts.ties:,} rows) {' and '.join(reach)}")
    if not moved:
        return []
    return [
        f"Equal entries at the edge of a set were drawn from (seed {collected.tops.seed}). How far draws can reach: "
        f"{first_few(moved, NAMED_RULES, separator='; ')}. The option --ties include, or exclude_zero, settles them by "
        "rule."
    ]


def top_sets_text(collected: Collected, tables: Tables) -> FigureText:
    """Words for the indicators of top sets."""
    return FigureText(
        "Indicators against k",
        "Low Δ, γ and sum are good, high κ is. Judge by the k at which the sum is smallest: γ near 1 at a larger k "
        "is usual for an accurate network, since similar classes share the top of its labels.",
        _sets_caption(collected, ties=bool(tables.top_sets["ties"].any())),
    )


def threshold_sets_text(collected: Collected, threshold_sets: pd.DataFrame) -> FigureText:
    """Words for the indicators of threshold sets."""
    mean_sizes = ", ".join(f"{size:,.2f}" for size in threshold_sets["set_size"])
    return FigureText(
        "The same for sets of all labels above a mass",
        "Sets vary in size here: a higher threshold lets fewer labels in.",
        f"Mean size of the sets, from left to right: {mean_sizes}. {_sets_caption(collected, ties=False)}",
    )


def _sets_caption(collected: Collected, *, ties: bool) -> str:
    class_sizes = collected.tops.sets[0].class_sizes
    least, most = int(class_sizes.min()), int(class_sizes.max())
    by_class = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"n = {len(collected.samples.labels):,} samples, {by_class} a class. Bars: 95 % intervals, each by itself "
        f"({_how(collected)}); those of γ and of the worst class allow for the largest of all pairs (Bonferroni), and "
        "both estimates lean upwards. "
        "Floor: what γ cannot be below, (mean set size − 1 + Δ) / (K − 1). Red: Δ + γ = 1, below which the condition "
        "holds. κ: of the overall Δ and γ, or of all classes' Δ_c and γ_c together; 1 at best, at 0 nothing is bounded."
        + (" Shaded: what other choices among equal entries could give at most." if ties else "")
    )


def matrix_text(counts: SetCounts, classes: np.ndarray, n: int) -> FigureText:
    """Words for the heat map of labels that are in the same sets."""
    what = "is the largest entry" if counts.k == 1 else f"is among the {counts.k} largest entries"
    shown = ""
    if len(classes) < counts.num_classes:
        shown = f" Only the {len(classes)} classes of the most confusable pairs, of {counts.num_classes:,}."
    tied = f" In {counts.ties:,} samples equal entries at the edge of the set left a choice." if counts.ties else ""
    return FigureText(
        f"Which labels are singled out together, k = {counts.k}",
        f"A row is a true class: how often each label {what} of its soft labels.",
        f"Percent of a true class's samples (row) that have a label (column) in their set, {counts.rule}, n = {n:,}. "
        f"Diagonal: the truth, 1 − Δ_c. The darkest cell is γ. Empty: none; a dot: below 0.05 %.{tied}{shown}",
    )


def entropy_text(entropy: pd.DataFrame, n: int) -> FigureText:
    """Words for the histogram of entropies."""
    logarithmic = " Counts on a logarithmic axis." if log_counts(entropy) else ""
    return FigureText(
        "Entropy",
        "How much the soft labels leave open: 0 for a hard label.",
        f"n = {n:,}, {len(entropy)} bins. −Σ q ln q; ln K = {entropy['high'].iloc[-1]:.3f} for an even "
        f"soft label.{logarithmic}",
    )


def calibration_text(errors: dict[str, CalibrationError], collected: Collected) -> FigureText:
    """Words for accuracy against confidence."""
    return FigureText(
        "Calibration",
        "On the dashed line a soft label of confidence 0.8 is right in 80 % of samples; below it, it is too sure.",
        f"n = {len(collected.samples.labels):,}. {BINS} bins of equal width, empty ones left out; bars: 95 % intervals "
        f"({_how(collected)}), each bin by itself; orange: the gap. Expected calibration error, the mean gap over bins "
        f"weighted by samples, {_error(errors['width'])} in these bins, {_error(errors['mass'])} in {BINS} bins of "
        "equally many samples. It leans upwards, since chance makes gaps too: the debiased value has that taken off as "
        "far as can be (Kumar et al. 2019), and the interval allows for it. Root of the mean squared gap, debiased: "
        f"{errors['width'].root:.4f} ({errors['width'].root_low:.4f} to {errors['width'].root_high:.4f}).",
    )


def _error(error: CalibrationError) -> str:
    return f"{error.value:.4f} (95 % {error.low:.4f} to {error.high:.4f}, debiased {error.debiased:.4f})"


def worst_text(worst: tuple[Worst, ...], shown: int) -> FigureText:
    """Words for the images of the worst samples."""
    return FigureText(
        "The worst samples",
        "Above each image its true class; below, its sample id and the labels with most mass, the truth in blue.",
        f"The {shown} most extreme of each kind. " + " ".join(worst_notes(worst)),
    )


def worst_notes(worst: tuple[Worst, ...]) -> list[str]:
    """What the worst samples were chosen from."""
    notes = []
    for kind in worst:
        first, last = (short_number(float(kind.values[place])) for place in (0, -1))
        same = f"; {kind.tied:,} samples have the latter, of which the first are taken" if kind.tied > 1 else ""
        notes.append(
            f"{kind.title}: {kind.quantity} {first} to {last} in the {len(kind.rows)} most extreme of {kind.n:,} "
            f"(worst.csv){same}."
        )
    return notes


def verdict_rows(rows: list[Verdict]) -> list[dict[str, str]]:
    """The verdict's rows as text."""
    return [
        {
            "verdict": row.verdict,
            "question": row.question,
            "formula": row.formula.replace(" ", "\N{NO-BREAK SPACE}") if len(row.formula) < 24 else row.formula,
            "value": "none" if math.isnan(row.value) else short_number(row.value),
            "interval": "" if math.isnan(row.low) else _between(row.low, row.high),
            "at": row.at,
            "source": row.source,
            "detail": row.detail,
        }
        for row in rows
    ]


def pair_rows(pairs: pd.DataFrame, listed: int) -> list[dict[str, str]]:
    """The most confusable pairs as text; those that never occur are left out."""
    return [
        {"true": row["true_name"], "wrong": row["wrong_name"], "share": short_number(row["share"]),
         "interval": _between(row["low"], row["high"]), "count": f"{int(row['count']):,} of {int(row['n']):,}"}
        for row in pairs.head(listed).to_dict("records") if row["count"]
    ]  # fmt: skip


def class_rows(classes: pd.DataFrame, listed: int) -> list[dict[str, str]]:
    """All classes as text, or those with the largest sums."""
    shown = classes if len(classes) <= listed else classes.nlargest(listed, "sum")
    return [
        {"name": row["class_name"], "n": f"{int(row['n']):,}",
         **{name: short_number(row[name]) for name in ("accuracy", "delta", "gamma", "sum", "margin")},
         "sum_interval": _between(row["sum_low"], row["sum_high"]),
         "rival": row["rival_name"] if row["gamma"] else "–"}
        for row in shown.to_dict("records")
    ]  # fmt: skip


def worst_rows(worst: pd.DataFrame) -> list[dict[str, Any]]:
    """The worst samples as text, by kind, for a card without images."""
    if worst.empty:
        return []
    groups = []
    for kind, samples in worst.groupby("kind", sort=False):
        rows = []
        for _, labels in samples.groupby("place"):
            first = labels.iloc[0]
            largest = labels.sort_values("mass", ascending=False, kind="stable").head(LABELS_SHOWN)
            named = zip(largest["label_name"], largest["mass"], strict=True)
            rows.append({"row": int(first["row"]), "id": int(first["sample_id"]), "true": first["true_name"],
                         "value": short_number(float(first["value"])), "rank": f"{first['rank_of_truth']:,}",
                         "largest": ", ".join(f"{name} {mass:.3f}" for name, mass in named)})  # fmt: skip
        groups.append({"kind": kind, "quantity": samples["measure"].iloc[0], "rows": rows})
    return groups


def _between(low: float, high: float) -> str:
    return f"{short_number(low)} to {short_number(high)}"


def provenance(collected: Collected, source: Source, options: CardOptions) -> list[tuple[str, str]]:
    """Names and values of where the numbers come from."""
    of_clusters = ", at effective numbers of rows by Korn and Graubard 1998" if collected.clusters else ""
    rules = [counts.rule for counts in (*collected.tops.sets, *(collected.masses.sets if collected.masses else ()))]
    values = [
        ("Soft labels", source.name),
        ("Rows, classes", f"{len(collected.samples.labels):,}, {source.num_classes:,}"),
        ("Fingerprint", f"{collected.fingerprint} (SHA-256 over soft labels and labels as read, first 16 digits)"),
        ("Sets", ", ".join(rules)),
        ("Ties", f"{options.ties}, seed {options.seed}"),
        ("Intervals", f"{100 * LEVEL:g} %, two-sided{of_clusters}"),
        (
            "Clusters",
            "none: rows are taken to be independent"
            if collected.clusters is None
            else f"{collected.clusters}, {collected.tops.sets[0].units:,}",
        ),
        ("Version", f"biasvar {biasvar.__version__}"),
    ]
    return values
