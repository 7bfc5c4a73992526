"""Dashboards of ledgers, as a program visits them."""

from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from piip_dashboards.app import create_app
from piip_dashboards.examination import Examination
from piip_dashboards.service import Service
from piip_dashboards.shelf import Shelf
from piip_search.ledger import Ledger
from piip_search.wiring.history import health_of


@dataclass(frozen=True)
class Site:
    """A dashboard with its ledger."""

    ledger: Ledger
    home: Path
    service: Service
    client: TestClient


def site_of(ledger: Ledger, home: Path) -> Site:
    service = Service(Shelf(ledger, home), Examination(health_of))
    return Site(ledger, home, service, TestClient(create_app(service), base_url="http://localhost:8400"))
