"""The columns of a record from a batch of logits, on the logits' device."""

from __future__ import annotations

import torch

from biasvar.analysis.tradeoff import regularization_samples, unchecked_terms, wsl_weights_of_losses

# Columns are kept in float32: a logit, or a loss, beyond it would be infinite on disk.
LARGEST = torch.finfo(torch.float32).max


@torch.no_grad()
def record_terms(batch: dict[str, torch.Tensor], temperature: float, num_classes: int) -> dict[str, torch.Tensor]:
    """Columns of one piece, from (n, C) logits cast to float64 before any log-softmax."""
    student = batch["student"].double()
    label = batch["label"].long()
    safe = label.clamp(0, num_classes - 1)  # an impossible label is named at the end of the epoch, not by a crash here
    out = {
        "sample_id": batch["sample_id"].long(),
        "replica": batch["replica"].long(),
        "label": label,
        "student_prediction": student.argmax(-1),
    }
    has_teacher = "teacher" in batch
    teacher = batch["teacher"].double() if has_teacher else student
    if has_teacher:
        out["teacher_prediction"] = teacher.argmax(-1)
    terms = unchecked_terms(student, teacher, safe, temperature)
    out["finite"] = _is_finite(student, terms.student_loss)  # refused at the end of the epoch, with the ids
    out["student_loss"] = terms.student_loss
    out["student_prob"] = terms.student_log_prob.exp()
    out["bias_gradient"] = terms.bias_gradient
    out["bias_gradient_norm"] = terms.bias_norm
    if has_teacher:
        out["finite"] &= _is_finite(teacher, terms.teacher_loss)
        out["teacher_loss"] = terms.teacher_loss
        out["teacher_prob"] = terms.teacher_log_prob.exp()
        out["variance_gradient"] = terms.variance_gradient
        out["variance_gradient_norm"] = terms.variance_norm
        out["opposing"] = regularization_samples(terms)
        out["wsl_weight"] = wsl_weights_of_losses(terms.student_loss, terms.teacher_loss)
    out["loss_weight"] = batch.get("loss_weight", torch.ones_like(out["student_loss"])).double()
    out["member"] = batch["member"].bool() if "member" in batch else torch.ones_like(label, dtype=torch.bool)
    return {name: value.float() if value.is_floating_point() else value for name, value in out.items()}


def _is_finite(logits: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """Rows whose logits and loss float32 can hold; a comparison with NaN is False."""
    return (logits.abs().amax(-1) <= LARGEST) & (loss <= LARGEST)
