"""A ledger that others may write controls no terminal, no spreadsheet and no report, and its files are not run."""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.ledger import Ledger
from piip_search.ledger.records import Circumstances
from piip_search.owner import OWNER_VARIABLE
from piip_search.search.search import open_search
from support import fakes
from support.typed import Cli

EVIL = "\x1b[2J\x1b]0;owned\x07\u202egnp\u2066<script>alert(1)</script>|\n=HYPERLINK(1)\r\x9b"
"""Clears a terminal, sets its title, turns letters around, is markup, cuts a table and fakes a line."""
NAME = f"evil{EVIL}"
FORBIDDEN = [letter for letter in EVIL if not letter.isprintable() and letter != "\n"]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A detector's file that leaves a mark when it runs, and that anybody may change."""
    file = tmp_path / "evil.py"
    file.write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nmodel = dict(backbone=dict())\n", encoding="utf-8")
    file.chmod(0o666)
    return file


@pytest.fixture
def home(spec: SearchSpec, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a search whose names, owner, host, errors and facts are hostile, written past the commands."""
    monkeypatch.setenv(OWNER_VARIABLE, f"mallory{EVIL}@host{EVIL}")
    content = spec.model_dump(mode="json", exclude_unset=True)
    asked = parse_spec({**content, "sampler": "random", "training": {"detector": str(program)}})
    folder = tmp_path / "home"
    folder.mkdir()
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    search = open_search(NAME, asked, ledger, "recipe", circumstances=Circumstances(host=f"host{EVIL}", process=1))
    ledger.keep_file(NAME, str(program), program.read_text(encoding="utf-8"))
    for turn in range(6):
        candidate = search.propose()
        assert candidate is not None
        facts = Facts(host=EVIL, folder=f"/etc/{EVIL}", rest={"note": EVIL})
        failed = Evaluation(candidate, "failed", error=f"=Error: {EVIL}", facts=facts)
        search.accept(replace(fakes.measure(candidate), facts=facts) if turn % 2 else failed)
    ledger.close()
    monkeypatch.delenv(OWNER_VARIABLE)
    yield folder
    assert not (tmp_path / "owned").exists(), "the ledger's program ran"


def assert_plain(text: str) -> None:
    assert not [letter for letter in FORBIDDEN if letter in text]


COMMANDS = [
    ("show",),
    ("show", "--quiet"),
    ("show", NAME),
    ("front", NAME),
    ("front", NAME, "--csv"),
    ("front", NAME, "--json"),
    ("ledger", "list"),
    ("ledger", "list", "--quiet"),
    ("ledger", "log"),
    ("ledger", "verify"),
    ("show", f"other{EVIL}"),
    ("export", NAME, "best", "--out", "out"),
    ("audit", NAME),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2])[:12])
def test_commands_print_plain_text_and_run_nothing(home: Path, run_cli: Cli, command: tuple[str, ...]) -> None:
    ended = run_cli(*command, "--home", str(home))
    assert_plain(ended.out)
    assert_plain(ended.err)
    assert "Traceback" not in ended.err
    if command[0] in ("export", "audit"):
        assert ended.code == 2
        assert "--trust" in ended.err


def test_a_faked_line_is_part_of_the_name(home: Path, run_cli: Cli) -> None:
    lines = run_cli("show", "--quiet", "--home", str(home)).out.splitlines()
    assert len(lines) == 1
    assert "\\x1b[2J" in lines[0]


@pytest.mark.parametrize("ending", ["md", "html"])
def test_reports_are_plain(home: Path, run_cli: Cli, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("jinja2")
    out = tmp_path / f"report.{ending}"
    ended = run_cli("report", NAME, "--out", str(out), "--home", str(home))
    assert ended.code == 0, ended.err
    text = out.read_text(encoding="utf-8")
    assert_plain(text)
    assert "owned" in text
    if ending == "html":
        assert "<script>alert" not in text
    else:
        outside = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
        assert "<script>" not in outside


def test_no_cell_of_an_exported_table_is_a_formula(home: Path, run_cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    assert run_cli("ledger", "export", "--out", str(out), "--home", str(home)).code == 0
    text = out.read_text(encoding="utf-8")
    assert_plain(text)
    with out.open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


def test_a_search_with_such_a_name_is_refused(home: Path, run_cli: Cli) -> None:
    ended = run_cli("run", "quickstart", "--name", NAME, "--home", str(home))
    assert ended.code == 2
    assert "a run's name must be" in ended.err
    assert_plain(ended.err)
