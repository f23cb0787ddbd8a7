"""A method of one's own: the confidence penalty of Pereyra et al., Regularizing Neural Networks by Penalizing
Confident Output Distributions, ICLR workshop 2017.

A study names it by import path, and gives its settings beside it:

    arms:
      penalty: {loss: "experiments.own_method.confidence_penalty:ConfidencePenalty", strength: 0.5}
"""

import torch
from torch.nn import functional as F

from biasvar.study import Arm
from biasvar.training.methods import Batch, Method


class Settings(Arm):
    """What an arm may say beside what every arm has; a key without a default must be given."""

    strength: float


class ConfidencePenalty(Method):
    """Cross-entropy less `strength` times the entropy of the prediction, in nats."""

    Settings = Settings

    def loss(self, state: None, batch: Batch) -> tuple[torch.Tensor, None]:
        log_probs = F.log_softmax(batch.logits, -1)  # (R, B, C): R replicas train together
        truth = log_probs.gather(-1, batch.labels[..., None])[..., 0]
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return -truth - self.settings.strength * entropy, None
