"""The rank correlation over teachers of the share of regularization samples with the student's accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from biasvar.analysis import Interval, rank_correlation
from biasvar.records import Run
from biasvar.records.arms import hashable
from biasvar.report.arms.roles import failed_arms
from biasvar.report.statistics.estimates import HELD_OUT, final_metrics
from biasvar.report.statistics.shares import late_share, mean_share, shares_by_epoch

SHARES = ("share_mean", "share_late")
"""Share of regularization samples in training: over all epochs (the area under it), and in the last tenth of them."""

COLUMNS = ["arm", "teacher", "replica", *SHARES, "accuracy", "split", "n_epochs", "last_epoch"]
LEAST_TEACHERS = 4


def compared_arms(run: Run) -> list[str]:
    """The distillation arms that differ only in the teacher: those of claim W5, else found by their settings.

    Found: the largest set of arms whose method distils, without stored weights, another arm's scale or permuted
    classes, that share all settings but the teacher, the student's network and the learning rate among them, and whose
    teachers all differ (the first arm of each teacher). Arms with failed replicas are left out; empty below four
    teachers.
    """
    failed = failed_arms(run)
    claims = (run.manifest.get("claims") or {}).get("W5") or []
    named = [arm for entry in claims for arm in entry.get("arms", []) if arm in run.arms and arm not in failed]
    if len(named) >= LEAST_TEACHERS:
        return list(dict.fromkeys(named))
    groups: dict[Any, dict[str, str]] = {}
    for arm in run.arms:
        entry = run.entry(arm)
        plain = not any(entry.setting(key) for key in ("weights_from", "alpha_from", "permute"))
        if arm in failed or entry.plays != "distillation" or not plain or not entry.teacher:
            continue
        shared = {name: value for name, value in entry.settings.items() if name != "teacher"}
        groups.setdefault(hashable(shared), {}).setdefault(entry.teacher, arm)
    largest = max(groups.values(), key=len, default={})
    return list(largest.values()) if len(largest) >= LEAST_TEACHERS else []


def shares_and_accuracy(run: Run, arms: list[str], criterion: str = "opposing") -> pd.DataFrame:
    """One row per arm and replica: share of regularization samples in the training pass, and final accuracy.

    Columns `COLUMNS`. Shares are of the rows drawn, before each update; accuracy is on the test split at the last
    epoch (validation where there is no test split); `n_epochs` counts the epochs recorded. Empty where the run's
    metrics hold no such shares.
    """
    there = [arm for arm in arms if not shares_by_epoch(run, arm, criterion).empty]
    finals = {arm: final for arm in arms if (final := final_metrics(run, arm)) is not None}
    split = next((name for name in HELD_OUT if any((final["split"] == name).all() for final in finals.values())), None)
    parts = []
    for arm in there:
        if split is None or arm not in finals or not (finals[arm]["split"] == split).all():
            continue
        epochs = shares_by_epoch(run, arm, criterion).index
        part = pd.DataFrame(
            {
                "share_mean": mean_share(run, arm, criterion),
                "share_late": late_share(run, arm, criterion),
                "accuracy": finals[arm]["accuracy"],
            }
        ).dropna()
        part = part.rename_axis("replica").reset_index().assign(arm=arm, teacher=str(run.entry(arm).teacher))
        parts.append(part.assign(split=split, n_epochs=len(epochs), last_epoch=int(epochs.max())))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts)[COLUMNS].reset_index(drop=True)


def association(frame: pd.DataFrame, share: str = "share_mean") -> Interval:
    """Spearman's correlation of a share with accuracy, each averaged over a teacher's replicas; n counts teachers."""
    return rank_correlation(frame[share], frame["accuracy"], clusters=frame["teacher"].to_numpy(dtype=str))
