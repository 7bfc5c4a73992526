"""Dashboards of ledgers, as a program visits them."""

from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from piip_dashboards.runs.health import Examination
from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.web.access import Guard
from piip_dashboards.web.app import create_app
from piip_dashboards.web.service import Service
from piip_search.api.page_actions import page_actions
from piip_search.api.runs import health_of
from piip_search.ledger import Ledger

TOKEN = "a-token-that-is-long"


@dataclass(frozen=True)
class Site:
    """A dashboard with its ledger."""

    ledger: Ledger
    home: Path
    service: Service
    client: TestClient


def site_of(ledger: Ledger, home: Path) -> Site:
    service = Service(RunCache(ledger, home), Examination(health_of), page_actions(None, home))
    return Site(ledger, home, service, client_of(service))


def client_of(service: Service) -> TestClient:
    """A program with the token of the start."""
    app = create_app(service, Guard(TOKEN, 8400))
    return TestClient(app, base_url="http://localhost:8400", headers={"authorization": f"Bearer {TOKEN}"})
