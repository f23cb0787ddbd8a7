"""The two-layer linear network with a random first layer (Yang et al. 2020): formula beside simulation, one figure.

    python experiments/bias_variance/linear_network.py --out figures/linear_network

Draws bias, variance and risk against the number of hidden units and writes linear_network.png with linear_network.csv,
every dot with its standard error, then prints where each variance is largest. About a minute on one core.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from biasvar.analysis import linear_network_terms
from biasvar.report import style

INPUTS, NETWORKS, PROBLEMS = 200, 10, 20
HIDDEN = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0)
TERMS = ("bias", "variance", "risk")


@dataclass(frozen=True)
class Setting:
    """Rows and ridge as `linear_network_terms` takes them, and what a curve is called."""

    label: str
    colour: str
    samples: float = math.inf
    ridge: float = 0.0
    noise: float = 0.0


SETTINGS = (
    Setting("unlimited rows, no ridge", "#0072B2"),
    Setting("unlimited rows, ridge .1", "#56B4E9", ridge=0.1),
    Setting("unlimited rows, ridge 1", "#009E73", ridge=1.0),
    Setting("1.5 rows an input, ridge .01, label noise .25", "#D55E00", samples=1.5, ridge=0.01, noise=0.25),
)


def simulate(
    hidden: float, setting: Setting, *, inputs: int, networks: int, problems: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means over problems of bias, variance and risk, and their standard errors, (3,) each.

    Each problem has a truth t of its own and networks that each draw a first layer and rows anew. Of `networks`, the
    variance is unbiased and the bias less what it takes: |mean - t|^2 / d - variance / networks.
    """
    found = []
    for _ in range(problems):
        truth = rng.normal(size=inputs)
        truth *= math.sqrt(inputs) / np.linalg.norm(truth)
        fits = np.stack([_fit(round(hidden * inputs), truth, setting, rng) for _ in range(networks)])
        mean = fits.mean(axis=0)
        variance = ((fits - mean) ** 2).sum() / (networks - 1) / inputs
        risk = ((fits - truth) ** 2).sum() / networks / inputs
        found.append((risk - variance, variance, risk))
    values = np.array(found)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(problems)


def _fit(units: int, truth: np.ndarray, setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """W^T b of one network."""
    inputs = len(truth)
    first = rng.normal(size=(units, inputs)) / math.sqrt(inputs)
    if math.isinf(setting.samples):
        rows, labels, penalty = np.eye(inputs), truth, setting.ridge
    else:
        rows = rng.normal(size=(round(setting.samples * inputs), inputs)) / math.sqrt(inputs)
        labels = rows @ truth + math.sqrt(setting.noise) * rng.normal(size=len(rows))
        penalty = setting.ridge * len(rows) / inputs
    seen = rows @ first.T
    if penalty:
        weights = np.linalg.solve(seen.T @ seen + penalty * np.eye(units), seen.T @ labels)
    else:
        weights = np.linalg.lstsq(seen, labels, rcond=None)[0]
    return first.T @ weights


def peak(setting: Setting, widest: float = 8.0) -> float:
    """Hidden units for each input at which the variance is largest, to .001."""
    hidden = np.arange(0.001, widest, 0.001)
    return float(hidden[np.argmax(terms(hidden, setting)["variance"])])


def terms(hidden: np.ndarray, setting: Setting) -> dict[str, np.ndarray]:
    """The formula's bias, variance and risk."""
    found = linear_network_terms(hidden, samples=setting.samples, ridge=setting.ridge, noise=setting.noise)
    return {name: getattr(found, name) for name in TERMS}


def collect(seed: int) -> pd.DataFrame:
    """One row a setting, width and term: formula, simulated mean, standard error, counts."""
    rng = np.random.default_rng(seed)
    rows = []
    for setting in SETTINGS:
        for hidden in HIDDEN:
            mean, error = simulate(hidden, setting, inputs=INPUTS, networks=NETWORKS, problems=PROBLEMS, rng=rng)
            formula = terms(np.array(hidden), setting)
            rows += [
                {
                    "setting": setting.label, "samples_per_input": setting.samples, "ridge": setting.ridge,
                    "noise": setting.noise, "hidden_per_input": hidden, "term": name, "formula": float(formula[name]),
                    "simulated": mean[i], "stderr": error[i], "inputs": INPUTS, "networks": NETWORKS,
                    "n_problems": PROBLEMS,
                }
                for i, name in enumerate(TERMS)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame) -> Drawing:
    """Three panels of lines (formula) with dots and bars of two standard errors (simulation)."""
    figure = style.new_figure(height=3.2)
    grid = np.linspace(0.02, 2.0, 397)
    axes = figure.subplots(1, 3)
    for ax, term in zip(axes, TERMS, strict=True):
        for setting in SETTINGS:
            ax.plot(grid, terms(grid, setting)[term], color=setting.colour, label=setting.label)
            part = frame[(frame["setting"] == setting.label) & (frame["term"] == term)]
            ax.errorbar(
                part["hidden_per_input"], part["simulated"], 2 * part["stderr"], fmt="o", color=setting.colour,
                markersize=3.5,
            )  # fmt: skip
            if term == "variance":
                ax.axvline(peak(setting), color=setting.colour, linestyle=":", linewidth=1.0)
        ax.set(title=term, xlabel="hidden units / inputs", ylim=(0.0, None), xlim=(0.0, 2.05))
    axes[0].set_ylabel("squared error / signal")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def main() -> None:
    """Write the figure and its numbers, and say what they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2020)
    chosen = parser.parse_args()
    frame = collect(chosen.seed)
    chosen.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(chosen.out / "linear_network.csv", index=False, float_format="%.6g")
    with style.context():
        figure = draw(frame)
        style.lay_out(figure)
    style.save(figure, chosen.out / "linear_network.png", "png")
    known = frame[frame["stderr"] > 1e-9]
    apart = ((known["simulated"] - known["formula"]) / known["stderr"]).abs()
    beyond = (apart > 3).sum()
    print(f"{len(known)} simulated values, {beyond} beyond 3 standard errors of the formula, at most {apart.max():.1f}")
    for setting in SETTINGS:
        print(f"{setting.label}: variance largest at {peak(setting):.3f} hidden units for each input")


if __name__ == "__main__":
    main()
