"""Closed form against torch's operator counter: error and time a design, and a whole space at once.

python benchmarks/cost.py
"""

import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from piip_search.architecture import Architecture
from piip_search.cost import price
from piip_search.models import PIIP
from piip_search.shipped import find_space
from piip_search.spec import load_spec

DESIGN = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"


def seconds(call: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def count(architecture: Architecture) -> int:
    # On the meta device, where nothing is computed: the quickest that the counter can be.
    with torch.device("meta"):
        model = PIIP(architecture).eval()
        image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(image)
    return counter.get_total_flops() // 2


def main() -> None:
    architecture = Architecture.parse(DESIGN)
    closed = price(architecture, "backbone").macs
    counted = count(architecture)
    quick = seconds(lambda: price(architecture, "backbone"), 50)
    slow = seconds(lambda: count(architecture), 3)
    print(f"design              {DESIGN}")
    print(f"closed form         {closed / 1e9:.4f} GMACs in {quick * 1e6:.0f} us")
    print(f"FlopCounterMode     {counted / 1e9:.4f} GMACs in {slow * 1e6:.0f} us (bilinear samples not seen)")
    print(f"difference          {counted / closed - 1:+.3%}")
    print(f"ratio of times      {slow / quick:.0f}")
    space = load_spec(find_space("coco")).space.build()
    designs = len(space.rows_ND)
    whole = seconds(lambda: space.priced("published"), 3)
    print(
        f"COCO space          {designs} designs priced in {whole:.3f} s: {designs / whole / 1e6:.2f} million a second"
    )


if __name__ == "__main__":
    main()
