"""Notices of use cases: each calls a function with a line of text, and prints nothing."""

from collections.abc import Callable

Notify = Callable[[str], None]
"""Receives one line of text."""


def ignore(text: str) -> None:
    """Ignores a line."""
