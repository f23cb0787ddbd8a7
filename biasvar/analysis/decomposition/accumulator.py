"""Group statistics of replicas gathered batch by batch, for decompositions that never hold all logits at once."""

from __future__ import annotations

from typing import Any, Literal

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, named, namespace, to_numpy
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.by_loss import averaged, width
from biasvar.analysis.decomposition.groups import decompose_moments, warn_of_one
from biasvar.analysis.decomposition.kernels import check_groups, check_loss, log_inputs, loss_name, make_target
from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.inputs import as_array, as_logits, like
from biasvar.analysis.scale import ScaleEvidence, check_values
from biasvar.arguments import checked
from biasvar.messages import first_few


class Accumulator:
    """Streams logits into running means by jackknife group: memory (groups, N, C) for any number of replicas.

    Replica r belongs to group r mod `groups`. Batches may come in any order, replicas in turns, rows in parts;
    accumulators of disjoint replicas or disjoint samples merge. The result equals `decompose` of the whole array to
    rounding. Any loss can be streamed: squared error keeps Welford's running mean and squared deviations of the
    probabilities, the 0-1 loss shares of answers, a Bregman loss gradients with their conjugate, (groups, N, C + 1).

    Args:
        num_samples, num_classes: N and C.
        loss: as for `decompose`.
        groups: jackknife groups.
        values: what the updates hold, as for `decompose`; None: logits, and `result` refuses what looks like anything
            else.

    >>> import numpy as np
    >>> accumulator = Accumulator(num_samples=3, num_classes=2)
    >>> for replica in range(4):
    ...     accumulator.update(np.eye(3, 2) + replica)
    >>> accumulator.result([0, 1, 0]).variance.round(4).tolist()
    [0.0, 0.0, 0.0]
    """

    @checked
    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        loss: str | Bregman = "cross_entropy",
        groups: int = 16,
        values: Literal["logits", "probabilities"] | None = None,
    ) -> None:
        check_loss(loss)
        check_values(values)
        whole = all(isinstance(size, int | np.integer) for size in (num_samples, num_classes))
        if not whole or num_samples < 1 or num_classes < 2:
            raise ValueError(
                "num_samples must be a whole number of at least 1 and num_classes one of at least 2, "
                f"got {num_samples!r} and {num_classes!r}"
            )
        self.num_samples = int(num_samples)
        self.num_classes = int(num_classes)
        self.loss = loss
        self.groups = check_groups(groups)
        self.values = values
        self._evidence, self._settled = ScaleEvidence(), False
        self._seen: dict[int, np.ndarray] = {}  # replica -> bool (N,), so that nothing is counted twice
        self._counts: Array = None  # made beside the first logits: their namespace and device become the accumulator's
        self._means: Array = None
        self._squares: Array = None

    @property
    def counts(self) -> Array:
        """`(groups, N)` float64, how many replicas of each group have been seen for each row."""
        self._require_data()
        return self._counts

    @property
    def mean_log_probs(self) -> Array:
        """`(groups, N, C)` float64 mean log-probabilities by group, 0 where the count is 0; for `decompose_groups`."""
        self._require_data()
        if self.loss != "cross_entropy":
            raise ValueError(
                "mean_log_probs exist for loss='cross_entropy' only; this accumulator was made for"
                f" {loss_name(self.loss)!r}"
            )
        self._evidence.refuse("logits")
        return self._means

    @property
    def replicas(self) -> list[int]:
        """The replicas seen so far, in order."""
        return sorted(self._seen)

    @checked
    def update(self, logits: Any, sample_ids: Any = None, *, replica: int | None = None) -> None:
        """Add one batch of one replica.

        Args:
            logits: `(n, C)`, or the whole `(N, C)` without `sample_ids`.
            sample_ids: `(n,)` integers in 0 .. N - 1, each once.
            replica: which replica; without it a whole array is the next one, from 0 on: name them in accumulators
                that are to be merged.

        Raises:
            ValueError: for ids out of range or seen before for this replica, shapes that disagree, logits that are not
                finite (naming the sample ids), probabilities that are none. Nothing is added then.
        """
        logits = as_logits(logits, "logits", "(n, C)")
        if logits.shape[1] != self.num_classes:
            raise ValueError(f"logits must have {self.num_classes} classes, got shape {tuple(logits.shape)}")
        ids = self._sample_ids(sample_ids, logits.shape[0])
        if replica is None:
            if sample_ids is not None:
                raise ValueError(
                    "a batch with sample_ids needs to say its replica; only a whole array can be the next one"
                )
            replica = max(self._seen, default=-1) + 1
        if isinstance(replica, bool) or int(replica) != replica or replica < 0:
            raise ValueError(f"replica must be a whole number from 0 up, got {replica!r}")
        replica = int(replica)
        seen = self._seen.get(replica, np.zeros(self.num_samples, dtype=bool))
        if seen[ids].any():
            raise ValueError(f"replica {replica} has already given sample {first_few(ids[seen[ids]])}")
        xp = namespace(logits)
        finite = to_numpy(xp.all(xp.isfinite(logits), axis=-1))
        if not finite.all():
            raise ValueError(
                f"logits of replica {replica} must be finite; those of sample {first_few(ids[~finite])} are not"
            )
        if self.values == "probabilities":
            logits = log_inputs(logits, "logits", self.loss)
        elif self.values is None and not self._settled:
            self._evidence.add(logits)
            self._settled = self._evidence.says_logits
        self._prepare(logits)
        logits = xp.astype(logits, xp.float64, copy=False)
        with np.errstate(over="ignore"):
            values = averaged(logits[None], None, self.loss)[0]
        self._add(like(values, self._means), like(ids, self._means), replica % self.groups)
        self._seen[replica] = seen.copy()
        self._seen[replica][ids] = True

    def merge(self, other: Accumulator) -> Accumulator:
        """Add what another accumulator has seen (other replicas, or other samples of the same ones); returns this one.

        Raises:
            TypeError: for anything else than an Accumulator.
            ValueError: if the two differ in shape, loss or groups, or have both seen some replica of some sample.
        """
        if not isinstance(other, Accumulator):
            raise TypeError(f"merge takes another Accumulator, got {type(other).__name__}")
        for field in ("num_samples", "num_classes", "loss", "groups", "values"):
            if getattr(self, field) != getattr(other, field):
                raise ValueError(
                    f"accumulators differ in {field}: {getattr(self, field)!r} and {getattr(other, field)!r}"
                )
        for replica, seen in other._seen.items():
            both = seen & self._seen.get(replica, np.zeros(self.num_samples, dtype=bool))
            if both.any():
                raise ValueError(
                    f"both accumulators have seen replica {replica} of sample {named(both)}; without replica= each"
                    " counts its own from 0, so name them: update(logits, replica=...) with numbers of which no other"
                    " accumulator has the same"
                )
        if not other._seen:
            return self
        self._evidence.merge(other._evidence)
        self._prepare(other._means)
        xp = namespace(self._means)
        counts, means = like(other._counts, self._means), like(other._means, self._means)
        total = self._counts + counts
        share = xp.where(total > 0, counts / xp.where(total > 0, total, 1.0), 0.0)
        apart = means - self._means
        self._means = self._means + share[..., None] * apart
        if self._squares is not None:
            self._squares = (
                self._squares + like(other._squares, self._means) + self._counts * share * xp.sum(apart**2, axis=-1)
            )
        self._counts = total
        for replica, seen in other._seen.items():
            self._seen[replica] = seen | self._seen.get(replica, np.zeros(self.num_samples, dtype=bool))
        return self

    @checked
    def result(self, target: Any, *, errors: bool = True) -> Decomposition:
        """The decomposition of everything seen, against `target` `(N,)` or `(N, C)`; rows nobody has seen are NaN.

        Raises:
            ValueError: also where all that was seen looks like probabilities, votes or percentages, not logits.
        """
        self._require_data()
        self._evidence.refuse("logits")
        goal = make_target(target, self._means, self._counts, self.num_classes, self.loss)
        found = decompose_moments(self._counts, self._means, self._squares, goal, self.loss, errors)
        warn_of_one(found.counts, stacklevel=3)
        return found

    def _add(self, values: Array, ids: Array, group: int) -> None:
        count = self._counts[group, ids] + 1.0
        before = values - self._means[group, ids]
        mean = self._means[group, ids] + before / count[:, None]
        self._counts[group, ids] = count
        self._means[group, ids] = mean
        if self._squares is not None:
            squares = namespace(values).sum(before * (values - mean), axis=-1)
            self._squares[group, ids] = self._squares[group, ids] + squares

    def _prepare(self, reference: Array) -> None:
        if self._means is not None:
            return
        xp = namespace(reference)
        shape = (self.groups, self.num_samples)
        options = {"dtype": xp.float64, "device": array_api_compat.device(reference)}
        self._counts = xp.zeros(shape, **options)
        self._means = xp.zeros((*shape, width(self.loss, self.num_classes)), **options)
        if self.loss == "squared_error":
            self._squares = xp.zeros(shape, **options)

    def _sample_ids(self, sample_ids: Any, n: int) -> np.ndarray:
        if sample_ids is None:
            if n != self.num_samples:
                raise ValueError(f"without sample_ids logits must have all {self.num_samples} rows, got {n}")
            return np.arange(n)
        ids = to_numpy(as_array(sample_ids, "sample_ids"))
        if ids.shape != (n,) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"sample_ids must be {n} integers, one a row, got {ids.dtype} of shape {ids.shape}")
        outside = (ids < 0) | (ids >= self.num_samples)
        if outside.any():
            raise ValueError(f"sample_ids must lie in 0 .. {self.num_samples - 1}, got {first_few(ids[outside])}")
        values, times = np.unique(ids, return_counts=True)
        if (times > 1).any():
            raise ValueError(f"sample_ids must not repeat in a batch; {first_few(values[times > 1])} does")
        return ids.astype(np.int64)

    def _require_data(self) -> None:
        if self._means is None:
            raise ValueError("the accumulator has seen no logits yet; call update first")
