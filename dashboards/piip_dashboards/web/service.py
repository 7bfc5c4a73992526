"""Common data and commands of pages and API."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from fastapi import HTTPException

from piip_dashboards.runs.cached import CachedValue
from piip_dashboards.runs.health import Examination
from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.effects import EffectsView, effects_of
from piip_dashboards.views.overview import Overview, overview
from piip_dashboards.web.actions import PageActions
from piip_dashboards.web.downloads import KeptTables
from piip_dashboards.web.jobs import JobView, PageJobs, Say
from piip_dashboards.web.scratch import ScratchFolder
from piip_search.config import RUN_NAME, space_file
from piip_search.errors import OtherActError, QueueFullError, UnreadableRunError
from piip_search.ledger import LedgerError
from piip_search.search.history import DesignHistory


@dataclass(frozen=True)
class Service:
    """Everything behind the pages.

    Attributes:
        shelf: Cache of the ledger's runs.
        examination: Health checks.
        actions: Functions that pages can start.
        effects: Effects and importance of each run.
        jobs: Functions that pages have started.
        tables: Tables for download.
        options: Options by which a user's command finds this ledger and home.
        live: Seconds between two queries of the ledger by a page.
        cluster: Address of a Ray cluster's dashboard, where pages start and stop searches; None without a cluster.
        spaces: Folder for the search spaces of submitted searches, deleted with the dashboard.
    """

    shelf: RunCache
    examination: Examination
    actions: PageActions
    effects: CachedValue[EffectsView] = field(default_factory=CachedValue)
    jobs: PageJobs = field(default_factory=PageJobs)
    tables: KeptTables = field(default_factory=KeptTables)
    options: str = ""
    live: float = 2.0
    cluster: str | None = None
    spaces: ScratchFolder = field(default_factory=lambda: ScratchFolder("piip-search-spaces-"))

    @property
    def home(self) -> Path | None:
        return self.shelf.home

    def now(self) -> datetime:
        return datetime.now(UTC)

    def reading(self, run: str) -> RunSnapshot:
        """A run, or the response that it does not exist."""
        try:
            return self.shelf.reading(run)
        except LedgerError as error:
            raise HTTPException(404, str(error)) from None
        except UnreadableRunError as error:
            raise HTTPException(409, str(error)) from None

    def overview(self, run: str) -> Overview:
        """A run with its baselines, or the response that it does not exist."""
        reading = self.reading(run)
        return overview(reading, self.shelf.driven(run), self.now(), self.shelf.baselines(reading))

    def what_matters(self, reading: RunSnapshot) -> EffectsView:
        """Effects and importance of choices in a run."""
        return self.effects.of(reading, lambda: effects_of(reading))

    def design(self, reading: RunSnapshot, fingerprint: str) -> DesignHistory:
        """A design of a run, or the response that it does not exist."""
        design = reading.designs.get(fingerprint)
        if design is None:
            raise HTTPException(404, f"run {reading.name!r} has no design {fingerprint!r}")
        return design

    def export_folder(self, run: str, fingerprint: str) -> Path | None:
        """The folder for an export from a page.

        None if the home folder is unknown or read-only, or the run's name cannot be a folder's.
        """
        if self.home is None or not os.access(self.home, os.W_OK) or not re.fullmatch(RUN_NAME, run):
            return None
        return self.home.resolve() / "exported" / run / fingerprint

    def start_export(self, run: str, fingerprint: str, folder: Path, actor: str) -> JobView:
        """Exports a design, as `piip-search export` does.

        Args:
            run: Name of the run.
            fingerprint: Fingerprint of the design.
            folder: Folder to write.
            actor: Name of the token of whoever asks for it.
        """
        work = partial(self.actions.export, run, fingerprint, folder, actor)
        return self._start(self.export_key(run, fingerprint), work, actor, f"export of {fingerprint} of {run}")

    def space(self, run: str) -> str:
        """The search space of a run as YAML, which can resume it."""
        return space_file(self.reading(run).record.spec)

    def begin(self, run: str, cluster: str, actor: str) -> JobView:
        """Submits a run to a cluster, as `piip-search submit` does; the run resumes."""
        file = self.spaces.path / f"{run}.yaml"
        file.write_text(self.space(run), encoding="utf-8")
        work = partial(self.actions.submit, file, run, cluster, actor)
        return self._start(self.cluster_key(run), work, actor, f"start of {run}")

    def end(self, run: str, cluster: str, actor: str) -> JobView:
        """Stops a run's driver on a cluster, as `piip-search stop` does; it goes before all acts that wait."""
        work = partial(self.actions.stop, run, cluster, actor)
        return self._start(self.cluster_key(run), work, actor, f"stop of {run}", first=True)

    def cluster_key(self, run: str) -> str:
        return f"cluster {run}"

    def start_examples(self, task: str, folder: Path, actor: str) -> JobView:
        """Runs the weights in a folder on some validation images of a task."""
        work = partial(self.actions.examples, task, folder)
        return self._start(self.examples_key(folder), work, actor, f"examples of {folder.name}")

    def _start(self, key: str, work: Callable[[Say], None], actor: str, title: str, first: bool = False) -> JobView:
        """Queues an act, or gives the response that it is not taken."""
        try:
            return self.jobs.start(key, work, actor, title, first)
        except QueueFullError as error:
            raise HTTPException(429, str(error), {"retry-after": "60"}) from None
        except OtherActError as error:
            raise HTTPException(409, str(error)) from None

    def export_key(self, run: str, fingerprint: str) -> str:
        return f"export {run} {fingerprint}"

    def examples_key(self, folder: Path) -> str:
        return f"examples {folder}"

    def close(self) -> None:
        self.jobs.close()
        self.tables.close()
        self.spaces.close()
