"""Images and labels as arrays with fixed sample ids; no torch."""

from biasvar.data.dataset import Dataset
from biasvar.data.datasets import DATASETS, load_dataset
from biasvar.data.draws import SPLITS, draw_members, split_rows
from biasvar.data.hub import fetch
from biasvar.data.splits import check_classes, split_official
from biasvar.data.writing import from_arrays

__all__ = [
    "DATASETS",
    "SPLITS",
    "Dataset",
    "check_classes",
    "draw_members",
    "fetch",
    "from_arrays",
    "load_dataset",
    "split_official",
    "split_rows",
]
