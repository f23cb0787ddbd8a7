r"""The loss of a teacher that is wrong on purpose and yet worth learning from.

Yuan et al. 2023 ("Learning From Biased Soft Labels", NeurIPS) train "skillful but bad" teachers: under 30 % accurate,
their students good. The loss is described as L = L_ce + a1 L_pun + a2 L_comp + a3 L_rnd, where L_pun punishes a correct
top-1, L_comp compensates when the true class has left the top-k, and L_rnd has random wrong labels as objectives for
the other k - 1 slots (from a third party's note on the paper; its formulas, weights and k were not at hand). The terms
here are a design consistent with that description, not the paper's. With p = softmax(z), truth y, and R(x) of k - 1
wrong labels:

    L_ce   = -ln p_y
    L_pun  = -1[y is first] ln(1 - p_y)
    L_comp = -1[y is not among the k largest] ln p_y
    L_rnd  = -1 / (k - 1) sum over j in R(x) of ln p_j

"First" and "among the k largest" count the classes that are strictly above y, so a tie is in favour of y. The
indicators are constants for the gradient. All values are in nats; leading dimensions are free, as in
`biasvar.losses`: logits (..., C) with labels (...) and rivals (..., k - 1) give losses (...).

Where the weights draw p_y (derived, from d loss / d z_y = p_y (1 + a1 1[first] + a2 1[lost] + a3) - 1 - a2 1[lost]):
to 1 / (1 + a1 + a3) while y is first, to 1 / (1 + a3) while it is below the first but within the top-k, and to (1 + a2)
/ (1 + a2 + a3) once it is lost. Rivals that are learnt by heart share the rest, (1 - p_y) / (k - 1) each, so

- the truth rests below its rivals where 1 / (1 + a3) < 1 / k, that is a3 > k - 1; with a smaller a3 only the punishment
  keeps pushing it down, and the teacher's first class changes from step to step;
- the truth is the largest entry on average over samples, and cross-entropy students can be right at all, where
  1 / (1 + a3) > 1 / K, that is a3 < K - 1. Students of the top-k sets need no such bound.

What R(x) does:

- Drawn once for a sample (`draw_rivals` without an epoch), it can be learnt by heart on the training rows, where the
  top-k becomes R and the truth. On other rows nothing tells the network which R it would have been: the indicators
  there are worse, and the accuracy is higher, than on the teacher's own rows. A student that learns the rivals by heart
  in its turn is as bad as its teacher; it has to average over samples, or to use the top-k as a set of candidates
  (`biasvar.losses.soft_labels.CandidateSetLoss`).
- Drawn anew in every epoch, it cannot be learnt: p becomes flat over the wrong labels, and which of them are in the
  top-k is left to what the network finds common to a class: the same few, so that the ambiguity is near 1 and not at
  its floor (k - 1 + Delta) / (K - 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.losses.inputs import INTEGERS, Inputs, check_dtype, check_range, check_tensor
from biasvar.losses.settings import Reduction, check_reduction, from_zero_up, whole
from biasvar.losses.terms import log_sum_exp, scaled, true_class, weighted
from biasvar.seeding import generator

__all__ = [
    "BadTeacherLoss",
    "BadTeacherTerms",
    "CompensationLoss",
    "PunishmentLoss",
    "RivalsLoss",
    "classes_above",
    "draw_rivals",
    "log_rest",
]


@checked
def draw_rivals(
    labels: torch.Tensor, num_classes: int, k: int, *, seed: int, epoch: int | None = None, replica: int = 0
) -> torch.Tensor:
    """R(x): k - 1 different wrong labels of every sample, uniform over all choices, int64 (N, k - 1).

    Row i is that of sample_id i and depends on (seed, replica, epoch, i) and the sample's label, not on N.

    Args:
        labels: int (N,) true classes by sample_id.
        num_classes: K.
        k: Size of the set that is to hold the truth and its rivals, 2 .. K.
        seed: Of the study.
        epoch: None draws once for all epochs; a number draws those of that epoch.
        replica: Which teacher, where there are several.

    Raises:
        TypeError: `labels` is no tensor of integers, or a setting no number.
        ValueError: `k`, a label, the seed, the epoch or the replica out of range.

    >>> draw_rivals(torch.tensor([0, 1, 1]), 3, 3, seed=1).sort(-1).values.tolist()
    [[1, 2], [0, 2], [0, 2]]
    """
    num_classes = whole(num_classes, "num_classes", 2, 10**9)
    k = whole(k, "k", 2, num_classes, rule=f"lie in 2 .. {num_classes} (the number of classes)")
    seed, replica = whole(seed, "seed", 0), whole(replica, "replica", 0)
    check_tensor(labels, "labels")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {tuple(labels.shape)}")
    check_dtype(labels, "labels", INTEGERS)
    if labels.is_meta:
        raise ValueError("labels must have values to draw wrong ones from, not lie on the meta device")
    truth = labels.detach().cpu().to(torch.int64)
    check_range(truth, num_classes, "labels", cure=": every row needs its true class")
    when = () if epoch is None else (whole(epoch, "epoch", 0),)
    keys = generator(seed, "rivals", replica, *when).random((len(truth), num_classes))
    keys[np.arange(len(truth)), truth.numpy()] = 2.0  # behind all others
    chosen = np.argsort(keys, axis=1)[:, : k - 1]
    return torch.from_numpy(np.ascontiguousarray(chosen)).to(labels.device)


def log_rest(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """ln(1 - p_y) (...) = -ln(1 + exp(z_y - logsumexp of the others)), as accurate for p_y near 0 and 1.

    Its gradient, -p_y at y and p_y q_j at j (q: softmax over the others), is bounded; as p_y -> 1 the value falls
    linearly in z_y, where ln(1 - exp(ln p_y)) would be -inf with a gradient of NaN.

    >>> log_rest(torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([0]))
    tensor([-49.3069])
    """
    given = Inputs(logits, name="logits")
    return _log_rest(given.logits, given.labels(labels))


def _log_rest(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    others = log_sum_exp(logits.scatter(-1, labels.unsqueeze(-1), -torch.inf))
    return F.logsigmoid(others - true_class(logits, labels))


def classes_above(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many classes are strictly above the true one, int64 (...): 0 is a correct top-1, below k is in the top-k.

    >>> classes_above(torch.tensor([[3.0, 1.0, 2.0, 1.0]]), torch.tensor([1]))
    tensor([2])
    """
    given = Inputs(logits, name="logits")
    return _classes_above(given.logits, given.labels(labels))


def _classes_above(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits > logits.gather(-1, labels.unsqueeze(-1))).sum(-1)


class PunishmentLoss(nn.Module):
    """L_pun = -1[y is first] ln(1 - p_y): nothing unless the top-1 is correct, then the more the surer it is.

    >>> PunishmentLoss(reduction="none")(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
    tensor([0.6931, 0.0000])
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None) -> torch.Tensor:
        given = Inputs(logits, where, name="logits")
        logits, labels = given.logits, given.labels(labels)
        return given.reduced(_punishment(logits, labels, _classes_above(logits, labels)), self.reduction)


class CompensationLoss(nn.Module):
    """L_comp = -1[y is not among the k largest] ln p_y.

    >>> CompensationLoss(k=2, reduction="none")(torch.tensor([[0.0, 0, 0], [0, 1, 1]]), torch.tensor([0, 0]))
    tensor([0.0000, 1.8620])
    """

    @checked
    def __init__(self, *, k: int, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.k = _check_k(k)
        self.reduction = check_reduction(reduction)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None) -> torch.Tensor:
        given = Inputs(logits, where, name="logits")
        logits, labels = given.logits, given.labels(labels)
        lost = _classes_above(logits, labels) >= self.k
        return given.reduced(weighted(lost, -true_class(F.log_softmax(logits, -1), labels)), self.reduction)


class RivalsLoss(nn.Module):
    """L_rnd = -1 / (k - 1) sum over j in R(x) of ln p_j, with R from `draw_rivals`.

    >>> RivalsLoss()(torch.zeros(2, 4), torch.tensor([[1, 2], [0, 3]]))
    tensor(1.3863)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, logits: torch.Tensor, rivals: torch.Tensor, *, where: torch.Tensor | None = None) -> torch.Tensor:
        given = Inputs(logits, where, name="logits")
        rivals = given.classes(rivals, "rivals")
        return given.reduced(-F.log_softmax(given.logits, -1).gather(-1, rivals).mean(-1), self.reduction)


class BadTeacherTerms(NamedTuple):
    """The four terms of every sample (...), before their weights.

    >>> loss = BadTeacherLoss(k=2, punishment=1.0, compensation=1.0, rivals=0.0)
    >>> terms = loss.terms(torch.zeros(1, 3), torch.tensor([0]))
    >>> round(terms.cross_entropy.item(), 3), terms._fields[1:]
    (1.099, ('punishment', 'compensation', 'rivals'))
    """

    cross_entropy: torch.Tensor
    punishment: torch.Tensor
    compensation: torch.Tensor
    rivals: torch.Tensor


class BadTeacherLoss(nn.Module):
    """L_ce + a1 L_pun + a2 L_comp + a3 L_rnd: the module's terms, see the top of this file for what is known of them.

    Args:
        k: Size of the top-k set that is to hold the truth, at least 2.
        punishment: a1, at least 0.
        compensation: a2, at least 0.
        rivals: a3, at least 0; above k - 1 for a teacher that is wrong, below K - 1 for cross-entropy to learn from.
        reduction: Over all samples.

    `forward(logits, labels, rivals)`: rivals int (..., k - 1) from `draw_rivals`; None where a3 is 0.

    Raises:
        ValueError: A setting out of range; in `forward`, rivals missing or of another number.

    >>> loss = BadTeacherLoss(k=3, punishment=1.0, compensation=1.0, rivals=1.0)
    >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([[1, 2], [0, 1]]))      # ln 4 + ln 4/3 + 0 + ln 4
    tensor(3.0603)
    """

    @checked
    def __init__(
        self, *, k: int, punishment: float, compensation: float, rivals: float, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.k = _check_k(k)
        rule = "be a finite number from 0 up"
        self.punishment = from_zero_up(punishment, "punishment", rule)
        self.compensation = from_zero_up(compensation, "compensation", rule)
        self.rivals = from_zero_up(rivals, "rivals", rule)
        self.reduction = check_reduction(reduction)

    def terms(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        rivals: torch.Tensor | None = None,
        *,
        where: torch.Tensor | None = None,
    ) -> BadTeacherTerms:
        """Every term of every sample, so that a training can log what holds which; 0 in rows left out."""
        given = Inputs(logits, where, name="logits")
        return BadTeacherTerms(*(given.reduced(values, "none") for values in self._terms(given, labels, rivals)))

    def _terms(self, given: Inputs, labels: torch.Tensor, rivals: torch.Tensor | None) -> BadTeacherTerms:
        logits, labels = given.logits, given.labels(labels)
        if self.k > logits.shape[-1]:
            raise ValueError(f"k must be at most the number of classes, {logits.shape[-1]}, not {self.k}")
        if rivals is None and self.rivals > 0:
            raise ValueError("a loss with rivals needs them for every sample: see draw_rivals")
        log_probs = F.log_softmax(logits, -1)
        truth = true_class(log_probs, labels)
        above = _classes_above(logits, labels)
        wrong = None if rivals is None else given.classes(rivals, "rivals", self.k - 1)
        return BadTeacherTerms(
            cross_entropy=-truth,
            punishment=_punishment(logits, labels, above),
            compensation=weighted(above >= self.k, -truth),
            rivals=torch.zeros_like(truth) if wrong is None else -log_probs.gather(-1, wrong).mean(-1),
        )

    def forward(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        rivals: torch.Tensor | None = None,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(logits, where, name="logits")
        terms = self._terms(given, labels, rivals)
        values = (
            terms.cross_entropy
            + scaled(self.punishment, terms.punishment)
            + scaled(self.compensation, terms.compensation)
            + scaled(self.rivals, terms.rivals)
        )
        return given.reduced(values, self.reduction)


def _punishment(logits: torch.Tensor, labels: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    return weighted(above == 0, -_log_rest(logits, labels))


def _check_k(k: int) -> int:
    return whole(k, "k", 2)
