"""The recorder: one call a step in any training loop, one file an epoch on disk.

with biasvar.Recorder("runs/mine", num_samples=50_000, num_classes=10, temperature=4.0, arm="kd") as recorder:
    for epoch in range(epochs):
        for sample_ids, images, labels in loader:
            ...
            recorder.update(sample_ids, student_logits, labels, teacher_logits)
        recorder.end_epoch()
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch

from biasvar.analysis.scale import ScaleEvidence, check_values
from biasvar.arguments import checked
from biasvar.columns import listed_names
from biasvar.records.arms import described
from biasvar.records.epoch_parts import check_part
from biasvar.records.merging import ON_DUPLICATE
from biasvar.records.sample_names import SampleNames, are_names, settle_sample_names
from biasvar.records.schema import one_of
from biasvar.records.summary import Summary, summarise
from biasvar.records.writer import RunWriter
from biasvar.training.recorder_checks import checked_rows, odd_teachers, without_repeats
from biasvar.training.recorder_inputs import Teacher, Values, replica_numbers, step_tensors
from biasvar.training.recorder_opening import Place
from biasvar.training.recorder_predictions import Keep, PredictionKeeper, checked_keep
from biasvar.training.recorder_rows import SeenRows
from biasvar.training.recorder_terms import LOGITS


class Recorder(SeenRows):
    """Records the bias and variance terms of every sample a training loop sees.

    Per sample and epoch it keeps (design of the columns: `biasvar.records.schema`) the student's and the teacher's
    cross-entropy at temperature 1, their probabilities of the true class at `temperature`, their predictions, the
    bias and variance gradients of Zhou 2021 at the true-class logit with their norms over all logits, the
    regularization-sample flag and the WSL weight. Without teacher logits the teacher's columns are null.

    Columns of a record (`biasvar.open_run(directory).records()`), p and q the student's and the teacher's probability
    of the true class, at the temperature tau where it is an index:

    - sample_id, replica, label, member (the row was in the replica's draw)
    - student_loss = -log p, teacher_loss = -log q (nats); student_prob = p_tau, teacher_prob = q_tau
    - student_prediction, teacher_prediction: the classes of the largest logits
    - bias_gradient a = p - 1, variance_gradient b = tau (p_tau - q_tau) - a; the same with _norm over all logits
    - opposing: b > |a|, a regularization sample
    - wsl_weight = 1 - exp(-student_loss / teacher_loss); loss_weight: what the loss multiplied the soft label with

    Nothing waits for the device inside an epoch: `update` keeps a copy of the logits where they are. `end_epoch`
    checks, writes one Parquet file and returns when it is safe on disk. A file already acknowledged is never changed.

    Args:
        directory: The run directory, made when absent. Several arms, replicas, splits and views share one directory.
        num_samples: Sample ids lie in 0 .. num_samples - 1; may be left out with `sample_names`.
        num_classes: C.
        temperature: tau at which probabilities and gradients are taken; the tau of the loss.
        arm: Name of the treatment: letters, digits, "_", "-" and ".", beginning with a letter, a digit or "_".
        replica: Number of this training of the student; a sequence of R numbers when R replicas train together, and
            `update` then takes (R, B) ids and (R, B, C) logits. Whole numbers from 0 on, each once.
        split: Name of the split the samples belong to.
        view: "augmented" for the training pass, "clean" for an evaluation pass.
        resume: Go on after the last recorded epoch of this arm, split, view and replica instead of refusing.
        group: Number of the file among those of an epoch; default the (first) replica.
        reference_teacher: Name of the teacher whose logits are given, kept with the record.
        replace: Write over epochs that are there, for a training that goes on from a checkpoint before them.
        drop_not_finite: Leave a replica with logits that are not finite out of the record of that epoch instead of
            refusing it; the caller keeps account of the replicas that are missing.
        part: (rank, world size) where several processes each see a part of the epoch, as under DistributedDataParallel:
            `part=(dist.get_rank(), dist.get_world_size())`. Each process writes its part; the last one to end the epoch
            merges all of them into the epoch's file, the one that a single recorder would have written. An epoch of
            which a part is missing is not complete: it is not read, and named. Open the recorders of all processes
            before the first step; with `resume=True` what is left of an epoch that is not complete is recorded anew.
        on_duplicate: What to do with a sample that comes twice in an epoch, in one process or in two: "refuse" the
            epoch, or keep the "first" in the order of the parts and of the rows in them. A DistributedSampler repeats
            samples so that all parts are of one length. How many were dropped stands in the summary
            (`duplicates_dropped`, of this process), in the file's metadata, and in the manifest.
        values: What the student's and the teacher's numbers are. None: logits, and an epoch of what looks like
            probabilities or votes is refused (`biasvar.analysis.scale`); "logits" records it all the same;
            "probabilities" takes their logarithms, each row divided by its sum.
        clip: Raises probabilities below it, which is the only way to record zeros.
        keep_predictions: After which epochs the log-probabilities of all classes are kept, by replica: "last", "all",
            or a list of epochs. R trainings of an arm, recorded so with R numbers of `replica`, at any time and from
            any process, give `biasvar.open_run(directory).decomposition(arm)`, its bias and variance. Of an evaluation
            pass: `view="clean"`, and `split="test"` for held-out rows. float64, N x C numbers a replica.
        allow_moving_weights: Keep those of a training pass too, whose weights move from step to step; labelled so.
        label: Of the arm in the report; default its name.
        loss: What the arm's students learn by, as studies name it ("cross_entropy", "distillation",
            "weighted_soft_label", ...) or a name of your own: the report compares arms with one trained by
            "cross_entropy".
        control: The arm that the report compares this one with, whatever their losses.
        class_names: One a class, for the report.
        sample_names: One a sample, such as file names, in the order of the sample ids: `update` takes them for ids, the
            run keeps them, once a split.
        overlap: Write an epoch's file beside the training that goes on. `end_epoch` then returns before it is on disk;
            `settle`, the end of the next epoch and `close` wait for it, and raise what went wrong.

    Raises:
        RecordError: The directory holds another study, this arm and replica are recorded already, or the arm was
            recorded with another temperature or num_samples. Nothing is written then.
        ValueError: Numbers out of range.

    >>> import tempfile, torch
    >>> with Recorder(tempfile.mkdtemp() + "/run", num_samples=2, num_classes=3, temperature=2.0) as recorder:
    ...     recorder.update(torch.tensor([0, 1]), 2 * torch.eye(3)[:2], torch.tensor([0, 1]), torch.zeros(2, 3))
    ...     summary = recorder.end_epoch()
    >>> summary["n"].tolist(), summary["share_opposing"].tolist()
    ([2], [1.0])
    """

    @checked
    def __init__(
        self,
        directory: str | Path | RunWriter,
        *,
        num_samples: int | None = None,
        num_classes: int,
        temperature: float,
        arm: str = "default",
        replica: int | Sequence[int] = 0,
        split: str = "train",
        view: str = "augmented",
        resume: bool = False,
        group: int | None = None,
        reference_teacher: str | None = None,
        replace: bool = False,
        drop_not_finite: bool = False,
        part: tuple[int, int] | None = None,
        on_duplicate: Literal["refuse", "first"] = "refuse",
        values: Literal["logits", "probabilities"] | None = None,
        clip: float | None = None,
        keep_predictions: Keep | None = None,
        allow_moving_weights: bool = False,
        label: str | None = None,
        loss: str | None = None,
        control: str | None = None,
        class_names: Sequence[str] | None = None,
        sample_names: Sequence[str] | None = None,
        overlap: bool = False,
    ) -> None:
        self._names = None if sample_names is None else SampleNames(sample_names)
        if self._names is not None:
            num_samples = len(self._names.names) if num_samples is None else num_samples
            if num_samples != len(self._names.names):
                raise ValueError(f"there are {len(self._names.names)} sample_names and num_samples is {num_samples}")
        if num_samples is None:
            raise ValueError("num_samples is missing: sample ids lie in 0 .. num_samples - 1")
        if num_samples < 1 or num_classes < 2:
            raise ValueError(f"num_samples must be at least 1 and num_classes 2, not {num_samples} and {num_classes}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number above 0, not {temperature}")
        self.num_samples = num_samples
        self.arm, self.split, self.view = arm, split, view
        together, self.replicas = replica_numbers(replica)
        self.group = self.replicas[0] if group is None else group
        if self.group < 0:
            raise ValueError(f"group must be a whole number from 0 on, not {group}")
        self._reference, self._replace, self._drop = reference_teacher, replace, drop_not_finite
        self._part, self._on_duplicate = check_part(part), one_of(on_duplicate, ON_DUPLICATE, "on_duplicate")
        if self._part and drop_not_finite:
            raise ValueError("drop_not_finite cannot be combined with part: other parts may hold the same replica")
        if self._part and overlap:
            raise ValueError(
                "overlap cannot be combined with part: the last process to end an epoch merges all of them"
            )
        self._beside = ThreadPoolExecutor(1, "biasvar-record") if overlap else None
        self._writing: Future | None = None
        check_values(values)
        if clip is not None and not (values == "probabilities" and 0 < clip < 1):
            raise ValueError(f'clip={clip!r} must lie between 0 and 1, and needs values="probabilities"')
        self._values = values
        names = listed_names(class_names, "class_names")
        if names is not None and len(names) != num_classes:
            raise ValueError(f"class_names has {len(names)} names, there are {num_classes} classes")
        words = described(arm, label=label, loss=loss, control=control)
        keep = checked_keep(keep_predictions, view, moving=allow_moving_weights, part=self._part is not None)
        self._place = Place.of(
            directory, (arm, split, view), self.replicas, self.group, self._part,
            num_classes=num_classes, on_duplicate=on_duplicate, resume=resume, replace=replace,
        )  # fmt: skip
        self._writer, self._parts, self._own = self._place.writer, self._place.parts, self._place.own
        if self._own:
            words |= {} if values != "probabilities" else {"values": values, "clip": clip}
            self._place.settle(float(temperature), self.num_samples, names, words)
            if self._names is not None:
                settle_sample_names(self._writer.directory, split, self._names)
        self._keeper = None
        if keep is not None:
            self._keeper = PredictionKeeper(self._writer, arm, split, view, self.group, keep)
        self.epoch, self._warned = self._place.epoch + 1, False
        self._place.recording("running")
        super().__init__(
            self.replicas, num_classes, float(temperature), together=together,
            probabilities=values == "probabilities", clip=clip,
        )  # fmt: skip

    def _clear(self) -> None:
        super()._clear()
        self._log_probs: list[torch.Tensor] = []  # of the rows in `_done`, where they are kept
        self._given: frozenset[str] | None = None  # which optional arguments the epoch's batches have
        self._dropped: dict[int, int] = {}  # rows of each replica that came twice in the epoch
        self._evidence = {name: ScaleEvidence() for name in LOGITS} if self._values is None else {}

    def update(
        self,
        sample_ids: Values,
        student_logits: Values,
        labels: Values,
        teacher_logits: Teacher | None = None,
        *,
        loss_weight: Values | None = None,
        member: Values | None = None,
        where: Values | None = None,
    ) -> None:
        """Note one batch, before the optimiser's step. Tensors, NumPy arrays or lists.

        Args:
            sample_ids: int (B,), each id once an epoch. With R replicas together (R, B), as all that follows. Of tokens
                (B, T), as `biasvar.token_ids` makes them, and all that follows with T too.
            student_logits: (B, C), any float dtype; detached and copied here.
            labels: int (B,).
            teacher_logits: (B, C), a `biasvar.TopK`, or None; all batches of an epoch alike.
            loss_weight: (B,) what the loss multiplied the sample's soft label with, finite and not negative; 1 when not
                given.
            member: bool (B,), or integers 0 and 1, whether the sample is in the replica's training draw; True when not
                given.
            where: bool (B,), True for the rows to record; all when not given. What the others hold is not looked at:
                their labels may be -100, their logits NaN.

        Raises:
            TypeError: None, words and other things that are no arrays.
            ValueError: Shapes that disagree, sample_ids or labels that are not integers, masked arrays, or a teacher in
                some batches only.
        """
        prefix = f"Recorder.update, epoch {self.epoch}: "
        if are_names(sample_ids):
            if self._names is None:
                raise ValueError(f"{prefix}sample_ids are names: pass sample_names=, all of them, to Recorder")
            sample_ids = self._names.ids(sample_ids, f"{prefix}sample_ids")
        batch = step_tensors(
            prefix, len(self.replicas) if self._together else None, self.num_classes,
            sample_ids, student_logits, labels, teacher_logits, loss_weight, member, where,
        )  # fmt: skip
        given = frozenset(batch) & {"teacher", "top_values", "loss_weight", "member"}
        if self._given is not None and given != self._given:
            names = {"teacher": "teacher_logits", "top_values": "teacher_logits of a top-k"}
            name = names.get(odd := min(given ^ self._given), odd)
            raise ValueError(f"{prefix}{name} must be given in every batch of an epoch or in none")
        self._given = given
        self.note(batch)

    @checked
    def end_epoch(self, *, write: bool = True) -> Summary:
        """Close the epoch: check, write, and return when the file is safe on disk.

        Args:
            write: False closes the epoch without a file; the summary is returned all the same.

        Returns:
            `biasvar.records.summary.summarise` of the epoch: replica, n, accuracy, nll, share of regularization samples
            by criterion, mean weights, one entry a replica; its `.scalars()` are plain numbers for a logger. "warning"
            too, a text, where a teacher is at chance on rows that its student has learned; it is a Python warning and
            stands in the manifest as well.

        Raises:
            ValueError: An id out of range or met twice, a label out of range, logits or weights that are not finite in
                float32, negative weights (naming the ids), logits that look like probabilities; nothing is written
                then, and the epoch may be recorded anew.
            RecordError: The epoch was recorded by another recorder meanwhile.
        """
        if not self._pending and not self._done:
            raise ValueError(f"Recorder.end_epoch: epoch {self.epoch} has no samples; call update first")
        try:
            if self._device is not None and self._device.type == "meta":
                raise ValueError(f"Recorder.end_epoch: student_logits of epoch {self.epoch} are on the device meta")
            self._reduce_pending()
            columns = self._checked(self._columns())
            summary = summarise(columns)
            if self._on_duplicate == "first":
                summary["duplicates_dropped"] = np.array([self._dropped.get(r, 0) for r in summary["replica"].tolist()])
            if self._own:
                self._warn(columns, summary)
            rows = columns.pop("row")
            if write and len(columns["sample_id"]):
                self._keep(columns, rows)
                self._write(columns)
                if self._keeper is not None and self._log_probs:
                    self._keeper.settle(self.epoch)
        finally:
            self._clear()
        self.epoch += 1
        return summary

    def _keep(self, columns: dict[str, np.ndarray], rows: np.ndarray) -> None:
        """Write the predictions before the record, so that an epoch that is recorded has them."""
        if self._replace and self._own:  # what is there is of the record that goes
            self._place.forget_predictions(self.epoch)
        if self._keeper is None or not self._log_probs:
            return
        if not self._replace and self._place.has(self.epoch):  # writing the record will say so
            return
        kept = torch.cat(self._log_probs).cpu().numpy()[rows]
        self._keeper.write(self.epoch, columns, kept, by_member="member" in (self._given or ()))

    def _write(self, columns: dict[str, np.ndarray]) -> None:
        metadata = {"temperature": self.temperature, "reference_teacher": self._reference}
        dropped = sum(self._dropped.values())
        if self._on_duplicate == "first":
            metadata["duplicates_dropped"] = dropped
        if self._part:
            self._parts.record(self.epoch, columns, metadata)
            return
        self._parts.refuse_others(self.epoch)
        key = (self.arm, self.split, self.view)
        given = (*key, self.epoch, self.group, columns)
        write = partial(self._writer.record, *given, metadata=metadata, replace=self._replace)
        if self._beside is None:
            write()
        else:
            self.settle()
            self._writing = self._beside.submit(write)
        self._writer.count_duplicates(*key, dropped)

    def settle(self) -> None:
        """Wait until every epoch that was ended is safe on disk.

        Raises:
            RecordError, OSError: As :meth:`end_epoch`, of an epoch that could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _warn(self, columns: dict[str, np.ndarray], summary: dict[str, np.ndarray]) -> None:
        """Note a teacher whose rows do not belong to the student's: in the summary, the manifest, and once aloud."""
        said = odd_teachers(columns, summary, self.num_classes)
        if said is None:
            return
        summary["warning"] = said
        text = next(word for word in said if word)
        if not self._warned:
            self._warned = True
            where = f"arm {self.arm!r}, epoch {self.epoch}: "
            warnings.warn(where + text, stacklevel=3)
            known = self._writer.manifest["arms"].get(self.arm, {}).get("warnings") or []
            self._writer.update_arm(self.arm, warnings=[*known, f"epoch {self.epoch}: {text}"])

    def _watch(self, batch: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
        if self._keeper is not None and self._keeper.wanted(self.epoch):
            self._log_probs.append(torch.log_softmax(batch["student"].double(), -1))
        for name in self._evidence.keys() & given.keys():
            if len(given[name]):
                self._evidence[name].add(given[name], given.get("where"))

    def _checked(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prefix = f"epoch {self.epoch} of arm {self.arm!r} is not recorded: "
        columns["row"] = np.arange(len(columns["sample_id"]))
        columns = checked_rows(columns, prefix, self.num_samples, self.num_classes, drop_not_finite=self._drop)
        if not len(columns["sample_id"]) and not self._drop:
            raise ValueError(f"{prefix}it has no samples, where= leaves all of them out")
        self._ask_scale(prefix)
        columns, self._dropped = without_repeats(columns, prefix, self.num_samples, self._on_duplicate)
        return columns

    def _ask_scale(self, prefix: str) -> None:
        """Refuse an epoch of probabilities or votes that were given as logits."""
        for name, evidence in self._evidence.items():
            try:
                evidence.refuse(f"{prefix}{name}_logits")
            except ValueError as error:
                alone = sum(other.found() is not None for other in self._evidence.values()) == 1
                only = (
                    ", or their logarithms if the others are logits"
                    if alone and "teacher" in (self._given or ())
                    else ""
                )
                raise ValueError(f"{error}{only} (values is an argument of Recorder)") from None

    def close(self) -> None:
        """End an epoch that is open, and say in the manifest that this recording is complete; `with` calls it.

        Raises:
            ValueError, RecordError: As :meth:`end_epoch`.
        """
        if self._pending or self._done:
            self.end_epoch()
        self.settle()
        self._place.recording("complete")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An epoch left open is closed when the block ends well, and dropped when it ends in an error."""
        if kind is None:
            self.close()
