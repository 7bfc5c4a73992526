"""Trains a network, as a proxy and in full."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, folder_facts
from piip_search.evaluation.facts import Facts
from piip_search.models.piip import PIIP
from piip_workers.jobs.job import with_failures
from shades.images import VALIDATION, read
from shades.task import ShadesData, ShadesTraining


class ShadesNetwork(nn.Module):
    """A PIIP network with a `MeanHead`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.piip = PIIP(architecture)
        self.linear = nn.Linear(architecture.merged[0][0], 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        maps = self.piip(images_BCHW)
        merged_BCHW = maps if isinstance(maps, Tensor) else maps[0]
        scores_B: Tensor = self.linear(merged_BCHW.mean((2, 3)))[:, 0].sigmoid()
        return scores_B


def made(architecture: Architecture, seed: int) -> ShadesNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ShadesNetwork(architecture)


def measure(candidate: Candidate, data: Mapping[str, Any], training: Mapping[str, Any], directory: str) -> Evaluation:
    """Trains a candidate's proxy, and measures its distance to the truth."""
    recipe, begun = ShadesTraining.model_validate(training), time.monotonic()
    folder = Path(directory) / candidate.training
    folder.mkdir(parents=True, exist_ok=True)

    def trained() -> Evaluation:
        network = made(candidate.architecture, candidate.seed)
        rows = run(network, ShadesData.model_validate(data), recipe, candidate.fidelity.epochs, candidate.seed)
        torch.save({"state_dict": network.state_dict()}, folder / f"epoch_{candidate.fidelity.epochs}.pth")
        metrics = {name: rows[-1][name] for name in ("closeness", "distance")}
        facts = Facts.from_dict({"training": candidate.training, **folder_facts(folder)})
        seconds = time.monotonic() - begun
        return Evaluation(candidate, "done", metrics, seconds=seconds, history=tuple(rows), facts=facts)

    return with_failures(candidate, trained)


def run(
    network: ShadesNetwork, data: ShadesData, recipe: ShadesTraining, epochs: int, seed: int
) -> list[dict[str, float]]:
    """Trains a network; returns loss and metrics of each epoch."""
    side = network.piip.architecture.resolution
    images_BCHW, shades_B = read(data, recipe.images, side, seed)
    val_BCHW, truth_B = read(data, VALIDATION, side, seed + 1)
    optimiser, rows = torch.optim.AdamW(network.parameters(), recipe.learning_rate), []
    for epoch in range(epochs):
        losses = []
        for first in range(0, len(images_BCHW), recipe.batch_size):
            part = slice(first, first + recipe.batch_size)
            loss = (network.train()(images_BCHW[part]) - shades_B[part]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            distance = float((network.eval()(val_BCHW) - truth_B).abs().mean())
        metrics = {"loss": sum(losses) / len(losses), "closeness": 1 - distance, "distance": distance}
        rows.append({"epoch": float(epoch + 1), **metrics})
    return rows


def train_in_full(arguments: Sequence[str]) -> int:
    """Trains an export: the command line of `piip_workers.train`."""
    content = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    work = Path(arguments[arguments.index("--work-dir") + 1])
    work.mkdir(exist_ok=True)
    recipe = ShadesTraining.model_validate(content["training"])
    network = made(Architecture.parse(content["architecture"]), 0)
    rows = run(network, ShadesData(embedded="grey"), recipe, content["epochs"], 0)
    (work / "history.json").write_text(json.dumps(rows), encoding="utf-8")
    return 0
