"""Closed form against public counters: error and time a design, on PIIP-TSB with fused attention; and a whole space.

pip install fvcore ptflops calflops transformers    # the peers; those that are missing are passed over
python benchmarks/cost.py

Errors are against what runs: torch's operator counter with attention as explicit products and bilinear samples counted.
Every peer builds nothing here: it is given the built model, on no device where it can count there (meta), else on the
CPU, where it must run the network once.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from timeit import timeit

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from piip_search.architecture import Architecture
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.cost import Pricing, price
from piip_search.models import PIIP
from piip_search.tasks.detection.head import COCO_MASK_RCNN
from support.counting import counted_macs

DESIGN = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"
DRAWN = 2000


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def flop_counter_mode(model: nn.Module, image: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops() // 2)


def fvcore(model: nn.Module, image: Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def ptflops(model: nn.Module, image: Tensor) -> int:
    return _ptflops(model, image, "pytorch")


def ptflops_aten(model: nn.Module, image: Tensor) -> int:
    return _ptflops(model, image, "aten")


def _ptflops(model: nn.Module, image: Tensor, backend: str) -> int:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model,
        tuple(image.shape[1:]),
        as_strings=False,
        print_per_layer_stat=False,
        verbose=False,
        backend=backend,
        input_constructor=lambda _: {"image_BCHW": image},
    )
    return int(macs)


def calflops(model: nn.Module, image: Tensor) -> int:
    from calflops import calculate_flops

    _, macs, _ = calculate_flops(model, kwargs={"image_BCHW": image}, print_results=False, output_as_string=False)
    return int(macs)


def peer(name: str, count: Callable[[nn.Module, Tensor], int], truth: int, ours: float) -> None:
    architecture = Architecture.parse(DESIGN)
    reason = "not installed"
    for device in ("meta", "cpu"):
        with torch.device(device):
            model = PIIP(architecture).eval()
            image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
        try:
            started = time.perf_counter()
            with torch.no_grad():
                found = count(model, image)
            taken = time.perf_counter() - started
        except ModuleNotFoundError:
            break
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:60]
            continue
        row(f"{name} ({device})", found, truth, taken, ours)
        return
    print(f"{name:<26}{reason}")


def row(name: str, macs: int, truth: int, taken: float, ours: float) -> None:
    print(f"{name:<26}{macs / 1e9:>10.3f} G{macs / truth - 1:>+9.2%}{taken * 1e6:>14,.0f} us{taken / ours:>12,.0f} x")


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    architecture = Architecture.parse(DESIGN)
    with torch.device("meta"):
        model = PIIP(architecture).eval()
        image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    truth = counted_macs(model, image)

    space = load_spec(find_space("coco")).space.build()
    # Many designs, each once: nothing is answered from a cache that a search would not have. timeit pauses the garbage
    # collector, which would else go through all of torch.
    drawn = [[space.decode(row) for row in space.sample(DRAWN, seed=seed)] for seed in range(3)]
    ours = min(timeit(lambda designs=designs: [price(d, "backbone") for d in designs], number=1) for designs in drawn)
    ours /= DRAWN

    print(f"{DESIGN}\n{'':<26}{'MACs':>12}{'error':>9}{'a design':>17}{'':>14}")
    row("closed form", price(architecture, "backbone").macs, truth, ours, ours)
    for name, count in (
        ("FlopCounterMode", flop_counter_mode),
        ("fvcore", fvcore),
        ("ptflops pytorch", ptflops),
        ("ptflops aten", ptflops_aten),
        ("calflops", calflops),
    ):
        peer(name, count, truth, ours)

    print(f"\nCOCO space: {len(space):,} legal designs")
    for convention in ("published", "backbone", "whole"):
        taken = seconds(
            lambda convention=convention: [len(chunk) for chunk in space.chunks(Pricing(convention, COCO_MASK_RCNN))], 3
        )
        print(
            f"  priced under {convention:<10} in {taken:.3f} s: {len(space) / taken / 1e6:.1f} million designs a second"
        )


if __name__ == "__main__":
    main()
