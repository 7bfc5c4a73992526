"""An exported network as MLflow serves it: images in, maps out. MLflow finds `_load_pyfunc` by this module's name."""

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.segments import STRIDES

IMAGE = "image"
MAPS = tuple(f"stride_{stride}" for stride in STRIDES)
"""Names of the outputs."""
Run = Callable[[NDArray[np.float32]], list[Any]]


class Served:
    """A network from an export folder of `piip-search export`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def predict(self, images: Any, params: Mapping[str, Any] | None = None) -> dict[str, NDArray[np.float32]]:
        """Maps of strides 4 to 32 for images of shape (B, 3, H, W), normalised by mean and standard deviation 127.5."""
        image = images[IMAGE] if isinstance(images, Mapping) else images
        maps = self._run(np.asarray(image, np.float32))
        return {name: np.asarray(one, np.float32) for name, one in zip(MAPS, maps, strict=True)}


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
            return [one.numpy() for one in network(torch.from_numpy(image))]

    return Served(run)
