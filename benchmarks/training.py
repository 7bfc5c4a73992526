"""The proxy loop against plain mmdet: images a second with the same model, data and batches, and who waits for data.

    python benchmarks/training.py

Both train the same detector for the same epochs, turn about, each the first of every other round, as a machine's speed
drifts; the first epoch of each is left out, in which libraries warm up and images are decoded. The data is the nuclei
set where PIIP_SHARED has it, else the embedded digits. On a GPU the network is a larger one in bfloat16, and a third
loop replays its steps (`training.cuda_graphs`).
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Fidelity
from piip_search.export.settings import Settings, render
from piip_search.tasks.detection.mmdet.config import proxy_config
from piip_search.tasks.detection.mmdet.data import ProxyImages
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.tasks.detection import data as data_sets
from piip_workers.tasks.detection.proxy_training import usable_images

GPU = torch.cuda.is_available()
PLAIN = "plain mmdet"
DESIGN = "vit_s@192:g+vit_t@256:g+vit_w96_d12_h3@384:g*4" if GPU else "vit_micro@96:g+vit_nano@128:g+vit_pico@192:g*2"


def settings_of(data: DetectionData, workers: int, epochs: int, replays: bool = False) -> tuple[Settings, int]:
    """The proxy's configuration, and its training images."""
    training = DetectionTraining(
        channels=64,
        anchor_scale=1.5,
        batch_size=8 if GPU else 4,
        learning_rate=1e-3,
        loader_workers=workers,
        val_images=1,
        cache_mib=1024,
        precision="bfloat16" if GPU else "float32",
        cuda_graphs=replays,
    )
    paths, design = data_sets.prepare(data), Architecture.parse(DESIGN)

    def config(images: int) -> Settings:
        return proxy_config(
            design,
            paths,
            training,
            fidelity=Fidelity(epochs),
            images=ProxyImages(images, val=(0,), pinned=GPU),
            seed=0,
        )

    count = usable_images(config(1))
    return config(count), count


def plain(settings: Settings) -> Settings:
    """The same training read as mmdet reads it: images decoded every time, its own sampler and data set."""
    loader = settings["train_dataloader"]
    dataset = {key: value for key, value in loader["dataset"].items() if key != "seed"}
    pipeline = [{"type": "LoadImageFromFile"}, *dataset["pipeline"][1:]]
    dataset |= {"type": "CocoDataset", "pipeline": pipeline}
    sampler = {"type": "DefaultSampler", "shuffle": True}
    return {**settings, "train_dataloader": {**loader, "dataset": dataset, "sampler": sampler}}


@contextmanager
def own_assigner() -> Iterator[None]:
    """With the assigner that mmdet has, in whose place ours stands."""
    from mmdet.models.task_modules.assigners import MaxIoUAssigner
    from mmdet.registry import TASK_UTILS

    ours = TASK_UTILS.get("MaxIoUAssigner")
    TASK_UTILS.register_module(name="MaxIoUAssigner", module=MaxIoUAssigner, force=True)
    yield
    TASK_UTILS.register_module(name="MaxIoUAssigner", module=ours, force=True)


def timed(settings: Settings, images: int, folder: Path) -> tuple[float, float]:
    """Images a second after the first epoch, and the share of that time spent waiting for data."""
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    class Clock(Hook):  # type: ignore[misc]
        """Seconds of epochs after the first, and of them those before a batch was there."""

        def __init__(self) -> None:
            self.seconds = self.waited = 0.0

        def before_train_epoch(self, runner: Any) -> None:
            self.start = self.last = time.perf_counter()

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.epoch:
                self.waited += time.perf_counter() - self.last

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            self.last = time.perf_counter()

        def after_train_epoch(self, runner: Any) -> None:
            if GPU:
                torch.cuda.synchronize()
            if runner.epoch:
                self.seconds += time.perf_counter() - self.start

    path = folder / "config.py"
    path.write_text(render({**settings, "work_dir": str(folder)}, "benchmark"), encoding="utf-8")
    runner = Runner.from_cfg(Config.fromfile(path))
    clock = Clock()
    runner.register_hook(clock, priority="VERY_LOW")
    runner.train()
    epochs = settings["train_cfg"]["max_epochs"] - 1
    return images * epochs / clock.seconds, clock.waited / clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    nuclei = Path(os.environ.get("PIIP_SHARED", "../shared")) / "data" / "nuclei_dsb2018"
    part = {name: {"images": name, "annotations": f"annotations/instances_{name}.json"} for name in ("train", "val")}
    data = DetectionData.model_validate({"root": nuclei, **part} if nuclei.is_dir() else {"embedded": "digits"})
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if GPU else f"{platform.machine()}, one thread"
    print(f"torch {torch.__version__}, {device}; {nuclei.name if nuclei.is_dir() else 'digits'}; {DESIGN}")
    print(f"{'loader processes':>16} {'loop':>14} {'images/s':>9} {'waiting':>8}   ratio of a round: median and range")
    for workers in options.workers:
        ours, images = settings_of(data, workers, options.epochs)
        loops = {PLAIN: plain(ours), "ours": ours}
        if GPU:
            loops["ours, replayed"] = settings_of(data, workers, options.epochs, replays=True)[0]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
        for turn in range(options.rounds):
            for name, settings in list(loops.items())[:: -1 if turn % 2 else 1]:
                plainly = own_assigner() if name == PLAIN else nullcontext()
                with tempfile.TemporaryDirectory() as folder, plainly:
                    found[name].append(timed(settings, images, Path(folder)))
        for name, rows in found.items():
            speed, waiting = (statistics.median(column) for column in zip(*rows, strict=True))
            ratios = [one / other for (one, _), (other, _) in zip(rows, found[PLAIN], strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"{workers:>16} {name:>14} {speed:>9.1f} {waiting:>8.1%}   {ratio}")


if __name__ == "__main__":
    main()
