"""The task's worker and its drawing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import EXAMPLES_FILE, EXAMPLES_FOLDER, Evaluation
from piip_search.export import Export, Start, TrainingPlan
from piip_search.sections import DataSection
from piip_workers.tasks.task import Counted, DataReport
from shades.task import TRAINING_FILE, ShadesPlan, ShadesTraining

if TYPE_CHECKING:
    from piip_workers.networks.proof import Proof
    from piip_workers.networks.weights import StartingWeights


class ShadesWorker:
    measure = "shades.training:measure"
    shared: str | None = None
    sample = 4

    def examine(self, spec: SearchSpec, progress: Callable[[str], None]) -> DataReport:
        from shades.images import problems

        return DataReport(problems(spec.data))  # type: ignore[arg-type]

    def counted(self, network: StockNetwork, spec: SearchSpec) -> StockNetwork:
        raise UserError(f"baselines: the task has no stock network {network.name}")

    def prepare(self, data: Any) -> None: ...

    def resolved(self, data: Any) -> DataSection:
        found: DataSection = data
        return found

    def image_counts(self, data: Any) -> tuple[int, int] | None:
        return 4, 4

    def undecodable_images(self, data: Any, wanted: int | None, progress: Counted) -> list[str]:
        return []

    def undecodable_training_images(
        self, data: Any, sample: int | None, ended: Callable[[], bool] = lambda: False
    ) -> DataReport:
        return DataReport()

    def fingerprint(self, data: Any, progress: Counted) -> str:
        from shades.images import fingerprint

        return fingerprint(data)

    def shared_images(self, data: Any) -> list[str]:
        return []

    def plan(self, spec: SearchSpec, schedule: str) -> TrainingPlan:
        assert isinstance(spec.training, ShadesTraining)
        return ShadesPlan(spec.training, schedule)

    def prove(self, export: Export, folder: Path, proof: "Proof") -> None:
        from shades.images import grey
        from shades.training import made

        content: dict[str, Any] = {}

        def parses() -> str:
            content.update(json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8")))
            return Architecture.parse(content["architecture"]).name

        def steps() -> bool:
            network = made(export.architecture, 0)
            images_BCHW, shades_B = grey(2, export.architecture.resolution, 0)
            (network(images_BCHW) - shades_B).square().mean().backward()
            return all(parameter.grad is not None for parameter in network.linear.parameters())

        proof.check("shades: the file parses", export.architecture.name, parses)
        proof.check("shades: the network builds and trains a step", True, steps)

    def from_proxy(self, architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> "StartingWeights":
        import torch

        from piip_workers.networks.weights import StartingWeights
        from shades.training import made

        weights = StartingWeights(made(architecture, 0), Start("proxy", "Starts from the proxy.", "weights.pth"), {})
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        weights.network.load_state_dict(state)
        weights.tensors.update(state)
        return weights

    def from_pretrained(self, architecture: Architecture, place: str, plan: TrainingPlan) -> "StartingWeights":
        raise NotImplementedError

    def at_random(self, architecture: Architecture, start: Start, plan: TrainingPlan) -> "StartingWeights":
        from piip_workers.networks.weights import StartingWeights
        from shades.training import made

        return StartingWeights(made(architecture, 0), start, {})

    def train(self, arguments: Sequence[str] | None) -> int:
        from shades.training import train_in_full

        return train_in_full(arguments or ())

    def write_examples(self, folder: Path) -> int:
        (folder / EXAMPLES_FOLDER).mkdir(exist_ok=True)
        content = {"epochs": 1, "shades": [0.25]}
        (folder / EXAMPLES_FOLDER / EXAMPLES_FILE).write_text(json.dumps(content), encoding="utf-8")
        return 1


class ShadesDrawing:
    title = "Shades of validation images"
    action = "Guess some shades"
    template = Path(__file__).with_name("shades.html")

    def pictures(self, content: Mapping[str, Any]) -> list[float]:
        return [float(shade) for shade in content["shades"]]
