"""A run directory from finished predictions, which the report reads like a run that was trained."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from biasvar.arguments import checked
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.frames import to_frame
from biasvar.records.prediction_files import log_probabilities, read_labels, read_predictions
from biasvar.records.reader import Run, open_run
from biasvar.records.stored_files import read_columns
from biasvar.records.summary import calibration_error, summarise
from biasvar.records.writer import RunWriter

MAX_GROUPS = 16
"""Replicas beyond this many share jackknife groups: replica r goes to group r mod 16."""


@checked
def import_predictions(
    files: Any,
    labels: Any,
    *,
    directory: str | Path | None = None,
    arm: str = "predictions",
    sample_ids: Any = None,
    split: str = "test",
    probabilities: bool = False,
    clip: float | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    resume: bool = False,
) -> Run:
    """Make a run of finished predictions, one (N, C) array a replica, and open it.

    ``files``: one a replica, each an array, .npy, .npz (one array, or ``logits`` or ``predictions``) or .parquet (a
    list column, or C columns of numbers; rows are aligned by a column ``sample_id`` if it has one). ``labels`` (N,):
    an array, .npy, .npz, .csv or .parquet (column ``label``, optionally ``sample_id``). ``sample_ids`` default to those
    of the labels, else 0 to N - 1. Values are logits at temperature 1, or distributions with ``probabilities=True``;
    ``clip`` then raises probabilities below it, which is the only way to bring in zeros. ``directory`` defaults to
    ``runs/NAME``. Call again with another ``arm`` (or split) and ``resume=True`` to add it to the same run.

    Everything is read and checked before anything is written. Raises RecordError naming the file, the rows and the
    rule; FileNotFoundError for a file that is not there.

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
    sources = [files] if isinstance(files, str | Path) else list(files)
    if not sources:
        raise RecordError("files: name at least one file of predictions, one a replica")
    if not isinstance(sources[0], str | Path) and np.ndim(sources[0]) == 1:
        raise RecordError(
            "files: give a list of one (N, C) array or file per replica; these are rows of a single one: pass [array]"
        )
    if clip is not None and not (probabilities and 0 < clip < 1):
        raise RecordError(f"clip={clip!r} must lie between 0 and 1, and needs probabilities=True")
    target = read_labels(labels)
    ids = _sample_ids(sample_ids, target.sample_ids, len(target.values))
    order = np.argsort(ids, kind="stable")
    ids, truth = ids[order], target.values[order]

    means = np.zeros((0, len(ids), 0))
    counts = np.zeros(0, dtype=np.int64)
    columns: list[dict[str, np.ndarray]] = []
    errors: list[float] = []
    for replica, source in enumerate(sources):
        where = str(source) if isinstance(source, str | Path) else f"files[{replica}]"
        log_p = _aligned(source, where, ids, order, probabilities, clip)
        if not replica:
            groups = min(len(sources), MAX_GROUPS)
            means, counts = np.zeros((groups, *log_p.shape)), np.zeros(groups, dtype=np.int64)
            _check_classes(truth, ids, class_names, log_p.shape[1])
        elif log_p.shape[1] != means.shape[2]:
            raise RecordError(f"{where} has {log_p.shape[1]} classes, the files before it {means.shape[2]}")
        group = replica % MAX_GROUPS
        counts[group] += 1
        means[group] += (log_p - means[group]) / counts[group]
        columns.append(_record_columns(log_p, truth, ids, replica))
        errors.append(calibration_error(np.exp(log_p.max(axis=1)), columns[-1]["student_prediction"] == truth))
    record = {key: np.concatenate([part[key] for part in columns]) for key in columns[0]}

    path = Path(directory) if directory is not None else Path("runs") / (name or "imported")
    there = open_run(path) if (path / "manifest.json").is_file() else None
    samples = {"sample_id": ids, "label": truth, "split": np.full(len(ids), split, dtype=object)}
    if there is not None and resume:
        samples = _merged_samples(there, samples, arm, split)
    writer = RunWriter(path, manifest=_manifest(ids, truth, means, len(sources), class_names, name), resume=resume)
    writer.update_arm(arm, **_arm_entry(arm, sources, probabilities, clip))
    writer.samples(samples["sample_id"], samples["label"], samples["split"])
    # The predictions come last: an import that was cut short has none, and may be repeated.
    writer.record(arm, split, "clean", 0, 0, record, metadata={"temperature": 1.0}, replace=True)
    writer.metrics(arm, 0, _metrics(writer.directory, record, np.array(errors), arm, split))
    all_counts = np.repeat(counts[:, None], len(ids), axis=1)
    writer.predictions(arm, split, "all", 0, 0, ids, all_counts, means)
    writer.update_arm(arm, status="complete")
    return open_run(path)


def _sample_ids(given: Any, found: np.ndarray | None, rows: int) -> np.ndarray:
    ids = np.asarray(given if given is not None else found if found is not None else np.arange(rows))
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise RecordError(f"sample_ids must be whole numbers of shape (N,), not {ids.dtype} {ids.shape}")
    if len(ids) != rows:
        raise RecordError(f"there are {len(ids)} sample_ids and {rows} labels; one of each a sample is needed")
    if not rows:
        raise RecordError("labels are empty; name the true class of every predicted sample")
    if (ids < 0).any():
        raise RecordError(f"sample_ids {first_few(ids[ids < 0])} are negative; allowed: whole numbers from 0 on")
    values, times = np.unique(ids, return_counts=True)
    if (times > 1).any():
        raise RecordError(f"sample_ids {first_few(values[times > 1])} come more than once; each names one sample")
    return ids.astype(np.int64)


def _aligned(
    source: Any, where: str, ids: np.ndarray, order: np.ndarray, probabilities: bool, clip: float | None
) -> np.ndarray:
    """Log-probabilities of one replica with its rows in the order of ``ids`` (rising)."""
    table = read_predictions(source, where)
    if len(table.values) != len(ids):
        raise RecordError(f"{where} has {len(table.values)} rows and there are {len(ids)} labels")
    if table.values.shape[1] < 2:
        raise RecordError(f"{where} has one class, shape {table.values.shape}; at least 2 are needed")
    if not probabilities and _are_distributions(table.values):
        raise RecordError(
            f"{where}: every row is without negative values and sums to 1: these look like probabilities, not logits; "
            "pass probabilities=True (or, if they are logits, add 1 to all of them, which changes nothing)"
        )
    log_p = log_probabilities(table.values, where, probabilities=probabilities, clip=clip)
    if table.sample_ids is None:
        return log_p[order]
    own = np.argsort(table.sample_ids, kind="stable")
    differing = table.sample_ids[own] != ids
    if differing.any():
        raise RecordError(
            f"{where}: its sample_id {first_few(table.sample_ids[own][differing])} do not match those of the labels, "
            f"{first_few(ids[differing])}; give the labels a column sample_id, or pass sample_ids="
        )
    return log_p[own]


def _are_distributions(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and (np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= 1e-6).all())


def _check_classes(truth: np.ndarray, ids: np.ndarray, class_names: Sequence[str] | None, classes: int) -> None:
    wrong = (truth < 0) | (truth >= classes)
    if wrong.any():
        raise RecordError(f"labels of sample_id {first_few(ids[wrong])} are out of range; allowed: 0 to {classes - 1}")
    if class_names is not None and len(class_names) != classes:
        raise RecordError(f"class_names has {len(class_names)} names, the predictions have {classes} classes")


def _record_columns(log_p: np.ndarray, truth: np.ndarray, ids: np.ndarray, replica: int) -> dict[str, np.ndarray]:
    rows = np.arange(len(ids))
    true = log_p[rows, truth]
    gradient = np.exp(log_p)
    prob = gradient[rows, truth]
    gradient[rows, truth] = np.expm1(true)  # p - 1 without cancellation
    return {
        "sample_id": ids,
        "replica": np.full(len(ids), replica, dtype=np.int32),
        "label": truth,
        "student_loss": -true,
        "student_prob": prob,
        "student_prediction": log_p.argmax(axis=1),
        "bias_gradient": gradient[rows, truth],
        "bias_gradient_norm": np.sqrt((gradient**2).sum(axis=1)),
        "loss_weight": np.ones(len(ids)),
        "member": np.zeros(len(ids), dtype=bool),
    }


def _merged_samples(run: Run, new: dict[str, np.ndarray], arm: str, split: str) -> dict[str, np.ndarray]:
    if schema.prediction_path(run.directory, arm, split, "all", 0).exists():
        raise RecordError(f"{run.directory} already has predictions of arm {arm!r}, split {split!r}; name another arm")
    old = {name: run.samples[name].to_numpy() for name in new}
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
    directory: Path, record: dict[str, np.ndarray], errors: np.ndarray, arm: str, split: str
) -> dict[str, np.ndarray]:
    numbers: dict[str, Any] = dict(summarise(record))
    rows = len(errors)
    constant = {"arm": arm, "split": split, "view": "clean"}
    numbers |= {key: np.full(rows, value, dtype=object) for key, value in constant.items()}
    numbers |= {"epoch": np.zeros(rows, dtype=np.int32), "ece": errors, "learning_rate": np.full(rows, np.nan)}
    path = schema.metrics_path(directory, arm)
    if path.exists():  # another split of the same arm came first
        old = to_frame(read_columns(path, schema.METRIC_COLUMNS, schema.METRIC_SCHEMA))
        old = old[old["split"] != split]
        numbers = {key: np.concatenate([old[key].to_numpy(), values]) for key, values in numbers.items()}
    return numbers


def _manifest(
    ids: np.ndarray,
    truth: np.ndarray,
    means: np.ndarray,
    replicas: int,
    class_names: Sequence[str] | None,
    name: str | None,
) -> dict[str, Any]:
    classes = means.shape[2]
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


def _arm_entry(arm: str, sources: list[Any], probabilities: bool, clip: float | None) -> dict[str, Any]:
    return {
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
        "files": [Path(source).name if isinstance(source, str | Path) else None for source in sources],
        "values": "probabilities" if probabilities else "logits",
        "clip": clip,
    }
