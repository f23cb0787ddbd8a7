"""Where a card's soft labels, labels and images come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biasvar.columns import SAMPLE_ID
from biasvar.errors import RecordError
from biasvar.records import Run, open_run
from biasvar.records.cluster_files import Clusters, read_clusters
from biasvar.records.schema import one_of
from biasvar.records.soft_labels import open_soft_labels
from biasvar.report.card.options import OF_A_FILE, CardOptions

Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # soft labels (n, K), labels (n,), sample ids (n,)


@dataclass(frozen=True)
class Source:
    """Soft labels to be read in batches.

    Attributes:
        name: what they are, for headings.
        num_classes: K.
        rows: how many, None where only reading tells.
        batches: starts a reading.
        class_names: if the source has any.
        notes: what a reader must know of them.
    """

    name: str
    num_classes: int
    rows: int | None
    batches: Callable[[], Iterable[Part]]
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]


def open_clusters(options: CardOptions) -> Clusters | None:
    """The names of the clusters that the options ask for, None if they ask for none.

    Raises as `read_clusters` does; RecordError for names without ids beside a run.
    """
    if options.clusters is None:
        return None
    files = [None if place is None else Path(place) for place in (options.soft_labels, options.labels)]
    found = read_clusters(options.clusters, *(path if path and path.is_file() else None for path in files))
    if not Path(options.soft_labels).is_file() and found.ids is None:
        raise RecordError(f"{found.title}: rows of a run go by sample_id: give a table with a column sample_id")
    return found


def open_source(options: CardOptions) -> Source:
    """The soft labels that the options name.

    Raises as `open_soft_labels` does, and RecordError for a name that the run does not have.
    """
    place, name = options.soft_labels, None
    if not Path(place).exists() and ":" in place:
        folder, _, last = place.rpartition(":")
        if Path(folder).is_dir():
            place, name = folder, last
    if Path(place).is_dir():
        return _of_run(open_run(place), name, options)
    if options.split is not None or options.replica is not None or options.held_out:
        raise RecordError(f"--split, --replica and --held-out choose within a run; {place} is a file or missing")
    given = {name: getattr(options, name) for name in OF_A_FILE}
    # A column of what rows share may be named like an id, and is none of theirs.
    ignore = [options.clusters] if options.clusters not in (None, SAMPLE_ID) else None
    opened = open_soft_labels(place, options.labels, temperature=options.temperature, ignore=ignore, **given)
    return Source(opened.name, opened.num_classes, opened.rows, opened.batches, None, ())


def _of_run(run: Run, name: str | None, options: CardOptions) -> Source:
    for option in OF_A_FILE[1:]:
        if getattr(options, option) is not None:
            raise RecordError(f"--{option.replace('_', '-')} is for files; {run.directory} is a run")
    names = tuple(map(str, run.manifest.get("class_names") or ())) or None
    teachers = sorted(path.stem for path in (run.directory / "teachers").glob("*.parquet") if path.name[0] != ".")
    stored = run.soft_label_names
    if name is None and not teachers:
        raise RecordError(
            f"{run.directory} has no teacher: name one of its soft labels or arms, as in {run.directory}:"
            f"{(*stored, *run.arms)[0]}; soft labels: {', '.join(stored) or 'none'}; arms: {', '.join(run.arms)}"
        )
    if options.split is not None:
        one_of(options.split, list(run.samples["split"].unique()), f"split of {run.directory},")
    if name is None or name in teachers:
        members = False if options.held_out else None
        opened = open_soft_labels(
            run, options.labels, temperature=options.temperature, teacher=name, replica=options.replica,
            split=options.split, members=members,
        )  # fmt: skip
        teacher = name or str(run.manifest.get("reference_teacher"))
        notes = () if options.held_out else _own_rows(run, teacher, options)
        return Source(opened.name, opened.num_classes, opened.rows, opened.batches, names, notes)
    if options.held_out:
        raise RecordError(f"--held-out is for teachers of a run; {name} is none of {', '.join(teachers)}")
    if name in stored:
        return _stored(run, name, names, options)
    if name in run.arms:
        if options.replica is not None:
            raise RecordError(f"--replica is not for an arm such as {name}, whose replicas are averaged")
        opened = open_soft_labels(
            run, options.labels, temperature=options.temperature, arm=name, split=options.split
        )  # fmt: skip
        return Source(opened.name, opened.num_classes, opened.rows, opened.batches, names, ())
    raise RecordError(
        f"{run.directory} has no teacher, soft labels or arm named {name!r}; teachers: {', '.join(teachers) or 'none'};"
        f" soft labels: {', '.join(stored) or 'none'}; arms: {', '.join(run.arms) or 'none'}"
    )


def _own_rows(run: Run, name: str, options: CardOptions) -> tuple[str, ...]:
    """A note where rows that the teacher was trained on are among those of the card."""
    teacher = run.teacher(name)
    member = teacher.member
    if member.ndim == 2:
        place = list(teacher.replicas).index(options.replica) if options.replica is not None else 0
        member = member[place]
    if options.split is not None:
        samples = run.samples
        ids = samples.loc[samples["split"] == options.split, "sample_id"].to_numpy()
        member = member[np.isin(teacher.sample_ids, ids)]
    if not member.any():
        return ()
    return (
        f"{member.sum():,} of these {len(member):,} rows are among those that the teacher was trained on, where it "
        "looks better than elsewhere (--held-out leaves them out).",
    )


def _stored(run: Run, name: str, names: tuple[str, ...] | None, options: CardOptions) -> Source:
    """The soft labels that an arm of a study was trained on, as the run keeps them."""
    if options.labels is not None or options.temperature is not None:
        raise RecordError(f"{name} are stored soft labels of a run: --labels and --temperature are not for them")
    stored = run.soft_labels(name)
    values, notes, own = stored.values, [], ""
    if values.ndim == 3:
        count, chosen = len(values), options.replica or 0
        if not 0 <= chosen < count:
            raise RecordError(f"soft labels {name!r} of {run.directory} are of replicas 0 .. {count - 1}, not {chosen}")
        notes.append(f"{count} replicas have soft labels of their own; this is the card of replica {chosen}'s.")
        values, own = values[chosen], f", replica {chosen}"
    elif options.replica is not None:
        raise RecordError(f"soft labels {name!r} of {run.directory} are the same for all replicas: leave out --replica")
    keep = np.ones(len(values), dtype=bool)
    if options.split is not None:
        samples = run.samples
        keep = np.isin(stored.sample_ids, samples.loc[samples["split"] == options.split, "sample_id"].to_numpy())
    empty = keep & ~values.any(axis=1)
    if not options.scores and empty.any():
        notes.append(
            f"{empty.sum():,} of {keep.sum():,} samples have no soft label (a row of zeros, from which no student "
            "learns); the card leaves them out, though each of them is one whose set lacks the truth."
        )
        keep &= ~empty
    if not keep.any():
        raise RecordError(f"soft labels {name!r} of {run.directory} have no rows in split {options.split!r}")

    def read() -> Iterator[Part]:
        yield values[keep], stored.labels[keep], stored.sample_ids[keep]

    title = f"{run.name}: soft labels {name}{own}"
    return Source(title, run.num_classes, int(keep.sum()), read, names, tuple(notes))
