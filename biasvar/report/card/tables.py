"""The card's tables: columns added to those that are saved, and rows as the page shows them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from biasvar.analysis import Indicators
from biasvar.report.card import words
from biasvar.report.card.collect import Worst
from biasvar.report.card.gallery import LABELS


def named(names: list[str], frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with the classes' names beside their numbers."""
    return frame.assign(**{f"{column}_name": [names[c] for c in frame[column]] for column in columns})


def with_ties(table: pd.DataFrame, found: Indicators) -> pd.DataFrame:
    """The table with the least and greatest Delta and gamma that choices among ties could give."""
    spreads = [counts.tie_range() for counts in found.sets]
    ends = {"low": 0, "high": 1}
    return table.assign(
        **{
            f"{name}_tie_{end}": [spread[key][place] for spread in spreads]
            for name, key in (("delta", "delta"), ("gamma", "class"))
            for end, place in ends.items()
        }
    )


def worst_notes(worst: tuple[Worst, ...]) -> list[str]:
    """What the worst samples were chosen from."""
    notes = []
    for one in worst:
        first, last = (words.number(float(one.values[place])) for place in (0, -1))
        said = f"{one.title}: {one.measure} {first} to {last}"
        same = f"; {one.tied:,} samples have the latter, of which the first are taken" if one.tied > 1 else ""
        notes.append(f"{said} in the {len(one.rows)} most extreme of {one.n:,} (worst.csv){same}.")
    return notes


def worst_rows(worst: pd.DataFrame) -> list[dict[str, Any]]:
    """The worst samples as text, for a card without images."""
    if worst.empty:
        return []
    found = []
    for kind, part in worst.groupby("kind", sort=False):
        rows = []
        for _, one in part.groupby("place"):
            first = one.iloc[0]
            largest = one.sort_values("mass", ascending=False, kind="stable").head(LABELS)
            pairs = zip(largest["label_name"], largest["mass"], strict=True)
            said = ", ".join(f"{name} {mass:.3f}" for name, mass in pairs)
            rows.append({"row": int(first["row"]), "id": int(first["sample_id"]), "true": first["true_name"],
                         "value": words.number(float(first["value"])), "rank": f"{first['rank_of_truth']:,}",
                         "largest": said})  # fmt: skip
        found.append({"kind": kind, "measure": part["measure"].iloc[0], "rows": rows})
    return found


def pair_rows(k: int, pairs: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """The most confusable pairs as text."""
    rows = [
        {"true": names[int(row["true"])], "wrong": names[int(row["wrong"])],
         "share": words.number(row["share"]),
         "interval": f"{words.number(row['low'])} to {words.number(row['high'])}",
         "count": f"{int(row['count']):,} of {int(row['n']):,}"}
        for row in pairs.to_dict("records") if row["count"]
    ]  # fmt: skip
    return {"k": k, "rows": rows}


def class_rows(classes: pd.DataFrame, names: list[str], listed: int) -> list[dict[str, str]]:
    """All classes as text, or those with the largest sums."""
    shown = classes if len(classes) <= listed else classes.nlargest(listed, "sum")
    return [
        {"name": names[int(row["class"])], "n": f"{int(row['n']):,}",
         **{name: words.number(row[name]) for name in ("accuracy", "delta", "gamma", "sum", "margin")},
         "sum_interval": f"{words.number(row['sum_low'])} to {words.number(row['sum_high'])}",
         "rival": names[int(row["rival"])] if row["gamma"] else "–"}
        for row in shown.to_dict("records")
    ]  # fmt: skip
