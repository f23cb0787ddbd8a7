"""The logits of all replicas with their target, checked once and handed out by parts of rows in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat

from biasvar.analysis.arrays import Array, named, namespace
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.groups import rows_per_chunk
from biasvar.analysis.decomposition.kernels import Target, check_groups, check_loss, log_inputs, make_target
from biasvar.analysis.inputs import as_array, as_logits, as_where
from biasvar.analysis.scale import check_scale


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows: logits `(R, n, C)`, which can be the caller's memory, so that nothing may be done to them in place.

    `kept` `(R, n, 1)`, which of them count (None: all); `counts` `(G, n)`; `start`, the place of the first row.
    """

    logits: Array
    kept: Array | None
    counts: Array
    target: Target
    start: int

    def require_finite(self, sums: Array) -> None:
        """Refuse logits whose sums by group are not finite: far fewer numbers to look at than the logits."""
        x, start = self.logits, self.start
        xp = namespace(x)
        if bool(xp.all(xp.isfinite(xp.sum(sums, axis=0)))):
            return
        bad = ~xp.all(xp.isfinite(x), axis=-1)
        if not bool(xp.any(bad)):
            raise ValueError(
                f"logits between rows {start} and {start + x.shape[1]} spread over more than float64 can hold"
            )
        raise ValueError(
            f"logits must be finite; (replica, row) {named(bad, start)} hold NaN or infinity"
            " (leave failed replicas out with `where`)"
        )


@dataclass(frozen=True, eq=False)
class Replicas:
    """Checked `logits` `(R, N, C)`, their `target` and how many replicas each group has for each row, `(G, N)`."""

    logits: Array
    mask: Array | None
    counts: Array
    target: Target
    loss: str | Bregman
    values: str | None

    @classmethod
    def of(
        cls,
        logits: Any,
        target: Any,
        *,
        loss: str | Bregman,
        where: Any,
        groups: int,
        errors: bool,
        values: str | None,
    ) -> Replicas:
        """Replicas checked for what `decompose` refuses, but for logits not finite; one group without errors."""
        check_loss(loss)
        groups = check_groups(groups)
        logits = as_logits(logits, "logits", "(R, N, C)")
        mask = None if where is None else _mask(where, logits)
        check_scale(logits, "logits", values, mask)
        counts = _group_counts(namespace(logits), logits, mask, min(groups, logits.shape[0]) if errors else 1)
        return cls(logits, mask, counts, make_target(target, logits, counts, logits.shape[2], loss), loss, values)

    def parts(self) -> Iterator[Part]:
        """All rows in order, as many at a time as are worked on with ease."""
        xp = namespace(self.logits)
        replicas, rows, classes = self.logits.shape
        step = rows_per_chunk(self.logits, replicas * classes)
        for start in range(0, rows, step):
            cut = slice(start, min(start + step, rows))
            x = xp.astype(self.logits[:, cut], xp.float64, copy=False)
            kept = None if self.mask is None else self.mask[:, cut, None]
            if kept is not None:
                x = xp.where(kept, x, 0.0)
            if self.values == "probabilities":
                part = self.logits[:, cut]
                p = part if kept is None else xp.where(kept, part, xp.ones_like(part) / classes)
                x = log_inputs(p, "logits", self.loss, start)
            yield Part(x, kept, self.counts[:, cut], self.target.rows(start, cut.stop), start)


def group_sums(x: Array, groups: int) -> Array:
    """Sums over the replicas r with r mod groups = g, `(G, ...)`."""
    if x.shape[0] == groups:
        return x
    xp = namespace(x)
    return xp.stack([xp.sum(x[g::groups], axis=0) for g in range(groups)], axis=0)


def _mask(where: Any, logits: Array) -> Array:
    """`where` as bool `(R, N)`."""
    where = as_array(where, "where")
    replicas, rows, _ = logits.shape
    if where.ndim != 1:
        return as_where(where, logits, (replicas, rows))
    return namespace(logits).broadcast_to(as_where(where, logits, (rows,))[None], (replicas, rows))


def _group_counts(xp: Any, logits: Array, mask: Array | None, groups: int) -> Array:
    replicas, rows, _ = logits.shape
    if mask is None:
        sizes = [float(len(range(g, replicas, groups))) for g in range(groups)]
        column = xp.asarray(sizes, dtype=xp.float64, device=array_api_compat.device(logits))
        return xp.broadcast_to(column[:, None], (groups, rows))
    return group_sums(xp.astype(mask, xp.float64), groups)
