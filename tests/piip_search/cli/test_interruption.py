"""An interruption ends a command with exit code 130 and no traceback, whenever it comes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PROGRAM = """
import os, signal, sys, threading
from piip_search.cli import main

def send():
    os.kill(os.getpid(), signal.{name})

{prepare}
sys.argv = ["piip-search", "show"]
main()
"""


def interrupted(name: str, prepare: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "workers", "dashboards"))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name, prepare=prepare)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=120,
        check=False,
    )


WHILE_LOADING = """
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            send()

sys.meta_path.insert(0, Finder)
"""
TURNED_INTO_ANOTHER_ERROR = """
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "rich.console":
            try:
                send()
            except KeyboardInterrupt:
                raise ImportError("numpy failed to import") from None

sys.meta_path.insert(0, Finder)
"""
LOST_IN_A_FINALIZER = """
import time

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "rich.console":
            Finalized()
            time.sleep(60)

class Finalized:
    def __del__(self):
        send()

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "prepare",
    [
        WHILE_LOADING.format(module="typer"),
        WHILE_LOADING.format(module="piip_search.cli.run"),
        WHILE_LOADING.format(module="sqlalchemy"),
        TURNED_INTO_ANOTHER_ERROR,
        LOST_IN_A_FINALIZER,
    ],
)
def test_an_interruption_while_modules_are_loaded(name: str, prepare: str, tmp_path: Path) -> None:
    ended = interrupted(name, prepare, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "stopped\n")


def test_a_command_in_the_background_goes_on_ignoring_ctrl_c(tmp_path: Path) -> None:
    ended = interrupted("SIGINT", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsend()", tmp_path)
    assert ended.returncode == 2
    assert "run a search first" in ended.stderr


def test_signals_are_left_as_they_were(run_cli: object) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    run_cli("--version")  # type: ignore[operator]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_main_comes_from_loads_next_to_nothing() -> None:
    code = (
        "import sys; import piip_search.cli; print([n for n in ('typer', 'rich', 'numpy', 'yaml') if n in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.stdout.strip() == "[]", ended.stderr
