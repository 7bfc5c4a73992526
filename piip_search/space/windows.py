"""The notation of ViTs' attention in a search space."""

import re

from piip_search.errors import SpaceError

Window = tuple[int | None, int]
"""Side of a window in tokens, None for global attention; and the period of global blocks, 0 for none."""


def parse_window(text: int | str | Window | None) -> Window:
    """Parses a window in a search space: 14, `global`, or `14g3` (every third block global).

    Raises:
        SpaceError: The value has none of these forms.
    """
    if text is None or text == "global":
        return None, 0
    if isinstance(text, tuple):
        return text
    written = text if isinstance(text, str) else f"{min(text, 10**6)}"  # a number may have any length
    match = re.fullmatch(r"(\d{1,4})(?:g(\d{1,4}))?", written, re.ASCII)
    if match is None or int(match[1]) < 1 or match[2] in ("0", "1"):
        raise SpaceError(
            "a window must be a number of tokens, global, or like 14g3 (every third block global), "
            f"got {written[:40]!r}"
        )
    return int(match[1]), int(match[2] or 0)


def write_window(window: Window) -> int | str:
    """The notation of a window in a search space."""
    side, every = window
    return "global" if side is None else f"{side}g{every}" if every else side
