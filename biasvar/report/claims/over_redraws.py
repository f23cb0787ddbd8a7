"""Claims judged over redraws: each part's estimate in every redraw, their mean, and Student's t over them.

A redraw has its own split, teachers and replicas, and their spread holds all three, for the rows that the data set has:
test rows of two redraws overlap, so that the spread does not show what another data set of the same kind would. The
error within a redraw, over its replicas, stands beside it and judges nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.intervals import Interval
from biasvar.analysis.statistics.verdicts import Verdict, decision_p_value, holm_levels, judge
from biasvar.messages import first_few
from biasvar.records import Redraws, Run
from biasvar.report.claims.measurement import Measurement
from biasvar.report.claims.needs import would_decide
from biasvar.report.claims.statements import designs_tried
from biasvar.report.claims.table import COLUMNS, measured_claims, overall, said_of_arms
from biasvar.report.claims.words import EQUIVALENT, FAILS, UNDECIDED, in_words
from biasvar.report.claims.worst_of import unfolded

LEAST_REDRAWS = 5
"""Redraws below which nothing is said of how many would decide: their spread is hardly known."""
NAMED = 3  # redraws named of those that leave a claim undecided


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a claim over redraws.

    Attributes:
        claim: What its test has in common with the claim's other parts: id, sentence, regime, arms, source.
        test: What is compared, in words.
        folders: The redraws that it was measured in.
        estimates, errors: `(N,)`, its estimate in each, and the standard error over replicas within it.
        threshold, direction, unit, fisher: As in `Measurement`; a threshold that depends on data is the redraws' mean.
        excuse: Why it is undecided whatever they say; "" if it is not.
    """

    claim: dict[str, Any]
    test: str
    folders: list[str]
    estimates: np.ndarray
    errors: np.ndarray
    threshold: float
    direction: str
    unit: str
    fisher: bool
    excuse: str

    @property
    def over(self) -> Interval:
        """The mean over redraws with its 95 % t interval, of a correlation by Fisher's z."""
        whole = mean_interval(self._scaled)
        estimate, low, high = (self._back(end) for end in (whole.estimate, whole.low, whole.high))
        return Interval(estimate, low, high, self.stderr, whole.n, whole.level)

    @property
    def stderr(self) -> float:
        """sd / sqrt(N) over redraws, of a correlation that of z carried back: (1 - rho^2) times it."""
        whole = mean_interval(self._scaled)
        return whole.stderr * (1 - math.tanh(whole.estimate) ** 2 if self.fisher else 1.0)

    @property
    def crossed(self) -> Crossed:
        """The mean over redraws, on the scale that it is judged on, with redraws as all that was drawn."""
        whole = mean_interval(self._scaled)
        return combined(whole.estimate, {"redraws": Component(whole.stderr, whole.n - 1, whole.n)})

    @property
    def gap(self) -> float:
        """How far it lies from the threshold that decides, on the scale that it is judged on."""
        effect, smallest, _ = self._judged
        return abs(effect) - smallest if self.direction == "differs" else effect

    @property
    def within(self) -> float:
        """The root mean square of the errors within redraws."""
        return math.sqrt(float(np.mean(self.errors**2)))

    @property
    def p_value(self) -> float:
        """The p value of the decision, whichever way it goes; NaN, which counts as a test, where none is made."""
        if self.excuse:
            return math.nan
        effect, smallest, _ = self._judged
        whole = mean_interval(self._scaled)
        return decision_p_value(effect, whole.stderr, whole.n - 1, direction=self.direction, smallest_effect=smallest)

    def verdict(self, level: float) -> tuple[Verdict, Any]:
        """The verdict at a level, and the way from its scale to that of the unit."""
        effect, smallest, offset = self._judged
        whole = mean_interval(self._scaled)
        found = judge(
            effect, whole.stderr, whole.n - 1, whole.n, direction=self.direction, smallest_effect=smallest, alpha=level
        )
        return found, lambda value: self._back(value + offset)

    @property
    def _scaled(self) -> np.ndarray:
        return np.arctanh(self.estimates) if self.fisher else self.estimates

    def _back(self, value: float) -> float:
        return math.tanh(value) if self.fisher else value

    @property
    def _judged(self) -> tuple[float, float, float]:
        """Effect and smallest effect as `judge` takes them, thresholds on the claimed side of 0; and the offset."""
        effect = float(np.mean(self._scaled))
        threshold = math.atanh(self.threshold) if self.fisher else self.threshold
        return (effect, threshold, 0.0) if self.direction == "differs" else (effect - threshold, 0.0, threshold)


def parts_over_redraws(redraws: Redraws) -> list[Part]:
    """Every part of every claim that the redraws' study tests, in the order of the ledger; see `Part`.

    A part that no redraw could measure has no estimates.
    """
    tests = [list(measured_claims(run)) for run in redraws.runs]
    tried = designs_tried(redraws.runs[0]) if redraws.runs else None
    found: list[Part] = []
    for same in zip(*tests, strict=True):  # one test of one claim, in every redraw
        claim, roles, _, _ = same[0]
        about = {
            "id": claim.id,
            "claim": claim.sentence,
            "source": claim.origin,
            **said_of_arms(redraws.runs[0], claim, roles),
            "teachers": "",  # each redraw has its own
            "designs_tried": None if tried is None else tried.count,
        }
        excuse = _excuse(redraws, [excuse for *_, excuse in same])
        measured = [(run, unfolded(parts)) for run, (_, _, parts, _) in zip(redraws.runs, same, strict=True)]
        found += _parts(about, measured, excuse, redraws)
    return found


def claims_over_redraws(redraws: Redraws) -> pd.DataFrame:
    """The claims of a directory of redraws: one row a part, with the columns of `claims_table` and `stderr_within`.

    `effect`, `stderr`, `df` and the interval at `level` are over redraws, `n` counts them, and all tests form one
    family for Holm's procedure. `stderr_within` is the root mean square of the errors over replicas within a redraw.
    Columns that say something of one run alone are empty.
    """
    parts = parts_over_redraws(redraws)
    measured = [part for part in parts if len(part.estimates)]
    levels = (
        dict(zip(map(id, measured), holm_levels([part.p_value for part in measured]), strict=True)) if measured else {}
    )
    rows = [{**part.claim, **_row(part, levels.get(id(part))), "run": redraws.name} for part in parts]
    verdicts: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        verdicts.setdefault((row["id"], row["arms"]), set()).add(row["verdict"])
    for row in rows:
        row["overall"] = overall(verdicts[row["id"], row["arms"]])
    return pd.DataFrame(rows, columns=[*COLUMNS, "stderr_within"])


def _excuse(redraws: Redraws, excuses: Sequence[str]) -> str:
    """Why a test is undecided, by the excuse of each redraw that was begun: counted, and the first of them named."""
    said = [f"{run.directory.name}: {text}" for run, text in zip(redraws.runs, excuses, strict=True) if text]
    said += [f"{folder}: not trained yet" for folder in redraws.missing]
    if not said:
        return ""
    return f"left undecided by {len(said)} of {redraws.count} redraws: {first_few(said, NAMED, separator='; ')}"


def _parts(
    about: dict[str, Any], measured: list[tuple[Run, list[Measurement]]], excuse: str, redraws: Redraws
) -> list[Part]:
    count = max(len(parts) for _, parts in measured)
    if not count:
        return [Part(about, "", [], np.empty(0), np.empty(0), math.nan, "", "", False, excuse)]
    found = []
    for place in range(count):
        reasons = [parts[place].undecided if len(parts) > place else "not measured" for _, parts in measured]
        there = [(run.directory.name, parts[place]) for run, parts in measured if len(parts) > place]
        part = there[0][1]
        found.append(
            Part(
                about, f"{common_words([one.test for _, one in there])}, over {_drawn(redraws)}",
                [folder for folder, _ in there], np.array([one.row.estimate for _, one in there]),
                np.array([one.row.stderr for _, one in there]), float(np.mean([one.threshold for _, one in there])),
                part.direction, part.unit, part.fisher,
                excuse or _excuse(redraws, reasons),
            )
        )  # fmt: skip
    return found


_OVER = re.compile(r" \([^()]*(?:n counts|the error is)[^()]*\)")
_NUMBER = re.compile(r"[+−]?\d[\d,]*(?:\.\d+)?")


def common_words(texts: Sequence[str]) -> str:
    """What the tests of several redraws say in common: numbers that differ are given as their mean.

    Words on what the error within a redraw is over are left out; of texts that differ in more the first clause stays.

    >>> common_words(["share, A − B; over all epochs −0.02", "share, A − B; over all epochs −0.04"])
    'share, A − B; over all epochs −0.03 (mean over redraws)'
    """
    texts = [_OVER.sub("", text) for text in texts]
    if len(set(texts)) == 1:
        return texts[0]
    if len({_NUMBER.sub("#", text) for text in texts}) > 1:
        return re.split(r" \(|; ", texts[0])[0]
    numbers = [_NUMBER.findall(text) for text in texts]
    means = iter([_mean_as(column) for column in zip(*numbers, strict=True)])
    return _NUMBER.sub(lambda match: next(means), texts[0])


def _mean_as(numbers: Sequence[str]) -> str:
    """The mean of numbers written alike, in their form."""
    if len(set(numbers)) == 1:
        return numbers[0]
    places = max(len(number.partition(".")[2]) for number in numbers)
    sign = "+" if any(number[0] in "+−" for number in numbers) else ""
    mean = np.mean([float(number.replace("−", "-").replace(",", "")) for number in numbers])
    return f"{mean:{sign}.{places}f} (mean over redraws)".replace("-", "−")


def _drawn(redraws: Redraws) -> str:
    return f"{redraws.count} redrawn {redrawn_in_words(redraws)}"


def redrawn_in_words(redraws: Redraws) -> str:
    """What the redraws of a study draw anew: "splits, teachers and replicas"."""
    splits = "training rows (the test rows stay)" if same_test_rows(redraws) else "splits"
    taught = bool(redraws.runs and redraws.runs[0].manifest.get("teachers"))
    return f"{splits}, teachers and replicas" if taught else f"{splits} and replicas"


def same_test_rows(redraws: Redraws) -> bool:
    """True if all redraws have the same test rows: all of an official test split."""
    held = [frozenset(run.samples.loc[run.samples["split"] == "test", "sample_id"]) for run in redraws.runs]
    return len(held) > 1 and len(set(held)) == 1


def _row(part: Part, level: float | None) -> dict[str, Any]:
    if level is None:
        return {"verdict": UNDECIDED, "said": UNDECIDED, "detail": part.excuse}
    found, scale = part.verdict(level)
    outcome = UNDECIDED if part.excuse else found.outcome
    return {
        "test": part.test, "effect": part.over.estimate, "low": scale(found.effect.low),
        "high": scale(found.effect.high), "stderr": part.stderr, "stderr_within": part.within,
        "df": len(part.estimates) - 1, "n": len(part.estimates), "threshold": part.threshold,
        "direction": part.direction, "unit": part.unit, "level": 1 - level, "verdict": outcome,
        "said": in_words(outcome, "over redraws of these rows"),
        "detail": "; ".join(_details(part, outcome, found, scale)),
    }  # fmt: skip


def _details(part: Part, outcome: str, found: Verdict, scale: Any) -> Iterator[str]:
    """What an undecided part would take, and the error within a redraw."""
    if part.excuse:
        yield part.excuse
    elif math.isnan(part.stderr):
        yield "the effect could not be computed in every redraw"
    elif outcome == UNDECIDED:
        if len(part.estimates) < LEAST_REDRAWS:
            yield f"too few redraws to say how many would decide: {LEAST_REDRAWS} or more can"
            return
        yield f"smallest detectable effect {scale(found.detectable):.3g}".replace("-", "−")
        yield would_decide(part.gap, part.crossed, found.effect.level)
    elif outcome == FAILS and part.claim["id"] in EQUIVALENT:
        yield EQUIVALENT[part.claim["id"]]
    if math.isfinite(part.within):
        yield f"within a redraw ±{part.within:.2g} over its replicas"
