"""Configurations as plain data, and as the text of the Python files that mmengine reads."""

import pprint
from collections.abc import Collection
from typing import Any

Settings = dict[str, Any]

HERE = "{{fileDirname}}"
"""What mmengine replaces by the folder of the configuration; without blanks, at which long texts are broken."""


def replaced(**settings: Any) -> Settings:
    """Settings that take the place of the base's instead of being merged into them."""
    return {"_delete_": True, **settings}


def render(settings: Settings, title: str, here: Collection[str] = ()) -> str:
    """The configuration as the text of a Python file that mmengine reads.

    mmengine fills in what stands in double braces, from its own words and from the environment, before it runs it. So
    braces of users' names and paths are written in a way that it does not see.

    Args:
        settings: All of it.
        title: A comment at its top.
        here: Values in which `HERE` is meant.
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
