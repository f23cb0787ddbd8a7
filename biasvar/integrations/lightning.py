"""biasvar in Lightning: a callback that records every sample of a Trainer's epochs (docs/lightning.md)."""

from __future__ import annotations

from typing import Any

from biasvar.integrations.recording import TrainingRecord, step_columns

try:
    from lightning.pytorch.callbacks import Callback
except ImportError as error:
    raise ImportError(f"{error}: pip install 'biasvar[lightning]'") from None

__all__ = ["RecorderCallback"]


class RecorderCallback(Callback):
    """Records bias and variance terms of every training sample, and predictions of evaluation samples, by epoch.

    `training_step` returns {"loss", "student_logits"} and, where there is a teacher, "teacher_logits"; so does
    `validation_step` (no loss needed) where `validation` is given. Batches are (sample_ids, ..., labels), or
    dictionaries with "sample_id" and "labels"; a step may return "sample_ids" and "labels" itself, and "loss_weight".

    Every epoch's summary goes to the Trainer's loggers as "biasvar/train/..." and "biasvar/test/...". Under several
    processes each records its part, and samples that the sampler repeats count once. An epoch that `max_steps` cuts
    short is left out, with a warning. Evaluations within an epoch are left out too, and those of `trainer.validate`.

    Args:
        directory: The run directory, shared by arms and replicas.
        num_samples: Sample ids of training rows lie in 0 .. num_samples - 1.
        validation: The same of the first validation dataloader, recorded as split "test", view "clean".
        options: All that `biasvar.Recorder` takes: num_classes, temperature, arm, replica, keep_predictions, ...; and
            `partial_epochs=True`, to record epochs that were cut short, too.

    Raises:
        ValueError: A batch without sample ids, a step that returns no student_logits, and what `Recorder` raises.
    """

    def __init__(self, directory: Any, *, num_samples: int, validation: int | None = None, **options: Any) -> None:
        self.record = TrainingRecord(directory, num_samples=num_samples, validation=validation, **options)
        self._seen = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.record.open(trainer.global_rank, trainer.world_size)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.record.update("train", **step_columns("training_step", outputs, batch))
        self._seen += 1

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        place = trainer.fit_loop.epoch_loop
        ended = place.batch_progress.is_last_batch or place.batch_idx + 1 >= trainer.num_training_batches
        if self.record.records("test") and ended and dataloader_idx == 0 and not trainer.sanity_checking:
            self.record.update("test", **step_columns("validation_step", outputs, batch))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end("test", trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        whole, seen, self._seen = trainer.num_training_batches, self._seen, 0
        cut = f"it has {seen} of {whole} batches" if seen < whole < float("inf") else None
        self._end("train", trainer, pl_module, cut)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.record.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.record.close(exception)

    def _end(self, split: str, trainer: Any, pl_module: Any, cut: str | None = None) -> None:
        means = self.record.end_epoch(split, trainer.current_epoch + 1, cut=cut)
        pl_module.log_dict(means, sync_dist=trainer.world_size > 1, add_dataloader_idx=False)
