"""Claims: the right of one process to do some work on a search, as a row that everybody can see.

A claim has a heartbeat. It ends when its process ends it, when its process is seen to be dead on this machine, or when
it has not beaten for `CLAIM_LIFE` seconds. A user may also take it over: the earlier process stops at its next write.
A row needs the right to write, so that nobody who may only read can hold one.
"""

import os
import secrets
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from piip_search.errors import ClaimedError, LedgerError
from piip_search.ledger.tables import ClaimRow, utc
from piip_search.ledger.urls import IN_MEMORY
from piip_search.owner import Owner

DRIVE = "drive"
"""The work of driving a search: to propose candidates, and to record their evaluations."""
HEARTBEAT = 10.0
"""Seconds between two heartbeats."""
CLAIM_LIFE = 60.0
"""Seconds after the last heartbeat for which a claim on another machine counts."""
FREE = ""
"""Token of a claim that nobody holds."""
UNDECODABLE_ROW = (ValueError, TypeError, OverflowError)
"""Errors of a row whose columns hold other things than their types, as after an edit by hand."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim as the ledger shows it.

    Attributes:
        work: Claimed work, such as `drive`.
        owner: Owner of the process.
        process: Id of the process.
        taken_at: Time of the claim in UTC.
        age: Seconds since the last heartbeat.
        alive: Whether it counts: its process lives on this machine, or its heartbeat is fresh.
    """

    work: str
    owner: Owner
    process: int
    taken_at: datetime
    age: float
    alive: bool

    def __str__(self) -> str:
        return f"{self.owner}, process {self.process}, last sign of life {self.age:.0f} s ago"


class Claim:
    """A claim of this process, with its heartbeat.

    Attributes:
        earlier: The claim that was taken over; None if it was free.
    """

    def __init__(self, engine: Engine, search_id: int, work: str, owner: Owner, take_over: bool = False) -> None:
        """Claims some work on a search.

        Args:
            engine: Engine of the ledger.
            search_id: Id of the search in this ledger.
            work: Work to claim.
            owner: Owner of this process.
            take_over: Whether to take the claim from a process that holds it.

        Raises:
            ClaimedError: Another process holds it.
        """
        self._engine, self._search_id, self.work, self._owner = engine, search_id, work, owner
        self._token = secrets.token_hex(16)
        self.earlier = self._take(take_over)
        self._ended = threading.Event()
        if engine.url.get_backend_name() != "sqlite" or engine.url.database not in IN_MEMORY:
            beating = (weakref.ref(self), self._ended)
            threading.Thread(target=_beat, args=beating, name=f"claim {work}", daemon=True).start()

    def renew(self, connection: Connection) -> None:
        """Renews the claim within a transaction, so that nothing is written without it.

        Raises:
            LedgerError: Another process has taken it over.
        """
        mine = (ClaimRow.search_id == self._search_id, ClaimRow.work == self.work, ClaimRow.token == self._token)
        renewed = connection.execute(update(ClaimRow).where(*mine).values(beat_at=_now(connection)))
        if renewed.rowcount == 0:
            holder = claim_of(connection, self._search_id, self.work)
            raise LedgerError(
                f"another process{'' if holder is None else f' ({holder})'} has gone on with this search in the "
                f"meantime (claim {self.work!r}); this one stops here: what it measured is kept"
            )

    def check(self) -> None:
        """Renews the claim.

        Raises:
            LedgerError: Another process has taken it over.
        """
        with self._engine.begin() as connection:
            self.renew(connection)

    def release(self) -> None:
        """Releases the claim, if it is still this process's."""
        self._ended.set()
        mine = (ClaimRow.search_id == self._search_id, ClaimRow.work == self.work, ClaimRow.token == self._token)
        try:
            with self._engine.begin() as connection:
                connection.execute(update(ClaimRow).where(*mine).values(token=FREE))
        except DBAPIError:
            pass  # the database is away: the claim ends with this process

    def _take(self, take_over: bool) -> ClaimRecord | None:
        place = (self._search_id, self.work)
        with suppress(IntegrityError), self._engine.begin() as connection:  # there is a row after the first claim
            if _row(connection, *place) is None:
                values = self._values(_now(connection))
                connection.execute(insert(ClaimRow).values(search_id=self._search_id, work=self.work, **values))
                return None
        with self._engine.begin() as connection:
            now, row = _now(connection), _row(connection, *place)
            holder = _record(row, now)
            held = holder is not None and holder.alive and not _is_mine(row)
            if holder is not None and held and not take_over:
                raise ClaimedError(str(holder))
            unchanged = (ClaimRow.id == row["id"], ClaimRow.token == row["token"])
            if connection.execute(update(ClaimRow).where(*unchanged).values(**self._values(now))).rowcount == 0:
                found = _record(_row(connection, *place), now)  # another process was quicker
                raise ClaimedError("it was quicker" if found is None else str(found))
            return holder if held else None

    def _values(self, now: datetime) -> dict[str, Any]:
        return {
            "token": self._token,
            "owner_user": self._owner.user,
            "owner_host": self._owner.host,
            "process": os.getpid(),
            "machine": _this_process(),
            "taken_at": now,
            "beat_at": now,
        }


def _beat(claim: "weakref.ref[Claim]", ended: threading.Event) -> None:
    """Renews a claim until it is released, taken over or forgotten."""
    while not ended.wait(HEARTBEAT):
        held = claim()
        if held is None:
            return
        try:
            held.check()
        except DBAPIError:
            continue  # the database is away: the next write waits for it and says so
        except LedgerError:
            return  # taken over: the next write says so


def claim_of(connection: Connection, search_id: int, work: str) -> ClaimRecord | None:
    """The claim on some work on a search, alive or not; None if it is free."""
    row = _row(connection, search_id, work)
    return None if row is None else _record(row, _now(connection))


def this_machine() -> str:
    """A name of this machine and its space of process ids: ids of two containers say nothing about each other."""
    return f"{_boot()} {_namespace()}"


def process_mark(process: int) -> str:
    """The start of a process on this machine, which tells it from a later one with its id; empty without one."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _boot() -> str:
    return _read(lambda: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())


def _namespace() -> str:
    return _read(lambda: str(Path("/proc/self/ns/pid").readlink()))


def _read(read: Callable[[], str]) -> str:
    try:
        return read()
    except OSError:
        return ""


def _row(connection: Connection, search_id: int, work: str) -> Any:
    """The row of a claim; only its id and token where the rest cannot be decoded."""
    table = ClaimRow.__table__
    for columns in (list(table.columns), [table.c.id, table.c.token]):
        with suppress(*UNDECODABLE_ROW):
            return connection.execute(select(*columns).filter_by(search_id=search_id, work=work)).mappings().first()
    raise LedgerError(f"the claim {work!r} on this search cannot be read; remove its row from the table claim")


def _is_mine(row: Any) -> bool:
    """Whether this process has the claim, as after an interrupted search in a notebook."""
    return bool(row.get("machine") == _this_process())


def _this_process() -> str:
    return f"{this_machine()} {process_mark(os.getpid())} {os.getpid()}"


def _record(row: Any, now: datetime) -> ClaimRecord | None:
    """The claim of a row; None for a free one, and for one that cannot be read, which is nobody's."""
    try:
        return None if row["token"] == FREE else _decoded(row, now)
    except (*UNDECODABLE_ROW, KeyError, AttributeError):
        return None


def _decoded(row: Any, now: datetime) -> ClaimRecord:
    age = max(0.0, (utc(now) - utc(row["beat_at"])).total_seconds())
    *machine, begun, _ = row["machine"].split(" ")
    here = bool(begun) and " ".join(machine) == this_machine()
    alive = process_mark(row["process"]) == begun if here else age < CLAIM_LIFE
    owner = Owner(row["owner_user"], row["owner_host"])
    return ClaimRecord(row["work"], owner, row["process"], utc(row["taken_at"]), age, alive)


def _now(connection: Connection) -> datetime:
    """The time of the database's machine where it has one, as the clocks of several machines differ."""
    if connection.dialect.name == "postgresql":
        return cast(datetime, connection.scalar(select(func.clock_timestamp())))
    return datetime.now(UTC)
