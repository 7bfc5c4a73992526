"""Interactions between neighbouring branches."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from piip_search.errors import DesignError

Attention = Literal["deformable", "regular"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
Direction = Literal["both", "to_large", "to_small", "alternating"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
SWITCH_WORDS = {"yes": True, "no": False}
"""Words of the short form for settings that are on or off."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """Cross-attention between neighbouring branches (PIIP, section 3.3).

    Attributes:
        count: Number of interactions along the depth; 0 for none.
        heads: Attention heads of a unit; they divide half of every branch's width.
        points: Sampled points per head and query, for deformable attention.
        attention: `deformable`: each query samples a few points; `regular`: it attends to every token.
        direction: The reading model: both; only the larger; only the smaller; or the two by turns, the larger first.
        projection: Whether a linear layer first brings the read tokens to the reader's width.
        norm: Whether the tokens of both sides and the FFN's input are normed.
    """

    count: int = 0
    heads: int = 16
    points: int = 4
    attention: Attention = "deformable"
    direction: Direction = "both"
    projection: bool = True
    norm: bool = True

    def __post_init__(self) -> None:
        if self.count < 0 or self.heads < 1 or self.points < 1:
            raise DesignError(f"interactions need count >= 0, heads >= 1 and points >= 1, got {self}")
        if self.attention not in ATTENTIONS or self.direction not in DIRECTIONS:
            raise DesignError(
                f"attention is one of {', '.join(ATTENTIONS)} and direction one of {', '.join(DIRECTIONS)}, got {self}"
            )
        if self.attention == "regular" and self.points != 4:
            raise DesignError(f"regular attention samples no points, got {self}; leave points out")
        if self.count == 0 and str(self) != "*0":
            raise DesignError(f"without interactions there is nothing to set, got {self}; leave the settings out")

    def reads(self, step: int) -> tuple[bool, bool]:
        """Whether the larger and the smaller model read in an interaction, counted from 0."""
        turns = {"both": (True, True), "to_large": (True, False), "to_small": (False, True)}
        return (step % 2 == 0, step % 2 == 1) if self.direction == "alternating" else turns[self.direction]

    def __str__(self) -> str:
        changed = [(f.name, getattr(self, f.name)) for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        words = {value: word for word, value in SWITCH_WORDS.items()}
        parts = [f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in changed]
        return f"*{self.count}" + (f"({','.join(parts)})" if parts else "")


NO_INTERACTION = Interaction()
