"""Without torchdistill: one line that says what to install, and nothing of biasvar that imports it unasked."""

from __future__ import annotations

import subprocess
import sys

import pytest


def program(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("sys.modules['torchdistill'] = None", "pip install 'biasvar[torchdistill]'"),
        (
            "class Broken:\n"
            "    def find_spec(self, name, *_):\n"
            "        if name == 'torchdistill': raise RuntimeError('operator torchvision::nms does not exist')\n"
            "sys.meta_path.insert(0, Broken())",
            "nms does not exist: pip install 'biasvar[torchdistill]', and torch's own build of torchvision",
        ),
    ],
    ids=["not installed", "another torchvision"],
)
def test_a_torchdistill_that_is_missing_names_the_cure(broken, said):
    done = program(f"import sys\n{broken}\nimport biasvar.integrations.torchdistill")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert said in last


def test_no_other_part_of_the_package_imports_it():
    done = program(
        "import sys, biasvar, biasvar.integrations, biasvar.run\n[getattr(biasvar, name) for name in biasvar.__all__]\n"
        "print({'torchdistill', 'torchvision'} & set(sys.modules))"
    )
    assert done.stdout.strip() == "set()", done.stderr
