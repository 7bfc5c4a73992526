"""Proves an exported classifier's training: reads the file, builds and counts the network, and trains a step."""

from pathlib import Path

import torch
from torch import nn

from piip_search.cost import price
from piip_search.export import Export
from piip_search.export.folder import PROOF_LOG
from piip_search.tasks.classification.plan import CLASSIFIER_FILE, ClassifierPlan
from piip_workers.networks.counting import counted_macs
from piip_workers.networks.proof import Proof
from piip_workers.quiet import quiet
from piip_workers.tasks.classification import data as data_sets
from piip_workers.tasks.classification.classifier_training import classifier_of
from piip_workers.tasks.classification.full_training import FullClassifier, read_full_classifier

STEP_IMAGES = 2
"""Random images of the step."""


def prove_classifier(export: Export, folder: Path, proof: Proof) -> None:
    """Adds the checks of an exported training.

    Args:
        export: Request of the export.
        folder: Folder of the export.
        proof: Proof that collects the checks.
    """
    with quiet(folder / PROOF_LOG), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _prove(export, folder, proof)


def _prove(export: Export, folder: Path, proof: Proof) -> None:
    architecture, plan = export.architecture, export.plan
    assert isinstance(plan, ClassifierPlan), "the export is of another task"
    read: list[FullClassifier] = []

    def parse() -> str:
        read.append(read_full_classifier(folder / CLASSIFIER_FILE))
        return read[0].architecture.fingerprint

    if not proof.check("timm: file parses", architecture.fingerprint, parse):
        return
    full = read[0]
    with torch.device("meta"):
        network = classifier_of(full.architecture, plan.classes)
    side = architecture.resolution
    image = torch.empty(1, 3, side, side, device="meta")
    params, macs = _counts(export, plan)
    proof.check("timm: network builds, parameters", params, lambda: sum(one.numel() for one in network.parameters()))
    note = f"one image of {side} x {side} pixels"
    proof.check("timm: multiply-accumulates of the network", macs, lambda: counted_macs(network, image), note=note)
    if export.start.file is not None:
        weights = folder / export.start.file
        proof.check("timm: weights that fit no parameter", [], lambda: _unused(weights, network))
    if plan.data.classes is not None:
        names = list(plan.data.classes)
        proof.check("timm: classes of the data, in order", names, lambda: list(data_sets.contents(full.data).classes))
    proof.check("timm: a step changes every parameter with a gradient", True, lambda: _steps(full, plan.classes))


def _counts(export: Export, plan: ClassifierPlan) -> tuple[int, int]:
    """Parameters and multiply-accumulates in closed form."""
    merge = export.architecture.merge
    cost = (
        price(export.architecture, "backbone", outputs=plan.classes)
        if merge == "logits"
        else price(export.architecture, "whole", head=plan.head)
    )
    return cost.params, cost.macs


def _unused(file: Path, network: nn.Module) -> list[str]:
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    own = network.state_dict()
    return [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]


def _steps(full: FullClassifier, classes: int) -> bool:
    """Trains a step at the smallest sizes that all grids fit."""
    network = classifier_of(full.architecture, classes, drops=False).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    side = full.architecture.multiple * -(-64 // full.architecture.multiple)
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    scores_BK = network(torch.randn(STEP_IMAGES, 3, side, side))
    nn.functional.cross_entropy(scores_BK, torch.arange(STEP_IMAGES) % classes).backward()
    optimiser.step()
    moved = [
        not torch.equal(before[name], one)
        for name, one in network.named_parameters()
        if one.grad is not None and bool(one.grad.abs().sum())
    ]
    return bool(moved) and all(moved)
