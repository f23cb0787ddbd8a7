"""What a run directory holds: the columns of every table, their types, and where each file lies.

Any tool that reads Parquet can read a run without this package; this module is the written form of the contract.
A sample is a row of the data, a replica one training, an arm a way of training, a group some replicas stored together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from biasvar.analysis.tradeoff import CRITERIA
from biasvar.errors import RecordError
from biasvar.messages import did_you_mean, first_few

SCHEMA_VERSION = 1
"""Version of the layout below. A reader refuses what is newer than itself."""
LOGITS_VERSION = 2
"""What files of predictions say that hold logits, which readers of version 1 alone cannot read."""

KINDS = ("study", "recorder", "import")
VIEWS = ("augmented", "clean")
"""``augmented``: the training pass, before each update. ``clean``: an evaluation pass without augmentation.

Test rows may have further views, which the manifest names under ``views``: corrupted images, say.
"""

MEMBERSHIPS = ("all", "member", "nonmember")
PREDICTION_FOLDERS = {"students": "predictions", "teacher": "teacher_predictions"}
"""Whose answers are kept where: an arm's students', and those of teachers that train along with them."""

FIXED_TEACHER = -1
"""The ``replica`` of a teacher that is the same for every student."""

RECORD_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("student_loss", pa.float32(), nullable=False),  # cross-entropy at temperature 1, nats
        pa.field("teacher_loss", pa.float32()),  # the same of the reference teacher
        pa.field("student_prob", pa.float32(), nullable=False),  # of the true class, at the temperature
        pa.field("teacher_prob", pa.float32()),
        pa.field("student_prediction", pa.int32(), nullable=False),
        pa.field("teacher_prediction", pa.int32()),
        pa.field("bias_gradient", pa.float32(), nullable=False),  # a = p_i - 1 at the true class
        pa.field("variance_gradient", pa.float32()),  # b = tau (p_i,tau - q_i,tau) - a
        pa.field("bias_gradient_norm", pa.float32(), nullable=False),
        pa.field("variance_gradient_norm", pa.float32()),
        pa.field("opposing", pa.bool_()),  # b > |a|, compared in log space before rounding to float32
        pa.field("wsl_weight", pa.float32()),
        pa.field("loss_weight", pa.float32(), nullable=False),  # weight of the sample in the loss that trained
        pa.field("member", pa.bool_(), nullable=False),  # was the sample in this replica's training draw
    ]
)
"""One row per (replica, sample) of one (arm, split, view, epoch).

Nullable columns need a teacher, or were added later: these must be nullable, since in older files they read as null.
"""

RECORD_COLUMNS = tuple(RECORD_SCHEMA.names)
TEACHER_COLUMNS = tuple(field.name for field in RECORD_SCHEMA if field.nullable)

SHARE_COLUMNS = tuple(f"share_{criterion}" for criterion in CRITERIA)
METRIC_SCHEMA = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("view", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("accuracy", pa.float64()),
        pa.field("nll", pa.float64()),  # mean student_loss: cross-entropy at temperature 1, nats
        pa.field("ece", pa.float64()),  # 15 equal-width bins; NaN for the augmented view
        *(pa.field(name, pa.float64()) for name in SHARE_COLUMNS),
        pa.field("wsl_weight", pa.float64()),  # means over the n rows
        pa.field("loss_weight", pa.float64()),
        pa.field("learning_rate", pa.float64()),
        pa.field("teacher_divergence", pa.float64()),  # KL(student || teacher) at temperature 1, nats, over the steps
    ]
)
"""One row per (arm, replica, epoch, split, view); `teacher_divergence` is of teachers that train along."""

METRIC_COLUMNS = tuple(METRIC_SCHEMA.names)
METRIC_KEYS = ("arm", "replica", "epoch", "split", "view")

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("pool", pa.string()),  # of the train split: "student" (students may draw it) or "reserved"
    ]
)
MEMBERSHIP_SCHEMA = pa.schema(
    [
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("multiplicity", pa.int32(), nullable=False),  # rows with multiplicity 0 are left out
    ]
)
TUNING_SCHEMA = pa.schema(
    [
        pa.field("family", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("accuracy", pa.float64()),
        pa.field("nll", pa.float64()),
        pa.field("chosen", pa.bool_(), nullable=False),
    ]
)
"""The learning-rate grid, on the validation split."""

FEATURE_WEIGHT_SCHEMA = pa.schema(
    [
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),  # of the search; 0: before its first step
        pa.field("group", pa.int32(), nullable=False),  # of layers of equal size, from 0
        pa.field("layer", pa.int32(), nullable=False),  # of the teacher, its place in the group, from 0
        pa.field("student_module", pa.string(), nullable=False),
        pa.field("teacher_module", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),  # of the features, pixels
        pa.field("width", pa.int32(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # those of a group sum to 1
        # What the label's part of the group's loss was right about in the epoch, on the rows that train the weights:
        # a share of `rows` answers; NaN of 0 in epochs in which the group was not searched.
        pa.field("accuracy", pa.float64()),
        pa.field("rows", pa.int32()),
    ]
)
SELECTION_SCORE_SCHEMA = pa.schema(
    [
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("sample_id", pa.int64(), nullable=False),  # of the replica's draw
        pa.field("label", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),  # by what the arm's `selection` in the manifest says
        pa.field("selected", pa.bool_(), nullable=False),  # learns from the teacher (Set II)
    ]
)
FEW_SHOTS = pa.schema(
    [
        pa.field("replica", pa.int32(), nullable=False),
        pa.field("shots", pa.int32(), nullable=False),  # labelled images of each class of an episode
        pa.field("episode", pa.int32(), nullable=False),  # from 0, the same for every arm and replica
        pa.field("accuracy", pa.float64()),  # the share of its queries that are told right
    ]
)
METHOD_TABLES = {
    "feature_weights": (FEATURE_WEIGHT_SCHEMA, ("replica", "epoch", "group", "layer")),
    "selection_scores": (SELECTION_SCORE_SCHEMA, ("replica", "sample_id")),
    "few_shots": (FEW_SHOTS, ("replica", "shots", "episode")),
}
"""Tables that an arm leaves beside its record, with the columns that tell their rows apart."""


def teacher_schema(num_classes: int) -> pa.Schema:
    """The columns of ``teachers/<name>.parquet``."""
    return pa.schema(
        [
            pa.field("replica", pa.int32(), nullable=False),
            pa.field("sample_id", pa.int64(), nullable=False),
            pa.field("logits", pa.list_(pa.float32(), num_classes), nullable=False),
            pa.field("member", pa.bool_(), nullable=False),
        ]
    )


def soft_label_schema(num_classes: int) -> pa.Schema:
    """The columns of ``soft_labels/<name>.parquet``: what students learn from, of every row they may draw."""
    return pa.schema(
        [
            pa.field("replica", pa.int32(), nullable=False),  # -1: the same for all
            pa.field("sample_id", pa.int64(), nullable=False),
            pa.field("value", pa.list_(pa.float32(), num_classes), nullable=False),  # a distribution, scores, or all 0
        ]
    )


def teacher_epochs_schema() -> pa.Schema:
    """The columns of ``teacher_epochs/<name>.parquet``: a teacher through its training: its top-k sets by epoch.

    Split "train" is the students' pool, to which it gives soft labels. Bounds are those of exact 95 % intervals.
    """
    return pa.schema(
        [
            pa.field("replica", pa.int32(), nullable=False),
            pa.field("epoch", pa.int32(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("k", pa.int32(), nullable=False),
            pa.field("n", pa.int64(), nullable=False),
            pa.field("accuracy", pa.float64(), nullable=False),
            *(
                pa.field(f"{name}{end}", pa.float64(), nullable=False)
                for name in ("unreliability", "ambiguity")
                for end in ("", "_low", "_high")
            ),
        ]
    )


TEACHER_EPOCH_KEYS = ("replica", "epoch", "split", "k")


def prediction_schema(num_classes: int, *, logits: bool = False) -> pa.Schema:
    """The columns of a file under ``predictions/``.

    With ``logits`` of groups of one replica each, of a network that answers in float32: its answers as they are, whose
    log-softmax in float64 is what the column of means would hold, in half the room.
    """
    means = pa.field("mean_log_prob", pa.list_(pa.float64(), num_classes), nullable=False)
    answers = pa.field("logits", pa.list_(pa.float32(), num_classes), nullable=False)
    return pa.schema(
        [
            pa.field("sample_id", pa.int64(), nullable=False),
            pa.field("group", pa.int32(), nullable=False),  # replica r belongs to group r mod G
            pa.field("count", pa.int32(), nullable=False),  # replicas behind the mean; 0: none qualifies
            answers if logits else means,
        ]
    )


def record_folder(directory: str | Path, arm: str, split: str, view: str, *, views: Iterable[str] = VIEWS) -> Path:
    """Where the epochs of one (arm, split, view) lie; ``views`` are those that there are."""
    return (
        Path(directory)
        / "records"
        / f"arm={check_name(arm, 'arm')}"
        / f"split={check_name(split, 'split')}"
        / f"view={check_name(one_of(view, views, 'view'), 'view')}"
    )


def record_path(
    directory: str | Path, arm: str, split: str, view: str, epoch: int, group: int = 0, *, views: Iterable[str] = VIEWS
) -> Path:
    """The record file of one training group at one epoch.

    >>> print(record_path("runs/digits", "kd", "train", "augmented", 60).as_posix())
    runs/digits/records/arm=kd/split=train/view=augmented/epoch=0060/group=000.parquet
    """
    return record_folder(directory, arm, split, view, views=views) / _epoch(epoch) / _group(group)


def redraw_path(directory: str | Path, number: int) -> Path:
    """The run directory of one redraw in a directory of redraws.

    >>> print(redraw_path("runs/digits_redrawn", 7).as_posix())
    runs/digits_redrawn/redraw=007
    """
    return Path(directory) / f"redraw={number:03d}"


def prediction_path(
    directory: str | Path, arm: str, split: str, membership: str, epoch: int, group: int = 0, *, of: str = "students"
) -> Path:
    """The file of mean log-probabilities of one (arm, split, membership, epoch), of its students or their teachers."""
    return (
        Path(directory)
        / PREDICTION_FOLDERS[one_of(of, PREDICTION_FOLDERS, "predictions of")]
        / f"arm={check_name(arm, 'arm')}"
        / f"split={check_name(split, 'split')}"
        / f"membership={one_of(membership, MEMBERSHIPS, 'membership')}"
        / _epoch(epoch)
        / _group(group)
    )


def view_prediction_path(directory: str | Path, arm: str, split: str, view: str, epoch: int, group: int = 0) -> Path:
    """The file of mean log-probabilities of one (arm, split, epoch) on a further view of the split.

    >>> print(view_prediction_path("runs/digits", "kd", "test", "fog-3", 60).as_posix())
    runs/digits/view_predictions/arm=kd/split=test/view=fog-3/epoch=0060/group=000.parquet
    """
    return (
        Path(directory)
        / "view_predictions"
        / f"arm={check_name(arm, 'arm')}"
        / f"split={check_name(split, 'split')}"
        / f"view={check_name(view, 'view')}"
        / _epoch(epoch)
        / _group(group)
    )


def metrics_path(directory: str | Path, arm: str, group: int = 0) -> Path:
    """The file of per-epoch numbers of one training group."""
    return Path(directory) / "metrics" / f"arm={check_name(arm, 'arm')}" / _group(group)


def weights_path(directory: str | Path, arm: str, group: int = 0) -> Path:
    """The final weights of one training group, names ``<replica>.<parameter>``."""
    return (Path(directory) / "weights" / f"arm={check_name(arm, 'arm')}" / _group(group)).with_suffix(".safetensors")


def method_table_path(directory: str | Path, table: str, arm: str, group: int = 0) -> Path:
    """The file of one of `METHOD_TABLES` of one training group."""
    return Path(directory) / one_of(table, METHOD_TABLES, "table") / f"arm={check_name(arm, 'arm')}" / _group(group)


def teacher_path(directory: str | Path, name: str) -> Path:
    """The logits of one teacher on every sample."""
    return Path(directory) / "teachers" / f"{check_name(name, 'teacher')}.parquet"


def soft_label_path(directory: str | Path, name: str) -> Path:
    """The soft labels of that name in the study, of the students' pool."""
    return Path(directory) / "soft_labels" / f"{check_name(name, 'soft label')}.parquet"


def teacher_epochs_path(directory: str | Path, name: str) -> Path:
    """A teacher's numbers through its training."""
    return Path(directory) / "teacher_epochs" / f"{check_name(name, 'teacher')}.parquet"


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_name(name: Any, what: str) -> str:
    """``name``, if it can be a file name and a partition value in every reader; else RecordError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecordError(
            f"{what} {name!r} cannot name a file: use letters, digits, '_', '-' and '.', "
            "beginning with a letter, a digit or '_'"
        )
    return name


def one_of(name: Any, allowed: Iterable[Any], what: str) -> Any:
    """``name``, if it is among ``allowed``; else RecordError with the list and the nearest spelling.

    >>> one_of("clear", VIEWS, "view")
    Traceback (most recent call last):
    biasvar.errors.RecordError: unknown view 'clear'; did you mean 'clean'? Allowed: 'augmented', 'clean'
    """
    allowed = list(allowed)
    if isinstance(name, str | int) and name in allowed:
        return name
    hint = did_you_mean(name, allowed, after=";") or ";"
    listing = f"Allowed: {first_few(map(repr, allowed), 24)}" if allowed else "There are none here"
    raise RecordError(f"unknown {what} {name!r}{hint} {listing}")


def metadata_of(**entries: Any) -> dict[bytes, bytes]:
    """The Parquet key-value metadata of a file: one JSON object under ``biasvar``, keys sorted."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **entries}, sort_keys=True, allow_nan=False)
    return {b"biasvar": text.encode()}


def _whole(value: Any, what: str) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        raise RecordError(f"{what} must be a whole number from 0 on, not {value!r}") from None
    if number < 0 or isinstance(value, bool):
        raise RecordError(f"{what} must be a whole number from 0 on, not {value!r}")
    return int(number)


def _epoch(epoch: Any) -> str:
    return f"epoch={_whole(epoch, 'epoch'):04d}"


def _group(group: Any) -> str:
    return f"group={_whole(group, 'group'):03d}.parquet"
