"""The 0-1 loss by Domingos' definitions, counted one answer at a time."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import Accumulator, decompose, paired_change
from tests.analysis import reference
from tests.analysis.reference import quick


def counted(answers, label):
    """Bias, variance and net variance of one row from its answers; the net variance by Domingos' factor c2."""
    if not answers:
        return [np.nan] * 3
    votes = Counter(answers)
    main = min(votes, key=lambda k: (-votes[k], k))
    others = [answer for answer in answers if answer != main]
    variance = len(others) / len(answers)
    right = sum(answer == label for answer in others)
    factor = 1.0 if main == label else -right / max(len(others), 1)
    return [float(main != label), variance, factor * variance]


def expected(logits, labels, kept):
    """(N, 3) from the first largest logit of every replica that counts."""
    answers = [[[list(z).index(max(z)) for z in logits[kept[:, i], i]], labels[i]] for i in range(len(labels))]
    return np.array([counted(*row) for row in answers])


def terms_of(result):
    return np.stack([np.asarray(result.bias), np.asarray(result.variance), np.asarray(result.net_variance)], axis=1)


def coarse(seed, replicas=7, rows=40, classes=4):
    """Logits with ties, within a replica and between answers."""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 3, size=(replicas, rows, classes)).astype(float), rng.integers(0, classes, rows)


@quick
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 16]), st.booleans(), st.sampled_from([2, 4]))
def test_terms_are_counted_and_add_up(seed, groups, masked, classes):
    logits, labels = coarse(seed, classes=classes)
    kept = np.random.default_rng(seed).random((7, 40)) < (0.4 if masked else 2)
    result = decompose(logits, labels, loss="zero_one", where=kept, groups=groups)
    np.testing.assert_allclose(terms_of(result), expected(logits, labels, kept), atol=1e-14)
    wrong = np.where(kept, logits.argmax(-1) != labels, np.nan)
    some = kept.any(0)
    np.testing.assert_allclose((result.noise + result.bias + result.net_variance)[some], np.nanmean(wrong[:, some], 0))
    if classes == 2:
        signs = np.where(result.bias[some] == 0, 1.0, -1.0)
        np.testing.assert_allclose(result.net_variance[some], signs * result.variance[some], atol=1e-14)
    groups = min(groups, 7)
    for g in range(groups):
        left = kept & (np.arange(7) % groups != g)[:, None]
        deleted = [result.deleted_bias[g], result.deleted_variance[g], result.deleted_net_variance[g]]
        np.testing.assert_allclose(np.stack(deleted, 1), expected(logits, labels, left), atol=1e-14)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_streams_and_tensors_give_the_same(convert):
    logits, labels = coarse(1)
    whole = decompose(logits, labels, loss="zero_one", groups=3)
    streams = [Accumulator(40, 4, loss="zero_one", groups=3) for _ in range(2)]
    for replica in range(7):
        streams[replica % 2].update(convert(logits[replica]), replica=replica)
    for result in (
        streams[0].merge(streams[1]).result(labels),
        decompose(convert(logits), convert(labels), loss="zero_one", groups=3),
    ):
        assert type(result.net_variance) is type(convert(logits))
        np.testing.assert_allclose(terms_of(result), terms_of(whole), atol=1e-14)
        for field in ("deleted_bias", "deleted_variance", "deleted_net_variance"):
            np.testing.assert_allclose(np.asarray(getattr(result, field)), getattr(whole, field), atol=1e-14)
    with pytest.raises(ValueError, match="made for 'zero_one'"):
        _ = streams[0].mean_log_probs


def test_totals_and_changes_add_up_with_the_net_variance():
    logits, labels = coarse(2)
    arms = [decompose(x, labels, loss="zero_one") for x in (logits + np.eye(4)[labels], logits)]
    for result, loss in (
        (arms[1], (logits.argmax(-1) != labels).mean()),
        (paired_change(*arms), arms[0].totals().loss.value - arms[1].totals().loss.value),
    ):
        totals = result.totals()
        assert totals.loss.value == pytest.approx(loss)
        assert totals.bias.value + totals.net_variance.value == pytest.approx(loss)
        assert totals.net_variance.value != pytest.approx(totals.variance.value)
    frame = arms[1].to_frame()
    wrong = (logits.argmax(-1) != labels).mean(0)
    np.testing.assert_allclose(frame["noise"] + frame["bias"] + frame["net_variance"], wrong, atol=1e-14)
    each = (logits.argmax(-1) != labels).mean(1)
    # The loss is a mean over replicas, so that its jackknife error is that of a mean.
    assert arms[1].totals().loss.stderr_replicas == pytest.approx(each.std(ddof=1) / np.sqrt(7))


def test_probabilities_are_answered_too_and_may_be_zero():
    p = np.array([[[0.0, 1.0], [0.5, 0.5]], [[0.2, 0.8], [1.0, 0.0]]])
    result = decompose(p, [1, 1], loss="zero_one", values="probabilities")
    np.testing.assert_array_equal(terms_of(result), [[0, 0, 0], [1, 0, 0]])


def test_what_the_loss_cannot_take_is_refused():
    logits, labels, q = reference.arrays(3)
    with pytest.raises(ValueError, match=r"class numbers \(N,\) as target.*argmax"):
        decompose(logits, q, loss="zero_one")
    result = decompose(logits, labels, loss="zero_one")
    for method in ("ratio", "jackknife"):
        with pytest.raises(ValueError, match="'zero_one' have no correction"):
            result.corrected(method)
    logits[2, 4, 1] = -np.inf
    with pytest.raises(ValueError, match=r"\(replica, row\) \(2, 4\)"):
        decompose(logits, labels, loss="zero_one")
    with pytest.raises(ValueError, match="differ in loss"):
        paired_change(result, decompose(np.nan_to_num(logits), labels))
