"""PostgreSQL between people: what each role can do, and what nobody can."""

from contextlib import closing

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Fidelity
from piip_search.ledger import Ledger, LedgerError
from piip_search.ledger.roles import statements
from piip_search.ledger.tables import APPEND_ONLY
from support.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]
CANDIDATE = Candidate(0, Architecture.parse("vit_nano@64:g"), Fidelity(epochs=3), seed=5)


def executed(url: str, *words: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            for word in words:
                connection.execute(text(word))
    finally:
        engine.dispose()


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A database with roles of its own: roles belong to the whole server."""
    url = postgres.database()
    Ledger(url).close()
    prefix = prefix_of(url)
    logins = [
        f"CREATE ROLE {prefix}_{name} LOGIN; GRANT {prefix}_{role} TO {prefix}_{name}"
        for name, role in (("alice", "driver"), ("bob", "reader"), ("olga", "owner"))
    ]
    executed(url, *statements("public", prefix), *logins)
    return url


def prefix_of(url: str) -> str:
    return f"p{make_url(url).database}"


def login(url: str, name: str) -> str:
    return make_url(url).set(username=f"{prefix_of(url)}_{name}").render_as_string(hide_password=False)


def test_a_driver_searches_and_changes_nothing(url: str) -> None:
    with closing(Ledger(login(url, "alice"))) as ledger:
        ledger.start("one", "question", "recipe", {})
        ledger.propose("one", CANDIDATE, "recipe")
        ledger.keep_file("one", "model.py", "x = 1")
        assert ledger.verify("one").problems == ()
        for table in APPEND_ONLY:
            for change in (f"UPDATE {table} SET id = id + 1", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
                with pytest.raises(DBAPIError, match=r"permission denied|append-only"):
                    executed(login(url, "alice"), change)
        with pytest.raises(DBAPIError, match=r"must be owner|permission denied"):
            executed(login(url, "alice"), "ALTER TABLE search DISABLE TRIGGER ALL")


def test_not_even_the_owner_empties_a_table(url: str) -> None:
    for table in APPEND_ONLY:
        with pytest.raises(DBAPIError, match="append-only"):
            executed(login(url, "olga"), f"TRUNCATE {table} CASCADE")


def test_a_reader_reads_and_holds_nobody_up(url: str) -> None:
    with closing(Ledger(login(url, "alice"))) as alice, closing(Ledger(login(url, "bob"), reading=True)) as bob:
        alice.start("one", "question", "recipe", {})
        assert [record.name for record in bob.searches()] == ["one"]
        assert bob.driven("one")
        with pytest.raises(LedgerError, match="refuses: permission denied for table"):
            bob.note("exported", "one")
        with pytest.raises(LedgerError, match="refuses: permission denied for table"), bob.claim("one", "mirror"):
            pass
    # The lock that drove a search before claims were rows: everybody could take it.
    uid = "0" * 32
    with closing(Ledger(login(url, "alice"))) as alice:
        engine = create_engine(make_url(login(url, "bob")).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_try_advisory_lock({int(uid[:15], 16)})"))
            alice.start("one", "question", "recipe", {})
        engine.dispose()


def test_whoever_may_only_read_gets_one_message(url: str) -> None:
    with closing(Ledger(login(url, "bob"))) as bob, pytest.raises(LedgerError, match="permission denied") as caught:
        bob.start("two", "question", "recipe", {})
    assert "ask its owner for the right" in str(caught.value)


def test_tables_of_an_earlier_version_are_upgraded_by_their_owner(url: str) -> None:
    executed(url, "UPDATE alembic_version SET version_num = '0004'")
    with pytest.raises(LedgerError, match=r"the owner of the tables runs piip-search ledger upgrade"):
        Ledger(login(url, "alice"))
