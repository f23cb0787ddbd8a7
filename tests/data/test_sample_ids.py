"""Samples that say which they are: in data sets, and by names such as those of files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

import biasvar
from biasvar.errors import RecordError

N, C = 10, 3
NAMES = [f"image_{place}.png" for place in range(N)]


def test_ids_stay_through_subsets_samplers_and_workers():
    data = TensorDataset(torch.arange(N) * 10, torch.arange(N) % C)
    marked = Subset(biasvar.with_sample_ids(data), [7, 3, 5])
    for loader in (
        DataLoader(marked, batch_size=2, shuffle=True, num_workers=1),
        DataLoader(marked, batch_size=2, sampler=WeightedRandomSampler([1.0, 1.0, 1.0], 6)),
    ):
        for ids, values, labels in loader:
            assert (values == ids * 10).all()
            assert (labels == ids % C).all()


def test_dictionaries_get_a_key_and_other_samples_a_place():
    loader = DataLoader(biasvar.with_sample_ids([{"x": float(place)} for place in range(4)]), batch_size=4)
    (batch,) = list(loader)
    assert batch["sample_id"].tolist() == [0, 1, 2, 3]
    marked = biasvar.with_sample_ids(["a", "b"])
    assert marked[-1] == (1, "b")
    assert marked.__getitems__([-2, np.int64(1)]) == [(0, "a"), (1, "b")]
    for several in (slice(1), [0, 1], 1.5):
        with pytest.raises(TypeError, match=f"one whole number, not {type(several).__name__}; .*Subset"):
            marked[several]
        with pytest.raises(TypeError, match="one whole number"):
            marked.__getitems__([several])
    with pytest.raises(IndexError, match="index -3 is before the first of 2 samples"):
        marked[-3]
    assert (marked[np.int64(1)], len(marked), marked.__getitems__([1, 0])) == ((1, "b"), 2, [(1, "b"), (0, "a")])
    assert pickle.loads(pickle.dumps(marked))[0] == (0, "a")


class Stream(IterableDataset):
    def __iter__(self):
        yield 1


@pytest.mark.parametrize("dataset", [Stream(), iter([1]), {"a": 1}, "text", None])
def test_what_has_no_places_is_refused(dataset):
    with pytest.raises(TypeError, match="takes a map-style data set"):
        biasvar.with_sample_ids(dataset)


def test_another_sample_id_is_refused():
    assert biasvar.with_sample_ids([{"sample_id": 0}])[0] == {"sample_id": 0}
    with pytest.raises(ValueError, match="sample 0 has a sample_id already, 7"):
        biasvar.with_sample_ids([{"sample_id": 7}])[0]


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, N, C)), rng.integers(0, C, N)


def recorder(directory, **changes):
    settings = {"num_classes": C, "temperature": 2.0, "split": "test", "view": "clean", "sample_names": NAMES}
    return biasvar.Recorder(directory, **{"keep_predictions": "last", **settings, **changes})


def test_names_are_recorded_as_ids_and_kept(tmp_path, made):
    logits, labels = made
    order = np.random.default_rng(1).permutation(N)
    for replica in range(2):
        with recorder(tmp_path / "run", replica=replica, class_names=["a", "b", "c"]) as opened:
            opened.update([NAMES[i] for i in order[:4]], logits[replica][order[:4]], labels[order[:4]])
            opened.update(np.array(NAMES)[order[4:]], logits[replica][order[4:]], labels[order[4:]])
    run = biasvar.open_run(tmp_path / "run")
    assert (run.sample_names("test"), run.sample_names("train")) == (NAMES, None)
    assert run.manifest["class_names"] == ["a", "b", "c"]
    np.testing.assert_allclose(run.decomposition("default").bias, biasvar.decompose(logits, labels).bias, atol=1e-12)


def test_imports_meet_recorded_names_in_any_order(tmp_path, made):
    logits, labels = made
    with recorder(tmp_path / "run") as opened:
        opened.update(NAMES, logits[0], labels)
    other = biasvar.import_predictions(
        [z[::-1] for z in logits], labels[::-1], directory=tmp_path / "run", arm="new", resume=True,
        sample_ids=NAMES[::-1],
    )  # fmt: skip
    np.testing.assert_allclose(other.decomposition("new").bias, biasvar.decompose(logits, labels).bias, atol=1e-12)
    alone = biasvar.import_predictions(list(logits), labels, directory=tmp_path / "alone", sample_ids=NAMES[::-1])
    assert alone.sample_names("test") == NAMES[::-1]


def test_names_that_do_not_fit_are_refused(tmp_path, made):
    logits, labels = made
    with pytest.raises(ValueError, match=r"image_1\.png come more than once"):
        recorder(tmp_path / "run", sample_names=[NAMES[1], NAMES[1]])
    with pytest.raises(ValueError, match="10 sample_names and num_samples is 9"):
        recorder(tmp_path / "run", num_samples=9)
    with pytest.raises(ValueError, match="one text a sample"):
        recorder(tmp_path / "run", sample_names=[1, 2])
    with pytest.raises(ValueError, match="num_samples is missing"):
        recorder(tmp_path / "run", sample_names=None)
    assert not (tmp_path / "run").exists()
    with recorder(tmp_path / "run") as opened:
        with pytest.raises(ValueError, match=r"sample_ids image_x.png are not among the 10 sample_names; did you mean"):
            opened.update(["image_x.png"], logits[0][:1], labels[:1])
        opened.update(NAMES, logits[0], labels)
    with pytest.raises(RecordError, match="holds other names, or in another order"):
        recorder(tmp_path / "run", replica=1, sample_names=NAMES[::-1])
    with recorder(tmp_path / "other", sample_names=None, num_samples=N) as opened:
        with pytest.raises(ValueError, match="sample_ids are names: pass sample_names="):
            opened.update(NAMES, logits[0], labels)
        opened.update(np.arange(N), logits[0], labels)
    with pytest.raises(ValueError, match="class_names has 2 names, there are 3 classes"):
        recorder(tmp_path / "run", replica=1, class_names=["a", "b"])
    with recorder(tmp_path / "run", replica=1, class_names=["a", "b", "c"]) as opened:
        opened.update(NAMES, logits[0], labels)
    with pytest.raises(RecordError, match="has other class_names"):
        recorder(tmp_path / "run", replica=2, class_names=["a", "b", "d"])


def test_a_summary_gives_plain_numbers_to_a_logger(tmp_path, made):
    logits, labels = made
    with recorder(tmp_path / "run", replica=[0, 1]) as opened:
        opened.update(np.tile(np.arange(N), (2, 1)), logits, np.tile(labels, (2, 1)))
        summary = opened.end_epoch()
    found = summary.scalars("test/")
    assert found["test/nll"] == pytest.approx(summary["nll"].mean())
    assert found["test/nll_stderr"] == pytest.approx(abs(summary["nll"][0] - summary["nll"][1]) / 2)
    assert "test/share_opposing" not in found  # there is no teacher
    assert all(type(value) is float for value in found.values())
