"""Attention of ViTs as a search space writes it."""

import re

from piip_search.errors import SpaceError

Window = tuple[int | None, int]
"""Side of a window in tokens, None for global attention; and every how many blocks one is global, 0 for none."""


def parse_window(text: int | str | Window | None) -> Window:
    """A window as written in a search space: 14, `global`, or `14g3` (every third block global).

    Raises:
        SpaceError: It is none of these.
    """
    if text is None or text == "global":
        return None, 0
    if isinstance(text, tuple):
        return text
    written = text if isinstance(text, str) else f"{min(text, 10**6)}"  # of a number of any length
    match = re.fullmatch(r"(\d{1,4})(?:g(\d{1,4}))?", written, re.ASCII)
    if match is None or int(match[1]) < 1 or match[2] in ("0", "1"):
        raise SpaceError(
            f"a window is a number of tokens, global, or like 14g3 (every third block global), got {written[:40]!r}"
        )
    return int(match[1]), int(match[2] or 0)


def write_window(window: Window) -> int | str:
    """A window as written in a search space."""
    side, every = window
    return "global" if side is None else f"{side}g{every}" if every else side
