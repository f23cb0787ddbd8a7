"""How accurate the teachers of arms are themselves, to stand beside what is said of the students that they teach."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from biasvar.analysis.statistics.crossed import Component, Crossed, combined, crossed_mean
from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.records.schema import PREDICTION_FOLDERS, teacher_path
from biasvar.report.arms.teachers import teacher_label, teacher_of

MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class OwnAccuracy:
    """The share of test rows that a teacher has right.

    Attributes:
        teacher: Its name in the study; "its own" of teachers that train along with an arm's students.
        crossed: The mean over its networks with its error over test rows, and over networks where there are several.
        n_samples, n_networks: What it rests on.
    """

    teacher: str
    crossed: Crossed
    n_samples: int
    n_networks: int

    @property
    def value(self) -> float:
        """The accuracy."""
        return self.crossed.estimate

    @property
    def stderr(self) -> float:
        """Its standard error over all that was drawn."""
        return self.crossed.stderr

    @property
    def in_words(self) -> str:
        """The accuracy with its error and counts: "0.912 ± 0.004, n = 1,000, 3 networks"."""
        several = f", {self.n_networks} networks" if self.n_networks > 1 else ""
        return f"{self.value:.3f} ± {self.stderr:.3f}, n = {self.n_samples:,}{several}"


@lru_cache(maxsize=1024)
def accuracy_of_teacher(run: Run, name: str) -> OwnAccuracy | None:
    """The test accuracy of one of a run's teachers, from its logits; None where the run does not say.

    Where the logits are not kept it is the accuracy that the manifest tells, as of one network, with a binomial error.
    """
    test = run.samples[run.samples["split"] == "test"]
    if teacher_path(run.directory, name).is_file():
        kept = run.teacher(name)
        place = np.isin(kept.sample_ids, test["sample_id"])
        labels = test.set_index("sample_id").loc[kept.sample_ids[place], "label"].to_numpy()
        return _measured(name, kept.logits[..., place, :].argmax(-1) == labels)
    told = ((run.manifest.get("teachers") or {}).get(name) or {}).get("accuracy_test")
    n = len(test)
    if told is None or n < 2:
        return None
    error = math.sqrt(max(told * (1.0 - told), 0.0) / n)
    return OwnAccuracy(name, combined(float(told), {"rows": Component(error, n - 1, n)}), n, 1)


@lru_cache(maxsize=1024)
def accuracy_of_its_teacher(run: Run, arm: str) -> OwnAccuracy | None:
    """The test accuracy of the teacher that an arm learns from; None for an arm without one.

    Of teachers that train along it is that of their answers after the last epoch, where each replica's are kept apart.
    """
    name = teacher_of(run, arm)
    if name is not None:
        return accuracy_of_teacher(run, name)
    there = run.directory / PREDICTION_FOLDERS["teacher"] / f"arm={arm}" / "split=test"
    if not run.arm(arm).get("own_teacher") or not there.is_dir():
        return None
    kept = run.predictions(arm, of="teacher")
    if (kept.counts != 1).any():
        return None  # the mean of several networks' answers is none of theirs
    return _measured("its own", kept.mean_log_probs.argmax(-1) == kept.labels)


def own_accuracies(run: Run, arms: Iterable[str]) -> str:
    """The accuracies of the teachers of some arms, each once: "0.912 ± 0.004, n = 1,000 (LS teacher)"; or ""."""
    found = [own for arm in arms if (own := accuracy_of_its_teacher(run, arm)) is not None]
    said = dict.fromkeys(f"{own.in_words} ({teacher_label(run, own.teacher)})" for own in found)
    return first_few(said, MOST_NAMED, separator="; ")


def _measured(name: str, right: np.ndarray) -> OwnAccuracy | None:
    """From who is right about which row, (N,) or (T, N)."""
    table = np.atleast_2d(right.astype(np.float64))
    networks, rows = table.shape
    if rows < 2:
        return None
    crossed = crossed_mean(table, ("teachers", "rows")) if networks > 1 else crossed_mean(table[0], ("rows",))
    return OwnAccuracy(name, crossed, rows, networks)
