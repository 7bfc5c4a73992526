"""Ledgers that somebody edited, and texts that are more than text."""

import contextlib
import csv
import io
import json
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from attack_rows import acts
from attack_rows.tally import Tally
from attack_rows.world import World
from piip_search.ledger import Ledger
from piip_search.ledger.tables import APPEND_ONLY
from support import damage, fakes, ledgers

LONGEST = 20.0
"""Seconds that a command or a page may take."""
DATA = ("[1]", "{", '"x"', "null", '{"a": 1e400}', json.dumps({"a": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}))
NUMBERS = ("abc", -1, 1e300)
TEXTS = (b"\xff\xfe", "", "\x1b[2J\u202e", "x" * 10**6)
COLUMNS: dict[str, dict[str, tuple[Any, ...]]] = {
    "search": {
        "spec": DATA,
        "name": TEXTS[:1] + TEXTS[2:],
        "uid": ("", "z" * 32, "../x"),
        "question": TEXTS[1:3],
        "created_at": ("yesterday",),
        "owner_user": TEXTS,
    },
    "sitting": {
        "versions": DATA[:3],
        "budget": DATA[:3],
        "began_at": ("yesterday",),
        "host": TEXTS,
        "process": NUMBERS,
    },
    "proposal": {"candidate": DATA, "costs": DATA[:3], "key": TEXTS[1:2], "number": NUMBERS, "proposed_at": ("x",)},
    "evaluation": {
        "facts": DATA,
        "metrics": DATA,
        "history": DATA[:5],
        "status": ("lost", b"\xff"),
        "seconds": NUMBERS,
        "gpu_seconds": NUMBERS,
        "error": (*TEXTS, "x" * 10**7),
        "finished_at": ("yesterday",),
        "position": NUMBERS[:2],
        "host": TEXTS,
    },
    "front": {"members": DATA[:4], "hypervolume": NUMBERS, "tier": NUMBERS[:2]},
    "promotion": {"rung": NUMBERS, "first": NUMBERS},
    "action": {"detail": DATA[:3], "what": TEXTS[:3], "done_at": ("yesterday",)},
}
CANDIDATES: tuple[dict[str, Any], ...] = (
    {"fidelity": {"epochs": 2, "later": 1}},
    {"why": {"left": "y"}},
    {"why": [1]},
    {"number": 77},
    {"seed": "one"},
    {"architecture": None},
    {"architecture": {"branches": [{"backbone": "vit_t", "resolution": 16 * 10**9}]}},
    {"architecture": {"branches": [{"backbone": "vit_w16_d999999999_h1", "resolution": 16}]}},
    {"architecture": {"branches": [{"backbone": "vit_zz", "resolution": 16}]}},
)


def edited(world: World) -> Tally:
    """Edits of one field; commands and pages show the rest, and the other run."""
    tally, place, longest = Tally(), world.place(), 0.0
    _fill(place / "whole.db")
    edits = list(_edits())
    for table, column, value in edits[:: 12 if world.quick else 1]:
        home = place / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        shutil.copy(place / "whole.db", home / "ledger.db")
        try:
            damage.edit(home / "ledger.db", table, column, value)
        except sqlite3.IntegrityError:  # the database itself refuses it
            continue
        for name, took, fault in _looked_at(home, place):
            longest = max(longest, took)
            tally.check(not fault and took < LONGEST, f"{table}.{column}, {name}: {took:.0f} s {fault}")
    tally.note = f"{len(edits)} edits, {longest:.1f} s"
    return tally


def _fill(file: Path) -> None:
    """A ledger of two runs, one with rungs, failures and promotions."""
    with closing(Ledger(f"sqlite:///{file}")) as ledger:
        ledgers.fill(ledger, ledgers.published_spec(6), failing=0.2)
        ledgers.fill(ledger, ledgers.published_spec(2, rungs=(), name="fine"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _edits() -> Iterator[tuple[str, str, Any]]:
    for table, columns in COLUMNS.items():
        for column, values in columns.items():
            yield from ((table, column, lambda _, value=value: value) for value in values)
    for change in CANDIDATES:
        yield "proposal", "candidate", lambda kept, change=change: json.dumps({**json.loads(kept), **change})


def _looked_at(home: Path, place: Path) -> Iterator[tuple[str, float, str]]:
    """Each command and page: its name, its seconds, and what is wrong with it."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    there = ["--home", str(home)]
    for words in (
        ["show", *there],
        ["show", "big", *there],
        ["report", "big", "--out", str(out / "report.md"), *there],
        ["ledger", "export", "--out", str(out / "table.csv"), *there],
        ["ledger", "merge", str(home), "--home", str(out / "mine")],
    ):
        began = time.monotonic()
        code, printed, said = typed(*words)
        lost = words[0] == "show" and words[1] != "big" and "fine" not in printed
        fault = said[-200:] if "Traceback" in said or code not in (0, 1, 2) or lost else ""
        yield " ".join(words[:2]), time.monotonic() - began, fault
    yield from _pages(home)


def _pages(home: Path) -> Iterator[tuple[str, float, str]]:
    from starlette.testclient import TestClient

    from piip_dashboards.web.access import Guard
    from piip_dashboards.web.app import create_app
    from support.sites import TOKEN, site_of

    with closing(Ledger(f"sqlite:///{home}/ledger.db", reading=True)) as ledger:
        app = create_app(site_of(ledger, home).service, Guard(TOKEN, 8400))
        client = TestClient(app, base_url="http://localhost:8400", raise_server_exceptions=False)
        client.headers["authorization"] = f"Bearer {TOKEN}"
        for path in ("/part/searches", "/search/big/part/summary", "/api/searches"):
            began = time.monotonic()
            answer = client.get(path)
            lost = "big/" not in path and "fine" not in answer.text
            fault = f"{answer.status_code} {answer.text[:80]}" if answer.status_code >= 500 or lost else ""
            yield path, time.monotonic() - began, fault


def typed(*words: str) -> tuple[int, str, str]:
    """Types a command in this process: exit code, stdout, stderr."""
    from piip_search import cli

    out, said, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = ["piip-search", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:  # an error that a user would see as a traceback
        return 1, out.getvalue(), f"Traceback {error!r}"
    finally:
        sys.argv = before
    return code, out.getvalue(), said.getvalue()


def verified(world: World) -> Tally:
    """The owner of the file changes, removes and adds rows, and `ledger verify` sees it."""
    tally, place = Tally(), world.place()
    _fill(place / "whole.db")
    for table in APPEND_ONLY:
        for statement in (
            f"UPDATE {table} SET {_column(table)} = {_column(table)} || 'x' WHERE id = (SELECT min(id) FROM {table})",
            f"DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table})",
        ):
            shutil.copy(place / "whole.db", place / "ledger.db")
            if _executed(place / "ledger.db", statement):
                code, printed, said = typed("ledger", "verify", "--home", str(place))
                tally.check(code in (1, 2) and "Traceback" not in said, f"{statement}: {code} {printed[-100:]}")
    return tally


def _column(table: str) -> str:
    columns = {"search": "recipe", "sitting": "host", "proposal": "key", "evaluation": "metrics", "front": "members"}
    more = {"promotion": "rung", "action": "what", "link": "digest", "preparation": "kind", "kept_file": "content"}
    return {**columns, **more}[table]


def _executed(file: Path, statement: str) -> bool:
    """Whether a statement changed a row, once the triggers are gone."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        return connection.execute(statement).rowcount > 0


FORMULAS = ('=HYPERLINK("http://evil.example")', "@SUM(1)", "+1+cmd|' /C calc'!A0", "-2+3", "\t=1+1", "\r=1")
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]"
SHOWN = rf"{CONTROL}|<script>alert"
"""What a report must not hold; a terminal knows no markup."""
CONTROLS = ("a\x1b[2J\x1b]0;title\x07", "a\u202eb", "a\x9b31m", "<script>alert(1)</script>", "a\nforged: line")


def texts(world: World) -> Tally:
    """Errors, hosts and names of runs are formulas, control characters and markup."""
    tally = Tally()
    for text in (*FORMULAS, *CONTROLS):
        home = world.place()
        acts.say(f"sqlite:///{home}/ledger.db", "coco", text, text)
        _name_run(home / "ledger.db", text)
        tables = (
            ["ledger", "export", "coco", "--out", str(home / "table.csv")],
            ["front", "coco", "--csv"],
        )
        shown = (
            ["show"],
            ["show", "coco"],
            ["ledger", "list"],
            ["ledger", "log"],
            ["report", "coco", "--out", str(home / "report.md")],
            ["report", "coco", "--out", str(home / "report.html")],
        )
        for words in tables:
            printed = typed(*words, "--home", str(home))[1]
            cells = (home / "table.csv").read_text(encoding="utf-8") if "--out" in words else printed
            tally.check(not _formulas(cells), f"{' '.join(words[:2])}: {_formulas(cells)}")
        for words in shown:
            code, printed, said = typed(*words, "--home", str(home))
            file = Path(words[-1])
            content = printed + said + (file.read_text(encoding="utf-8") if file.is_file() else "")
            fault = re.findall(SHOWN if file.is_file() else CONTROL, content)
            tally.check(code == 0 and not fault, f"{' '.join(words[:2])} of {text!r}: {code} {fault[:3]} {said[-100:]}")
    return tally


def _name_run(file: Path, name: str) -> None:
    """A second run with that name, written past the command that would refuse it."""
    with closing(Ledger(f"sqlite:///{file}")) as ledger:
        found = acts.opened(ledger, name, 1)
        candidate = found.propose()
        if candidate is not None:
            found.accept(fakes.measure(candidate))


def _formulas(text: str) -> list[str]:
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    return [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?![\d.]+(e[+-]?\d+)?$)", cell)]
