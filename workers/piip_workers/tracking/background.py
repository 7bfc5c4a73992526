"""Mirrors a search in a thread of its own, without delaying it, and retries while the mirror is unreachable."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from piip_search.errors import StoreError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.objectives import ParetoFront
from piip_search.evaluation.tracker import TrackedSearch, Tracker
from piip_search.redact import without_secrets

LONGEST_RETRY_PAUSE = 60.0
MIRROR_PATIENCE = 30.0
"""Seconds without progress after which the end of a search stops waiting for its mirror."""
OPENING = 300.0
"""Seconds without progress while the mirror is opened: its tables are created, or another search creates them."""
REST = 9.0
"""Factor between the mirror's rest and its work while the search goes on.

Both share an interpreter, and very short trials would wait for the mirror.
"""
LONGEST_REST = 10.0
"""Most seconds of a rest."""


class GatheringTracker(Tracker, Protocol):
    """A tracker that may collect records until `flush`.

    A second `begin` and `record` of everything is harmless: it recognises what it has.
    """

    def flush(self) -> None:
        """Writes the collected records."""
        ...


class InBackground:
    """A `Tracker` that passes everything on to another one in a thread.

    The other one is opened in the thread too. After any error it is opened again after a pause, and gets everything
    again.
    """

    def __init__(
        self,
        opened: Callable[[], GatheringTracker],
        notify: Callable[[str], None] = lambda text: None,
        patience: float = MIRROR_PATIENCE,
        options: str = "",
    ) -> None:
        """Prepares the tracker; the thread starts with the search.

        Args:
            opened: Opens the other tracker.
            notify: Called once when it is unreachable, and once if the search ends without it.
            patience: Seconds without progress for which the end of the search waits.
            options: Options of `piip-search mirror RUN` that find this ledger and this mirror.
        """
        self._open = opened
        self._notify = notify
        self._patience = patience
        self._records: list[tuple[Evaluation, Sequence[ParetoFront]]] = []
        self._ending: Sequence[ParetoFront] | None = None
        self._wake = threading.Event()
        self._over = threading.Event()
        self._done = threading.Event()
        self._progress = time.monotonic()
        self._passed = 0
        self._trouble = ""
        self._opening = self._hopeless = False
        self._options = options

    def begin(self, search: TrackedSearch) -> None:
        self._begun = search
        threading.Thread(target=self._work, name="mirror", daemon=True).start()

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None:
        self._records.append((evaluation, fronts))
        self._wake.set()

    def finish(self, fronts: Sequence[ParetoFront]) -> None:
        self._progress, self._ending = time.monotonic(), fronts
        self._over.set()
        self._wake.set()
        while not self._done.wait(0.1):
            silent = time.monotonic() - self._progress
            if self._hopeless or silent > (OPENING if self._opening else self._patience):
                missed = len(self._records) - self._passed
                self._notify(
                    f"MLflow misses {missed} of {len(self._records)} evaluations"
                    f"{f' ({self._trouble})' if self._trouble and not self._hopeless else ''}; "
                    f"{'to write them' if self._hopeless else 'once it can be reached'}: "
                    f"piip-search mirror {self._begun.run}{self._options}"
                )
                return

    def _work(self) -> None:
        # Its client would try a dead server for minutes before an error.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        pause, ending = 1.0, False
        while not ending:
            try:
                ending = self._mirror()
            except Exception as error:
                # Any error leaves the search running, and the mirror continues when it can.
                self._opening, self._hopeless = False, isinstance(error, StoreError)
                if not self._trouble:
                    state = "cannot be used" if self._hopeless else "cannot be reached"
                    self._notify(f"MLflow {state} and is tried again, the search goes on: {_line(error)}")
                self._trouble = _line(error)
                self._wake.wait(pause) if self._ending is None else time.sleep(1.0)
                pause = min(2 * pause, LONGEST_RETRY_PAUSE)
        self._done.set()

    def _mirror(self) -> bool:
        """Opens the mirror and passes records on until an error; returns true once all are written."""
        self._passed = 0
        self._opening = True
        mirror = self._open()
        self._opening, self._hopeless, self._progress = False, False, time.monotonic()
        mirror.begin(self._begun)
        while True:
            self._wake.clear()
            while self._passed < len(self._records):
                started = time.monotonic()
                mirror.record(*self._records[self._passed])
                self._passed += 1
                self._progress = time.monotonic()
                self._over.wait(min(REST * (self._progress - started), LONGEST_REST))
            mirror.flush()
            if self._trouble:
                self._notify("MLflow is back")
                self._trouble = ""
            if self._ending is not None and self._passed == len(self._records):
                mirror.finish(self._ending)
                return True
            self._wake.wait()


def _line(error: BaseException) -> str:
    if isinstance(error, StoreError):  # our error, whose message ends with the way out
        return str(error)
    text = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))
    return text if len(text) <= 200 else f"{text[:197]}..."
