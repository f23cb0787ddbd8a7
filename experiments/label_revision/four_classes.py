"""Make the data of four_classes.yaml: cats, deer, dogs and horses among the frozen features of CIFAR-10.

    python experiments/label_revision/four_classes.py

Reads cifar10_features.parquet, where data sets are found, and writes four_classes.parquet beside this file: `features`,
`label` (0 to 3, in the order above) and `split`. Four classes that are taken for one another are enough for a teacher
to be wrong, and few enough to draw its soft labels class by class.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.data.layout import find_data, shards

HERE = Path(__file__).parent
CLASSES = ("cat", "deer", "dog", "horse")


def main() -> None:
    """Write the file and say what is in it."""
    (shard,) = shards(find_data("cifar10_features"))
    table = pq.read_table(shard.path, columns=["features", "label", "split"])
    names = json.loads(table.schema.metadata[b"class_names"])
    numbers = [names.index(name) for name in CLASSES]
    label = table["label"].to_numpy()
    kept = np.flatnonzero(np.isin(label, numbers))
    place = np.array([numbers.index(one) for one in label[kept]])
    part = table.take(kept).set_column(1, "label", pa.array(place, pa.int8()))
    path = HERE / "four_classes.parquet"
    pq.write_table(part.replace_schema_metadata({"class_names": json.dumps(CLASSES)}), path)
    test = int((np.array(part["split"].to_pylist()) == "test").sum())
    print(f"{path}: {len(part):,} rows, {test:,} of them test rows")


if __name__ == "__main__":
    main()
