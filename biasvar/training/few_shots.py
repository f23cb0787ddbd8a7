"""Few-shot episodes: students tell apart classes that they were not trained on, from a few labelled images of each.

An episode is some of the held-out classes, with a few labelled images (shots) and some to tell apart (queries) of each.
A query is told to be of the class whose shots have the nearest mean (Snell et al. 2017, eq. 1 and 2, with the squared
Euclidean distance) in the penultimate features: what the student's last, linear layer is given. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from biasvar.data import Dataset
from biasvar.errors import StudyError
from biasvar.records.schema import FEW_SHOTS
from biasvar.seeding import generator
from biasvar.study.few_shots import FewShots
from biasvar.study.schema import Data
from biasvar.training.context import StudyContext
from biasvar.training.heads import head_of, head_pass
from biasvar.training.student_networks import new_students, trained_students


def check_few_shots(context: StudyContext) -> None:
    """Raise unless the held-out classes have the images that episodes take, and every arm's student has features.

    Raises:
        StudyError: Names the key, what is missing, and what to do.
    """
    settings, held = context.study.data.few_shots, context.held_out
    if settings is None or held is None:
        return
    rows = episode_rows(held, context.study.data)
    counts = np.bincount(held.labels[rows], minlength=held.num_classes)
    fewest = int(counts.argmin())
    if counts[fewest] < settings.images:
        where = "" if held.split is None else f" in the {_split(context.study.data)} split"
        raise StudyError(
            f"data.few_shots: class {held.class_names[fewest]!r} of {held.name} has {counts[fewest]} images{where}, "
            f"an episode takes {settings.images} of each of its classes ({max(settings.shots)} shots and "
            f"{settings.queries} queries): ask for fewer queries or shots"
        )
    example = context.inputs.of(held.images[rows[:1]]).clean(torch.zeros(1, dtype=torch.int64, device=context.device))
    for name in context.study.arms:
        try:
            head_of(new_students(context, name, [0])[0], example)
        except ValueError as error:
            raise StudyError(
                f"data.few_shots: arm {name!r} has no penultimate features: {error}; give it a network whose answer is "
                "what a linear layer gives, or leave few_shots out"
            ) from error


def _split(data: Data) -> str:
    """The official split that test rows, and episodes, are cut from."""
    return data.split or "test"


def episode_rows(held: Dataset, data: Data) -> np.ndarray:
    """The rows of the held-out classes that episodes take: those of the split of the test rows, else all."""
    return np.arange(len(held.labels)) if held.split is None else np.flatnonzero(held.split == _split(data))


def draw_episodes(labels: np.ndarray, settings: FewShots, seed: int) -> np.ndarray:
    """int (E, ways, images): the places of each episode's images, class by class, shots first and queries last.

    Classes of an episode, and images of a class, are drawn without replacement; episode e depends on (seed, e) alone.

    Args:
        labels: int (n,) in 0 .. C - 1, each at least `settings.images` times.
        settings: Of the study.
        seed: Of the study.
    """
    places = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]

    def draw(number: int) -> np.ndarray:
        rng = generator(seed, "few-shot episodes", number)
        chosen = rng.choice(len(places), settings.ways, replace=False)
        return np.stack([rng.choice(places[label], settings.images, replace=False) for label in chosen])

    return np.stack([draw(number) for number in range(settings.episodes)])


def nearest_centroid_accuracy(features: np.ndarray, episodes: np.ndarray, shots: int, queries: int) -> np.ndarray:
    """float64 (E,): the share of an episode's queries whose class has the nearest mean of its shots; a tie is an error.

    Args:
        features: float64 (n, D).
        episodes: int (E, ways, images), from `draw_episodes`.
        shots: How many of the first images are labelled.
        queries: How many of the last are told.
    """
    own = np.arange(episodes.shape[1])
    found = np.empty(len(episodes))
    for number, places in enumerate(episodes):
        means = features[places[:, :shots]].mean(axis=1)
        asked = features[places[:, -queries:]]  # (ways, queries, D)
        distances = np.square(asked[:, :, None] - means).sum(axis=-1)
        others = distances.copy()
        others[own, :, own] = np.inf
        found[number] = (distances[own, :, own] < others.min(axis=-1)).mean()
    return found


def few_shot_table(context: StudyContext, arm: str, replicas: Sequence[int], failed: Sequence[str]) -> dict[str, list]:
    """The columns of `biasvar.records.schema.FEW_SHOTS` of trained students, read from the run.

    Args:
        context: Of a study with episodes.
        arm: Its name.
        replicas: Whose weights are written.
        failed: Why each failed, "" if it did not; one that is not finite has no features, and accuracies that are NaN.
    """
    settings, held = context.study.data.few_shots, context.held_out
    assert settings is not None
    assert held is not None
    rows = episode_rows(held, context.study.data)
    inputs = context.inputs.of(held.images[rows])
    ids = torch.arange(len(rows), device=context.device)
    episodes = draw_episodes(held.labels[rows], settings, context.study.seed)
    table: dict[str, list] = {name: [] for name in FEW_SHOTS.names}
    for replica, student, reason in zip(replicas, trained_students(context, arm, replicas), failed, strict=True):
        features = None if reason == "not finite" else head_pass(student, inputs, ids)[0]
        for shots in settings.shots:
            accuracy = np.full(len(episodes), np.nan)
            if features is not None:
                accuracy = nearest_centroid_accuracy(features, episodes, shots, settings.queries)
            table["replica"] += [replica] * len(episodes)
            table["shots"] += [shots] * len(episodes)
            table["episode"] += range(len(episodes))
            table["accuracy"] += accuracy.tolist()
    return table
