"""The table of all samples of a recorded loop or of imported predictions, and the strongest of them for the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.report.output import write_table
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.strongest import Strongest
from biasvar.report.text.numbers import counted, level, signed

SAMPLES = "samples"
MOST_ARMS = 4
"""Arms on the page; the file has all."""


def write_samples(folder: Path, runs: list[Run]) -> list[dict[str, Any]]:
    """Write samples.csv, part by part, and return the strongest samples of the first arms, as the page lists them.

    Nothing is written and nothing returned where no run is somebody's own. What is kept in memory are a few numbers
    a sample of one arm, and the rows that are listed.
    """
    arms = [(run, arm) for run in runs for arm in own_samples.own_arms(run)]
    blocks, more = [], False
    for number, (run, arm) in enumerate(arms):
        for place in own_samples.told_places(run, arm):
            strongest = Strongest()
            for frame in own_samples.tables(run, arm, place=place):
                write_table(folder, SAMPLES, frame, more=more)
                strongest.add(frame)
                more = True
            if number < MOST_ARMS and strongest.lists():
                block = _block(run, arm, strongest, several=len(runs) > 1)
                main = place == own_samples.main_place(run, arm)
                blocks.append(block if main else block | {"title": f"{block['title']}, training rows"})
    return blocks


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
                        f"{row['sample_id']}" if row["name"] is None else str(row["name"]),
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
