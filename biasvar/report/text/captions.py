"""Sentences that the captions of all figures share: replicas, draw and data of the runs shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from biasvar.report.statistics.own_samples import OWN

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.records import Run

PULLS = (
    "a is the true label's pull towards itself (the bias gradient), b what the soft label changes about it (the "
    "variance gradient); b > |a| turns the pull round: the student is surer of the true class than its teacher"
)
"""What a and b are, to stand in the caption of every figure that names them."""


def draw_note(run: Run) -> str:
    """What differs between the replicas of a run, to follow "16 replicas"; empty if the run does not say.

    Of a subsample of n of N rows it says that the variance is conditional on the pool: it holds about 1 - n/N of the
    variance over fresh samples.
    """
    draw: dict[str, Any] = run.manifest.get("draw") or {}
    kind, rows, pool = draw.get("kind"), draw.get("rows"), draw.get("pool")
    if kind == "subsample" and rows and pool:
        return (
            f", each trained on {rows:,} of the same {pool:,} rows, so that the variance is conditional on that pool "
            f"and holds about {100 * (1 - rows / pool):.0f} % of that over fresh rows"
        )
    if kind == "disjoint":
        return f", each trained on {f'{rows:,} ' if rows else ''}rows of its own, disjoint from all others'"
    if kind == "bootstrap":
        return f", each trained on a bootstrap of the {f'{pool:,} ' if pool else ''}training rows"
    if kind == "seed_only":
        return ", all trained on the same rows, so that they differ in initial weights and batch order only"
    return ""


def conditions(runs: Iterable[Run]) -> str:
    """The closing sentences of a caption: replicas, draw and data of every run, once for runs that share them."""
    runs = list(runs)
    sentences: dict[str, list[str]] = {}
    for run in runs:
        count = replica_count(run)
        data = run.manifest.get("data") or {}
        note = data.get("note") or data.get("name")
        text = [f"{count} replica{'s' if count != 1 else ''}{draw_note(run)}."] if count else []
        text += [f"Data: {note}."] if note else []
        sentences.setdefault(" ".join(text), []).append(run.name)
    return " ".join(
        (f"{', '.join(names)}: " if len(runs) > 1 else "") + text for text, names in sentences.items() if text
    )


def unadjusted(count: int) -> str:
    """The sentence that a picture's own intervals are not adjusted for how many they are.

    >>> unadjusted(1)
    'The interval is not adjusted; those of the claims table are, for their number.'
    """
    if count == 1:
        return "The interval is not adjusted; those of the claims table are, for their number."
    return f"The {count} intervals are not adjusted for their number; those of the claims table are."


def runs_in(frame: pd.DataFrame, runs: Iterable[Run]) -> list[Run]:
    """The runs that a figure shows: those of the report that its frame has rows of."""
    there = set(frame["run"])
    return [run for run in runs if run.name in there]


def any_own(frame: pd.DataFrame, runs: Iterable[Run]) -> bool:
    """True if a figure shows a recorded loop or an import: no draw of training rows is known of it.

    What a caption says of such a figure has to be true without one: replicas are paired by their numbers only.
    """
    return any(run.manifest.get("kind") in OWN for run in runs_in(frame, runs))


def when_evaluated(frame: pd.DataFrame, runs: Iterable[Run]) -> str:
    """When the clean evaluations that a figure shows were made, to follow "test rows".

    A loop evaluates when it likes, an import tells no epochs: an epoch of theirs counts evaluations, not epochs.
    """
    return "after training" if any_own(frame, runs) else "after the last epoch"


def conditions_in(frame: pd.DataFrame, runs: list[Run]) -> str:
    """`conditions` of the runs that a figure shows; says which run it is where it shows one of several."""
    shown = runs_in(frame, runs)
    only = f"Only run {shown[0].name} holds what this needs. " if len(shown) == 1 < len(runs) else ""
    return only + conditions(shown)


def replica_count(run: Run) -> int:
    """The replicas of a run: as its manifest says, else as many as left metrics."""
    said = run.manifest.get("replicas")
    return int(said) if said else int(run.metrics["replica"].nunique())
