"""The evaluator that trains one network for many designs, and measures each with its weights.

It prepares a parent for each largest set of backbones of the space, or for each tier. A design is then measured in
three ways, which are the rungs of the search: with the parent's weights as they are (0 epochs), after a short training
from them, and after a training of its own.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.branch_names import branch_names
from piip_search.config import SearchSpec, parse_spec
from piip_search.config.evaluator import SharedSection
from piip_search.cost.axes import SCALES, CostAxis
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.search.feasible import feasible_designs
from piip_search.space import SearchSpace
from piip_search.space.parents import covering, inside, largest_sets, tier_groups
from piip_search.tasks import default_task
from piip_search.units import quantity
from piip_workers.evaluators.evaluator import Report
from piip_workers.jobs.job import imported
from piip_workers.shared.deals import Deal
from piip_workers.shared.group import Group, group_of
from piip_workers.shared.growth import kind_of
from piip_workers.shared.task import SharedTask
from piip_workers.shared.tensors import load_shared
from piip_workers.shared.training import PARENT_FACTS, PARENT_WEIGHTS, ParentRecipe, ParentTraining
from piip_workers.tasks import worker_of
from piip_workers.whole_files import write_whole

BRANCH_NAME = re.compile(r"[A-Za-z0-9_.-]+(#\d+)?")
"""Name of a branch; it is part of a path."""
PARENTS = "parents.json"
"""File that lists the parents of a preparation: the backbones of each, or the limit of its tier."""


@dataclass(frozen=True)
class Parent:
    """A trained parent.

    Attributes:
        group: Its designs: the names of its branches (`piip_search.architecture.branch_names`), the largest model
            first, or the limit of its tier.
        folder: Folder of its files.
    """

    group: tuple[str, ...] | float
    folder: Path

    @property
    def name(self) -> str:
        """Its name, also that of its folder."""
        return name_of(self.group)


def name_of(group: Sequence[str] | float) -> str:
    """The name of the parent of a group of designs."""
    return f"tier-{float(group)!r}" if isinstance(group, int | float) else "+".join(group)


def parents_of(folder: Path) -> list[Parent]:
    """The parents in the folder of a preparation; tiers rise.

    Raises:
        UserError: There are none.
    """
    try:
        groups = json.loads((folder / PARENTS).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no parent in {folder}: {error.strerror}; name the home folder that has it") from None
    groups = [group if isinstance(group, int | float) else tuple(group) for group in groups]
    names = [name for group in groups if isinstance(group, tuple) for name in group]
    if odd := [name for name in names if not BRANCH_NAME.fullmatch(name)]:
        raise UserError(f"{folder / PARENTS} names no backbone with {odd[0]!r}; prepare the parents again")
    return [Parent(group, folder / name_of(group)) for group in groups]


def parent_of(design: Architecture, parents: Sequence[Parent], axis: CostAxis) -> Parent:
    """The first parent that holds a design.

    Args:
        design: Design.
        parents: Parents.
        axis: Axis of the tiers.

    Raises:
        UserError: None does.
    """
    names, scale = branch_names(design), SCALES[axis.name]
    # Counts are compared, as where the tiers were made: a quotient may round to the other side of a limit.
    count = round(axis.of(design) * scale)
    for parent in parents:
        group = parent.group
        if inside(names, group) if isinstance(group, tuple) else count <= group * scale:
            return parent
    raise UserError(f"no parent was trained for {design}; it is not in the space that was prepared")


class SharedEvaluator:
    """Measures designs with the weights of a parent."""

    def __init__(
        self,
        measure: Mapping[str, Any],
        folder: str,
        fingerprint: str,
        section: Mapping[str, Any],
        search: Mapping[str, Any],
    ) -> None:
        """Takes plain data.

        Args:
            measure: The task's own measurement: its function and settings.
            folder: Folder of the preparation.
            fingerprint: Fingerprint of the preparation.
            section: `SharedSection` as plain data.
            search: The fields of the search that the preparation depends on.
        """
        self.fingerprint = fingerprint
        self.folder = Path(folder)
        self._measure, self._search = measure, search
        self._section = SharedSection.model_validate(section)

    def prepare(self, report: Report) -> Mapping[str, Any]:
        space, within = feasible_designs(self._spec)
        group = group_of(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        groups: Mapping[Any, Any] = (
            tier_groups(within, self._spec.bounds.tiers)
            if self._section.parents == "tier"
            else largest_sets(space, within)
        )
        facts: dict[str, Any] = {}
        start: Mapping[str, Tensor] = {}
        for place, (of, rows_ND) in enumerate(groups.items()):
            name = name_of(of)

            def told(share: float, text: str, place: int = place, name: str = name) -> None:
                report((place + share) / len(groups), f"{name}, {text}" if len(groups) > 1 else text)

            found = self._training(space, rows_ND, group, start).run(self.folder / name, told)
            facts[name] = {**found, "fewest_passes": min(found["fewest_passes"].values())}
            if self._section.parents == "tier":
                start = {**start, **load_file(self.folder / name / PARENT_WEIGHTS)}
        if group.size > 1:
            shutil.rmtree(self._own_folder(group), ignore_errors=True)
        if not group.rank:
            write_whole(self.folder / PARENTS, json.dumps(list(groups)))
        return {"parents": facts, "said": [said_of(name, found) for name, found in facts.items()]}

    def evaluate(self, candidate: Candidate) -> Evaluation:
        settings: dict[str, Any] = dict(self._measure["settings"])
        if candidate.fidelity.epochs > self._section.tune:
            return self._measured(candidate, settings)
        parent = self._parent_of(candidate.architecture)
        rate = settings["training"]["learning_rate"] * self._section.tune_rate
        settings["training"] = {**settings["training"], "learning_rate": rate}
        trained = candidate.architecture.scaled(candidate.fidelity.image_scale)

        scarcest = _facts_of(parent.folder)["fewest_passes"].get(kind_of(trained), 0)
        if scarcest < self._section.least_passes:
            raise UserError(
                f"a part of this design had {scarcest} batches in the parent's training, fewer than "
                f"evaluator.least_passes ({self._section.least_passes}); raise evaluator.epochs"
            )

        def begin(network: nn.Module) -> None:
            load_shared(network, self._keys(trained, network), values_of(parent.folder))

        measured = self._measured(candidate, {**settings, "begin": begin})
        rest = {**measured.facts.rest, "parent": self.fingerprint, "fewest_passes": scarcest}
        return replace(measured, facts=replace(measured.facts, rest=rest))

    def _measured(self, candidate: Candidate, settings: Mapping[str, Any]) -> Evaluation:
        evaluation: Evaluation = imported(self._measure["function"])(candidate, **settings)
        return evaluation

    def _parent_of(self, design: Architecture) -> Parent:
        return parent_of(design, parents_of(self.folder), self._spec.bounds.cost_axis)

    def _training(self, space: SearchSpace, rows_ND: Any, group: Group, start: Mapping[str, Tensor]) -> ParentTraining:
        scale, seed = self._spec.fidelity.image_scale, self._spec.seed
        cover = [design.scaled(scale) for design in covering(space, rows_ND)]
        task = self._task(cover[0], self._own_folder(group))
        training, section = self._spec.training, self._section
        images = sum(map(len, task.batches(0)))
        steps = max(1, round(section.epochs * images / (training.batch_size * section.designs_a_step)))
        alone_ND = rows_ND[(rows_ND[:, : 3 * space.choices.slots : 3] > 0).sum(axis=1) == 1]
        grown = round(section.grow * steps) if 0 < len(alone_ND) < len(rows_ND) else 0
        recipe = ParentRecipe(
            steps=steps,
            designs=section.designs_a_step,
            learning_rate=training.learning_rate,
            warmup=training.warmup,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
            grown=grown,
            seed=seed,
            checkpoint_seconds=60 * section.checkpoint_minutes,
            least_passes=section.least_passes,
        )
        singles = Deal(space, alone_ND, seed, scale) if grown else None
        return ParentTraining(task, Deal(space, rows_ND, seed, scale), singles, cover, recipe, group, start)

    def _own_folder(self, group: Group) -> Path:
        """A folder for this process's files: several would write files of equal names."""
        return self.folder / f"process_{group.rank}" if group.size > 1 else self.folder

    def _task(self, design: Architecture, folder: Path) -> SharedTask:
        settings, fidelity = self._measure["settings"], self._spec.fidelity
        task: SharedTask = self._kind(
            data=settings["data"],
            training=settings["training"],
            folder=folder,
            seed=self._spec.seed,
            data_fraction=fidelity.data_fraction,
            design=design,
        )
        return task

    def _keys(self, design: Architecture, network: nn.Module) -> dict[str, str]:
        found: dict[str, str] = self._kind.keys(design, network)
        return found

    @cached_property
    def _kind(self) -> Any:
        """The task's class of what a training of shared weights needs."""
        shared = worker_of(self._search.get("task", default_task())).shared
        if shared is None:
            raise UserError(f"the task {self._search['task']} cannot share weights; set evaluator to stand_alone")
        return imported(shared)

    @cached_property
    def _spec(self) -> SearchSpec:
        """The part of the search that the preparation depends on."""
        settings = self._measure["settings"]
        content = {"name": "shared", **self._search, "data": settings["data"], "training": settings["training"]}
        return parse_spec(content, "evaluator", recorded=True)


def said_of(name: str, facts: Mapping[str, Any]) -> str:
    """One line about a trained parent.

    Args:
        name: Its backbones.
        facts: What `ParentTraining.run` gives.
    """
    parts = list(facts["losses"].values())
    sides = [side for side in parts[0] if side in parts[-1]]
    losses = ", ".join(f"{side} px {parts[0][side]:.3g} to {parts[-1][side]:.3g}" for side in sides)
    gates = {kind: [gate for key, gate in facts["gates"].items() if key.startswith(f"{kind}/")] for kind in ("I", "W")}
    opened = [
        f"{what} {sum(found) / len(found):.2g}"
        for what, found in zip(("interactions", "merges"), gates.values(), strict=True)
        if found
    ]
    skipped, parameters = sum(facts["skipped"].values()), quantity(facts["parameters"] / 1e6, "M parameters", 3)
    said = [
        f"{name}: {parameters} in {facts['tensors']} tensors, {facts['steps']:,} steps",
        f"each tensor had at least {facts['fewest_passes']:,} batches",
        *([f"loss by largest image: {losses}"] if losses else []),
        *([f"mean gates: {', '.join(opened)}"] if opened else []),
        *([f"batches without a step: {skipped}"] if skipped else []),
    ]
    return "; ".join(said)


@lru_cache(maxsize=2)
def values_of(folder: Path) -> Mapping[str, Tensor]:
    """The values of a parent by key, read once a process."""
    return load_file(folder / PARENT_WEIGHTS)


@lru_cache(maxsize=2)
def _facts_of(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / PARENT_FACTS).read_text(encoding="utf-8"))
    return found
