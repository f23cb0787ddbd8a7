"""The package as a whole: its public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import biasvar


def test_every_public_name_is_there():
    assert sorted(biasvar.__all__) == biasvar.__all__
    for name in biasvar.__all__:
        assert getattr(biasvar, name) is not None
        assert name in dir(biasvar)
    with pytest.raises(AttributeError, match="its public names are"):
        biasvar.nothing  # noqa: B018


def test_importing_biasvar_and_reading_a_run_never_import_torch():
    code = "import sys, biasvar; biasvar.open_run; biasvar.decompose; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_importing_biasvar_alone_is_nothing():
    code = "import sys, biasvar; print(sorted({'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_console_scripts_are_the_modules_that_python_runs(capsys):
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert sorted(project["scripts"]) == ["biasvar-report", "biasvar-run"]
    for name, value in project["scripts"].items():
        with pytest.raises(SystemExit) as stopped:
            EntryPoint(name, value, "console_scripts").load()(["--help"])
        assert stopped.value.code == 0
        assert f"usage: python -m {name.replace('-', '.')}" in capsys.readouterr().out
