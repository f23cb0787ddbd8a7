"""Scores of training samples by which rows are chosen to be distilled, all functions of the same evidence.

Which score Lan et al. 2024 select by is known in kind only (influence functions); its parameters, Hessian and direction
are not. So each is a function of one signature here, and a study can compare them:

    influence         -g_V^T H^-1 g_i   of the last layer, on a held-out split V (Koh and Liang 2017): positive where
                      giving the sample more weight raises the held-out loss, which is harmful
    self_influence    g_i^T H^-1 g_i    large where the sample is learned by heart, or labelled wrongly
    gradient_norm     |p_i - y_i| |h_i|
    loss              -ln p_i(y_i)
    margin            z_i(y_i) - max of the other logits
    bias_gradient, variance_gradient, wsl_weight     means of what another arm recorded of the sample
    random            a number that knows nothing
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from biasvar.analysis.arrays import log_softmax
from biasvar.analysis.selection.softmax_head import SoftmaxHead
from biasvar.seeding import uniforms


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a score may go by, of N samples; a score says what it needs.

    Attributes:
        sample_ids, labels: int (N,).
        logits: (N, C) of the model whose answers are scored.
        features: (N, D) what its last layer is given.
        held_out: The same layer on held-out samples.
        recorded: (N,) the mean of what another arm recorded of the sample.
        bias: The last layer has one.
        damping: Of the Hessian.
        exact: Solve by Cholesky, or by conjugate gradients; None: by the number of parameters.
        seed: Of random scores.

    >>> import numpy as np
    >>> evidence = Evidence(np.arange(2), np.array([0, 1]), logits=np.array([[2.0, 0.0], [2.0, 0.0]]))
    >>> evidence.bias, evidence.held_out is None
    (True, True)
    """

    sample_ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray | None = None
    features: np.ndarray | None = None
    held_out: SoftmaxHead | None = None
    recorded: np.ndarray | None = None
    bias: bool = True
    damping: float = 0.01
    exact: bool | None = None
    seed: int = 0

    @property
    def head(self) -> SoftmaxHead:
        """The last layer on the N samples."""
        return SoftmaxHead(_there(self.features, "features"), _there(self.logits, "logits"), self.labels, self.bias)


Score = Callable[[Evidence], np.ndarray]


def influence(evidence: Evidence) -> np.ndarray:
    """(N,) -g_V^T H^-1 g_i: the slope of the held-out loss in the weight of sample i; positive is harmful.

    Removing the sample from N changes the held-out loss by about -1/N of it.
    """
    head = evidence.head
    if evidence.held_out is None:
        raise ValueError("influence needs held_out: the last layer on a held-out split")
    aim = head.solver(evidence.damping, exact=evidence.exact)(evidence.held_out.mean_gradient()[..., None])[..., 0]
    return np.asarray(-((head.inputs @ aim.T) * head.errors).sum(1))


def self_influence(evidence: Evidence) -> np.ndarray:
    """(N,) g_i^T H^-1 g_i, by which a sample lowers its own loss."""
    head = evidence.head
    solve = head.solver(evidence.damping, exact=evidence.exact)
    found = []
    for at in range(0, len(head.inputs), 256):
        errors, inputs = head.errors[at : at + 256], head.inputs[at : at + 256]
        gradients = np.einsum("nc,nd->cdn", errors, inputs)
        found.append((gradients * solve(gradients)).sum(axis=(0, 1)))
    return np.concatenate(found)


def gradient_norm(evidence: Evidence) -> np.ndarray:
    """(N,) |p - y| |h|: the norm of the gradient of the last layer."""
    head = evidence.head
    return np.asarray(np.linalg.norm(head.errors, axis=1) * np.linalg.norm(head.inputs, axis=1))


def loss(evidence: Evidence) -> np.ndarray:
    """(N,) cross-entropy with the label, nats."""
    log_probs = log_softmax(_there(evidence.logits, "logits").astype(np.float64))
    return np.asarray(-log_probs[np.arange(len(log_probs)), evidence.labels])


def margin(evidence: Evidence) -> np.ndarray:
    """(N,) the true class's logit less the largest of the others: above 0 where the model is right."""
    logits = _there(evidence.logits, "logits").astype(np.float64)
    rows = np.arange(len(logits))
    others = logits.copy()
    others[rows, evidence.labels] = -np.inf
    return np.asarray(logits[rows, evidence.labels] - others.max(1))


def recorded(evidence: Evidence) -> np.ndarray:
    """(N,) the mean of what another arm recorded."""
    return np.asarray(_there(evidence.recorded, "recorded"), dtype=np.float64)


def random(evidence: Evidence) -> np.ndarray:
    """(N,) uniform numbers of (seed, sample_id)."""
    return uniforms(evidence.seed, "selection", evidence.sample_ids, 1)[:, 0]


def _there(values: np.ndarray | None, name: str) -> np.ndarray:
    if values is None:
        raise ValueError(f"this score needs {name}")
    return values


SCORES: MappingProxyType[str, Score] = MappingProxyType(
    {
        "influence": influence, "self_influence": self_influence, "gradient_norm": gradient_norm, "loss": loss,
        "margin": margin, "bias_gradient": recorded, "variance_gradient": recorded, "wsl_weight": recorded,
        "random": random,
    }
)  # fmt: skip
"""Every score by its name in a study file."""
