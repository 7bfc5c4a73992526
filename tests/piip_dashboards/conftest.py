"""Dashboards of ledgers in temporary folders; without the extra nothing here is collected."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from support import ledgers

if not all(importlib.util.find_spec(name) for name in ("fastapi", "plotly", "pyarrow", "httpx2")):
    collect_ignore_glob = ["test_*.py", "*/test_*.py"]
else:
    from support import falling as falling_search
    from support.sites import Site, site_of

    @pytest.fixture(scope="session")
    def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        """A ledger with a finished search of rungs, failures and replicates; nobody writes to it."""
        home = tmp_path_factory.mktemp("past")
        ledger = Ledger(f"sqlite:///{home}/ledger.db")
        ledgers.fill(ledger, ledgers.published_spec(60), failing=0.08, replicates=3)
        yield site_of(ledger, home)
        ledger.close()

    @pytest.fixture
    def empty(tmp_path: Path) -> Iterator[Site]:
        """A ledger without a search."""
        ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
        yield site_of(ledger, tmp_path)
        ledger.close()

    @pytest.fixture
    def falling(tmp_path: Path, spec: SearchSpec) -> Iterator[Site]:
        """A ledger with a finished search of a metric that falls."""
        with falling_search.registered():
            ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
            falling_search.fill(ledger, falling_search.falling_of(spec))
            yield site_of(ledger, tmp_path)
            ledger.close()
