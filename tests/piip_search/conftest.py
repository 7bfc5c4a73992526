"""A ledger that a search has filled."""

from pathlib import Path

import pytest

from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from piip_search.search.search import open_search
from support import fakes


@pytest.fixture
def finished(tmp_path: Path, spec: SearchSpec) -> list[str]:
    """Options that lead to the ledger of a finished run named small."""
    search = open_search("small", spec, Ledger(f"sqlite:///{tmp_path}/runs/ledger.db"), "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(fakes.measure(candidate))
    return ["--home", str(tmp_path / "runs")]
