"""The learning rate of every family of arms: given, or tried on the validation split."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from biasvar.progress import Progress
from biasvar.records import RunWriter
from biasvar.training.completeness import whole_table
from biasvar.training.context import StudyContext
from biasvar.training.cost import cost_of_arm
from biasvar.training.reuse import identity_of, tuned_elsewhere
from biasvar.training.tasks import Task, Work
from biasvar.training.workers import tune_rate


def learning_rates(writer: RunWriter, context: StudyContext, working: Work, progress: Progress) -> dict[str, float]:
    """The rate of each family: given, or the best of the grid on the validation split by what the study says."""
    study, settings = context.study, context.study.learning_rate
    if settings.value is not None:
        return {arm.family: settings.value for arm in study.arms.values()}
    if not whole_table(tuning_path(writer)):
        tried = {
            family: [*(identity_of(context, arm, rate) for rate in settings.grid), str(settings.replicas)]
            for family, arm in settings.families.items()
        }
        frames = {family: tuned_elsewhere(context, family, identities) for family, identities in tried.items()}
        tasks = {
            (family, arm, rate): Task(
                tune_rate,
                (arm, rate, settings.replicas),
                f"{arm} at learning rate {rate:g}",
                cost_of_tuning(context, arm),
            )
            for family, arm in settings.families.items()
            for rate in settings.grid
            if frames[family] is None
        }
        spared = [arm for family, arm in settings.families.items() if frames[family] is not None]
        cost = sum(cost_of_tuning(context, arm) for arm in spared)
        progress.expect(-len(settings.grid) * cost, -len(settings.grid) * len(spared))
        results = dict(working(tasks))
        keys = ("family", "arm", "learning_rate")
        found = [pd.DataFrame({**dict(zip(keys, key, strict=True)), **results[key]}) for key in tasks]
        frame = pd.concat([*found, *(frame for frame in frames.values() if frame is not None)], ignore_index=True)
        means = frame.groupby(["family", "learning_rate"])[["accuracy", "nll"]].mean().reset_index()
        by, ascending = (["nll"], [True]) if settings.by == "nll" else (["accuracy", "nll"], [False, True])
        order = means.sort_values(by, ascending=ascending)
        best = order.groupby("family").first()["learning_rate"]
        writer.update_manifest(tuning=tried)  # before the file: once that is there, nothing of this is done again
        writer.tuning(frame.assign(chosen=frame["learning_rate"] == frame["family"].map(best)))
    chosen = pd.read_parquet(tuning_path(writer)).query("chosen")
    return dict(zip(chosen["family"], chosen["learning_rate"].astype(float), strict=True))


def cost_of_tuning(context: StudyContext, arm: str) -> float:
    """What it costs to try one learning rate on an arm."""
    return cost_of_arm(context, arm, context.study.learning_rate.replicas, recorded=False)


def tuning_path(writer: RunWriter) -> Path:
    return writer.directory / "tuning.parquet"
