"""A design as a torch network by itself: a file that builds it, and its weights."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_workers.networks.proof import Proof

TORCH_TOLERANCE = 1e-6
"""Greatest allowed difference between two processes, relative to a map's greatest value."""

_MODEL = '''"""{name}

A PIIP network with its pyramid, written by piip-search. Needs: pip install "piip-search[models]"

    network = build()
    maps = network(images)  # float32 of shape (B, 3, H, W), channels red, green, blue: (pixel - 127.5) / 127.5
"""

from pathlib import Path

from safetensors.torch import load_file

from piip_search.architecture import Architecture
from piip_search.models import PIIPPyramid

ARCHITECTURE = "{name}"
DROP_PATH = {rates}
WEIGHTS = Path(__file__).parent / "weights.safetensors"


def build(weights: Path | None = WEIGHTS) -> PIIPPyramid:
    """The network, ready to run; with random weights if `weights` is None. Both sides of an image should be multiples
    of {multiple} pixels; it was made for {side}."""
    network = PIIPPyramid(Architecture.parse(ARCHITECTURE), DROP_PATH)
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network.eval()
'''

_RUN = """
import runpy, sys, torch
model, image, maps = sys.argv[1:]
network = runpy.run_path(model)["build"]()
with torch.no_grad():
    torch.save(list(network(torch.load(image, weights_only=True))), maps)
"""


def write_torch(architecture: Architecture, network: nn.Module, folder: Path) -> None:
    """Writes `model.py` and `weights.safetensors`.

    Args:
        architecture: The design.
        network: Its network, with weights.
        folder: Folder to write to; new or empty.
    """
    folder.mkdir(exist_ok=True)
    rates = [branch.model.drop_path for branch in architecture.branches]
    text = _MODEL.format(
        name=architecture.name, rates=rates, multiple=architecture.multiple, side=architecture.resolution
    )
    (folder / "model.py").write_text(text, encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "weights.safetensors"
    )


def prove_torch(architecture: Architecture, network: nn.Module, folder: Path, proof: Proof) -> None:
    """Runs `model.py` in a separate process and compares its maps with the network's on one small image."""
    side = architecture.multiple * -(-64 // architecture.multiple)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(image)
    note = f"at most the expected value; one image of {side} x {side} pixels, in a separate process"
    proof.check(
        "torch: greatest relative difference of the maps",
        TORCH_TOLERANCE,
        lambda: greatest_difference(run_elsewhere(_RUN, folder / "model.py", image), expected),
        float.__le__,
        note,
    )


def greatest_difference(found: list[Tensor], expected: tuple[Tensor, ...]) -> float:
    """The greatest difference over all maps, relative to each map's greatest value."""
    return max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
        for one, other in zip(found, expected, strict=True)
    )


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
