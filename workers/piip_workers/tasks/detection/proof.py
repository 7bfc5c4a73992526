"""Proves an exported mmdet configuration: parses it, rebuilds the model, counts it, trains a step, and runs it.

Counting needs no memory: the network is rebuilt without values (torch's meta device) at its full image size. The step
and the inference run on random images of the smallest size that fits the design's padding.
"""

import copy
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture, Branch
from piip_search.architecture.backbones import Transformer
from piip_search.cost import price
from piip_search.cost.memory import STATE_BYTES
from piip_search.export import RANDOM, Export
from piip_search.export.folder import PROOF_LOG
from piip_search.export.settings import render
from piip_search.tasks.detection.head import PROPOSALS, DetectorHead
from piip_search.tasks.detection.mmdet.config import full_config
from piip_search.tasks.detection.plan import CONFIG, DetectorPlan, detector_plan
from piip_search.units import gigabytes
from piip_workers.mmlab.shims import install
from piip_workers.networks.counting import counted_macs
from piip_workers.networks.proof import Proof
from piip_workers.quiet import quiet

install()
from mmengine.config import Config  # noqa: E402

STEP_SIDE = 128
"""Least image side of the step in pixels: the coarsest map of a one-stage detector then has one position."""
QUERIED = 256
"""Least image side for other detectors: those with 900 queries select them among the positions of their maps."""
IMAGES = 2
NARROW = 64
"""Width of the ViTs in the substitute for a network that does not fit the memory."""

_BUILD = """
import sys, torch
from piip_workers.mmlab.shims import install
install()
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
config = Config.fromfile(sys.argv[1])
with DefaultScope.overwrite_default_scope("mmdet"), torch.device("meta"):
    print(type(MODELS.build(config.model)).__name__)
"""


def prove_mmdet(export: Export, folder: Path, proof: Proof, memory: int | None = None) -> None:
    """Adds the checks of an exported configuration.

    Args:
        export: Request of the export.
        folder: Folder of the export.
        proof: Proof that collects the checks.
        memory: Most bytes of a training step; half of the machine's memory by default.
    """
    with quiet(folder / PROOF_LOG), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _prove(export, folder, proof, memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def _prove(export: Export, folder: Path, proof: Proof, memory: int) -> None:
    architecture, plan, read = export.architecture, detector_plan(export), {}

    def parse() -> str:
        read["config"] = Config.fromfile(folder / CONFIG)
        return Architecture.parse(read["config"].model.backbone.architecture).fingerprint

    def build() -> str:
        with torch.device("meta"):
            read["model"] = _built(read["config"])
        return type(read["model"]).__name__

    if not proof.check("mmdet: configuration parses", architecture.fingerprint, parse):
        return
    config = read["config"]
    alone = "in a process that has imported nothing else"
    if not proof.check("mmdet: model builds from the file", config.model.type, lambda: _elsewhere(folder), note=alone):
        return
    if not proof.check("mmdet: model builds", config.model.type, build):
        return
    model = read["model"]
    _count(export, plan, model, proof)
    if export.start.file is not None:
        weights = folder / export.start.file
        proof.check("mmdet: weights that fit no parameter", [], lambda: _misfits(weights, model))
    proof.check(
        "mmdet: an image of the data set, in pixels",
        list(export.box),
        lambda: _image_of(config),
        lambda found, most: all(map(int.__le__, sorted(found), sorted(most))),
        note="fitted into what is expected",
    )
    _run(export, folder, config, model, proof, memory)


def _elsewhere(folder: Path) -> str:
    """Type of the model that a fresh process builds, without the modules that this process imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _BUILD, str(folder / CONFIG)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        raise RuntimeError((ended.stderr.strip().splitlines() or ["it ended with an error"])[-1])
    return ended.stdout.strip().splitlines()[-1]


def _built(config: Any) -> Any:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    return MODELS.build(copy.deepcopy(config.model))  # mmdet's DINO modifies its configuration


def _count(export: Export, plan: DetectorPlan, model: Any, proof: Proof) -> None:
    architecture, side = export.architecture, export.architecture.resolution
    network = model.backbone.network
    params = price(architecture, "backbone").params
    proof.check("mmdet: parameters of the backbone", params, lambda: _parameters(network.piip))
    image = torch.empty(1, 3, side, side, device="meta")
    note = f"one image of {side} x {side} pixels"
    macs = price(architecture, "backbone").macs
    proof.check(
        "mmdet: multiply-accumulates of the backbone", macs, lambda: counted_macs(network.piip, image), note=note
    )
    detector = plan.head
    if not isinstance(detector, DetectorHead):
        proof.skipped.append(
            f"mmdet: parameters and multiply-accumulates of {plan.detector_config.base}, which has no cost"
        )
        return
    cost = price(architecture, "whole", head=detector)
    proof.check("mmdet: parameters of the detector", cost.params, lambda: _parameters(model))
    proof.check(
        "mmdet: multiply-accumulates of the detector",
        cost.macs,
        lambda: detector_macs(detector, model, image),
        note=note,
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def detector_macs(detector: DetectorHead, model: Any, image: Tensor) -> int:
    """MACs of network, neck and heads; Mask R-CNN's at 1000 proposals and one mask a detection."""
    model = model.eval()
    with torch.no_grad():
        maps = model.backbone.network(image)
        levels = model.neck(maps)
    total = counted_macs(model.backbone.network, image) + counted_macs(model.neck, maps)
    if not hasattr(model, "roi_head"):
        return total + counted_macs(model.bbox_head, levels)
    total += counted_macs(model.rpn_head, levels)
    boxes = torch.empty(PROPOSALS, detector.channels, 7, 7, device="meta")
    masks = torch.empty(detector.detections, detector.channels, 14, 14, device="meta")
    return total + counted_macs(model.roi_head.bbox_head, boxes) + counted_macs(model.roi_head.mask_head, masks)


def _misfits(weights: Path, model: nn.Module) -> list[str]:
    """Names of a file's tensors that fit no parameter of the model."""
    own = model.state_dict()
    state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    return [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]


def _image_of(config: Any) -> list[int]:
    """Sides of the first training image after its pipeline, longer one first."""
    from mmdet.registry import DATASETS
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(config.train_dataloader.dataset)
        return sorted((int(side) for side in dataset[0]["inputs"].shape[-2:]), reverse=True)


def _run(export: Export, folder: Path, config: Any, model: Any, proof: Proof, memory: int) -> None:
    """Runs a training step and an inference of the design, or of a narrower one if that needs too much memory."""
    architecture, plan, notes = export.architecture, detector_plan(export), []
    needed = STATE_BYTES * _parameters(model)
    weights = None if export.start.file is None else folder / export.start.file
    if needed > memory:
        architecture, weights = narrowed(architecture), None
        config = _written(replace(export, architecture=architecture, start=RANDOM))
        notes.append(
            f"on {architecture} instead: weights, gradients and optimiser of the design take "
            f"{gigabytes(needed)}, and {gigabytes(memory)} may be used here"
        )
    least = STEP_SIDE if plan.head is not None else QUERIED
    side = architecture.multiple * math.ceil(least / architecture.multiple)
    note = "; ".join([f"{IMAGES} images of {side} x {side} pixels", *notes])
    made: dict[str, Any] = {}

    def step() -> list[str]:
        from mmengine.optim import build_optim_wrapper
        from mmengine.runner import load_checkpoint

        model = made["model"] = _built(config)
        model.init_weights()
        if weights is not None:
            load_checkpoint(model, str(weights), map_location="cpu")
        optimiser = build_optim_wrapper(model, config.optim_wrapper)
        data = model.train().data_preprocessor(_batch(plan, side), True)
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        made["loss"] = float(loss)
        optimiser.backward(loss)
        trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        still = [name for name, parameter in trained if parameter.grad is None and not _unread(name, model, plan)]
        optimiser.step()
        return still

    def infer() -> list[Any]:
        with torch.no_grad():
            results = made["model"].eval().test_step(_batch(plan, side))
        found = [result.pred_instances for result in results]
        return [len(found), all(bool(one.scores.isfinite().all() and one.bboxes.isfinite().all()) for one in found)]

    if proof.check("mmdet: trained parameters without a gradient after a step", [], step, note=note):
        proof.check(
            "mmdet: the loss of the step is finite",
            True,
            lambda: math.isfinite(made["loss"]),
            note=f"loss {made['loss']:.4g}",
        )
        proof.check("mmdet: images with detections, all finite", [IMAGES, True], infer, note=note)


def _unread(name: str, model: Any, plan: DetectorPlan) -> bool:
    """Whether a parameter may lack a gradient: it makes a map that nothing reads, or belongs to an unknown head.

    One-stage detectors begin at stride 8. An unknown head may have some parameters for other images.
    """
    if plan.head is None and not name.startswith("backbone."):
        return True
    levels = range(getattr(model.neck, "start_level", 0))
    parts = [f"backbone.network.pyramid.levels.{level}." for level in levels]
    if len(model.backbone.network.piip.merges) > 1:
        parts += [f"backbone.network.piip.merges.{level}." for level in levels]
    return name.startswith(tuple(parts))


def _batch(plan: DetectorPlan, side: int) -> Mapping[str, Any]:
    """Random images with two objects each."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    boxes = torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.3, 0.4, 0.9, 0.8]]) * side
    masks = np.zeros((len(boxes), side, side), dtype=np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    samples = []
    for _ in range(IMAGES):
        shape = {"img_shape": (side, side), "ori_shape": (side, side), "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo={**shape, "img_id": 0})
        labels = torch.tensor([0, len(plan.data.classes) - 1])
        kept = {"masks": BitmapMasks(masks, side, side)} if plan.detector_config.masks else {}
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels, **kept)
        samples.append(sample)
    return {"inputs": list(torch.randint(0, 256, (IMAGES, 3, side, side), dtype=torch.uint8)), "data_samples": samples}


def narrowed(architecture: Architecture) -> Architecture:
    """The design with narrow ViTs of the same depth, to test the same code in little memory."""
    interaction = architecture.interaction
    unit = math.lcm(NARROW, 2 * interaction.heads)
    branches: list[Branch] = []
    width = unit
    for branch in reversed(architecture.branches):
        if isinstance(branch.model, Transformer):
            width = math.ceil(width / unit) * unit
            name = f"vit_w{width}_d{branch.model.depth}_h2"
            patch = None if branch.model.patch == 16 else branch.model.patch
            branches.append(replace(branch, backbone=name, patch_size=patch))
        else:
            width = max(width, branch.model.width)
            branches.append(branch)
    return replace(architecture, branches=tuple(reversed(branches)))


def _written(export: Export) -> Any:
    """The configuration of an export, written to a temporary folder and read back."""
    plan = detector_plan(export)
    settings = full_config(export.architecture, plan.data, plan.training, detector_config=plan.detector_config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CONFIG
        path.write_text(render(settings, "narrowed"), encoding="utf-8")
        return Config.fromfile(path)
