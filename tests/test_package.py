"""The package as a whole: its public names, and what importing it costs."""

from __future__ import annotations

import re
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


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = PROJECT["scripts"]
HEAVY = {"jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "pydantic", "scipy", "seaborn", "torch", "yaml"}


@pytest.mark.parametrize("name", ["report", "run"])
def test_help_is_what_the_user_typed_and_imports_nothing_heavy(name, tmp_path):
    script = tmp_path / f"biasvar-{name}"
    script.write_text(
        f"import sys\nfrom {SCRIPTS[script.name].replace(':', ' import ')}\n"
        f"try:\n    {SCRIPTS[script.name].split(':')[1]}()\n"
        "finally:\n    print('imported:', *sorted(sys.modules), file=sys.stderr)\n"
    )
    module = f"biasvar.{name}"
    as_module = (
        f"import runpy, sys\nsys.argv = ['', '--help']\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "finally:\n    print('imported:', *sorted(sys.modules), file=sys.stderr)\n"
    )
    for arguments, usage in (
        ([str(script), "--help"], f"usage: biasvar-{name} "),
        (["-c", as_module], f"usage: python -m {module} "),
    ):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(usage)
        said, _, imported = done.stderr.partition("imported: ")
        assert said == ""
        assert "biasvar.messages" in imported.split()
        assert not HEAVY & set(imported.split())


def test_messages_name_commands_as_the_user_types_them(monkeypatch):
    for started, run in (
        ("/venv/bin/biasvar-report", "biasvar-run"),
        ("/lib/report/__main__.py", "python -m biasvar.run"),
    ):
        monkeypatch.setattr(sys, "argv", [started])
        with pytest.raises(FileNotFoundError, match=f"as `{run}` makes it"):
            biasvar.open_run("runs/of/nobody")


def test_each_command_has_its_console_script():
    assert sorted(SCRIPTS) == ["biasvar", "biasvar-report", "biasvar-run"]
    assert all(callable(EntryPoint(name, value, "console_scripts").load()) for name, value in SCRIPTS.items())


def pinned(name: str) -> dict[str, str]:
    """The versions of a constraints file by package."""
    lines = (line.split("==") for line in (ROOT / name).read_text().splitlines() if line[:1] not in ("", "#"))
    return {canonical(package): version for package, version in lines}


def canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_the_lower_bounds_are_those_that_are_tested():
    extras = PROJECT["optional-dependencies"]
    bounds = dict(line.split(">=") for line in [*PROJECT["dependencies"], *extras["hub"], *extras["test"]])
    lowest, tested = pinned("constraints-lowest.txt"), pinned("constraints.txt")
    assert bounds.pop("torch") == "2.4"
    assert lowest["torch"] == tested["torch"]
    assert {package: lowest[canonical(package)] for package in bounds} == bounds
