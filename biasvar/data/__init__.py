"""Images and labels as arrays with fixed sample ids; no torch."""

from biasvar.data.datasets import Dataset, load_dataset
from biasvar.data.draws import SPLITS, draw_members, generator, split_rows

__all__ = ["SPLITS", "Dataset", "draw_members", "generator", "load_dataset", "split_rows"]
