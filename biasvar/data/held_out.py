"""A data set in two: the classes that a study trains on, and those held out of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from biasvar.data.dataset import Dataset
from biasvar.seeding import generator


def hold_out_classes(dataset: Dataset, classes: int, *, seed: int) -> tuple[Dataset, Dataset]:
    """The data set without so many classes, drawn at random, and these classes by themselves.

    In both, rows and classes keep their order and are numbered anew, so that sample ids count the rows that there are.

    Args:
        dataset: Of at least two classes more.
        classes: How many to hold out.
        seed: Of the study.

    Raises:
        ValueError: Fewer than two classes would remain.

    >>> from biasvar.data import load_dataset
    >>> rest, held = hold_out_classes(load_dataset("digits"), 6, seed=0)
    >>> len(rest.labels) + len(held.labels), rest.num_classes, held.class_names
    (1797, 4, ('0', '1', '2', '5', '7', '8'))
    """
    count = dataset.num_classes
    if classes > count - 2:
        raise ValueError(
            f"{classes} of the {count} classes of {dataset.name} held out leave fewer than 2 to train on; hold out at "
            f"most {count - 2}"
        )
    held = np.zeros(count, dtype=bool)
    held[generator(seed, "few-shot classes").permutation(count)[:classes]] = True
    said = f"{classes} of its {count} classes"
    return (
        _of_classes(dataset, ~held, f"without {said}, held out for few-shot episodes"),
        _of_classes(dataset, held, f"{said}, held out for few-shot episodes"),
    )


def _of_classes(dataset: Dataset, chosen: np.ndarray, said: str) -> Dataset:
    rows = chosen[dataset.labels]
    return replace(
        dataset,
        images=dataset.images[rows],
        labels=(np.cumsum(chosen) - 1)[dataset.labels[rows]],
        class_names=tuple(name for name, taken in zip(dataset.class_names, chosen, strict=True) if taken),
        note=f"{dataset.note}; {said}",
        split=None if dataset.split is None else dataset.split[rows],
        original_index=None if dataset.original_index is None else dataset.original_index[rows],
        files=None if dataset.files is None else tuple(np.array(dataset.files, dtype=object)[rows]),
        _measured=None,
    )
