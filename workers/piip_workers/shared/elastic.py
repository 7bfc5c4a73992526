"""Writes an elastic network: the operating points of a parent, its tensors once, and a file that loads them."""

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from piip_search.architecture.segments import STRIDES
from piip_search.models import PIIPPyramid
from piip_search.models.elastic import ELASTIC_POINTS, ELASTIC_WEIGHTS, ElasticPIIP, OperatingPoint, keys_of, rows_of
from piip_search.models.weights.shared_keys import network_key
from piip_search.units import GIB
from piip_workers.networks.proof import Proof
from piip_workers.networks.torch_export import TORCH_TOLERANCE, greatest_difference, run_elsewhere
from piip_workers.shared.tensors import load_shared
from piip_workers.shared.training import PARENT_FACTS, PARENT_WEIGHTS

PROGRAM = "elastic.py"
"""File that loads the network."""
ONNX_FOLDER = "onnx"
"""Folder with one ONNX file a point."""
ONNX_WEIGHTS = "weights.bin"
"""File with the weights of all ONNX files."""
ALIGNMENT = 4096
"""Multiple in bytes at which a tensor begins in `ONNX_WEIGHTS`, so that it can be mapped into memory."""
GIB_OF_A_TIMING = 8
"""Free memory of a GPU in GiB from which times are measured on it."""
TIMED_ROUNDS = 9
"""Most rounds in which the times of points are measured."""
LONGEST_TIMING = 60.0
"""Seconds after which no further round begins."""
SMALLEST_OUTSIDE = 1024
"""Fewest bytes of a tensor that is kept outside of its ONNX file."""

_PROGRAM = '''"""One set of weights, {count} operating points: {least:.4g} to {most:.4g} GMACs.

Written by piip-search. Needs: pip install "piip-search[models]"

    network = build()
    network.use("<=0.1 G")    # or "<=20 ms", "best", a position, or a design; switching costs nothing
    maps = network(images)    # float32 of shape (B, 3, H, W), channels red, green, blue: (pixel - 127.5) / 127.5
"""

from pathlib import Path

from piip_search.models.elastic import ElasticPIIP, load_elastic


def build() -> ElasticPIIP:
    """The network at its dearest point, ready to run."""
    return load_elastic(Path(__file__).parent)
'''

_RUN = """
import runpy, sys, torch
program, image, maps = sys.argv[1:]
network, image = runpy.run_path(program)["build"](), torch.load(image, weights_only=True)
found = []
with torch.no_grad():
    for place in reversed(range(len(network.points))):
        network.use(place)
        found.append(list(network(image)))
torch.save(found[::-1], maps)
"""


def write_elastic(
    parent: Path, points: Sequence[OperatingPoint], folder: Path, about: Mapping[str, Any]
) -> ElasticPIIP:
    """Writes the folder of an elastic network.

    The tensors of the layers behind the network are kept too, under their keys.

    Args:
        parent: Folder of the trained parent.
        points: Operating points, cheapest first.
        folder: Folder to write to; new or empty.
        about: Further content of the file of points.

    Returns:
        The network as it is loaded from the folder, with the times of its points on this device.
    """
    values, strides = load_file(parent / PARENT_WEIGHTS), strides_of(parent)
    needed = keys_of(points, strides)
    kept = {key: tensor for key, tensor in values.items() if key in needed or key.startswith(("N/", "D/"))}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / ELASTIC_WEIGHTS)
    network = timed(ElasticPIIP(points, kept, bool(about["rises"]), strides))
    points = network.points
    content = {
        **about,
        "strides": strides,
        "device": device_name(),
        "metric": points[0].metric,
        "points": rows_of(points),
    }
    (folder / ELASTIC_POINTS).write_text(json.dumps(content, indent=1), encoding="utf-8")
    program = _PROGRAM.format(count=len(points), least=points[0].gmacs, most=points[-1].gmacs)
    (folder / PROGRAM).write_text(program, encoding="utf-8")
    return network


def timed(network: ElasticPIIP) -> ElasticPIIP:
    """Gives the points of a network their times on this device: the median over rounds that run all points in turn.

    A round reads one square image a point. What other programs do meanwhile is part of the times.
    """
    device = torch.device(_timed_on())
    network.to(device)
    images = [torch.randn(1, 3, *[point.design.resolution] * 2, device=device) for point in network.points]
    seconds_RP: list[list[float]] = []
    began = time.perf_counter()
    with torch.no_grad():
        while len(seconds_RP) <= TIMED_ROUNDS and (len(seconds_RP) < 2 or time.perf_counter() - began < LONGEST_TIMING):
            seconds_RP.append([_seconds(one, image) for one, image in zip(network.networks, images, strict=True)])
    # The first round is slower: it fills caches, and chooses kernels.
    medians_P = torch.tensor(seconds_RP[1:]).median(dim=0).values.tolist()
    network.points = tuple(
        replace(point, milliseconds=1e3 * seconds) for point, seconds in zip(network.points, medians_P, strict=True)
    )
    network.to("cpu")
    return network


def _seconds(network: nn.Module, image: Tensor) -> float:
    began = time.perf_counter()
    network(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _timed_on() -> str:
    """The device of the times: a GPU that has memory to spare, as others may train on it."""
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > GIB_OF_A_TIMING * GIB:
        return "cuda"
    return "cpu"


def device_name() -> str:
    """The device of the times."""
    if _timed_on() == "cuda":
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads"


def strides_of(parent: Path) -> list[int]:
    """Strides of the maps of a parent's networks."""
    facts = json.loads((parent / PARENT_FACTS).read_text(encoding="utf-8"))
    return [int(stride) for stride in facts["network"].get("strides", STRIDES)]


def prove_elastic(parent: Path, network: ElasticPIIP, folder: Path, proof: Proof) -> None:
    """Compares the maps of each point with those of a network of its own that has the parent's weights.

    The folder is loaded in a process of its own, which switches between the points.
    """
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    values, strides = load_file(parent / PARENT_WEIGHTS), strides_of(parent)
    with torch.no_grad():
        expected = [_alone(point, values, strides)(image) for point in network.points]

    def differences() -> float:
        found: list[list[Tensor]] = run_elsewhere(_RUN, folder / PROGRAM, image)
        return max(greatest_difference(one, other) for one, other in zip(found, expected, strict=True))

    proof.check(
        "elastic: greatest relative difference of the maps of a point",
        TORCH_TOLERANCE,
        differences,
        float.__le__,
        f"at most the expected value; {len(network.points)} points, one image of 64 x 64 pixels, in a separate process",
    )
    proof.check("elastic: tensors that points have twice", 0, lambda: _twice(network))


def _alone(point: OperatingPoint, values: Mapping[str, Tensor], strides: Sequence[int]) -> nn.Module:
    network = PIIPPyramid(point.design, strides=strides)
    load_shared(network, {name: network_key(point.design, name) for name, _ in network.named_parameters()}, values)
    return network.eval()


def _twice(network: ElasticPIIP) -> int:
    """Number of parameters that are equal in key, and not the same tensor."""
    owners: dict[str, set[int]] = {}
    for point, one in zip(network.points, network.networks, strict=True):
        for name, parameter in one.named_parameters():
            owners.setdefault(network_key(point.design, name), set()).add(id(parameter))
    return sum(len(found) - 1 for found in owners.values())


def write_elastic_onnx(network: ElasticPIIP, folder: Path, log: Path, strides: Sequence[int]) -> list[Path]:
    """Writes one ONNX file a point, all of which read their weights from one file.

    Args:
        network: The elastic network.
        folder: Folder of the export.
        log: File for the exporter's output.
        strides: Strides of the network's maps.

    Returns:
        The files, in the order of the points.
    """
    import onnx

    from piip_workers.networks.onnx_export import write_onnx

    place = folder / ONNX_FOLDER
    place.mkdir(exist_ok=True)
    offsets: dict[str, int] = {}
    files = []
    with (place / ONNX_WEIGHTS).open("wb") as weights, tempfile.TemporaryDirectory() as scratch:
        for number, (point, one) in enumerate(zip(network.points, network.networks, strict=True)):
            write_onnx(point.design, one, Path(scratch), log, strides)
            model = onnx.load(str(Path(scratch) / "model.onnx"))
            for tensor in model.graph.initializer:
                _outside(tensor, weights, offsets)
            files.append(place / f"{number:02d}-{point.design.fingerprint}.onnx")
            onnx.save(model, str(files[-1]))
    return files


def _outside(tensor: Any, weights: Any, offsets: dict[str, int]) -> None:
    """Moves a tensor's bytes into the file of weights, or names those that are there already."""
    from onnx import TensorProto, numpy_helper

    content = numpy_helper.to_array(tensor).tobytes()
    if len(content) < SMALLEST_OUTSIDE:
        return
    digest = hashlib.sha256(content).hexdigest()
    if digest not in offsets:
        weights.write(b"\0" * (-weights.tell() % ALIGNMENT))
        offsets[digest] = weights.tell()
        weights.write(content)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.ClearField("int64_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", ONNX_WEIGHTS), ("offset", offsets[digest]), ("length", len(content))):
        tensor.external_data.add(key=key, value=str(value))


def prove_elastic_onnx(network: ElasticPIIP, files: Sequence[Path], proof: Proof) -> None:
    """Compares the maps of each ONNX file with those of its point, at its full size."""
    from piip_workers.networks.onnx_export import ONNX_TOLERANCE, maps_of

    def differences() -> float:
        found = []
        for place, (point, file) in enumerate(zip(network.points, files, strict=True)):
            side = point.design.resolution
            image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                found.append(greatest_difference(maps_of(file, image), network.networks[place](image)))
        return max(found)

    note = f"at most the expected value; {len(files)} files, one image of the full size each, in onnxruntime"
    proof.check(
        "elastic, onnx: greatest relative difference of the maps", ONNX_TOLERANCE, differences, float.__le__, note
    )
