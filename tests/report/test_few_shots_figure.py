"""Accuracy in few-shot episodes: means and errors by hand, and the picture of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.report import style
from biasvar.report.figures import few_shots
from tests.report.made_claims import answers, write_claims_run

REPLICAS, EPISODES = 4, 30


def make(directory: Path) -> tuple[Run, dict[tuple[str, int], np.ndarray]]:
    """Two arms with two numbers of shots, accuracies (R, E) by arm and shots."""
    right = answers(0.6, REPLICAS, 20, seed=0)
    settings = {"data": {"few_shots": {"classes": 9, "ways": 5, "shots": [1, 5], "queries": 3}}}
    run = write_claims_run(directory, {"infodrop": right, "plain": right}, claims={}, **settings)
    writer, rng = RunWriter(directory, manifest=run.manifest, resume=True), np.random.default_rng(1)
    made = {}
    for arm in ("infodrop", "plain"):
        made |= {(arm, shots): rng.uniform(0.2, 0.4 + 0.1 * shots, (REPLICAS, EPISODES)) for shots in (1, 5)}
        replica, episode = np.indices((REPLICAS, EPISODES))
        table = {
            "replica": np.tile(replica.ravel(), 2), "episode": np.tile(episode.ravel(), 2),
            "shots": np.repeat([1, 5], replica.size),
            "accuracy": np.concatenate([made[arm, 1].ravel(), made[arm, 5].ravel()]),
        }  # fmt: skip
        writer.method_table("few_shots", arm, 0, table)
    return open_run(directory), made


def test_rows_are_means_with_errors_over_replicas_and_episodes(tmp_path: Path) -> None:
    run, made = make(tmp_path / "run")
    frame = few_shots.collect([run])
    assert len(frame) == 4
    for (arm, shots), values in made.items():
        row = frame[(frame["arm"] == arm) & (frame["shots"] == shots)].iloc[0]
        assert row["estimate"] == pytest.approx(values.mean())
        assert row["stderr"] == pytest.approx(values.mean(1).std(ddof=1) / np.sqrt(REPLICAS))
        assert row["stderr_episodes"] == pytest.approx(values.mean(0).std(ddof=1) / np.sqrt(EPISODES))
        assert row["low"] < row["estimate"] - row["stderr_crossed"]
        assert (row["n_replicas"], row["n_episodes"]) == (REPLICAS, EPISODES)


def test_the_picture_has_a_panel_a_number_of_shots_and_the_caption_says_what_an_episode_is(tmp_path: Path) -> None:
    run, _ = make(tmp_path / "run")
    frame = few_shots.collect([run])
    with style.context():
        drawing = few_shots.draw(frame)
    assert [ax.get_title(loc="left") for ax in drawing.axes] == ["1 shot", "5 shots"]
    assert {ax.get_xlabel() for ax in drawing.axes} == {"accuracy (%)"}
    said = few_shots.caption(frame, [run])
    assert "n = 30 episodes of 5 of 9 classes held out of training, 3 queries of each" in said
    assert "chance is 20 %." in said
