"""What each arm was given and what it took: settings tried, gradient steps, seconds; and whether it had converged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import Interval
from biasvar.records import ArmEntry, Run
from biasvar.report.arms.teachers import teacher_count, teacher_of
from biasvar.report.statistics import stored

CONVERGED = 0.005
"""An arm has converged if its validation accuracy rises by less in the last quarter of its epochs."""

TIMED = {"processor_seconds": "processor", "seconds": "clock"}

COLUMNS = [
    "run", "arm", "label", "loss", "role", "regime", "family", "learning_rate", "settings_tried", "tuning_replicas",
    "epochs", "rows", "steps", "timed", "seconds", "search_seconds", "teacher", "teacher_networks", "teacher_seconds",
    "rise", "rise_stderr", "rise_low", "rise_high", "rise_from_epoch", "rise_replicas", "converged",
]  # fmt: skip


@dataclass(frozen=True)
class Rise:
    """How far the mean validation accuracy of an arm rises from an epoch to the last; interval over replicas."""

    interval: Interval
    since: int

    @property
    def converged(self) -> str:
        """ "yes" or "no" by the estimate; and on which other side of `CONVERGED` its interval ends, if on another."""
        limit = f"{CONVERGED:g}"
        if self.interval.estimate < CONVERGED:
            return "yes" if self.interval.high < CONVERGED else f"yes (interval reaches above {limit})"
        return "no" if self.interval.low > CONVERGED else f"no (interval reaches below {limit})"


@lru_cache(maxsize=32)
def budgets(run: Run) -> pd.DataFrame:
    """One row an arm of a study with the columns `COLUMNS`; without rows for a run of another kind.

    `seconds` are of one replica, on average; of the arm's own training alone, in which its teacher's answers to images
    are counted and its teacher's training is not. `search_seconds` are of the arm whose layer weights it takes over,
    `teacher_seconds` of one network of its teacher, or of one of the students that teach it. NaN for what a run does
    not say, and for arms that were taken over from another run. All are of the processor (`timed` is "processor")
    where a run trained on CPUs, by one thread each, and noted that time of everything; else by the clock ("clock").
    """
    arms = run.arms if run.manifest.get("kind") == "study" else []
    return pd.DataFrame([_budget(run, arm) for arm in arms], columns=COLUMNS)


def rise(run: Run, arm: str) -> Rise | str:
    """The rise of validation accuracy over the last quarter of the epochs, or why it is not known.

    From the last evaluation that is not after three quarters of the epochs, and not before their half.
    """
    frame = stored.metrics_of(run, arm, "validation", "clean")
    table = frame.pivot(index="epoch", columns="replica", values="accuracy")
    epochs = run.arm(arm).get("epochs") or (int(table.index.max()) if len(table) else 0)
    since = [int(epoch) for epoch in table.index if epochs / 2 <= epoch <= 0.75 * epochs]
    if not since or epochs not in table.index:
        every = (run.study or {}).get("evaluate_every")
        return f"not known, evaluated every {every} epochs" if every and len(table) else "not known, never evaluated"
    return Rise(mean_interval((table.loc[epochs] - table.loc[since[-1]]).to_numpy(dtype=float)), since[-1])


def _budget(run: Run, arm: str) -> dict[str, Any]:
    entry, said = run.entry(arm), run.arm(arm)
    settings, replicas = _search(run, entry.family)
    rows, steps = _steps(run, arm)
    teacher = teacher_of(run, arm)
    found = _all_failed(run, arm) or rise(run, arm)
    row = {
        "run": run.name, "arm": arm, "label": entry.label, "loss": entry.loss, "role": entry.role,
        "regime": entry.regime, "family": entry.family, "learning_rate": entry.learning_rate,
        "settings_tried": settings, "tuning_replicas": replicas, "epochs": said.get("epochs"), "rows": rows,
        "steps": steps, "timed": TIMED[_clock(run)], "seconds": _seconds(run, arm),
        "search_seconds": math.nan if (search := entry.setting("search")) is None else _seconds(run, str(search)),
        "teacher": teacher or "",
        "teacher_networks": 0 if teacher is None else _networks(run, teacher),
        "teacher_seconds": math.nan if teacher is None else _teacher_seconds(run, teacher),
    }  # fmt: skip
    if isinstance(found, str):
        return {**row, "converged": found}
    one = found.interval
    numbers = {"rise": one.estimate, "rise_stderr": one.stderr, "rise_low": one.low, "rise_high": one.high}
    converged = f"{_reasons(entry)}, {len(entry.failed)} of {entry.replicas}" if entry.failed else found.converged
    return {**row, **numbers, "rise_from_epoch": found.since, "rise_replicas": one.n, "converged": converged}


def _all_failed(run: Run, arm: str) -> str:
    """Why all replicas of an arm failed, such as "at chance", where they did: it has not converged to anything."""
    entry = run.entry(arm)
    return "" if not entry.replicas or len(entry.failed) < entry.replicas else _reasons(entry)


def _reasons(entry: ArmEntry) -> str:
    return " or ".join(dict.fromkeys(item.reason for item in entry.failed))


def _search(run: Run, family: str | None) -> tuple[int, int]:
    """How many settings a family's were chosen among on validation rows, and on how many replicas each."""
    tuning = run.tuning
    mine = None if tuning is None else tuning[tuning["family"] == family]
    if mine is None or mine.empty:
        return 0, 0
    return int(mine["learning_rate"].nunique()), int(mine["replica"].nunique())


def _steps(run: Run, arm: str) -> tuple[float, float]:
    """The rows that a replica sees in an epoch, and its gradient steps in all epochs."""
    seen = stored.metrics_of(run, arm, "train", "augmented")["n"]
    rows = float(seen.max()) if len(seen) else math.nan
    batch = ((run.study or {}).get("schedule") or {}).get("batch_size")
    epochs = run.arm(arm).get("epochs")
    return rows, math.ceil(rows / batch) * epochs if batch and epochs and rows > 0 else math.nan


@lru_cache(maxsize=32)
def _clock(run: Run) -> str:
    """The key of the seconds that everything in a run can be compared by: a key of `TIMED`."""
    manifest = run.manifest
    one_thread = str(manifest.get("device") or "").startswith("cpu") and manifest.get("threads") == 1
    teachers = [entry for entry in (manifest.get("teachers") or {}).values() if entry.get("seconds")]
    known = all(entry.get("processor_seconds") for entry in teachers) and all(
        math.isfinite(_of_processor(run, arm)) for arm in run.arms if not run.arm(arm).get("shared_from")
    )
    return "processor_seconds" if one_thread and known else "seconds"


def _of_processor(run: Run, arm: str) -> float:
    """Seconds of the processor of one replica, over the groups that were trained at one go; NaN if none was."""
    groups, replicas = run.arm(arm).get("group_processor_seconds") or [], run.arm(arm).get("replicas")
    known = [seconds for seconds in groups if seconds is not None]
    return sum(known) / len(known) * len(groups) / replicas if known and replicas else math.nan


def _seconds(run: Run, arm: str) -> float:
    """Seconds of training of one replica; NaN where some were taken over, which took none."""
    entry = run.arm(arm)
    if entry.get("shared_from"):
        return math.nan
    if _clock(run) == "processor_seconds":
        return _of_processor(run, arm)
    seconds, replicas = entry.get("seconds"), entry.get("replicas")
    return seconds / replicas if seconds and replicas else math.nan


def _networks(run: Run, teacher: str) -> int:
    entry = (run.manifest.get("teachers") or {}).get(teacher) or {}
    return int(run.manifest["replicas"]) if entry.get("arm") else teacher_count(run, teacher)


def _teacher_seconds(run: Run, teacher: str) -> float:
    """Seconds of training of one network of a teacher; of an ensemble those of a network of each member."""
    entry = (run.manifest.get("teachers") or {}).get(teacher) or {}
    if entry.get("mean_of"):
        return sum(_teacher_seconds(run, member) for member in entry["mean_of"])
    if entry.get("arm"):
        return _seconds(run, str(entry["arm"]))
    seconds = entry.get(_clock(run))
    return seconds / teacher_count(run, teacher) if seconds else math.nan
