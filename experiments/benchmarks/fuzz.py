"""Odd arguments for every public function: each call must give a result, or say what is wrong with which argument.

A case takes sound arguments of one function and puts an odd value in the place of one or two: another dtype, shape or
container, NaN and infinity, a masked or an object array, tensors in bfloat16, with a graph or without data, strings,
None, booleans, nested and empty things. Anything but these is a fault:

    result     of any kind; but where the odd value is the same numbers in another container or dtype, the same result
    refusal    ValueError, TypeError or an error of `biasvar.errors`, whose message names an argument of the function

A warning counts as an exception. Faults are grouped by function and exception.

    python experiments/benchmarks/fuzz.py --cases 10000 --seed 1
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
import torch
from fuzz_targets import Target, targets

from biasvar.errors import BiasvarError

LONGEST = 10  # seconds that a call may take


@dataclass(frozen=True)
class Odd:
    """An odd value: how it is called in the output, and whether it holds the very numbers it stands in for."""

    name: str
    value: Any
    same: bool = False


class _Opaque:
    def __repr__(self) -> str:
        return "an object"


def scalars() -> list[Odd]:
    """Values for any argument."""
    return [
        Odd("None", None), Odd("True", True), Odd("a word", "nonsense"), Odd("empty text", ""), Odd("text 1", "1"),
        Odd("bytes", b"x"), Odd("0", 0), Odd("1", 1), Odd("-1", -1), Odd("3", 3), Odd("0.5", 0.5), Odd("2.5", 2.5),
        Odd("-0.5", -0.5), Odd("nan", float("nan")), Odd("inf", float("inf")), Odd("-inf", -float("inf")),
        Odd("2**70", 2**70), Odd("1e300", 1e300), Odd("1e-300", 1e-300), Odd("complex", 1 + 1j), Odd("[]", []),
        Odd("()", ()), Odd("{}", {}), Odd("{1: 2}", {1: 2}), Odd("a set", {1, 2}), Odd("[1]", [1]), Odd("[[]]", [[]]),
        Odd("[None]", [None]), Odd("['a']", ["a"]), Odd("[[1, 2], [3]]", [[1, 2], [3]]), Odd("a function", len),
        Odd("an object", _Opaque()), Odd("a class", int), Odd("a date", datetime.date(2026, 1, 1)),
        Odd("Decimal", decimal.Decimal("0.5")), Odd("np 0-d", np.array(1)), Odd("np.float32", np.float32(0.5)),
        Odd("np.int8", np.int8(1)), Odd("np.bool", np.bool_(True)), Odd("np.nan", np.float64("nan")),
        Odd("torch 0-d", torch.tensor(0.5)), Odd("torch int", torch.tensor(1)), Odd("np empty", np.zeros(0)),
        Odd("np (0, 3)", np.zeros((0, 3))), Odd("np (1, 1, 1, 1)", np.zeros((1, 1, 1, 1))),
        Odd("a generator", iter([1])),
        Odd("a path", Path("no/such/file")), Odd("NaT", pd.NaT), Odd("pd.NA", pd.NA),
        Odd("a Series", pd.Series([1, 2])),
    ]  # fmt: skip


def arrays(good: np.ndarray, rng: np.random.Generator) -> list[Odd]:
    """The same numbers in other clothes, and numbers that are not right."""
    real = good.astype(float)
    whole = good.astype(int) if good.dtype.kind == "b" else good
    tensor = torch.as_tensor(np.array(good))
    out = [
        Odd("list", good.tolist(), True), Odd("tuple", tuple(good.tolist()), True),
        Odd("list of arrays", list(good), True), Odd("tensor", tensor, True),
        Odd("list of tensors", list(tensor), True), Odd("object", good.astype(object), False),
        Odd("not contiguous", np.repeat(good, 2, axis=0)[::2], True),
        Odd("reversed view", good[::-1].copy()[::-1], True),
        Odd("Fortran order", np.asfortranarray(good), True),
        Odd("big-endian", good.astype(good.dtype.newbyteorder(">")), True),
        Odd("masked", np.ma.masked_array(good, mask=rng.random(good.shape) < 0.3)),
        Odd("one masked", np.ma.masked_array(good, mask=np.arange(good.size).reshape(good.shape) == 1)),
        Odd("float128", good.astype(np.longdouble)), Odd("complex", good.astype(complex)),
        Odd("bool", good.astype(bool)), Odd("text", good.astype(str)), Odd("bytes", good.astype("S8")),
        Odd("dates", good.astype(int).astype("datetime64[s]")),
        Odd("a record dtype", np.zeros(good.shape, dtype=[("a", float), ("b", int)])),
        Odd("objects None", np.full(good.shape, None)), Odd("one None", _put(good.astype(object), None)),
        Odd("one word", _put(good.astype(object), "x")),
        Odd("a row less", good[:-1]), Odd("one row", good[:1]), Odd("no rows", good[:0]),
        Odd("0-d", good.reshape(-1)[0]),
        Odd("an axis more", good[None]), Odd("an axis more, last", good[..., None]),
        Odd("twice", np.stack([good, good])),
        Odd("flat", good.reshape(-1)), Odd("transposed", good.T), Odd("ragged", [[1.0, 2.0], [3.0], *good.tolist()]),
        Odd("nested", [[good.tolist()]]), Odd("one deeper ragged", [good.tolist(), good.tolist()[:-1]]),
        Odd("meta", tensor.to("meta")), Odd("a tensor's row less", tensor[:-1]), Odd("tensor column", tensor[..., :1]),
        Odd("tensor bool", tensor.bool()), Odd("tensor complex", tensor.to(torch.complex64)),
        Odd("tensor int8", tensor.to(torch.int8)), Odd("tensor uint8", tensor.to(torch.uint8)),
        Odd("tensor int16", tensor.to(torch.int16)), Odd("tensor float16", tensor.half()),
        Odd("negative", -np.abs(whole) - 1), Odd("huge", np.full(good.shape, 10**6)), Odd("-100", _put(good, -100)),
        Odd("255", _put(good, 255)), Odd("range", range(len(good))),
        Odd("dict of rows", dict(enumerate(good.tolist()))),
        Odd("map", map(float, range(3))), Odd("an index", pd.Index(range(len(good)))),
        Odd("categories", pd.Series(list(good.reshape(len(good), -1)[:, 0])).astype("category")),
    ]  # fmt: skip
    if good.dtype.kind == "f":
        out += [
            *(Odd(f"{value} once", _put(real, value)) for value in (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320)),
            *(Odd(f"all {value}", np.full(good.shape, value)) for value in (np.nan, np.inf, -np.inf, 0.0, 1e308)),
            Odd("a row of nan", np.concatenate([np.full_like(real[:1], np.nan), real[1:]])),
            Odd("float16", good.astype(np.float16)), Odd("float32", good.astype(np.float32)),
            Odd("ints", np.round(good * 10).astype(int)), Odd("grad", tensor.clone().requires_grad_()),
            Odd("a graph", tensor.clone().requires_grad_() * 1), Odd("bfloat16", tensor.to(torch.bfloat16)),
            Odd("list of bfloat16", list(tensor.to(torch.bfloat16))), Odd("sparse", tensor.to_sparse()),
            Odd("list with grad", [row.clone().requires_grad_() for row in tensor]),
            Odd("Parameter", torch.nn.Parameter(tensor.clone())), Odd("tensor nan", torch.full_like(tensor, torch.nan)),
        ]  # fmt: skip
    else:
        out += [
            *(Odd(f"{kind}", good.astype(kind), good.dtype.kind != "b" and kind[0] != "f") for kind in
              ("int8", "uint8", "int16", "int32", "uint32", "uint64", "float64", "float32")),
            Odd("from one", whole + 1), Odd("halves", good + 0.5), Odd("nan among", _put(real, np.nan)),
            Odd("all one", np.ones_like(good)),
            Odd("tensor int64 2-d", tensor[:, None] if tensor.ndim == 1 else tensor),
            Odd("Int64", pd.Series(list(good.reshape(-1)), dtype="object").convert_dtypes()),
            Odd("Int64 with NA", pd.array([None, *range(len(good) - 1)], dtype="Int64")),
        ]  # fmt: skip
    if good.ndim == 1:
        out += [
            Odd("Series", pd.Series(good), True),
            Odd("Series, other index", pd.Series(good, index=range(99, 99 + len(good))), True),
        ]
    if good.ndim == 2:
        out.append(Odd("DataFrame", pd.DataFrame(good), True))
    return out


def _put(values: np.ndarray, value: Any) -> np.ndarray:
    """A copy with `value` in its second row."""
    out = values.astype(np.result_type(values.dtype, type(value))) if values.dtype != object else values.copy()
    out.reshape(-1)[out.size // len(out) if len(out) > 1 else 0] = value
    return out


def as_tensors(odd: Odd, good: torch.Tensor) -> Odd:
    """An odd array for a function of tensors: a tensor where there is one, in the sound one's dtype if equal."""
    if not isinstance(odd.value, np.ndarray) or isinstance(odd.value, np.ma.MaskedArray):
        return Odd(odd.name, odd.value)
    try:
        tensor = torch.as_tensor(np.array(odd.value))
    except (TypeError, ValueError):
        return Odd(odd.name, odd.value)
    return Odd(odd.name, tensor.to(good.dtype) if odd.same else tensor, odd.same)


def odd_values(good: Any, rng: np.random.Generator) -> list[Odd]:
    """Everything that may stand in for a sound argument."""
    if isinstance(good, torch.Tensor):
        return [*(as_tensors(odd, good) for odd in arrays(good.numpy(), rng)), *scalars()]
    if isinstance(good, np.ndarray):
        return [*arrays(good, rng), *scalars()]
    if isinstance(good, list) and good and isinstance(good[0], np.ndarray):
        inner = random.Random(int(rng.integers(2**31)))
        place = inner.randrange(len(good))
        one = [Odd(f"one: {odd.name}", [*good[:place], odd.value, *good[place + 1 :]], odd.same)
               for odd in odd_values(good[place], rng)]  # fmt: skip
        return [*arrays(np.stack(good), rng), *one, *scalars()]
    if isinstance(good, list):
        return [Odd("twice", good * 2), Odd("reversed", good[::-1]), Odd("array", np.array(good), True),
                Odd("tuple", tuple(good), True), Odd("with None", [*good, None]), Odd("nested", [good]),
                Odd("with text", [*good, "x"]),
                Odd("masked", np.ma.masked_array(good, mask=True)), *scalars()]  # fmt: skip
    return scalars()


@dataclass
class Faults:
    """What went wrong, by function and exception with the line of the package that let it pass; an example of each."""

    count: Counter[tuple[str, str]] = field(default_factory=Counter)
    example: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, target: str, kind: str, example: str) -> None:
        self.count[target, kind] += 1
        self.example.setdefault((target, kind), example)

    def lines(self) -> Iterator[str]:
        totals: Counter[str] = Counter()
        for (target, _), count in self.count.items():
            totals[target] += count
        for target, total in totals.most_common():
            yield f"{target}: {total}"
            for key, count in self.count.most_common():
                if key[0] == target:
                    yield f"    {count:4}  {key[1]}; {self.example[key]}"


class _TooLong(BaseException):
    pass


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(target: Target, given: dict[str, Any]) -> tuple[str, Any]:
    """("result", it), ("refused", the message) or ("fault", what it was: "kind; message")."""
    try:
        with warnings.catch_warnings(), _within(LONGEST):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "there is one replica")  # a word that is due
            return "result", target.call(**given)
    except _TooLong:
        return "fault", f"longer than {LONGEST} s"
    except (ValueError, TypeError, BiasvarError, FileNotFoundError, NotADirectoryError) as error:
        if names_argument(str(error), target, given) or isinstance(error, FileNotFoundError):
            return "refused", str(error)
        return "fault", f"{type(error).__name__} that names no argument [{_place(error)}]; {_short(error)}"
    except Exception as error:
        return "fault", f"{type(error).__name__} [{_place(error)}]; {_short(error)}"


def names_argument(message: str, target: Target, given: dict[str, Any]) -> bool:
    """True if a message names one of the function's arguments, or the file that was given."""
    words = set(re.findall(r"\w+", message))
    paths = {str(value) for value in given.values() if isinstance(value, Path | str) and value}
    names = {*target.good, *(name.removesuffix("s") for name in target.good), *target.also}
    return bool(words & names) or any(path in message for path in paths) or "files[" in message


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:110]


def _place(error: BaseException) -> str:
    """The last line of the package that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}biasvar{os.sep}" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "no frame of biasvar"


def numbers(result: Any) -> Iterator[np.ndarray]:
    """All numbers of a result, whatever it is made of."""
    if isinstance(result, pd.DataFrame):
        for name in result.columns:
            yield from numbers(result[name])
    elif isinstance(result, pd.Series):
        if result.dtype.kind in "fiub":
            yield result.to_numpy(dtype=float)
    elif isinstance(result, torch.Tensor):
        if not result.is_meta:
            yield result.detach().double().numpy().reshape(-1)
    elif isinstance(result, np.ndarray):
        if result.dtype.kind in "fiub":
            yield result.astype(float).reshape(-1)
    elif is_dataclass(result) and not isinstance(result, type):
        for entry in fields(result):
            yield from numbers(getattr(result, entry.name))
    elif isinstance(result, list | tuple):
        for item in result:
            yield from numbers(item)
    elif isinstance(result, dict):
        for item in result.values():
            yield from numbers(item)
    elif isinstance(result, int | float | np.number):
        yield np.array([float(result)])


def same_numbers(one: Any, other: Any) -> bool:
    ours, theirs = list(numbers(one)), list(numbers(other))
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def fuzz(cases: int, seed: int, only: str = "", say: Callable[[str], None] = print) -> tuple[Faults, Counter[str]]:
    """Run the cases, spread evenly over the functions; what went wrong, and how many of each outcome there were."""
    faults, counts = Faults(), Counter[str]()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chosen = [target for target in targets(Path(folder)) if only in target.name]
        wanted = {}
        for target in chosen:
            kind, wanted[target.name] = outcome(target, dict(target.good))
            if kind != "result":
                raise RuntimeError(f"{target.name} with its sound arguments: {wanted[target.name]}")
        for case in range(cases):
            target = chosen[case % len(chosen)]
            rng = np.random.default_rng([seed, case])
            given, changed = dict(target.good), []
            several = 2 if len(target.good) > 1 and rng.random() < 0.2 else 1
            for name in rng.choice(list(target.good), size=several, replace=False).tolist():
                odds = odd_values(target.good[name], rng)
                odd = odds[int(rng.integers(len(odds)))]
                given[name] = odd.value
                changed.append((name, odd))
            kind, said = outcome(target, given)
            if kind == "result" and all(odd.same for _, odd in changed) and not same_numbers(said, wanted[target.name]):
                kind, said = "fault", "another result for the same numbers"
            if kind == "result" and any(isinstance(odd.value, np.ma.MaskedArray) for _, odd in changed):
                kind, said = "fault", "the mask of a masked array is ignored"
            counts[kind] += 1
            if kind == "fault":
                what = ", ".join(f"{name}={odd.name}" for name, odd in changed)
                kind, _, message = str(said).partition("; ")
                faults.add(target.name, kind, f"case {case}, {what}: {message}")
    return faults, counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Call every public function with odd arguments.")
    parser.add_argument("--cases", type=int, default=2000, metavar="N", help="calls in all (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--only", default="", metavar="TEXT", help="only functions whose name holds this text")
    options = parser.parse_args()
    began = time.monotonic()
    faults, counts = fuzz(options.cases, options.seed, options.only)
    print(*faults.lines(), sep="\n")
    print(
        f"{sum(counts.values())} cases: {counts['result']} results, {counts['refused']} refusals that name the "
        f"argument, {counts['fault']} faults of {len(faults.count)} kinds ({time.monotonic() - began:.0f} s)"
    )
    return 1 if counts["fault"] else 0


if __name__ == "__main__":
    sys.exit(main())
