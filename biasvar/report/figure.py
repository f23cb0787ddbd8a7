"""What a figure of the report is, and the sentences that every caption shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: file name, and what `--figures` takes.
        title: what it shows, as a heading.
        how_to_read: one or two plain sentences.
        needs: what a run must hold for it, to complete "needs ...".
        collect: runs -> tidy frame of everything that is drawn, with n and errors and a column `run`; empty (no rows)
            if no run holds what the figure needs.
        draw: that frame, not empty -> the drawing.
        caption: frame and runs -> n, replicas, teacher regime, target, view and data.
    """

    name: str
    title: str
    how_to_read: str
    needs: str
    collect: Callable[[list[Run]], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Drawing]
    caption: Callable[[pd.DataFrame, list[Run]], str]


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


def runs_in(frame: pd.DataFrame, runs: Iterable[Run]) -> list[Run]:
    """The runs that a figure shows: those of the report that its frame has rows of."""
    there = set(frame["run"])
    return [run for run in runs if run.name in there]


def conditions_in(frame: pd.DataFrame, runs: list[Run]) -> str:
    """`conditions` of the runs that a figure shows; says which run it is where it shows one of several."""
    shown = runs_in(frame, runs)
    only = f"Only run {shown[0].name} holds what this needs. " if len(shown) == 1 < len(runs) else ""
    return only + conditions(shown)


def replica_count(run: Run) -> int:
    """The replicas of a run: as its manifest says, else as many as left metrics."""
    said = run.manifest.get("replicas")
    return int(said) if said else int(run.metrics["replica"].nunique())


def signed(value: float, places: int) -> str:
    """A number with its sign; one that rounds to 0 has none.

    >>> signed(-0.24, 1), signed(-0.004, 2)
    ('−0.2', '0.00')
    """
    text = f"{value:+.{places}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def sizes(counts: Iterable[int]) -> str:
    """Different numbers of rows, as a caption lists them.

    >>> sizes([1100, 97, 40, 97])
    '40, 97 and 1,100'
    """
    listed = [f"{count:,}" for count in sorted(set(counts))]
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]
