"""What a decomposition and a change of one have in common: terms of every sample, their errors and totals."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.arrays import Array, namespace, to_numpy
from biasvar.analysis.decomposition.totals import LEAST_BIAS, LEAST_VARIANCE, Totals, make_totals, row_numbers
from biasvar.analysis.inputs import as_names
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.messages import first_few

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd

TERMS = ("noise", "bias", "variance", "loss", "net_variance")


class PerSample:
    """Base of the result dataclasses, which declare these arrays as fields."""

    bias: Array
    variance: Array
    counts: Array
    group_counts: Array | None
    deleted_bias: Array | None
    deleted_variance: Array | None
    signed_variance: Array | None
    deleted_signed_variance: Array | None
    correction: str | None

    @property
    def is_corrected(self) -> bool:
        """Whether the terms are corrected, by whichever method."""
        return self.correction is not None

    @property
    def net_variance(self) -> Array:
        """What the variance adds to the mean loss, `(N,)`: itself, but for the loss "zero_one"."""
        return self.variance if self.signed_variance is None else self.signed_variance

    @property
    def deleted_net_variance(self) -> Array | None:
        """`net_variance` with group g left out, `(G, N)`, or None without errors."""
        return self.deleted_variance if self.signed_variance is None else self.deleted_signed_variance

    @property
    def bias_stderr(self) -> Array:
        """Jackknife error of each sample's bias over replicas, `(N,)`; NaN below 2 groups or without errors."""
        return _stderr(self.bias, self.deleted_bias, self.group_counts, LEAST_BIAS)

    @property
    def variance_stderr(self) -> Array:
        """Jackknife error of each sample's variance over replicas, `(N,)`; NaN below 3 groups or without errors."""
        return _stderr(self.variance, self.deleted_variance, self.group_counts, LEAST_VARIANCE)

    def totals(self, rows: Array | None = None) -> Totals:
        """Means over samples, each with its error over replicas and over samples.

        The jackknife is of the total itself (the mean over rows with a group left out), never combined from per-sample
        errors; of a change it is paired. Rows that are NaN, or would be NaN with some group left out, are left out of
        all means; `n_samples` says how many remain. If no row survives every deletion, the means are over the rows that
        have a value and the replica errors are NaN. The noise of a change is 0.

        Args:
            rows: bool `(N,)` or integer row numbers; all rows by default.
        """
        return make_totals(self._noise(), self, rows)

    def totals_by(self, groups: Any) -> pd.DataFrame:
        """The totals of every group of samples, one row a group and term: bias of each class, variance of each source.

        Args:
            groups: `(N,)` the name of each sample's group, such as its label: numbers or texts.

        Returns:
            Columns group, term ("noise", "bias", "variance", "loss"; for "zero_one" also "net_variance"), value,
            stderr_replicas, stderr_samples, n_replicas, n_samples, as `totals` of the group's samples alone has them.
            Groups rise, or stand in the order of the alphabet.

        Raises:
            ValueError: for another number of names than samples, or a name that is missing (NaN, None).

        >>> from biasvar.analysis import decompose
        >>> logits = [[[0.0, -1.0], [2.0, -1.0]], [[1.0, -1.0], [0.0, -1.0]], [[0.0, -2.0], [3.0, -1.0]]]
        >>> found = decompose(logits, [0, 0]).totals_by(["cat", "dog"])
        >>> found.loc[found["term"] == "bias", ["group", "value", "n_samples"]].round(4).values.tolist()
        [['cat', 0.173, 1], ['dog', 0.0672, 1]]
        """
        import pandas as pd

        names = as_names(groups, "groups")
        if len(names) != self.bias.shape[0]:
            raise ValueError(f"groups must name each of the {self.bias.shape[0]} samples, got {len(names)} names")
        if (missing := pd.isna(names)).any():
            raise ValueError(f"groups must name every sample; sample {first_few(np.flatnonzero(missing))} has no name")
        try:
            found, place = np.unique(names, return_inverse=True)
        except TypeError:
            raise ValueError("groups must be numbers or texts, not both") from None
        terms = [name for name in TERMS if name != "net_variance" or self.signed_variance is not None]
        order = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[order], np.arange(len(found) + 1))
        rows = []
        for name, start, end in zip(found.tolist(), ends[:-1], ends[1:], strict=True):
            totals = self.take(order[start:end]).totals()
            rows += [{"group": name, "term": term} | vars(getattr(totals, term)) for term in terms]
        return pd.DataFrame(rows)

    def take(self, rows: Array) -> Self:
        """The same of some samples only.

        Args:
            rows: bool `(N,)`, or integer row numbers in the order that is wanted.
        """
        xp = namespace(self.bias)
        chosen = row_numbers(rows, self.bias)
        numbers = to_numpy(chosen)

        def some(values: Array) -> Array:  # sample ids are NumPy's beside arrays of any namespace
            return values[..., numbers] if isinstance(values, np.ndarray) else xp.take(values, chosen, axis=-1)

        arrays = {
            field.name: some(value)
            for field in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) is not None and not isinstance(value, str)
        }
        return replace(self, **arrays)  # type: ignore[type-var]

    def _noise(self) -> Array:
        return 0.0 * self.bias


def _stderr(value: Array, deleted: Array | None, sizes: Array | None, least: int) -> Array:
    if deleted is None:
        return value * float("nan")
    return jackknife_stderr(value, deleted, sizes, least=least)
