"""Texts as they may be shown."""

import re


def without_secrets(text: str) -> str:
    """A text as it may be shown: who is logged in by a URL stays, with what does not."""
    text = re.sub(r"(://[^/@\s:]*):[^/@\s]+@", r"\1:***@", text)
    return re.sub(r"(?i)([?&](?:password|passwd|token|secret|api_?key)=)[^&\s]+", r"\1***", text)
