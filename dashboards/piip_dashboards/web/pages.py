"""The pages: each appears immediately, and its script requests slow parts afterwards."""

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from piip_dashboards.drawing import formats
from piip_dashboards.drawing.architecture_svg import architecture_svg
from piip_dashboards.report.html import seen
from piip_dashboards.runs.examples import picture_file, read_examples, trial_with_checkpoint
from piip_dashboards.runs.run_cache import is_addressable
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.tasks import DRAWINGS
from piip_dashboards.views.axes import CONVENTION_TITLES, PAID, conventions, own_axis, paid_title
from piip_dashboards.views.choosing import choices
from piip_dashboards.views.design import design_view
from piip_dashboards.views.listing import SPARK, listing
from piip_dashboards.views.progress import sparkline
from piip_dashboards.web import assets
from piip_dashboards.web.api import Below, TierQuery, compared
from piip_dashboards.web.jobs import JobState, JobView
from piip_dashboards.web.reference import endpoints
from piip_dashboards.web.service import Service
from piip_dashboards.web.tokens import Visitor
from piip_search.architecture import Architecture
from piip_search.config import RUN_NAME
from piip_search.evaluation.evaluation import Evaluation
from piip_search.ledger import LedgerError
from piip_search.search.history import DesignHistory

Render = Callable[..., HTMLResponse]


@dataclass(frozen=True)
class QueuedAct:
    """The answer to an act: its state, and its place in the queue, which is 0 once it runs."""

    state: JobState
    place: int


@dataclass(frozen=True)
class PageLinks:
    """Addresses of pages, in which any name is one part of the path."""

    @staticmethod
    def search(run: str) -> str:
        return f"/search/{quote(run, safe='')}"

    @staticmethod
    def design(run: str, fingerprint: str) -> str:
        return f"/search/{quote(run, safe='')}/design/{quote(fingerprint, safe='')}"

    @staticmethod
    def data(run: str) -> str:
        return f"/api/searches/{quote(run, safe='')}"

    static = staticmethod(assets.address)


def renderer(service: Service) -> Render:
    """The function that renders a template; it escapes all values except known markup."""
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("piip_dashboards.web"),
                PrefixLoader({name: FileSystemLoader(drawing.template.parent) for name, drawing in DRAWINGS.items()}),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=seen,
    )
    environment.filters.update(formats.PAGE_FILTERS)
    environment.globals.update(
        address=PageLinks,
        ledger=service.shelf.shown,
        live=service.live,
        sheets=assets.sheets_of_plotly(),
        command=lambda *parts: " ".join(["piip-search", *map(shlex.quote, parts)]) + service.options,
        addressable=is_addressable,
        branches=_branches,
        options=service.options,
        drawing=_drawing,
    )

    def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(environment.get_template(template).render(**values), status)

    return render


def _branches(name: str) -> list[tuple[str, int]]:
    """Model and image size of each branch of a short form."""
    return [(branch.backbone, branch.resolution) for branch in Architecture.parse(name).branches]


def _drawing(name: str) -> Markup:
    return Markup(architecture_svg(Architecture.parse(name)))


def pages(service: Service, render: Render) -> APIRouter:
    """The routes of the pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/")
    def searches() -> HTMLResponse:
        return render("searches.html", records=list(reversed(service.shelf.records())))

    @router.get("/part/searches")
    def searches_part() -> HTMLResponse:
        found = listing(service.shelf, service.now())
        lines = {
            one.run: sparkline(one.progress.tiers[-1], *SPARK) for one in found.searches if one.progress is not None
        }
        return render("parts/searches.html", listing=found, lines=lines, spark=SPARK)

    @router.get("/api")
    def reference(request: Request) -> HTMLResponse:
        return render("reference.html", endpoints=endpoints(request.app.openapi()))

    @router.get("/search/{run}")
    def search(run: str) -> HTMLResponse:
        try:
            record = service.shelf.record(run)
        except LedgerError as error:
            raise HTTPException(404, str(error)) from None
        return render("search.html", run=run, record=record, cluster=service.cluster)

    @router.get("/queue")
    def queue() -> HTMLResponse:
        return render("queue.html")

    @router.get("/part/queue")
    def queue_part() -> HTMLResponse:
        return render("parts/queue.html", acts=service.jobs.all())

    @router.get("/search/{run}/part/{part}")
    def search_part(run: str, part: str, request: Request) -> HTMLResponse:
        reading = service.reading(run)
        if part == "health":
            found = service.examination.of(reading, service.shelf.driven(run), service.now())
            return render("parts/health.html", run=run, health=found)
        if part == "effects":
            effects = service.what_matters(reading)
            return render("parts/effects.html", run=run, effects=effects)
        if part == "axes":
            return render(
                "parts/axes.html",
                reading=reading,
                axes=_axes(reading),
                titles=CONVENTION_TITLES,
                conventions=conventions(reading),
            )
        if part == "cluster":
            job = service.jobs.view(service.cluster_key(run))
            driven = service.shelf.driven(run)
            return render(
                "parts/cluster.html",
                run=run,
                cluster=service.cluster,
                job=job,
                driven=driven,
                may_act=_visitor(request).may_act,
            )
        if part not in ("summary", "fronts", "rungs", "workers"):
            raise HTTPException(404, f"no part {part!r}")
        return render(f"parts/{part}.html", run=run, search=service.overview(run))

    @router.get("/search/{run}/compare")
    def compare(run: str, design: Annotated[list[str], Query()]) -> HTMLResponse:
        return render("compare.html", run=run, comparison=compared(service, run, design))

    @router.get("/search/{run}/choose")
    def choose(run: str, tier: TierQuery = None, below: Below = None) -> HTMLResponse:
        reading = service.reading(run)
        return render("choose.html", run=run, choices=choices(reading, tier, below), tiers=reading.tiers)

    @router.get("/search/{run}/design/{fingerprint}")
    def design(run: str, fingerprint: str) -> HTMLResponse:
        reading = service.reading(run)
        found = service.design(reading, fingerprint)
        folder = service.export_folder(run, fingerprint)
        return render(
            "design.html",
            run=run,
            design=design_view(reading, found),
            export_folder=folder,
            examples_of=DRAWINGS[reading.spec.task],
        )

    @router.get("/search/{run}/design/{fingerprint}/part/{part}")
    def design_part(run: str, fingerprint: str, part: str, request: Request) -> HTMLResponse:
        reading = service.reading(run)
        found = service.design(reading, fingerprint)
        if part == "export":
            job = service.jobs.view(service.export_key(run, fingerprint))
            return render(
                "parts/export.html",
                run=run,
                fingerprint=fingerprint,
                job=job,
                folder=service.export_folder(run, fingerprint),
                may_act=_visitor(request).may_act,
            )
        if part == "examples":
            return _examples_part(service, render, reading, found, _visitor(request).may_act)
        raise HTTPException(404, f"no part {part!r}")

    @router.get("/search/{run}/design/{fingerprint}/example/{name}", response_class=Response)
    def example(run: str, fingerprint: str, name: str) -> Response:
        reading = service.reading(run)
        trained = _trained(service, reading, service.design(reading, fingerprint))
        path = None if trained is None else picture_file(trained[1], name)
        if path is None:
            raise HTTPException(404, "no such picture")
        return FileResponse(path, headers={"cache-control": "no-cache"})

    @router.post("/search/{run}/{action}", response_class=JSONResponse)
    def drive(run: str, action: Literal["start", "stop"], request: Request) -> QueuedAct:
        service.reading(run)
        if service.cluster is None:
            raise HTTPException(409, "no cluster is known here; start the dashboard with --address http://HEAD:8265")
        if not re.fullmatch(RUN_NAME, run):
            raise HTTPException(409, f"no command can name a run {run!r}")
        act = service.end if action == "stop" else service.begin
        return _queued(act(run, service.cluster, _visitor(request).name))

    @router.post("/search/{run}/design/{fingerprint}/examples", response_class=JSONResponse)
    def make_examples(run: str, fingerprint: str, request: Request) -> QueuedAct:
        reading = service.reading(run)
        trained = _trained(service, reading, service.design(reading, fingerprint))
        if trained is None:
            raise HTTPException(409, "no checkpoint of this design is here")
        if not os.access(trained[1], os.W_OK):
            raise HTTPException(409, "the home folder may only be read here; run the network in a copy of it")
        return _queued(service.start_examples(reading.spec.task, trained[1], _visitor(request).name))

    @router.post("/search/{run}/design/{fingerprint}/export", response_class=JSONResponse)
    def export(run: str, fingerprint: str, request: Request) -> QueuedAct:
        service.design(service.reading(run), fingerprint)
        folder = service.export_folder(run, fingerprint)
        if folder is None:
            raise HTTPException(
                409, "there is no home folder that may be written to export into; type the command instead"
            )
        return _queued(service.start_export(run, fingerprint, folder, _visitor(request).name))

    return router


def _visitor(request: Request) -> Visitor:
    """Who asks; `Access` has let the visitor in."""
    visitor: Visitor = request.state.visitor
    return visitor


def _queued(job: JobView) -> QueuedAct:
    return QueuedAct(job.state, job.place)


def _axes(reading: RunSnapshot) -> list[tuple[str, str]]:
    """Name and title of each axis of cost, that of the search's tiers first."""
    own = own_axis(reading)
    return [(paid, paid_title(paid, reading.gpu)) for paid in (own, *(paid for paid in PAID if paid != own))]


def _trained(service: Service, reading: RunSnapshot, design: DesignHistory) -> tuple[Evaluation, Path] | None:
    """The training of a design with a checkpoint on this machine."""
    return trial_with_checkpoint(service.home, reading.name, reading.record.recipe, design)


def _examples_part(
    service: Service, render: Render, reading: RunSnapshot, design: DesignHistory, may_act: bool
) -> HTMLResponse:
    trained = _trained(service, reading, design)
    drawing = DRAWINGS[reading.spec.task]
    examples = None if trained is None else read_examples(drawing, *trained)
    job = None if trained is None else service.jobs.view(service.examples_key(trained[1]))
    may_write = trained is not None and os.access(trained[1], os.W_OK)
    return render(
        "parts/examples.html",
        run=reading.name,
        fingerprint=design.fingerprint,
        trained=trained,
        examples=examples,
        examples_of=drawing,
        pictures_of=f"{reading.spec.task}/{drawing.template.name}",
        job=job,
        may_write=may_write,
        may_act=may_act,
    )
