"""biasvar in TensorBoard: the summary of every epoch, aggregates only (docs/tensorboard.md)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from biasvar.records import open_run
from biasvar.records.schema import METRIC_KEYS
from biasvar.records.summary import Summary

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ImportError(f"{error}: pip install 'biasvar[tensorboard]'") from None

__all__ = ["add_summary", "write_run"]


def add_summary(writer: Any, summary: Summary, epoch: int, *, prefix: str = "biasvar/train/") -> None:
    """Add the summary that `Recorder.end_epoch` returned, each number as "PREFIXname".

    Args:
        writer: A `torch.utils.tensorboard.SummaryWriter`, or anything with its `add_scalar`.
        summary: n, accuracy, nll (nats), shares of regularization samples, mean weights; of several replicas means and
            standard errors.
        epoch: The step on the horizontal axis.
        prefix: What comes before each name.
    """
    for name, value in summary.scalars(prefix).items():
        writer.add_scalar(name, value, epoch)


def write_run(directory: str | Path, log_dir: str | Path) -> list[Path]:
    """Write the metrics by epoch of a run directory, of a study or of one's own loop, as TensorBoard's event files.

    Every replica of an arm is one of TensorBoard's runs, `log_dir`/ARM/replica=R, with tags "SPLIT/VIEW/name".

    Returns:
        The folders written.

    Raises:
        FileExistsError: One of them is there already: TensorBoard would draw both as one.
        RecordError: The directory holds no run, or one that cannot be read.
    """
    folders = {
        Path(log_dir) / str(arm) / f"replica={replica}": rows
        for (arm, replica), rows in open_run(directory).metrics.groupby(["arm", "replica"])
    }
    for folder in folders:
        if folder.exists():
            raise FileExistsError(f"{folder} exists: delete it, or give another log_dir")
    for folder, rows in folders.items():
        with SummaryWriter(str(folder)) as writer:
            for row in rows.sort_values("epoch").to_dict("records"):
                for name, value in row.items():
                    if name not in METRIC_KEYS and value is not None and math.isfinite(value):
                        writer.add_scalar(f"{row['split']}/{row['view']}/{name}", value, row["epoch"])
    return list(folders)
