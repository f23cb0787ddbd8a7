"""The examples in docstrings: every public name has one, and all of them are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import biasvar
from tests.test_docs import public_names

ROOT = Path(biasvar.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>>" in path.read_text()
)


def test_there_are_examples():
    assert len(MODULES) > 80


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_true(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner, said = doctest.DocTestRunner(), []
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module)):
        runner.run(example, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert runner.tries > 0


def test_every_public_function_and_class_has_an_example():
    without = []
    for name in public_names():
        module, _, attribute = name.rpartition(".")
        if "integrations" in name:
            continue
        found = getattr(importlib.import_module(module), attribute)
        if (inspect.isclass(found) or inspect.isfunction(found)) and ">>>" not in (found.__doc__ or ""):
            without.append(name)
    assert without == []


@pytest.mark.parametrize("adapter", biasvar.integrations.__all__)
def test_every_adapter_names_its_page_whose_program_is_run(adapter):
    page = f"docs/{adapter}.md"
    assert page in (ROOT / "integrations" / f"{adapter}.py").read_text().split('"""')[1]
    assert "```" in (ROOT.parent / page).read_text()
