"""Mirrors a full training in MLflow, beside the evaluation of its proxy."""

import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param

from piip_search.export import Provenance
from piip_search.ledger import sqlite_file
from piip_workers.tracking.parents import LONGEST_VALUE, parent_named, runs_of
from piip_workers.tracking.store import open_store


class TrainingRun:
    """A full training as a child run of its search, beside the evaluation of its proxy."""

    def __init__(self, uri: str, provenance: Provenance, params: Mapping[str, Any], resume: bool) -> None:
        """Begins the run, or resumes the interrupted one.

        Args:
            uri: Store of the search.
            provenance: Trial of the design.
            params: Settings to log.
            resume: Whether the training is resumed.

        Raises:
            LookupError: The store lacks the search, or has several of its name and the export is of an earlier
                version.
            StoreError: The file of the store is damaged or locked, and a user has to fix it.
        """
        file = sqlite_file(uri) if uri.startswith("sqlite:") else None
        if file is not None and not file.is_file():
            raise LookupError(f"there is no file {file}; if it was moved, --mlflow says where it is")
        self._client = open_store(uri)
        try:
            parent = parent_named(self._client, provenance.run, provenance.search)
        except LookupError as error:
            raise LookupError(f"{uri}: {error}") from None
        tags = {
            "mlflow.parentRunId": parent.info.run_id,
            "piip.role": "training",
            "piip.number": str(provenance.trial),
            "piip.fingerprint": provenance.fingerprint,
        }
        below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`piip.role` = 'training'"
        trainings = runs_of(self._client, parent.info.experiment_id, below)
        earlier = [run for run in trainings if all(run.data.tags.get(key) == value for key, value in tags.items())]
        if resume and earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        name = f"{provenance.trial:04d} full training {provenance.architecture}"[:250]
        self._run = self._client.create_run(parent.info.experiment_id, run_name=name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        proxy = [Metric(f"proxy_{key}", float(value), now, 0) for key, value in provenance.proxy_metrics.items()]
        texts = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in params.items()]
        self._client.log_batch(self._run, metrics=proxy, params=texts)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(key, value, now, epoch) for key, value in metrics.items()])

    def end(self, status: str) -> None:
        """Closes the run as `FINISHED`, `FAILED` or `KILLED`."""
        self._client.set_terminated(self._run, status)
