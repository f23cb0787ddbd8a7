"""Changes of bias and variance over copies of teachers: what holds for teachers like these, not for these alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from biasvar.analysis.decomposition.crossing import crossed_total
from biasvar.analysis.decomposition.result import Change, paired_change
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.records import Run
from biasvar.report.arms.teachers import groups_by_teacher
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import change
from biasvar.report.statistics.crossing import turns_of


def change_over_teachers(
    run: Run, treatment: str, control: str, term: str, split: str, membership: str, rows: np.ndarray | None = None
) -> Crossed | None:
    """The mean change of a term with its error over copies of teachers and rows; None where no copies are shared.

    Corrected by the jackknife over copies, whose replicas are left out together. Where every replica met every copy
    (`crossed: true`) the change is the mean over all turns, and replicas are a factor of their own. `rows` bool (N,)
    are those of the stored predictions that count, all by default.
    """
    changes = changes_by_teacher(run, treatment, control, split, membership)
    if changes is None:
        return None
    by_copy, by_replica, copies = changes
    found = crossed_total(by_copy, term, teachers=list(range(copies)), rows=rows)
    if by_replica is None:
        return found
    met = crossed_total(by_replica, term, rows=rows)
    parts: dict[str, Component] = {**found.components, "replicas": met.components["replicas"]}
    whole = combined(found.estimate, parts)
    return replace(whole, df=min(whole.df, copies - 1))


@lru_cache(maxsize=64)
def changes_by_teacher(
    run: Run, treatment: str, control: str, split: str, membership: str
) -> tuple[Change, Change | None, int] | None:
    """The change with copies as groups, where all replicas met all copies also by replica, and how many copies."""
    copies = groups_by_teacher(run, [treatment, control])
    if copies < 2:
        return None
    turns = turns_of(run, [treatment, control])
    pairs = list(zip(turns[treatment], turns[control], strict=True)) if turns else [(treatment, control)]
    by_copy = [_by_copy(run, a, b, split, membership, copies, shift) for shift, (a, b) in enumerate(pairs)]
    if any(one is None for one in by_copy):
        return None
    mean = _mean([one for one in by_copy if one is not None])
    if not turns:
        return mean, None, copies
    by_replica = [change(run, a, b, split=split, membership=membership) for a, b in pairs]
    if any(one is None for one in by_replica):
        return None
    return mean, _mean([one.change for one in by_replica if one is not None]), copies


def _by_copy(
    run: Run, treatment: str, control: str, split: str, membership: str, copies: int, shift: int
) -> Change | None:
    """The change with group t the replicas that learned from copy t: r with (r + shift) mod T = t."""
    terms = []
    for arm in (treatment, control):
        if not (run.directory / "predictions" / f"arm={arm}" / f"split={split}" / f"membership={membership}").is_dir():
            return None
        means, labels, _ = run.stored_means(arm, split, membership, None)
        try:
            target = stored.truth(run, means.sample_ids, labels)
            plain = means.decomposition(target, "cross_entropy", teachers=copies)
        except ValueError:  # groups of several replicas that mix copies
            return None
        terms.append(plain.corrected("jackknife"))
    if terms[0].bias.shape != terms[1].bias.shape:
        return None
    found = paired_change(terms[0], terms[1])
    order = (np.arange(copies) - shift) % copies
    moved = {
        name: None if (value := getattr(found, name)) is None else value[order]
        for name in ("group_counts", "deleted_bias", "deleted_variance")
    }
    return replace(found, **moved)


def _mean(changes: list[Change]) -> Change:
    """The mean of changes on the same rows, with the same groups."""

    def mean(name: str) -> Any:
        return np.mean([getattr(one, name) for one in changes], axis=0)

    names = ("bias", "variance", "deleted_bias", "deleted_variance", "counts", "group_counts")
    return replace(changes[0], **{name: mean(name) for name in names})
