"""Configurations as plain data, and as Python text for mmengine."""

import pprint
from collections.abc import Collection
from typing import Any

Settings = dict[str, Any]

HERE = "{{fileDirname}}"
"""Placeholder that mmengine replaces by the configuration's folder; without spaces, as long texts break there."""


def replaced(**settings: Any) -> Settings:
    """Settings that replace the base's instead of being merged into them."""
    return {"_delete_": True, **settings}


def render(settings: Settings, title: str, here: Collection[str] = ()) -> str:
    """The configuration as the text of a Python file for mmengine.

    mmengine replaces names in double braces, from its own variables and from the environment, before it runs the text.
    So braces in users' names and paths are written in a way that it does not see.

    Args:
        settings: Complete settings.
        title: Comment at the top.
        here: Values in which `HERE` is a placeholder.
    """
    parts = []
    for key, value in settings.items():
        text = _unseen(pprint.pformat(value, width=100, sort_dicts=False))
        for meant in map(repr, here):
            text = text.replace(_unseen(meant), meant)
        parts.append(f"{key} = {text}")
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _unseen(text: str) -> str:
    return text.replace("{{", "{\\x7b")
