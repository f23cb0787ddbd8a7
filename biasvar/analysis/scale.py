"""What numbers these are: logits, or probabilities, votes or percentages that were taken for logits.

The softmax of a probability is a flat distribution, and every term computed from it is wrong without a sign of it. So
whoever takes logits asks once, of all rows: are they without negative entries, and

- do all rows sum to 1 within 1e-3 (probabilities); or, from 20 rows on,
- are all entries at most 1 and all sums within 0.3 of 1 (probabilities that were rounded, to tenths too);
- are all entries whole numbers, with sums above 1.5 (votes, or probabilities times 255);
- are all sums one number above 1.5, within 2 in 100 (percentages, rounded ones too)?

Then the input is refused, unless `values="logits"` says that logits they are. Rows of one value of 0 (a head that
starts at zero) or below (-1, where a row is missing) say nothing, nor do rows that hold NaN or +inf; one negative entry
in any other row says logits.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import device

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.inputs import SUM_TOLERANCE, divided_by_sum, like, sum_tolerance

VALUES = ("logits", "probabilities")
# Below this many rows small whole numbers, or equal sums, are an example that somebody typed.
MANY_ROWS = 20
_ROUNDED = 0.3
_ONE_SUM = 0.02
_HIGH_SUM = 1.5
# A probability computed by a difference may end this far below 0.
_BELOW_ZERO = -1e-6
_FIRST_ROWS = 64
_ENTRIES = 2**22


def check_values(values: str | None) -> None:
    """Refuse anything but None, "logits" and "probabilities".

    Raises:
        ValueError: for another word.
    """
    if values is not None and (not isinstance(values, str) or values not in VALUES):
        raise ValueError(f'values must be "logits" or "probabilities" (or None, to be asked), got {values!r}')


class ScaleEvidence:
    """What the rows seen so far say, gathered batch by batch without waiting for the device; `refuse` asks.

    >>> import numpy as np
    >>> evidence = ScaleEvidence()
    >>> evidence.add(np.array([[0.2, 0.8], [0.5, 0.5]]))
    >>> evidence.found()
    'probabilities: no entry is negative and every row sums to 1'
    """

    def __init__(self) -> None:
        self._bounds: dict[str, Array] | None = None
        self._tolerance = SUM_TOLERANCE

    def add(self, values: Array, where: Array | None = None) -> None:
        """Look at `(..., C)` real numbers; rows `(...)` where the bool `where` is False are not looked at."""
        xp = namespace(values)
        self._tolerance = max(self._tolerance, sum_tolerance(values))
        floating = xp.isdtype(values.dtype, "real floating")
        if not floating or xp.finfo(values.dtype).bits < 32:
            values = xp.astype(values, xp.float32 if floating else xp.float64)
        with np.errstate(over="ignore"):  # a sum beyond the largest number is none of probabilities
            total, low, high = (f(values, axis=-1) for f in (xp.sum, xp.min, xp.max))
        # NaN, and +inf: comparisons with NaN are False.
        says = (total < float("inf")) & ((low != high) | (low > 0))
        if where is not None:
            says = says & where
        one, inf = xp.ones_like(total), float("inf")
        whole = xp.all(values == xp.floor(values), axis=-1)
        new = {
            "rows": xp.sum(xp.astype(says, xp.int64)),
            "low": xp.min(xp.where(says, low, inf * one)),
            "high": xp.max(xp.where(says, high, -inf * one)),
            "low_sum": xp.min(xp.where(says, total, inf * one)),
            "high_sum": xp.max(xp.where(says, total, -inf * one)),
            "whole": xp.all(whole | ~says),
        }
        self._join(new)

    def merge(self, other: ScaleEvidence) -> None:
        """Add what another one has seen."""
        self._tolerance = max(self._tolerance, other._tolerance)
        if other._bounds is not None:
            self._join(other._bounds)

    def _join(self, new: dict[str, Array]) -> None:
        old = self._bounds
        if old is None:
            self._bounds = dict(new)
            return
        xp = namespace(old["low"])
        if device(new["low"]) != device(old["low"]) or namespace(new["low"]) is not xp:  # else nothing is to be moved
            new = {name: like(value, old[name]) for name, value in new.items()}
        self._bounds = {
            "rows": old["rows"] + new["rows"],
            "whole": old["whole"] & new["whole"],
            **{name: xp.minimum(old[name], new[name]) for name in ("low", "low_sum")},
            **{name: xp.maximum(old[name], new[name]) for name in ("high", "high_sum")},
        }

    @property
    def says_logits(self) -> bool:
        """Whether a negative entry has settled the question (this waits for the device)."""
        return self._bounds is not None and float(self._bounds["low"]) < _BELOW_ZERO

    def found(self) -> str | None:
        """What the rows look like, in words, if not like logits; else None."""
        if self._bounds is None:
            return None
        seen = {name: float(value) for name, value in self._bounds.items()}
        low, high = seen["low_sum"], seen["high_sum"]
        if not seen["rows"] or seen["low"] < _BELOW_ZERO:
            return None
        if max(abs(low - 1.0), abs(high - 1.0)) <= self._tolerance:
            return "probabilities: no entry is negative and every row sums to 1"
        if seen["rows"] < MANY_ROWS:
            return None
        if seen["high"] <= 1.0 and max(abs(low - 1.0), abs(high - 1.0)) <= _ROUNDED:
            return f"rounded probabilities: entries lie between 0 and 1 and rows sum to {low:.4g} .. {high:.4g}"
        if high <= _HIGH_SUM:
            return None
        if seen["whole"]:
            return f"votes or counts: whole numbers, none negative, rows sum to {low:.0f} .. {high:.0f}"
        if high - low <= max(_ONE_SUM, 2.0 * self._tolerance) * high:
            sums = f"{high:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} .. {high:.4g}"
            return f"scaled probabilities: no entry is negative and every row sums to {sums}"
        return None

    def refuse(self, name: str) -> None:
        """Raise the ValueError that names `name` and the cure, if the rows do not look like logits."""
        found = self.found()
        if found is None:
            return
        if found.startswith("probabilities"):
            cure = 'pass values="probabilities"'
        elif found.startswith("votes"):
            cure = 'turn them into soft labels with biasvar.analysis.from_votes and pass values="probabilities"'
        else:
            cure = 'divide every row by its sum and pass values="probabilities"'
        raise ValueError(f'{name} look like {found}; {cure}, or values="logits" if they are logits all the same')


def check_scale(x: Array, name: str, values: str | None, where: Array | None = None) -> None:
    """Ask the question of the whole array `(..., C)`, unless `values` says what it holds.

    Most logits have a negative entry among the first rows, and then nothing else is read.

    Raises:
        ValueError: if the rows look like probabilities, votes or percentages.
    """
    check_values(values)
    if values is not None:
        return
    xp = namespace(x)
    classes = x.shape[-1]
    rows = xp.reshape(x, (-1, classes))
    kept = None if where is None else xp.reshape(xp.broadcast_to(where, x.shape[:-1]), (-1,))
    evidence, start, step = ScaleEvidence(), 0, _FIRST_ROWS
    while start < rows.shape[0]:
        part = slice(start, start + step)
        evidence.add(rows[part], None if kept is None else kept[part])
        if evidence.says_logits:
            return
        start, step = start + step, max(1, _ENTRIES // classes)
    evidence.refuse(name)


def log_probabilities(x: Array, name: str, start: int = 0) -> Array:
    """The logarithms, float64 `(..., C)`, of probabilities, each row divided by its sum; -inf where one is 0.

    Rows that hold NaN stay NaN. `start` is the place of the first row in the whole, for the message.

    Raises:
        ValueError: for negative entries, or rows that do not sum to 1 within 1e-3, naming the first few.
    """
    xp = namespace(x)
    p = divided_by_sum(x, name, start)
    return xp.where(p > 0, xp.log(xp.where(p > 0, p, 1.0)), xp.where(xp.isnan(p), p, -float("inf")))
