from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and an empty data folder for each test."""
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BIASVAR_DATA", str(tmp_path / "data"))
    return tmp_path
