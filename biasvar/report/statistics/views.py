"""Further views of a run's test rows, and an arm's accuracy, bias and variance over several of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from biasvar.analysis.decomposition.groups import joined
from biasvar.records import Run
from biasvar.report.statistics.estimates import TERMS, Estimate, accuracy_on_views, between_0_and_1, from_total
from biasvar.study.views import ALL_CORRUPTIONS, ATTACKS, CORRUPTIONS, PATCHES, kinds_of

CLEAN = "as they are"
NAMES = {ALL_CORRUPTIONS: "all corruptions", PATCHES: "shuffled patches", "fgsm": "FGSM", "pgd": "PGD", "jpeg": "JPEG"}


def views_of(run: Run, kind: str) -> list[str]:
    """The run's views of a kind, in its order; "corruptions" are all corruptions of any severity."""
    return [view for view in run.views if kind_of(view) in kinds_of(kind)]


def kind_of(view: str) -> str:
    """The kind that a view is of.

    >>> kind_of("gaussian_noise-3")
    'gaussian_noise'
    """
    return view.partition("-")[0]


def kinds_in(run: Run) -> dict[str, list[str]]:
    """What a figure has a row for: the name, and the views that it is the mean of; the rows as they are come first.

    All corruptions together have one where there are several kinds of them.
    """
    kinds = list(dict.fromkeys(map(kind_of, run.views)))
    corruptions = [kind for kind in kinds if kind in CORRUPTIONS]
    several = [ALL_CORRUPTIONS] if len(corruptions) > 1 else []
    order = [*several, *corruptions, *(kind for kind in kinds if kind not in CORRUPTIONS)]
    return {CLEAN: ["clean"], **{_named(kind, views_of(run, kind)): views_of(run, kind) for kind in order}}


def _named(kind: str, views: Sequence[str]) -> str:
    """The name of a kind with its amounts: "fog 1, 3, 5".

    >>> _named("gaussian_noise", ["gaussian_noise-1", "gaussian_noise-5"]), _named("pgd", ["pgd-0.03"])
    ('gaussian noise 1, 5', 'PGD 0.03')
    """
    name = NAMES.get(kind, kind.replace("_", " "))
    if kind == ALL_CORRUPTIONS:
        return name
    amounts = list(dict.fromkeys(view.partition("-")[2] for view in views))
    if kind == PATCHES:
        amounts = [f"{amount}x{amount}" for amount in amounts]
    return " ".join([name, ", ".join(filter(None, amounts))]).strip()


@lru_cache(maxsize=1024)
def over_views(run: Run, arm: str, views: tuple[str, ...]) -> list[Estimate]:
    """An arm's accuracy, and its corrected bias and variance, as means over test rows and over views of equal weight.

    Errors are over replicas: views and rows are those that they are. Empty without predictions in each view.
    """
    accuracy = accuracy_on_views(run, {arm: 1.0}, dict.fromkeys(views, 1 / len(views)))
    if accuracy is None:
        return []
    terms = joined([run.decomposition(arm, view=view) for view in views]).corrected()
    groups = terms.group_counts
    df = (0 if groups is None else int(np.count_nonzero(groups.sum(axis=1)))) - 1
    totals = terms.totals()
    about = {"rows": "held-out", "split": "test", "epoch": accuracy.epoch, "n_samples": accuracy.n_samples}
    means = [from_total(run, arm, getattr(totals, term), df, quantity=term, **about) for term in TERMS]
    return [between_0_and_1(accuracy), *means]


def attacks_in(run: Run) -> list[str]:
    """The run's views that are attacks on the student."""
    return [view for view in run.views if kind_of(view) in ATTACKS]
