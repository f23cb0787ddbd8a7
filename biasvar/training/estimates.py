"""Estimates of what a whole study takes, from a rehearsal: time, memory and disk of every teacher and arm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from biasvar.study.arm import Predictions
from biasvar.study.feature_arms import FeatureArm
from biasvar.study.schema import JACKKNIFE_GROUPS
from biasvar.study.views import ATTACKS
from biasvar.training.aggregation import KEPT, bytes_of_features
from biasvar.training.attacks import STEPS
from biasvar.training.bookkeeping import NOTHING, Bookkeeping, Cost, bytes_of_draws
from biasvar.training.context import StudyContext
from biasvar.training.feature_groups import feature_groups
from biasvar.training.rehearsal import Rehearsal, Rehearsed
from biasvar.training.replicas import groups_of
from biasvar.training.small_study import rows_of_step
from biasvar.training.teachers import teacher_groups, teacher_rows

ATTACK_PASSES = {"fgsm": 4, "pgd": 3 * STEPS + 1}  # a gradient is three passes
TABLE_BYTES = 25  # of a row of a selection's scores


@dataclass(frozen=True)
class Estimate:
    """What a teacher, the tuning of a rate, or an arm takes.

    Attributes:
        what: "teacher NAME", "rate of NAME" or "arm NAME".
        network: In words.
        parameters: Of one network, with its buffers.
        step: Seconds of a training step of those that train together, the mean over its epochs.
        steps: Of all of them.
        seconds: Of all of it.
        memory: Bytes at the highest.
        disk: Bytes that stay, by what they are of.
        passing: Bytes of files that go when it is done.
        cut: Rows of the steps that were taken and rows of a whole batch, where these differ.
        timed: How many steps were timed.
    """

    what: str
    network: str = ""
    parameters: int = 0
    step: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    memory: float = 0.0
    disk: dict[str, float] = field(default_factory=dict)
    passing: float = 0.0
    cut: tuple[int, int] | None = None
    timed: int = 0

    @property
    def bytes(self) -> float:
        return sum(self.disk.values())


def estimates(rehearsal: Rehearsal, books: Bookkeeping) -> list[Estimate]:
    """Of every teacher, every rate to tune, every arm, and of the tables that all share, in the order of a run."""
    context = rehearsal.context
    study = context.study
    found = [_teacher(rehearsal, books, name) for name in study.teachers]
    found += [_tuning(rehearsal, books, arm) for arm in study.learning_rate.families.values()]
    found += [_arm(rehearsal, books, name) for name in study.order()]
    soft = 4.0 * len(context.blocks["student"]) * context.dataset.num_classes * len(study.soft_labels)
    disk = {"samples and draws": bytes_of_draws(context)} | ({"soft labels": soft} if soft else {})
    return [*found, Estimate("samples and draws", disk=disk)]


def data_bytes(context: StudyContext) -> float:
    """Bytes of the images, or features, that a training process holds; 0 of streamed ones."""
    dataset = context.dataset
    if context.study.data.streamed is not None:
        return 0.0
    numbers = float(np.prod(dataset.images.shape, dtype=float))
    return numbers * (4 if set(context.study.models) == {"mlp"} else 1)


def _teacher(rehearsal: Rehearsal, books: Bookkeeping, name: str) -> Estimate:
    context, found = rehearsal.context, rehearsal.teachers.get(name)
    study = context.study
    teacher, count, used = study.teachers[name], study.teacher_count(name), len(context.used_ids)
    logits = books.teacher(used) * count
    tables = 4.0 * used * context.dataset.num_classes
    if found is None:  # an ensemble, or given: it is asked, and its answers are kept
        answer = sum(
            rehearsal.teachers[member].answer for member in teacher.mean_of or () if member in rehearsal.teachers
        )
        return Estimate(
            f"teacher {name}", teacher.regime, seconds=logits.seconds + count * used * answer, memory=tables,
            disk={"teachers' logits": logits.bytes},
        )  # fmt: skip
    groups = teacher_groups(context, name)
    rows = teacher_rows(context, name, [0]).ids.shape[1]
    ((kind, step),) = found.seconds.items()
    steps = kind.count * math.ceil(rows / teacher.batch_size)
    a_row = found.answer / found.replicas
    asking = count * used * a_row
    if teacher.follow:
        asking += count * kind.count * (used - len(context.blocks["reserved"])) * a_row
    network = " ".join([teacher.model, *(["-".join(map(str, teacher.hidden))] if teacher.model == "mlp" else [])])
    return Estimate(
        f"teacher {name}", network, found.parameters, step, steps * len(groups),
        steps * len(groups) * step + asking + logits.seconds, found.peak + tables,
        {"weights": float(found.bytes * len(groups)), "teachers' logits": logits.bytes},
        cut=(found.rows, found.batch) if found.cut else None, timed=found.timed,
    )  # fmt: skip


def _tuning(rehearsal: Rehearsal, books: Bookkeeping, name: str) -> Estimate:
    context, found = rehearsal.context, rehearsal.arms[name]
    rate = context.study.learning_rate
    groups = groups_of(context.study.backend, range(rate.replicas))
    share = len(groups[0]) / found.replicas
    step, steps = _plain_step(found) * share, _steps(context, name) * len(groups) * len(rate.grid)
    rows = len(context.blocks["validation"])
    judged = books.metrics(len(groups[0]), rows).seconds + rows * found.answer * share
    return Estimate(
        f"rate of {name}", _network(context, name), found.parameters, step, steps,
        steps * step + len(groups) * len(rate.grid) * judged, _memory(rehearsal, books, name) * min(1.0, share),
        cut=(found.rows, found.batch) if found.cut else None, timed=found.timed,
    )  # fmt: skip


def _plain_step(found: Rehearsed) -> float:
    """The mean seconds of a step over epochs that are not recorded, where there are any, else over all."""
    plain = {kind: took for kind, took in found.seconds.items() if not kind.recorded} or found.seconds
    return sum(kind.count * took for kind, took in plain.items()) / sum(kind.count for kind in plain)


def _network(context: StudyContext, name: str) -> str:
    return (context.study.arms[name].student or context.study.student).in_words()


def _steps(context: StudyContext, name: str) -> int:
    """The steps of replicas of an arm that train together."""
    rows = rows_of_step(context, name)[1]
    return context.study.schedule.epochs * math.ceil(rows / context.study.schedule.batch_size)


def _arm(rehearsal: Rehearsal, books: Bookkeeping, name: str) -> Estimate:
    context, found = rehearsal.context, rehearsal.arms[name]
    study = context.study
    arm, replicas = study.arms[name], found.replicas
    groups, epochs = len(groups_of(study.backend, range(study.replicas))), study.schedule.epochs
    _, rows = rows_of_step(context, name)
    taught = study.scored_against(name) is not None or arm.own_teacher
    assert arm.record is not None  # written out when the study was resolved
    training = sum(kind.count * took for kind, took in found.seconds.items()) * (_steps(context, name) / epochs)
    recorded = books.record(replicas, rows, taught=taught)
    noted, kept = len(arm.record.selected(epochs)), len(arm.record.kept(epochs))
    records = Cost(recorded.seconds * noted, recorded.bytes * kept)
    evaluated, predicted = _evaluations(context, name, found, books)
    last = NOTHING
    for split_rows, stays in ((len(context.blocks["test"]), True), (len(context.train_ids), arm.record.clean_train)):
        clean = books.record(replicas, split_rows, taught=taught)
        last += clean if stays else Cost(clean.seconds, 0.0)
    for view in study.data.shown:
        asked = ATTACK_PASSES.get(view.kind, 1) if view.kind in ATTACKS else 1
        test = len(context.blocks["test"])
        last += books.record(replicas, test, taught=False) + Cost(asked * test * found.answer, 0.0)
        predicted += books.predictions(replicas, test)
    every = records + last
    asking = _asking_for_features(rehearsal, name)
    training += asking * _steps(context, name)
    seconds = training + every.seconds + evaluated.seconds + predicted.seconds + _choosing(rehearsal, name)
    disk = {
        "records": every.bytes, "predictions": predicted.bytes, "weights": float(found.bytes),
        "tables": _tables(context, found, rows),
    }  # fmt: skip
    return Estimate(
        f"arm {name}", _network(context, name), found.parameters, training / _steps(context, name),
        _steps(context, name) * groups, seconds * groups, _memory(rehearsal, books, name),
        {what: size * groups for what, size in disk.items() if size}, _passing(rehearsal, name),
        (found.rows, found.batch) if found.cut else None, found.timed,
    )  # fmt: skip


def _evaluations(context: StudyContext, name: str, found: Rehearsed, books: Bookkeeping) -> tuple[Cost, Cost]:
    """The clean passes with their metrics, and the predictions, of replicas that train together through all epochs."""
    study = context.study
    arm, epochs = study.arms[name], study.schedule.epochs
    assert arm.predictions is not None  # written out when the study was resolved
    chosen = arm.predictions.selected(epochs)
    own = 2 if arm.own_teacher else 1
    evaluated, predicted = NOTHING, NOTHING
    for split, rows, evaluates, predicts in _passes(context, chosen, arm.predictions):
        asked = Cost(rows * found.answer, 0.0) + books.metrics(found.replicas, rows)
        evaluated += asked * evaluates + Cost(rows * found.own_answer, 0.0) * predicts
        one = books.predictions(found.replicas, rows) * (predicts * own)
        if split == "train":  # of rows that were trained on, and of the others; zeros where there are none take no room
            one = Cost(2 * one.seconds, one.bytes * _share_with_numbers(context, found.replicas))
        predicted += one
    return evaluated, predicted


def _share_with_numbers(context: StudyContext, replicas: int) -> float:
    """The share of the rows of both files of training rows, of 2 at most, that hold numbers of some replica."""
    pool, train = len(context.blocks["student"]), len(context.train_ids)
    drawn = float((context.draw([0]) > 0).mean())
    of_a_group = replicas / min(replicas, JACKKNIFE_GROUPS)
    in_pool = 2.0 - (1.0 - drawn) ** of_a_group - drawn**of_a_group
    return (in_pool * pool + (train - pool)) / train


def _passes(context: StudyContext, predicted: set[int], kept: Predictions) -> Iterator[tuple[str, int, int, int]]:
    """(split, rows, how often it is evaluated, how often predictions are kept)."""
    study = context.study
    epochs = study.schedule.epochs
    evaluated = {1, *predicted, *range(study.evaluate_every, epochs + 1, study.evaluate_every)}
    yield "validation", len(context.blocks["validation"]), len(evaluated), int("validation" in kept.splits(last=True))
    yield "test", len(context.blocks["test"]), len(evaluated), len(predicted)
    often = len(predicted) if kept.train else 1
    yield "train", len(context.train_ids), often, often if "train" in kept.splits(last=True) else 0


def _choosing(rehearsal: Rehearsal, name: str) -> float:
    """Seconds in which the rows that replicas learn from are scored."""
    context = rehearsal.context
    arm = context.study.arms[name]
    selection = arm.get("selection")
    if selection is None or selection.score == "random":
        return 0.0
    whose = rehearsal.teachers.get(arm.teacher_name or "") or rehearsal.arms.get(arm.teacher_name or "")
    if whose is None:
        return 0.0
    found = rehearsal.arms[name]
    return found.replicas * context.rows([0]).ids.shape[1] * whose.answer / whose.replicas


def _asking_for_features(rehearsal: Rehearsal, name: str) -> float:
    """Seconds a step in which a teacher is asked for features that are too many to be kept, as few rows' are."""
    context = rehearsal.context
    arm = context.study.arms[name]
    whose = rehearsal.teachers.get(arm.teacher_name or "")
    if not isinstance(arm, FeatureArm) or whose is None or context.inputs.augmented:
        return 0.0
    batch, rows = rows_of_step(context, name)
    size = bytes_of_features(feature_groups(context, arm), summed=arm.get("weights") is not None)
    return batch * whose.answer / whose.replicas if size * rows > KEPT else 0.0


def _tables(context: StudyContext, found: Rehearsed, rows: int) -> float:
    return sum(
        TABLE_BYTES * rows * found.replicas if table == "selection_scores" else size
        for table, size in found.tables.items()
    )


def _passing(rehearsal: Rehearsal, name: str) -> float:
    """Bytes of an arm's checkpoints, of one group at a time, and of the teacher's views where they are kept."""
    context, found = rehearsal.context, rehearsal.arms[name]
    study = context.study
    whole = study.schedule.epochs > study.checkpoint_every
    views = 0.0
    if study.keep_views and context.inputs.augmented and study.scored_against(name):
        rows = context.rows([0]).ids.shape[1]
        views = 4.0 * study.schedule.epochs * rows * context.dataset.num_classes * study.replicas
    return views + (found.checkpoint if whole else 0)


def _memory(rehearsal: Rehearsal, books: Bookkeeping, name: str) -> float:
    """Bytes beside the data: the teacher's table of logits, and the highest of a step and of an evaluation."""
    context, found = rehearsal.context, rehearsal.arms[name]
    study = context.study
    teacher = study.scored_against(name)
    a_table = 4.0 * len(context.labels) * context.dataset.num_classes
    tables = a_table * study.teacher_count(teacher) if teacher is not None else 0.0
    if study.arms[name].get("soft_labels") is not None:
        tables += a_table
    return tables + max(found.peak, books.evaluation_memory(found.replicas, len(context.train_ids)))
