"""Whether an accuracy is at chance: the one rule for students, teachers and replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence

from biasvar.messages import first_few

STANDARD_ERRORS = 3.0


def chance_limit(n: int, num_classes: int) -> float:
    """The largest accuracy on n rows that counts as at chance: 1/C + 3 sqrt((1/C)(1 - 1/C) / n).

    Raises ValueError for n below 1 or fewer than two classes.

    >>> round(chance_limit(100, 2), 3)
    0.65
    """
    if n < 1 or num_classes < 2:
        raise ValueError(f"n must be at least 1 and num_classes 2, not {n} and {num_classes}")
    chance = 1 / num_classes
    return chance + STANDARD_ERRORS * math.sqrt(chance * (1 - chance) / n)


def out_of_order(teacher: float, student: float, n: int, num_classes: int) -> str | None:
    """A warning where a teacher is at chance on rows that its student has learned; None where nothing is odd.

    Args:
        teacher, student: Accuracies on the same n rows.
        n, num_classes: Rows, and C.

    >>> out_of_order(0.9, 0.8, 100, 10) is None, out_of_order(0.1, 0.8, 100, 10) is None
    (True, False)
    """
    limit = chance_limit(n, num_classes)
    if teacher > limit or student <= limit:
        return None
    return (
        f"the teacher's accuracy on {n:,} rows is at chance ({teacher:.3f} of {num_classes} classes) while the "
        f"student's is {student:.3f}: its logits are most likely of other rows, such as cached in another order (rows "
        "go by their place); look them up by sample_ids, as in teacher_logits[sample_ids]"
    )


def replicas_out_of_order(accuracy: Sequence[float], n: int, num_classes: int) -> str | None:
    """A warning where some replicas are at chance on rows that another has learned well; None where nothing is odd.

    Well: twice as far above chance as the limit is.

    Args:
        accuracy: Of each replica on the same n rows.
        n, num_classes: Rows, and C.

    >>> replicas_out_of_order([0.9, 0.8], 100, 10) is None, replicas_out_of_order([0.1, 0.12], 100, 10) is None
    (True, True)
    >>> replicas_out_of_order([0.9, 0.1, 0.8], 100, 10)[:50]
    'replica 1 is at chance on 100 rows (accuracy 0.100'
    """
    if num_classes < 2 or len(accuracy) < 2:
        return None
    limit = chance_limit(n, num_classes)
    lost = [replica for replica, value in enumerate(accuracy) if value <= limit]
    if not lost or max(accuracy) <= 2 * limit - 1 / num_classes:
        return None
    said = f"replica {lost[0]} is" if len(lost) == 1 else f"replicas {first_few(lost)} are"
    return (
        f"{said} at chance on {n:,} rows (accuracy {accuracy[lost[0]]:.3f} of {num_classes} classes), others reach "
        f"{max(accuracy):.3f}: most likely these rows are in another order than the labels, since rows without ids go "
        "by their place; give the predictions a column sample_id (and the labels sample_ids=), or put them in order"
    )
