"""What is wrong in a file, a line a kind: the rule, the first places with their values, how many, and the way out."""

import copy
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_PLACES = 3
"""Places that a line names; more of them help nobody."""
LETTERS_SHOWN = 60
"""Letters of a value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that the entries of a file must keep.

    Attributes:
        field: What of an entry, such as `.bbox`; empty for the entry itself.
        text: The rule, such as `must be a whole number`.
        way_out: What to do about an entry that breaks it; empty where the rule says it.
        most: Share of the entries up to which breaking it is worth a notice alone, since they are left out.
        left_out: What becomes of such entries, for the notice.
    """

    field: str
    text: str
    way_out: str = ""
    most: float = 0.0
    left_out: str = ""


@dataclass
class _Kind:
    count: int = 0
    places: list[tuple[str, str]] = field(default_factory=list)
    hint: str = ""


class Findings:
    """The faults of one file by the rule that they break, in the order in which they were found."""

    def __init__(self) -> None:
        self._kinds: dict[Rule, _Kind] = {}

    def copy(self) -> "Findings":
        """The same faults, to which others can be added."""
        other = Findings()
        other._kinds = copy.deepcopy(self._kinds)
        return other

    def add(self, rule: Rule, place: str, value: object = "", hint: str = "") -> None:
        """Notes one fault.

        Args:
            rule: The rule that is broken.
            place: The entry, such as `images[3]`.
            value: What stands there; text that is no value of the file is given as `Shown`.
            hint: What it looks like, and what to do about it; the first one is told.
        """
        kind = self._kinds.setdefault(rule, _Kind())
        kind.count += 1
        kind.hint = kind.hint or hint
        if len(kind.places) < MOST_PLACES:
            kind.places.append((place, value.text if isinstance(value, Shown) else short(value) if value != "" else ""))

    def add_many(self, rule: Rule, count: int, first: Iterable[tuple[str, object]], hint: str = "") -> None:
        """Notes many faults of which the first ones are described."""
        before = self._kinds[rule].count if rule in self._kinds else 0
        for place, value in first:
            self.add(rule, place, value, hint)
        self._kinds[rule].count = before + count

    def lines(self, totals: dict[str, int]) -> tuple[list[str], list[str]]:
        """Problems and notices, a line each.

        Args:
            totals: Entries of each list by its name, such as `images`.
        """
        problems: list[str] = []
        notices: list[str] = []
        for rule, kind in self._kinds.items():
            place = kind.places[0][0]
            total = totals.get(place.partition("[")[0], kind.count)
            tolerable = kind.count <= rule.most * total
            (notices if tolerable else problems).append(_line(rule, kind, total, tolerable))
        return problems, notices


@dataclass(frozen=True, slots=True)
class Shown:
    """Words in the place of a value."""

    text: str


def _line(rule: Rule, kind: _Kind, total: int, tolerable: bool) -> str:
    (place, value), *others = kind.places
    head = f"{place}{rule.field}: {rule.text}{f', got {value}' if value else ''}"
    also = [f"{where}{f' ({what})' if what else ''}" for where, what in others]
    count = [f"{kind.count:,} of {total:,} in all"] if kind.count > 1 else []
    parts = ["; ".join([head, *([f"also {', '.join(also)}"] if also else []), *count])]
    parts += [kind.hint] if kind.hint else []
    parts += [rule.left_out if tolerable else rule.way_out]
    return "; ".join(part for part in parts if part)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LETTERS_SHOWN


def short(value: object) -> str:
    """A value, or an error's text, however large it is."""
    text = str(value) if isinstance(value, BaseException) else _REPR.repr(value)
    return text if len(text) <= LETTERS_SHOWN else f"{text[: LETTERS_SHOWN - 3]}..."
