"""Whether an accuracy is at chance: the one rule for students, teachers and replicas."""

from __future__ import annotations

import math

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
