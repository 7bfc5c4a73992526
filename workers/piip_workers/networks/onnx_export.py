"""A design as an ONNX file, for one image of its full size. Deformable attention goes through GridSample."""

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime
import onnxscript  # noqa: F401  torch's exporter imports it late: a missing extra is to be known before the work
import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.segments import STRIDES
from piip_workers.networks.mlflow_model import IMAGE, SCORES
from piip_workers.networks.proof import Proof
from piip_workers.networks.torch_export import classes_of, greatest_difference, results_of
from piip_workers.quiet import quiet

OPSET = 18
ONNX_TOLERANCE = 1e-4
"""Greatest allowed difference from torch, relative to the greatest value of a map or of the scores."""


def write_onnx(
    architecture: Architecture, network: nn.Module, folder: Path, log: Path, strides: Sequence[int] = STRIDES
) -> None:
    """Writes `model.onnx`: the network with the input `image`, and with one map a stride or with `scores`.

    Args:
        architecture: The design.
        network: Its network, with weights.
        folder: Folder to write to; new or empty.
        log: File for the exporter's output.
        strides: Strides of the network's maps; without meaning for a network of class scores.
    """
    folder.mkdir(exist_ok=True)
    maps = [f"stride_{stride}" for stride in strides]
    image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    with quiet(log):
        torch.onnx.export(
            network.eval(),
            (image,),
            str(folder / "model.onnx"),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=[IMAGE],
            output_names=maps if classes_of(network) is None else [SCORES],
        )


def prove_onnx(architecture: Architecture, network: nn.Module, folder: Path, proof: Proof, log: Path) -> None:
    """Checks the file and compares its maps or scores with torch's on one image of the full size.

    Gates of interactions start at zero, so that an interaction has no effect: an untrained network is also compared
    with random gates, in a temporary file.

    Args:
        architecture: The design.
        network: Its network, with weights.
        folder: Folder of `model.onnx`.
        proof: Takes the checks.
        log: File for the exporter's output.
    """
    _compare("onnx", architecture, network, folder / "model.onnx", proof)
    gates = [value for key, value in network.named_parameters() if key.endswith((".gamma", ".tau"))]
    if not any(bool((gate == 0).all()) for gate in gates):
        return
    opened = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    for key, value in opened.named_parameters():
        if key.endswith((".gamma", ".tau")):
            value.data.normal_(generator=generator)
    with tempfile.TemporaryDirectory() as place:
        write_onnx(architecture, opened, Path(place), log)
        _compare("onnx, interactions opened", architecture, opened, Path(place) / "model.onnx", proof)


def _compare(name: str, architecture: Architecture, network: nn.Module, path: Path, proof: Proof) -> None:
    side = architecture.resolution
    if not proof.check(f"{name}: problems of the file", "", lambda: _problems(path)):
        return
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(image)
    note = f"at most the expected value; one image of {side} x {side} pixels, in onnxruntime"
    proof.check(
        f"{name}: greatest relative difference of the {results_of(network)}",
        ONNX_TOLERANCE,
        lambda: greatest_difference(maps_of(path, image), expected),
        float.__le__,
        note,
    )


def _problems(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.checker.check_model(str(path), full_check=True)
    return ""


def maps_of(path: Path, image: Tensor) -> list[Tensor]:
    """The outputs of a file in onnxruntime: its maps, or its class scores alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(output) for output in session.run(None, {IMAGE: image.numpy()})]
