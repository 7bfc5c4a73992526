"""Whoever only reads a ledger of an earlier version reads it as it is; whoever writes it migrates it, after a copy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from piip_search.ledger.tables import NEWEST
from support import small_ledger
from support.postgres import Postgres
from support.typed import Cli


def downgraded(url: str, to: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", "piip_search.ledger:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)
    engine.dispose()


@pytest.fixture
def home(spec: SearchSpec, tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    small_ledger.fill(folder, spec, trials=3).close()
    return folder


def revision(home: Path) -> str:
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
def test_a_reader_sees_all_and_changes_nothing(home: Path, version: str) -> None:
    url = f"sqlite:///{home}/ledger.db"
    with closing(Ledger(url, reading=True)) as ledger:
        events = list(ledger.events("small"))
    downgraded(url, version)
    before = (home / "ledger.db").read_bytes()
    with closing(Ledger(url, reading=True)) as ledger:
        assert list(ledger.events("small")) == events
        (record,) = ledger.searches()
        assert (record.name, record.evaluations, record.owner.known, record.is_audit) == ("small", 3, False, False)
        assert len(record.uid) == 32
        assert (ledger.actions(), ledger.preparations("small"), ledger.driven("small")) == ([], [], False)
        assert "has no chain yet" in ledger.verify("small").problems[0]
    assert (home / "ledger.db").read_bytes() == before
    assert revision(home) == version


def test_commands_that_look_do_not_migrate_and_upgrade_does_after_a_copy(home: Path, run_cli: Cli) -> None:
    downgraded(f"sqlite:///{home}/ledger.db", "0003")
    where = ["--home", str(home)]
    for words in (["show"], ["show", "small"], ["front", "small"], ["ledger", "list"]):
        assert run_cli(*words, *where).code == 0
    assert revision(home) == "0003"
    upgraded = run_cli("ledger", "upgrade", *where)
    assert "upgraded from version 0003" in upgraded.err
    assert revision(home) == NEWEST
    with closing(sqlite3.connect(home / "ledger.db-0003")) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
        assert kept.execute("SELECT count(*) FROM evaluation").fetchone() == (3,)
    assert "are of this version" in run_cli("ledger", "upgrade", *where).err
    assert run_cli("ledger", "verify", *where).code == 0
    assert "upgraded" in run_cli("ledger", "log", *where).out


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("version", ["0001", "0004"])
def test_older_tables_of_a_server_are_read_too(postgres: Postgres, version: str) -> None:
    url = postgres.database()
    with closing(Ledger(url)) as ledger:
        ledger.start("one", "question", "recipe", {"seed": 3})
    downgraded(url, version)
    with closing(Ledger(url, reading=True)) as ledger:
        (record,) = ledger.searches()
        assert (record.name, record.spec, record.owner.known) == ("one", {"seed": 3}, False)
        assert len(record.uid) == 32
        assert ledger.actions() == []
