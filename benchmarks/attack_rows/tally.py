"""What a row of the table counts."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Attempts of a row.

    Attributes:
        tried: Attempts.
        held: Attempts that the product withstood.
        faults: What happened in the others.
        note: What to print where everything held.
    """

    tried: int = 0
    held: int = 0
    faults: list[str] = field(default_factory=list)
    note: str = ""

    def check(self, held: bool, fault: object) -> bool:
        """Counts an attempt; what happened in one that was not withstood is printed at once."""
        self.tried += 1
        self.held += bool(held)
        if not held:
            self.faults.append(" ".join(str(fault).split())[-300:])
            print(f"  {self.faults[-1]}", flush=True)
        return held

    @property
    def worst(self) -> str:
        """The cell of the table: the first faults, or the note."""
        more = len(self.faults) - 2
        return "; ".join(self.faults[:2]) + (f"; and {more} more" if more > 0 else "") or self.note
