"""JSON of every page, and tables for download."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Response

from piip_dashboards.runs.health import HealthView
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import Paid, conventions, own_axis
from piip_dashboards.views.choosing import Answers, choices
from piip_dashboards.views.compare import Comparison, comparison
from piip_dashboards.views.design import DesignView, design_view
from piip_dashboards.views.effects import EffectsView
from piip_dashboards.views.listing import Listing, listing
from piip_dashboards.views.overview import Overview, overview
from piip_dashboards.views.progress import Progress, progress_of
from piip_dashboards.views.table import DesignTable, design_table
from piip_dashboards.web.downloads import TableRows, as_csv, as_parquet, evaluation_rows, front_rows
from piip_dashboards.web.service import Service
from piip_search.cost import Convention

TierQuery = Annotated[float | None, Query(gt=0, description="GMACs; the widest tier by default.")]
Below = Annotated[float | None, Query(ge=0, description="Distance from the best; the noise between seeds by default.")]
DesignsQuery = Annotated[list[str], Query(description="Fingerprints of two to four designs.")]
DOWNLOAD_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def api(service: Service) -> APIRouter:
    """The routes under `/api`."""
    router = APIRouter(prefix="/api")

    @router.get("/versions")
    def versions() -> dict[str, int]:
        """The last position of every run, which grows with every event; quick enough to ask every second."""
        return service.shelf.positions()

    @router.get("/searches")
    def searches() -> Listing:
        """All searches, newest first."""
        return listing(service.shelf, service.now())

    @router.get("/searches/{run}")
    def search(run: str) -> Overview:
        """One search: state, tiers with their fronts, rungs, workers, failures."""
        return overview(service.reading(run), service.shelf.driven(run), service.now())

    @router.get("/searches/{run}/designs")
    def designs(
        run: str, metric: str | None = None, convention: Convention | None = None, axis: Paid | None = None
    ) -> DesignTable:
        """All designs of a search in columns, on chosen axes; the search's own by default."""
        reading = service.reading(run)
        return design_table(reading, *axes_of(reading, metric, convention), axis or own_axis(reading))

    @router.get("/searches/{run}/progress")
    def progress(run: str) -> Progress:
        """Hypervolume and best of each tier over evaluations and hours."""
        return progress_of(service.reading(run))

    @router.get("/searches/{run}/health")
    def health(run: str) -> HealthView:
        """Problems of a search, with ways out."""
        return service.examination.of(service.reading(run), service.shelf.driven(run), service.now())

    @router.get("/searches/{run}/effects")
    def effects(run: str) -> EffectsView:
        """Effects of single choices, and the importance of each kind of choice beyond cost."""
        return service.what_matters(service.reading(run))

    @router.get("/searches/{run}/designs/{fingerprint}")
    def design(run: str, fingerprint: str) -> DesignView:
        """Everything about one design."""
        reading = service.reading(run)
        return design_view(reading, service.design(reading, fingerprint))

    @router.get("/searches/{run}/compare")
    def compare(run: str, design: DesignsQuery) -> Comparison:
        """Two to four designs side by side."""
        return compared(service, run, design)

    @router.get("/searches/{run}/choose")
    def choose(run: str, tier: TierQuery = None, below: Below = None) -> Answers:
        """The choice of a design, with its evidence."""
        return choices(service.reading(run), tier, below)

    @router.get("/searches/{run}/space.yaml", response_class=Response)
    def space(run: str) -> Response:
        """The search space as a file with which piip-search run resumes the search."""
        return _file(service.space(run).encode(), "application/yaml", f"{run}.yaml")

    @router.get("/searches/{run}/{table}.{ending}", response_class=Response)
    def download(run: str, table: Literal["evaluations", "front"], ending: Literal["csv", "parquet"]) -> Response:
        """A table for download: every evaluation, or the members of each tier's front."""
        reading = service.reading(run)
        rows: TableRows = evaluation_rows(reading) if table == "evaluations" else front_rows(reading)
        content = as_csv(rows) if ending == "csv" else as_parquet(rows)
        return _file(content, DOWNLOAD_TYPES[ending], f"{run}-{table}.{ending}")

    return router


def _file(content: bytes, kind: str, name: str) -> Response:
    """A file for download; its name is plain for any name of the run."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{plain}"'})


def axes_of(reading: RunSnapshot, metric: str | None, convention: Convention | None) -> tuple[str, Convention]:
    """The requested metric and convention; the search's own by default."""
    metric, convention = metric or reading.objectives.metric, convention or reading.spec.limit.convention
    if metric not in reading.metrics:
        raise HTTPException(400, f"{metric!r} was not measured; there are {', '.join(reading.metrics)}")
    if convention not in conventions(reading):
        raise HTTPException(400, f"designs of this search have no cost under {convention!r}")
    return metric, convention


def compared(service: Service, run: str, fingerprints: list[str]) -> Comparison:
    """The comparison of designs, or an error with the reason."""
    reading = service.reading(run)
    for fingerprint in fingerprints:
        service.design(reading, fingerprint)
    try:
        return comparison(reading, fingerprints)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
