"""The table of all samples of a recorded loop or of imported predictions, and the strongest of them for the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.report.output import write_table
from biasvar.report.statistics import own_samples
from biasvar.report.text.numbers import counted, level, signed

SAMPLES = "samples"
LISTED = 8
"""Samples of a list on the page."""
MOST_ARMS = 4
"""Arms on the page; the file has all."""

RANKINGS = {
    "bias": ("Most bias", ["bias"], [False]),
    "variance": ("Most variance", ["variance"], [False]),
    "flag_share": (
        "Most often regularization samples, the least weight first",
        ["flag_share", "weight"],
        [False, True],
    ),
    "confidence": ("Least confident of the truth", ["confidence"], [True]),
}
"""By the column that a list needs: its title, what it is sorted by, and whether rising."""


def write_samples(folder: Path, runs: list[Run]) -> list[dict[str, Any]]:
    """Write samples.csv, part by part, and return the strongest samples of the first arms, as the page lists them.

    Nothing is written and nothing returned where no run is somebody's own. What is kept in memory are a few numbers
    a sample of one arm, and the rows that are listed.
    """
    arms = [(run, arm) for run in runs for arm in own_samples.own_arms(run)]
    blocks = []
    for number, (run, arm) in enumerate(arms):
        strongest = Strongest()
        for part, frame in enumerate(own_samples.tables(run, arm)):
            write_table(folder, SAMPLES, frame, more=number > 0 or part > 0)
            strongest.add(frame)
        if number < MOST_ARMS:
            blocks.append(_block(run, arm, strongest, several=len(runs) > 1))
    return blocks


class Strongest:
    """The first rows of each of `RANKINGS`, kept while frames pass by; equals in the order of their ids."""

    def __init__(self) -> None:
        self.n = 0
        self._kept: dict[str, pd.DataFrame] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Let more rows pass, whose ids are above all that passed."""
        self.n += len(frame)
        for name, (_, columns, rising) in RANKINGS.items():
            rows = frame[frame[name].notna()]
            if len(rows):
                first = rows.sort_values(columns, ascending=rising, kind="stable").head(LISTED)
                both = pd.concat([self._kept[name], first], ignore_index=True) if name in self._kept else first
                self._kept[name] = both.sort_values(columns, ascending=rising, kind="stable").head(LISTED)

    def lists(self) -> dict[str, pd.DataFrame]:
        """Rows by title: without the least confident where there is bias to go by, and never flagged ones."""
        found = dict(self._kept)
        if "bias" in found:
            found.pop("confidence", None)
        if "flag_share" in found:
            found["flag_share"] = found["flag_share"][found["flag_share"]["flag_share"] > 0]
        return {RANKINGS[name][0]: found[name] for name in RANKINGS if name in found and len(found[name])}


def _block(run: Run, arm: str, strongest: Strongest, *, several: bool) -> dict[str, Any]:
    lists = strongest.lists()
    rows = pd.concat(list(lists.values()))
    first = rows.iloc[0]
    columns = [name for name in COLUMNS if rows[name].notna().any()]
    named = bool(run.manifest.get("class_names"))
    over = counted(int(first["replicas"]), "replica")
    over = f"{over}, each over its epochs" if first["over"] == "epochs" else over
    return {
        "title": own_samples.title(run, arm, several),
        "conditions": f"n = {strongest.n:,} {first['split']} samples; {over}.",
        "columns": ["Sample", "Class", *(COLUMNS[name][0] for name in columns)],
        "lists": [
            {
                "title": title,
                "rows": [
                    [
                        f"{row['sample_id']}",
                        str(row["class_name"]) if named else f"{row['true_class']}",
                        *(COLUMNS[name][1](row) for name in columns),
                    ]
                    for row in found.to_dict("records")
                ],
            }
            for title, found in lists.items()
        ],
    }


def _with_error(name: str) -> Any:
    def text(row: dict[str, Any]) -> str:
        if math.isnan(row[name]):
            return "–"
        error = row[f"{name}_stderr"]
        return signed(row[name], 2).removeprefix("+") + ("" if math.isnan(error) else f" ± {error:.2f}")

    return text


def _share(name: str) -> Any:
    return lambda row: "–" if math.isnan(row[name]) else f"{100 * row[name]:.0f} %"


def _number(name: str) -> Any:
    return lambda row: "–" if math.isnan(row[name]) else level(row[name], 2)


COLUMNS = {
    "bias": ("Bias", _with_error("bias")),
    "variance": ("Variance", _with_error("variance")),
    "confidence": ("Truth", _number("confidence")),
    "variability": ("its sd", _number("variability")),
    "accuracy": ("Right", _share("accuracy")),
    "flag_share": ("Flagged", _share("flag_share")),
    "weight": ("Weight", _number("weight")),
}
"""Columns of the lists on the page: their heads, and a row's text; left out where no row has a value."""
