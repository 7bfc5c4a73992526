"""What a user keeps out of the URL of a PostgreSQL ledger, and what they ask for in it, reaches PostgreSQL's client."""

from pathlib import Path

import pytest

from support.asking_postgres import asking_postgres
from support.typed import Cli

pytest.importorskip("psycopg")


def test_a_password_comes_from_a_password_file(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking_postgres() as server:
        (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:piip:me:hunter2\n", encoding="utf-8")
        (tmp_path / "pgpass").chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        ended = run_cli("show", "coco", "--ledger", f"postgresql://me@127.0.0.1:{server.port}/piip")
    assert server.passwords[:1] == ["hunter2"]
    assert "the password is wrong" in ended.err
    assert "hunter2" not in ended.err


def test_everything_comes_from_a_service(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking_postgres() as server:
        lines = ["[piip]", "host=127.0.0.1", f"port={server.port}", "user=me", "dbname=piip", "password=hunter2"]
        (tmp_path / "services").write_text("\n".join(lines) + "\n", encoding="utf-8")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        ended = run_cli("show", "coco", "--ledger", "postgresql://?service=piip")
    assert server.passwords[:1] == ["hunter2"]
    assert "hunter2" not in ended.err


def test_tls_is_asked_for_as_the_url_says(run_cli: Cli, tmp_path: Path) -> None:
    with asking_postgres() as server:
        url = f"postgresql://me@127.0.0.1:{server.port}/piip?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
        ended = run_cli("show", "coco", "--ledger", url)
    assert (ended.code, server.passwords) == (2, [])
    assert f"{tmp_path}/ca.pem" in ended.err or "server does not support SSL" in ended.err
    with asking_postgres() as server:
        run_cli("show", "coco", "--ledger", f"postgresql://me@127.0.0.1:{server.port}/piip?sslmode=disable")
    assert server.asked_tls == 0
