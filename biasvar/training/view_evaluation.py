"""What students say of a further view of the samples: of its images, or of their own adversarial ones."""

from __future__ import annotations

import numpy as np
import torch

from biasvar.study.views import ATTACKS, View
from biasvar.training.attacks import Attack
from biasvar.training.context import StudyContext
from biasvar.training.loop import predict
from biasvar.training.replicas import Replicas
from biasvar.training.view_images import view_images


def view_logits(context: StudyContext, replicas: Replicas, view: View, sample_ids: np.ndarray) -> torch.Tensor:
    """(R, n, C) float64 logits of the samples as a view shows them, in evaluation mode.

    Args:
        context: Of the study, whose inputs are images.
        replicas: The students.
        view: Any of the study's.
        sample_ids: int (n,).
    """
    if view.kind in ATTACKS:
        ids = torch.as_tensor(sample_ids, device=context.device)
        return Attack(view.kind, float(view.amount or 0)).logits(replicas, context.inputs, ids, context.labels)
    inputs = context.inputs.of(view_images(context.dataset, view, sample_ids))
    return predict(replicas, inputs, torch.arange(len(sample_ids), device=context.device))
