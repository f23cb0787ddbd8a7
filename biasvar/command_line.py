"""Arguments of the commands: what cannot be read is said in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from biasvar.messages import one_line


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on standard error, with status 2."""

    def error(self, message: str) -> NoReturn:
        said = one_line(message.removeprefix("argument "))
        self.exit(2, f"biasvar: error: {said}; `{self.prog} --help` lists the options\n")


def whole_number(text: str) -> int:
    """The number that a text says.

    >>> whole_number("8")
    8

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def number(text: str) -> float:
    """The number that a text says, as `whole_number`.

    >>> number("0.5")
    0.5
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
