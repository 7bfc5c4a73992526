"""Functions that tests start as pages do. Another process imports them, so that they cannot be in a test."""

import os
import subprocess
import sys
import time
from pathlib import Path

from piip_dashboards.web.jobs import Say
from piip_search.errors import ChoiceError


def count_until(go: Path, say: Say) -> None:
    """Says some lines, waits for a file, and says another."""
    for number in range(40):
        say(f"line {number}")
    while not go.exists():
        time.sleep(0.02)
    say("<b>over</b>")


def refuse(say: Say) -> None:
    """Fails as a use case does that a user can mend; what it says has a password in it."""
    say("note: looking at postgresql://me:hunter2@host/piip")
    raise ChoiceError("no luck with postgresql://me:hunter2@host/piip\ngive another")


def open_nothing(say: Say) -> None:
    Path("/not/there").read_text(encoding="utf-8")


def stumble(say: Say) -> None:
    """Fails as a bug does."""
    print("printed by a library")
    subprocess.run([sys.executable, "-c", "print('printed by a program')"], check=True)
    raise IndexError("list index out of range")


def die(code: int, say: Say) -> None:
    """Ends without a word, as compiled code does."""
    os._exit(code)


def note_down(folder: Path, say: Say) -> None:
    """Writes what another process sees of this one, and stays until it is ended."""
    try:
        command_line = Path("/proc/self/cmdline").read_bytes()
        (folder / "command line").write_bytes(command_line)
        (folder / "process").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(600)
    finally:
        (folder / "tidied up").touch()
