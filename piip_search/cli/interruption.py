"""Handles Ctrl-C and SIGTERM: exit code 130 and no traceback, in any code."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SOON = 0.05
"""Seconds until a lost interruption is sent again."""


class InterruptedExit(SystemExit):
    """The end of a command that has notify the user about the interruption."""


class Interruption:
    """Turns both signals into `KeyboardInterrupt` in its context.

    Attributes:
        happened: Whether a signal came.
    """

    def __init__(self) -> None:
        self.happened = False
        self._before: dict[signal.Signals, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            usual = (signal.SIG_DFL, signal.default_int_handler)
            # A process that was started in the background ignores Ctrl-C, and continues to do so.
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
            signal.signal(one, signal.SIG_DFL if self.happened else was)  # a second signal ends the rest immediately

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Sends an interruption again that met code which cannot pass it on, such as a finalizer."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook(unraisable)
