"""An exported network as MLflow serves it: images in, maps or class scores out.

MLflow finds `_load_pyfunc` by this module's name.
"""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.segments import STRIDES

IMAGE = "image"
MAPS = tuple(f"stride_{stride}" for stride in STRIDES)
"""Names of the outputs of a network of maps."""
SCORES = "scores"
"""Name of the output of a network of class scores, shape (B, K)."""
Run = Callable[[NDArray[np.float32]], list[Any]]


class Served:
    """A network from an export folder of `piip-search export`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def predict(self, images: Any, params: Mapping[str, Any] | None = None) -> dict[str, NDArray[np.float32]]:
        """The network's maps of strides 4 to 32, or its class scores, by the names of the outputs.

        Args:
            images: Images of shape (B, 3, H, W), or a mapping with them as `image`; size and normalisation are those in
                the README of the export. A network of class scores takes squares.
            params: Unused; MLflow gives it.
        """
        image = images[IMAGE] if isinstance(images, Mapping) else images
        outputs = self._run(np.asarray(image, np.float32))
        names = (SCORES,) if len(outputs) == 1 else MAPS
        return {name: np.asarray(one, np.float32) for name, one in zip(names, outputs, strict=True)}


def _load_pyfunc(path: str) -> Served:
    """Loads the network of a folder: the torch export, or the ONNX file."""
    folder = Path(path)
    if (folder / "model.onnx").is_file():
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        return Served(lambda image: list(session.run(None, {IMAGE: image})))
    import torch

    network = runpy.run_path(str(folder / "model.py"))["build"]()

    def run(image: NDArray[np.float32]) -> list[Any]:
        with torch.no_grad():
            found = network(torch.from_numpy(image))
        return [one.numpy() for one in ([found] if isinstance(found, torch.Tensor) else found)]

    return Served(run)
