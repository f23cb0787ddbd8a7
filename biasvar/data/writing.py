"""Arrays of one's own as the Parquet file that studies read."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, as_names
from biasvar.arguments import checked
from biasvar.data.contents import coded
from biasvar.data.numpy_data import checked_labels, checked_values
from biasvar.files import write_bytes


@checked
def from_arrays(
    path: str | Path,
    values: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | None = None,
    class_names: Sequence[str] | None = None,
    source: str = "",
) -> Path:
    """Write images or features with their labels as the Parquet file that a study's `data.name` takes.

    Row i has sample_id i; test rows come after. Images are written as PNG, without loss. An .npz file needs no such
    call: :func:`load_dataset` and studies read it as it is.

    Args:
        path: Of the file, ending in .parquet; one that is there is replaced.
        values: Images of whole numbers 0 .. 255, (N, H, W) or (N, H, W, 3), or features (N, D), which are kept as
            float32. NumPy arrays or what becomes one, such as tensors on the CPU.
        labels: (N,) integers from 0, or words, which are numbered in the order of `class_names`, or else of the words.
        test: (values, labels) of an official test split; without one, studies cut theirs off by `data.test`.
        class_names: A name for each class, in order.
        source: Where the data are from, for captions.

    Returns:
        The path.

    Raises:
        TypeError: Values or labels that are no numbers (labels: or words), or `test` that is no pair.
        ValueError: A path or a source of another kind, another shape or number of rows, pixels out of range, features
            that are not finite, labels below 0 or that none of the class names is for, or a path that does not end in
            .parquet.
        OSError: The file cannot be written.

    >>> import tempfile
    >>> from biasvar.data import load_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = from_arrays(f"{folder}/two.parquet", [[0.5, 1.0], [2.0, 3.0]], ["no", "yes"])
    ...     load_dataset(path).class_names
    ('no', 'yes')
    """
    target = Path(path)
    if target.suffix != ".parquet":
        raise ValueError(f"path must end in .parquet, not {str(path)!r}")
    parts = [("train", *_checked(values, labels, ""))]
    if test is not None:
        if not (isinstance(test, tuple | list) and len(test) == 2):
            raise TypeError(f"test must be a pair of values and labels, not {type(test).__name__}")
        parts.append(("test", *_checked(*test, "test ")))
    shapes = [own.shape[1:] for _, own, _ in parts]
    if len(set(shapes)) > 1:
        raise ValueError(f"test values must be of the shape of values, {shapes[0]} a row, not {shapes[1]}")
    truth, names = _numbered([own for _, _, own in parts], class_names)
    rows = [own for _, own, _ in parts]
    columns: dict[str, Any] = {"features": _lists(rows)} if rows[0].ndim == 2 else {"image": _encoded(rows)}
    columns["label"] = pa.array(truth)
    if test is not None:
        columns["split"] = [split for split, own, _ in parts for _ in own]
    said = {"class_names": json.dumps(list(names))} if names else {}
    table = pa.table(columns).replace_schema_metadata(said | ({"source_repo": source} if source else {}))
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", row_group_size=4096)
    write_bytes(target, content.getvalue())
    return target


def _checked(values: Any, labels: Any, of: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = checked_values(to_numpy(as_array(values, f"{of}values")), f"{of}values")
    if not len(pixels):
        raise ValueError(f"{of}values are empty; needed: at least one row")
    truth = as_names(labels, f"{of}labels")
    if truth.dtype == object and all(isinstance(label, str) for label in truth):
        truth = truth.astype(str)
    return pixels, checked_labels(truth, f"{of}labels", len(pixels))


def _numbered(labels: list[np.ndarray], names: Sequence[str] | None) -> tuple[np.ndarray, Sequence[str] | None]:
    """The labels as numbers, and the class names."""
    if names is not None:
        names = as_names(names, "class_names").tolist()
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError("class_names must be a list of different words, one a class")
    truth = np.concatenate(labels)
    if len({own.dtype.kind for own in labels}) > 1:
        raise ValueError("labels must all be words or all be integers")
    if truth.dtype.kind == "U":
        return coded(truth.tolist(), names, where="labels: row {}".format)
    count = np.iinfo(np.int32).max if names is None else len(names)
    wrong = (truth < 0) | (truth >= count)
    if wrong.any():
        allowed = "integers from 0" if names is None else f"0 .. {count - 1} with {count} class_names"
        raise ValueError(f"labels must be {allowed}, not {truth[np.argmax(wrong)]}")
    return truth, names


def _lists(parts: list[np.ndarray]) -> pa.Array:
    rows = np.concatenate(parts)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _encoded(parts: list[np.ndarray]) -> pa.Array:
    return pa.array([_png(image) for rows in parts for image in rows], type=pa.binary())


def _png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG")
    return content.getvalue()
