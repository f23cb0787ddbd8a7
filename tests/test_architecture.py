"""The direction of all imports, types included: between the parts of the package, and no circle inside any of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import biasvar

ROOT = Path(biasvar.__file__).parent
ROOMS = {"arguments", "columns", "errors", "interrupts", "messages", "files", "progress", "seeding", "votes"}
ALLOWED = {
    "arguments": set(),
    "columns": {"errors", "messages"},
    "command_line": {"messages"},
    "errors": set(),
    "interrupts": set(),
    "messages": set(),
    "files": {"errors"},
    "progress": {"interrupts"},
    "seeding": set(),
    "votes": set(),
    "analysis": ROOMS,
    "data": {*ROOMS, "analysis"},
    "records": {*ROOMS, "analysis"},
    "study": {*ROOMS, "analysis"},
    "losses": {*ROOMS, "analysis"},
    "modules": {*ROOMS, "analysis"},
    "training": {*ROOMS, "study", "data", "records", "analysis", "losses", "modules"},
    "integrations": {*ROOMS, "training", "losses", "records", "analysis"},
    "run": {*ROOMS, "command_line", "study", "training", "data"},
    "report": {*ROOMS, "command_line", "records", "data", "analysis", "study"},
    "__main__": {*ROOMS, "run", "report"},
    "plots": {*ROOMS, "report", "records"},
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, anywhere in it: in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & set(MODULES)
            if node.module in MODULES and names - set(MODULES):
                yield node.module


def part(module: str) -> str:
    """The part of the package that a module belongs to; "root" for the package itself."""
    return module.split(".")[1] if "." in module else "root"


GRAPH = {name: sorted(set(imported(path)) - {name}) for name, path in MODULES.items()}


def circles(graph: dict[str, list[str]]) -> set[frozenset[str]]:
    """The sets of nodes that reach one another (strongly connected components of two or more; Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = set()

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = set()
            while node not in component:
                component.add(stack.pop())
            if len(component) > 1:
                found.add(frozenset(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["d"]}) == {frozenset("bc")}
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == {frozenset("abc")}
    assert circles({"a": ["b", "c"], "b": ["c"], "c": []}) == set()


@pytest.mark.parametrize("name", sorted({part(module) for module in MODULES}))
def test_no_part_imports_in_a_circle(name):
    inside = {module for module in MODULES if part(module) == name}
    found = circles({module: [other for other in GRAPH[module] if other in inside] for module in sorted(inside)})
    assert not found, f"modules that import one another in a circle: {[sorted(circle) for circle in found]}"


@pytest.mark.parametrize("name", list(ALLOWED))
def test_parts_import_one_way(name):
    assert any(part(module) == name for module in MODULES)
    wrong = {
        module: other
        for module in MODULES
        if part(module) == name
        for other in GRAPH[module]
        if part(other) not in {*ALLOWED[name], name, "root"}
    }
    assert not wrong


def test_every_part_has_a_direction():
    assert {part(module) for module in MODULES} - {"root"} == set(ALLOWED)


def test_torch_is_imported_by_losses_modules_training_and_integrations_only():
    for name, path in MODULES.items():
        names = {
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert "torch" not in names or part(name) in ("integrations", "losses", "modules", "training", "run"), name


VECTORS = "analysis.indicators.student_condition"  # many means at once
ONLY_IN = {
    "a file or folder put in its place": (r"os\.(replace|rename)\(|mkstemp|NamedTemporaryFile", {"files"}),
    "a lock": (r"\bfcntl\b|\bmsvcrt\b", {"files"}),
    "a stream of NumPy's random numbers": (r"np\.random\.(?!Generator)|RandomState|\bimport random\b", {"seeding"}),
    "a seed of torch's random numbers": (r"manual_seed", {"training.networks"}),
    "the nearest spelling of a name": (r"difflib|did you mean", {"messages"}),
    "the WSL weight": (r"student_loss\s*/\s*\(?teacher_loss", {"analysis.tradeoff"}),
    "the flag": (r"variance_gradient\S*\s*>|student_log_prob\s*>", {"analysis.tradeoff"}),
    "ranks of values": (r"rankdata|spearmanr|\.rank\(\)", {"analysis.statistics.comparison"}),
    "entropy": (r"\bentr\(|np\.log\([^)]*where", {"analysis.statistics.calibration"}),
    "the error of a mean over replicas": (
        r"std\([^)]*\)\s*/\s*math\.sqrt",
        {"analysis.statistics.comparison", VECTORS},
    ),
}
"""Code that stands in the rooms named and nowhere else, so that each of these things is defined once."""


def code_of(path: Path) -> str:
    """A module's code without docstrings and comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.unparse(tree)


CODE = {name.removeprefix("biasvar."): code_of(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("what", list(ONLY_IN))
def test_what_is_defined_once_stands_in_one_place(what):
    pattern, rooms = ONLY_IN[what]
    assert {name for name, code in CODE.items() if re.search(pattern, code)} == rooms


@pytest.mark.parametrize(
    "statement",
    [
        "import biasvar; biasvar.open_run; biasvar.decompose",
        "import biasvar.report.__main__",
        "import biasvar; biasvar.plots.accuracy",
        "import pkgutil, importlib, biasvar.report as p\n"
        "for m in pkgutil.walk_packages(p.__path__, 'biasvar.report.'): importlib.import_module(m.name)",
    ],
    ids=["package", "report's command", "plots", "all of the report"],
)
def test_no_torch_is_imported(statement):
    code = f"import sys\n{statement}\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
