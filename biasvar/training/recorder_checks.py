"""The rows of a recorded epoch, checked when it ends: what cannot be recorded is named by its sample ids."""

from __future__ import annotations

import numpy as np

from biasvar.analysis.inputs import label_cause
from biasvar.analysis.statistics.chance import out_of_order
from biasvar.messages import first_few
from biasvar.records.merging import first_rows

Columns = dict[str, np.ndarray]
MARKS = {
    "top_k": "a top-k teacher lists different classes a row, whose mass is 1 at most; of logits give TopK their tail",
    "flag": "member must be bool, or 0 and 1",
    "distribution": "rows of probabilities must be finite, without negative entries and sum to 1 within 1e-3",
    "positive": "probabilities must be above 0, whose loss is infinite: pass clip=1e-7 to Recorder to raise them",
}


def checked_rows(
    columns: Columns, prefix: str, num_samples: int, num_classes: int, *, drop_not_finite: bool
) -> Columns:
    """The rows that count, all of them sound; the marks of `recorder_terms` among the columns are used up.

    Raises:
        ValueError: beginning with `prefix` and naming the first few ids, for an id or a label out of range, values that
            are not finite in float32 (unless their replicas are to be dropped), weights and flags that are none.
    """
    columns = _chosen(columns, columns.pop("kept"))
    marks = {name: columns.pop(name) for name in ("finite", *MARKS) if name in columns}
    finite = marks["finite"]
    ids, labels, weight = (columns[name] for name in ("sample_id", "label", "loss_weight"))
    outside = (ids < 0) | (ids >= num_samples)
    if outside.any():
        raise ValueError(
            f"{prefix}sample_ids {first_few(ids[outside])} lie outside 0 .. {num_samples - 1}: num_samples "
            f"is {num_samples}, and must be more than the largest id"
        )
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        raise ValueError(
            f"{prefix}labels {first_few(labels[outside])} of sample_ids {first_few(ids[outside])} lie outside "
            f"0 .. {num_classes - 1}{label_cause(labels, num_classes)}"
        )
    for name, rule in MARKS.items():
        if name in marks and not marks[name].all():
            raise ValueError(f"{prefix}{rule}; sample_ids {first_few(ids[~marks[name]])} are not so")
    if drop_not_finite:
        bad = ~(finite & np.isfinite(weight))
        columns = _chosen(columns, ~np.isin(columns["replica"], columns["replica"][bad]))
        ids, weight = columns["sample_id"], columns["loss_weight"]
    elif not finite.all():
        cure = (
            "; a top-k teacher of tail 0 gives labels that it does not list no probability" if "top_k" in marks else ""
        )
        raise ValueError(f"{prefix}logits of sample_ids {first_few(ids[~finite])} are not finite in float32{cure}")
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        raise ValueError(
            f"{prefix}loss_weight of sample_ids {first_few(ids[bad])} must be finite in float32 and not negative "
            f"(the first is {weight[bad][0]:g})"
        )
    return columns


def without_repeats(
    columns: Columns, prefix: str, num_samples: int, on_duplicate: str
) -> tuple[Columns, dict[int, int]]:
    """The first row of each sample in each replica, and how many others of each replica were dropped.

    Raises:
        ValueError: A sample comes twice and `on_duplicate` is "refuse".
    """
    ids, replicas = columns["sample_id"], columns["replica"]
    key = np.sort(replicas * num_samples + ids)
    if not (key[1:] == key[:-1]).any():
        return columns, {}
    keep = first_rows(replicas, ids)
    if on_duplicate == "refuse":
        raise ValueError(
            f"{prefix}sample_ids {first_few(np.unique(ids[~keep]))} were given more than once; where samples are "
            "repeated so that batches or parts are of one length, pass on_duplicate='first'"
        )
    numbers, counts = np.unique(replicas[~keep], return_counts=True)
    return _chosen(columns, keep), dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _chosen(columns: Columns, keep: np.ndarray) -> Columns:
    return columns if keep.all() else {name: values[keep] for name, values in columns.items()}


def odd_teachers(columns: dict[str, np.ndarray], summary: dict[str, np.ndarray], num_classes: int) -> np.ndarray | None:
    """A warning for each replica whose teacher is at chance on rows that the student has learned; None without any."""
    if "teacher_prediction" not in columns:
        return None
    said = np.full(len(summary["replica"]), "", dtype=object)
    for i, replica in enumerate(summary["replica"]):
        rows = columns["replica"] == replica
        right = float(np.mean(columns["teacher_prediction"][rows] == columns["label"][rows]))
        said[i] = out_of_order(right, float(summary["accuracy"][i]), int(summary["n"][i]), num_classes) or ""
    return said if said.any() else None
