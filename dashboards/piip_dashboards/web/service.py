"""What the pages and the API share: the runs, what examines them, and what may be started."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fastapi import HTTPException

from piip_dashboards.runs.cached import CachedValue
from piip_dashboards.runs.health import Examination
from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.effects import EffectsView, effects_of
from piip_dashboards.web.jobs import CommandJobs
from piip_search.config import RUN_NAME, space_file
from piip_search.errors import UnreadableRunError
from piip_search.file_paths import escaped
from piip_search.ledger import LedgerError
from piip_search.search.history import DesignHistory


@dataclass(frozen=True)
class Service:
    """Everything behind the pages.

    Attributes:
        shelf: The runs of the ledger.
        examination: Health checks.
        effects: What matters in each run.
        jobs: Commands that pages start.
        options: What a user types after a command so that it finds this ledger and home.
        environment: What a command that a page starts is told in place of those options.
        live: Seconds between two looks of a page at the ledger.
        cluster: Address of a Ray cluster's dashboard, where pages start and stop searches; None where none is known.
        spaces: Folder for the search spaces of what is started there, gone with the dashboard.
    """

    shelf: RunCache
    examination: Examination
    effects: CachedValue[EffectsView] = field(default_factory=CachedValue)
    jobs: CommandJobs = field(default_factory=CommandJobs)
    options: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    live: float = 2.0
    cluster: str | None = None
    spaces: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    @property
    def home(self) -> Path | None:
        return self.shelf.home

    def now(self) -> datetime:
        return datetime.now(UTC)

    def reading(self, run: str) -> RunSnapshot:
        """A run, or the answer that there is none."""
        try:
            return self.shelf.reading(run)
        except LedgerError as error:
            raise HTTPException(404, str(error)) from None
        except UnreadableRunError as error:
            raise HTTPException(409, str(error)) from None

    def what_matters(self, reading: RunSnapshot) -> EffectsView:
        """Effects and importance of choices in a run."""
        return self.effects.of(reading, lambda: effects_of(reading))

    def design(self, reading: RunSnapshot, fingerprint: str) -> DesignHistory:
        """A design of a run, or the answer that there is none."""
        design = reading.designs.get(fingerprint)
        if design is None:
            raise HTTPException(404, f"run {reading.name!r} holds no design {fingerprint!r}")
        return design

    def export_folder(self, run: str, fingerprint: str) -> Path | None:
        """Where an export that a page starts goes.

        None where the home folder is not known, or may only be read, or the run's name is none of a folder.
        """
        if self.home is None or not os.access(self.home, os.W_OK) or not re.fullmatch(RUN_NAME, run):
            return None
        return self.home.resolve() / "exported" / run / fingerprint

    def start_export(self, run: str, fingerprint: str, folder: Path) -> None:
        """Exports a design, as `piip-search export` does."""
        self.jobs.start(
            self.export_key(run, fingerprint), self.export_command(run, fingerprint, folder), self.environment
        )

    def export_command(self, run: str, fingerprint: str, folder: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "piip_search.cli",
            "export",
            "--out",
            escaped(str(folder)),
            "--",
            run,
            fingerprint,
        ]

    def space(self, run: str) -> str:
        """The search space of a run as YAML, which takes it up again."""
        return space_file(self.reading(run).record.spec)

    def begin(self, run: str) -> None:
        """Sends a run's driver to the cluster, as `piip-search submit` does; it goes on where the run was left."""
        file = Path(self.spaces.name) / f"{run}.yaml"
        file.write_text(self.space(run), encoding="utf-8")
        command = [sys.executable, "-m", "piip_search.cli", "submit", escaped(str(file)), "--name", run, "--resume"]
        self.jobs.start(self.cluster_key(run), [*command, *self._at], self.environment)

    def end(self, run: str) -> None:
        """Stops a run's driver on the cluster, as `piip-search stop` does."""
        command = [sys.executable, "-m", "piip_search.cli", "stop", *self._at, "--", run]
        self.jobs.start(self.cluster_key(run), command, self.environment)

    @property
    def _at(self) -> list[str]:
        return [] if self.cluster is None else ["--address", self.cluster]

    def cluster_key(self, run: str) -> str:
        return f"cluster {run}"

    def start_examples(self, folder: Path) -> None:
        """Detects on some validation images with the weights in a folder."""
        command = [sys.executable, "-m", "piip_workers.tasks.detection.examples", str(folder)]
        self.jobs.start(self.examples_key(folder), command, self.environment)

    def export_key(self, run: str, fingerprint: str) -> str:
        return f"export {run} {fingerprint}"

    def examples_key(self, folder: Path) -> str:
        return f"examples {folder}"

    def close(self) -> None:
        self.jobs.close()
        self.spaces.cleanup()
