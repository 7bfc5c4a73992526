"""Real users of this machine, and what they share. Only root can be somebody else."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT / one) for one in (".", "workers", "dashboards", "tests", "benchmarks")]
GROUP = 23450
_started: "list[subprocess.Popen[str]]" = []
PATIENCE = 300
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Person:
    """A user whom the system has no name for.

    Attributes:
        number: User id; no account has it.
        groups: Further groups.
        folder: A folder of their own, in which their commands run.
    """

    number: int
    groups: tuple[int, ...]
    folder: Path

    def start(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a program with the rights of this user."""
        environment = {**os.environ, **self._environment(), **options.pop("env", {})}
        process = subprocess.Popen(
            [*self._rights(), *words],
            env=environment,
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "cwd": self.folder,
                **options,
            },
        )
        _started.append(process)
        return process

    def typed(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Types a command of the product, and waits for its end."""
        return ended(self.start(*COMMAND, *words, **options))

    def acts(self, act: str, *arguments: object, **options: Any) -> Any:
        """What a function of `acts` gives in a process of this user."""
        done = ended(self.acting(act, *arguments, **options))
        if done.returncode:
            raise RuntimeError(f"{act}: {done.stderr.strip()[-600:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def acting(self, act: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
        """Starts a function of `acts` in a process of this user."""
        code = "import sys; from attack_rows import acts; acts.main(sys.argv[1:])"
        words = [sys.executable, "-W", "ignore", "-c", code, act, json.dumps(arguments, default=str)]
        return self.start(*words, **options)

    def home(self, name: str = "runs", mode: int = 0o700) -> Path:
        """A new home of this user; the group of people owns it."""
        place = self.folder / name
        place.mkdir()
        os.chown(place, self.number, GROUP)
        place.chmod(mode)
        return place

    def _rights(self) -> list[str]:
        number, groups = str(self.number), ",".join(map(str, self.groups))
        others = ["--groups", groups] if groups else ["--clear-groups"]
        return ["setpriv", "--reuid", number, "--regid", number, *others, "--inh-caps=-all"]

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join(PATHS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "PIIP_SEARCH_CACHE": str(self.folder / "cache"),
            "MPLCONFIGDIR": str(self.folder / "cache"),
            "RAY_AUTH_MODE": "disabled",
        }


COMMAND = (sys.executable, "-W", "ignore", "-m", "piip_search.cli")


def end_all() -> None:
    """Kills what is left of the programs of all users."""
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.wait()


def said(process: "subprocess.Popen[str]") -> str:
    """The next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline()


def go(process: "subprocess.Popen[str]") -> None:
    """Lets a process go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ended(process: "subprocess.Popen[str]", patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """Waits for a program; one that takes too long is killed."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nTraceback: it did not end in {patience} s"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class People:
    """Alice and Bob, who share a group, Mallory, who shares nothing, and the user of this process."""

    def __init__(self, folder: Path) -> None:
        self.alice = _person(folder, "alice", 23451, (GROUP,))
        self.bob = _person(folder, "bob", 23452, (GROUP,))
        self.mallory = _person(folder, "mallory", 23453, ())
        self.me = _person(folder, "me", os.geteuid(), ())


def _person(folder: Path, name: str, number: int, groups: tuple[int, ...]) -> Person:
    place = folder / name
    place.mkdir()
    os.chown(place, number, number)
    place.chmod(0o755)
    return Person(number, groups, place)


@contextmanager
def dashboard(person: Person, *words: str, **options: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a dashboard of this user, and the headers with which its owner is let in."""
    command = [*COMMAND[:1], "-u", *COMMAND[1:], "dashboard", "--port", "0", "--no-browser", *words]
    process = person.start(*command, **options)
    assert process.stdout is not None
    try:
        at, _, token = _address(process).partition("?token=")
        yield at, {"authorization": f"Bearer {token}"} if token else {}
    finally:
        process.terminate()
        ended(process, 30)


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    printed = ""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        printed += line
        found = re.search(r"http://[^\s/]+/(\?token=[\w-]+)?", printed)
        if found:
            return found[0]
    raise RuntimeError(f"the dashboard does not start: {printed} {ended(process, 5).stderr[-500:]}")
