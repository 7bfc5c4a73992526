"""Configurations as plain data, and as the text of the Python files that mmengine reads."""

import pprint
from typing import Any

Settings = dict[str, Any]


def replaced(**settings: Any) -> Settings:
    """Settings that take the place of the base's instead of being merged into them."""
    return {"_delete_": True, **settings}


def render(settings: Settings, title: str) -> str:
    """The configuration as the text of a Python file that mmengine reads."""
    parts = [f"{key} = {pprint.pformat(value, width=100, sort_dicts=False)}" for key, value in settings.items()]
    return "\n\n".join([f"# {title}", *parts]) + "\n"
