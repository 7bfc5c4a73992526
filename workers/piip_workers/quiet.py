"""Keeps the output of libraries apart from our own."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Redirects printed output into a file, and drops warnings and log records below errors."""
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
