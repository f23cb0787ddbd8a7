"""What measures the claims of Yang et al. 2020: curves of bias, variance and risk over widths, depth, corruptions.

Terms are those of the loss that the arms of a test are trained by: of squared error where it is that one, else of
cross-entropy. A test of arms by squared error and by another loss measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from biasvar.analysis.decomposition.crossing import over_rows
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.intervals import interval_from
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.common import versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import measured
from biasvar.report.statistics.over_widths import Column, Hump, Table, hump, inner_bump, risks_of, table_of, width_of
from biasvar.report.statistics.views import views_of
from biasvar.study.ledger.base import CORRELATION, DOUBLINGS, HALF, LEAST_WIDTHS, TERM
from biasvar.study.views import ALL_CORRUPTIONS

UNITS = {"cross_entropy": "nats", "squared_error": "squared error"}


def bias_falls(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """Rank correlation of width and mean corrected bias (Y1)."""
    found = _by_width(run, roles["arms"], "bias", loss)
    if found is None:
        return []
    widths, arms, table = found
    order = np.arange(len(widths)) - (len(widths) - 1) / 2

    def rank(biases: np.ndarray) -> np.ndarray:
        """Spearman's correlation along the last axis; measured biases are never equal."""
        places = np.argsort(np.argsort(biases, axis=-1), axis=-1)
        return np.asarray(places @ order / (order @ order))

    draws = table.draws(rank)
    alone = {name: float(table.draws(rank, of=[name]).std(ddof=1)) for name in ("replicas", "rows")}
    parts = {
        "replicas": Component(alone["replicas"], table.df, table.df + 1),
        "rows": Component(alone["rows"], len(table.values) - 1, len(table.values)),
    }
    row = _row(run, arms, combined(float(rank(table.means)), parts), table, "width and bias")
    test = f"rank correlation of width and bias over {_said(widths, loss)}"
    return [Measurement(test, row, -CORRELATION, "less", "rank correlation", draws=draws, undecided=_too_few(widths))]


def variance_peaks(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """The fitted maximum of the variance less its values at the ends (Y2)."""
    found = _by_width(run, roles["arms"], "variance", loss)
    if found is None:
        return []
    widths, arms, table = found
    x = np.log2(widths)
    whole = hump(x, table.means)
    where = f"at width {2**whole.place:.3g}" + ("" if whole.inner else ", an end")
    parts = []
    for end, width in (("low_end", widths[0]), ("high_end", widths[-1])):
        crossed = table.crossed(_over_hump(x, lambda one, end=end: one.height - getattr(one, end)))  # type: ignore[misc]
        row = _row(run, arms, crossed, table, "variance")
        test = f"fitted variance, maximum ({where}) − at width {width:g}, over {_said(widths, loss)}"
        parts.append(Measurement(test, row, TERM * whole.height, "greater", UNITS[loss], undecided=_too_few(widths)))
    return parts


def noise_moves_peak(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """Height and place of the fitted maximum of the variance, with label noise less without (Y3)."""
    noisy, clean = roles["arms"], roles["controls"]
    first, second = _by_width(run, noisy, "variance", loss), _by_width(run, clean, "variance", loss)
    if first is None or second is None or not np.array_equal(first[0], second[0]):
        return []
    widths, k = first[0], len(first[0])
    table = table_of(run, [Column(arm, "variance") for arm in (*first[1], *second[1])], loss)
    if table is None:
        return []
    x = np.log2(widths)
    at = [hump(x, table.means[:k]), hump(x, table.means[k:])]

    def difference(of: Callable[[Hump], float]) -> Callable[[np.ndarray], float]:
        return lambda means: of(hump(x, means[:k])) - of(hump(x, means[k:]))

    few = _too_few(widths)
    height = _row(run, [*noisy], table.crossed(difference(lambda one: one.height)), table, "variance")
    place = _row(run, [*noisy], table.crossed(difference(lambda one: one.place)), table, "width of the peak")
    ends = " and ".join(name for name, one in zip(("with noise", "without"), at, strict=True) if not one.inner)
    outside = f"the fitted maximum {ends} is at an end of the widths, so that its place is not known" if ends else ""
    said = f"with label noise − without, over {_said(widths, loss)}"
    peaks = " and ".join(f"{2**one.place:.3g}" for one in at)
    return [
        Measurement(f"maximum of the fitted variance, {said}", height, TERM * at[1].height, "greater", UNITS[loss],
                    undecided=few),
        Measurement(f"log2 of the width at that maximum ({peaks}), {said}", place, DOUBLINGS, "greater", "doublings",
                    undecided=few or outside),
    ]  # fmt: skip


def bias_out_of_distribution(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """The share of the growth of the risk under corruptions that is growth of bias (Y4)."""
    arm, views = roles["arm"], ["clean", *views_of(run, ALL_CORRUPTIONS)]
    if len(views) < 2:
        return []
    table = table_of(run, [Column(arm, term, view) for term in ("bias", "risk") for view in views], loss)
    if table is None:
        return []
    k = len(views)

    def growth(means: np.ndarray) -> float:
        return float(means[1:].mean() - means[0])

    risk = table.crossed(lambda means: growth(means[k:]))
    share = table.crossed(lambda means: growth(means[:k]) / growth(means[k:]) if growth(means[k:]) else math.nan)
    grows, unit = risk.interval(), UNITS[loss]
    reason = "" if grows.low > 0 else f"the risk does not surely grow ({grows.low:.3g} to {grows.high:.3g} {unit})"
    test = (
        f"growth of bias as a share of the growth of the risk ({risk.estimate:.3g} {unit}) under "
        f"{len(views) - 1} corruptions, {arm_label(run, arm)}{_by(loss)}"
    )
    row = _row(run, [arm], share, table, "share of bias")
    return [Measurement(test, row, HALF, "greater", "share", undecided=reason.replace("-", "−"))]


def depth(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """Bias and variance of the deeper network less the shallower one's, in and out of distribution (Y5)."""
    deeper, shallower = roles["deeper"], roles["shallower"]
    places = {"": ["clean"], " under corruptions": views_of(run, ALL_CORRUPTIONS)}
    found = []
    for where, views in places.items():
        for term, direction in (("bias", "less"), ("variance", "greater")):
            table = table_of(run, [Column(arm, term, view) for arm in (deeper, shallower) for view in views], loss)
            if not views or table is None:
                continue
            k = len(views)
            crossed = table.crossed(lambda means, k=k: float(means[:k].mean() - means[k:].mean()))  # type: ignore[misc]
            smallest = TERM * abs(float(table.means[k:].mean()))
            row = _row(run, [deeper], crossed, table, term, control=shallower)
            test = f"mean {term}{where}, {versus(run, deeper, shallower)}{_by(loss)}"
            limit = -smallest if direction == "less" else smallest
            found.append(Measurement(test, row, limit, direction, UNITS[loss]))
    return found


def risk_descends_twice(run: Run, roles: Roles, loss: str) -> list[Measurement]:
    """The risk at an inner width less the least on either side, chosen and measured on different replicas (Y6)."""
    found = _by_width(run, roles["arms"], "risk", loss)
    if found is None:
        return []
    widths, arms, table = found
    risks = risks_of(run, arms, loss)
    if risks is None:
        return []
    halves = [risks[0::2], risks[1::2]]
    if min(map(len, halves)) < 2 or len(widths) < 3:
        return []
    chosen = [inner_bump(half.mean(axis=0)) for half in halves[::-1]]  # on the other half
    middles = [places[1] for places in chosen if places is not None]
    peak = float(np.mean([half[:, at].mean() for half, at in zip(halves, middles, strict=True)]))
    said = " and ".join(dict.fromkeys(f"{widths[at]:g}" for at in middles))
    parts = []
    for side, name in ((0, "narrower"), (2, "wider")):
        weights = np.zeros((2, len(widths)))
        for half, places in enumerate(chosen):
            assert places is not None
            weights[half, places[1]] += 1.0
            weights[half, places[side]] -= 1.0
        values = [half @ one for half, one in zip(halves, weights, strict=True)]
        effect = float(np.mean([one.mean() for one in values]))
        stderr = math.sqrt(sum(one.var(ddof=1) / len(one) for one in values)) / 2
        components = {
            "replicas": Component(stderr, len(risks) - 2, len(risks)),
            "rows": over_rows(table.values @ weights.mean(axis=0)),
        }
        row = _row(run, arms, combined(effect, components), table, "risk")
        test = f"risk at width {said} − least at {name} ones, chosen on the other half of the replicas{_by(loss)}"
        few = _too_few(widths)
        parts.append(Measurement(test, row, TERM * peak, "greater", UNITS[loss], undecided=few))
    return parts


def _by_width(run: Run, arms: Sequence[str], term: str, loss: str) -> tuple[np.ndarray, list[str], Table] | None:
    """Widths in order, their arms, and a term of each; None where a width is not known or a term not held."""
    widths = {arm: width_of(run, arm) for arm in arms}
    if None in widths.values() or len(set(widths.values())) < max(len(widths), 3):
        return None
    ordered = sorted(arms, key=lambda arm: widths[arm] or 0.0)
    table = table_of(run, [Column(arm, term) for arm in ordered], loss)
    return None if table is None else (np.array([widths[arm] for arm in ordered], dtype=float), ordered, table)


def _over_hump(x: np.ndarray, of: Callable[[Hump], float]) -> Callable[[np.ndarray], float]:
    return lambda means: of(hump(x, means))


def _row(run: Run, arms: Sequence[str], crossed: Crossed, table: Table, quantity: str, **about: Any) -> Any:
    """A number as a row of the table of estimates."""
    replicas, rows = crossed.components["replicas"], crossed.components["rows"]
    interval = interval_from(crossed.estimate, replicas.stderr, replicas.df, replicas.n)
    return measured(
        run, arms, interval, replicas.df, quantity, rows="held-out", split="test", epoch=table.epoch,
        stderr_samples=rows.stderr, n_replicas=table.n_replicas, n_samples=len(table.values), crossed=crossed, **about,
    )  # fmt: skip


def _said(widths: np.ndarray, loss: str) -> str:
    return f"{len(widths)} widths from {widths[0]:g} to {widths[-1]:g}{_by(loss)}"


def _by(loss: str) -> str:
    """By which loss the terms of a test are, as the end of its words."""
    return f", by {loss.replace('_', ' ')}" if loss == "squared_error" else ", by cross-entropy"


def _too_few(widths: np.ndarray) -> str:
    return "" if len(widths) >= LEAST_WIDTHS else f"{len(widths)} widths; the rule asks for {LEAST_WIDTHS} or more"


def _of_their_loss(measure: Callable[[Run, Roles, str], list[Measurement]]) -> Measure:
    """A measure by the decomposition of the loss that the arms of a test are trained by."""

    def of_their_loss(run: Run, roles: Roles) -> list[Measurement]:
        arms = [arm for names in roles.values() for arm in ([names] if isinstance(names, str) else names)]
        losses = {run.entry(arm).loss for arm in arms}
        squared = "squared_error" in losses
        if squared and len(losses) > 1:
            return []
        return measure(run, roles, "squared_error" if squared else "cross_entropy")

    return of_their_loss


MEASURES: dict[str, Measure] = {
    claim: _of_their_loss(measure)
    for claim, measure in {
        "Y1": bias_falls,
        "Y2": variance_peaks,
        "Y3": noise_moves_peak,
        "Y4": bias_out_of_distribution,
        "Y5": depth,
        "Y6": risk_descends_twice,
    }.items()
}
"""What each claim is measured by."""
