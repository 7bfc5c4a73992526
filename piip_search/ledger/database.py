"""Access to the database of a ledger: waits for it while it is away, and says what a person has to mend."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from piip_search.errors import LedgerError, RefusalError, UnfinishedError, UrlError
from piip_search.ledger.opening import opened
from piip_search.ledger.outages import is_outage, is_refusal, reason_of
from piip_search.ledger.sqlite import may_write, owner_text
from piip_search.ledger.urls import FORMS, sqlite_file, without_password

_T = TypeVar("_T")
DATABASE_PATIENCE = 600.0
"""Seconds for which a database may be unreachable before a search gives up."""
LONGEST_PAUSE = 10.0
DRIVER = 'pip install "piip-search[postgres]"'


class Database:
    """A database that is retried while it is unreachable.

    Attributes:
        engine: SQLAlchemy's engine.
        shown: The URL without password.
    """

    def __init__(
        self, url: str | URL, notify: Callable[[str], None], patience: float = DATABASE_PATIENCE, reading: bool = False
    ) -> None:
        """Opens the database; a writer migrates its tables.

        Args:
            url: SQLAlchemy's URL.
            notify: Called once when the database is away, once when it is back, and with a line about a migration.
            patience: Seconds to wait for it meanwhile.
            reading: Whether it is only read: nothing is created, migrated or left behind.

        Raises:
            LedgerError: The URL is invalid, or the database is unreachable.
        """
        self.shown = without_password(url)
        self._notify, self._patience, self._reading = notify, patience, reading
        try:
            self.engine = opened(url, reading, notify)
            self._file = sqlite_file(url)
        except ModuleNotFoundError as error:
            way = DRIVER if (error.name or "").startswith("psycopg") else f"pip install {error.name}"
            raise self._not_opened(f"{error.name} is not installed; {way}") from None
        except (UrlError, UnfinishedError, RefusalError) as error:
            raise self._not_opened(str(error)) from None
        except (SQLAlchemyError, OSError, ValueError, TypeError) as error:
            raise self._not_opened(f"{reason_of(error)}; give a database URL such as {FORMS}") from None

    def patiently(self, work: Callable[[], _T]) -> _T:
        """Runs a function on the database, repeatedly while it is unreachable.

        Raises:
            LedgerError: The database did not come back, or it refuses for a reason that a person has to mend.
        """
        deadline, pause, away = None, 0.1, False
        while True:
            try:
                result = work()
            except DBAPIError as error:
                self._check_passing(error)
                now = time.monotonic()
                deadline = now + self._patience if deadline is None else deadline
                reason = reason_of(error)
                if now >= deadline:
                    raise LedgerError(
                        f"ledger {self.shown} cannot be reached: {reason}; nothing measured is lost: "
                        "once it is back, run the same command again"
                    ) from None
                if not away and now > deadline - self._patience:
                    self._notify(f"the ledger is away ({reason}); trying again for {self._patience / 60:.3g} minutes")
                    away = True
                self.engine.dispose()
                time.sleep(min(pause, max(deadline - now, 0)))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if away:
                    self._notify("the ledger is back")
                return result

    def _check_passing(self, error: DBAPIError) -> None:
        """Raises an error that does not pass by itself.

        Raises:
            LedgerError: A person has to mend the reason.
            DBAPIError: The error is a bug.
        """
        locked_out = not self._reading and _is_locked_out(self._file)
        if is_outage(error) and not locked_out:
            return
        if not locked_out and not is_refusal(error):
            raise error
        whose = f" ({owner_text(self._file)})" if self._file is not None and self._file.exists() else ""
        raise LedgerError(
            f"ledger {self.shown} refuses{whose}: {reason_of(error)}; nothing measured is lost: ask its owner for the "
            "right, or name a ledger of your own with --home or --ledger"
        ) from None

    def _not_opened(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger {self.shown} cannot be opened: {reason}")


def _is_locked_out(file: Path | None) -> bool:
    """Whether a file is there, and this user may no longer write it; SQLite reports it like a disk that is away."""
    try:
        return file is not None and file.exists() and not may_write(file)
    except OSError:
        return False
