"""Keeps what libraries print out of the way of our own output."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """What is printed goes into a file; warnings and what is logged short of an error go nowhere."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        log.open("a", encoding="utf-8") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
