"""A data set whose samples say which they are."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["WithSampleIds", "with_sample_ids"]


class WithSampleIds:
    """A map-style data set that gives the place of each sample along with it; see `with_sample_ids`."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        place = self._place(index)
        return _marked(place, self.dataset[place])

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        fetch = getattr(self.dataset, "__getitems__", None)
        places = [self._place(index) for index in indices]
        samples = fetch(places) if callable(fetch) else [self.dataset[place] for place in places]
        return [_marked(place, sample) for place, sample in zip(places, samples, strict=True)]

    def _place(self, index: Any) -> int:
        """The place 0 .. N - 1 that an index means; -1 is the last."""
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a marked data set is indexed by one whole number, not {type(index).__name__}; for several samples "
                "take torch.utils.data.Subset(marked, places)"
            ) from None
        if place < 0:
            place += len(self)
            if place < 0:
                raise IndexError(f"index {index} is before the first of {len(self):,} samples")
        return place

    def __repr__(self) -> str:
        return f"WithSampleIds({self.dataset!r})"


def with_sample_ids(dataset: Any) -> WithSampleIds:
    """A data set that gives (sample_id, *sample), or a dictionary with "sample_id" where samples are dictionaries.

    The sample id is the place in `dataset`, 0 .. N - 1: mark the whole data set first, then take subsets, shuffle and
    sample as you like; ids stay. For a `torch.utils.data.DataLoader` with any sampler and number of workers.

    Args:
        dataset: Map-style: with `__getitem__` by whole numbers and `__len__`.

    Raises:
        TypeError: A data set that cannot be indexed: yield the ids in its `__iter__` then.
        ValueError: A sample is a dictionary that has another "sample_id" already.

    >>> with_sample_ids([("cat", 0), ("dog", 1)])[1]
    (1, 'dog', 1)
    >>> with_sample_ids([{"x": 0.5}])[0]
    {'sample_id': 0, 'x': 0.5}
    """
    indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not indexed or isinstance(dataset, str | bytes | Mapping):
        raise TypeError(
            f"with_sample_ids takes a map-style data set (with __getitem__ and __len__), not {type(dataset).__name__}; "
            "an iterable one must yield its own sample ids, such as a running number"
        )
    return WithSampleIds(dataset)


def _marked(index: int, sample: Any) -> Any:
    if isinstance(sample, Mapping):
        if "sample_id" in sample and sample["sample_id"] != index:
            raise ValueError(f"sample {index} has a sample_id already, {sample['sample_id']!r}: no need to mark it")
        return {"sample_id": index, **sample}
    if isinstance(sample, tuple | list):
        return (index, *sample)
    return (index, sample)
