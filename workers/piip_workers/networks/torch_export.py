"""A design as a torch network by itself: a file that builds it, and its weights."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.errors import ExportError
from piip_search.export.request import UNIT_NORM, PixelNorm, norm_formula
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid
from piip_search.models.merge import LogitMerge
from piip_workers.networks.proof import Proof

TORCH_TOLERANCE = 1e-6
"""Greatest allowed difference between two processes, relative to the greatest value of a map or of the scores."""

_MODEL = '''"""{name}

A PIIP network with {extent}, written by piip-search. Needs: pip install "piip-search[models]"

    network = build()
{call}
"""

from pathlib import Path

from safetensors.torch import load_file

from piip_search.architecture import Architecture
from piip_search.models import {kind}

ARCHITECTURE = "{name}"
DROP_PATH = {rates}
{constant}WEIGHTS = Path(__file__).parent / "weights.safetensors"


def build(weights: Path | None = WEIGHTS) -> {kind}:
    """The network, ready to run; with random weights if `weights` is None. {sides}"""
    network = {kind}(Architecture.parse(ARCHITECTURE), DROP_PATH{argument})
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network.eval()
'''

_CALL_MAPS = "    maps = network(images)  # float32 of shape (B, 3, H, W), channels red, green, blue: {formula}"
_CALL_SCORES = """\
    scores = network(images)

Images are float32 of shape (B, 3, {side}, {side}), channels red, green, blue:
{formula}, of pixels from 0 to 255.
Class scores have the shape (B, {classes}); their softmax gives probabilities."""
_SIDES_MAPS = """\
Both sides of an image should be multiples
    of {multiple} pixels; it was made for {side}."""
_SIDES_SCORES = """\
Images should be squares of
    {side} x {side} pixels."""

_RUN = """
import runpy, sys, torch
model, image, result = sys.argv[1:]
network = runpy.run_path(model)["build"]()
with torch.no_grad():
    found = network(torch.load(image, weights_only=True))
torch.save([found] if torch.is_tensor(found) else list(found), result)
"""


def classes_of(network: nn.Module) -> int | None:
    """Number of classes of a network that gives class scores; None for a network that gives maps."""
    if isinstance(network, PIIPClassifier):
        return int(network.head.out_features)
    if isinstance(network, PIIP) and network.architecture.merge == "logits":
        merge = cast(LogitMerge, network.merges[0])
        return int(cast(nn.Linear, merge.heads[0]).out_features)
    return None


def write_torch(architecture: Architecture, network: nn.Module, folder: Path, norm: PixelNorm = UNIT_NORM) -> None:
    """Writes `model.py` and `weights.safetensors`.

    Args:
        architecture: The design.
        network: Its network, with weights: a `PIIPPyramid`, a `PIIPClassifier`, or a `PIIP` of the merge `logits`.
        folder: Folder to write to; new or empty.
        norm: Normalisation of the images.

    Raises:
        ExportError: The network is of another class, which the written file could not build.
    """
    text = _program(architecture, network, norm)
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(text, encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "weights.safetensors"
    )


def _program(architecture: Architecture, network: nn.Module, norm: PixelNorm) -> str:
    """The text of `model.py`."""
    classes = classes_of(network)
    if classes is None and not isinstance(network, PIIPPyramid):
        raise ExportError(f"a network of {type(network).__name__} has no torch export; leave out the format torch")
    kind = next(one for one in (PIIPPyramid, PIIPClassifier, PIIP) if isinstance(network, one))
    values = {
        "formula": norm_formula(norm),
        "side": architecture.resolution,
        "multiple": architecture.multiple,
        "classes": classes,
    }
    keyword = "outputs" if kind is PIIP else "classes"
    return _MODEL.format(
        name=architecture.name,
        rates=[branch.model.drop_path for branch in architecture.branches],
        kind=kind.__name__,
        extent="its pyramid" if classes is None else "class scores",
        call=(_CALL_MAPS if classes is None else _CALL_SCORES).format(**values),
        sides=(_SIDES_MAPS if classes is None else _SIDES_SCORES).format(**values),
        constant="" if classes is None else f"CLASSES = {classes}\n",
        argument="" if classes is None else f", {keyword}=CLASSES",
    )


def prove_torch(architecture: Architecture, network: nn.Module, folder: Path, proof: Proof) -> None:
    """Runs `model.py` in a separate process and compares its results with the network's on one image.

    The image is small for a network of maps, and of the full size for one of class scores.

    Args:
        architecture: The design.
        network: Its network, with weights.
        folder: Folder of `model.py`.
        proof: Takes the check.
    """
    small = architecture.multiple * -(-64 // architecture.multiple)
    side = small if classes_of(network) is None else architecture.resolution
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(image)
    note = f"at most the expected value; one image of {side} x {side} pixels, in a separate process"
    proof.check(
        f"torch: greatest relative difference of the {results_of(network)}",
        TORCH_TOLERANCE,
        lambda: greatest_difference(run_elsewhere(_RUN, folder / "model.py", image), expected),
        float.__le__,
        note,
    )


def results_of(network: nn.Module) -> str:
    """What a network gives, in a word."""
    return "maps" if classes_of(network) is None else "scores"


def greatest_difference(found: Tensor | Sequence[Tensor], expected: Tensor | Sequence[Tensor]) -> float:
    """The greatest difference over all maps or class scores.

    Args:
        found: Maps, or one tensor of scores.
        expected: As many of the same shapes; each difference is relative to the greatest value here.

    Returns:
        The difference; NaN if any value is NaN, which is no agreement.

    Raises:
        ValueError: The numbers of tensors or their shapes differ.
    """
    differences = []
    for one, other in zip(_tensors(found), _tensors(expected), strict=True):
        if one.shape != other.shape:
            raise ValueError(f"expected the shape {tuple(other.shape)}, found {tuple(one.shape)}")
        differences.append((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
    return float(torch.stack(differences).max())


def _tensors(output: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors of a network's output."""
    return (output,) if isinstance(output, Tensor) else output


def run_elsewhere(script: str, program: Path, image: Tensor) -> Any:
    """What a script makes of a written program and an image, in a process of its own.

    Args:
        script: Python text; it gets the paths of the program, of the image and of the result as arguments.
        program: The written program.
        image: Images, shape (B, 3, H, W).

    Raises:
        RuntimeError: The process failed; the message is its last line.
    """
    with tempfile.TemporaryDirectory() as place:
        given, result = Path(place) / "image.pt", Path(place) / "result.pt"
        torch.save(image, given)
        command = [sys.executable, "-c", script, str(program), str(given), str(result)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if ended.returncode:
            said = ended.stderr.strip().splitlines()
            raise RuntimeError(said[-1] if said else "it ended with an error")
        return torch.load(result, weights_only=True)
