"""The two-layer linear network's formula against simulation, closed forms, and where its variance is largest."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import linear_network_terms
from tests.analysis.reference import quick

SCRIPT = Path(__file__).parents[3] / "experiments" / "bias_variance" / "linear_network.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("linear_network_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("hidden", "given_"),
    [
        (0.25, {}),
        (0.5, {}),
        (0.5, {"ridge": 0.1}),
        (1.0, {"ridge": 1.0}),
        (0.6, {"samples": 1.5, "ridge": 0.05, "noise": 0.25}),
        (1.25, {"samples": 0.5, "ridge": 0.0, "noise": 0.25}),
        (0.4, {"samples": 3.0}),
    ],
)
def test_formula_and_simulation_agree_within_three_standard_errors(script, hidden, given_):
    setting = script.Setting("", "", **given_)
    mean, error = script.simulate(
        hidden, setting, inputs=80, networks=4, problems=30, rng=np.random.default_rng(int(100 * hidden))
    )
    found = linear_network_terms(hidden, **given_)
    expected = [float(found.bias), float(found.variance), float(found.risk)]
    assert (np.abs(mean - expected) < 3 * error).all()
    assert (error < 0.1 * np.array(expected)).all()


def test_limits_that_are_known_otherwise():
    hidden = np.array([0.2, 0.5, 0.9, 1.0, 4.0])
    free = linear_network_terms(hidden)
    np.testing.assert_allclose(free.bias, np.maximum(1 - hidden, 0) ** 2)
    np.testing.assert_allclose(free.variance, np.maximum(hidden * (1 - hidden), 0), atol=1e-15)
    # All inputs can be used: least squares of y on x, with the variance d / (n - d) times that of the noise.
    least_squares = linear_network_terms([1.0, 1.5, 9.0], samples=3.0, noise=0.4)
    np.testing.assert_allclose(least_squares.bias, 0.0)
    np.testing.assert_allclose(least_squares.variance, 0.4 / 2)
    # Many more hidden units than inputs: ridge regression on x itself, with a penalty of ridge / hidden.
    wide = linear_network_terms(1e9, ridge=0.5e9)
    assert float(wide.bias) == pytest.approx((0.5 / 1.5) ** 2)
    assert float(wide.variance) == pytest.approx(0.0, abs=1e-8)
    assert np.isinf(linear_network_terms([0.7], samples=0.7).variance).all()
    assert linear_network_terms([1.0, 2.0], samples=1.0).variance.tolist() == [0.0, 0.0]
    assert linear_network_terms(0.5, ridge=1e300, signal=2.0).bias == pytest.approx(2.0)
    assert float(linear_network_terms(0.5, ridge=1e-12).variance) == pytest.approx(0.25, abs=1e-11)


def test_variance_is_largest_at_half_the_inputs_only_without_ridge_and_with_unlimited_rows():
    """The half is from a review of the paper; the rest says how far it reaches."""
    hidden = np.arange(0.001, 4.0, 0.001)

    def peak(**given_):
        return hidden[np.argmax(linear_network_terms(hidden, **given_).variance)]

    assert peak() == pytest.approx(0.5)
    for ridge, expected in ((0.01, 0.492), (0.1, 0.478), (1.0, 0.726)):
        (q,) = [r.real for r in np.roots([2, -1, 4 * ridge, -3 * ridge]) if abs(r.imag) < 1e-12]
        assert 1 - q + ridge * (1 - q) / q == pytest.approx(expected, abs=6e-4)
        assert peak(ridge=ridge) == pytest.approx(expected, abs=1.1e-3)
    assert peak(samples=10.0, noise=0.25) == pytest.approx(0.514, abs=2e-3)
    assert peak(samples=1.5, noise=0.25) == pytest.approx(0.704, abs=2e-3)


@quick
@given(st.floats(0.0, 10.0), st.floats(0.3, 1e4) | st.just(math.inf), st.floats(0.0, 3.0))
def test_bias_never_rises_with_width_and_variance_rises_then_falls_for_unlimited_rows(ridge, samples, noise):
    hidden = np.linspace(0.01, 8.0, 800)
    terms = linear_network_terms(hidden, ridge=ridge, samples=samples, noise=noise)
    assert (np.diff(terms.bias) <= 1e-12).all()
    assert (terms.variance >= 0).all()
    if math.isinf(samples):
        signs = np.sign(np.round(np.diff(terms.variance), 12))
        assert (np.diff(signs[signs != 0]) <= 0).all()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"hidden": 0.0}, "hidden, hidden units for each input, must be finite and above 0, got 0.0"),
        ({"hidden": [1.0, math.nan]}, "must be finite and above 0"),
        ({"hidden": ["a"]}, "hidden must"),
        ({"hidden": 1.0, "samples": 0}, "samples, training rows for each input, must be above 0, got 0"),
        ({"hidden": 1.0, "samples": math.nan}, "samples, .* got nan"),
        ({"hidden": 1.0, "ridge": -1.0}, "ridge must be finite and not negative, got -1.0"),
        ({"hidden": 1.0, "noise": math.inf}, "noise must be finite"),
        ({"hidden": 1.0, "signal": "1"}, "signal must be a number"),
    ],
)
def test_bad_input_is_refused_by_name(given_, message):
    with pytest.raises(ValueError, match=message):
        linear_network_terms(given_.pop("hidden"), **given_)


def test_the_figure_draws_what_its_frame_holds(script, monkeypatch, tmp_path, capsys):
    for name, value in (("INPUTS", 20), ("NETWORKS", 3), ("PROBLEMS", 3), ("HIDDEN", (0.5, 2.0))):
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(sys, "argv", ["linear_network.py", "--out", str(tmp_path / "new")])
    script.main()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["linear_network.csv", "linear_network.png"]
    assert "no ridge: variance largest at 0.500 hidden units" in capsys.readouterr().out
