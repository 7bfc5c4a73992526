"""A strict world for every test: seeds are arguments, nothing is read from or written to the user's folders."""

import os
from pathlib import Path

import pytest

from piip_search.spec import SearchSpec, parse_spec

os.environ["HF_HUB_OFFLINE"] = "1"  # a refused download is refused at once


@pytest.fixture(autouse=True)
def _own_folders(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIIP_SEARCH_CACHE", str(cache))
    for name in ("PIIP_SEARCH_HOME", "PIIP_SEARCH_LEDGER", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where embedded data sets are composed, once for all tests."""
    return tmp_path_factory.mktemp("cache")
