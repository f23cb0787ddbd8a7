"""What kind of thing each sample of a run is, in the user's own words: one text a sample, beside the record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, as_names
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.files import write_table
from biasvar.records.frames import to_frame
from biasvar.records.stored_files import read_columns

if TYPE_CHECKING:
    import pandas as pd

FILE = "kinds.parquet"
MOST_KINDS = 200
_LAYOUT = pa.schema(
    [
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)


def write_kinds(directory: Path, kinds: Any, sample_ids: Any, known: pd.DataFrame) -> Path:
    """Write the kinds (n,) of some samples (n,) of a run, replacing those of their splits; other splits keep theirs.

    `known` holds sample_id and split of the samples that may be named; default all of them, in their order.

    Raises:
        RecordError: For other numbers of names and ids, ids that are unknown, come twice or are of two splits, samples
            without a name, and more than 200 different names.
    """
    import pandas as pd  # slow to import, and knows every kind of missing value

    names = as_names(kinds, "kinds")
    ids = known["sample_id"].to_numpy() if sample_ids is None else to_numpy(as_array(sample_ids, "sample_ids"))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or len(ids) != len(names) or not len(ids):
        raise RecordError(
            f"kinds must name each of the sample_ids, (n,) whole numbers; shapes are {names.shape} and {ids.shape}"
        )
    unknown = ids[~np.isin(ids, known["sample_id"])]
    if len(unknown):
        raise RecordError(
            f"sample_ids {first_few(unknown.tolist())} are no samples of {directory}; those are run.samples"
        )
    there = known[known["sample_id"].isin(ids)]
    both = there["sample_id"][there["sample_id"].duplicated()]
    if len(both):
        splits = " and ".join(sorted(there["split"].unique()))
        raise RecordError(f"sample_ids {first_few(both.tolist())} are of the splits {splits}; say of which with split=")
    again, times = np.unique(ids, return_counts=True)
    if (times > 1).any():
        raise RecordError(f"sample_ids {first_few(again[times > 1].tolist())} come more than once")
    if (missing := pd.isna(names)).any():
        raise RecordError(f"kinds must name every sample; sample_ids {first_few(ids[missing].tolist())} have no name")
    texts = [str(name) for name in names.tolist()]
    table = pd.DataFrame({"sample_id": ids.astype(np.int64), "kind": texts}).merge(there[["sample_id", "split"]])
    earlier = read_kinds(directory)
    if earlier is not None:
        table = pd.concat([table, earlier[~earlier["split"].isin(table["split"])]])
    different = table["kind"].nunique()
    if different > MOST_KINDS:
        raise RecordError(f"kinds has {different:,} different names; kinds are groups, of which {MOST_KINDS} will do")
    table = table.sort_values(["sample_id", "split"], ignore_index=True)
    columns = {name: table[name].tolist() for name in _LAYOUT.names}
    write_table(directory / FILE, pa.table(columns, schema=_LAYOUT), schema.metadata_of())
    return directory / FILE


def read_kinds(directory: Path) -> pd.DataFrame | None:
    """Columns sample_id, split and kind, by id; None where the run has none."""
    path = directory / FILE
    return to_frame(read_columns(path, _LAYOUT.names, _LAYOUT)) if path.is_file() else None
