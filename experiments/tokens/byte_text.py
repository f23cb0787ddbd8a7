"""The text of this example: the docstrings of the Python standard library as bytes, and the kind of every byte.

The text is that of the Python that runs this; `Text.sha256` tells one from another.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LENGTH = 64  # bytes that a sequence asks for; the byte before each of them is given
LEAST_BYTES = 40  # of a docstring
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "ensurepip", "turtledemo", "__pycache__", "_pyrepl"}
KINDS = (
    "first letter of a word", "second letter", "later letters", "digit", "space", "indentation", "line end",
    "punctuation", "end of docstring", "other",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Text:
    """Sequences of bytes (n, LENGTH + 1), each beginning with the last byte of the one before it."""

    train: np.ndarray
    test: np.ndarray
    sha256: str
    docstrings: int


def docstrings() -> Iterator[bytes]:
    """Every docstring of the standard library once, in the order of its files."""
    root, seen = Path(sysconfig.get_paths()["stdlib"]), set()
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
                text = (ast.get_docstring(node) or "").encode()
                if len(text) >= LEAST_BYTES and text not in seen:
                    seen.add(text)
                    yield text


def read_text() -> Text:
    """A tenth of the docstrings, by their hash, is for tests; byte 0 ends each docstring."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for text in docstrings():
        parts[hashlib.sha256(text).digest()[0] < 26].append(text + b"\0")
    digest = hashlib.sha256(b"".join(map(b"".join, parts))).hexdigest()
    train, test = (_windows(np.frombuffer(b"\0" + b"".join(part), dtype=np.uint8)) for part in parts)
    return Text(train, test, digest, sum(map(len, parts)))


def _windows(stream: np.ndarray) -> np.ndarray:
    n = (len(stream) - 1) // LENGTH
    return np.lib.stride_tricks.sliding_window_view(stream, LENGTH + 1)[: n * LENGTH : LENGTH].astype(np.int64)


def kinds_of(sequences: np.ndarray) -> np.ndarray:
    """The kind (n, LENGTH) of every byte that is asked for, by itself and those before it in its sequence."""
    before, byte = sequences[:, :-1], sequences[:, 1:]
    two_before = np.concatenate([np.zeros_like(before[:, :1]), before[:, :-1]], axis=1)
    chars = byte.astype(np.uint8)
    letter, earlier, earliest = (_is_letter(x) for x in (byte, before, two_before))
    blank = byte == ord(" ")
    indented = np.zeros_like(blank)
    for place in range(byte.shape[1]):
        opened = indented[:, place - 1] if place else False
        indented[:, place] = blank[:, place] & ((before[:, place] == ord("\n")) | opened)
    found = np.full(byte.shape, KINDS.index("other"))
    punctuation = (chars > 32) & (chars < 127) & ~letter & ~((chars >= 48) & (chars < 58))
    rules = {
        "punctuation": punctuation, "digit": (chars >= 48) & (chars < 58), "space": blank & ~indented,
        "indentation": indented, "line end": byte == ord("\n"), "end of docstring": byte == 0,
        "first letter of a word": letter & ~earlier, "second letter": letter & earlier & ~earliest,
        "later letters": letter & earlier & earliest,
    }  # fmt: skip
    for name, there in rules.items():
        found[there] = KINDS.index(name)
    return np.array(KINDS, dtype=object)[found]


def _is_letter(x: np.ndarray) -> np.ndarray:
    return ((x >= 65) & (x <= 90)) | ((x >= 97) & (x <= 122))
