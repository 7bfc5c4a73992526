"""Messages about problems in a search space file: place, rule, value, and way out."""

import math
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

from piip_search.sections import closest, shortened


def explained(item: dict[str, Any], whole: type[BaseModel], sections: Mapping[str, type[BaseModel]]) -> str:
    """One line for a finding of pydantic in a section or the whole file.

    Args:
        item: The finding.
        whole: Model of the whole file.
        sections: Models of the sections that the file's task selects.
    """
    location = tuple(step for step in item["loc"] if " " not in str(step))  # a choice's name is no key
    place = _place(location)
    if item["type"] == "extra_forbidden":
        return f"{place}: unknown key{closest(str(location[-1]), _known_keys(whole, location[:-1], sections))}"
    if item["type"] == "missing":
        return f"{place}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if item["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message}, got {shortened(item['input'])}{_plainly(item['type'], item['input'])}"


_TRUTHS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""Words that YAML 1.1 read as true or false."""


def _plainly(kind: str, value: object) -> str:
    """The end of a message about a value of the right kind in the wrong notation."""
    text = value.strip() if isinstance(value, str) else value
    if kind == "bool_type" and isinstance(text, str):
        word = _TRUTHS.get(text.lower(), text.lower())
        return f"; write {word}, without quotes" if word in ("true", "false") else ""
    if kind in ("float_type", "int_type", "int_from_float"):
        try:
            number = float(text.replace("_", "")) if isinstance(text, str) else float(cast(float, text))
        except (TypeError, ValueError, OverflowError):
            return ""
        if not math.isfinite(number):
            return ""
        if kind == "float_type":
            return f"; write {number:g}, without quotes"
        return f"; write {int(number)}" if number.is_integer() and abs(number) < 1e15 else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it into quotes"
    return ""


def _known_keys(
    model: type[BaseModel], location: tuple[int | str, ...], sections: Mapping[str, type[BaseModel]]
) -> list[str]:
    if location and location[0] in sections:
        model, location = sections[str(location[0])], location[1:]
    for step in location:
        annotation = model.model_fields[str(step)].annotation if str(step) in model.model_fields else None
        inner = [kind for kind in (annotation, *getattr(annotation, "__args__", ())) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".") or "file"
