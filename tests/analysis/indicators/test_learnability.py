"""Bounds against exact probabilities and experiments, published values, and the counterexample for an average Delta."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import (
    add_noise,
    additive_noise_indicators,
    ambiguity,
    learnability,
    learnability_exponent,
    partial_labels,
    samples_sufficient,
    smooth_labels,
    unreliability,
)
from tests.analysis.reference import quick

TABLE = {  # Delta: (kappa, theta, theta of the oracle) at gamma = .1, .3, .5, .7
    0.0: [(0.900, 0.598, 0.598), (0.700, 0.431, 0.431), (0.500, 0.288, 0.288), (0.300, 0.163, 0.163)],
    0.1: [(0.400, 0.223, 0.588), (0.271, 0.146, 0.406), (0.153, 0.080, 0.251), (0.054, 0.027, 0.118)],
    0.2: [(0.334, 0.183, 0.575), (0.152, 0.079, 0.375), (0.068, 0.034, 0.208), (0.010, 0.005, 0.065)],
    0.3: [(0.271, 0.146, 0.560), (0.084, 0.043, 0.337), (0.025, 0.013, 0.154), (0, 0, 0)],
    0.5: [(0.153, 0.080, 0.511), (0.025, 0.013, 0.223), (0, 0, 0), (0, 0, 0)],
}
GRID = [(d, g) for d in (0.0, 0.1, 0.3) for g in (0.1, 0.3, 0.6)]


@pytest.mark.parametrize("delta", TABLE)
def test_values(delta):
    for gamma, values in zip((0.1, 0.3, 0.5, 0.7), TABLE[delta], strict=True):
        found = learnability(delta, gamma)
        assert (found.kappa, found.rate, found.oracle_rate) == pytest.approx(values, abs=6e-4)
        # At .3 + .7 and .5 + .5 the sum is 1, and nothing is promised.
        assert found.holds == (delta + gamma < 1)
        assert found.transfer == (pytest.approx(1 / (1 - delta - gamma)) if found.holds else math.inf)
        assert found.kappa_independent >= found.kappa
        assert found.samples is None


@quick
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_exponent_is_the_minimum_of_its_moment_generating_function(delta, gamma):
    for independent in (False, True):
        kappa = learnability_exponent(delta, gamma, independent=independent)
        a = delta * gamma if independent else min(delta, gamma)
        b = a + 1 - delta - gamma
        tilt = np.linspace(0, 12, 4001)
        value = (1 - a - b + a * np.exp(tilt) + b * np.exp(-tilt)).min()
        assert kappa == pytest.approx(max(1 - value, 0), abs=1e-4)
        assert learnability_exponent(gamma, delta, independent=independent) == pytest.approx(kappa, abs=1e-12)


def test_no_unreliability_is_liu_and_dietterich():
    for gamma in (0.0, 0.2, 0.9):
        found = learnability(0.0, gamma, error=0.1, dimension=7, num_classes=5)
        theta = math.log(2 / (1 + gamma))
        n0 = 4 / (theta * 0.1) * (7 * (math.log(28) + 2 * math.log(5) + math.log(1 / (theta * 0.1))) + math.log(20) + 1)
        assert [found.rate, found.rate_independent, found.oracle_rate] == pytest.approx([theta] * 3)
        assert found.samples == found.samples_independent == pytest.approx(n0)


def test_sample_bounds():
    options = {"dimension": 10, "num_classes": 10, "error": 0.1, "risk": 0.05}
    known = {(0, 0.1): 7702, (0.1, 0.1): 22400, (0.1, 0.5): 68095, (0.3, 0.3): 132755, (0.3, 0.5): 480508}
    for (delta, gamma), n in known.items():
        assert round(samples_sufficient(delta, gamma, **options)) == n
    assert samples_sufficient(0.5, 0.5, **options) == math.inf
    assert samples_sufficient(0.5, 0.5, hypotheses=10, error=0.1, risk=0.05) == math.inf
    assert samples_sufficient(0.1, 0.3, **options, independent=True) < samples_sufficient(0.1, 0.3, **options)


def beats(a, b, error, n):
    """Exact Pr(a wrong hypothesis misses no more sets of n than the truth), by convolution of its gains."""
    gain = np.array([error * b, 1 - error * (a + b), error * a])  # it loses one, nothing, gains one
    total = np.ones(1)
    for _ in range(n):
        total = np.convolve(total, gain)
    return total[n:].sum()


@pytest.mark.parametrize(("delta", "gamma"), GRID)
def test_no_wrong_hypothesis_beats_the_truth_more_often_than_the_bound(delta, gamma):
    for independent, a in ((False, min(delta, gamma)), (True, delta * gamma)):
        kappa = learnability_exponent(delta, gamma, independent=independent)
        b = a + 1 - delta - gamma
        for error in (0.05, 0.1, 0.5, 1.0):
            for n in (1, 10, 100, 400):
                assert beats(a, b, error, n) <= (1 - error * kappa) ** n + 1e-12
    # And it is the rate, not merely a bound: at large n the logarithms agree.
    kappa = learnability_exponent(delta, gamma)
    a = min(delta, gamma)
    assert math.log(beats(a, a + 1 - delta - gamma, 0.5, 400)) / 400 == pytest.approx(
        math.log(1 - 0.5 * kappa), rel=0.15, abs=0.004
    )


def test_classes_share_one_tilt():
    """The truth misses in one class, rivals crowd another: one exponent bounds any mixture of errors between them."""
    delta, gamma = np.array([0.3, 0.0, 0.1]), np.array([0.1, 0.6, 0.3])
    for independent in (False, True):
        kappa = learnability_exponent(delta, gamma, independent=independent)
        assert kappa <= min(
            learnability_exponent(*pair, independent=independent) for pair in zip(delta, gamma, strict=True)
        )
        a = delta * gamma if independent else np.minimum(delta, gamma)
        b = a + 1 - delta - gamma
        for share in np.random.default_rng(0).dirichlet(np.ones(3), 20):
            for error in (0.1, 0.6):
                assert beats(share @ a, share @ b, error, 80) <= (1 - error * kappa) ** 80 + 1e-12
    found = learnability(delta, gamma)
    assert (found.delta, found.gamma) == (0.3, 0.6)
    assert found.sum == pytest.approx(0.6)
    assert found.kappa >= learnability_exponent(0.3, 0.6)


def test_excess_risk_carries_over():
    """R(h) - R(h*) >= (1 - Delta - gamma) Err(h) for every h, by counting on drawn partial labels."""
    labels = np.arange(60_000) % 6
    made = partial_labels(labels, 6, drop=0.2, add=0.4, seed=0)
    risk = 1 - made.candidates[np.arange(60_000), labels].mean()
    rng = np.random.default_rng(0)
    for error in (0.1, 0.5, 1.0):
        wrong = np.where(rng.random(60_000) < error, (labels + rng.integers(1, 6, 60_000)) % 6, labels)
        excess = 1 - made.candidates[np.arange(60_000), wrong].mean() - risk
        err = (wrong != labels).mean()
        assert err <= excess * learnability(made.delta, made.gamma).transfer + 4 * math.sqrt(err / 60_000)


@pytest.mark.parametrize(("delta", "gamma"), [(0.1, 0.3), (0.3, 0.3), (0.0, 0.6)])
def test_that_many_samples_suffice(delta, gamma):
    """A class of 200 labellings of 8 places, learned from n samples by missing fewest sets."""
    rng = np.random.default_rng(0)
    places, classes, error, risk = 8, 5, 0.25, 0.1
    hypotheses = rng.integers(0, classes, (200, places))
    errs = (hypotheses != hypotheses[0]).mean(axis=1)
    n = math.ceil(samples_sufficient(delta, gamma, hypotheses=200, error=error, risk=risk, independent=True))
    failures = 0
    for trial in range(60):
        x = rng.integers(0, places, n)
        made = partial_labels(hypotheses[0][x], classes, drop=delta, add=gamma, seed=trial)
        misses = [1 - made.candidates[np.arange(n), h[x]].mean() for h in hypotheses]
        failures += errs[np.argmin(misses)] >= error
    assert failures / 60 <= risk


def test_natarajan_samples_suffice():
    """All labellings of 10 places by 10 classes: Natarajan dimension 10, learned place by place."""
    for delta, gamma in ((0.0, 0.1), (0.1, 0.5)):
        n = math.ceil(samples_sufficient(delta, gamma, dimension=10, num_classes=10, error=0.1, risk=0.05))
        x = np.random.default_rng(1).integers(0, 10, n)
        made = partial_labels((3 * x) % 10, 10, drop=delta, add=gamma, seed=2)
        learned = [int(made.candidates[x == place].sum(axis=0).argmax()) for place in range(10)]
        assert learned == [(3 * place) % 10 for place in range(10)]


def test_an_average_delta_is_not_enough():
    """Delta = .24 on average and gamma = .6 sum to .84, yet more data only make the learner surer of its error."""
    gamma, inside = 0.6, 0.42  # in a region of mass .57 the truth is missed with probability .42 > 1 - gamma
    region = 0.57
    delta = region * inside
    found = learnability(delta, gamma)
    assert found.holds
    assert found.average_error == pytest.approx(delta / (1 - gamma))
    errors = []
    for n in (2_000, 200_000):
        rng = np.random.default_rng(0)
        bad = rng.random(n) < region
        truth_in = rng.random(n) >= np.where(bad, inside, 0.0)
        rival_in = rng.random(n) < gamma
        flips = [rival_in[part].mean() > truth_in[part].mean() for part in (bad, ~bad)]
        errors.append(region * flips[0] + (1 - region) * flips[1])
    assert errors[-1] == region
    assert errors[-1] <= found.average_error
    # Taken pointwise, the condition says so: .42 + .6 > 1.
    assert not learnability([inside, 0.0], [gamma, gamma]).holds
    assert learnability(1.0, 1.0).average_error == 1
    assert learnability(0.5, 0.9).average_error == 1


NOISE = {  # (K, k): (Delta, gamma, kappa) at scales .2, .5, 1, 2, 5
    (10, 1): [(.002, .000, .971), (.326, .036, .397), (.659, .073, .098), (.801, .089, .022), (.866, .096, .003)],
    (10, 3): [(.000, .222, .769), (.095, .233, .322), (.347, .261, .089), (.526, .281, .025), (.633, .293, .004)],
    (10, 5): [(.000, .444, .554), (.032, .448, .318), (.177, .464, .097), (.322, .480, .024), (.427, .492, .004)],
    (100, 5): [(.001, .040, .912), (.378, .044, .335), (.748, .048, .080), (.876, .049, .017), (.926, .050, .002)],
}  # fmt: skip


@pytest.mark.parametrize(("classes", "k"), NOISE)
def test_gaussian_noise(classes, k):
    for scale, (delta, gamma, kappa) in zip((0.2, 0.5, 1.0, 2.0, 5.0), NOISE[classes, k], strict=True):
        found = additive_noise_indicators(classes, k, scale)
        assert found == pytest.approx((delta, gamma), abs=6e-4)
        assert learnability_exponent(*found) == pytest.approx(kappa, abs=1e-3)
        assert sum(found) < 1
    n = 20_000
    labels = np.arange(n) % classes
    scores = add_noise(smooth_labels(labels, classes, 0.0), 1.0, seed=classes + k)
    delta, gamma = additive_noise_indicators(classes, k, 1.0)
    measured = unreliability(scores, labels, k=k, scores=True)
    assert abs(measured.value - delta) < 4 * math.sqrt(delta * (1 - delta) / n)
    wrong = ambiguity(scores, labels, k=k, scores=True, version="marginal")
    assert abs(wrong.per_class.mean() - gamma) < 4 * math.sqrt(gamma / n)
    assert wrong.interval.low <= gamma <= wrong.interval.high


def test_noise_at_its_ends():
    assert additive_noise_indicators(10, 3, 0.0) == (0.0, pytest.approx(2 / 9))
    assert additive_noise_indicators(10, 10, 5.0) == (0.0, 1.0)
    assert additive_noise_indicators(10, 1, 1e6)[0] == pytest.approx(0.9, abs=1e-5)


def test_indicators_may_be_passed():
    soft, labels = [[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], [0, 1, 2]
    delta, gamma = unreliability(soft, labels, k=2), ambiguity(soft, labels, k=1)
    assert learnability(delta, gamma).gamma == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learnability(-0.1, 0.1), "delta must lie between 0 and 1"),
        (lambda: learnability(0.1, 1.1), "gamma must lie between 0 and 1"),
        (lambda: learnability_exponent(math.nan, 0.1), "delta must lie"),
        (lambda: learnability([], []), "delta must lie"),
        (lambda: learnability([[0.1]], [0.1]), "delta must lie"),
        (lambda: learnability([0.1, 0.2], 0.1), "must be as many, got 2 and 1"),
        (lambda: learnability(0.1, 0.1, error=0.1), "name the class of hypotheses"),
        (lambda: learnability(0.1, 0.1, error=0.1, hypotheses=3, dimension=2, num_classes=2), "name the class"),
        (lambda: learnability(0.1, 0.1, error=0.1, dimension=2), "name the class"),
        (lambda: learnability(0.1, 0.1, error=0.0, hypotheses=3), "error must lie"),
        (lambda: learnability(0.1, 0.1, error=0.1, hypotheses=3, risk=1.0), "risk must lie"),
        (lambda: learnability(0.1, 0.1, error=0.1, hypotheses=0), "hypotheses must be"),
        (lambda: learnability(0.1, 0.1, error=0.1, dimension=0, num_classes=3), "dimension must be"),
        (lambda: learnability(0.1, 0.1, error=0.1, dimension=2, num_classes=1), "dimension must be"),
        (lambda: additive_noise_indicators(1, 1, 1.0), "num_classes >= 2"),
        (lambda: additive_noise_indicators(3, 4, 1.0), "k in 1"),
        (lambda: additive_noise_indicators(3, 1, -1.0), "finite scale"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
