"""Intervals of claims that reach beyond what a share can be are cut there, and say so."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from biasvar.report.text.claims import claim_row

ROOT = Path(__file__).parents[2]


def row(**changes: object) -> dict[str, object]:
    """The row of the claims table on which the interval of the digits study reaches beyond 1."""
    claims = pd.read_csv(ROOT / "figures/digits/claims.csv")
    found = claims[claims["id"] == "W3"].iloc[0].to_dict()
    return {**found, **changes}


@pytest.mark.parametrize(
    ("identity", "unit", "low", "high", "said"),
    [
        ("W3", "share", 0.0189, 1.1057, "+0.019 to +1 (cut from +1.106)"),
        ("W10", "share", -1.25, 1.5, "−1 to +1 (cut from −1.250 and +1.500)"),
        ("L4", "share", 0.5, 1.25, "+0.500 to +1.250"),
        ("W6", "AUC", -0.25, 0.75, "0 to 0.750 (cut from −0.250)"),
        ("L2", "rank correlation", -0.5, 1.25, "−0.500 to +1 (cut from +1.250)"),
        ("W4", "share", -0.5, 0.5, "−0.500 to +0.500"),
        ("W1", "nats", -3.0, 3.0, "−3.000 to +3.000"),
    ],
)
def test_an_interval_beyond_what_there_is(identity, unit, low, high, said):
    places = {"stderr": 0.04}
    found = claim_row(row(id=identity, unit=unit, low=low, high=high, low_replicas=low, high_replicas=high, **places))
    assert found["interval"] == said
    assert found["alone"] == ""
    alone = claim_row(row(id=identity, unit=unit, low=-0.1, high=0.1, low_replicas=low, high_replicas=high, **places))
    assert alone["alone"] == said


def test_the_ledger_says_it_of_the_digits():
    lines = [
        line
        for line in (ROOT / "figures/claims.md").read_text().splitlines()
        if "+0.019 to +1 (cut from +1.106)" in line
    ]
    assert len(lines) == 1
    assert "less the share without any effect" in lines[0]
