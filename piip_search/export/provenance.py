"""Where an exported design comes from: what a later training needs to stand beside its proxy."""

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
    """A trial of a search, and how it left.

    Attributes:
        run: Name of the search.
        trial: Number of the trial.
        architecture: Short form.
        fingerprint: Fingerprint of the architecture.
        metric: What the search raised.
        proxy_metrics: What the proxy reached.
        fidelity: How the proxy was trained.
        schedule: Schedule of the full training.
        weights: What the full training starts from.
        mlflow: Store that the search was mirrored into, if it was.
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

    def write(self, folder: Path) -> None:
        (folder / PROVENANCE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Provenance":
        """What an export wrote.

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
