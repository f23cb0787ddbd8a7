"""The programs of the documentation's pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPLICAS = 2  # instead of 4, to be quick


def run_page(name: str, folder: Path) -> str:
    """What the program of docs/NAME.md and its command print in a folder, with fewer replicas and one figure."""
    text = (ROOT / "docs" / f"{name}.md").read_text()
    [program] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    [command] = re.findall(r"^```sh\nbiasvar-report (.*?)\n```", text, re.DOTALL | re.MULTILINE)
    (folder / "program.py").write_text(program.replace("range(4)", f"range({REPLICAS})"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    said = ""
    report = ["-m", "biasvar.report", *command.split(), "--figures", "bias_variance"]
    for arguments in (["program.py"], report):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    return said
