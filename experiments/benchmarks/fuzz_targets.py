"""What `fuzz.py` calls: every public function with arguments that are sound, from which it draws odd ones."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import biasvar
from biasvar import analysis, losses
from biasvar.records import RunWriter, summarise

R, N, C = 4, 12, 3
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """One public function: its name, the call, and sound arguments (arrays as NumPy arrays, for losses as tensors)."""

    name: str
    call: Callable[..., Any]
    good: Arguments
    also: tuple[str, ...] = ()  # words by which a message may name an argument as well


def targets(folder: Path) -> list[Target]:
    """All of them; `folder` takes the runs that some need."""
    return [*_analysis(), *_objects(), *_losses(), *_records(folder), *_studies(folder)]


def _soft(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.random(shape) + 0.05
    return values / values.sum(-1, keepdims=True)


def _analysis() -> list[Target]:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(R, N, C)), np.arange(N) % C
    student, teacher, soft = *rng.normal(size=(2, N, C)), _soft(rng, N, C)
    confidence, correct, ids = rng.random(N), np.arange(N) % 2 == 1, np.arange(N)
    soft_labels = {"soft_labels": soft, "labels": labels}
    indicator = {**soft_labels, "k": 2, "ties": "random", "seed": 0, "sample_ids": ids, "normalize": False,
                 "scores": False, "interval": "exact", "resamples": 20, "level": 0.95}  # fmt: skip
    several = {key: value for key, value in indicator.items() if key != "k"} | {"ks": [1, 2], "thresholds": [0.2]}
    error = {"effect": 0.5, "stderr": 0.2, "df": 9.0, "direction": "greater", "smallest_effect": 0.1}
    sufficient = {"delta": 0.1, "gamma": 0.3, "error": 0.1, "risk": 0.05, "hypotheses": None, "dimension": 5,
                  "num_classes": 3}  # fmt: skip
    parts = {"replicas": analysis.Component(0.3, 4.0, 5), "rows": analysis.Component(0.1, 99.0, 100)}
    given: dict[str, Arguments] = {
        "decompose": {"logits": logits, "target": labels, "loss": "cross_entropy", "groups": 4, "errors": True,
                      "where": np.ones((R, N), dtype=bool)},
        "decompose_chunks": {"chunks": np.split(logits, 2, axis=1), "target": labels, "groups": 4, "errors": True},
        "join_rows": {"parts": [analysis.decompose(logits[:, :2], labels[:2])] * 2},
        "ensemble_diversity": {"logits": logits, "target": labels, "loss": "cross_entropy", "groups": 4,
                               "combiner": "mean_probability"},
        "decompose_groups": {"counts": np.ones((R, N), dtype=int), "target": labels, "errors": True,
                             "merge": np.arange(R) % 2, "mean_log_probs": np.log(_soft(rng, R, N, C))},
        "tradeoff_terms": {"student_logits": student, "teacher_logits": teacher, "labels": labels, "temperature": 2.0},
        "wsl_weights": {"student_logits": student, "teacher_logits": teacher, "labels": labels, "epsilon": 1e-7},
        "unreliability": indicator,
        "ambiguity": {**indicator, "version": "class"},
        "effectiveness": several,
        "measure_indicators": {**soft_labels, "ks": [1, 2], "thresholds": [0.2], "ties": "random", "seed": 0,
                               "sample_ids": ids, "normalize": False, "scores": False, "mean_labels": True},
        "student_condition": {**soft_labels, "normalize": False, "scores": False, "level": 0.95},
        "label_quality": {**soft_labels, "normalize": False, "first_row": 0},
        "learnability": sufficient,
        "samples_sufficient": {**sufficient, "independent": False},
        "average_error": {"delta": 0.1, "gamma": 0.3},
        "learnability_exponent": {"delta": 0.1, "gamma": 0.3, "independent": False},
        "additive_noise_indicators": {"num_classes": 3, "k": 1, "scale": 0.5},
        "add_noise": {"soft_labels": soft, "scale": 0.5, "seed": 1, "sample_ids": ids, "epoch": 1},
        "partial_labels": {"labels": labels, "num_classes": C, "drop": 0.1, "add": 0.2, "seed": 1, "sample_ids": ids,
                           "epoch": 1, "empty": "all"},
        "random_soft_labels": {"sample_ids": ids, "num_classes": C, "seed": 1, "concentration": 1.0, "epoch": 1},
        "from_votes": {"counts": rng.integers(1, 5, size=(N, C)), "concentration": 0.5},
        "from_top_k": {"indices": np.argsort(-soft, axis=1)[:, :2], "values": -np.sort(-soft, axis=1)[:, :2],
                       "num_classes": C, "rest": "uniform", "first_row": 0},
        "token_ids": {"sequence_ids": ids, "length": 5, "positions": np.arange(5), "num_samples": 5 * N},
        "count_votes": {"annotations": rng.integers(0, C, size=(N, 4)), "num_classes": C, "class_names": None,
                        "empty": "refuse"},
        "project_to_simplex": {"scores": student},
        "revise_labels": {"soft_labels": soft, "labels": labels, "margin": 0.2, "rows": "wrong"},
        "virtual_teacher": {"labels": labels, "num_classes": C, "temperature": 20.0, "correct": 0.99,
                            "variant": "paper"},
        "select_rows": {"scores": confidence, "labels": labels, "keep": 0.5, "which": "highest", "per_class": False,
                        "sample_ids": ids, "seed": 0},
        "smooth_labels": {"labels": labels, "num_classes": C, "smoothing": 0.1},
        "tempered": {"logits": student, "temperature": 2.0},
        "calibration_error": {"confidence": confidence, "correct": correct, "bins": 5, "binning": "width"},
        "calibration_interval": {"confidence": confidence, "correct": correct, "bins": 5, "binning": "width", "norm": 1,
                                 "level": 0.95, "clusters": ids // 2},
        "reliability_table": {"confidence": confidence, "correct": correct, "bins": 5, "binning": "width",
                              "level": 0.95},
        "auc_interval": {"score": confidence, "target": correct, "level": 0.95},
        "roc_auc": {"score": confidence, "target": correct},
        "jackknife_interval": {"full": 0.5, "deleted": confidence, "group_sizes": np.full(N, 2), "level": 0.95},
        "mean_interval": {"x": confidence, "level": 0.95},
        "paired_mean_difference": {"a": confidence, "b": rng.random(N), "level": 0.95},
        "rank_correlation": {"x": confidence, "y": rng.random(N), "clusters": ids // 2, "level": 0.95},
        "replicas_needed": {"pilot": confidence, "effect": 0.3, "level": 0.95, "power": 0.8},
        "interval_from": {"estimate": 0.5, "stderr": 0.1, "df": 9.0, "n": 10, "level": 0.95},
        "decision_p_value": {**error, "draws": rng.normal(size=99)},
        "judge": {**error, "n": 10, "alpha": 0.05, "draws": rng.normal(size=99)},
        "crossed_mean": {"values": rng.normal(size=(R, N)), "factors": ("replicas", "rows")},
        "combined": {"estimate": 0.5, "components": parts},
        "plan": {"effect": parts, "gap": 0.3, "level": 0.95, "power": 0.8},
        "linear_network_terms": {"hidden": np.array([0.5, 1.0, 2.0]), "samples": 3.0, "ridge": 0.1, "signal": 1.0,
                                 "noise": 0.5},
        "holm_levels": {"p_values": np.array([0.01, 0.04, 0.03]), "alpha": 0.05},
    }  # fmt: skip
    return [Target(f"analysis.{name}", getattr(analysis, name), _with_rest(name, good)) for name, good in given.items()]


def _with_rest(name: str, good: Arguments) -> Arguments:
    """The arguments, and those that many functions share: rows that count, and what the values are."""
    known = inspect.signature(getattr(analysis, name)).parameters
    shared = {"where": np.ones(N, dtype=bool), "values": None}
    return {**good, **{key: value for key, value in shared.items() if key in known and key not in good}}


def _objects() -> list[Target]:
    """Functions of objects: accumulators and results."""
    rng = np.random.default_rng(2)
    logits, labels, soft, ids = rng.normal(size=(R, N, C)), np.arange(N) % C, _soft(rng, N, C), np.arange(N)
    whole = analysis.decompose(logits, labels)
    other = analysis.decompose(logits + rng.normal(size=logits.shape), labels)
    change = analysis.paired_change(whole, other)
    terms = analysis.tradeoff_terms(logits[0], logits[1], labels, temperature=2.0)
    measured = analysis.measure_indicators(soft, labels, ks=[1, 2], thresholds=[0.2])

    def one_update(logits: Any, sample_ids: Any, replica: Any) -> Any:
        accumulator = analysis.Accumulator(N, C)
        accumulator.update(logits, sample_ids, replica=replica)
        return accumulator.result(labels, errors=False)

    def indicate(soft_labels: Any, labels: Any, sample_ids: Any) -> Any:
        accumulator = analysis.IndicatorAccumulator(C, ks=[1, 2])
        accumulator.update(soft_labels, labels, sample_ids)
        return accumulator.result().table()

    def full(first: int = 0) -> Any:
        accumulator = analysis.Accumulator(N, C)
        for r in range(R):
            accumulator.update(logits[r], replica=first + r)
        return accumulator

    settings = {"ks": [1, 2], "thresholds": [0.2], "ties": "random", "seed": 0, "normalize": False, "scores": False,
                "mean_labels": True}  # fmt: skip
    by = {"k": 1, "interval": "exact", "level": 0.95}
    return [
        Target("analysis.Accumulator", analysis.Accumulator,
               {"num_samples": N, "num_classes": C, "loss": "cross_entropy", "groups": 4}),
        Target("analysis.Accumulator.update", one_update, {"logits": logits[0], "sample_ids": ids, "replica": 0}),
        Target("analysis.Accumulator.result", lambda **given: full().result(**given),
               {"target": labels, "errors": True}),
        Target("analysis.Accumulator.merge", lambda **given: full().merge(**given), {"other": full(R)}, ("merge",)),
        Target("analysis.Decomposition.totals", whole.totals, {"rows": np.arange(4)}),
        Target("analysis.Decomposition.to_frame", whole.to_frame, {"sample_ids": ids}),
        Target("analysis.Change.totals", change.totals, {"rows": np.arange(4)}),
        Target("analysis.TopK", lambda **given: analysis.TopK(**given).dense(C),
               {"indices": np.argsort(-soft, axis=1)[:, :2], "values": -np.sort(-logits[0], axis=1)[:, :2],
                "tail": np.full(N, 0.2), "where": np.ones(N, dtype=bool)}),
        Target("analysis.TopK.dense", analysis.TopK([[0, 1]], [[-1.0, -2.0]]).dense, {"num_classes": C}),
        Target("analysis.SoftmaxHead", analysis.SoftmaxHead,
               {"features": rng.normal(size=(N, 2)), "logits": logits[0], "labels": labels, "bias": True}),
        Target("analysis.crossed_total", analysis.crossed_total,
               {"found": change, "term": "bias", "teachers": np.arange(R), "rows": np.arange(N) > 2}),
        Target("analysis.paired_change", analysis.paired_change, {"treatment": whole, "control": other}),
        Target("analysis.regularization_samples", analysis.regularization_samples,
               {"terms": terms, "criterion": "opposing"}),
        Target("analysis.IndicatorAccumulator", analysis.IndicatorAccumulator, {"num_classes": C, **settings}),
        Target("analysis.IndicatorAccumulator.update", indicate,
               {"soft_labels": soft, "labels": labels, "sample_ids": ids}),
        Target("analysis.Indicators.unreliability", measured.unreliability, by),
        Target("analysis.Indicators.guarantee", measured.guarantee, {"interval": "exact", "level": 0.95}),
        Target("analysis.Indicators.ambiguity", measured.ambiguity, {**by, "version": "class"}),
        Target("analysis.Indicators.per_class", measured.per_class, by),
        Target("analysis.Indicators.pairs", measured.pairs, {"k": 1, "top": 3, "level": 0.95}),
        Target("analysis.Indicators.table", measured.table, {"interval": "exact", "level": 0.95}),
        Target("analysis.Indicators.best", measured.best, {"by": "sum", "interval": "exact", "level": 0.95}),
    ]  # fmt: skip


def _losses() -> list[Target]:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, N, C, generator=generator)
    labels, soft = torch.arange(N) % C, torch.softmax(teacher, -1)
    weights, rivals = torch.rand(N, generator=generator), (torch.arange(N) % C + 1)[:, None] % C
    pair = {"student_logits": student, "labels": labels}
    three = {"student_logits": student, "teacher_logits": teacher, "labels": labels}
    alone = {"logits": student, "labels": labels}
    tau = {"temperature": 2.0, "alpha": 0.5}
    bad = {"k": 2, "punishment": 1.0, "compensation": 1.0, "rivals": 1.0}
    made: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "CrossEntropyLoss": ({}, pair),
        "SquaredErrorLoss": ({}, pair),
        "LabelSmoothingLoss": ({"smoothing": 0.1}, pair),
        "DistillationLoss": (tau, {**three, "weights": weights}),
        "MaskedDistillationLoss": ({**tau, "keep": "other"}, {**three, "weights": weights}),
        "WeightedSoftLabelLoss": ({**tau, "epsilon": 1e-7}, three),
        "SelfDistillationLoss": ({**tau, "variant": "code", "multiplier": 2.0}, three),
        "VirtualTeacherLoss": ({**tau, "variant": "code", "multiplier": 2.0, "correct": 0.99}, pair),
        "ProximalTeacherLoss": ({"pull": 0.3}, three),
        "LocalTargetLoss": ({}, {"student_logits": student, "teacher_logits": teacher}),
        "RevisedDistillationLoss": ({"eta": 0.8, "temperature": 1.0, "distance": "kl", "rows": "wrong"}, three),
        "PortedRevisionLoss": ({}, three),
        "SoftLabelLoss": ({}, {"student_logits": student, "soft_labels": soft}),
        "ScoreLoss": ({"output": "probabilities"}, {"student_logits": student, "scores": soft}),
        "CandidateAverageLoss": ({}, {"student_logits": student, "candidates": soft > 0.2}),
        "CandidateSetLoss": ({}, {"student_logits": student, "candidates": soft > 0.2}),
        "PunishmentLoss": ({}, alone),
        "CompensationLoss": ({"k": 2}, alone),
        "RivalsLoss": ({}, {"logits": student, "rivals": rivals}),
        "BadTeacherLoss": (bad, {**alone, "rivals": rivals}),
    }
    out = []
    for name, (settings, arguments) in made.items():
        kind = getattr(losses, name)
        out.append(Target(f"losses.{name}", kind, {**settings, "reduction": "mean"}))

        def call(kind: Any = kind, settings: Any = settings, **given: Any) -> Any:
            return kind(**settings)(**given)

        out.append(Target(f"losses.{name}.forward", call, arguments))
    out += [
        Target("losses.DistillationLoss.weights", losses.WeightedSoftLabelLoss(**tau).weights, three),
        Target("losses.MaskedDistillationLoss.weights", losses.MaskedDistillationLoss(**tau, keep="random").weights,
               {**three, "keys": weights}),
        Target("losses.BadTeacherLoss.terms", losses.BadTeacherLoss(**bad).terms, {**alone, "rivals": rivals}),
        Target("losses.draw_rivals", losses.draw_rivals,
               {"labels": labels, "num_classes": C, "k": 2, "seed": 0, "epoch": 1, "replica": 0}),
        Target("losses.PullConstraint", losses.PullConstraint, {"multiplier": 1.0, "rate": 0.001, "bound": 1.0}),
        Target("losses.revise_logits", losses.revise_logits,
               {"teacher_logits": teacher, "labels": labels, "eta": 0.8, "temperature": 1.0, "rows": "wrong"}),
        Target("losses.top_candidates", losses.top_candidates, {"soft_labels": soft, "k": 2}),
    ]  # fmt: skip
    return out


def _records(folder: Path) -> list[Target]:
    rng = np.random.default_rng(4)
    logits, labels, ids = rng.normal(size=(R, N, C)), np.arange(N) % C, np.arange(N)
    number = itertools.count()

    def fresh() -> Path:
        return folder / f"run{next(number)}"

    settings = {"num_samples": N, "num_classes": C, "temperature": 2.0, "arm": "kd"}

    def construct(**given: Any) -> Any:
        return biasvar.Recorder(given.pop("directory", fresh()), **given).epoch

    def update(**given: Any) -> Any:
        with biasvar.Recorder(fresh(), **settings) as recorder:  # type: ignore[arg-type]
            recorder.update(**given)
            return recorder.end_epoch()

    run = biasvar.import_predictions(list(logits), labels, directory=folder / "imported")
    with biasvar.Recorder(folder / "recorded", **settings) as recorder:  # type: ignore[arg-type]
        recorder.update(ids, logits[0], labels, logits[1])
    recorded = biasvar.open_run(folder / "recorded")
    columns = dict(recorded.records().drop(columns=["arm", "split", "view", "epoch"]).items())
    writer = RunWriter(folder / "teacher", manifest={"kind": "recorder", "num_classes": C})
    writer.samples(ids, labels, "train")
    writer.teacher("main", ids, logits[0], np.ones(N, dtype=bool))
    writer.soft_labels("main", ids, _soft(rng, N, C))
    np.save(folder / "soft.npy", _soft(rng, N, C))
    batch = {"sample_ids": ids, "student_logits": logits[0], "labels": labels, "teacher_logits": logits[1],
             "loss_weight": np.ones(N), "member": np.ones(N, dtype=bool)}  # fmt: skip
    chosen = {"columns": ["sample_id", "student_loss"], "epochs": [1], "samples": [0, 1], "arm": "kd",
              "split": "train", "view": "augmented", "replicas": [0]}  # fmt: skip
    where = {"arm": "predictions", "split": "test", "membership": "all", "epoch": 0}
    frame = columns | {"replica": np.zeros(N, dtype=int)}
    return [
        Target("Recorder", construct, {**settings, "replica": 0, "split": "train", "view": "augmented",
                                       "resume": False, "group": 0, "reference_teacher": None}),
        Target("Recorder.update", update, batch),
        Target("import_predictions", lambda **given: biasvar.import_predictions(directory=fresh(), **given).arms,
               {"files": list(logits), "labels": labels, "arm": "mine", "sample_ids": ids, "split": "test",
                "clip": None, "class_names": ["a", "b", "c"], "name": "mine"}),
        Target("import_predictions (one)",
               lambda file, **given: biasvar.import_predictions([file], directory=fresh(), **given).arms,
               {"file": logits[0], "labels": labels}),
        Target("open_run", biasvar.open_run, {"directory": folder / "imported"}),
        Target("open_soft_labels", lambda **given: list(biasvar.open_soft_labels(**given).batches()),
               {"source": folder / "soft.npy", "labels": labels, "temperature": None}, ("run",)),
        Target("open_soft_labels of a run", lambda **given: list(biasvar.open_soft_labels(**given).batches()),
               {"source": folder / "teacher", "teacher": "main", "split": "train", "members": True, "replica": None},
               ("run",)),
        Target("open_soft_labels of an arm", lambda **given: list(biasvar.open_soft_labels(**given).batches()),
               {"source": folder / "imported", "arm": "predictions", "split": "test", "temperature": None}, ("run",)),
        Target("SoftLabels.batches",
               lambda rows: list(biasvar.open_soft_labels(folder / "soft.npy", labels).batches(rows)), {"rows": 5}),
        Target("Run.arm", run.arm, {"name": "predictions"}, ("arm",)),
        Target("Run.entry", run.entry, {"name": "predictions"}, ("arm",)),
        Target("Run.save_kinds", lambda **given: recorded.save_kinds(**given).name,
               {"kinds": np.arange(N) % 2, "sample_ids": ids}),
        Target("Run.record_epochs", recorded.record_epochs, {"arm": "kd", "split": "train", "view": "augmented"}),
        Target("Run.records", recorded.records, chosen),
        Target("Run.iter_records", lambda **given: list(recorded.iter_records(**given)), chosen),
        Target("Run.predictions", run.predictions, where),
        Target("Run.decomposition", run.decomposition, {**where, "loss": "cross_entropy", "target": labels}),
        Target("Run.teacher", biasvar.open_run(folder / "teacher").teacher, {"name": "main"}, ("teacher",)),
        Target("Run.teacher_epochs", biasvar.open_run(folder / "teacher").teacher_epochs, {"name": "main"},
               ("teacher",)),
        Target("Run.soft_labels", biasvar.open_run(folder / "teacher").soft_labels, {"name": "main"}, ("soft",)),
        Target("Run.weights", recorded.weights, {"arm": "kd", "column": "wsl_weight", "by": "sample", "epochs": [1]}),
        Target("Run.retraining_weights", recorded.retraining_weights,
               {"arm": "kd", "labels": labels, "column": "wsl_weight", "epochs": [1], "missing": None}),
        Target("Run.save_weights", lambda **given: recorded.save_weights(path=folder / "weights.csv", **given),
               {"arm": "kd", "column": "wsl_weight", "by": "sample"}),
        Target("summarise", lambda **given: summarise({**frame, **given}),
               {"replica": np.zeros(N, dtype=int), "label": labels, "student_loss": np.arange(1.0, N + 1.0)}),
    ]  # fmt: skip


def _studies(folder: Path) -> list[Target]:
    rng = np.random.default_rng(5)
    study = {
        "name": "tiny", "replicas": 2, "data": {"test": 0.2, "validation": 0.1}, "draw": {"rows": 100},
        "schedule": {"epochs": 1}, "student": {"hidden": [4]}, "learning_rate": 0.1,
        "arms": {"ce": {"loss": "cross_entropy"}},
    }  # fmt: skip
    number = itertools.count()

    def run(**given: Any) -> Any:
        return biasvar.run_study(
            given.pop("study"), given.pop("directory", folder / f"study{next(number)}"), **given
        ).arms

    def build(**given: Any) -> Any:
        with torch.device("meta"):
            return str(biasvar.build_network(**given))

    arrays = {"values": rng.normal(size=(N, 4)), "labels": np.arange(N) % C, "class_names": ["a", "b", "c"],
              "test": None, "source": "nowhere"}  # fmt: skip
    return [
        Target("data.from_arrays", lambda **given: biasvar.data.from_arrays(folder / "own.parquet", **given), arrays),
        Target("data.from_arrays of images",
               lambda **given: biasvar.data.from_arrays(folder / "own.parquet", **given),
               {"values": rng.integers(0, 256, size=(N, 5, 4)), "labels": np.arange(N) % C}),
        Target("run_study", run, {"study": study, "device": "cpu", "jobs": 1},
               ("name", "replicas", "data", "student", "arms")),
        Target("build_network", build,
               {"name": "convnet", "in_channels": 3, "num_classes": 10, "image_size": (32, 32), "width": 4},
               ("network",)),
    ]  # fmt: skip
