"""A study drawn several times: the same study under seeds of its own, so other splits, teachers and replicas.

What one split and one teacher show need not hold beyond them; an error over redraws covers both.
"""

from __future__ import annotations

from biasvar.seeding import derived_seed
from biasvar.study.schema import Study


def redraws_of(study: Study) -> list[Study]:
    """The studies that a study with `redraws` stands for, each without `redraws`; empty for a study of one draw.

    Redraw k has the seed that follows from (seed of the study, "redraw", k), whatever the number of redraws is.

    >>> from biasvar.study import resolve_study
    >>> study = resolve_study({
    ...     "name": "twice", "redraws": 2, "student": {"hidden": [4]}, "learning_rate": {"value": 0.1},
    ...     "data": {"test": 300}, "draw": {"kind": "bootstrap"}, "arms": {"ce": {"loss": "cross_entropy"}},
    ... })
    >>> [(redraw.seed, redraw.redraws) for redraw in redraws_of(study)]
    [(214691601465729, None), (111948115787770, None)]
    """
    return [
        study.model_copy(update={"redraws": None, "seed": derived_seed(study.seed, "redraw", number)})
        for number in range(study.redraws or 0)
    ]
