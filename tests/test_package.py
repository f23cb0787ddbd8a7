"""The package as a whole: its public names, and the one direction in which its imports run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import biasvar

ROOT = Path(biasvar.__file__).parent
ROOMS = {"errors", "messages", "files", "seeding"}
ALLOWED = {
    "errors": set(),
    "messages": set(),
    "files": {"errors"},
    "seeding": set(),
    "analysis": ROOMS,
    "data": {*ROOMS, "analysis"},
    "records": {*ROOMS, "analysis"},
    "study": ROOMS,
    "losses": {*ROOMS, "analysis"},
    "training": {*ROOMS, "study", "data", "records", "analysis", "losses"},
    "run": {*ROOMS, "study", "training", "data"},
    "report": {*ROOMS, "records", "data", "analysis"},
}


def imported(path: Path) -> set[str]:
    """The parts of biasvar that a file imports, wherever in the file."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("biasvar.") and "." in name}
    return parts & set(ALLOWED)


@pytest.mark.parametrize("part", list(ALLOWED))
def test_imports_run_one_way(part):
    files = [ROOT / f"{part}.py"] if (ROOT / f"{part}.py").exists() else sorted((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        extra = imported(path) - ALLOWED[part] - {part}
        assert not extra, f"{path.relative_to(ROOT)} imports biasvar.{', biasvar.'.join(sorted(extra))}"


def test_torch_is_imported_by_losses_and_training_only():
    for path in ROOT.rglob("*.py"):
        modules = {
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        if "torch" in modules:
            assert path.relative_to(ROOT).parts[0] in ("losses", "training") or path.name == "run.py", path


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
