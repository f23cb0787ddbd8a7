"""Small made runs for tests of claims: who is right where, with which teachers, and what the study asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.stats import norm

from biasvar.records import Run, RunWriter, open_run
from biasvar.records.placement import GROUPS
from tests.report.made import grouped, log_softmax

CLASSES = 4
EPOCHS = 10


def answers(
    share: float, replicas: int = 8, rows: int = 1000, *, seed: int, of_rows: float = 0.0, of_replicas: float = 0.0
) -> np.ndarray:
    """Right or wrong, (R, N), right with probability `share`; effects of rows and replicas beside noise of size 1."""
    rng = np.random.default_rng(seed)
    row, replica = of_rows * rng.normal(size=rows), of_replicas * rng.normal(size=(replicas, 1))
    middle = norm.ppf(share) * np.sqrt(1.0 + of_rows**2 + of_replicas**2)
    right: np.ndarray = middle + row + replica + rng.normal(size=(replicas, rows)) > 0
    return right


def predictions(
    truth: np.ndarray, noise: float, labels: np.ndarray, replicas: int = 8, *, seed: int, classes: int = CLASSES
) -> np.ndarray:
    """Log-probabilities (R, N, C): logits `truth` (a number, or one a row) at the label, and normal noise that differs
    by replica."""
    rng = np.random.default_rng(seed)
    size = np.broadcast_to(truth, labels.shape)[:, None]
    return log_softmax(size * np.eye(classes)[labels] + noise * rng.normal(size=(replicas, len(labels), classes)))


def candidates(delta: float, gamma: float, labels: np.ndarray, *, seed: int, classes: int = CLASSES) -> np.ndarray:
    """Partial labels (P, C): uniform on sets that lack the truth with probability delta and hold each other label with
    probability gamma; a set that would be empty has one wrong label."""
    rng = np.random.default_rng(seed)
    inside = rng.random((len(labels), classes)) < gamma
    inside[np.arange(len(labels)), labels] = rng.random(len(labels)) >= delta
    wrong = (labels + rng.integers(1, classes, len(labels))) % classes
    inside[np.arange(len(labels)), wrong] |= ~inside.any(axis=1)
    share: np.ndarray = inside / inside.sum(axis=1, keepdims=True)
    return share


def write_claims_run(
    directory: Path,
    accuracy: Mapping[str, np.ndarray] | None = None,
    *,
    claims: Mapping[str, list[dict[str, Any]]],
    log_probs: Mapping[str, np.ndarray] | None = None,
    shares: Mapping[str, np.ndarray] | None = None,
    opposing: Mapping[str, np.ndarray] | None = None,
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    teachers: Mapping[str, Mapping[str, Any]] | None = None,
    teachers_right: Mapping[str, np.ndarray] | None = None,
    teacher_logits: Mapping[str, np.ndarray] | None = None,
    soft_labels: Mapping[str, np.ndarray] | None = None,
    definitions: Mapping[str, Mapping[str, Any]] | None = None,
    labels: np.ndarray | None = None,
    train_labels: np.ndarray | None = None,
    num_classes: int = CLASSES,
    **study: Any,
) -> Run:
    """A finished study, opened: evaluated on N test rows after its last epoch, by R replicas an arm.

    Args:
        accuracy: By arm, (R, N) bool, right or wrong; a wrong answer is the next class.
        claims: As in a study file.
        log_probs: By arm, (R, N, C); stored as predictions, and who is right follows from them if `accuracy` is silent.
        shares: By arm, (E, R) share of regularization samples in the training pass of each epoch; E is 10 without.
        opposing: By arm, (R, N) bool, the flag of test rows.
        arms: Entries of the manifest beyond the defaults: loss, teacher, temperature, soft_label, role, ...
        teachers: Entries of the manifest: {"copies": 3}, {"draw": "per_replica"}, {"accuracy_test": 0.2}, ...
        teachers_right: By name, (N,) or (T, N) bool, what a teacher or its T networks know of the test rows; stored as
            logits.
        teacher_logits: By name, (N, C) or (T, N, C) of the test rows.
        soft_labels: By name, (P, C) or (R, P, C) of P training rows.
        definitions: By name, what the study file says of a soft label, such as {"kind": "noise", "scale": 1}.
        labels, train_labels: (N,) and (P,); classes in turn if not given.
        study: Further keys of the study file and the manifest: name, data, designs_tried, ...
    """
    log_probs, shares, opposing = log_probs or {}, shares or {}, opposing or {}
    settings, sources = arms or {}, definitions or {}
    shapes = {arm: np.shape(right) for arm, right in (accuracy or {}).items()}
    shapes |= {arm: np.shape(one)[:2] for arm, one in log_probs.items()}
    replicas, rows = next(iter(shapes.values()))
    assert set(shapes.values()) == {(replicas, rows)}, shapes
    truth = np.arange(rows) % num_classes if labels is None else labels
    right = {**(accuracy or {})}
    right |= {arm: one.argmax(-1) == truth for arm, one in log_probs.items() if arm not in right}
    epochs = len(next(iter(shares.values()))) if shares else EPOCHS
    entries = {arm: _entry(settings.get(arm, {}), replicas, epochs) for arm in right}
    told: dict[str, Any] = {"name": "made", "replicas": replicas, "seed": 0, "claims": dict(claims), **study}
    told["teachers"] = {name: dict(entry) for name, entry in (teachers or {}).items()}
    writer = RunWriter(
        directory,
        manifest={"kind": "study", "study_hash": "made", "num_classes": num_classes, "status": "complete", **told},
    )
    writer.study(yaml.safe_dump({**told, "arms": entries, "soft_labels": {k: dict(v) for k, v in sources.items()}}))
    pool = max((np.shape(values)[-2] for values in (soft_labels or {}).values()), default=0)
    if train_labels is None:
        train_labels = np.arange(pool) % num_classes
    ids = np.arange(rows + len(train_labels))
    splits = np.repeat(["test", "train"], [rows, len(train_labels)])
    of_pool = [None] * rows + ["student"] * len(train_labels)
    writer.samples(ids, np.concatenate([truth, train_labels]), splits, of_pool)
    for name, values in (soft_labels or {}).items():
        writer.soft_labels(name, ids[rows:], values)
    for name, known in (teachers_right or {}).items():
        logits = np.eye(num_classes)[np.where(known, truth, (truth + 1) % num_classes)]
        writer.teacher(name, ids, *_of_all_rows(logits, train_labels))
    for name, logits in (teacher_logits or {}).items():
        writer.teacher(name, ids, *_of_all_rows(logits, train_labels))
    for arm, answered in right.items():
        writer.update_arm(arm, **entries[arm], status="complete")
        columns = _record(answered, truth, num_classes, log_probs.get(arm))
        if arm in opposing:
            columns |= _gradients(opposing[arm].ravel(), columns["bias_gradient"])
        writer.record(arm, "test", "clean", epochs, 0, columns)
        writer.metrics(arm, 0, _metrics(arm, answered, columns["student_loss"], epochs, shares.get(arm)))
        if arm in log_probs:
            groups = min(GROUPS, replicas)
            counts, means = grouped(log_probs[arm], np.ones((replicas, rows), dtype=bool), groups)
            writer.predictions(arm, "test", "all", epochs, 0, ids[:rows], counts, means)
    return open_run(directory)


def _of_all_rows(logits: np.ndarray, train_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A teacher's logits of test rows with right answers for training rows, and whose own rows they are: none's."""
    known = np.eye(logits.shape[-1])[train_labels]
    whole = np.concatenate([logits, np.broadcast_to(known, (*logits.shape[:-2], *known.shape))], axis=-2)
    return whole, np.zeros(whole.shape[:-1], dtype=bool)


def _entry(settings: Mapping[str, Any], replicas: int, epochs: int) -> dict[str, Any]:
    """An arm as the manifest of a finished study has it."""
    learned = "soft_label" if "soft_label" in settings else "distillation" if "teacher" in settings else "cross_entropy"
    entry = {"loss": learned, "role": "main", "replicas": replicas, "epochs": epochs, "failed_replicas": [], **settings}
    if "teacher" in settings:
        entry = {"temperature": 4.0, "alpha": 1.0, "scored_against": settings["teacher"], **entry}
        entry["record_temperature"] = entry["temperature"]
    return entry


def _record(right: np.ndarray, labels: np.ndarray, classes: int, log_probs: np.ndarray | None) -> dict[str, np.ndarray]:
    """The columns of a clean pass over the test rows without a teacher, replica after replica."""
    replicas, rows = right.shape
    if log_probs is None:
        sure = np.where(right, 0.9, 0.1 / (classes - 1))
    else:
        sure = np.exp(log_probs[:, np.arange(rows), labels])
    answer = np.where(right, labels, (labels + 1) % classes) if log_probs is None else log_probs.argmax(-1)
    shape = (replicas, rows)
    return {
        "sample_id": np.tile(np.arange(rows), replicas),
        "replica": np.repeat(np.arange(replicas), rows),
        "label": np.tile(labels, replicas),
        "student_loss": -np.log(sure).ravel(),
        "student_prob": sure.ravel(),
        "student_prediction": answer.ravel(),
        "bias_gradient": (sure - 1).ravel(),
        "bias_gradient_norm": np.ones(shape).ravel(),
        "loss_weight": np.ones(shape).ravel(),
        "member": np.zeros(shape, dtype=bool).ravel(),
    }


def _gradients(opposing: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """What the record of an arm with a teacher holds besides: gradients that agree with the flag."""
    variance = np.where(opposing, 2.0, 0.5) * np.abs(bias) + 1e-6
    plain = {name: np.full(len(bias), 0.5) for name in ("teacher_prob", "teacher_loss", "wsl_weight")}
    return {"opposing": opposing, "variance_gradient": variance, "variance_gradient_norm": np.abs(variance), **plain}


def _metrics(arm: str, right: np.ndarray, losses: np.ndarray, epochs: int, shares: np.ndarray | None) -> pd.DataFrame:
    """Test rows after the last epoch, and the training pass of every epoch where shares are given."""
    replicas, rows = right.shape
    test = pd.DataFrame(
        {
            "epoch": epochs, "replica": np.arange(replicas), "split": "test", "view": "clean", "n": rows,
            "accuracy": right.mean(axis=1), "nll": losses.reshape(replicas, rows).mean(axis=1),
        }
    )  # fmt: skip
    if shares is None:
        return test.assign(arm=arm)
    epoch, replica = np.indices(shares.shape)
    passes = pd.DataFrame(
        {
            "epoch": epoch.ravel() + 1, "replica": replica.ravel(), "split": "train", "view": "augmented", "n": rows,
            "share_opposing": shares.ravel(),
        }
    )  # fmt: skip
    return pd.concat([test, passes], ignore_index=True).assign(arm=arm)
