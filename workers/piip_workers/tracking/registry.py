"""Registers exported networks in MLflow's model registry, with their signature."""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from piip_search.export import Provenance
from piip_workers.networks.mlflow_model import IMAGE, MAPS, SCORES
from piip_workers.tracking.parents import LONGEST_VALUE, parent_named
from piip_workers.tracking.store import open_store

MODEL_PLACE = "network"
"""Artifact path of the model in a run."""


def register(
    uri: str, provenance: Provenance, folder: Path, channels: tuple[int, ...], classes: int | None = None
) -> str:
    """Logs an exported network below its search, and registers it as a version of the search's model.

    A network that is already registered with the same weights is left unchanged.

    Args:
        uri: Store of the search.
        provenance: Origin of the design.
        folder: Folder of the torch export or the ONNX file.
        channels: Channels of the maps, finest first; without meaning for a network of class scores.
        classes: Number of classes of a network of class scores; None for one of maps.

    Returns:
        Name and version of the model.

    Raises:
        LookupError: The store lacks the search, or has several of its name and the export is of an earlier version.
        StoreError: The file of the store is damaged or locked, and a user has to fix it.
    """
    client = open_store(uri)
    parent = parent_named(client, provenance.run, provenance.search)
    name, weights = f"piip-search {parent.data.tags.get('piip.name', provenance.run)}", _digest(folder)
    for version in _versions(client, weights):
        if version.name == name:
            return f"{name}, version {version.version}"
    with suppress(MlflowException):  # the model may exist
        client.create_registered_model(name, description=f"Networks that search {provenance.run} found.")
    tags = {
        "mlflow.parentRunId": parent.info.run_id,
        "piip.role": "export",
        "piip.number": str(provenance.trial),
        "piip.fingerprint": provenance.fingerprint,
        "piip.digest": weights,
    }
    run = client.create_run(
        parent.info.experiment_id, run_name=f"{provenance.trial:04d} export {provenance.architecture}"[:250], tags=tags
    )
    params = {"architecture": provenance.architecture, "weights": provenance.weights, "schedule": provenance.schedule}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(f"proxy_{key}", float(value), 0, 0) for key, value in provenance.proxy_metrics.items()],
        params=[Param(key, str(value)[:LONGEST_VALUE]) for key, value in params.items()],
    )
    with tempfile.TemporaryDirectory() as place:
        _save(
            folder,
            Path(place) / MODEL_PLACE,
            signature_of(channels, classes),
            {"run": provenance.run, "trial": provenance.trial},
        )
        client.log_artifacts(run.info.run_id, str(Path(place) / MODEL_PLACE), MODEL_PLACE)
    source = f"{run.info.artifact_uri}/{MODEL_PLACE}"
    own = {key: value for key, value in tags.items() if key.startswith("piip.")}
    version = client.create_model_version(name, source, run.info.run_id, tags=own)
    client.set_terminated(run.info.run_id)
    return f"{name}, version {version.version}"


def signature_of(channels: tuple[int, ...], classes: int | None = None) -> ModelSignature:
    """Signature of the model: any number of images of any size, and one map a stride or the class scores.

    Args:
        channels: As in `register`.
        classes: As in `register`.
    """
    number = np.dtype(np.float32)
    if classes is None:
        shapes = {name: (-1, width, -1, -1) for name, width in zip(MAPS, channels, strict=True)}
        outputs = [TensorSpec(number, shape, name) for name, shape in shapes.items()]
    else:
        outputs = [TensorSpec(number, (-1, classes), SCORES)]
    return ModelSignature(Schema([TensorSpec(number, (-1, 3, -1, -1), IMAGE)]), Schema(list[Any](outputs)))


def _save(folder: Path, place: Path, signature: ModelSignature, metadata: Mapping[str, Any]) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        str(place),
        loader_module="piip_workers.networks.mlflow_model",
        data_path=str(folder),
        signature=signature,
        pip_requirements=["piip-search[models,onnx]"],
        metadata=dict(metadata),
    )


def _versions(client: MlflowClient, digest: str) -> list[Any]:
    """Versions of any model with a digest of their files."""
    try:
        return list(client.search_model_versions(f"tags.`piip.digest` = '{digest}'"))
    except MlflowException:
        return []


def _digest(folder: Path) -> str:
    """Digest of all files in the folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
