"""A run directory from finished predictions, which the report reads like a run that was trained."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from biasvar.analysis.statistics.chance import replicas_out_of_order
from biasvar.arguments import checked
from biasvar.columns import listed_names
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.arms import described
from biasvar.records.frames import to_frame
from biasvar.records.imported_rows import Rows, check_predictions, group_means
from biasvar.records.label_files import read_labels
from biasvar.records.prediction_files import Source, Values, open_predictions
from biasvar.records.reader import Run, open_run
from biasvar.records.sample_names import SampleNames, are_names, read_sample_names, settle_sample_names
from biasvar.records.stored_files import IMPORTED, read_columns, stored_files
from biasvar.records.stored_means import StoredMeans
from biasvar.records.summary import summarise
from biasvar.records.tables import is_frame
from biasvar.records.writer import RunWriter


@checked
def import_predictions(
    files: Any,
    labels: Any,
    *,
    directory: str | Path | None = None,
    arm: str = "predictions",
    sample_ids: Any = None,
    split: str = "test",
    values: Values | None = None,
    clip: float | None = None,
    where: Any = None,
    columns: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    resume: bool = False,
    probabilities: bool | None = None,
    first_replica: int = 0,
    label: str | None = None,
    loss: str | None = None,
    control: str | None = None,
) -> Run:
    """Make a run of finished predictions, one (N, C) array a replica, and open it.

    Args:
        files: One a replica: an array or tensor, a frame (pandas, Polars, Arrow), .npy, .npz (one array, or ``logits``
            or ``predictions``) or .parquet. A table has a list column or one column a class, told by their names:
            numbered 0 to C - 1 after one prefix, or the ``class_names``; else ``columns`` says them, in class order.
            Its rows are aligned by its sample ids: ``sample_id``, a column named like an id, or a pandas index.
        labels: (N,) class numbers from 0, words that are ``class_names``, or one-hot rows (N, C): an array, frame,
            .npy, .npz, .csv or .parquet (column ``label``, or named like it, and optionally sample ids).
        directory: Where the run goes; default ``runs/NAME``.
        sample_ids: (N,) ids of the labels, or names, such as file names, which the run keeps and numbers from 0 on in
            this order; default those that the labels have, else 0 to N - 1.
        values: What the numbers are, at temperature 1; default logits, and numbers that do not look like logits are
            refused. Rows of probabilities sum to 1 within 1e-3 and are divided by their sum.
        clip: Raises probabilities below it, which is the only way to bring in zeros.
        where: bool (N,), True for the rows that count, in the order of the labels; others are not read.
        resume: Adds another ``arm`` (or split) to the run that is there, which a `Recorder` may have written: whose
            splits may number their samples alike.
        probabilities: Deprecated; ``values="probabilities"``.
        first_replica: With ``resume``, adds replicas to an arm that has that many.
        label, loss, control: What the arm is called in the report, what it was trained by ("cross_entropy" is what
            others are compared with), and the arm that it is compared with, whatever their losses.

    A replica at chance beside others that are far above is named by a warning, which the manifest and a report keep.
    Everything is read and checked before anything is written, by parts of rows: beside the arrays given, memory for one
    replica of a .npz or Parquet file is enough. The manifest says which column is which class, and where ids are from.

    Raises:
        RecordError: A file, rows or columns that do not fit; names them and the rule.
        FileNotFoundError: A file that is not there.

    >>> import tempfile
    >>> rng = np.random.default_rng(0)
    >>> replicas = [rng.normal(size=(50, 3)) for _ in range(4)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = import_predictions(replicas, rng.integers(0, 3, size=50), directory=folder)
    ...     run.predictions("predictions").mean_log_probs.shape
    (4, 50, 3)
    """
    schema.check_name(arm, "arm")
    schema.check_name(split, "split")
    given = _values(values, probabilities, clip)
    class_names = listed_names(class_names, "class_names")
    columns = [columns] if isinstance(columns, str) else listed_names(columns, "columns")
    words = described(arm, label=label, loss=loss, control=control)
    sources = [
        open_predictions(source, _named(source, replica), class_names=class_names, columns=columns)
        for replica, source in enumerate(_replicas(files))
    ]
    target = read_labels(labels, class_names=class_names, where=where)
    path = Path(directory) if directory is not None else Path("runs") / (name or "imported")
    names = None
    if are_names(sample_ids):
        names = (read_sample_names(path, split) if resume else None) or SampleNames(sample_ids)
        sample_ids = names.ids(sample_ids, "sample_ids")
    rows = Rows.of(target, sources, sample_ids, where)
    ids, truth = rows.ids, target.values[rows.of_labels]
    if first_replica < 0:
        raise RecordError(f"first_replica must be a whole number from 0 on, not {first_replica}")
    checked = check_predictions(sources, rows, target, truth, given, clip, first_replica)
    _check_names(class_names, checked.classes)

    odd = _odd_replicas(checked.record, len(sources), len(ids), checked.classes)
    if odd is not None:
        warnings.warn(f"arm {arm!r}, split {split!r}: {odd}", stacklevel=3)

    there = open_run(path) if (path / "manifest.json").is_file() else None
    samples = {"sample_id": ids, "label": truth, "split": np.full(len(ids), split, dtype=object)}
    recorded = there is not None and resume and there.manifest["kind"] == "recorder"
    numbers = range(first_replica, first_replica + len(sources))
    _check_first(there if resume else None, path, arm, split, numbers)
    group = _free_group(path, arm, split) if recorded else first_replica
    if there is not None and resume:
        samples = _merged_samples(there, samples)
    manifest = _manifest(ids, truth, checked.classes, len(sources), class_names, name)
    if recorded:
        manifest = {"kind": "recorder", "num_classes": checked.classes}
    writer = RunWriter(path, manifest=manifest, resume=resume)
    if recorded:
        writer.recording(arm, f"{split} imported {first_replica:03d}", "running")
    known = writer.manifest["arms"].get(arm, {}).get("warnings") or []
    said = [text for text in known if not text.startswith(f"split {split}: ")]  # an import cut short may be repeated
    said += [] if odd is None else [f"split {split}: {odd}"]
    entry = _arm_entry(arm, sources, rows, given, clip) | {"replicas": first_replica + len(sources)}
    if recorded or first_replica:  # what the arm says of itself stays
        entry = {key: value for key, value in entry.items() if key in ("label", "files", "values", "clip")}
        there_already = writer.manifest["arms"][arm]
        entry = {key: there_already.get(key, value) for key, value in entry.items()}
    writer.update_arm(arm, **(entry | words), **({"warnings": said} if said or known else {}))
    if names is not None:
        settle_sample_names(path, split, names)
    if not recorded:
        writer.samples(samples["sample_id"], samples["label"], samples["split"])
    # The predictions come last: an import that was cut short has none, and may be repeated.
    place = (arm, split, "clean", 0, group)
    writer.record(*place, checked.record, metadata={"temperature": 1.0}, replace=True)
    if not recorded:
        metrics = _metrics(writer.directory, checked.record, checked.calibration_errors, arm, split, first_replica)
        writer.metrics(arm, first_replica, metrics)
    parts = group_means(sources, rows, checked.classes, given, clip, first_replica, apart=recorded)
    writer.prediction_parts(arm, split, "all", 0, group, ids, parts)
    if recorded:
        writer.recording(arm, f"{split} imported {first_replica:03d}", "complete")
    else:
        writer.update_arm(arm, status="complete", replicas=first_replica + len(sources))
    return open_run(path)


def _replicas(files: Any) -> list[Any]:
    if is_frame(files):
        raise RecordError("files: give a list of one frame or file per replica; this is a single one: pass [frame]")
    try:
        sources = [files] if isinstance(files, str | Path) else list(files)
    except TypeError:
        raise RecordError(f"files: give a list of one file or array per replica, not {type(files).__name__}") from None
    if not sources:
        raise RecordError("files: name at least one file of predictions, one a replica")
    one_row = not (isinstance(sources[0], str | Path) or is_frame(sources[0])) and _axes(sources[0]) == 1
    if one_row and len(sources) > 1:
        raise RecordError(
            "files: give a list of one (N, C) array or file per replica; these are rows of a single one: pass [array]"
        )
    return sources


def _axes(source: Any) -> int:
    """The axes of an array; of rows that NumPy cannot read (ragged ones are refused later, tensors are not), two."""
    try:
        return np.ndim(source)
    except (ValueError, TypeError, RuntimeError):
        return 2


def _named(source: Any, replica: int) -> str:
    return str(source) if isinstance(source, str | Path) else f"files[{replica}]"


def _values(values: Values | None, probabilities: bool | None, clip: float | None) -> Values | None:
    if probabilities is not None:
        warnings.warn(
            'probabilities= of import_predictions is deprecated; pass values="probabilities" or values="logits"',
            FutureWarning,
            stacklevel=3,
        )
        if values is not None and (values == "probabilities") != probabilities:
            raise RecordError(
                f"values={values!r} and probabilities={probabilities!r} contradict each other; give values"
            )
        values = "probabilities" if probabilities else values
    if values is not None:
        schema.one_of(values, ("logits", "probabilities"), "values,")
    if clip is not None and not (values == "probabilities" and 0 < clip < 1):
        raise RecordError(f'clip={clip!r} must lie between 0 and 1, and needs values="probabilities"')
    return values


def _odd_replicas(record: dict[str, np.ndarray], replicas: int, n: int, classes: int) -> str | None:
    """A warning where replicas are at chance beside others that are not, as with rows in another order."""
    right = (record["student_prediction"] == record["label"]).reshape(replicas, n)
    return replicas_out_of_order(right.mean(axis=1).tolist(), n, classes)


def _check_names(class_names: Sequence[str] | None, classes: int) -> None:
    if (
        isinstance(class_names, np.ma.MaskedArray)
        or getattr(class_names, "shape", (1,)) == ()
        or not (class_names is None or hasattr(class_names, "__len__"))
    ):
        raise RecordError(f"class_names must be a list of one name for each class, not {type(class_names).__name__}")
    if class_names is not None and len(class_names) != classes:
        raise RecordError(f"class_names has {len(class_names)} names, the predictions have {classes} classes")


def _free_group(path: Path, arm: str, split: str) -> int:
    """The number of the next imported file in a recorded run, apart from those of recorders."""
    folder = schema.prediction_path(path, arm, split, "all", 0).parent
    taken = [int(file.stem.removeprefix("group=")) for file in folder.glob("group=*.parquet")]
    return max([IMPORTED - 1, *taken]) + 1


def _check_first(run: Run | None, path: Path, arm: str, split: str, numbers: range) -> None:
    """Refuse replicas that would leave a gap, or stand where others are."""
    first = numbers.start
    stored = (
        stored_files(path, "predictions", arm=arm, split=split, part="all")
        if (path / "predictions" / f"arm={arm}" / f"split={split}" / "membership=all").is_dir()
        else []
    )
    if run is None:
        if first:
            raise RecordError(f"first_replica={first} adds to an arm's replicas: pass resume=True and its directory")
        return
    if not stored:
        if first:
            raise RecordError(f"{path} has no predictions of arm {arm!r}, split {split!r}, to add replicas to")
        return
    if run.manifest["kind"] == "recorder":
        taken = {n for file in stored for n in read_columns(file.path, ["group"]).column(0).unique().to_pylist()}
        there = max(taken) + 1
        clash = bool(taken & set(numbers))
    else:
        groups = StoredMeans([file.path for file in stored], run.num_classes)
        there = int(groups.counts.max(axis=1, initial=0).sum())
        clash = first != there
    if clash:
        raise RecordError(
            f"{path} already has predictions of arm {arm!r}, split {split!r}; name another arm, or add replicas to "
            f"them with first_replica={there}"
        )


def _merged_samples(run: Run, new: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    known = run.samples
    if run.manifest["kind"] == "recorder":  # its splits may number their samples alike
        known = known[known["split"] == new["split"][0]]
    old = {name: known[name].to_numpy() for name in new}
    _, at_old, at_new = np.intersect1d(old["sample_id"], new["sample_id"], assume_unique=True, return_indices=True)
    for name in ("label", "split"):
        differing = old[name][at_old] != new[name][at_new]
        if differing.any():
            raise RecordError(
                f"{run.directory} knows sample_id {first_few(new['sample_id'][at_new][differing])} with another "
                f"{name}; arms of one run share their samples: name another directory"
            )
    fresh = np.setdiff1d(np.arange(len(new["sample_id"])), at_new)
    return {name: np.concatenate([old[name], new[name][fresh]]) for name in new}


def _metrics(
    directory: Path, record: dict[str, np.ndarray], errors: np.ndarray, arm: str, split: str, first: int
) -> dict[str, np.ndarray]:
    numbers: dict[str, Any] = dict(summarise(record))
    rows = len(errors)
    constant = {"arm": arm, "split": split, "view": "clean"}
    numbers |= {key: np.full(rows, value, dtype=object) for key, value in constant.items()}
    numbers |= {"epoch": np.zeros(rows, dtype=np.int32), "ece": errors, "learning_rate": np.full(rows, np.nan)}
    path = schema.metrics_path(directory, arm, first)
    if path.exists():  # another split of the same arm came first
        old = to_frame(read_columns(path, schema.METRIC_COLUMNS, schema.METRIC_SCHEMA))
        old = old[old["split"] != split]
        numbers = {key: np.concatenate([old[key].to_numpy(), values]) for key, values in numbers.items()}
    return numbers


def _manifest(
    ids: np.ndarray,
    truth: np.ndarray,
    classes: int,
    replicas: int,
    class_names: Sequence[str] | None,
    name: str | None,
) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "kind": "import",
        "num_classes": classes,
        "class_names": [str(label) for label in (class_names if class_names is not None else range(classes))],
        "replicas": replicas,
        "seed": None,
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), **_versions("biasvar", "numpy", "pyarrow")},
        "data": {
            "name": "imported predictions",
            "fingerprint": hashlib.sha256(ids.tobytes() + truth.tobytes()).hexdigest(),
        },
        "commit": None,
        "device": None,
        "threads": None,
        "reference_teacher": None,
        "claims": {},
        "status": "complete",
    }
    return manifest if name is None else {"name": name, **manifest}


def _versions(*packages: str) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # used from its sources
            continue
    return versions


def _arm_entry(
    arm: str, sources: Sequence[Source], rows: Rows, values: Values | None, clip: float | None
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "label": arm,
        "loss": None,
        "family": "imported",
        "temperature": None,
        "teacher": None,
        "regime": "none",
        "role": "main",
        "uses": [],
        "replicas": len(sources),
        "epochs": 0,
        "learning_rate": None,
        "status": "running",
        "failed_replicas": [],
        "files": [Path(source.name).name if source.is_file else None for source in sources],
        "values": values or "logits",
        "clip": clip,
    }
    tables: dict[tuple[tuple[str, ...], str | None], list[int]] = {}
    for replica, (source, ids) in enumerate(zip(sources, rows.source_ids, strict=True)):
        if source.columns is not None:
            tables.setdefault((source.columns, ids), []).append(replica)
    if tables:
        entry["tables"] = [
            {"replicas": replicas, "class_columns": list(columns), "rows_by": ids or "place"}
            for (columns, ids), replicas in tables.items()
        ]
    return entry if rows.label_ids is None else {**entry, "label_ids": rows.label_ids}
