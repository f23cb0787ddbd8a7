"""Gradients of the bias and variance parts of distillation, regularization samples, and WSL weights, sample by sample.

Zhou et al. 2021 ("Rethinking soft labels for knowledge distillation: a bias-variance tradeoff perspective") split the
distillation loss as L_kd = L_ce + (L_kd - L_ce) and read the first part as bias reduction, the second as variance
reduction. The paper's text was not at hand: the formulas below are derived (and checked by automatic differentiation),
the criteria are readings of a summary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, as_float64, exponentials, log1p_others, namespace, pick
from biasvar.analysis.inputs import as_array, as_labels, as_rows, as_where, check_real, like, positive
from biasvar.analysis.scale import check_scale, check_values, log_probabilities
from biasvar.analysis.soft_labels.top_k_teacher import TopK
from biasvar.arguments import checked

CRITERIA = ("opposing", "literal", "magnitude", "norm")


@dataclass(frozen=True, eq=False)
class TradeoffTerms:
    """Gradients per sample with respect to the student's logits; every array has the shape of the labels, float64.

    Attributes:
        bias_gradient: the paper's a = dL_ce/dz at the true class, p - 1, in [-1, 0].
        variance_gradient: the paper's b = d(L_kd - L_ce)/dz at the true class.
        bias_norm, variance_norm: Euclidean norms of the two gradients over all logits.
        student_log_prob, teacher_log_prob: log-probability of the true class at the temperature, nats.
        student_loss, teacher_loss: cross-entropy with the label at temperature 1, nats.

    >>> terms = tradeoff_terms([[2.0, 0.0]], [[0.0, -1.0]], [0], temperature=1.0)
    >>> terms.student_loss.round(3).tolist(), terms.teacher_loss.round(3).tolist(), terms.bias_norm.round(3).tolist()
    ([0.127], [0.313], [0.169])
    """

    bias_gradient: Array
    variance_gradient: Array
    bias_norm: Array
    variance_norm: Array
    student_log_prob: Array
    teacher_log_prob: Array
    student_loss: Array
    teacher_loss: Array


@checked
def tradeoff_terms(
    student_logits: Any,
    teacher_logits: Any,
    labels: Any,
    *,
    temperature: float,
    where: Any = None,
    values: Literal["logits", "probabilities"] | None = None,
) -> TradeoffTerms:
    """Bias and variance gradients of distillation at the student's logits z.

    With p, q the student's and teacher's softmax, tau the temperature and i the true class:

        a_k = p_k - [k = i],    b_k = tau (p_k,tau - q_k,tau) - a_k,    a + b = dL_kd/dz,
        L_kd = -tau^2 sum_k q_k,tau log p_k,tau

    The values at k = i come from log-probabilities (expm1), so they survive where p rounds to 1. alpha is not included
    in b.

    Args:
        student_logits, teacher_logits: `(..., C)`; the teacher's may lack leading axes (one teacher for many students),
            or be a `TopK`.
        labels: `(...)` class numbers, or lacking the same leading axes.
        temperature: tau, above 0.
        where: bool, the shape of the labels: which rows count. The others may hold anything, such as the label -100,
            and get NaN.
        values: what the student's and the teacher's rows hold: "logits", or "probabilities" (rows sum to 1 within 1e-3,
            then exactly). None: logits, and refused if they look like anything else (`analysis.scale`).

    Returns:
        `TradeoffTerms`. A class whose logit is -inf has probability 0. Logits that are NaN or +inf give NaN in their
        own rows only, so that one diverged replica stops no other.

    Raises:
        ValueError: for shapes that do not fit, labels out of range, a temperature that is not positive, probabilities
            or votes in place of logits.

    >>> terms = tradeoff_terms([[2.0, 0.0]], [[0.0, -1.0]], [0], temperature=1.0)
    >>> terms.bias_gradient.round(4).tolist(), terms.variance_gradient.round(4).tolist()
    ([-0.1192], [0.2689])
    """
    temperature = positive(temperature, "temperature")
    return unchecked_terms(*_inputs(student_logits, teacher_logits, labels, where, values), temperature)


def unchecked_terms(student: Array, teacher: Array, labels: Array, temperature: float) -> TradeoffTerms:
    """`tradeoff_terms` of checked float64 logits and int64 labels: on a GPU, nothing here waits for the device."""
    xp = namespace(student)
    with np.errstate(invalid="ignore"):
        log_p, p = log_p_soft, p_soft = _truth_and_all(student, labels)
        log_q_soft, q_soft = _truth_and_all(teacher / temperature, labels)
        log_q = log_q_soft
        if temperature != 1.0:
            log_p_soft, p_soft = _truth_and_all(student / temperature, labels)
            log_q = true_log_prob(teacher, labels)
        is_true = xp.arange(student.shape[-1], device=array_api_compat.device(labels)) == labels[..., None]
        # p - 1 and p - q at the true class without the rounding of p near 1; elsewhere p and q are small there and
        # exact enough.
        bias_gradient = xp.expm1(log_p)
        bias = xp.where(is_true, bias_gradient[..., None], p)
        pull = temperature * (xp.expm1(log_p_soft) - xp.expm1(log_q_soft))
        variance = xp.where(is_true, pull[..., None], temperature * (p_soft - q_soft)) - bias
        return TradeoffTerms(
            bias_gradient=bias_gradient,
            variance_gradient=pull - bias_gradient,
            bias_norm=xp.sqrt(xp.sum(bias**2, axis=-1)),
            variance_norm=xp.sqrt(xp.sum(variance**2, axis=-1)),
            student_log_prob=log_p_soft,
            teacher_log_prob=log_q_soft,
            student_loss=-log_p,
            teacher_loss=-log_q,
        )


def _truth_and_all(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Log-probability of the true class, `labels`' shape, and all probabilities; logits may lack leading axes."""
    xp = namespace(logits)
    _, shifted, values, others = exponentials(logits)
    shifted = xp.broadcast_to(shifted, (*labels.shape, logits.shape[-1]))
    return pick(shifted, labels) - xp.log1p(others), values / (1.0 + others[..., None])


@checked
def regularization_samples(terms: TradeoffTerms, *, criterion: str = "opposing") -> Array:
    """Which samples the soft label steadies at the price of bias, bool of the labels' shape.

    - "opposing" (default): b > |a|, which is log p_i,tau > log q_i,tau: the student is surer of the truth than the
      teacher. Compared in log space, since a and b drown where both are confident. At tau = 1 it is WSL weight < 1 -
      1/e (epsilon 0).
    - "literal": b > a. Nearly always true, since a <= 0; at tau = 1 always, up to rounding.
    - "magnitude": |b| > |a|; "norm": ||b|| > ||a|| over all logits. Both also count samples that distillation pulls the
      *same* way.

    Samples with NaN terms are False.

    Raises:
        TypeError: for anything else than `TradeoffTerms`.
        ValueError: for an unknown criterion.

    >>> terms = tradeoff_terms([[2.0, 0.0], [0.0, -1.0]], [[0.0, -1.0], [2.0, 0.0]], [0, 0], temperature=1.0)
    >>> regularization_samples(terms).tolist()
    [True, False]
    """
    if not isinstance(terms, TradeoffTerms):
        raise TypeError(f"terms must be the TradeoffTerms of tradeoff_terms, got {type(terms).__name__}")
    if criterion == "opposing":
        return opposes(terms.student_log_prob, terms.teacher_log_prob)
    if criterion == "norm":
        return outweighs(terms.bias_norm, terms.variance_norm, criterion)
    if criterion in CRITERIA:
        return outweighs(terms.bias_gradient, terms.variance_gradient, criterion)
    raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")


@checked
def wsl_weights(
    student_logits: Any,
    teacher_logits: Any,
    labels: Any,
    *,
    epsilon: float = 1e-7,
    where: Any = None,
    values: Literal["logits", "probabilities"] | None = None,
) -> Array:
    """Weights of the soft-label loss in WSL: w = 1 - exp(-L_s / (L_t + epsilon)), in [0, 1].

    L_s and L_t are the student's and teacher's cross-entropy at temperature 1; no gradient flows through w. The
    authors' released code adds epsilon = 1e-7 to the teacher's loss (after an overflow was reported); the paper's
    formula has epsilon = 0. There, where L_t = 0 the limit from epsilon above 0 is taken: w = 1 if L_s > 0, and w = 0
    if L_s = 0 too (nothing left to learn).

    Args:
        student_logits, teacher_logits: `(..., C)`; the teacher's may lack leading axes, or be a `TopK`.
        labels: `(...)` class numbers, or lacking the same leading axes.
        epsilon: at least 0.
        where, values: as for `tradeoff_terms`; the weight of a row that does not count is NaN.

    Returns:
        `(...)` float64; NaN where logits are NaN or +inf.

    Raises:
        ValueError: for shapes that do not fit, labels out of range, a negative epsilon, probabilities or votes in place
            of logits.

    >>> wsl_weights([[1.0, 0.0], [-1.0, 0.0]], [[0.0, -1.0], [0.0, -1.0]], [0, 0], epsilon=0.0).round(3).tolist()
    [0.632, 0.985]
    """
    student, teacher, labels = _inputs(student_logits, teacher_logits, labels, where, values)
    with np.errstate(invalid="ignore"):
        student_loss, teacher_loss = -true_log_prob(student, labels), -true_log_prob(teacher, labels)
    return wsl_weights_of_losses(student_loss, teacher_loss, epsilon=epsilon)


def true_log_prob(logits: Array, labels: Array, temperature: float = 1.0) -> Array:
    """Log-softmax at the true class, float64 `(...)`, to full relative precision: -exp(-45) at a margin of 45, not 0.

    With z the logits over the temperature and m their maximum, log p_i = (z_i - m) - log1p(s), where s sums exp(z_k -
    m) over all classes but one of the largest. Where the true class is the largest this is -log1p(s), in which a sum
    over all classes would have rounded s away. Nothing here is checked, and on a GPU nothing waits for the device; the
    result is on the processor if the device has no float64.
    """
    xp = namespace(logits)
    logits = as_float64(logits)
    if labels.device != logits.device:
        labels = like(labels, logits, "labels")
    _, shifted, rest = log1p_others(logits if temperature == 1.0 else logits / temperature)
    return pick(xp.broadcast_to(shifted, (*labels.shape, shifted.shape[-1])), labels) - rest


def opposes(student_log_prob: Array, teacher_log_prob: Array) -> Array:
    """The "opposing" flag, b > |a|: the student is surer of the true class than the teacher, both at the temperature.

    From b = tau (p_i,tau - q_i,tau) - a and a < 0: b > |a| = -a is p_i,tau > q_i,tau, compared as logarithms.
    """
    return student_log_prob > teacher_log_prob


def outweighs(bias: Array, variance: Array, criterion: str) -> Array:
    """The flags other than "opposing", bool: |b| > |a| ("magnitude"), else b > a, of gradients or of their norms."""
    xp = namespace(bias)
    return xp.abs(variance) > xp.abs(bias) if criterion == "magnitude" else variance > bias


def wsl_weights_of_losses(student_loss: Array, teacher_loss: Array, *, epsilon: float = 1e-7) -> Array:
    """The weights of `wsl_weights` from the two cross-entropies at temperature 1, for who has them already.

    Raises:
        ValueError: for a negative epsilon.
    """
    epsilon = positive(epsilon, "epsilon", zero=True)
    xp = namespace(student_loss)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        ratio = student_loss / (teacher_loss + epsilon)
        ratio = xp.where(student_loss == 0.0, xp.where(xp.isnan(teacher_loss), teacher_loss, 0.0), ratio)
        return -xp.expm1(-ratio)


def _inputs(
    student_logits: Any, teacher_logits: Any, labels: Any, where: Any, values: str | None
) -> tuple[Array, Array, Array]:
    """Float64 logits, NaN outside `where`, and int64 labels broadcast to the student's leading axes."""
    check_values(values)
    student = as_rows(student_logits, "student_logits")
    top_k = isinstance(teacher_logits, TopK)
    dense = teacher_logits.dense(student.shape[-1], reference=student) if top_k else teacher_logits
    teacher = as_array(dense, "teacher_logits")
    check_real(teacher, "teacher_logits")
    lead, own = tuple(student.shape), tuple(teacher.shape)
    if not own or own != lead[len(lead) - len(own) :]:
        raise ValueError(f"teacher_logits must have the shape of student_logits {lead}, or its last axes, got {own}")
    teacher = like(teacher, student, "teacher_logits")
    shape = lead[:-1]
    labels = as_array(labels, "labels")
    own = tuple(labels.shape)
    if teacher.ndim - 1 <= len(own) < len(shape) and own == shape[len(shape) - len(own) :]:
        labels = namespace(labels).broadcast_to(labels, shape)
    kept = None if where is None else as_where(where, student, shape)
    labels = as_labels(labels, student, shape, lead[-1], where=kept)
    # A teacher that lacks axes of the student is asked about as a whole; a TopK says what it holds.
    seen = None if kept is None or teacher.ndim != student.ndim else kept
    given = (
        ("student_logits", student, values, kept),
        ("teacher_logits", teacher, "logits" if top_k else values, seen),
    )
    for name, x, kind, rows in given:
        check_scale(x, name, kind, rows)
    read = [_float64(x, name, kind, kept) for name, x, kind, _ in given]
    return read[0], read[1], labels


def _float64(x: Array, name: str, values: str | None, where: Array | None) -> Array:
    """Float64 logits of logits or probabilities, NaN in rows that do not count."""
    xp = namespace(x)
    if where is not None:
        x = xp.broadcast_to(x, (*where.shape, x.shape[-1]))
        x = xp.where(where[..., None], xp.astype(x, xp.float64), float("nan"))
    return log_probabilities(x, name) if values == "probabilities" else xp.astype(x, xp.float64, copy=False)
