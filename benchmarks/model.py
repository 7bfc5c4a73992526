"""Training step and inference of PIIP networks against a plain ViT: images a second, work a second, memory.

python benchmarks/model.py

On a GPU: PIIP-TSB 1568/1120/672 and a ViT-B at 1024 px, batches of 2, bfloat16. Without one: like shapes at about a
fifth of the size, float32. The question is what a PIIP network loses against the speed at which a plain ViT of its
largest width does the same number of multiply-accumulates: the column `of ViT` is one where it loses nothing. On a GPU
every network with deformable attention is timed twice: with the fused kernel, and with the portable path, which is the
algorithm of the authors' operator written with torch's `grid_sample`.
"""

import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from counting import kept_values, live_values

from piip_search.architecture import Architecture
from piip_search.cost import price
from piip_search.models import PIIP, sampling

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
BATCH = 2
ROWS = {
    "ViT-B": ("vit_b@1024:w14g3", "vit_b@192:w7g3"),
    "PIIP-TSB": ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12", "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12"),
    "PIIP-TSB, no interactions": ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*0",
                                  "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*0"),
    "PIIP-TSB, no projections": ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12(projection=no,norm=no)",
                                 "vit_b@112:w7+vit_s@224:w7+vit_t@336:w7*12(projection=no,norm=no)"),
    "PIIP-TSB, padded windows": ("vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12",
                                 "vit_b@112:w6+vit_s@224:w6+vit_t@336:w6*12"),
    "CT-VS-VB": ("vit_b@448:w14+vit_s@672:w14+convnext_t@1024*12", "vit_b@64:w7+vit_s@96:w7+convnext_t@160*12"),
}  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    """Median of some runs after two to warm up."""
    times = []
    for run in range(8 if GPU else 5):
        if GPU:
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if GPU:
            torch.cuda.synchronize()
        if run > 1:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def leaves(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def measured(model: nn.Module, image: Tensor) -> tuple[float, float, float, float]:
    """Seconds of a training step and of inference, and their peak memory in GB."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
            loss = sum(map_.float().square().mean() for map_ in leaves(model(image)))
        loss.backward()
        optimizer.step()

    def infer() -> None:
        with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
            model(image)

    model.train()
    step, step_memory = seconds(train), peak(model, image, train)
    model.eval()
    return step, seconds(infer), step_memory, peak(model, image, infer)


def peak(model: nn.Module, image: Tensor, call: Callable[[], object]) -> float:
    """Peak memory in GB: what the allocator says; on a CPU, what autograd keeps or what is alive, without weights."""
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 1e9
    return 4 * (kept_values if model.training else live_values)(model, image) / 1e9


def ways(architecture: Architecture) -> tuple[str, ...]:
    """How the network may sample on this device."""
    deformable = architecture.interaction.count and architecture.interaction.attention == "deformable"
    return ("fused", "portable") if GPU and deformable else ("portable",)


def main() -> None:
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if GPU else f"{platform.processor() or platform.machine()} CPU"
    precision = "bfloat16" if GPU else "float32"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch {BATCH}, {precision}\n")
    print("| network | GMACs | M params | train img/s | of ViT | train GB | infer img/s | of ViT | infer GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    speed: tuple[float, float] | None = None
    for title, forms in ROWS.items():
        architecture = Architecture.parse(forms[0 if GPU else 1])
        cost = price(architecture, "backbone")
        model = PIIP(architecture).to(DEVICE)
        image = torch.randn(BATCH, 3, architecture.resolution, architecture.resolution, device=DEVICE)
        for way in ways(architecture):
            sampling.WISH = way
            step, inference, step_memory, memory = measured(model, image)
            rates = (3 * BATCH * cost.macs / step, BATCH * cost.macs / inference)
            speed = speed or rates
            trained = f"{BATCH / step:.2f} | {rates[0] / speed[0]:.2f} | {step_memory:.2f}"
            inferred = f"{BATCH / inference:.2f} | {rates[1] / speed[1]:.2f} | {memory:.2f}"
            name = f"{title}, {way}" if GPU else title
            print(f"| {name} | {cost.gmacs:.1f} | {cost.mparams:.0f} | {trained} | {inferred} |")


if __name__ == "__main__":
    main()
