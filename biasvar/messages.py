"""Wording that messages share: the first few of many values, the nearest spelling of a name, a command to type."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

FEW = 5  # values that an error shows; the others are counted


def first_few(values: Iterable[Any], limit: int = FEW, *, separator: str = ", ") -> str:
    """The first values, and how many more there are.

    >>> first_few(range(8)), first_few([3, 1])
    ('0, 1, 2, 3, 4 and 3 more', '3, 1')
    """
    values = list(values)
    shown = separator.join(str(value) for value in values[:limit])
    return shown + (f" and {len(values) - limit} more" if len(values) > limit else "")


_BREAKS = re.compile(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Control characters, those that turn the direction of writing, and halves of characters that no file can hold.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with breaks of lines as spaces, and characters that steer a terminal or a page written out.

    >>> print(visible("two" + chr(10) + "lines, " + chr(27) + "[31mred"))
    two lines, \\x1b[31mred
    """
    return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], _BREAKS.sub(" ", text))


def all_visible(value: Any) -> Any:
    """A value of plain lists and objects with every text in it, and every key, made `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {all_visible(key): all_visible(entry) for key, entry in value.items()}
    return [all_visible(entry) for entry in value] if isinstance(value, list) else value


def one_line(error: object) -> str:
    """What an error says, in one line of visible characters."""
    return visible(" ".join(str(error).split()))


_ALIKE = str.maketrans("oil", "011")  # letters that look like digits


def closest(name: Any, allowed: Iterable[Any]) -> str | None:
    """The allowed name nearest to `name`; None if none is near.

    The one that looks like it (capitals, O for 0, l for 1), else the first that begins with it, else the most similar.

    >>> closest("destillation", ["distillation", "wsl"]), closest("wsl", ["wsl_weight"]), closest("x", ["abc"])
    ('distillation', 'wsl_weight', None)
    >>> closest("resnet2O", ["resnet32", "resnet20"])
    'resnet20'
    """
    words = [word for word in allowed if isinstance(word, str)]
    alike = [word for word in words if _looks(word) == _looks(str(name))]
    begun = [word for word in words if str(name) and word.startswith(str(name))]
    near = alike or begun or difflib.get_close_matches(str(name), words, n=1)
    return near[0] if near else None


def _looks(name: str) -> str:
    return name.lower().translate(_ALIKE)


def did_you_mean(name: Any, allowed: Iterable[Any], *, after: str = ",") -> str:
    """The words ", did you mean ...?" to follow an unknown name; empty if no allowed name is near."""
    near = closest(name, allowed)
    return f"{after} did you mean {near!r}?" if near else ""


def in_words(value: Any) -> str:
    """A value of a study file as an error shows it.

    >>> in_words([1]), in_words(None), in_words("kd")
    ('a list', 'null', "'kd'")
    """
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"


def no_such(name: str, allowed: Iterable[str], what: str, *, limit: int | None = 12) -> str:
    """The message for an unknown name: the nearest spelling, and the first allowed names (all if limit is None).

    >>> no_such("tecaher", ["teacher", "other"], "key")
    "no key named 'tecaher', did you mean 'teacher'? there is: teacher, other"
    """
    allowed = list(allowed)
    shown = first_few(allowed, len(allowed) if limit is None else limit)
    return f"no {what} named {name!r}{did_you_mean(name, allowed) or ';'} there is: {shown or 'none'}"


def unlisted(name: str, allowed: Iterable[str], what: str, lists: str) -> str:
    """The message for an unknown name of many: the nearest spellings, and the command that lists all names.

    >>> unlisted("curve", ["curves", "costs"], "figure", "biasvar-report --help")
    "no figure named 'curve', did you mean 'curves'? `biasvar-report --help` lists all"
    """
    words = list(allowed)
    first = closest(name, words)
    near = list(dict.fromkeys([*([first] if first else []), *difflib.get_close_matches(name, words)]))
    meant = f", did you mean {' or '.join(map(repr, near))}?" if near else ";"
    return f"no {what} named {name!r}{meant} `{lists}` lists all"


def counted(things: Collection[Any], what: str) -> str:
    """How many things there are, in words.

    >>> counted([3, 1], "arm"), counted([3], "arm"), counted([], "arm")
    ('2 arms', '1 arm', 'no arms')
    """
    return f"{len(things) or 'no'} {what}{'' if len(things) == 1 else 's'}"


def note(text: str) -> None:
    """Say one line on standard error: what a user should know and need not act on."""
    if sys.stderr is not None:  # closed from the start; print would take stdout
        print(f"biasvar: note: {one_line(text)}", file=sys.stderr)


def command(name: str = "") -> str:
    """The command "run" or "report" in the form the user types: as the console scripts, else with python -m.

    >>> command("run"), command()
    ('python -m biasvar.run', 'python -m biasvar')
    """
    called = Path(sys.argv[0])
    if called.name == "biasvar" or called.parts[-2:] == ("biasvar", "__main__.py"):
        return f"{'biasvar' if called.name == 'biasvar' else 'python -m biasvar'} {name}".rstrip()
    joined = f"biasvar-{name}" if called.name.startswith("biasvar-") else f"python -m biasvar.{name}"
    return joined.rstrip("-.")
