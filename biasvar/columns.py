"""What the columns of a table are, decided by their names: one column a class, sample ids, labels, or none of these.

Every entry point that reads a table with one column a class asks here, so that an index or an id that came along with
the table is never taken for a class, and the order of columns never for the order of classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from biasvar.errors import RecordError
from biasvar.messages import first_few, no_such

Kind = Literal["whole", "real", "text", "list", "other"]
"""What a column holds; ``whole`` and ``real`` are the numbers."""

ONE_COLUMN = (
    "one number a sample is no distribution over classes; is it the output of a sigmoid? then give two columns: "
    "1 - p and p of its probabilities p, or 0 and z of its logits z"
)

SAMPLE_ID = "sample_id"
_IDS = re.compile(
    r"(.*_)?(id|ids|idx|index)|(sample|image|img|row|example|item|instance)_?(id|ids|idx|index|no|nr|number)?"
    r"|rownames|row_?names|unnamed:_\d+"
)
_LABELS = re.compile(
    r"(true_|fine_|gold_)?(label|labels|target|targets|class|y|category)(_true|_id|_idx|_index)?"
    r"|(ground_?)?truth|gt|true_class"
)
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)
_SHOWN = 12  # columns that a message lists


@dataclass(frozen=True)
class Index:
    """What pandas noted of a frame's index: the columns that hold it, or the (start, step) of a range."""

    names: tuple[str, ...] = ()
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Roles:
    """``classes``: one column a class in the order of the classes, or one list column; ``ids``, ``label`` if any."""

    classes: tuple[str, ...]
    ids: str | None
    label: str | None


def pandas_index(metadata: Mapping[bytes, bytes] | None) -> Index:
    """The index in the metadata that pandas writes into a table's schema (its key ``pandas``).

    >>> pandas_index({b"pandas": b'{"index_columns": ["__index_level_0__"]}'}).names
    ('__index_level_0__',)
    """
    try:
        noted = json.loads((metadata or {}).get(b"pandas", b"{}"))["index_columns"]
        names = tuple(entry for entry in noted if isinstance(entry, str))
        spans = [(int(entry["start"]), int(entry["step"])) for entry in noted if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError):  # written by another tool: the names of columns alone must do
        return Index()
    return Index(names, spans[0] if spans and spans[0] != (0, 1) else None)


def prediction_columns(
    kinds: Sequence[tuple[str, Kind]],
    where: str,
    *,
    index: Collection[str] = (),
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Roles:
    """Which columns are the classes, in which order, and which one holds sample ids.

    Class columns are one list column; or the columns that bear the names in ``class_names`` (with one prefix, if all
    have it), in that order; or columns of one prefix and suffix, numbered 0 to C - 1, by number; or the given
    ``columns``. Sample ids are ``sample_id``, else a column named like an id, else the index of a pandas frame. A
    column named like a label is not looked at.

    Raises RecordError, naming the columns, for anything else: whole numbers among fractions, columns that are neither,
    numbers that do not run from 0 to C - 1.

    >>> prediction_columns([("id", "whole"), ("p_1", "real"), ("p_0", "real")], "a.parquet")
    Roles(classes=('p_0', 'p_1'), ids='id', label=None)
    """
    table = _table(kinds, where)
    names = None if class_names is None else [str(name) for name in class_names]
    chosen = _given(table, where, columns) if columns is not None else _named(table, names)
    taken = set(chosen or ())
    levels = {name for name in table if name in index or re.fullmatch(r"__index_level_\d+__", name)}
    rest = [name for name in table if name not in taken and name not in levels]
    ids = [name for name in rest if _is(name, _IDS) and not _is(name, _LABELS)]
    labels = [name for name in rest if _is(name, _LABELS)]
    others = [name for name in rest if name not in ids and name not in labels]
    if chosen is None:
        chosen = _classes(table, others, where, names)
    elif columns is None and others:
        raise RecordError(f"{where}: {_unclear(others)} beside one column for each of class_names; {_cure(chosen)}")
    _check_numbers(table, chosen, where, explicit=columns is not None)
    return Roles(tuple(chosen), _one_id(table, ids, sorted(levels), where, lenient=columns is not None), _label(labels))


def label_columns(kinds: Sequence[tuple[str, Kind]], where: str, *, index: Collection[str] = ()) -> Roles:
    """Which column holds the labels, and which one sample ids; a one-hot table's columns are ``classes``.

    The labels are ``label``, else the one column named like a label, else the only column that is no id and no index.
    """
    table = _table(kinds, where)
    levels = {name for name in table if name in index or re.fullmatch(r"__index_level_\d+__", name)}
    rest = [name for name in table if name not in levels]
    likely = ["label"] if "label" in rest else [name for name in rest if _is(name, _LABELS)]
    ids = [name for name in rest if _is(name, _IDS) and name not in likely]
    others = likely or [name for name in rest if name not in ids]
    found = _one_id(table, ids, sorted(levels), where, lenient=bool(likely))
    if len(others) > 1 and (numbered := by_number(others)) is not None:
        return Roles(tuple(numbered), found, None)
    if len(others) != 1:
        raise RecordError(f"{where}: needs a column 'label'; it has {first_few(others, _SHOWN) or 'none'}")
    return Roles((), found, others[0])


def class_order(kinds: Sequence[tuple[str, Kind]], where: str) -> list[str]:
    """The columns of a frame that has to hold classes alone: by number if they are numbered, else as they stand.

    Raises RecordError, naming them, for columns named like an id, an index or a label, for whole numbers among
    fractions, and for columns that hold no numbers.

    >>> class_order([("p1", "real"), ("p0", "real")], "logits")
    ['p0', 'p1']
    >>> class_order([("cat", "real"), ("ant", "real")], "logits")
    ['cat', 'ant']
    """
    table = _table(kinds, where)
    numbered = by_number(list(table))
    if numbered is not None:
        return numbered
    real = any(kind == "real" for kind in table.values())
    odd = [
        name
        for name, kind in table.items()
        if kind not in ("whole", "real")
        or (kind == "whole" and (real or _is(name, _IDS) or _is(name, _LABELS)))
        or re.fullmatch(r"__index_level_\d+__", name)
    ]
    if odd:
        raise RecordError(
            f"{where}: {_unclear(odd)}; give a frame of the class columns alone, in the order of the classes"
        )
    return list(table)


def annotator_columns(
    kinds: Sequence[tuple[str, Kind]],
    where: str,
    *,
    index: Collection[str] = (),
    columns: Sequence[str] | None = None,
) -> Roles:
    """Which columns are annotators (``classes``), which one holds sample ids, and which one the true label.

    Annotators are the given ``columns``, else all that are named neither like an id nor like a label, in their order.

    Raises RecordError, naming the columns, where none are left or several could be the ids.

    >>> annotator_columns([("id", "whole"), ("ann", "real"), ("bob", "real"), ("label", "whole")], "a.csv")
    Roles(classes=('ann', 'bob'), ids='id', label='label')
    """
    table = _table(kinds, where)
    chosen = None if columns is None else _given(table, where, columns)
    levels = [name for name in table if name in index or re.fullmatch(r"__index_level_\d+__", name)]
    rest = [name for name in table if name not in levels and name not in (chosen or ())]
    labels = [name for name in rest if _is(name, _LABELS)]
    ids = [name for name in rest if _is(name, _IDS) and name not in labels]
    if chosen is None:
        chosen = [name for name in rest if name not in ids and name not in labels]
    if not chosen:
        raise RecordError(
            f"{where}: needs one column for each annotator; it has {first_few(table, _SHOWN) or 'none'}; "
            "columns=['NAME', ...] names them"
        )
    return Roles(tuple(chosen), _one_id(table, ids, levels, where, lenient=columns is not None), _label(labels))


def by_number(names: Sequence[str]) -> list[str] | None:
    """The names in the order of their numbers, if they share a prefix and a suffix and run from 0 to C - 1; else None.

    >>> by_number(["p_0", "p_1", "p_10", "p_2"]), by_number(["p_1", "p_0"])
    (None, ['p_0', 'p_1'])
    """
    numbers = _numbers(names)
    if numbers is None or sorted(numbers) != list(range(len(names))):
        return None
    return [name for _, name in sorted(zip(numbers, names, strict=True))]


def _numbers(names: Sequence[str]) -> list[int] | None:
    """The number in each name, if all names share what is around it."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    around = {(match[1], match[3]) for match in matches if match}
    if len(around) != 1 or None in matches:
        return None
    return [int(match[2]) for match in matches if match]


def _table(kinds: Sequence[tuple[str, Kind]], where: str) -> dict[str, Kind]:
    table = dict(kinds)
    if len(table) < len(kinds):
        names = [name for name, _ in kinds]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise RecordError(f"{where}: more than one column is named {first_few(map(repr, twice))}")
    return table


def named_like_an_id(name: str) -> bool:
    """True of a column whose name says that it holds sample ids.

    >>> named_like_an_id("image_id"), named_like_an_id("person")
    (True, False)
    """
    return _is(name, _IDS) and not _is(name, _LABELS)


def _is(name: str, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(re.sub(r"[\s-]+", "_", name.strip().lower())) is not None


def _label(names: Sequence[str]) -> str | None:
    return "label" if "label" in names else names[0] if len(names) == 1 else None


def _given(table: Mapping[str, Kind], where: str, columns: Sequence[str]) -> list[str]:
    names = [str(name) for name in ([columns] if isinstance(columns, str) else columns)]
    for name in names:
        if name not in table:
            raise RecordError(f"{where}: {no_such(name, table, 'column')}")
    if len(set(names)) < len(names) or not names:
        raise RecordError(f"{where}: columns must name every class column once, in the order of the classes")
    return names


def listed_names(names: Any, argument: str) -> list[str] | None:
    """The argument ``class_names`` or ``columns`` as text, None if it is None; RecordError for what lists no names.

    >>> listed_names(("cat", 3), "class_names")
    ['cat', '3']
    """
    if names is None:
        return None
    if isinstance(names, bytes | Mapping) or not isinstance(names, Iterable):
        raise RecordError(f"{argument} must list names in the order of the classes, not {type(names).__name__}")
    return [str(name) for name in names]


def _named(table: Mapping[str, Kind], class_names: Sequence[str] | None) -> list[str] | None:
    """The columns that bear the class names, all after one prefix, in the order of the classes."""
    if not class_names or len(set(class_names)) < len(class_names):
        return None
    for prefix in _prefixes(table, class_names[0]):
        names = [prefix + name for name in class_names]
        if all(name in table for name in names):
            return names
    return None


def _prefixes(table: Mapping[str, Kind], name: str) -> Iterator[str]:
    yield ""
    yield from (column[: -len(name)] for column in table if name and column.endswith(name) and column != name)


def _classes(
    table: Mapping[str, Kind], others: Sequence[str], where: str, class_names: Sequence[str] | None
) -> list[str]:
    lists = [name for name in others if table[name] == "list"]
    if len(lists) == 1 and len(others) == 1:
        return lists
    if lists or not others:
        raise RecordError(
            f"{where} must hold one list column, or one column of numbers a class, beside {SAMPLE_ID}; it has "
            f"{first_few(table, _SHOWN) or 'none'}; columns=['NAME'] chooses a list column"
        )
    if len(others) == 1:
        raise RecordError(f"{where}: column {others[0]!r} alone: {ONE_COLUMN}")
    numbered = by_number(others)
    if numbered is not None:
        return numbered
    raise RecordError(_why_not(table, others, where, class_names))


def _why_not(table: Mapping[str, Kind], others: Sequence[str], where: str, class_names: Sequence[str] | None) -> str:
    whole = [name for name in others if table[name] == "whole"]
    text = [name for name in others if table[name] not in ("whole", "real")]
    real = [name for name in others if table[name] == "real"]
    if len(text) == len(others):
        return f"{where}: predictions must be numbers; column {first_few(map(repr, others), _SHOWN)} holds none"
    if text:
        return f"{where}: {_unclear(text)} (predictions must be numbers); {_cure([n for n in others if n not in text])}"
    if whole and real:
        return f"{where}: {_unclear(whole)} among columns of fractions: drop it, or {_cure(real)}"
    numbers = _numbers(others)
    if numbers is not None:
        ordered = [name for _, name in sorted(zip(numbers, others, strict=True))]
        lacks = sorted(set(range(max(numbers) + 1)) - set(numbers))
        said = f"lack number {first_few(lacks)}" if lacks else "have a number twice"
        return f"{where}: the class columns {said}; classes are numbered from 0: {_cure(ordered)}"
    if class_names is not None:
        odd = [name for name in others if name not in class_names]
        if odd and len(odd) < len(others):
            return f"{where}: columns {first_few(map(repr, odd))} are none of class_names; {_cure(others)}"
    return (
        f"{where}: the names of its columns do not say which class is which: {first_few(map(repr, others), _SHOWN)}; "
        f"allowed: one prefix and the numbers 0 to {len(others) - 1}, or the names in class_names=; or {_cure(others)}"
    )


def _unclear(names: Sequence[str]) -> str:
    one = len(names) == 1
    return f"column{'' if one else 's'} {first_few(map(repr, names))} {'is' if one else 'are'} no class by name"


def _cure(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"pass columns=[{shown}], the class columns in the order of the classes"


def _check_numbers(table: Mapping[str, Kind], chosen: Sequence[str], where: str, *, explicit: bool) -> None:
    if len(chosen) == 1:
        if table[chosen[0]] != "list":
            raise RecordError(f"{where}: column {chosen[0]!r} alone: {ONE_COLUMN}")
        return
    odd = [name for name in chosen if table[name] not in ("whole", "real")]
    if odd:
        raise RecordError(f"{where}: predictions must be numbers; column {first_few(map(repr, odd))} holds none")
    whole = [name for name in chosen if table[name] == "whole"]
    if whole and len(whole) < len(chosen) and not explicit:
        raise RecordError(
            f"{where}: column {first_few(map(repr, whole))} of whole numbers among columns of fractions is hardly a "
            f"class: drop it, or {_cure(chosen)}"
        )


def _one_id(
    table: Mapping[str, Kind], ids: Sequence[str], levels: Sequence[str], where: str, *, lenient: bool
) -> str | None:
    """The column of sample ids; with ``lenient`` (all else is settled) one that holds no whole numbers is none."""
    if SAMPLE_ID in ids:
        return SAMPLE_ID
    for names, what in ((ids, "named like an id"), (levels, "of a pandas index")):
        whole = [name for name in names if table[name] == "whole"]
        odd = [name for name in names if table[name] != "whole"]
        if odd and not whole and not lenient:
            raise RecordError(
                f"{where}: column {odd[0]!r}, {what}, holds no whole numbers: drop it (a frame's index by "
                f"reset_index(drop=True)) for rows in the order of the labels, or give a column {SAMPLE_ID}"
            )
        if len(whole) > 1:
            raise RecordError(
                f"{where}: columns {first_few(map(repr, whole))} are all {what}; rename the one that is the sample id "
                f"to {SAMPLE_ID}, or drop the others"
            )
        if whole:
            return whole[0]
    return None
