"""The clean passes of an arm's students: metrics, predictions and, after the last epoch, records; by parts of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from biasvar.data.draws import Rows
from biasvar.records import RunWriter
from biasvar.records.prediction_parts import row_parts, rows_of_a_part
from biasvar.study.schema import JACKKNIFE_GROUPS
from biasvar.study.views import View
from biasvar.training.context import StudyContext
from biasvar.training.evaluation import CleanPass, RowScores, evaluation_metrics, failures, group_means
from biasvar.training.loop import predict
from biasvar.training.objective import Objective
from biasvar.training.recorder import Recorder
from biasvar.training.replicas import Replicas
from biasvar.training.view_evaluation import view_logits

Numbers = dict[str, np.ndarray]
Files = dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], None]]
"""By membership: what adds sample ids, counts and means to an open file of predictions."""


class _NewlyNotFinite(Exception):
    """A later part of rows showed that a replica is not finite: what was written of it does not count."""


@dataclass
class Evaluation:
    """Evaluates replicas that train together, and writes what the study keeps of it.

    Of many rows and classes a part is in memory at a time, all replicas of it together.

    Attributes:
        failed: After the last epoch: why each replica failed, "" if it did not.
    """

    writer: RunWriter
    context: StudyContext
    name: str
    number: int
    replicas: list[int]
    objective: Objective
    rows: Rows
    failed: list[str] = field(default_factory=list)

    @property
    def prediction_epochs(self) -> set[int]:
        """The epochs whose predictions are kept."""
        arm = self.context.study.arms[self.name]
        assert arm.predictions is not None  # written out when the study was resolved
        return arm.predictions.selected(self.context.study.schedule.epochs)

    def recorder(self, split: str, view: str, *, overlap: bool = False) -> Recorder:
        """What records a pass over a split in a view; with `overlap` beside the training that goes on."""
        study = self.context.study
        return Recorder(
            self.writer, num_samples=len(self.context.labels), num_classes=self.context.dataset.num_classes,
            temperature=study.arms[self.name].tau or study.reference_temperature, arm=self.name, replica=self.replicas,
            split=split, view=view, group=self.number, reference_teacher=study.scored_against(self.name), replace=True,
            drop_not_finite=True, values="logits", overlap=overlap,
        )  # fmt: skip

    def run(self, net: Replicas, epoch: int) -> Iterator[tuple[str, str, Numbers]]:
        """Metrics on held-out rows, and predictions; at the end the record of test and train rows, and further views.

        Gives split, view and metrics of each pass that has any.
        """
        study, arm = self.context.study, self.context.study.arms[self.name]
        last, predicted = epoch == study.schedule.epochs, epoch in self.prediction_epochs
        assert arm.predictions is not None
        for split in ("validation", "test", *(("train",) if last or (predicted and arm.predictions.train) else ())):
            numbers = self._pass(net, split, epoch, last, predicted and (last or split != "validation"))
            if split != "train" or last:
                yield split, "clean", numbers
        for view in study.data.shown if last else ():
            yield "test", view.name, self._view(net, view, epoch)

    def _pass(self, net: Replicas, split: str, epoch: int, last: bool, predicted: bool) -> Numbers:
        """One clean pass over a split; done anew where a replica turns out not to be finite after its first part."""
        finite = np.ones(len(self.replicas), dtype=bool)
        while True:
            try:
                return self._parts(net, split, epoch, last, predicted, finite)
            except _NewlyNotFinite as found:
                (finite,) = found.args

    def _parts(self, net: Replicas, split: str, epoch: int, last: bool, predicted: bool, known: np.ndarray) -> Numbers:
        ids = self.context.blocks[split] if split != "train" else self.context.train_ids
        classes, labels = self.context.dataset.num_classes, self.context.dataset.labels
        recorder = self.recorder(split, "clean") if last and split != "validation" else None
        measured = split != "train" or recorder is not None
        scores, finite = [], known
        with ExitStack() as stack:
            files = self._files(stack, split, epoch) if predicted else None
            for part in row_parts(len(ids), self._step()):
                mine = ids[part]
                on_device = predict(net, self.context.inputs, torch.as_tensor(mine, device=self.context.device))
                said = CleanPass.of(on_device.cpu().numpy(), finite)
                if part.start and not np.array_equal(said.finite, finite):
                    raise _NewlyNotFinite(said.finite & finite)
                finite = said.finite
                if measured:
                    scores.append(RowScores.of(said, labels[mine]))
                taught = self._taught(mine) if recorder is not None or (files and "teacher" in files) else None
                for of, uses in (files or {}).items():
                    assert of == "students" or taught is not None  # `own_teacher`: that the method gives its answers
                    told = said if taught is None or of == "students" else CleanPass.of(taught.cpu().numpy())
                    self._add(uses, mine, told)
                if recorder is not None:
                    together = torch.as_tensor(mine, device=self.context.device).expand(len(self.replicas), -1)
                    member = torch.as_tensor(self._member[:, mine], device=self.context.device)
                    recorder.epoch = epoch
                    recorder.update(together, on_device, self.context.labels[together], taught, member=member)
        if not measured:
            return {}
        numbers = RowScores.joined(scores).metrics(finite)
        if last and split == "validation":
            self.failed = failures(numbers["accuracy"], finite, len(ids), classes)
        if recorder is None:
            return {"replica": np.array(self.replicas), "n": np.full(len(self.replicas), len(ids)), **numbers}
        summary = recorder.end_epoch()
        return {**summary, "ece": numbers["ece"][np.isin(self.replicas, summary["replica"])]}

    def _step(self) -> int:
        """How many rows are in memory at a time: whole chunks of the network's, so that no number depends on it."""
        chunk = self.context.inputs.chunk
        rows = rows_of_a_part(len(self.replicas), self.context.dataset.num_classes)
        return max(rows // chunk, 1) * chunk

    def _files(self, stack: ExitStack, split: str, epoch: int) -> dict[str, Files]:
        """The open files of predictions, by whose they are and for which membership."""
        numbers, _ = self._jackknife_groups()
        whose = ("students", "teacher") if self.context.study.arms[self.name].own_teacher else ("students",)
        kinds = ("member", "nonmember") if split == "train" else ("all",)
        return {
            of: {
                kind: stack.enter_context(
                    self.writer.open_predictions(self.name, split, kind, epoch, self.number, groups=numbers, of=of)
                )
                for kind in kinds
            }
            for of in whose
        }

    def _add(self, files: Files, ids: np.ndarray, said: CleanPass) -> None:
        """Write mean log-probabilities by jackknife group; of training rows by whether they were trained on."""
        numbers, index = self._jackknife_groups()
        for kind, add in files.items():
            use = np.ones(said.logits.shape[:2], dtype=bool)
            if kind != "all":
                use = self._member[:, ids] == (kind == "member")
            counts, means = group_means(said, use, index, len(numbers))
            add(ids, counts, means)

    def _view(self, net: Replicas, view: View, epoch: int) -> Numbers:
        """Metrics, predictions and the record of the test rows in a further view, after the last epoch."""
        ids = self.context.blocks["test"]
        on_device = view_logits(self.context, net, view, ids)
        said = CleanPass.of(on_device.cpu().numpy())
        numbers, index = self._jackknife_groups()
        counts, means = group_means(said, np.ones(said.logits.shape[:2], dtype=bool), index, len(numbers))
        self.writer.view_predictions(
            self.name, "test", view.name, epoch, self.number, ids, counts, means, groups=numbers
        )
        recorder = self.recorder("test", view.name)
        recorder.epoch = epoch
        together = torch.as_tensor(ids, device=self.context.device).expand(len(self.replicas), -1)
        member = torch.zeros_like(together, dtype=torch.bool)  # test rows are nobody's
        recorder.update(together, on_device, self.context.labels[together], member=member)
        summary = recorder.end_epoch()
        ece = evaluation_metrics(said, self.context.dataset.labels[ids])["ece"]
        return {**summary, "ece": ece[np.isin(self.replicas, summary["replica"])]}

    def _jackknife_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The jackknife groups of these replicas, and the place of each replica among them."""
        groups = min(JACKKNIFE_GROUPS, self.context.study.replicas)
        return np.unique([r % groups for r in self.replicas], return_inverse=True)

    def _taught(self, ids: np.ndarray) -> torch.Tensor | None:
        """(R, n, C) what the teachers answer to samples without augmentation."""
        on_device = torch.as_tensor(ids, device=self.context.device)
        return self.objective.clean(self.context.inputs, on_device, len(self.replicas))

    @cached_property
    def _member(self) -> np.ndarray:
        """bool (R, N) by sample id: True where the replica is trained on the sample."""
        return self.rows.members(len(self.context.labels))
