"""Claims that no single data set decides (L2): one list of soft labels on several data sets, judged over data sets.

The claim speaks of data and of soft labels in general. Each data set gives one estimate, by the run's own measure, and
their mean has the error of a mean of so many values, in which the errors within data sets are. What is not in it is the
error over soft labels, since all data sets have the same ones: it is added.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Component, combined
from biasvar.records import Run
from biasvar.report.claims.measurement import Measurement, Roles
from biasvar.report.claims.soft_label_measures import PREDICTS
from biasvar.report.statistics.estimates import measured
from biasvar.study.ledger.base import DATA_SETS, Claim

OVER_DATA = {"L2": PREDICTS}
"""The claims that are judged over data sets, and what their parts compare, in words."""


@dataclass(frozen=True)
class Tested:
    """One test of a claim in one run, with its parts; `excuse` says why it is undecided, "" if it is not."""

    run: Run
    claim: Claim
    roles: Roles
    parts: list[Measurement]
    excuse: str


@dataclass(frozen=True)
class AcrossRuns:
    """One test of a claim over the data sets of several runs; the roles are those of the first."""

    claim: Claim
    runs: tuple[Run, ...]
    roles: Roles
    parts: list[Measurement]

    @property
    def name(self) -> str:
        """The names of the runs together."""
        return "+".join(dict.fromkeys(run.name for run in self.runs))


def across_runs(tests: Iterable[Tested]) -> list[AcrossRuns]:
    """Tests of the claims of `OVER_DATA` over data sets, one for each list of soft labels tried on three or more.

    Runs count if they measured the claim and nothing leaves it undecided but that they are one data set. Several runs
    on one data set count as one, by the mean of their estimates.
    """
    groups: dict[tuple[str, str], list[Tested]] = {}
    for test in tests:
        if test.claim.id in OVER_DATA and test.parts and not test.excuse:
            groups.setdefault((test.claim.id, _list_of_kinds(test.run, test.roles)), []).append(test)
    return [
        AcrossRuns(
            group[0].claim,
            tuple(test.run for test in group),
            group[0].roles,
            [_stratified(group, place) for place in range(len(group[0].parts))],
        )
        for group in groups.values()
        if len(set(_data_sets([test.run for test in group]))) >= DATA_SETS
    ]


def _stratified(group: Sequence[Tested], place: int) -> Measurement:
    """One part over data sets: the mean of their estimates, with its errors over data sets and over soft labels.

    The latter is the spread of the mean over bootstrap draws, which take the same soft labels in every data set.
    """
    first = group[0].parts[place]
    strata: dict[str, list[Measurement]] = {}
    for one, name in zip(group, _data_sets([one.run for one in group]), strict=True):
        strata.setdefault(name, []).append(one.parts[place])
    values = [float(np.mean([part.row.estimate for part in parts])) for parts in strata.values()]
    draws = [np.mean([part.draws for part in parts if part.draws is not None], axis=0) for parts in strata.values()]
    kinds = float(np.nanstd(np.mean(draws, axis=0), ddof=1))
    interval, df = mean_interval(values), len(strata) - 1
    errors = {
        "data sets": Component(interval.stderr, df, len(strata)),
        "soft labels": Component(kinds, math.inf, first.crossed.components["soft labels"].n),
    }
    told = ", ".join(f"{name} {value:+.2f}" for name, value in zip(strata, values, strict=True)).replace("-", "−")
    test = (
        f"{OVER_DATA[group[0].claim.id][place]}, mean over {len(strata)} data sets ({told}; n counts data sets; the "
        f"error is over them, {interval.stderr:.2g}, and over the {first.n} soft labels that they share, {kinds:.2g})"
    )
    row = measured(
        group[0].run, list(group[0].roles["arms"]), interval, df, quantity=first.row.quantity,
        n_teachers=len(strata), crossed=combined(interval.estimate, errors),
    )  # fmt: skip
    return replace(first, test=test, row=row, draws=None, undecided="")


def _list_of_kinds(run: Run, roles: Roles) -> str:
    """What two runs share that tried the same soft labels: by arm its definition in the study, and how it is fitted."""
    said = (run.study or {}).get("soft_labels") or {}
    kinds = {}
    for arm in roles["arms"]:
        entry = run.entry(arm)
        definition = {key: value for key, value in (said.get(entry.soft_label) or {}).items() if key != "name"}
        kinds[arm] = [definition, entry.setting("measure"), entry.setting("k")]
    return json.dumps(kinds, sort_keys=True, default=str)


def _data_sets(runs: Sequence[Run]) -> list[str]:
    """The name of each run's data set, or the file that it is; the same for two files with the same data in them."""
    names: list[str] = []
    first: dict[str, str] = {}
    for run in runs:
        data = run.manifest.get("data") or (run.study or {}).get("data") or {}
        name = str(data.get("name") or data.get("path") or run.name)
        names.append(first.setdefault(str(data.get("fingerprint") or name), name))
    return names
