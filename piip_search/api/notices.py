"""How a use case says what it does: it calls a function with a line of text, and prints nothing."""

from collections.abc import Callable

Notify = Callable[[str], None]
"""Takes one line of text."""


def ignore(text: str) -> None:
    """Does nothing with a line."""
