"""What the command line makes of an error: a message for what a user can mend, a traceback for a bug."""

import inspect
import re
import subprocess
import sys

import pytest

from piip_search import errors
from support import ROOT
from support.typed import Cli

FAILING = """
import errno, sys
from pathlib import Path
from piip_search.cli.application import Command, app
from piip_search.errors import ChoiceError

@app.command(cls=Command)
def fail() -> None:
    {line}

sys.argv = ["piip-search", "fail", {options}]
from piip_search.cli import main
main()
"""


def failed(line: str, *options: str) -> tuple[int, str]:
    """Exit code and messages of a command that does something."""
    code = FAILING.format(line=line, options=", ".join(map(repr, options)))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise ChoiceError('nothing to choose')", "error: nothing to choose"),
        ("Path('/not/there').read_text()", "error: No such file or directory: /not/there"),
        ("raise OSError(errno.ENOSPC, 'No space left on device')", "error: [Errno 28] No space left on device"),
    ],
)
def test_what_a_user_can_mend_ends_with_one_message(line: str, message: str) -> None:
    assert failed(line) == (2, message + "\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("int('x')", "ValueError: invalid literal for int() with base 10: 'x'"),
        ("[][1]", "IndexError: list index out of range"),
        ("raise OSError('odd')", "OSError: odd"),
    ],
)
def test_a_bug_keeps_its_traceback_and_says_where_to_report_it(line: str, message: str) -> None:
    code, text = failed(line)
    assert code == 1
    assert "Traceback (most recent call last)" in text
    assert message in text
    assert "This is a bug of piip-search. Please report it" in text
    assert "Nothing that was measured is lost" in text


def test_the_traceback_of_any_error_is_shown_to_who_asks(run_cli: Cli) -> None:
    code, text = failed("raise ChoiceError('nothing to choose')", "--traceback")
    assert code == 2
    assert text.startswith("Traceback (most recent call last)")
    assert text.endswith("error: nothing to choose\n")
    first, last = run_cli("--traceback", "plan", "nosuch"), run_cli("plan", "nosuch", "--traceback")
    assert (first.code, last.code) == (2, 2)
    assert "Traceback" in first.err
    assert "Traceback" in last.err
    assert "Traceback" not in run_cli("plan", "nosuch").err


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    drawn: list[tuple[int, str]] = [
        (len(match[1]), match[2]) for match in re.finditer(r"(?m)^    ([ │├└─]*)(\w+Error)\b", errors.__doc__ or "")
    ]
    bases = {}
    for place, (depth, name) in enumerate(drawn):
        above = [other for other_depth, other in drawn[:place] if other_depth < depth]
        bases[name] = above[-1] if above else "Exception"
    real = {
        name: kind.__mro__[1].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert bases == real


def test_every_error_of_the_packages_is_one_of_them() -> None:
    own = re.compile(r"(?m)^class ([A-Za-z]\w*Error|[A-Za-z]\w*Exception)\b")
    files = [
        file
        for package in ("piip_search", "workers/piip_workers", "dashboards/piip_dashboards")
        for file in (ROOT / package).rglob("*.py")
    ]
    homes = {name: file.name for file in files for name in own.findall(file.read_text(encoding="utf-8"))}
    assert set(homes.values()) == {"errors.py"}
