"""Label noise: how many labels are wrong, which ones, and that they belong to the sample."""

from __future__ import annotations

import numpy as np
import pytest

from biasvar.data.label_noise import KINDS, noisy_labels

CLASSES, ROWS = 10, 20_000
LABELS = np.arange(ROWS) % CLASSES
IDS = np.random.default_rng(0).permutation(3 * ROWS)[:ROWS]


def noisy(kind="shuffle", share=0.2, labels=LABELS, ids=IDS, seed=5):
    return noisy_labels(labels, ids, kind=kind, share=share, num_classes=CLASSES, seed=seed)


@pytest.mark.parametrize(("kind", "wrong"), [("shuffle", 0.2 * 0.9), ("uniform", 0.2 * 0.9), ("uniform_other", 0.2)])
def test_the_share_that_is_wrong(kind, wrong):
    """Of ten equal classes a tenth of shuffled labels come back to their own; uniform_other leaves none."""
    found = (noisy(kind) != LABELS).mean()
    assert found == pytest.approx(wrong, abs=0.0 if kind == "uniform_other" else 4 * np.sqrt(0.2 * 0.09 / ROWS))


def test_a_shuffle_keeps_the_count_of_every_class_and_the_others_are_even():
    np.testing.assert_array_equal(np.bincount(noisy()), np.bincount(LABELS))
    other = noisy("uniform_other")
    moved = (other - LABELS)[other != LABELS] % CLASSES
    counts = np.bincount(moved, minlength=CLASSES)
    assert counts[0] == 0
    expected = counts.sum() / (CLASSES - 1)
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 26.1  # chi squared, 8 degrees of freedom, p .001


@pytest.mark.parametrize("kind", KINDS)
def test_noise_belongs_to_the_sample(kind):
    """Whatever the order of the rows; a larger share adds rows to those of a smaller one; no share leaves all."""
    order = np.random.default_rng(1).permutation(ROWS)
    again = noisy(kind, labels=LABELS[order], ids=IDS[order])
    if kind != "shuffle":
        np.testing.assert_array_equal(again, noisy(kind)[order])
    other = noisy("uniform_other")
    assert (other != LABELS)[noisy(kind) != LABELS].all(), "the rows do not depend on the kind"
    assert (noisy("uniform_other", 0.4) != LABELS)[other != LABELS].all()
    np.testing.assert_array_equal(noisy(kind, 0.0), LABELS)
    assert (noisy(kind, seed=6) != noisy(kind)).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "shuffel"}, "kind must be one of shuffle, uniform, uniform_other, not 'shuffel'"),
        ({"share": 1.0}, r"share must lie in \[0, 1\), not 1"),
        ({"share": float("nan")}, r"share must lie in \[0, 1\), not nan"),
        ({"labels": LABELS + 1}, "labels must lie in 0 .. 9, not 10, 10"),
        ({"ids": IDS * 0}, "sample_ids must be one for each label"),
        ({"ids": IDS[1:]}, "sample_ids must be one for each label"),
    ],
)
def test_what_cannot_be_noise_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        noisy(**change)
