"""Reads and writes the short form of an architecture; `piip_search.architecture` shows its parts."""

import re
from dataclasses import fields
from typing import Any, cast

from piip_search.architecture.backbones import ConvNeXt, Transformer, backbone_named
from piip_search.architecture.branch import Branch
from piip_search.architecture.interaction import SWITCH_WORDS, Interaction
from piip_search.architecture.segments import Merge
from piip_search.errors import DesignError

_BRANCH = re.compile(
    r"(?P<backbone>\w+(?:\.\w+)?)@(?P<resolution>\d{1,9})"
    r"(?P<attention>:(?:g|w(?P<window>\d{1,9})(?:g(?P<global_every>\d{1,9}))?)(?:p(?P<patch>\d{1,9}))?)?"
)
_TAIL = re.compile(r"(?:\*(?P<count>\d{1,9})(?:\((?P<settings>[^()]*)\))?)?(?:/(?P<merge>\w+))?")
_EXAMPLE = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


def parts_of(text: str) -> tuple[tuple[Branch, ...], Interaction, Merge]:
    """Branches, interaction and merge of a short form, without a check that they make a network.

    Raises:
        DesignError: The text is not a short form.
    """
    body, mark, tail = text.strip().partition("*")
    if not mark:
        body, mark, tail = text.strip().partition("/")
    parts = [_BRANCH.fullmatch(part.strip()) for part in body.split("+")]
    end = _TAIL.fullmatch(mark + tail)
    if end is None or None in parts:
        raise DesignError(f"not an architecture: {text[:200]!r}; write it like {_EXAMPLE}")
    branches = tuple(_branch(part) for part in parts if part is not None)
    interaction = Interaction(int(end["count"] or 0), **_settings(end["settings"] or "", text))
    return branches, interaction, cast(Merge, end["merge"] or usual_merge(branches))


def written(branches: tuple[Branch, ...], interaction: Interaction, merge: Merge) -> str:
    """The short form of these parts."""
    shown = str(interaction) if len(branches) > 1 else ""
    return "+".join(map(str, branches)) + shown + ("" if merge == usual_merge(branches) else f"/{merge}")


def usual_merge(branches: tuple[Branch, ...]) -> Merge:
    """The merge that a short form leaves out: `pyramid` if a ConvNeXt takes part, else `conv`."""
    return "pyramid" if any(isinstance(branch.model, ConvNeXt) for branch in branches) else "conv"


def _branch(part: re.Match[str]) -> Branch:
    name = part["backbone"]
    if part["attention"] is None and isinstance(backbone_named(name), Transformer):
        raise DesignError(
            f"{part[0]!r} has no attention setting; write {part[0]}:g for global attention, or {part[0]}:w14 for "
            f"windows; write it like {_EXAMPLE}"
        )
    if part["attention"] is not None and isinstance(backbone_named(name), ConvNeXt):
        raise DesignError(f"{name} has no attention; write {name}@{part['resolution']}")
    window, every, patch = (_number(part[key]) for key in ("window", "global_every", "patch"))
    return Branch(name, int(part["resolution"]), window, every or 0, patch)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _settings(text: str, whole: str) -> dict[str, Any]:
    known = {field.name: field.default for field in fields(Interaction)[1:]}
    settings: dict[str, Any] = {}
    for key, _, value in (pair.partition("=") for pair in text.split(",") if pair):
        default = known.get(key)
        if isinstance(default, bool) and value in SWITCH_WORDS:
            settings[key] = SWITCH_WORDS[value]
        elif isinstance(default, str) or (type(default) is int and value.isdecimal() and len(value) < 10):
            settings[key] = value if isinstance(default, str) else int(value)
        else:
            raise DesignError(
                f"not an interaction setting: {key}={value} in {whole!r}; known: {', '.join(sorted(known))}, "
                "of which projection and norm are yes or no"
            )
    return settings
