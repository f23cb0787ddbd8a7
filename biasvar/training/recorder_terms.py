"""The columns of a record from some steps' logits, on their device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional as F

from biasvar.analysis.arrays import holds_float64
from biasvar.analysis.inputs import sum_tolerance
from biasvar.analysis.soft_labels.top_k_teacher import dense_log_probs, sound_rows
from biasvar.analysis.tradeoff import regularization_samples, unchecked_terms, wsl_weights_of_losses

# Columns are kept in float32: a logit, or a loss, beyond it would be infinite on disk.
LARGEST = torch.finfo(torch.float32).max
LOGITS = ("student", "teacher")
# Logit elements of which terms are made at a time, in float64: one sequence of a large vocabulary has more than this.
_ELEMENTS = 2**21


def joined(pieces: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Steps as one batch; rows of top-k teachers that keep fewer entries than others get places without one."""
    batch = {}
    for name in pieces[0]:
        parts = [piece[name] for piece in pieces]
        if name in ("top_indices", "top_values"):
            k, none = max(part.shape[-1] for part in parts), -1 if name == "top_indices" else -torch.inf
            parts = [F.pad(part, (0, k - part.shape[-1]), value=none) for part in parts]
        batch[name] = torch.cat(parts)
    return batch


def on_device_of_terms(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a batch where its terms can be computed: on the CPU if their device has no float64, as Apple's."""
    return batch if holds_float64(batch["student"]) else {name: value.cpu() for name, value in batch.items()}


@torch.no_grad()
def record_terms(batch: Mapping[str, torch.Tensor], temperature: float, num_classes: int) -> dict[str, torch.Tensor]:
    """Columns of a batch, from (n, C) logits cast to float64 before any log-softmax, some rows at a time.

    Nothing waits for the device: what cannot be recorded is marked, and named at the end of the epoch. "kept" are the
    rows to record, "finite" those whose logits and losses float32 can hold, "flag" those whose member is 0 or 1.
    """
    rows = max(1, _ELEMENTS // num_classes)
    pieces = [
        _piece_terms({name: value[start : start + rows] for name, value in batch.items()}, temperature, num_classes)
        for start in range(0, max(1, len(batch["label"])), rows)
    ]
    return pieces[0] if len(pieces) == 1 else {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def _piece_terms(batch: Mapping[str, torch.Tensor], temperature: float, num_classes: int) -> dict[str, torch.Tensor]:
    student = batch["student"].double()
    label = batch["label"].long()
    safe = label.clamp(0, num_classes - 1)
    out = {
        "sample_id": batch["sample_id"].long(),
        "replica": batch["replica"].long(),
        "label": label,
        "student_prediction": student.argmax(-1),
    }
    top_k = "top_values" in batch
    has_teacher = top_k or "teacher" in batch
    if top_k:
        parts = (batch["top_indices"], batch["top_values"], batch["top_tail"])
        out["top_k"] = sound_rows(*parts, num_classes)
        inside = parts[0].clamp(-1, num_classes - 1)
        teacher = dense_log_probs(inside, *parts[1:], num_classes)
    else:
        teacher = batch["teacher"].double() if has_teacher else student
    if has_teacher:
        out["teacher_prediction"] = teacher.argmax(-1)
    terms = unchecked_terms(student, teacher, safe, temperature)
    out["finite"] = _is_finite(batch["student"], terms.student_loss)
    out["student_loss"] = terms.student_loss
    out["student_prob"] = terms.student_log_prob.exp()
    out["bias_gradient"] = terms.bias_gradient
    out["bias_gradient_norm"] = terms.bias_norm
    if has_teacher:
        known = teacher.masked_fill(teacher == -torch.inf, 0.0) if top_k else batch["teacher"]
        out["finite"] &= _is_finite(known, terms.teacher_loss)
        out["teacher_loss"] = terms.teacher_loss
        out["teacher_prob"] = terms.teacher_log_prob.exp()
        out["variance_gradient"] = terms.variance_gradient
        out["variance_gradient_norm"] = terms.variance_norm
        out["opposing"] = regularization_samples(terms)
        out["wsl_weight"] = wsl_weights_of_losses(terms.student_loss, terms.teacher_loss)
    every = torch.ones_like(label, dtype=torch.bool)
    member = batch.get("member", every)
    out["loss_weight"] = batch.get("loss_weight", torch.ones_like(out["student_loss"])).double()
    out["member"] = member.bool()
    out["flag"] = every if member.dtype == torch.bool else (member == 0) | (member == 1)
    out["kept"] = batch.get("where", every)
    return {name: value.float() if value.is_floating_point() else value for name, value in out.items()}


@torch.no_grad()
def log_probabilities(
    batch: dict[str, torch.Tensor], clip: float | None
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """A batch with the logarithms of its probabilities, raised to `clip`, in their place; and two marks of its rows.

    Returns:
        The batch; True for rows that are distributions (not negative, a sum of 1 within 1e-3); True for rows without
        zeros. Rows are divided by their sum in the log-softmax.
    """
    batch = dict(batch)
    sound = positive = torch.ones_like(batch["label"], dtype=torch.bool)
    for name in LOGITS:
        if name in batch:
            p = batch[name].double()
            sound = sound & (p >= 0).all(-1) & ((p.sum(-1) - 1).abs() <= sum_tolerance(batch[name]))
            p = p if clip is None else p.clamp_min(clip)
            positive = positive & (p != 0).all(-1)
            batch[name] = p.log()
    return batch, sound, positive


def _is_finite(logits: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """Rows whose logits and loss float32 can hold; a comparison with NaN is False, and one in half precision rounds."""
    return (logits.abs().amax(-1).double() <= LARGEST) & (loss <= LARGEST)
