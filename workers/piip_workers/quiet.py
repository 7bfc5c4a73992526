"""Keeps what libraries print out of the way of our own output."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """What is printed goes into a file, and warnings go nowhere."""
    with warnings.catch_warnings(), log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        warnings.simplefilter("ignore")
        yield
