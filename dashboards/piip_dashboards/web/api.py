"""JSON of every page, and tables for download."""

import os
from asyncio import wrap_future
from functools import partial
from typing import IO, Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from piip_dashboards.runs.health import HealthView
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import Paid, conventions, own_axis
from piip_dashboards.views.choosing import Answers, choices
from piip_dashboards.views.compare import Comparison, comparison
from piip_dashboards.views.design import DesignView, design_view
from piip_dashboards.views.effects import EffectsView
from piip_dashboards.views.listing import Listing, listing
from piip_dashboards.views.overview import Overview
from piip_dashboards.views.progress import Progress, progress_of
from piip_dashboards.views.table import DesignTable, design_table, with_baselines
from piip_dashboards.web.downloads import KeptTable, TableEnding, TableName, blocks, write_table
from piip_dashboards.web.jobs import JobView
from piip_dashboards.web.service import Service
from piip_search.cost import Convention

TierQuery = Annotated[
    float | None, Query(gt=0, description="Cost on the axis of the tiers; the widest tier by default.")
]
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

    @router.get("/acts")
    def acts() -> list[JobView]:
        """What pages have started: the running act, those that wait in their order, and the latest that ended."""
        return service.jobs.all()

    @router.get("/searches/{run}")
    def search(run: str) -> Overview:
        """One search: state, tiers with their fronts, rungs, workers, failures."""
        return service.overview(run)

    @router.get("/searches/{run}/designs")
    def designs(
        run: str, metric: str | None = None, convention: Convention | None = None, axis: Paid | None = None
    ) -> DesignTable:
        """All designs of a search in columns, on chosen axes; the search's own by default."""
        reading = service.reading(run)
        table = design_table(reading, *axes_of(reading, metric, convention), axis or own_axis(reading))
        return with_baselines(table, reading, service.shelf.baselines(reading))

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
    async def download(run: str, table: TableName, ending: TableEnding, request: Request) -> Response:
        """A table for download: every evaluation, or the members of each tier's front."""
        # A visitor who waits for a table takes no thread, so that other pages have theirs.
        reading = await run_in_threadpool(service.reading, run)
        state = (reading.position, len(reading.unreadable))
        make = partial(write_table, reading, table, ending)
        kept, file = await wrap_future(service.tables.open((run, table, ending), state, ending == "csv", make))
        return _stream(kept, file, request, DOWNLOAD_TYPES[ending], f"{run}-{table}.{ending}")

    return router


def _file(content: bytes, kind: str, name: str) -> Response:
    """A file for download."""
    return Response(content, media_type=kind, headers=_as_file(name))


def _stream(kept: KeptTable, file: IO[bytes], request: Request, kind: str, name: str) -> Response:
    """A table for download in blocks, decompressed for a program that cannot do it."""
    unpack = kept.packed and "gzip" not in request.headers.get("accept-encoding", "")
    encoding = "gzip" if kept.packed and not unpack else "identity"
    headers = {**_as_file(name), "content-encoding": encoding, "vary": "accept-encoding"}
    if not unpack:
        headers["content-length"] = str(os.fstat(file.fileno()).st_size)
    return StreamingResponse(blocks(file, unpack), media_type=kind, headers=headers)


def _as_file(name: str) -> dict[str, str]:
    """The header of a file to save; its name is plain for any name of the run."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return {"content-disposition": f'attachment; filename="{plain}"'}


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
