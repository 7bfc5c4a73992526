"""A ledger that the code wrote before it was divided into rooms goes on with equal proposals."""

import sqlite3
from pathlib import Path

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.search import Search, open_search
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


def test_a_search_that_priced_squares_goes_on_with_them(spec: SearchSpec, tmp_path: Path) -> None:
    """Costs count the short side of the training since `limit.image`; a search keeps the costs that it began with."""
    wide = spec.model_copy(update={"training": spec.training.model_copy(update={"short_side": 0.5})})
    squares = wide.model_copy(update={"limit": wide.limit.model_copy(update={"image": None})})
    ledgers = [Ledger(f"sqlite:///{tmp_path}/{name}.db") for name in ("whole", "cut")]
    undisturbed = open_search("run", squares, ledgers[0], "recipe")
    names = [_next(undisturbed) for _ in range(8)]
    begun = open_search("run", squares, ledgers[1], "recipe")
    assert [_next(begun) for _ in range(4)] == names[:4]
    with sqlite3.connect(tmp_path / "cut.db") as connection:  # as an earlier version recorded it
        connection.execute("DROP TRIGGER search_no_update")
        connection.execute("UPDATE search SET spec = json_remove(spec, '$.limit.image')")
    connection.close()
    assert wide.question == squares.question
    going = open_search("run", wide, ledgers[1], "recipe")
    design = squares.space.build().decode(feasible_designs(squares)[1].rows_ND[0])
    assert going.objectives.price(design) == squares.objectives.price(design) > wide.objectives.price(design)
    assert [_next(going) for _ in range(4)] == names[4:]


def _next(search: Search) -> str:
    candidate = search.propose()
    assert candidate is not None
    search.accept(fakes.measure(candidate))
    return candidate.design.name
