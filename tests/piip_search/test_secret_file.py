"""Files of secrets: who can read them, and what they hold."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from piip_search.errors import UserError
from piip_search.redact import is_secret, without_secrets
from piip_search.secret_file import load_secrets, read_secrets, write_secrets
from support.typed import Cli

VALUES = {"PIIP_SEARCH_LEDGER": 'postgresql://me:a"b\\c@host/piip', "KEY": "line\nanother line", "EMPTY": ""}


def test_a_file_is_read_as_it_is_written_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".secrets-me" / "coco.env"
    write_secrets(path, {"OLD": "x"})
    write_secrets(path, VALUES)
    assert read_secrets(path) == VALUES
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o600]
    assert [one.name for one in path.parent.iterdir()] == ["coco.env"]
    environment = {"PIIP_SEARCH_SECRETS": str(path), "PIIP_SEARCH_LEDGER": "postgresql://me@host/piip"}
    load_secrets(environment)
    assert {name: environment[name] for name in VALUES} == VALUES


def test_a_file_may_be_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('# mine\n\nexport A = plain = text\nB="quoted\\n"\nC=\n', encoding="utf-8")
    (tmp_path / "file").chmod(0o600)
    assert read_secrets(tmp_path / "file") == {"A": "plain = text", "B": "quoted\n", "C": ""}


@pytest.mark.parametrize("text", ["hunter2", "1A=hunter2", 'A="hunter2', "A=[]\nhunter2"])
def test_a_wrong_line_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text, encoding="utf-8")
    (tmp_path / "file").chmod(0o600)
    with pytest.raises(UserError, match=r"line \d: a line is NAME=value") as caught:
        read_secrets(tmp_path / "file")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "file").write_text("A=b", encoding="utf-8")
    (tmp_path / "file").chmod(mode)
    with pytest.raises(UserError, match=r"run: chmod 600 .*file"):
        read_secrets(tmp_path / "file")


def test_a_file_that_is_not_there_is_one_error(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIIP_SEARCH_SECRETS", str(tmp_path / "none"))
    ended = run_cli("show", "coco")
    assert ended.code == 2
    assert "cannot be read by the user with id" in ended.err
    assert "No such file or directory" in ended.err
    with pytest.raises(UserError, match="is no file"):
        read_secrets(Path(os.devnull))


def test_commands_take_the_ledger_from_the_file(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secrets(tmp_path / "own" / "file", {"PIIP_SEARCH_LEDGER": f"sqlite:///{tmp_path}/elsewhere.db"})
    monkeypatch.setenv("PIIP_SEARCH_LEDGER", "")
    monkeypatch.setenv("PIIP_SEARCH_SECRETS", str(tmp_path / "own" / "file"))
    assert f"no ledger at {tmp_path}/elsewhere.db" in run_cli("show", "coco").err


AS_ANOTHER = """
import os, sys
from pathlib import Path
from piip_search.secret_file import read_secrets, write_secrets
os.setgroups([]), os.setgid(65534), os.setuid(65534)
for act in (lambda: read_secrets(Path(sys.argv[1])), lambda: write_secrets(Path(sys.argv[1]), {"A": "b"})):
    try:
        act()
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_another_user_neither_reads_nor_replaces_a_file() -> None:
    with tempfile.TemporaryDirectory() as shared:  # pytest's own folders are closed to others
        Path(shared).chmod(0o777)
        path = Path(shared) / ".secrets-me" / "coco.env"
        write_secrets(path, VALUES)
        words = [sys.executable, "-c", AS_ANOTHER, str(path)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        read, written = ended.stdout.splitlines()
        assert "UserError" in read
        assert "Permission denied" in read
        assert "is no folder of this user" in written
        assert read_secrets(path) == VALUES


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "x", True),
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("WANDB_API_KEY", "x", True),
        ("MLFLOW_TRACKING_PASSWORD", "x", True),
        ("PGPASSWORD", "x", True),
        ("PROXY", "http://me:pw@proxy:3128", True),
        ("DATABASE", "postgresql://me:a/b@host/db", True),
        ("DATABASE", "postgresql://me@host/db?sslpassword=x", True),
        ("PGPASSFILE", "/shared/pgpass", False),
        ("PROXY", "http://proxy:3128", False),
        ("DATABASE", "postgresql://me@host/db?sslmode=verify-full", False),
        ("OMP_NUM_THREADS", "4", False),
    ],
)
def test_secrets_are_known_by_name_or_value(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) == secret


def test_the_password_of_a_key_is_masked() -> None:
    assert without_secrets("postgresql://me@host/db?sslpassword=x&a=b") == "postgresql://me@host/db?sslpassword=***&a=b"


def test_a_password_in_a_command_line_is_noted(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/none"
    pytest.importorskip("psycopg")
    ended = run_cli("show", "coco", "--ledger", url)
    assert "note: other users of this machine can read the password of --ledger" in ended.err
    assert "set PIIP_SEARCH_LEDGER instead" in ended.err
    assert "hunter2" not in ended.out + ended.err
    monkeypatch.setenv("PIIP_SEARCH_LEDGER", url)
    assert "note:" not in run_cli("show", "coco").err
