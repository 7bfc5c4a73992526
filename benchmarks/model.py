"""Training step and inference of PIIP networks against plain ViTs: images a second, work a second, memory.

python benchmarks/model.py

On a GPU: PIIP-TSB 1568/1120/672 and a ViT-B at 1024 px, batches of 2, bfloat16. Without one: like shapes at about a
fifth of the size, float32. The question is what a PIIP network loses against plain ViTs. `of ViT-B` compares the
multiply-accumulates a second with those of the ViT-B. `times ViTs` is the time of a training step over that which its
multiply-accumulates take at the speed that a plain ViT of the same width reaches at the same image size: those of
interactions at the mean of their two widths, those of the merge at the largest.

On a GPU every network with interactions is timed with the fused kernels where they pay (`auto`), and by the portable
path, which samples by the algorithm of the authors' operator, written with torch's `grid_sample`; and every training
step as usual, with its parts compiled (`PIIP.compile_parts`), and replayed (`piip_workers.networks.cuda_graphs`), which
leaves out what launching costs the host. `times ViTs` compares with plain ViTs that run the same way.
"""

import argparse
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from piip_search.architecture import Architecture
from piip_search.cost import breakdown, price
from piip_search.models import PIIP
from piip_search.models.kernels import dispatch
from piip_workers.networks.cuda_graphs import Recorded
from support.counting import kept_values, live_values

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
BATCH = 2
ROWS = {
    "ViT-B": ("vit_b@1024:w14g3", "vit_b@192:w7g3"),
    "ViT-T": ("vit_t@1568:w14", "vit_t@336:w7"),
    "ViT-S": ("vit_s@1120:w14", "vit_s@224:w7"),
    "ViT-B, small image": ("vit_b@672:w14", "vit_b@112:w7"),
    "PIIP-TSB": ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12", "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12"),
    "PIIP-TSB, no interactions": (
        "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*0",
        "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*0",
    ),
    "PIIP-TSB, no projections": (
        "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12(projection=no,norm=no)",
        "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12(projection=no,norm=no)",
    ),
    "PIIP-TSB, padded windows": (
        "vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12",
        "vit_b@112:w6+vit_s@224:w6+vit_t@336:w6*12",
    ),
    "CT-VS-VB": ("vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12", "vit_b@64:w7+vit_s@96:w7+convnext_t@160*12"),
}


@dataclass(frozen=True)
class Way:
    """How a network runs: by which kernels, and its training steps compiled or not, replayed or not."""

    kernels: str | None = None
    compiled: bool = False
    replayed: bool = False

    @property
    def running(self) -> tuple[bool, bool]:
        return self.compiled, self.replayed

    def __str__(self) -> str:
        names = (self.kernels, "compiled" if self.compiled else None, "replayed" if self.replayed else None)
        return ", ".join(name for name in names if name) or "as usual"


def seconds(call: Callable[[], object]) -> float:
    """Median of some runs after five to warm up, or two on a CPU."""
    times = []
    before = 5 if GPU else 2
    for run in range(before + (8 if GPU else 3)):
        if GPU:
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if GPU:
            torch.cuda.synchronize()
        if run >= before:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def leaves(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def measured(architecture: Architecture, image: Tensor, way: Way) -> tuple[float, float, tuple[float, float] | None]:
    """Seconds and peak memory in GB of a training step, and of inference, which is neither compiled nor replayed."""
    gc.collect()  # recordings are in circles
    before = torch.cuda.memory_allocated() if GPU else 0
    dispatch.WISH = way.kernels or "portable"
    model = PIIP(architecture).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=GPU)
    if way.compiled:
        model.compile_parts()
    trained = Recorded(model) if way.replayed else model

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
            loss = sum(map_.float().square().mean() for map_ in leaves(trained(image)))
        loss.backward()
        optimizer.step()

    def infer() -> None:
        with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
            model(image)

    model.train()
    step, step_memory = seconds(train), peak(model, image, train, before)
    if way.compiled or way.replayed:
        return step, step_memory, None
    model.eval()
    return step, step_memory, (seconds(infer), peak(model, image, infer, before))


def peak(model: nn.Module, image: Tensor, call: Callable[[], object], before: int) -> float:
    """Peak memory in GB: what the allocator says, less what was held before; on a CPU, what autograd keeps or what is
    alive, without weights."""
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    return 4 * (kept_values if model.training else live_values)(model, image) / 1e9


def ways(architecture: Architecture) -> Iterator[Way]:
    """How the network may run on this device."""
    if not GPU:
        yield Way()
        return
    for kernels_ in ("auto", "portable") if architecture.interaction.count else (None,):
        for compiled in (False, True):
            yield from (Way(kernels_, compiled, replayed) for replayed in (False, True))


def plain_seconds(architecture: Architecture, speed: dict[str, float]) -> float | None:
    """Time of a training step of one image at the speed of plain ViTs, in multiply-accumulates a second by backbone."""
    names = [branch.backbone for branch in architecture.branches]
    if not set(names) <= set(speed):
        return None
    found = 0.0
    for part in breakdown(architecture, "backbone"):
        group = part.group.removeprefix("interactions ")
        of = [name for name in names if name in group] or names[:1]
        found += statistics.fmean(3 * part.cost.macs / speed[name] for name in of)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="networks, plain ViTs first")
    rows = parser.parse_args().rows
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if GPU else f"{platform.processor() or platform.machine()} CPU"
    precision = "bfloat16" if GPU else "float32"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {BATCH}, {precision}\n")
    training = ("train img/s", "of ViT-B", "times ViTs", "train GB")
    heads = ("network", "GMACs", "M params", *training, "infer img/s", "of ViT-B", "infer GB")
    print(f"| {' | '.join(heads)} |")
    print("| --- " * len(heads) + "|")
    first: tuple[float, float] | None = None
    speeds: dict[tuple[bool, bool], dict[str, float]] = {}
    for title in rows:
        architecture = Architecture.parse(ROWS[title][0 if GPU else 1])
        cost = price(architecture, "backbone")
        image = torch.randn(BATCH, 3, architecture.resolution, architecture.resolution, device=DEVICE)
        for way in ways(architecture):
            step, step_memory, inference = measured(architecture, image, way)
            rate = 3 * BATCH * cost.macs / step
            inferred = " |  | "
            if inference is not None:
                taken, memory = inference
                first = first or (rate, BATCH * cost.macs / taken)
                inferred = f"{BATCH / taken:.2f} | {BATCH * cost.macs / taken / first[1]:.2f} | {memory:.2f}"
            speed = speeds.setdefault(way.running, {})
            if len(architecture.branches) == 1:
                speed[architecture.branches[0].backbone] = rate
            plain = plain_seconds(architecture, speed)
            times = "" if plain is None else f"{step / BATCH / plain:.2f}"
            # What a recording holds is allocated while it is made.
            held = "" if way.replayed else f"{step_memory:.2f}"
            trained = f"{BATCH / step:.2f} | {rate / first[0]:.2f} | {times} | {held}"
            name = f"{title}, {way}" if GPU else title
            print(f"| {name} | {cost.gmacs:.1f} | {cost.mparams:.0f} | {trained} | {inferred} |", flush=True)


if __name__ == "__main__":
    main()
