"""Whether the files of an arm are those of the replicas that the manifest names, each in its place.

What is read is the footers, not the rows. A footer says of which arm, split, view and epoch a file is; the path says so
too; files that another tool wrote have no such footer and are taken at their path's word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biasvar.analysis.statistics.chance import chance_limit
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.column_kinds import together
from biasvar.records.frames import sample_keys
from biasvar.records.stored_files import StoredFile, file_replicas, footer, read_columns

if TYPE_CHECKING:
    import pandas as pd

GROUPS = 16
"""Jackknife groups of a run of that many replicas or more: replica r belongs to group r mod 16."""
LOSS_TOLERANCE = 1e-3  # of mean losses: one side went through float32


def cure(kind: str) -> str:
    """What to do about files that are missing or in the wrong place, in a run of that kind."""
    if kind == "study":
        return "run the study again with the same --out, which makes again what is missing, or restore the file"
    return "restore what was written there, or record and import it anew in another directory"


def expected_replicas(kind: Any, entry: Mapping[str, Any]) -> tuple[set[int], set[int]] | None:
    """The replicas of an arm, and those of them that may lack files since they are not finite; None if unknown.

    Args:
        kind: Of the run.
        entry: The arm's in the manifest.
    """
    count = entry.get("replicas")
    if kind not in ("study", "import") or entry.get("status") != "complete" or not count:
        return None
    lost = {item["replica"] for item in entry.get("failed_replicas") or () if item["reason"] == "not finite"}
    return set(range(count)), lost


def check_place(file: StoredFile, kind: str) -> dict[str, Any]:
    """What the footer of a file says; RecordError where that is another arm, split, view or epoch than its path's."""
    said = footer(file.path)
    part = "view" if "view" in said else "membership"
    for key, here in (("arm", file.arm), ("split", file.split), (part, file.part), ("epoch", file.epoch)):
        if said.get(key, here) != here:
            raise RecordError(
                f"{file.path} is in the wrong place: by its own words it is of {key} {said[key]!r}, not {here!r}; was "
                f"it copied or moved? {cure(kind)}"
            )
    return said


def check_records(files: Sequence[StoredFile], manifest: Mapping[str, Any], samples: Mapping[str, int]) -> None:
    """Raise RecordError for record files in a wrong place, and for replicas that are missing, doubled or unknown.

    Args:
        files: Whole epochs of records, in order.
        manifest: Of the run.
        samples: Rows of each split that a clean pass goes over; empty where the run does not say.
    """
    kind = manifest["kind"]
    for (arm, split, view, epoch), here in groupby(files, key=lambda f: (f.arm, f.split, f.part, f.epoch)):
        where = f"the record of arm {arm!r}, split {split!r}, view {view!r}, epoch {epoch}"
        expected = expected_replicas(kind, manifest["arms"].get(arm, {}))
        together = list(here)
        contents = {file: check_place(file, kind) for file in together}
        found = {file: file_replicas(file.path) for file in together}
        if None in found.values():
            continue
        _check_sequence(found, kind, where)
        twice = [r for r, count in Counter(r for own in found.values() for r in own or ()).items() if count > 1]
        if twice:
            _check_rows(together, twice, where, kind)
        there = {r for own in found.values() for r in own or ()}
        if expected is not None:
            _compare(there, *expected, where=f"{together[0].path.parent}: {where}", kind=kind)
        n = samples.get(split)
        for file, said in contents.items():
            if (
                view != "augmented"
                and n is not None
                and expected is not None
                and said["rows"] != n * len(found[file] or ())
            ):
                raise RecordError(
                    f"{file.path} has {said['rows']:,} rows; {n:,} samples of split {split!r} for each of its replicas "
                    f"are {n * len(found[file] or ()):,}: are they rows of another split or run? {cure(kind)}"
                )


def _check_sequence(found: Mapping[StoredFile, list[int] | None], kind: str, where: str) -> None:
    """Where a study's replicas train one by one, file number r is that of replica r."""
    alone = kind == "study" and len(found) > 1 and all(own is not None and len(own) == 1 for own in found.values())
    for file, own in found.items() if alone else ():
        if own is not None and own != [file.group]:
            raise RecordError(
                f"{file.path} is in the wrong place: in {where} it holds replica {own[0]} and is named as "
                f"that of replica {file.group}; {cure(kind)}"
            )


def _check_rows(files: Sequence[StoredFile], twice: Sequence[int], where: str, kind: str) -> None:
    """Several files may share the rows of a replica between them; none may come twice."""
    keys = np.concatenate([sample_keys(file.path) for file in files])
    keys = keys[np.isin(keys[:, 0], twice)]
    rows, times = np.unique(keys, axis=0, return_counts=True)
    if (times > 1).any():
        replica, sample = rows[times > 1][0]
        raise RecordError(
            f"{files[0].path.parent}: {where} has replica {replica} more than once (sample_id {sample} and "
            f"{int((times > 1).sum()) - 1:,} more rows), in {first_few([file.path.name for file in files])}; delete "
            f"the copy, or {cure(kind)}"
        )


def _compare(there: set[int], all_of: set[int], lost: set[int], *, where: str, kind: str) -> None:
    missing, unknown = sorted(all_of - there - lost), sorted(there - all_of)
    if missing:
        raise RecordError(f"{where} lacks replica {first_few(missing)} of {len(all_of)}; {cure(kind)}")
    if unknown:
        raise RecordError(
            f"{where} holds replica {first_few(unknown)}, of {len(all_of)} that the manifest names; {cure(kind)}"
        )


def read_metrics(directory: Path, arm: str, manifest: Mapping[str, Any]) -> pa.Table | None:
    """The metrics that an arm left, None if it left none; RecordError where they lack replicas, or hold others."""
    folder, kind = directory / "metrics" / f"arm={arm}", manifest["kind"]
    paths = sorted(folder.glob("group=*.parquet"))
    if not paths:
        return None
    tables = [read_columns(path, schema.METRIC_SCHEMA.names, schema.METRIC_SCHEMA) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        others = sorted(set(table.column("arm").to_pylist()) - {arm})
        if others:
            raise RecordError(
                f"{path} is in the wrong place: it holds metrics of arm {others[0]!r}; was it copied? {cure(kind)}"
            )
    whole = together(tables)
    names = list(schema.METRIC_KEYS)
    keys = whole.select(names).group_by(names, use_threads=False).aggregate([([], "count_all")])
    if keys.num_rows < whole.num_rows:
        twice = keys.filter(pc.greater(keys.column("count_all"), 1)).to_pylist()[0]
        raise RecordError(
            f"{folder}: replica {twice['replica']}, epoch {twice['epoch']} comes more than once in "
            f"{first_few([path.name for path in paths])}; delete the copy, or {cure(kind)}"
        )
    expected = expected_replicas(kind, manifest["arms"].get(arm, {}))
    if expected is not None:
        there = set(whole.column("replica").unique().to_pylist())
        _compare(there, expected[0], set(), where=f"{folder}: the metrics of arm {arm!r}", kind=kind)
        if kind == "study":
            _check_failed(whole, directory, arm, manifest)
    return whole


def _check_failed(metrics: pa.Table, directory: Path, arm: str, manifest: Mapping[str, Any]) -> None:
    """Raise RecordError where a replica is at chance after training and the manifest does not name it as failed."""
    last = metrics.filter(
        pc.and_(
            pc.and_(pc.equal(metrics["split"], "validation"), pc.equal(metrics["view"], "clean")),
            pc.equal(metrics["epoch"], pc.max(metrics["epoch"])),
        )
    )
    least = pc.min(last["n"]).as_py() or 0
    if least < 1 or manifest["num_classes"] < 2:
        return
    limit = chance_limit(least, manifest["num_classes"])
    failed = {item["replica"] for item in manifest["arms"][arm].get("failed_replicas") or ()}
    for replica, accuracy in zip(last["replica"].to_pylist(), last["accuracy"].to_pylist(), strict=True):
        accuracy = math.nan if accuracy is None else accuracy
        if replica not in failed and not accuracy > limit:
            raise RecordError(
                f"{directory / 'manifest.json'} is damaged: arms.{arm}.failed_replicas lacks replica {replica}, whose "
                f"validation accuracy after training is {accuracy:.3f}, at chance (up to {limit:.3f}); "
                "put back what was there, or restore it"
            )


def check_last(file: StoredFile, manifest: Mapping[str, Any]) -> None:
    """Raise RecordError where the last predictions of an arm are not those after its last epoch, which a study keeps.

    Args:
        file: One of the last that are there.
        manifest: Of the run.
    """
    entry = manifest["arms"].get(file.arm, {})
    epochs = entry.get("epochs") or 0
    if manifest["kind"] == "study" and entry.get("status") == "complete" and file.epoch < epochs:
        raise RecordError(
            f"{file.path.parent.parent}: the last predictions of arm {file.arm!r}, split {file.split!r}, are of epoch "
            f"{file.epoch}; those of epoch {epochs}, the last of its training, are missing; {cure('study')}, or name "
            "the epoch that you mean"
        )


def check_counts(file: StoredFile, counts: np.ndarray, manifest: Mapping[str, Any]) -> None:
    """Raise RecordError where predictions are not of all replicas of their arm, each once.

    Args:
        file: One of them, for their arm, split, membership and epoch.
        counts: (G, N) replicas behind each mean.
        manifest: Of the run.
    """
    kind = manifest["kind"]
    where = f"{file.path.parent}: predictions of arm {file.arm!r}, split {file.split!r}, epoch {file.epoch}"
    expected = expected_replicas(kind, manifest["arms"].get(file.arm, {}))
    if expected is None:
        return
    groups = min(GROUPS, len(expected[0]))
    wanted = np.bincount([r % groups for r in expected[0]], minlength=groups)
    kept = np.bincount([r % groups for r in expected[0] - expected[1]], minlength=groups)
    if len(counts) != groups:
        raise RecordError(
            f"{where} are of {len(counts)} groups of replicas, not of {groups}: files are missing; {cure(kind)}"
        )
    least = np.zeros_like(kept) if file.part in ("member", "nonmember") else kept
    wrong = ((counts < least[:, None]) | (counts > wanted[:, None])).any(axis=1)
    if wrong.any():
        group = int(np.flatnonzero(wrong)[0])
        raise RecordError(
            f"{where} are of {int(counts[group].max())} replicas in group {group}, the manifest names {kept[group]}: "
            f"one is missing or doubled; delete the copy, or {cure(kind)}"
        )


def check_losses(where: str, counts: np.ndarray, losses: np.ndarray, told: Mapping[int, float], kind: str) -> None:
    """Raise RecordError where predictions have another mean loss than the metrics of their replicas say.

    Args:
        where: What they are, of all replicas after one epoch.
        counts: (G, N) replicas behind each mean.
        losses: (G,) their mean losses over the rows, NaN without any.
        told: The mean loss of each replica by its metrics, where they say one.
        kind: Of the run.
    """
    groups = len(counts)
    for group in range(groups):
        own = [loss for replica, loss in told.items() if replica % groups == group]
        mean = float(np.mean(own)) if own else np.nan
        if len(own) != counts[group].max(initial=0) or not np.isfinite([mean, losses[group]]).all():
            continue
        if abs(losses[group] - mean) > LOSS_TOLERANCE * max(1.0, abs(mean)):
            raise RecordError(
                f"{where}, are not those of its metrics: group {group} has a mean loss of {losses[group]:.4g} nats, "
                f"the metrics say {mean:.4g}; were files copied from another run, or swapped? {cure(kind)}"
            )


def check_classes(samples: pa.Table, num_classes: int, path: Path, kind: str) -> None:
    """Raise RecordError for a sample of a class that the run does not have.

    Args:
        samples: The table of the run's samples, and `path` where it lies.
        num_classes, kind: Of the run.
    """
    labels = samples["label"].to_numpy()
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        sample, label = samples["sample_id"].to_numpy()[bad][0], labels[bad][0]
        raise RecordError(
            f"{path}: sample_id {sample} has label {label}, the manifest's num_classes allows 0 to {num_classes - 1}; "
            f"{cure(kind)}"
        )


def labels_of(samples: pd.DataFrame, ids: np.ndarray, split: str | None, directory: Path, kind: str) -> np.ndarray:
    """The labels of samples, (n,); RecordError for ids that the run does not know, or that are of another split.

    Args:
        samples: The table of the run's samples, by id.
        ids: (n,).
        split: The split that they should be of; None for any.
        directory, kind: Of the run.
    """
    if kind == "recorder" and split is not None:
        own = samples[samples["split"] == split]  # its splits may number their samples alike
        samples = own if np.isin(ids, own["sample_id"]).all() else samples.drop_duplicates("sample_id")
    known = samples["sample_id"].to_numpy()
    missing = ids[~np.isin(ids, known)]
    if missing.size:
        raise RecordError(f"{directory}: samples.parquet lacks the predicted sample_id {missing[0]}; {cure(kind)}")
    place = np.searchsorted(known, ids)
    wrong = ids[samples["split"].to_numpy()[place] != split] if split is not None and kind != "recorder" else ids[:0]
    if wrong.size:
        raise RecordError(
            f"{directory}: the predictions of split {split!r} hold sample_id {first_few(wrong)} of another split; "
            f"{cure(kind)}"
        )
    labels: np.ndarray = samples["label"].to_numpy()[place]
    return labels
