"""Notebooks are committed without outputs and stay short; `make test` runs them."""

import ast
import json
from pathlib import Path

import pytest

import biasvar
from biasvar import plots

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MODULES = {"biasvar": biasvar, "plots": plots}


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def python(cell: dict) -> str:
    lines = "".join(cell["source"]).split("\n")
    return "\n".join(line for line in lines if not line.startswith(("!", "%")))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_no_outputs_are_committed(notebook):
    cells = code_cells(notebook)
    assert cells
    assert [(cell["execution_count"], cell["outputs"]) for cell in cells] == [(None, [])] * len(cells)


def test_cells_are_short(notebook):
    assert max(len(cell["source"]) for cell in code_cells(notebook)) <= 15


def test_names_of_biasvar_exist(notebook):
    used = [
        (node.value.id, node.attr)
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(python(cell)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MODULES
    ]
    assert used
    assert [(module, name) for module, name in used if not hasattr(MODULES[module], name)] == []
