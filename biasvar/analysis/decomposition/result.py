"""What a decomposition returns: the terms of the expected loss per sample, their errors, totals, and paired changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from biasvar.analysis.arrays import Array, namespace, to_numpy
from biasvar.analysis.decomposition.correction import JACKKNIFE, METHODS, by_jackknife, by_ratio
from biasvar.analysis.decomposition.per_sample import PerSample
from biasvar.analysis.decomposition.totals import Totals
from biasvar.analysis.inputs import as_names
from biasvar.arguments import checked

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Decomposition(PerSample):
    """Noise, bias and variance of the expected loss for every sample.

    `noise + bias + net_variance` is the sample's mean loss over its replicas, exactly. The net variance is the variance
    but for "zero_one", where variance lowers the loss of samples whose main prediction is wrong. Arrays are float64 in
    the namespace and on the device of the input; cross-entropy terms are in nats. A row no replica counts for is NaN.

    Attributes:
        noise, bias, variance: `(N,)`.
        counts: `(N,)`, how many replicas each row has.
        loss: "cross_entropy", "squared_error", "zero_one", or the name of a Bregman loss.
        group_counts: `(G, N)`, replicas by jackknife group, or None without errors.
        deleted_bias, deleted_variance: `(G, N)`, the term with group g left out, or None without errors.
        signed_variance, deleted_signed_variance: `(N,)` and `(G, N)`, the net variance of "zero_one", None for others.
        correction: by which method of `corrected` the terms were corrected, None for plug-in terms.
        sample_ids: `(N,)`, whose row each is; of a run always, as it stores them. None: rows are known by number only.

    >>> from biasvar.analysis import decompose
    >>> terms = decompose([[[2.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]], [0])  # 4 replicas, 1 sample
    >>> terms.bias.round(3).tolist(), terms.variance.round(3).tolist(), terms.counts.tolist()
    ([0.313], [0.048], [4.0])
    >>> terms.corrected().to_frame(["a.png"])[["sample_id", "variance"]].round(3).values.tolist()
    [['a.png', 0.065]]
    """

    noise: Array
    bias: Array
    variance: Array
    counts: Array
    loss: str
    group_counts: Array | None = None
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None
    signed_variance: Array | None = None
    deleted_signed_variance: Array | None = None
    correction: str | None = None
    sample_ids: np.ndarray | None = None

    def __repr__(self) -> str:
        kind = f"{self.loss}, {_kind(self)}"
        return f"<Decomposition ({kind}) of {self.noise.shape[0]:,} samples; {_said(self.totals())}>"

    @checked
    def corrected(self, method: Literal["ratio", "jackknife"] = "ratio") -> Decomposition:
        """The same with the variance raised by what R replicas cannot show, and the bias lowered by as much.

        - "ratio": the variance times R / (R - 1). Exact for squared error. For other losses it holds while the variance
          of the log-probabilities is small, as if it entered to second order only; the more the replicas differ, the
          more it leaves. Mean estimate less the truth, in nats, for independent normal logits of mean 0 and standard
          deviation s over 10 classes (20,000 rows each, standard error at most .02):

          | s | truth | plug-in, R = 5 | ratio | jackknife | plug-in, R = 16 | ratio | jackknife |
          |---|---|---|---|---|---|---|---|
          | 1 | .43 | -.09 | -.005 | -.001 | -.03 | -.001 | .000 |
          | 3 | 2.78 | -.74 | -.22 | -.09 | -.25 | -.08 | -.01 |
          | 6 | 7.16 | -2.34 | -1.14 | -.60 | -.90 | -.48 | -.10 |

        - "jackknife": G V - sum_g (1 - m_g / R) V_(-g) from the G values with a group of m_g replicas left out, which
          is R V - (R - 1) mean_g V_(-g) for groups of one: nothing of order 1/R is left. For replicas that differ much;
          it needs the deleted values, and its spread is 1.1 to 1.2 times that of the ratio where s is 3 to 6.

        Nothing is clipped, so a corrected bias may be negative; rows with one replica are NaN. The mean loss stays.

        Errors are those of the ratio form, with either method: each deleted value is raised by its own count. For
        "jackknife" the count is that of groups (of replicas below 3 groups), since replicas of one group may have a
        teacher in common, and the values are moved as a whole to lie around the corrected one (a jackknife of it would
        need values with two groups left out). Simulated, these errors are within 4 % of the spread of the jackknife's
        totals at s = 3 (means over 100 rows, 1,000 draws, groups of one), and 95 % t intervals cover the truth in 94 to
        95 %, with the ratio in 89 to 91 %; at s = 6, with what is left, in 84 to 93 % and 30 to 37 %. Errors from
        pseudo-values alone would be up to 22 % too small at s = 3. Where groups are teachers that differ as much as
        replicas do or more, the variance's errors are 1.13 times its spread with 4 groups, 1.16 to 1.24 with 3; with 2
        they mean nothing.

        Raises:
            ValueError: for another method, terms of "zero_one", or terms that the other method has corrected; for
                "jackknife" also without deleted values.
        """
        if self.signed_variance is not None:
            raise ValueError(
                f"the terms of {self.loss!r} have no correction: their main prediction is a vote, and what few replicas"
                " take from the variance depends on how near the two most frequent answers are"
            )
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if self.correction is not None:
            if self.correction == method:
                return self
            raise ValueError(f"these terms are corrected by {self.correction!r} already; correct the plug-in terms")
        bias, variance = by_ratio(self.bias, self.variance, self.counts)
        if self.group_counts is None:
            if method == JACKKNIFE:
                raise ValueError(
                    'method="jackknife" needs the values with a group left out: decompose with errors=True'
                )
            return replace(self, bias=bias, variance=variance, correction=method)
        deleted_bias, deleted_variance = by_ratio(
            self.deleted_bias, self.deleted_variance, self.counts - self.group_counts
        )
        if method == JACKKNIFE:
            bias, variance, deleted_bias, deleted_variance = by_jackknife(
                self.bias, self.variance, self.group_counts, self.deleted_bias, self.deleted_variance
            )
        return replace(
            self,
            bias=bias,
            variance=variance,
            deleted_bias=deleted_bias,
            deleted_variance=deleted_variance,
            correction=method,
        )

    def _noise(self) -> Array:
        return self.noise

    def to_frame(self, sample_ids: Any = None) -> pd.DataFrame:
        """One row per sample: sample_id, noise, bias, variance, bias_stderr, variance_stderr, replicas.

        For "zero_one" also net_variance, which the loss is the sum with.

        Args:
            sample_ids: `(N,)` other names of the rows than `self.sample_ids`; where there are neither, row numbers.
        """
        import pandas as pd

        n = self.noise.shape[0]
        given = self.sample_ids if sample_ids is None else sample_ids
        ids = range(n) if given is None else as_names(given, "sample_ids")
        if len(ids) != n:
            raise ValueError(f"sample_ids must hold one id for each of the {n} rows, got {len(ids)}")
        columns = ["noise", "bias", "variance", "bias_stderr", "variance_stderr"]
        columns += [] if self.signed_variance is None else ["net_variance"]
        frame = pd.DataFrame({"sample_id": ids} | {name: to_numpy(getattr(self, name)) for name in columns})
        return frame.assign(replicas=to_numpy(self.counts).astype("int64"))


@dataclass(frozen=True, eq=False)
class Change(PerSample):
    """Treatment minus control for every sample, on paired replicas: arrays as in `Decomposition`, noise unchanged.

    >>> from biasvar.analysis import decompose
    >>> control = decompose([[[2.0, 0.0]], [[0.0, 0.0]]], [0], errors=False)
    >>> treatment = decompose([[[1.5, 0.0]], [[0.5, 0.0]]], [0], errors=False)
    >>> change = paired_change(treatment, control)
    >>> change.bias.round(6).tolist(), bool(change.variance[0] < 0)  # one mean prediction, replicas closer
    ([0.0], True)
    """

    bias: Array
    variance: Array
    counts: Array
    group_counts: Array | None = None
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None
    signed_variance: Array | None = None
    deleted_signed_variance: Array | None = None
    correction: str | None = None

    def __repr__(self) -> str:
        return f"<Change ({_kind(self)}) of {self.bias.shape[0]:,} samples; {_said(self.totals())}>"


def paired_change(treatment: Decomposition, control: Decomposition) -> Change:
    """Per-sample change of bias and variance between two arms whose replica r is the same draw.

    The error is the jackknife of the difference (both arms lose the same replicas), so what the draws share cancels.

    Args:
        treatment, control: of the same rows, target, replicas and groups, both plug-in or both corrected in one way.
            Where both have sample ids, these are the same too.

    Raises:
        ValueError: if they differ in any of these.

    >>> import numpy as np
    >>> from biasvar.analysis import decompose
    >>> logits = np.random.default_rng(0).normal(size=(8, 5, 3))
    >>> change = paired_change(decompose(2 * logits, np.zeros(5, int)), decompose(logits, np.zeros(5, int)))
    >>> bool((change.variance > 0).all())
    True
    """
    for name, arm in (("treatment", treatment), ("control", control)):
        if not isinstance(arm, Decomposition):
            raise TypeError(f"{name} must be a Decomposition, as `decompose` gives it, not {type(arm).__name__}")
    for field in ("loss", "correction"):
        if getattr(treatment, field) != getattr(control, field):
            raise ValueError(
                f"treatment and control differ in {field}:"
                f" {getattr(treatment, field)!r} and {getattr(control, field)!r}"
            )
    mine, theirs = treatment.sample_ids, control.sample_ids
    if mine is not None and theirs is not None and not np.array_equal(mine, theirs):
        raise ValueError("treatment and control differ in sample_ids; a paired change needs the same rows in one order")
    xp = namespace(treatment.bias)
    for field in ("counts", "group_counts", "noise"):
        first, second = getattr(treatment, field), getattr(control, field)
        if (first is None) != (second is None):
            raise ValueError("treatment and control must both have errors or both lack them")
        if first is None:
            continue
        if tuple(first.shape) != tuple(second.shape):
            raise ValueError(
                f"treatment and control differ in the shape of {field}: {tuple(first.shape)}, {tuple(second.shape)}"
            )
        same = (xp.abs(first - second) < 1e-9) | (xp.isnan(first) & xp.isnan(second))
        if not bool(xp.all(same)):
            what = "the target" if field == "noise" else "which replicas count for which row"
            raise ValueError(f"treatment and control differ in {field}, so in {what}; a paired change needs the same")

    def difference(field: str) -> Array | None:
        first = getattr(treatment, field)
        return None if first is None else first - getattr(control, field)

    return Change(
        bias=treatment.bias - control.bias,
        variance=treatment.variance - control.variance,
        counts=treatment.counts,
        group_counts=treatment.group_counts,
        deleted_bias=difference("deleted_bias"),
        deleted_variance=difference("deleted_variance"),
        signed_variance=difference("signed_variance"),
        deleted_signed_variance=difference("deleted_signed_variance"),
        correction=treatment.correction,
    )


def _kind(terms: Decomposition | Change) -> str:
    return f"corrected by {terms.correction}" if terms.is_corrected else "plug-in"


def _said(totals: Totals) -> str:
    return f"{totals.bias.n_replicas} replicas: bias {totals.bias}; variance {totals.variance}"
