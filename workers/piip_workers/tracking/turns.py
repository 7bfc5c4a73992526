"""Processes that mirror one search take turns, so that each sees what the others wrote before it writes."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mlflow.tracking import MlflowClient

from piip_search.ledger import sqlite_file
from piip_workers.tracking.store import one_writer

TURN = "piip.turn"
"""Tag of a search's run with the token of the process whose turn it is; empty if it is nobody's."""
HOLD = 10.0
"""Seconds after which a process lets others have a turn."""
SETTLE = 0.5
"""Seconds after which a process looks whether its token is still there; a server's request takes less."""
STALE = 60.0
"""Seconds without a change after which a turn counts as that of a dead process."""
POLL = 0.2
"""Seconds between two looks at another process's turn."""


class Turns(Protocol):
    """The turns of one process at one search's run."""

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Holds the turn, where this is possible, while there may be no run yet."""
        yield

    @contextmanager
    def taken(self, parent: str) -> Iterator[None]:
        """Holds the turn at a run."""
        yield

    def release(self, parent: str) -> None:
        """Lets other processes have their turn."""
        ...


class FileTurns:
    """Turns at a store in a file, by a lock beside it."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    @contextmanager
    def beginning(self) -> Iterator[None]:
        with one_writer(self._uri):
            yield

    @contextmanager
    def taken(self, parent: str) -> Iterator[None]:
        with one_writer(self._uri):
            yield

    def release(self, parent: str) -> None: ...


class ServerTurns:
    """Turns at a server, by a tag of the search's run.

    A process writes its token where it sees none, waits, and has the turn if its token is still there. It keeps the
    turn for some seconds, as taking it takes longer than writing an evaluation.
    """

    def __init__(
        self,
        client: MlflowClient,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._clock, self._sleep = client, clock, sleep
        self._token, self._since = "", 0.0

    @contextmanager
    def beginning(self) -> Iterator[None]:
        yield

    @contextmanager
    def taken(self, parent: str) -> Iterator[None]:
        if not self._token or self._clock() - self._since > HOLD:
            self._take(parent)
        yield

    def release(self, parent: str) -> None:
        if self._token and self._shown(parent) == self._token:
            self._client.set_tag(parent, TURN, "")
        self._token = ""

    def _take(self, parent: str) -> None:
        mine = secrets.token_hex(8)
        while True:
            self._wait(parent)
            self._client.set_tag(parent, TURN, mine)
            self._sleep(SETTLE)
            if self._shown(parent) == mine:
                break
        self._token, self._since = mine, self._clock()

    def _wait(self, parent: str) -> None:
        """Waits while another process has its turn."""
        seen, since = self._shown(parent), self._clock()
        while seen not in ("", self._token) and self._clock() - since < STALE:
            self._sleep(POLL)
            now = self._shown(parent)
            if now != seen:
                seen, since = now, self._clock()

    def _shown(self, parent: str) -> str:
        return str(self._client.get_run(parent).data.tags.get(TURN, ""))


def turns_at(uri: str, client: MlflowClient) -> Turns:
    """Turns at a store."""
    file = sqlite_file(uri) if uri.startswith("sqlite:") else None
    return ServerTurns(client) if file is None else FileTurns(uri)
