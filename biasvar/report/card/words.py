"""What the card says in words: the opening paragraph, warnings, captions, and numbers as they stand in tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

import biasvar
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.messages import first_few
from biasvar.report.card.collect import Collected
from biasvar.report.card.options import CardOptions
from biasvar.report.card.source import Source
from biasvar.report.card.verdict import LEVEL, Verdict
from biasvar.report.figure import signed

FEW = 100  # samples of a class, below which gamma's interval is too wide to say much
NAMED_RULES = 3


def accuracy(found: Collected) -> tuple[float, float, float]:
    """Share of samples whose largest entry (the first of several) is the truth, with its Clopper-Pearson interval."""
    correct = found.samples.correct
    low, high = clopper_pearson(np.array([correct.sum()]), np.array([len(correct)]), 1.0 - LEVEL)
    return float(correct.mean()), float(low[0]), float(high[0])


def paragraph(found: Collected, source: Source, options: CardOptions, error: float | None) -> str:
    """What the soft labels are, and their plainest numbers."""
    n = len(found.samples.labels)
    what = "raw scores" if options.scores else "soft labels"
    made = ""
    if options.temperature is not None:
        made = f", softmax of logits at temperature {options.temperature:g}"
    elif options.normalize:
        made = ", rows divided by their sums"
    elif "teacher " in source.name:
        made = ", softmax of logits at temperature 1"
    right, low, high = accuracy(found)
    text = [
        f"{n:,} {what} over {source.num_classes:,} classes{made}. Their largest entry is the truth in "
        f"{_share(right)} of samples ({_share(low)} to {_share(high)})."
    ]
    samples = found.samples
    if samples.entropy is not None:
        text.append(
            f"Mean mass on the truth {samples.truth.mean():.3f}, mean entropy {samples.entropy.mean():.3f} nats of at "
            f"most {math.log(source.num_classes):.3f}, expected calibration error {error:.3f} (15 bins of equal width)."
        )
    return " ".join(text)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def warnings(found: Collected, source: Source, names: list[str]) -> list[str]:
    """What a reader must know before believing a number."""
    said = list(source.notes)
    top, n = found.samples.top, len(found.samples.labels)
    if several := int((top > 1).sum()):
        said.append(
            f"{several:,} of {n:,} rows have more than one largest entry: accuracy counts the first, Δ at k = 1 "
            + ("all." if found.tops.ties == "include" else "one drawn at random.")
        )
    if found.tops.ties == "include":
        grown = [counts for counts in found.tops.sets if counts.k is not None and counts.set_size > counts.k]
        if grown:
            sizes = ", ".join(f"{counts.set_size:.3g} at {counts.rule}" for counts in grown[:NAMED_RULES])
            said.append(f"All tied labels are in a set, so that sets hold more than k labels on average: {sizes}.")
    else:
        said += _tied(found)
    by_class = found.tops.sets[0].class_sizes
    if (small := by_class.min()) < FEW:
        least = np.flatnonzero(by_class < FEW)
        which = f"Class {names[int(by_class.argmin())]}" if len(least) == 1 else f"{len(least):,} classes"
        said.append(
            f"{which} {'has' if len(least) == 1 else 'have'} fewer than {FEW} samples ({small:,} at least): "
            "intervals of γ, which allow for all pairs of classes, are wide, and γ itself leans upwards, as the "
            "largest of many shares does."
        )
    return said


def _tied(found: Collected) -> list[str]:
    moved = []
    for counts in found.tops.sets:
        spread = counts.tie_range() if counts.ties else {}
        parts = [f"{name} within {low:.3g} to {high:.3g}" for key, name in (("delta", "Δ"), ("class", "γ"))
                 for low, high in [spread.get(key, (0.0, 0.0))] if low != high]  # fmt: skip
        if parts:
            moved.append(f"at {counts.rule} ({counts.ties:,} rows) {' and '.join(parts)}")
    if not moved:
        return []
    return [
        f"Equal entries at the edge of a set were drawn from (seed {found.tops.seed}). How far draws can reach: "
        f"{first_few(moved, NAMED_RULES, separator='; ')}. The option --ties include, or exclude_zero, settles them by "
        "rule."
    ]


def set_caption(n: int, sizes: np.ndarray, ties: bool) -> str:
    """Caption of the indicators' figures."""
    least, most = int(sizes.min()), int(sizes.max())
    by_class = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"n = {n:,} samples, {by_class} a class. Bars: 95 % intervals, each by itself (Clopper-Pearson); those of "
        "γ and of the worst class allow for the largest of all pairs (Bonferroni), and both estimates lean upwards. "
        "Floor: what γ cannot be below, (mean set size − 1 + Δ) / (K − 1). Red: Δ + γ = 1, below which the condition "
        "holds. κ: of the overall Δ and γ, or of all classes' Δ_c and γ_c together; 1 at best, at 0 nothing is bounded."
        + (" Shaded: what other choices among equal entries could give at most." if ties else "")
    )


def matrix_caption(counts: SetCounts, classes: np.ndarray, n: int) -> str:
    """Caption of the heat map."""
    shown = ""
    if len(classes) < counts.num_classes:
        shown = f" Only the {len(classes)} classes of the most confusable pairs, of {counts.num_classes:,}."
    tied = f" In {counts.ties:,} samples equal entries at the edge of the set left a choice." if counts.ties else ""
    return (
        f"Percent of a true class's samples (row) that have a label (column) in their set, {counts.rule}, n = {n:,}. "
        f"Diagonal: the truth, 1 − Δ_c. The darkest cell is γ. Empty: none; a dot: below 0.05 %.{tied}{shown}"
    )


def verdict_rows(rows: list[Verdict]) -> list[dict[str, str]]:
    """The verdict's rows as text."""
    return [
        {
            "verdict": row.verdict,
            "question": row.question,
            "formula": row.formula.replace(" ", "\N{NO-BREAK SPACE}") if len(row.formula) < 24 else row.formula,
            "value": number(row.value),
            "interval": "" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}",
            "at": row.at,
            "source": row.source,
            "detail": row.detail,
        }
        for row in rows
    ]


def number(value: float) -> str:
    """A number for a table: three digits after the point, whole above 1,000.

    >>> number(0.12345), number(7702.4), number(math.inf), number(-0.5)
    ('0.123', '7,702', '∞', '−0.500')
    """
    if math.isinf(value):
        return "∞"
    if abs(value) >= 1e7:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return signed(value, 3).replace("+", "") if value < 0 else f"{value:.3f}"


def provenance(found: Collected, source: Source, options: CardOptions) -> list[tuple[str, str]]:
    """Names and values of where the numbers come from."""
    rules = [counts.rule for counts in (*found.tops.sets, *(found.masses.sets if found.masses else ()))]
    values = [
        ("Soft labels", source.name),
        ("Rows, classes", f"{len(found.samples.labels):,}, {source.num_classes:,}"),
        ("Fingerprint", f"{found.fingerprint} (SHA-256 over soft labels and labels as read, first 16 digits)"),
        ("Sets", ", ".join(rules)),
        ("Ties", f"{options.ties}, seed {options.seed}"),
        ("Intervals", f"{100 * LEVEL:g} %, two-sided"),
        ("Version", f"biasvar {biasvar.__version__}"),
    ]
    return values


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
