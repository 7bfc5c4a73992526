"""The faults of a file, one line a kind: the rule, the first places with their values, the count, and the way out."""

import copy
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_PLACES = 3
"""Most places that a line names."""
LETTERS_SHOWN = 60
"""Most letters shown of a value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the entries of a file.

    Attributes:
        field: Field of an entry, such as `.bbox`; empty for the entry itself.
        text: The rule as text, such as `must be a whole number`.
        way_out: Way to fix an entry that breaks it; empty if the rule tells it.
        most: Largest share of faulty entries that are left out with a notice; more are a problem.
        left_out: Effect on such entries, for the notice.
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
    """The faults of one file by rule, in the order of their discovery."""

    def __init__(self) -> None:
        self._kinds: dict[Rule, _Kind] = {}

    def copy(self) -> "Findings":
        """A copy to which other faults can be added."""
        other = Findings()
        other._kinds = copy.deepcopy(self._kinds)
        return other

    def add(self, rule: Rule, place: str, value: object = "", hint: str = "") -> None:
        """Adds one fault.

        Args:
            rule: The rule that is broken.
            place: The entry, such as `images[3]`.
            value: The faulty value; a text that is no value of the file is a `Shown`.
            hint: Probable cause and way out; a line shows the first one.
        """
        kind = self._kinds.setdefault(rule, _Kind())
        kind.count += 1
        kind.hint = kind.hint or hint
        if len(kind.places) < MOST_PLACES:
            kind.places.append((place, value.text if isinstance(value, Shown) else short(value) if value != "" else ""))

    def add_many(self, rule: Rule, count: int, first: Iterable[tuple[str, object]], hint: str = "") -> None:
        """Adds many faults, of which the first are described."""
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
    """A text in the place of a value."""

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
    """A value or an error's text, shortened."""
    text = str(value) if isinstance(value, BaseException) else _REPR.repr(value)
    return text if len(text) <= LETTERS_SHOWN else f"{text[: LETTERS_SHOWN - 3]}..."
