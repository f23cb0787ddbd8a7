"""One training tells no variance: it is 0 exactly, and whoever asks is told so."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from biasvar import import_predictions
from biasvar.analysis import decompose, decompose_chunks
from biasvar.analysis.decomposition.accumulator import Accumulator
from biasvar.analysis.decomposition.groups import decompose_groups
from tests.records.conftest import log_probs

N, C = 200, 7
SAID = "there is one replica: its variance is 0 by definition"


@pytest.fixture
def logits() -> np.ndarray:
    return 8 * np.random.default_rng(0).normal(size=(1, N, C))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "zero_one"])
def test_the_variance_of_one_replica_is_0_and_said_to_be(logits, loss):
    with pytest.warns(UserWarning, match=SAID) as caught:
        found = decompose(logits, np.zeros(N, int), loss=loss)
    assert caught[0].filename == __file__
    assert (found.variance == 0).all()
    with pytest.warns(UserWarning, match=SAID) as caught:
        chunked = decompose_chunks([logits[:, :50], logits[:, 50:]], np.zeros(N, int), loss=loss)
    assert (len(caught), caught[0].filename) == (1, __file__)
    assert (chunked.variance == 0).all()


def test_the_mean_loss_of_one_replica_is_its_bias(logits):
    with pytest.warns(UserWarning, match=SAID):
        found = decompose(logits, np.zeros(N, int))
    top = logits[0].max(axis=-1)
    loss = top + np.log(np.exp(logits[0] - top[:, None]).sum(axis=-1)) - logits[0, :, 0]
    np.testing.assert_allclose(found.bias, loss, atol=1e-12)


def test_an_accumulator_and_a_run_say_it_too(logits, tmp_path: Path):
    accumulator = Accumulator(N, C)
    accumulator.update(logits[0], replica=0)
    with pytest.warns(UserWarning, match=SAID) as caught:
        assert (accumulator.result(np.zeros(N, int)).variance == 0).all()
    assert caught[0].filename == __file__
    run = import_predictions(logits, np.arange(N) % C, directory=tmp_path / "one")
    with pytest.warns(UserWarning, match=SAID) as caught:
        assert (run.decomposition("predictions").variance == 0).all()
    assert caught[0].filename == __file__


def test_rows_of_one_replica_beside_others_are_0_and_nothing_is_said(logits):
    where = np.ones((2, N), dtype=bool)
    where[1, ::2] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decompose(np.concatenate([logits, logits[:, ::-1]]), np.zeros(N, int), where=where)
    assert (found.variance[::2] == 0).all()
    assert (found.variance[1::2] > 0).any()


def test_a_count_of_one_behind_what_is_a_mean_is_left_as_it_is():
    means = log_probs(0, 4, 3, C).mean(axis=0)
    found = decompose_groups(np.ones((1, 3)), means[None], [0, 1, 2])
    assert (found.variance > 1e-3).all()
