"""biasvar in the Hugging Face Trainer: a callback, and a mixin of Trainers that distil (docs/huggingface.md)."""

from __future__ import annotations

from typing import Any

from biasvar.integrations.huggingface_trainer import RecorderMixin
from biasvar.integrations.recording import TrainingRecord, output_columns

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(f"{error}: pip install 'biasvar[huggingface]'") from None

__all__ = ["RecorderCallback", "RecorderMixin"]


class RecorderCallback(TrainerCallback):
    """Records by "sample_id" and "labels" what the model says of every sample, with hooks on its forward.

    A model with a teacher inside returns "teacher_logits" beside "logits"; `RecorderMixin` has one beside the model.
    Columns that forward does not take are dropped: TrainingArguments need `label_names=["labels", "sample_id"]`.
    Evaluations need `eval_strategy="epoch"`; an epoch that `max_steps` cuts short is left out, with a warning. Several
    processes record their parts, and samples that the sampler repeats count once.
    Args: those of `biasvar.integrations.recording.TrainingRecord`.

    Raises:
        ValueError: A batch without ids or labels, an output without logits, and what `biasvar.Recorder` raises.
    """

    def __init__(self, directory: Any, *, num_samples: int, validation: int | None = None, **options: Any) -> None:
        self.record = TrainingRecord(directory, num_samples=num_samples, validation=validation, **options)
        self.trainer: Any = None  # one with RecorderMixin, which needs no hooks
        self._hooks: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self.record.validation is not None and args.eval_strategy != "epoch":
            raise ValueError(f"validation needs eval_strategy='epoch', not {args.eval_strategy.value!r}")
        self._unhook()  # after a training that failed
        self.record.open(args.process_index, args.world_size)
        if self.trainer is None:
            if args.n_gpu > 1:
                raise ValueError(f"{args.n_gpu} GPUs in one process: start it by torchrun, or use RecorderMixin")
            self._hooks.append(model.register_forward_pre_hook(self._take, with_kwargs=True))
            self._hooks.append(model.register_forward_hook(self._note))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begun = float(state.epoch or 0)  # not whole where training goes on from within an epoch

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("train", state.epoch, self._begun.is_integer())

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end("test", state.epoch or 0, True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._unhook()
        self.record.close()

    def _unhook(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _take(self, model: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        self._rows = {"sample_id": kwargs.pop("sample_id", None), "labels": kwargs.get("labels")}
        return args, kwargs

    def _note(self, model: Any, args: Any, output: Any) -> None:
        self.note(model.training, self._rows, output)

    def note(self, training: bool, rows: dict[str, Any], output: Any, teacher_logits: Any = None) -> None:
        """Record a batch: its "sample_id" and "labels", the model's output, and its teacher's logits."""
        if self.record.records(split := "train" if training else "test"):
            self.record.update(split, **output_columns(rows, output, teacher_logits))

    def _end(self, split: str, epoch: float, begun: bool) -> None:
        cut = None if begun and epoch >= 1 and float(epoch).is_integer() else f"at {epoch:.3g} epochs it is not whole"
        means = self.record.end_epoch(split, -int(-epoch // 1), cut=cut)
        if means and self.trainer is not None:
            self.trainer.log(means)
