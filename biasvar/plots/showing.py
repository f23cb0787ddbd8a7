"""The report's look on figures of pyplot, whose settings stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from biasvar.report import style


@contextmanager
def in_the_reports_look() -> Iterator[None]:
    """In the block figures are made with the report's settings, and shown when pyplot's are."""
    from matplotlib import pyplot

    pyplot.draw_if_interactive()  # loads the backend: that of notebooks changes settings, which must outlast the block
    with style.context():
        yield
