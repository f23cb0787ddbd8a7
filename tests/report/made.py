"""Small runs of random numbers, and what is in them, for tests of the report."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biasvar.records import Run, RunWriter, open_run

CLASSES = 4


@dataclass
class Made:
    """A run and the arrays that it was written from: log-probabilities (R, N, C) by arm, records (R, N) by name."""

    run: Run
    labels: np.ndarray
    ids: np.ndarray
    log_probs: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    member: np.ndarray


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def make_run(
    directory: Path, *, replicas: int = 8, samples: int = 60, groups: int | None = None, seed: int = 0
) -> Made:
    """Arms ce and kd on test rows, and on training rows as members and not; kd is steadier and blunter than ce."""
    rng = np.random.default_rng(seed)
    groups = groups or replicas
    labels = rng.integers(0, CLASSES, size=samples)
    labels[:CLASSES] = range(CLASSES)
    ids = 3 * np.arange(samples) + 5
    common = 1.5 * np.eye(CLASSES)[labels] * rng.uniform(-1, 3, (samples, 1)) + rng.normal(size=(samples, CLASSES))
    noise = rng.normal(size=(replicas, samples, CLASSES)) * rng.uniform(0.1, 1.5, (samples, 1))
    log_probs = {
        "ce": log_softmax(common + noise),
        "kd": log_softmax(rng.uniform(0.4, 1.3, (samples, 1)) * common + 0.6 * noise),
    }
    log_probs["kd"] = log_softmax(log_probs["kd"] + 0.2 * rng.normal(size=noise.shape))
    member = rng.random((replicas, samples)) < 0.5
    member[:, 0] = False  # a row that no replica drew
    writer = RunWriter(
        directory,
        manifest={"kind": "study", "study_hash": "made", "num_classes": CLASSES, "name": "made", "replicas": replicas},
    )
    writer.samples(
        np.concatenate([ids, ids + 1]), np.tile(labels, 2), np.repeat(["test", "train"], samples),
        [None] * samples + ["student"] * samples,
    )  # fmt: skip
    columns = record_columns(rng, labels, ids, log_probs)
    for arm in ("ce", "kd"):
        loss = "distillation" if arm == "kd" else "cross_entropy"
        writer.update_arm(arm, loss=loss, role="main", regime="none", replicas=replicas, label=arm.upper())
        everyone = np.ones((replicas, samples), dtype=bool)
        for split, membership, where, shift in (
            ("test", "all", everyone, 0), ("train", "member", member, 1), ("train", "nonmember", ~member, 1),
        ):  # fmt: skip
            counts, means = grouped(log_probs[arm], where, groups)
            writer.predictions(arm, split, membership, 7, 0, ids + shift, counts, means)
        own = {name: columns[name].ravel() for name in columns}
        if arm == "ce":  # scored against no teacher
            own = {name: own[name] for name in ("sample_id", "replica", "label", *_PLAIN)}
        own["student_loss"] = -log_probs[arm][:, np.arange(samples), labels].ravel()
        writer.record(arm, "test", "clean", 7, 0, own)
    return Made(open_run(directory), labels, ids, log_probs, columns, member)


_PLAIN = ("student_prob", "student_prediction", "bias_gradient", "bias_gradient_norm", "loss_weight", "member")


def record_columns(
    rng: np.random.Generator, labels: np.ndarray, ids: np.ndarray, log_probs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Every record column, (R, N); gradients and flags are random, for nothing here needs them to be consistent."""
    replicas, samples = log_probs["kd"].shape[:2]
    shape = (replicas, samples)
    columns = {name: rng.normal(size=shape).astype(np.float32) for name in (
        "variance_gradient", "bias_gradient_norm", "variance_gradient_norm", "teacher_loss",
    )}  # fmt: skip
    columns["bias_gradient"] = -rng.random(shape).astype(np.float32)
    columns["opposing"] = rng.random(shape) < rng.random(samples)
    columns["teacher_prob"] = np.tile(rng.random(samples).astype(np.float32), (replicas, 1))
    for name in ("student_prob", "wsl_weight", "loss_weight"):
        columns[name] = rng.random(shape).astype(np.float32)
    columns["student_prediction"] = log_probs["kd"].argmax(axis=2).astype(np.int32)
    columns["teacher_prediction"] = np.zeros(shape, dtype=np.int32)
    columns["member"] = np.zeros(shape, dtype=bool)
    columns["sample_id"] = np.tile(ids, (replicas, 1))
    columns["replica"] = np.repeat(np.arange(replicas, dtype=np.int32)[:, None], samples, axis=1)
    columns["label"] = np.tile(labels.astype(np.int32), (replicas, 1))
    return columns


def grouped(log_probs: np.ndarray, where: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts (G, N) and means (G, N, C) over the replicas of each group, r mod G, for which `where` (R, N) holds."""
    counts = np.zeros((groups, log_probs.shape[1]), dtype=int)
    sums = np.zeros((groups, *log_probs.shape[1:]))
    for replica in range(len(log_probs)):
        counts[replica % groups] += where[replica]
        sums[replica % groups] += np.where(where[replica][:, None], log_probs[replica], 0.0)
    return counts, sums / np.maximum(counts, 1)[..., None]


def corrected_terms(log_probs: np.ndarray, label: int) -> tuple[float, float]:
    """Corrected bias and variance of one sample from its replicas (R, C), by the definition."""
    replicas = len(log_probs)
    geometric = np.exp(log_probs.mean(axis=0))
    mean = geometric / geometric.sum()
    variance = np.mean([np.sum(mean * (np.log(mean) - one)) for one in log_probs])
    loss = np.mean([-one[label] for one in log_probs])
    variance *= replicas / (replicas - 1)
    return loss - variance, variance
