"""What the adapters share: the recorders of one training, and the epochs that they end."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from biasvar.analysis import token_ids
from biasvar.training.recorder import Recorder

PASSES = {"train": "augmented", "test": "clean"}
"""The splits that adapters record and the view of each: the training pass, and the evaluation after each epoch."""


class TrainingRecord:
    """The recorders of one training of one student: of its training pass, and of its evaluation pass if asked for.

    Args:
        directory: The run directory.
        num_samples: Sample ids of training rows lie in 0 .. num_samples - 1.
        validation: The same of the evaluation rows, which are recorded as split "test", view "clean"; None: no record.
        tokens: Of a causal language model T, the longest sequence of all data: ids are then of sequences, each token is
            a sample (`biasvar.token_ids`), and logits are compared with the token after theirs.
        partial_epochs: Record an epoch that was cut short, with the rows that it had, instead of leaving it out.
        options: Everything else that `biasvar.Recorder` takes. `keep_predictions` is of the evaluation pass.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        num_samples: int,
        validation: int | None = None,
        tokens: int | None = None,
        partial_epochs: bool = False,
        **options: Any,
    ) -> None:
        for name in ("split", "view", "part"):
            if name in options:
                raise ValueError(f"{name} is for the adapter to say: leave {name}={options[name]!r} out")
        if isinstance(validation, bool):
            raise TypeError(f"validation is how many evaluation samples there are, not {validation}")
        inspect.signature(Recorder).bind(directory, num_samples=num_samples, **options)  # what is missing, at once
        self._directory, self._options, self._partial = directory, options, partial_epochs
        self.validation, self._tokens = validation, tokens
        self._sizes = {"train": num_samples, "test": validation}
        self._open = ExitStack()
        self._recorders: dict[str, Recorder] = {}
        self._batches = dict.fromkeys(PASSES, 0)  # batches of the epoch that is not ended
        self._ended: set[str] = set()

    def open(self, rank: int = 0, world: int = 1) -> None:
        """Open the recorders; in process `rank` of `world`, each of which records its part of an epoch."""
        self.close()
        options = dict(self._options)
        if world > 1:
            options = {"on_duplicate": "first", **options, "part": (rank, world)}
        kept = options.pop("keep_predictions", None)
        if kept is not None and self._sizes["test"] is None and not options.get("allow_moving_weights"):
            raise ValueError(
                "keep_predictions is of an evaluation pass: pass validation=, the number of its samples, too"
            )
        recorded = {split: size for split, size in self._sizes.items() if size is not None}
        for split, size in recorded.items():
            if kept is not None and split == list(recorded)[-1]:
                options["keep_predictions"] = kept
            size *= self._tokens or 1
            recorder = Recorder(self._directory, num_samples=size, split=split, view=PASSES[split], **options)
            self._recorders[split] = self._open.enter_context(recorder)

    def records(self, split: str) -> bool:
        """True if the rows of "train" or "test" are recorded now."""
        return split in self._recorders

    def update(self, split: str, **columns: Any) -> None:
        """Note a batch, by the arguments of `Recorder.update`."""
        if self._tokens is not None:
            columns = next_tokens(columns, self._tokens)
        self._recorders[split].update(**columns)
        self._batches[split] += 1

    def end_epoch(self, split: str, epoch: int, *, cut: str | None = None) -> dict[str, float]:
        """Close an epoch: write it, or leave it out with a warning that says `cut`, why it is not whole.

        Returns:
            The means of its summary as "biasvar/SPLIT/name", for loggers; empty where nothing was recorded.
        """
        if not self._batches.get(split) or split not in self._recorders:
            return {}
        self._batches[split] = 0
        self._ended.add(split)
        recorder = self._recorders[split]
        recorder.epoch = epoch
        write = cut is None or self._partial
        summary = recorder.end_epoch(write=write)
        if not write:
            warnings.warn(
                f"epoch {epoch} of split {split!r} is not recorded: {cut}; partial_epochs=True records what it had",
                stacklevel=3,
            )
        return summary.scalars(f"biasvar/{split}/") if write else {}

    def close(self, error: BaseException | None = None) -> None:
        """Close the recorders; an epoch that was not ended is dropped.

        Warns where evaluations were to be recorded and none came at the end of an epoch.
        """
        for split, recorder in self._recorders.items():
            if error is None:
                self.end_epoch(split, recorder.epoch, cut="training ended within it")
        if error is None and "test" in self._recorders and "test" not in self._ended:
            warnings.warn("no evaluation is recorded: none was made at the end of an epoch", stacklevel=3)
        try:
            self._open.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        finally:
            self._open, self._recorders, self._ended = ExitStack(), {}, set()
            self._batches = dict.fromkeys(PASSES, 0)


def next_tokens(columns: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The arguments of `Recorder.update` of tokens, from sequence ids (B,), and logits (B, t, C) and labels (B, t).

    Logits say the next token, of which the label -100 marks those that do not count, as in Hugging Face's models.

    Raises:
        ValueError: Labels that are none of tokens, and sequences longer than `length`.
    """
    labels = columns["labels"]
    if labels.ndim != 2 or labels.shape[1] > length:
        raise ValueError(f"tokens={length} needs labels (B, t) of at most {length} tokens, got {tuple(labels.shape)}")
    ids = token_ids(columns["sample_ids"], length)[:, 1 : labels.shape[1]]
    logits = {name: columns[name] for name in ("student_logits", "teacher_logits") if columns.get(name) is not None}
    said = {name: values[:, :-1] for name, values in logits.items()}
    said |= {"loss_weight": columns["loss_weight"][:, 1:]} if "loss_weight" in columns else {}
    return {**said, "sample_ids": ids, "labels": labels[:, 1:], "where": labels[:, 1:] != -100}


def step_columns(step: str, outputs: Any, batch: Any) -> dict[str, Any]:
    """The arguments of `Recorder.update` in a batch and in what a step returned for it.

    A step's "sample_ids" and "labels" go before those of the batch: "sample_id" and "labels" of a dictionary, the first
    and the last of a sequence of three or more.

    Raises:
        ValueError: There are no logits, or no sample ids.
    """
    given = outputs if isinstance(outputs, Mapping) else {}
    if "student_logits" not in given:
        what = f"a dictionary of {', '.join(given)}" if given else type(outputs).__name__
        raise ValueError(
            f"{step} returned no logits but {what}: let it return a dictionary with 'student_logits' (B, C) beside "
            "'loss', and 'teacher_logits' where there is a teacher"
        )
    rows = batch if isinstance(batch, Mapping) else {}
    if isinstance(batch, Sequence) and len(batch) > 2:
        rows = {"sample_id": batch[0], "labels": batch[-1]}
    ids, labels = given.get("sample_ids", rows.get("sample_id")), given.get("labels", rows.get("labels"))
    if ids is None or labels is None:
        raise ValueError(
            f"the batch has no {'sample ids' if ids is None else 'labels'}: let the data set give (id, ..., label) or "
            f"a dictionary with 'sample_id' and 'labels', as biasvar.with_sample_ids(data) does, or {step} return "
            "'sample_ids' and 'labels'"
        )
    said = {name: given[name] for name in ("student_logits", "teacher_logits", "loss_weight") if name in given}
    return {"sample_ids": ids, "labels": labels, **said}


def logits_of(output: Any, what: str = "the model's output") -> Any:
    """The logits (B, C) in what a model of Hugging Face returns: `output.logits`, or `output["logits"]`.

    Raises:
        ValueError: It has none.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None:
        kind = f"a dictionary of {', '.join(output)}" if isinstance(output, Mapping) else type(output).__name__
        raise ValueError(f"{what} is {kind}: let forward return a dictionary with 'logits' (B, C) beside 'loss'")
    return found


def output_columns(rows: Mapping[str, Any], output: Any, teacher_logits: Any = None) -> dict[str, Any]:
    """The arguments of `Recorder.update` in a batch's "sample_id" and "labels", and in what a model returned for it.

    A teacher's logits that are not given may stand in the output as "teacher_logits".

    Raises:
        ValueError: There are no ids, no labels, or no logits.
    """
    for name, cure in (
        (
            "sample_id",
            ", as biasvar.with_sample_ids(data) has; the Trainer drops it without label_names=['labels', 'sample_id'], "
            "or RecorderMixin",
        ),
        ("labels", "; of a Trainer that takes it away, such as with label_smoothing_factor, use RecorderMixin"),
    ):
        if rows.get(name) is None:
            raise ValueError(f"the batch has no {name!r}: the data set needs a column {name!r}{cure}")
    if teacher_logits is None and isinstance(output, Mapping):
        teacher_logits = output.get("teacher_logits")
    columns = {"sample_ids": rows["sample_id"], "labels": rows["labels"]}
    return {**columns, "student_logits": logits_of(output), "teacher_logits": teacher_logits}
