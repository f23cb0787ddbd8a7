"""The samples of an arm with the strongest terms, kept while the table of all samples passes by."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd

from biasvar.records import Run
from biasvar.report.statistics import own_samples

LISTED = 8
"""Samples of a list."""

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


@lru_cache(maxsize=8)
def strongest_of(run: Run, arm: str) -> Strongest:
    """The strongest of all samples of an arm."""
    found = Strongest()
    for frame in own_samples.tables(run, arm):
        found.add(frame)
    return found
