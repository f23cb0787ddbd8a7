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
from biasvar.training.evaluation import CleanPass, RowScores, evaluation_metrics, failures, group_logits, group_means
from biasvar.training.loop import predict
from biasvar.training.objective import Objective
from biasvar.training.recorder import Recorder
from biasvar.training.replicas import Replicas
from biasvar.training.view_evaluation import view_logits

Numbers = dict[str, np.ndarray]
Files = dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], None]]
"""By membership: what adds sample ids, counts and means to an open file of predictions."""


class _Otherwise(Exception):
    """A later part of rows has answers that are not finite, or beyond float32: what was written does not count."""


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
        kept = arm.predictions.splits(last=last) if predicted else set()
        for split in ("validation", "test", *(("train",) if last or "train" in kept else ())):
            numbers = self._pass(net, split, epoch, last, split in kept)
            if split != "train" or last:
                yield split, "clean", numbers
        for view in study.data.shown if last else ():
            yield "test", view.name, self._view(net, view, epoch)

    def _pass(self, net: Replicas, split: str, epoch: int, last: bool, predicted: bool) -> Numbers:
        """One clean pass over a split; done anew where a later part shows what the first did not."""
        finite, narrow = np.ones(len(self.replicas), dtype=bool), self._alone
        while True:
            try:
                return self._parts(net, split, epoch, last, predicted, finite, narrow)
            except _Otherwise as found:
                finite, narrow = found.args

    def _parts(
        self, net: Replicas, split: str, epoch: int, last: bool, predicted: bool, known: np.ndarray, narrow: bool
    ) -> Numbers:
        ids = self.context.blocks[split] if split != "train" else self.context.train_ids
        classes, labels = self.context.dataset.num_classes, self.context.dataset.labels
        recorder = self.recorder(split, "clean") if last and split != "validation" else None
        measured = split != "train" or recorder is not None
        own_teacher = predicted and self.context.study.arms[self.name].own_teacher
        scores, finite, files = [], known, {}
        with ExitStack() as stack:
            for part in row_parts(len(ids), self._step()):
                mine = ids[part]
                on_device = predict(net, self.context.inputs, torch.as_tensor(mine, device=self.context.device))
                said = CleanPass.of(on_device.cpu().numpy(), finite)
                taught = self._taught(mine) if recorder is not None or own_teacher else None
                told = {"students": said}
                if own_teacher:
                    assert taught is not None  # that the method gives its answers
                    told["teacher"] = CleanPass.of(taught.cpu().numpy())
                fits = narrow and predicted and all(answers.narrow for answers in told.values())
                if part.start and not (np.array_equal(said.finite, finite) and fits == narrow):
                    raise _Otherwise(said.finite & finite, fits)
                finite, narrow = said.finite, fits
                if measured:
                    scores.append(RowScores.of(said, labels[mine]))
                if predicted and not part.start:
                    files = self._files(stack, split, epoch, logits=narrow)
                for of, uses in files.items():
                    self._add(uses, mine, told[of], logits=narrow)
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
        record = self.context.study.arms[self.name].record
        assert record is not None  # written out when the study was resolved
        summary = recorder.end_epoch(write=split != "train" or record.clean_train)
        return {**summary, "ece": numbers["ece"][np.isin(self.replicas, summary["replica"])]}

    def _step(self) -> int:
        """How many rows are in memory at a time: whole chunks of the network's, so that no number depends on it."""
        chunk = self.context.inputs.chunk
        rows = rows_of_a_part(len(self.replicas), self.context.dataset.num_classes)
        return max(rows // chunk, 1) * chunk

    def _files(self, stack: ExitStack, split: str, epoch: int, *, logits: bool) -> dict[str, Files]:
        """The open files of predictions, by whose they are and for which membership."""
        numbers, _ = self._jackknife_groups()
        whose = ("students", "teacher") if self.context.study.arms[self.name].own_teacher else ("students",)
        kinds = ("member", "nonmember") if split == "train" else ("all",)
        return {
            of: {
                kind: stack.enter_context(
                    self.writer.open_predictions(
                        self.name, split, kind, epoch, self.number, groups=numbers, of=of, logits=logits
                    )
                )
                for kind in kinds
            }
            for of in whose
        }

    def _add(self, files: Files, ids: np.ndarray, said: CleanPass, *, logits: bool) -> None:
        """Write logits, or means by jackknife group; of training rows by whether they were trained on."""
        for kind, add in files.items():
            use = np.ones(said.logits.shape[:2], dtype=bool)
            if kind != "all":
                use = self._member[:, ids] == (kind == "member")
            add(ids, *self._grouped(said, use, logits=logits))

    def _view(self, net: Replicas, view: View, epoch: int) -> Numbers:
        """Metrics, predictions and the record of the test rows in a further view, after the last epoch."""
        ids = self.context.blocks["test"]
        on_device = view_logits(self.context, net, view, ids)
        said = CleanPass.of(on_device.cpu().numpy())
        logits, every = self._alone and said.narrow, np.ones(said.logits.shape[:2], dtype=bool)
        counts, values = self._grouped(said, every, logits=logits)
        self.writer.view_predictions(
            self.name, "test", view.name, epoch, self.number, ids, counts, values,
            groups=self._jackknife_groups()[0], logits=logits,
        )  # fmt: skip
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

    @property
    def _alone(self) -> bool:
        """True if every replica is a jackknife group of its own, whose answers need not be a mean."""
        return len(self._jackknife_groups()[0]) == len(self.replicas)

    def _grouped(self, said: CleanPass, use: np.ndarray, *, logits: bool) -> tuple[np.ndarray, np.ndarray]:
        """Counts and logits, or mean log-probabilities, of the jackknife groups."""
        numbers, index = self._jackknife_groups()
        return group_logits(said, use, index) if logits else group_means(said, use, index, len(numbers))

    def _taught(self, ids: np.ndarray) -> torch.Tensor | None:
        """(R, n, C) what the teachers answer to samples without augmentation."""
        on_device = torch.as_tensor(ids, device=self.context.device)
        return self.objective.clean(self.context.inputs, on_device, len(self.replicas))

    @cached_property
    def _member(self) -> np.ndarray:
        """bool (R, N) by sample id: True where the replica is trained on the sample."""
        return self.rows.members(len(self.context.labels))
