"""A mixin of Hugging Face Trainers that record, and distil where they have a teacher."""

from __future__ import annotations

from typing import Any

import torch

from biasvar.integrations.recording import logits_of


class RecorderMixin:
    """A Trainer that records, and distils where it has a teacher: `class Distiller(RecorderMixin, Trainer): pass`.

    It wraps the `compute_loss` of the class to its right and keeps the column "sample_id", which that one never sees.
    Summaries of epochs are logged as "biasvar/train/..." and "biasvar/test/..."; of several processes, the first's.

    Args:
        recorder: A `biasvar.integrations.huggingface.RecorderCallback`, whose hooks are not used.
        teacher: A model of the same inputs; it is put into eval mode and its logits are recorded beside the student's.
        distillation_loss: Called with student's logits, teacher's logits and labels, as the losses of `biasvar.losses`
            are, and the mean over a batch; None keeps the Trainer's own loss.

    Raises:
        ValueError: A distillation_loss without a teacher; a batch without ids or labels; an output without logits.
    """

    _signature_columns: Any

    def __init__(
        self, *args: Any, recorder: Any, teacher: Any = None, distillation_loss: Any = None, **kwargs: Any
    ) -> None:
        if distillation_loss is not None and teacher is None:
            raise ValueError("distillation_loss needs a teacher: pass teacher=, a model of the student's inputs")
        super().__init__(*args, **kwargs)
        self.recorder, self.teacher, self.distillation_loss = recorder, teacher, distillation_loss
        recorder.trainer = self
        self.add_callback(recorder)  # type: ignore[attr-defined]
        if teacher is not None:
            teacher.to(self.args.device).eval().requires_grad_(False)  # type: ignore[attr-defined]
        if distillation_loss is not None:  # the Trainer divides it by the number of batches of an optimizer's step
            self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[misc]
        self._signature_columns = [*dict.fromkeys([*self._signature_columns, "sample_id"])]

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any) -> Any:
        rows = {"sample_id": inputs.pop("sample_id", None), "labels": inputs.get("labels")}
        seen = {name: value for name, value in inputs.items() if name != "labels"}
        loss, output = super().compute_loss(model, inputs, return_outputs=True, **kwargs)  # type: ignore[misc]
        teacher_logits = None
        if self.teacher is not None:
            with torch.no_grad():
                teacher_logits = logits_of(self.teacher(**seen), "the teacher's output")
            if self.distillation_loss is not None:
                loss = self.distillation_loss(logits_of(output), teacher_logits, rows["labels"])
        self.recorder.note(model.training, rows, output, teacher_logits)
        return (loss, output) if return_outputs else loss
