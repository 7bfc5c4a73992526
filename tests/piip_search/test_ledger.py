from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from piip_search.architecture import Architecture
from piip_search.evaluation import Candidate, Evaluation, Fidelity
from piip_search.ledger import Ledger, LedgerError, _Table

CANDIDATE = Candidate(0, Architecture.parse("vit_nano@64:g+vit_pico@128:w4*2"), Fidelity(epochs=3), seed=5)
DONE = Evaluation(CANDIDATE, "done", {"bbox_mAP": 0.25}, seconds=2.5, history=({"epoch": 1.0, "loss": 3.0},),
                  facts={"host": "here"})  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    book = Ledger(f"sqlite:///{tmp_path}/new/folder/ledger.db")
    book.start("one", "question", "recipe", {"metric": "bbox_mAP"})
    return book


def test_what_is_written_is_read_back_in_order(ledger: Ledger) -> None:
    second = Candidate(1, Architecture.parse("vit_pico@32:g"), Fidelity())
    failed = Evaluation(second, "failed", error="out of memory")
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.propose("one", second, "recipe")
    ledger.accept("one", failed, "recipe")
    ledger.accept("one", DONE, "recipe")
    assert list(Ledger(ledger.url).events("one")) == [CANDIDATE, second, failed, DONE]
    record = ledger.search("one")
    assert (record.proposals, record.evaluations) == (2, 2)


def test_the_unfinished_and_since_when(ledger: Ledger) -> None:
    second = Candidate(1, Architecture.parse("vit_pico@32:g"), Fidelity())
    ledger.propose("one", CANDIDATE, "recipe")
    ledger.propose("one", second, "recipe")
    ledger.accept("one", DONE, "recipe")
    ((candidate, seconds),) = ledger.unfinished("one").items()
    assert candidate == second
    assert 0 <= seconds < 60
    with pytest.raises(LedgerError, match="it holds: one"):
        ledger.unfinished("two")


def test_only_successes_of_the_same_measurement_are_found(ledger: Ledger) -> None:
    ledger.propose("one", CANDIDATE, "recipe")
    assert ledger.find(CANDIDATE.key("recipe")) is None
    ledger.accept("one", DONE, "recipe")
    assert ledger.find(CANDIDATE.key("recipe")) == ("one", DONE)
    assert ledger.find(CANDIDATE.key("other recipe")) is None
    other_seed = Candidate(0, CANDIDATE.architecture, CANDIDATE.fidelity, seed=6)
    assert ledger.find(other_seed.key("recipe")) is None


def test_a_run_cannot_change_its_question(ledger: Ledger) -> None:
    ledger.start("one", "question", "recipe", {"metric": "bbox_mAP"})
    with pytest.raises(LedgerError, match=r"changed since: metric.*--name"):
        ledger.start("one", "another", "recipe", {"metric": "bbox_mAP_50"})
    with pytest.raises(LedgerError, match="changed since: data"):
        ledger.start("one", "question", "other data", {"metric": "bbox_mAP"})


def test_an_unknown_run_names_the_known(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="it holds: one"):
        ledger.evaluations("two")


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/ledger.db", "oracle+nosuch://x"])
def test_a_ledger_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(url)


def test_passwords_are_not_shown() -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger("postgresql+nosuchdriver://user:secret@localhost/x")
    assert "secret" not in str(caught.value)


def test_migrations_make_the_tables_that_the_code_expects(ledger: Ledger) -> None:
    with create_engine(ledger.url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), _Table.metadata) == []


def test_migrations_go_both_ways(ledger: Ledger) -> None:
    engine = create_engine(ledger.url)
    config = Config()
    config.set_main_option("script_location", "piip_search:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
        command.upgrade(config, "head")
        assert "evaluation" in inspect(connection).get_table_names()
    engine.dispose()
