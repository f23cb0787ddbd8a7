"""The students of an arm: its objective, its trainings and what they leave on disk, and the tuning of its rate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from biasvar.files import write_bytes, write_json
from biasvar.records import RunWriter, open_run
from biasvar.records.schema import (
    METRIC_COLUMNS,
    method_table_path,
    metrics_path,
    prediction_path,
    record_path,
    view_prediction_path,
    weights_path,
)
from biasvar.training.checkpoints import apart, read_weights, weights_file
from biasvar.training.companions import Companions
from biasvar.training.context import StudyContext
from biasvar.training.evaluation import CleanPass, evaluation_metrics
from biasvar.training.few_shots import few_shot_table
from biasvar.training.hooks import named, rows_of, saved_of
from biasvar.training.loop import predict, train
from biasvar.training.methods import Batch, method_of
from biasvar.training.objective import Objective
from biasvar.training.replicas import Replicas, groups_of
from biasvar.training.schedules import Phase
from biasvar.training.student_evaluation import Evaluation
from biasvar.training.student_networks import new_students
from biasvar.training.teachers import open_views, teacher_logits, teacher_networks

TUNING_REPLICAS_FROM = 1_000_000  # replicas on which a learning rate is chosen are no replicas of the study


@dataclass(frozen=True)
class ArmRun:
    """An arm to train: the writer, the study's context, its name and its learning rate."""

    writer: RunWriter
    context: StudyContext
    name: str
    rate: float


def tune(context: StudyContext, name: str, rate: float, replicas: int) -> dict[str, Any]:
    """Validation accuracy and loss of an arm at one learning rate, by replica; nothing is written."""
    numbers = range(TUNING_REPLICAS_FROM, TUNING_REPLICAS_FROM + replicas)
    parts = [tune_once(context, name, rate, group) for group in groups_of(context.study.backend, numbers)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def tune_once(context: StudyContext, name: str, rate: float, replicas: Sequence[int]) -> dict[str, Any]:
    """Validation accuracy and loss of an arm at one learning rate, of replicas that train together."""
    with named(name, context.study.arms[name]):
        students = Students(context, name, rate, replicas)
        students.train()
    ids = context.blocks["validation"]
    logits = predict(students.net, context.inputs, torch.as_tensor(ids, device=context.device)).cpu().numpy()
    numbers = evaluation_metrics(CleanPass.of(logits), context.dataset.labels[ids])
    return {"replica": list(replicas), "accuracy": numbers["accuracy"], "nll": numbers["nll"]}


class Students:
    """Replicas of an arm that train together, with everything that their method needs.

    Attributes:
        net: The students.
        rows: Their training rows.
        objective: The method with its state, and the teacher.
        companions: What the method trains beside them, or None.
    """

    def __init__(self, context: StudyContext, name: str, rate: float, replicas: Sequence[int]) -> None:
        context = context.observing(context.study.arms[name].label_noise)
        self._context, self._name, self._rate = context, name, rate
        self.objective = _objective(context, name, replicas)
        method = self.objective.method
        self.rows = rows_of(context, method, replicas)
        self.net = context.replicas(new_students(context, name, replicas))
        modules = method.modules(self.objective.state)
        self.companions = None
        if modules:
            self.companions = Companions(modules, optimizer=context.optimizer(), ranks=context.ranks)

    def train(self, *, until: int | None = None, **watch: Any) -> None:
        """Train to the end of the schedule, or of an epoch; `watch`: what else `loop.train` takes."""
        context, schedule = self._context, self._context.study.schedule
        phases = self.objective.method.phases(schedule.epochs)
        train(
            self.net, self.rows, self.objective, context.inputs, context.labels, epochs=until or schedule.epochs,
            batch_size=schedule.batch_size, rate_of=context.rate_in_phases(self._rate, phases),
            seed=context.study.seed, arm=self._name, companions=self.companions, phases=phases, ranks=context.ranks,
            **watch,
        )  # fmt: skip

    def state(self) -> dict[str, torch.Tensor]:
        """All that training changes, by name: what a checkpoint holds."""
        state = dict(self.net.state())
        if self.companions is not None:
            state |= {f"companion.{name}": value for name, value in self.companions.state().items()}
        method = self.objective.method
        return state | {f"method.{name}": value for name, value in saved_of(method, self.objective.state).items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        own = {name: value.to(self._context.device) for name, value in state.items()}
        self.net.load_state({k: v for k, v in own.items() if not k.startswith(("companion.", "method."))})
        if self.companions is not None:
            self.companions.load_state(_under(own, "companion."))
        self.objective.method.restore(self.objective.state, _under(own, "method."))


def _under(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def train_once(run: ArmRun, number: int) -> dict[str, Any]:
    """Train a group of an arm's replicas to its end, unless that was done: which failed, and how long it took."""
    directory = run.writer.directory
    done = directory / "checkpoints" / f"arm={run.name}" / f"group={number:03d}.json"
    study = run.context.study
    epoch = study.schedule.epochs
    left_behind: tuple[Path, ...] = (
        weights_path(directory, run.name, number),
        metrics_path(directory, run.name, number),
        prediction_path(directory, run.name, "test", "all", epoch, number),
        record_path(directory, run.name, "test", "clean", epoch, number),
        *(method_table_path(directory, table, run.name, number) for table in study.tables_of(run.name)),
        *(view_prediction_path(directory, run.name, "test", view.name, epoch, number) for view in study.data.shown),
    )
    if run.context.study.arms[run.name].own_teacher:
        left_behind += (prediction_path(directory, run.name, "test", "all", epoch, number, of="teacher"),)
    if run.context.ranks.broadcast(done.exists() and all(path.exists() for path in left_behind)):
        return json.loads(done.read_text())
    from_start = not (done.parent / f"group={number:03d}.safetensors").exists()
    began, processor_began = time.perf_counter(), time.process_time()
    failed = train_arm_group(run, number)
    outcome: dict[str, Any] = {"failed_replicas": failed, "seconds": time.perf_counter() - began}
    if from_start:
        outcome["seconds_from_start"] = outcome["seconds"]
        if run.context.ranks.world == 1:  # else this would be one process's part of them
            outcome["processor_seconds"] = time.process_time() - processor_began
    done.parent.mkdir(parents=True, exist_ok=True)
    write_json(done, outcome)
    return outcome


def train_arm_group(run: ArmRun, number: int) -> list[dict[str, Any]]:
    """Train one group of an arm's replicas, or what is left of it; returns the replicas that failed and why."""
    groups = groups_of(run.context.study.backend, range(run.context.study.replicas))
    with named(run.name, run.context.study.arms[run.name]):
        return _Group(run, number, groups[number]).train()


def rehearse_arm(
    run: ArmRun,
    replicas: Sequence[int],
    begin: Callable[[Sequence[Phase]], Sequence[tuple[int, int]]],
    trained: Callable[[], None],
    *,
    rows: int | None = None,
) -> Students:
    """Train a group of an arm's replicas through some of its epochs, and leave what a training leaves.

    Args:
        run: The arm, of a study that a dry run made.
        replicas: The group.
        begin: Asked once all is built, with the phases of the training; gives the epochs as parts, each the number of
            the epoch before it and of its last one.
        trained: Called after the last step of an epoch, before its record is written.
        rows: Each epoch is of so many rows at most.
    """
    with named(run.name, run.context.study.arms[run.name]):
        group = _Group(run, 0, list(replicas))
        students = group.students
        if rows is not None:
            counts = students.rows.counts
            students.rows = replace(
                students.rows, ids=students.rows.ids[:, :rows], counts=None if counts is None else counts[:, :rows]
            )
        group.train_through(begin(students.objective.method.phases(group.epochs)), trained)
    return students


def _objective(context: StudyContext, name: str, replicas: Sequence[int]) -> Objective:
    """The arm's method with everything it needs for these replicas."""
    arm = context.study.arms[name]
    teacher_name = context.study.scored_against(name)
    teacher = teacher_logits(context, teacher_name) if teacher_name else None
    # Replicas that only choose a learning rate have no teacher of their own: they borrow one, in turn.
    numbers = [context.study.teacher_number(name, r) for r in replicas]
    if teacher is not None and teacher.ndim == 3:
        teacher = teacher[torch.as_tensor(numbers, device=context.device)]
    # Where the student sees augmented views, so must the teacher that it learns from or is scored against.
    networks = views = None
    if teacher_name and context.inputs.augmented:
        views = open_views(context, teacher_name, list(replicas), numbers)
        networks = None if views else teacher_networks(context, teacher_name, numbers)
    method = method_of(arm)
    return Objective(method, method.prepare(context, replicas), teacher, networks, views)


Share = tuple[dict[str, torch.Tensor] | None, torch.Tensor | None]
"""What a process saw of an epoch: the columns of its record, and the weights of its soft labels (R, n)."""

NOTHING: Share = (None, None)


class _Group:
    """The replicas of an arm that train together, from their first epoch, or their checkpoint, to their files."""

    def __init__(self, run: ArmRun, number: int, replicas: list[int]) -> None:
        self.run, self.context, self.number, self.replicas = run, run.context, number, replicas
        self.study, self.writer = run.context.study, run.writer
        self.arm = arm = self.study.arms[run.name]
        assert arm.record is not None  # written out when the study was resolved
        self.epochs = self.study.schedule.epochs
        self.record_epochs, self.row_epochs = arm.record.selected(self.epochs), arm.record.kept(self.epochs)
        folder = run.writer.directory / "checkpoints" / f"arm={run.name}"
        self.checkpoint = folder / f"group={number:03d}.safetensors"
        self.students = Students(run.context, run.name, run.rate, replicas)
        self.metrics: list[pd.DataFrame] = []
        self.evaluation = Evaluation(
            run.writer, run.context, run.name, number, replicas, self.students.objective, self.students.rows
        )

    def train(self) -> list[dict[str, Any]]:
        return self.train_through([(self.context.ranks.broadcast(self._resume()), self.epochs)])

    def train_through(
        self, parts: Sequence[tuple[int, int]], trained: Callable[[], None] | None = None
    ) -> list[dict[str, Any]]:
        """Train parts, each from the epoch after its first number to its second; `trained` is called after an epoch."""
        net = self.students.net
        recorder = self.evaluation.recorder("train", "augmented", overlap=True)
        weights: list[torch.Tensor] = []

        def on_batch(batch: Batch, given: torch.Tensor | None) -> None:
            if given is not None:
                weights.append(given)
            if batch.epoch in self.record_epochs:
                recorder.update(
                    batch.ids, batch.logits, batch.labels, batch.teacher_logits, loss_weight=given,
                    member=None if batch.counts is None else batch.counts > 0,
                )  # fmt: skip

        def on_epoch(epoch: int, rate: float) -> None:
            if trained is not None:
                trained()
            for columns, given in self.context.ranks.gather(NOTHING)[1:]:  # of the other processes
                if columns is not None:
                    recorder.take(columns)
                if given is not None:
                    weights.append(given.to(self.context.device))
            measured = self._measured()
            if epoch in self.record_epochs:
                recorder.epoch = epoch
                summary = recorder.end_epoch(write=epoch in self.row_epochs)
                there = np.isin(self.replicas, summary["replica"])
                own = {name: values[there] for name, values in measured.items()}
                self._note("train", "augmented", epoch, {**summary, **own}, rate)
            elif weights or measured:  # the mean weight is known at every epoch, for arms that take it over
                count = len(self.replicas)
                numbers = {
                    "replica": np.array(self.replicas), "n": np.full(count, self.students.rows.ids.shape[1]), **measured
                }  # fmt: skip
                if weights:
                    numbers["loss_weight"] = torch.cat(weights, dim=1).double().mean(1).cpu().numpy()
                self._note("train", "augmented", epoch, numbers, rate)
            weights.clear()
            if epoch % self.study.evaluate_every == 0 or epoch in {1, *self.evaluation.prediction_epochs}:
                for split, view, numbers in self.evaluation.run(net, epoch):
                    self._note(split, view, epoch, numbers, rate)
            if epoch % self.study.checkpoint_every == 0 and epoch < self.epochs:
                recorder.settle()  # an epoch before a checkpoint is not trained again
                self._save(epoch)

        for start, until in parts:
            self.students.train(
                start=start, until=until, score_epochs=self.record_epochs, on_batch=on_batch, on_epoch=on_epoch
            )
        recorder.settle()
        self._write_metrics()
        return self._finish(net)

    def _note(self, split: str, view: str, epoch: int, numbers: dict[str, np.ndarray], rate: float) -> None:
        where = {"arm": self.run.name, "epoch": epoch, "split": split, "view": view, "learning_rate": rate}
        self.metrics.append(pd.DataFrame({**numbers, **where}))

    def _write_metrics(self) -> None:
        """All columns there are, so that what a checkpoint left reads back as what would have been written."""
        if not self.metrics:  # a rehearsal may come to a checkpoint before any epoch that is evaluated
            return
        whole = pd.concat(self.metrics, ignore_index=True).reindex(columns=METRIC_COLUMNS)
        self.writer.metrics(self.run.name, self.number, whole)

    def _measured(self) -> dict[str, np.ndarray]:
        """What the method measured of an epoch, (R,) each."""
        objective = self.students.objective
        found = objective.method.measured(objective.state)
        return {name: value.double().cpu().numpy() for name, value in found.items()}

    def _finish(self, net: Replicas) -> list[dict[str, Any]]:
        """Write the method's tables and the final weights; returns the replicas that failed."""
        objective = self.students.objective
        for table, columns in objective.method.tables(objective.state).items():
            self.writer.method_table(table, self.run.name, self.number, columns)
        path = weights_path(self.writer.directory, self.run.name, self.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, weights_file(net, self.replicas))
        if self.study.data.few_shots:
            columns = few_shot_table(self.context, self.run.name, self.replicas, self.evaluation.failed)
            self.writer.method_table("few_shots", self.run.name, self.number, columns)
        named = zip(self.replicas, self.evaluation.failed, strict=True)
        return [{"replica": r, "reason": reason} for r, reason in named if reason]

    def _save(self, epoch: int) -> None:
        """Write the metrics first, then the checkpoint: one that is there has its metrics."""
        self._write_metrics()
        state = {name: apart(value) for name, value in self.students.state().items()}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.checkpoint, safetensors.torch.save(state, metadata={"epoch": str(epoch)}))

    def _resume(self) -> int:
        """Load the checkpoint, if there is one; returns the last epoch that need not be trained again."""
        if not self.checkpoint.exists():
            return 0
        state, notes = read_weights(self.checkpoint)
        epoch = int(notes["epoch"])
        self.students.load_state(state)
        metrics = open_run(self.writer.directory).metrics
        mine = metrics.query("arm == @self.run.name and replica in @self.replicas and epoch <= @epoch")
        self.metrics = [mine.reset_index(drop=True)]
        return epoch
