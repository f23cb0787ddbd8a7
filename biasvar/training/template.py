"""A first study of one's own: a study file with a word on every line, made for the data that it is to run on."""

from __future__ import annotations

import os
import re
from pathlib import Path

from biasvar.data import Dataset, load_dataset
from biasvar.errors import StudyError
from biasvar.messages import command
from biasvar.study.places import is_path

MOST_ROWS = 1000  # that a replica is trained on, so that a first run takes minutes
UNEQUAL = 10.0  # deviation of a feature beyond which, or below whose inverse, an mlp trains badly on it as it is

TEXT = """\
# {title}: what a teacher's soft labels do to bias and variance.
#   check it:  {command} {file} --dry-run
#   run it:    {command} {file}            (into runs/{name}; interrupted, the same command goes on)
#   draw it:   {report} runs/{name}
# Every key, its default and its meaning: docs/study.md of biasvar.
name: {name}
title: {title}
seed: 0                  # splits, draws, weights and orders follow from it
replicas: 8              # trainings of every arm, each on rows of its own draw: bias and variance are over them
backend: batched         # all replicas in one pass, for model mlp; sequential for any other network

data:
  name: {data}{place}
{split}
student: {{model: mlp, hidden: [32]}}   # {networks}
draw: {{kind: subsample, rows: {rows}}}   # so many rows of the students' pool for each replica
schedule: {{epochs: 20, batch_size: {batch}}}
learning_rate: 0.1       # of all arms; or a grid, of which each loss takes its best on the validation rows
evaluate_every: 5        # epochs

teachers:
  big: {{hidden: [128], epochs: 20, rows: all}}   # or one of yours: {{checkpoint: mine.safetensors, hidden: [...]}}

arms:                    # losses that are compared; with one teacher, no arm need name it
  ce: {{loss: cross_entropy, label: CE}}
  ls: {{loss: label_smoothing, smoothing: 0.1, label: LS 0.1}}
  kd: {{loss: distillation, temperature: 4, alpha: 1, label: KD}}
  wsl: {{loss: weighted_soft_label, temperature: 4, alpha: 1, label: WSL}}

claims:                  # of the papers' claims, which arms test them
  W1: [{{treatment: kd, control: ce}}]
  W2: [{{treatment: kd, control: ce}}]
  W8: [{{treatment: wsl, control: kd}}]
"""


def write_template(path: Path, data: str | None = None) -> Dataset:
    """Write a commented study that runs as it is, and return the data set that it is made for.

    Args:
        path: Of the study file, which must not be there yet.
        data: A data set's name, or the path of one's own data; default: the digits.

    Raises:
        StudyError: The file is there already, or the data have too few rows for a study.
        FileNotFoundError, ValueError: The data are not there, or cannot be read; see `biasvar.data.load_dataset`.
    """
    if path.exists():
        raise StudyError(f"{path} is there already; --init writes a new file: give another name, or move it away")
    dataset = load_dataset(data or "digits")
    text = _filled(path, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return dataset


def _filled(path: Path, dataset: Dataset) -> str:
    total, classes = len(dataset.labels), dataset.num_classes
    train = total if dataset.split is None else int((dataset.split == "train").sum())
    pool = train - round(0.1 * train) - (round(0.2 * train) if dataset.split is None else 0)
    rows = min(pool // 2, MOST_ROWS)
    if rows < 2 * classes:
        raise StudyError(
            f"{dataset.name} has {total:,} rows of {classes} classes: too few for a study, which draws half of the "
            f"rows that testing leaves for each replica; needed: about {8 * classes:,} rows"
        )
    cut = (
        "  test: 0.2              # the share (or number) of rows that no training and no choice ever sees\n"
        if dataset.split is None
        else "  # test rows: all of the data's own test split; test: 1000 takes so many of them\n"
    )
    networks = (
        "the rows are features, which only an mlp takes; any widths: hidden: [64, 64]" + _unequal(dataset)
        if dataset.is_vectors
        else "for images also resnet20, convnet, ... or your own as package.module:factory"
    )
    name = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    return TEXT.format(
        title=f"Soft labels on {re.sub(r'[^ -~]|[:#]', ' ', dataset.name)}", file=path, command=command("run"),
        report=command("report"), name=name if name[:1].isalpha() else f"study_{name}",
        data=_place(path, dataset), place="" if dataset.path is None else "   # relative to this file",
        split=cut + "  validation: 0.1        # rows for choices\n", networks=networks, rows=rows,
        batch=max(2, min(50, rows // 4)),
    )  # fmt: skip


def _place(path: Path, dataset: Dataset) -> str:
    """What `data.name` says: a name, or the path relative to the study file, quoted where YAML asks for it."""
    if dataset.path is None:
        return dataset.name
    place = os.path.relpath(Path(dataset.path).expanduser().resolve(), path.parent.resolve())
    place = place if is_path(place) else f"./{place}"
    return place if re.fullmatch(r"[A-Za-z0-9_./-]+", place) else "'" + place.replace("'", "''") + "'"


def _unequal(dataset: Dataset) -> str:
    """A warning of features that an mlp does not train well on as they are; "" for others."""
    std = dataset.std[dataset.std > 0]
    if not len(std) or (std.max() <= UNEQUAL and std.min() >= 1 / UNEQUAL):
        return ""
    return f"; theirs deviate by {std.min():.2g} to {std.max():.2g} and are taken as they are: standardise them before"
