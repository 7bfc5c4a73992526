"""Ctrl-C and SIGTERM: an end with exit code 130 and no traceback, whatever they meet."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SOON = 0.05
"""Seconds until an interruption that got lost is sent again."""


class ToldExit(SystemExit):
    """The end of a command that told the user what was interrupted."""


class Interruption:
    """Turns both signals into `KeyboardInterrupt` while it is open.

    Attributes:
        happened: Whether one of them came.
    """

    def __init__(self) -> None:
        self.happened = False
        self._before: dict[signal.Signals, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            usual = (signal.SIG_DFL, signal.default_int_handler)
            # A process that was started in the background ignores Ctrl-C, and goes on to do so.
            self._before = {one: was for one in SIGNALS if (was := signal.getsignal(one)) in usual}
            for one in self._before:
                signal.signal(one, self._interrupt)
            sys.unraisablehook = self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before:
            sys.unraisablehook = self._hook
        for one, was in self._before.items():
            signal.signal(one, signal.SIG_DFL if self.happened else was)  # what follows may be ended at once

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Sends an interruption once more that met code which cannot pass it on, such as a finalizer."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook(unraisable)
