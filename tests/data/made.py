"""Small Parquet files in the layouts that image data sets come in."""

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


def pictures(n: int, *, size: tuple[int, int] = (6, 5), colour: bool = True, seed: int = 0) -> np.ndarray:
    """uint8 (n, H, W[, 3]) of noise."""
    shape = (n, *size, 3) if colour else (n, *size)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(out, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


def write(
    path: Path,
    images: Sequence[Any],
    labels: Sequence[Any] | np.ndarray,
    *,
    kind: str = "PNG",
    struct: bool = False,
    names: tuple[str, str] = ("image", "label"),
    label_type: pa.DataType | None = None,
    metadata: dict[str, Any] | None = None,
    group: int = 7,
    **columns: Any,
) -> Path:
    """Images are arrays (encoded here), bytes as they are, or None."""
    cells = [image if isinstance(image, bytes | None) else encode(image, kind) for image in images]
    column = pa.array([{"bytes": c, "path": None} for c in cells] if struct else cells)
    if struct:
        column = column.cast(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        column = column.cast(pa.binary())
    table = pa.table(
        {names[0]: column, names[1]: pa.array(labels, type=label_type), **{k: pa.array(v) for k, v in columns.items()}}
    )
    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in (metadata or {}).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group, compression="zstd")
    return path


def hugging_face(names: Sequence[str], column: str = "label") -> dict[str, Any]:
    """The schema metadata that the datasets library writes."""
    features = {"image": {"_type": "Image"}, column: {"names": list(names), "_type": "ClassLabel"}}
    return {"huggingface": {"info": {"features": features}}}


def photographs(n: int, *, sides: tuple[int, int] = (20, 45), seed: int = 0) -> list[bytes]:
    """JPEG files of noise around a colour of their class, i % 3, each of another size."""
    rng = np.random.default_rng(seed)
    means = np.array([[180, 60, 60], [60, 180, 60], [60, 60, 180]])
    shapes = rng.integers(*sides, (n, 2), endpoint=True)
    pixels = [rng.normal(means[i % 3], 40, (*shape, 3)) for i, shape in enumerate(shapes)]
    return [encode(np.clip(image, 0, 255).astype(np.uint8), "JPEG") for image in pixels]


def tree(root: Path, *, train: int = 45, val: int = 15) -> Path:
    """A folder laid out as ImageNet is: train/CLASS/NAME.JPEG and val/CLASS/NAME.JPEG, of three classes."""
    for split, images in (("train", photographs(train)), ("val", photographs(val, seed=1))):
        for i, image in enumerate(images):
            file = root / split / f"n0000000{i % 3}" / f"{split}_{i:03d}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image)
    return root
