"""A home of somebody else, which may only be read: everything that reads works, and leaves no trace."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate
from piip_search.ledger import Ledger, sqlite_url
from piip_search.search.search import open_search
from support import ROOT, fakes, small_ledger

READER = "23456"
Typed = Callable[..., "subprocess.CompletedProcess[str]"]


def _as_reader() -> list[str]:
    """What a command begins with so that its process may not write what this one does."""
    if os.geteuid() != 0:
        return []
    found = shutil.which("setpriv")
    if found is None:
        pytest.skip("root may write everything, and there is no setpriv to be somebody else")
    return [found, "--reuid", READER, "--regid", READER, "--clear-groups", "--inh-caps=-all"]


@pytest.fixture(scope="module")
def reader() -> list[str]:
    """A Python of somebody who may only read."""
    command = [*_as_reader(), sys.executable]
    tried = subprocess.run(
        [*command, "-c", "import piip_search.cli"], capture_output=True, text=True, env=_environment(), check=False
    )
    if tried.returncode:
        pytest.skip(f"nobody else may run this Python: {tried.stderr.strip()[-200:]}")
    return command


def _environment() -> dict[str, str]:
    folders = os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards"))
    return {**os.environ, "PYTHONPATH": folders, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def home(spec: SearchSpec) -> Iterator[Path]:
    """A home with a finished search, not writable yet, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "runs"
        small_ledger.fill(place, spec, trials=4).close()
        yield place
        _chmod(place, 0o755, 0o644)


def _chmod(home: Path, folders: int, files: int) -> None:
    for path in (home, *home.rglob("*")):
        path.chmod(folders if path.is_dir() else files)


def frozen(home: Path) -> dict[str, bytes]:
    """Takes the right to write away, and tells what is in the home."""
    _chmod(home, 0o555, 0o444)
    return content(home)


def content(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.fixture
def typed(reader: list[str], home: Path, tmp_path: Path) -> Typed:
    """Types a command about the home as somebody who may only read it, in a folder of their own."""
    own = home.parent / "own"
    own.mkdir()
    own.chmod(0o777)

    def run(*arguments: str, there: bool = True) -> "subprocess.CompletedProcess[str]":
        words = [*reader, "-m", "piip_search.cli", *arguments, *(["--home", str(home)] if there else [])]
        return subprocess.run(words, capture_output=True, text=True, env=_environment(), cwd=own, check=False)

    return run


@pytest.mark.slow
def test_everything_that_reads_works_and_leaves_no_trace(typed: Typed, home: Path) -> None:
    before = frozen(home)
    for arguments, said in (
        (["show"], "small: 4 of 4"),
        (["show", "small"], "4 done, 0 failed"),
        (["front", "small", "--quiet"], "vit_"),
        (["report", "small", "--json"], '"run"'),
        (["ledger", "list", "--quiet"], "small"),
        (["ledger", "export", "-o", "table.csv"], "wrote 4 rows"),
    ):
        ended = typed(*arguments)
        assert (ended.returncode, ended.stderr) == (0, ""), arguments
        assert said in ended.stdout
    merged = typed("ledger", "merge", str(home), "--home", "mine", there=False)
    assert merged.stdout == "small: 8 rows added\n"
    assert content(home) == before


def test_the_dashboard_shows_it(reader: list[str], home: Path) -> None:
    pytest.importorskip("uvicorn")
    before = frozen(home)
    words = [*reader, "-u", "-m", "piip_search.cli", "dashboard", "--port", "0", "--no-browser", "--home", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"(http://\S+/)\?token=(\S+)", process.stdout.readline())
            assert found is not None
            for page, said in (("api/versions", b'{"small":8}'), ("search/small", b"small")):
                asked = urllib.request.Request(f"{found[1]}{page}", headers={"authorization": f"Bearer {found[2]}"})
                with urllib.request.urlopen(asked) as answer:
                    assert said in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
    assert content(home) == before


@pytest.mark.parametrize("arguments", [["ledger", "merge", "OTHER"], ["audit", "small", "--on", "local"]])
def test_what_writes_is_refused_at_once(typed: Typed, home: Path, arguments: list[str]) -> None:
    before = frozen(home)
    ended = typed(*(str(home) if word == "OTHER" else word for word in arguments))
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert re.search(r"may only be read here \(it belongs to \S+, mode 0444\); name a place of your own", ended.stderr)
    assert content(home) == before


def measured(book: Ledger, spec: SearchSpec, run: str) -> None:
    """Writes another run, and stays its writer."""
    search = open_search(run, spec.model_copy(update={"sampler": "random", "seed": 7}), book, "recipe")
    candidate = search.propose()
    assert isinstance(candidate, Candidate)
    search.accept(fakes.measure(candidate))


def test_what_is_being_written_is_read_as_far_as_it_got(typed: Typed, home: Path, spec: SearchSpec) -> None:
    """The last rows are in the log beside the file as long as its writer lives, and then in the file."""
    with closing(Ledger(sqlite_url(home / "ledger.db"))) as book:
        measured(book, spec, "second")
        frozen(home)
        assert (home / "ledger.db-wal").stat().st_size
        assert "second: 1 of 1" in typed("show").stdout
    assert not (home / "ledger.db-wal").exists()
    assert "second: 1 of 1" in typed("show").stdout


def test_a_log_that_its_writer_left_is_read(typed: Typed, home: Path, spec: SearchSpec) -> None:
    with closing(Ledger(sqlite_url(home / "ledger.db"))) as book:
        measured(book, spec, "second")
        killed = content(home)
    for path, held in killed.items():
        Path(path).write_bytes(held)
    before = frozen(home)
    assert "second: 1 of 1" in typed("show").stdout
    assert content(home) == before
    home.chmod(0o755)
    (home / "ledger.db-shm").unlink()  # as in a copy
    frozen(home)
    ended = typed("show")
    assert (ended.returncode, "ledger.db-wal holds changes that are not in the file yet" in ended.stderr) == (2, True)
    assert "copy both into a folder of yours" in ended.stderr


def test_without_a_log_it_is_read_too(typed: Typed, home: Path) -> None:
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    before = frozen(home)
    assert "small: 4 of 4" in typed("show").stdout
    assert content(home) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "a newer version wrote it"),
        ("DROP TABLE alembic_version", "the file is no ledger"),
    ],
)
def test_a_ledger_that_would_have_to_be_changed_is_one_message(
    typed: Typed, home: Path, change: str, said: str
) -> None:
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        connection.execute(change)
    before = frozen(home)
    ended = typed("show")
    assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (2, "", False)
    assert said in ended.stderr
    assert content(home) == before


def test_asking_makes_no_ledger_of_another_file(typed: Typed, home: Path) -> None:
    with closing(sqlite3.connect(home / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE thing (id INTEGER)")
    (home / "text.db").write_text("no database at all, but long enough to be taken for one " * 20, encoding="utf-8")
    for name, said in (("other.db", "the file is no ledger"), ("text.db", "file is not a database")):
        ended = typed("show", "--ledger", f"sqlite:///{home / name}")
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr
