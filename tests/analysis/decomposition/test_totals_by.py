"""Totals of groups of samples, each against the decomposition of those samples alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.analysis import decompose, paired_change
from biasvar.analysis.decomposition.groups import joined
from tests.analysis import reference

ERRORS = ("value", "stderr_replicas", "stderr_samples", "n_replicas", "n_samples")


@pytest.mark.parametrize("loss", ["cross_entropy", "zero_one"])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_each_group_has_the_totals_of_its_own_samples(loss, convert):
    logits, labels, _ = reference.arrays(1, replicas=6, rows=40)
    where = np.random.default_rng(0).random((6, 40)) < 0.7
    where[:, 5] = False
    result = decompose(convert(logits), convert(labels), loss=loss, where=convert(where))
    frame = result.totals_by(convert(labels))
    terms = ["noise", "bias", "variance", "loss"] + ["net_variance"] * (loss == "zero_one")
    assert list(zip(frame["group"], frame["term"], strict=True)) == [(k, term) for k in range(4) for term in terms]
    for k in range(4):
        mine = labels == k
        alone = decompose(logits[:, mine], labels[mine], loss=loss, where=where[:, mine]).totals()
        for term in terms:
            row = frame[(frame["group"] == k) & (frame["term"] == term)].iloc[0]
            expected = getattr(alone, term)
            for name in ERRORS:
                assert row[name] == pytest.approx(getattr(expected, name), nan_ok=True), (k, term, name)
    assert frame.loc[frame["term"] == "bias", "n_samples"].sum() == result.totals().bias.n_samples


def test_groups_may_have_names_and_changes_have_totals_too():
    logits, labels, _ = reference.arrays(2, rows=12)
    names = np.where(np.arange(12) % 3 == 0, "b", "a")
    control = decompose(logits, labels).corrected()
    change = paired_change(decompose(0.5 * logits, labels).corrected(), control)
    for given in (names, names.tolist(), pd.Series(names), pd.Series(names, dtype=object), pd.Categorical(names)):
        frame = change.totals_by(given)
        assert frame["group"].tolist() == ["a"] * 4 + ["b"] * 4
        for k, name in enumerate("ab"):
            totals = change.totals(names == name)
            row = frame.iloc[4 * k + 2]
            assert (row["term"], row["n_samples"]) == ("variance", (names == name).sum())
            assert row["value"] == pytest.approx(totals.variance.value)
            assert row["stderr_replicas"] == pytest.approx(totals.variance.stderr_replicas)
    whole = change.totals()
    bias = frame[frame["term"] == "bias"]
    assert (bias["value"] * bias["n_samples"]).sum() / 12 == pytest.approx(whole.bias.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([0, 1], "name each of the 9 samples, got 2"),
        ([0.0] * 8 + [np.nan], "sample 8 has no name"),
        (np.array(["a"] * 8 + [None], dtype=object), "sample 8 has no name"),
        (np.array(["a"] * 8 + [1], dtype=object), "numbers or texts, not both"),
        (np.zeros((9, 1)), "groups must have shape"),
    ],
)
def test_names_that_are_none_are_refused(names, message):
    logits, labels, _ = reference.arrays(3)
    with pytest.raises(ValueError, match=message):
        decompose(logits, labels).totals_by(names)


def test_some_samples_can_be_taken():
    logits, labels, q = reference.arrays(4)
    result = decompose(logits, q).corrected("jackknife")
    for rows in ([7, 2, 5], np.array([7, 2, 5]), torch.as_tensor([7, 2, 5])):
        some = result.take(rows)
        np.testing.assert_array_equal(some.deleted_bias, result.deleted_bias[:, [7, 2, 5]])
        np.testing.assert_array_equal(some.noise, result.noise[[7, 2, 5]])
        assert (some.loss, some.correction) == (result.loss, "jackknife")
    mask = np.isin(np.arange(9), [2, 5, 7])
    assert result.take(mask).totals() == result.totals(mask)
    assert decompose(logits, labels, errors=False).take(mask).group_counts is None
    with pytest.raises(ValueError, match=r"rows must lie in 0 \.\. 8"):
        result.take([9])


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_samples_keep_their_ids(convert):
    logits, labels, _ = reference.arrays(4)
    result = replace(decompose(convert(logits), labels), sample_ids=np.array(list("abcdefghi")))
    assert result.corrected().take([4, 1]).to_frame()["sample_id"].tolist() == ["e", "b"]
    assert joined([result.take([2]), result.take([8])]).to_frame()["sample_id"].tolist() == ["c", "i"]
