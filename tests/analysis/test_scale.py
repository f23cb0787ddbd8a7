"""Probabilities, votes and percentages given as logits are refused wherever logits are taken, and read when named."""

import numpy as np
import pytest
import torch

from biasvar.analysis import Accumulator, decompose, tempered, tradeoff_terms, wsl_weights
from biasvar.analysis.scale import ScaleEvidence, check_scale

pytestmark = pytest.mark.filterwarnings("ignore:there is one replica")  # of small cases, on purpose

RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet(np.ones(5), 40)
LABELS = RNG.integers(0, 5, 40)
LOGITS = RNG.normal(size=(40, 5))


def accumulated(x, y, **options):
    accumulator = Accumulator(len(x), x.shape[-1], **options)
    for start in range(0, len(x), 7):
        ids = np.arange(start, min(start + 7, len(x)))
        accumulator.update(x[start : start + 7], ids, replica=0)
    return accumulator.result(y).bias


ENTRIES = {
    "decompose": lambda x, y, **options: decompose(x[None], y, **options).bias,
    "Accumulator": accumulated,
    "tradeoff_terms, student": lambda x, y, **o: tradeoff_terms(x, x, y, temperature=1.0, **o).student_loss,
    "wsl_weights": lambda x, y, **o: wsl_weights(x, x, y, epsilon=0.0, **o),
    "tempered": lambda x, y, **o: tempered(x, 2.0, **o),
}
NOT_LOGITS = {
    "probabilities": (SHARES, "probabilities.*values="),
    "float64 copy of float32": (SHARES.astype(np.float32).astype(np.float64) + 1.09e-6 / 5, "probabilities"),
    "float16": (SHARES.astype(np.float16), "probabilities"),
    "bfloat16": (torch.tensor(SHARES).bfloat16(), "probabilities"),
    "a graph": (torch.tensor(SHARES, requires_grad=True), "probabilities"),
    "bytes": (np.round(SHARES * 255).astype(np.uint8), "votes or counts.*from_votes"),
    "votes": (RNG.multinomial(50, np.ones(5) / 5, 40), "votes or counts.*from_votes"),
    "percentages": (np.round(SHARES * 100, 1), "scaled probabilities"),
    "rounded percentages": (np.round(SHARES * 100 + 0.03, 1), "scaled probabilities"),
    "one digit": (np.round(SHARES, 1), "rounded probabilities"),
    "with rows marked by -1": (np.where(RNG.random((40, 1)) < 0.2, -1.0, SHARES), "probabilities"),
    "two digits": (np.round(SHARES, 2), "rounded probabilities"),
    "with failed rows": (np.where(RNG.random((40, 1)) < 0.2, np.nan, SHARES), "probabilities"),
    "with rows of zeros": (np.where(RNG.random((40, 1)) < 0.2, 0.0, SHARES), "probabilities"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", NOT_LOGITS)
def test_what_does_not_look_like_logits_is_refused(entry, kind):
    x, message = NOT_LOGITS[kind]
    if entry == "Accumulator" and kind == "with failed rows":
        message = "must be finite"
    with pytest.raises(ValueError, match=message):
        ENTRIES[entry](x, LABELS)


@pytest.mark.parametrize("entry", ENTRIES)
def test_named_values_are_read_as_such(entry):
    run = ENTRIES[entry]
    as_probabilities = run(SHARES * 1.0005, LABELS, values="probabilities")  # within 1e-3, then divided by the sum
    np.testing.assert_allclose(as_probabilities, run(np.log(SHARES), LABELS), atol=1e-12)
    as_logits = run(SHARES, LABELS, values="logits")
    np.testing.assert_allclose(as_logits, run(SHARES - 1.0, LABELS), atol=1e-12)
    np.testing.assert_allclose(run(LOGITS, LABELS, values="logits"), run(LOGITS, LABELS))
    for bad in ("scores", True, "Logits"):
        with pytest.raises(ValueError, match="values must be"):
            run(LOGITS, LABELS, values=bad)
    with pytest.raises(ValueError, match=r"must sum to 1 within 0.001; row .*0.*from_votes"):
        run(SHARES * 1.002, LABELS, values="probabilities")
    with pytest.raises(ValueError, match="cannot be negative"):
        run(LOGITS, LABELS, values="probabilities")


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((40, 3)),  # a head that starts at zero
        np.abs(RNG.normal(size=(40, 3))),
        RNG.integers(0, 9, (19, 3)),  # typed by hand
        np.full((19, 4), 25.0),
        np.log(SHARES),
        np.vstack([SHARES, [[-1.0, 1.0, 1.0, 0.0, 0.0]]]),
        np.array([[np.nan, 1.0]]),
        RNG.random((40, 3)),
    ],
)
def test_logits_are_logits(x):
    check_scale(x, "logits", None)


def test_the_limits_are_those_that_are_stated():
    for scale, refused in ((1.0009, True), (1.0011, False), (0.9991, True), (0.9989, False)):
        x = np.array([[0.25, 0.75], [0.5, 0.5]]) * scale
        assert (found(x) is not None) is refused
    assert found(RNG.integers(1, 9, (20, 3))).startswith("votes")
    assert found(RNG.integers(1, 9, (19, 3))) is None
    assert found(np.tile([0.7, 0.8], (20, 1))) is None
    assert found(np.tile([0.9, 0.7], (20, 1))).startswith("scaled")


def found(x):
    evidence = ScaleEvidence()
    evidence.add(x)
    return evidence.found()


def test_evidence_of_parts_is_that_of_the_whole():
    one, other = ScaleEvidence(), ScaleEvidence()
    one.add(torch.tensor(SHARES[:3]))
    assert one.found().startswith("probabilities")
    other.add(-SHARES[3:])
    one.merge(other)
    assert one.found() is None
    one, other = Accumulator(40, 5), Accumulator(40, 5)
    one.update(SHARES[:20], range(20), replica=0)
    other.update(SHARES[20:], range(20, 40), replica=0)
    with pytest.raises(ValueError, match="probabilities"):
        one.merge(other).result(LABELS)


def test_rows_that_do_not_count_are_not_asked():
    x = np.vstack([SHARES, [[-1.0, -2.0, 0.0, 0.0, 0.0]]])[None]
    labels = np.append(LABELS, -100)
    decompose(x, np.append(LABELS, 0))
    with pytest.raises(ValueError, match="probabilities"):
        decompose(x, labels, where=np.arange(41)[None] < 40)


def test_probabilities_of_zero():
    p = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    squared = decompose(p, [0, 1], loss="squared_error", values="probabilities")
    np.testing.assert_allclose(squared.bias, [0.0, 0.5])
    with pytest.raises(ValueError, match=r"above 0 for cross-entropy; row \(0, 0\)"):
        decompose(p, [0, 1], values="probabilities")
    terms = tradeoff_terms(p[0], p[0], [0, 1], temperature=4.0, values="probabilities")
    np.testing.assert_allclose(terms.student_loss, [0.0, np.log(2)])
    np.testing.assert_allclose(tempered(p[0], 4.0, values="probabilities"), p[0])
