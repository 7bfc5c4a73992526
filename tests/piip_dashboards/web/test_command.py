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
from dataclasses import dataclass
from pathlib import Path

import pytest

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE
from piip_search import cli
from piip_search.ledger import Ledger, sqlite_url
from support import ROOT, ledgers
from support.typed import Cli


def command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    folders = os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards"))
    return [sys.executable, "-u", "-m", "piip_search.cli", "dashboard", *arguments], {
        **os.environ,
        "PYTHONPATH": folders,
    }


@dataclass(frozen=True)
class Address:
    """The address that a dashboard printed, and its token, if it needs one."""

    url: str
    token: str | None

    def ask(self, path: str, method: str = "GET", token: str | None = None) -> bytes:
        """The answer to a request."""
        bearer = {"authorization": f"Bearer {token or self.token}"} if token or self.token else {}
        asked = urllib.request.Request(
            self.url + path, method=method, headers={REQUEST_HEADER: REQUEST_VALUE, **bearer}
        )
        with urllib.request.urlopen(asked) as answer:
            return bytes(answer.read())


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """The process, and the address that it printed."""
    words, environment = command(*arguments, "--port", "0", "--no-browser")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"(http://\S+/)(?:\?token=(\S+))?", process.stdout.readline())
        try:
            assert found is not None
            yield process, Address(found[1], found[2])
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
        assert address.url.startswith("http://127.0.0.1:")
        assert len(address.token or "") >= 40
        assert json.loads(address.ask("api/versions")) == {"big": 6}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address.url}api/versions")
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
        design = f"search/big/design/{fingerprint}"
        assert f"{tmp_path}/$$NOWHERE/other.db" in address.ask(design).decode()
        assert json.loads(address.ask(f"{design}/export", "POST"))["state"] in ("waiting", "running")
        text = "data-busy"
        while "data-busy" in text:
            time.sleep(0.2)
            text = address.ask(f"{design}/part/export").decode()
        assert f"{other.parent} holds other files (notes.txt)" in text


def test_a_token_of_ones_own_comes_from_a_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a-token-of-my-own\n", encoding="utf-8")
    file.chmod(0o600)
    with running("--home", str(home), "--host", "0.0.0.0", "--token-file", str(file)) as (_, address):
        assert address.token == "a-token-of-my-own"
        port = int(re.search(r":(\d+)/", address.url)[1])  # type: ignore[index]
        here = Address(f"http://127.0.0.1:{port}/", "a-token-of-my-own")
        assert here.ask("api/versions")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            here.ask("api/versions", token="another")


def test_without_a_token_if_one_says_so(home: Path) -> None:
    with running("--home", str(home), "--no-token", "--read-only") as (_, address):
        assert address.token is None
        assert address.ask("api/versions")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            address.ask("search/big/stop", "POST")


def test_tokens_of_other_people(home: Path, run_cli: Cli) -> None:
    at_home = ("--home", str(home))
    with running(*at_home) as (_, address):
        token = run_cli("tokens", "add", "bob", "--days", "30", *at_home).out.strip()
        assert address.ask("api/versions", token=token)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            address.ask("search/big/stop", "POST", token)
        listed = run_cli("tokens", "list", *at_home).out
        assert "bob" in listed
        assert token not in listed
        (known,) = json.loads(run_cli("tokens", "list", "--json", *at_home).out)
        assert (known["name"], known["role"]) == ("bob", "view")
        assert run_cli("tokens", "revoke", "bob", *at_home).code == 0
        with pytest.raises(urllib.error.HTTPError, match="401"):
            address.ask("api/versions", token=token)
    assert run_cli("tokens", "list", *at_home).out.startswith("no token has a name")
    gone = run_cli("tokens", "revoke", "bob", *at_home)
    assert (gone.code, "no token 'bob'; there is none" in gone.err) == (2, True)


STRANGER = """
import os, sys, urllib.error, urllib.request
url, secret = sys.argv[1:]
def status(path, method="GET"):
    asked = urllib.request.Request(url + path, method=method, headers={"x-requested-by": "piip-dashboard"})
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
status("")  # so that all is imported that another user may not read
os.setgid(65534), os.setuid(65534)
try:
    open(secret).read()
    readable = True
except PermissionError:
    readable = False
seen = [status(""), status("api/searches")]
print(*seen, status("search/big/stop", "POST"), status("search/big/start", "POST"), readable)
"""


def test_another_user_of_the_machine_neither_sees_nor_stops_anything(home: Path, run_cli: Cli) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    run_cli("tokens", "add", "bob", "--home", str(home))
    with running(str(home), "--address", "http://127.0.0.1:1") as (_, address):
        words = [sys.executable, "-c", STRANGER, address.url, str(home / "dashboard-tokens.json")]
        seen = subprocess.run(words, capture_output=True, text=True, check=True)
        assert seen.stdout.split() == ["401", "401", "401", "401", "False"]
        assert json.loads(address.ask("api/acts")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no ledger at nowhere"),
        (["--home", "nowhere"], "run a search first"),
        (["--token", "short"], "at least 12 characters"),
        (["--host", "0.0.0.0", "--no-token"], "leave --no-token out"),
        (["--no-token", "--token", "a-token-that-is-long"], "give one of --token"),
        (["--token-file", "nowhere"], "token file nowhere: No such file"),
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
