"""What a run leaves behind and how it is read: Parquet files any tool can open, written whole or not at all.

``RunWriter`` writes a run directory, ``open_run`` reads it, ``import_predictions`` makes one from finished predictions.
The columns of every table are in :mod:`biasvar.records.schema`.
"""

from biasvar.records.annotation_files import Annotations, read_annotations
from biasvar.records.arms import ArmEntry
from biasvar.records.files import write_table
from biasvar.records.importer import import_predictions
from biasvar.records.reader import Predictions, Run, TeacherLogits, open_run
from biasvar.records.redraws import Redraws, open_redraws
from biasvar.records.schema import SCHEMA_VERSION
from biasvar.records.summary import summarise
from biasvar.records.writer import RunWriter

__all__ = [
    "SCHEMA_VERSION",
    "Annotations",
    "ArmEntry",
    "Predictions",
    "Redraws",
    "Run",
    "RunWriter",
    "TeacherLogits",
    "import_predictions",
    "open_redraws",
    "open_run",
    "read_annotations",
    "summarise",
    "write_table",
]
