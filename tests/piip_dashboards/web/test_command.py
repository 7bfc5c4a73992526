"""`piip-search dashboard` as a user meets it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE
from piip_search import cli
from piip_search.ledger import Ledger, sqlite_url
from support import ROOT, ledgers


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    folders = os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards"))
    return [sys.executable, "-u", "-m", "piip_search.cli", "dashboard", *arguments], {
        **os.environ,
        "PYTHONPATH": folders,
    }


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it printed."""
    words, environment = command(*arguments, "--port", "0", "--no-browser")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            assert found is not None
            yield process, found[0]
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ledger = Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")
    ledgers.fill(ledger, ledgers.published_spec(3, rungs=()))
    ledger.close()
    return tmp_path / "runs"


def test_it_serves_until_it_is_interrupted(home: Path) -> None:
    with running(str(home)) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}api/versions") as answer:
            assert json.load(answer) == {"big": 6}
    assert process.returncode == 0


@pytest.mark.slow
def test_what_its_pages_start_finds_a_home_with_the_name_of_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with closing(Ledger(sqlite_url(tmp_path / "$NOWHERE" / "other.db"))) as book:
        ledgers.fill(book, ledgers.published_spec(3, rungs=()))
        fingerprint = book.evaluations("big")[0].candidate.design.fingerprint
    other = tmp_path / "$NOWHERE" / "exported" / "big" / fingerprint / "notes.txt"
    other.parent.mkdir(parents=True)
    other.touch()  # so that the export ends at once
    with running(f"sqlite:///{tmp_path}/$$NOWHERE/other.db", f"--home={tmp_path}/$$NOWHERE") as (_, address):
        design = f"{address}search/big/design/{fingerprint}"
        with urllib.request.urlopen(design) as answer:
            assert f"{tmp_path}/$$NOWHERE/other.db" in answer.read().decode()
        asked = urllib.request.Request(f"{design}/export", method="POST", headers={REQUEST_HEADER: REQUEST_VALUE})
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer) == {"state": "running"}
        text = "data-busy"
        while "data-busy" in text:
            time.sleep(0.2)
            with urllib.request.urlopen(f"{design}/part/export") as answer:
                text = answer.read().decode()
        assert f"{other.parent} holds other files (notes.txt)" in text


def test_on_another_address_a_token_is_drawn_and_asked_for(home: Path) -> None:
    with running("--home", str(home), "--host", "0.0.0.0") as (_, address):
        token = address.rpartition("token=")[2]
        assert len(token) >= 32
        port = int(re.search(r":(\d+)/", address)[1])  # type: ignore[index]
        data = f"http://127.0.0.1:{port}/api/versions"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(data)
        asked = urllib.request.Request(data, headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no ledger at nowhere"),
        (["--home", "nowhere"], "run a search first"),
        (["--host", "0.0.0.0", "--token", "short"], "at least 12 characters"),
        (["nosuch://database"], "cannot be opened"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(monkeypatch, capsys, *arguments)


def test_a_place_that_cannot_be_listened_at(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for place in (["--port", port], ["--host", "203.0.113.7"]):
            assert "give another --host or --port" in refused(monkeypatch, capsys, str(home), *place)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said to who types that."""
    monkeypatch.setattr(sys, "argv", ["piip-search", "dashboard", "--no-browser", "--port", "0", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    return " ".join(capsys.readouterr().err.split())
