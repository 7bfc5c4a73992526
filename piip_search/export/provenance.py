"""The origin of an exported design, by which a later training is shown beside its proxy."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from piip_search.errors import ExportError
from piip_search.file_paths import located

PROVENANCE = "provenance.json"


@dataclass(frozen=True, slots=True)
class Provenance:
    """An exported trial of a search.

    Attributes:
        run: Name of the search.
        trial: Number of the trial.
        architecture: Short form.
        fingerprint: Fingerprint of the architecture.
        metric: Metric of the search.
        proxy_metrics: Metrics of the proxy.
        fidelity: Fidelity of the proxy's training.
        schedule: Schedule of the full training.
        weights: Starting weights of the full training.
        mlflow: Store of the search's mirror, if any.
        task: Task of the search; None in an export of before, which is of the first task.
        search: Uid of the search; empty in an export of before.
    """

    run: str
    trial: int
    architecture: str
    fingerprint: str
    metric: str
    proxy_metrics: Mapping[str, float]
    fidelity: Mapping[str, float]
    schedule: str
    weights: str
    mlflow: str | None = None
    task: str | None = None
    search: str = ""

    def write(self, folder: Path) -> None:
        (folder / PROVENANCE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Provenance":
        """The provenance in the folder of an export.

        Raises:
            ExportError: The folder is no export.
        """
        path = folder / PROVENANCE
        if not path.is_file():
            raise ExportError(
                f"{located(folder)} is no export: it has no {PROVENANCE}; write one with piip-search export"
            )
        content: dict[str, Any] = {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(**content)
        except (ValueError, TypeError) as error:
            raise ExportError(f"{path} cannot be read: {error}; export the design again") from None
