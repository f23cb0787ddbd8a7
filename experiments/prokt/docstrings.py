"""Make the text data of docstrings.yaml: paragraphs of the standard library's docstrings, labelled by their module.

    python experiments/prokt/docstrings.py

Reads the source files of the Python that runs it and writes docstrings.parquet beside this file: `features` (a bag of
words), `label`, `split`, `module` and `text`. Another version of Python has other docstrings: the version is written
into the file, and stands in what this prints. The same version gives the same bytes.

Which modules: the ten with the most paragraphs among top-level modules and packages, tests and vendored packages aside.
A paragraph has at least eight words and is taken once, where it stands first; doctest lines are left out. The test
split is a fifth of the paragraphs, by a hash of their text. Words of the module's own name are no features, since they
would be the label. A feature is log(1 + count) of one of the 1,000 words in most training paragraphs, each row scaled
to length 8.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
MODULES, WORDS, LEAST_WORDS, LENGTH = 10, 1000, 8, 8.0
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip", "turtledemo", "__pycache__", "_pyrepl"}
WORD = re.compile(r"[a-z]{2,}")


def paragraphs() -> Iterator[tuple[str, str]]:
    """(module, paragraph) of every docstring of the standard library, in the order of its files."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if LEFT_OUT.intersection(parts) or any(part.startswith("config-") for part in parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                    lines = [line for line in paragraph.splitlines() if not line.lstrip().startswith((">>>", "..."))]
                    text = " ".join(" ".join(lines).split())
                    if len(WORD.findall(text.lower())) >= LEAST_WORDS:
                        yield parts[0], text


def is_test(text: str) -> bool:
    """A fifth of the paragraphs, by their text alone."""
    return hashlib.sha256(text.encode()).digest()[0] % 5 == 0


def main() -> None:
    """Write the file and say what is in it."""
    found: dict[str, str] = {}
    for module, text in paragraphs():
        found.setdefault(text, module)
    sizes = Counter(found.values())
    names = sorted(sorted(sizes, key=lambda name: (-sizes[name], name))[:MODULES])
    rows = [(text, module) for text, module in found.items() if module in names]
    own = {word for name in names for word in WORD.findall(name.lower())}
    words = [[word for word in WORD.findall(text.lower()) if word not in own] for text, _ in rows]
    test = np.array([is_test(text) for text, _ in rows])
    there = Counter(word for each, held_out in zip(words, test, strict=True) if not held_out for word in set(each))
    vocabulary = sorted(there, key=lambda word: (-there[word], word))[:WORDS]
    place = {word: i for i, word in enumerate(vocabulary)}
    counts = np.zeros((len(rows), len(vocabulary)))
    for row, each in enumerate(words):
        for word, count in Counter(each).items():
            if word in place:
                counts[row, place[word]] = np.log1p(count)
    features = (LENGTH * counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    label = np.array([names.index(module) for _, module in rows])
    table = pa.table(
        {
            "features": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), len(vocabulary)),
            "label": pa.array(label, pa.int16()),
            "split": pa.array(np.where(test, "test", "train").tolist()),
            "module": pa.array([module for _, module in rows]),
            "text": pa.array([text for text, _ in rows]),
        }
    )
    version = platform.python_version()
    path = HERE / "docstrings.parquet"
    pq.write_table(table.replace_schema_metadata({"python": version, "class_names": json.dumps(names)}), path)
    each = ", ".join(f"{name} {int((label == i).sum())}" for i, name in enumerate(names))
    print(f"{path}: Python {version}, {len(rows):,} paragraphs, {int(test.sum()):,} of them test rows ({each})")


if __name__ == "__main__":
    main()
