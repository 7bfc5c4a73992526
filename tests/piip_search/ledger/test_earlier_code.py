"""A ledger that the code wrote before it was divided into rooms goes on with equal proposals."""

import sqlite3
from pathlib import Path

import pytest

from piip_search.config import parse_spec
from piip_search.ledger import Ledger
from piip_search.search.search import open_search
from support import fakes

PROPOSALS = {
    "random": [
        "vit_nano@64:w4",
        "vit_micro@32:g+vit_nano@64:g+vit_pico@96:g*1",
        "vit_pico@128:g",
        "vit_micro@32:w4+vit_nano@96:g*0",
        "vit_micro@32:w4+vit_pico@128:g*0",
    ],
    "piip": [
        "vit_micro@32:w4+vit_nano@64:w4+vit_pico@96:w4*2",
        "vit_pico@128:g",
        "vit_micro@32:w4",
        "vit_nano@32:w4+vit_pico@64:w4*2",
        "vit_pico@32:w4",
    ],
}
"""What that code proposed from the eighth design on in a search that was not interrupted."""
DUMP = Path(__file__).parent / "ledger_before_rooms.sql"


@pytest.mark.parametrize("run", PROPOSALS)
def test_a_ledger_of_earlier_code_goes_on(run: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    connection.close()
    ledger = Ledger(f"sqlite:///{file}")
    spec = parse_spec(dict(ledger.search(run).spec), recorded=True)
    search = open_search(run, spec, ledger, "recipe")
    assert search.replayed == 7
    found = []
    while (candidate := search.propose()) is not None:
        found.append(candidate.design.name)
        search.accept(fakes.measure(candidate))
    search.finish()
    assert found == PROPOSALS[run]
    ledger.close()
