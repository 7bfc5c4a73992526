"""Trains a parent: at each step a few designs read a batch each, and one update changes the tensors that they share.

An interrupted training goes on from its checkpoint, and on a CPU ends as an uninterrupted one to the last digit: draws,
batches and random numbers are functions of the seed and of the step. Several processes share the designs of a step
among them and sum their gradients, so that they train what one process would.
Legend: D designs of a step, K keys.
"""

import json
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.errors import LostPeersError, UserError
from piip_workers.shared.deals import Deal
from piip_workers.shared.group import Alone, Group
from piip_workers.shared.growth import INTERACTION_GATES, MAP_READERS, kind_of, take_over
from piip_workers.shared.progress import NO_ROOM, NON_FINITE, TrainingProgress
from piip_workers.shared.task import Asked, SharedTask
from piip_workers.shared.tensors import SharedTensors
from piip_workers.whole_files import draft_of, write_whole

PARENT_CHECKPOINT = "checkpoint.pth"
"""File with the state of an unfinished training."""
PARENT_WEIGHTS = "parent.safetensors"
"""File with the trained tensors by key."""
PARENT_FACTS = "parent.json"
"""File with what is known of the finished training."""
MOST_NETWORKS = 64
"""Most networks that are kept built: modules without tensors of their own."""
LOSS_PARTS = 20
"""Parts of the training whose mean losses are recorded."""
LEAST_RATE = 0.01
"""First and last learning rate as a share of the highest, as in the proxies' schedule."""


@dataclass(frozen=True)
class ParentRecipe:
    """The recipe of a parent.

    Attributes:
        steps: Number of updates.
        designs: Designs a step.
        learning_rate: Highest rate.
        warmup: Share of the steps in which the rate rises.
        weight_decay: Weight decay of AdamW.
        clip_norm: Largest norm of the gradient.
        grown: Number of first steps in which single branches alone are trained; 0 for none.
        seed: Seed of everything random.
        checkpoint_seconds: Least seconds between two checkpoints.
        least_passes: Fewest batches that each tensor has to have.
    """

    steps: int
    designs: int
    learning_rate: float
    warmup: float
    weight_decay: float
    clip_norm: float
    grown: int
    seed: int
    checkpoint_seconds: float
    least_passes: int = 1

    def rate(self, step: int) -> float:
        """Share of the highest learning rate at a step: a linear rise, then half a cosine."""
        rise = round(self.steps * self.warmup)
        if step < rise:
            return LEAST_RATE + (1 - LEAST_RATE) * step / rise
        done = (step - rise) / max(1, self.steps - rise)
        return LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


class ParentTraining:
    """The training of a parent of some designs."""

    def __init__(
        self,
        task: SharedTask,
        deal: Deal,
        singles: Deal | None,
        cover: list[Architecture],
        recipe: ParentRecipe,
        group: Group | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Builds the shared tensors with their first values.

        Args:
            task: What the task gives.
            deal: Draws of the designs, at the scale of the proxies.
            singles: Draws of single branches, for the steps in which they are trained alone; None for none.
            cover: Designs that together have all parts.
            recipe: Recipe.
            group: Processes that train together, of which this is one; None for this process alone.
            start: Values of another parent by key, from which this one starts.
        """
        self._group: Group = group or Alone()
        self._task, self._deal, self._singles, self._cover, self._recipe = task, deal, singles, cover, recipe
        self._tensors, self._batches_a_pass = SharedTensors(), len(task.batches(0))
        self._keys_of_kind: dict[str, frozenset[str]] = {}
        self._built: OrderedDict[str, nn.Module] = OrderedDict()
        torch.manual_seed(recipe.seed)
        # Those of most branches first: the learning rate of a block goes by the deepest branch.
        for design in sorted(cover, key=lambda design: -len(design.branches)):
            network = task.build(design)
            keys = task.keys(design, network)
            self._keys_of_kind[kind_of(design)] = frozenset(keys.values())
            self._tensors.adopt(network, keys, task.rates(design, network))
        self._start = start or {}
        self._tensors.load(self._start)
        if not recipe.grown:
            self._take_over(self._start)

    def run(self, folder: Path, report: Callable[[float, str], None]) -> dict[str, Any]:
        """Trains to the end, from the checkpoint if there is one.

        Args:
            folder: Folder of the checkpoint and of the result.
            report: Takes the finished share and a line, with each checkpoint.

        Returns:
            Facts of the training, plain data.

        Raises:
            FloatingPointError: The loss is not finite again and again.
            MemoryError: A step does not fit the memory again and again.
            LostPeersError: The processes that train together are not at the same step.
            UserError: The training is too short: a tensor would have too few batches.
        """
        if self._group.of_first((folder / PARENT_FACTS).is_file()):
            if not (folder / PARENT_FACTS).is_file():
                raise LostPeersError(f"another process finished {folder.name}, and this one does not see its files")
            return dict(json.loads((folder / PARENT_FACTS).read_text(encoding="utf-8")))
        folder.mkdir(parents=True, exist_ok=True)
        self._check_length()
        optimiser = self._optimiser()
        progress = self._resumed(folder, optimiser)
        self._check_together(progress.step)
        last = time.monotonic()
        recipe = self._recipe
        batches = self._task.read(self._asked(progress.step))
        for step in range(progress.step, recipe.steps):
            if step == recipe.grown and step:
                self.grow()
            self._step(step, batches, optimiser, progress)
            progress.step = step + 1
            if self._group.rank or progress.step == recipe.steps:
                continue
            if time.monotonic() - last >= recipe.checkpoint_seconds:
                self._keep(folder, optimiser, progress)
                report(progress.step / recipe.steps, f"step {progress.step} of {recipe.steps}")
                last = time.monotonic()
        return self._end(folder, progress)

    def _check_together(self, step: int) -> None:
        """Checks that all processes read the same checkpoint: a file system may show an old one for a while."""
        steps = torch.tensor([float(step)], dtype=torch.float64, device=self._task.device)
        self._group.add(steps)
        if float(steps) != step * self._group.size:
            raise LostPeersError(f"this process would go on at step {step}, and another one elsewhere")

    def _step(
        self, step: int, batches: Iterator[Any], optimiser: torch.optim.Optimizer, progress: TrainingProgress
    ) -> None:
        recipe = self._recipe
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * group["factor"] * recipe.rate(step)
        # Without a gradient a tensor is neither moved nor decayed: parts without a design in this step stay unchanged.
        optimiser.zero_grad(set_to_none=True)
        designs = [self._design(step, turn) for turn in range(recipe.designs)]
        losses_D, faults_D = self._read(step, designs, batches)
        for design, fault in zip(designs, faults_D, strict=True):
            if fault:
                progress.skip([design], fault)
        if NO_ROOM in faults_D:
            return  # a part of its gradients may be there already
        moved = self._summed(designs)
        trained = [place for place, fault in enumerate(faults_D) if not fault]
        # One gradient that is not finite would make all tensors so.
        if moved and not torch.isfinite(torch.nn.utils.clip_grad_norm_(moved, recipe.clip_norm)):
            progress.skip([designs[place] for place in trained], NON_FINITE)
            return
        optimiser.step()
        for place in trained:
            keys = self._keys_of_kind[kind_of(designs[place])]
            progress.add(designs[place], keys, losses_D[place], step * LOSS_PARTS // recipe.steps)

    def _read(
        self, step: int, designs: Sequence[Architecture], batches: Iterator[Any]
    ) -> tuple[list[float], list[int]]:
        """Reads this process's batches of a step into gradients.

        Returns:
            The loss of each design of the step, and its fault, a key of `FAULTS`, or 0.
        """
        recipe = self._recipe
        told_2D = torch.zeros(2, recipe.designs, dtype=torch.float64, device=self._task.device)
        read = [(turn, next(batches)) for turn in self._own_turns]  # also those after a step that is broken off
        for turn, batch in read:
            network = self._network(designs[turn])
            # After the network, as building one draws random numbers, and a resumed training builds more of them.
            torch.manual_seed(((recipe.seed * 1_000_003 + step) * recipe.designs + turn) % 2**63)
            try:
                loss = self._task.loss(network, batch)
                if not torch.isfinite(loss):
                    told_2D[1, turn] = NON_FINITE
                    continue
                (loss / recipe.designs).backward()
                told_2D[0, turn] = loss.detach()
            except torch.OutOfMemoryError:
                told_2D[1, turn] = NO_ROOM
                break
        self._group.add(told_2D)
        return told_2D[0].tolist(), [int(fault) for fault in told_2D[1].tolist()]

    def _summed(self, designs: Sequence[Architecture]) -> list[nn.Parameter]:
        """Sums the gradients of all processes; returns the parameters that have one."""
        shared = self._tensors.parameters
        if self._group.size == 1:
            return [tensor for tensor in shared.values() if tensor.grad is not None]
        keys = sorted(set().union(*(self._keys_of_kind[kind_of(design)] for design in designs)))
        # What no process has a gradient of must stay without one: neither moved nor decayed.
        found_K = torch.tensor([float(shared[key].grad is not None) for key in keys], device=self._task.device)
        self._group.add(found_K)
        moved = [shared[key] for key, found in zip(keys, found_K.tolist(), strict=True) if found]
        if not moved:
            return []
        for parameter in moved:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._group.add(flat)
        for gradient, summed in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))
        return moved

    @property
    def _own_turns(self) -> range:
        """The designs of a step that this process reads."""
        return range(self._group.rank, self._recipe.designs, self._group.size)

    def _check_length(self) -> None:
        """Checks that every tensor will have enough batches: draws are known before the training."""
        recipe = self._recipe
        kinds = Counter(
            kind_of(self._design(step, turn)) for step in range(recipe.steps) for turn in range(recipe.designs)
        )
        passes = Counter[str]()
        for kind, count in kinds.items():
            passes.update(dict.fromkeys(self._keys_of_kind[kind], count))
        fewest = min(self._tensors.parameters, key=lambda key: passes[key])
        if passes[fewest] < recipe.least_passes:
            raise UserError(
                f"the training of {recipe.steps:,} steps is too short: some tensors would have {passes[fewest]} "
                f"batches, fewer than evaluator.least_passes ({recipe.least_passes}), such as {fewest}; "
                f"raise evaluator.epochs about {math.ceil(recipe.least_passes / max(1, passes[fewest]))} times"
            )

    def _design(self, step: int, turn: int) -> Architecture:
        recipe = self._recipe
        if self._singles is not None and step < recipe.grown:
            return self._singles.design(step * recipe.designs + turn)
        return self._deal.design((step - recipe.grown) * recipe.designs + turn)

    def _asked(self, first: int) -> Iterator[Asked]:
        """The batches from a step on: each pass over the images has its own order."""
        epoch = -1
        batches: list[tuple[int, ...]] = []
        for step in range(first, self._recipe.steps):
            for turn in self._own_turns:
                pass_, place = divmod(step * self._recipe.designs + turn, self._batches_a_pass)
                if pass_ != epoch:
                    epoch, batches = pass_, self._task.batches(pass_)
                yield Asked(self._design(step, turn), batches[place])

    def network(self, design: Architecture) -> nn.Module:
        """The network of a design with the shared tensors in the place of its own."""
        return self._network(design)

    def _network(self, design: Architecture) -> nn.Module:
        if design.name not in self._built:
            network = self._task.build(design)
            self._tensors.tie(network, self._task.keys(design, network))
            self._built[design.name] = network.train()
            if len(self._built) > MOST_NETWORKS:
                self._built.popitem(last=False)
        self._built.move_to_end(design.name)
        return self._built[design.name]

    def _optimiser(self) -> torch.optim.AdamW:
        recipe = self._recipe
        groups = [
            {
                "params": [self._tensors.parameters[key] for key in keys],
                "factor": rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for rate, decays, keys in self._tensors.groups
        ]
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.999), fused=True)

    def grow(self) -> None:
        """What reads a merged map takes over what read its output branch alone, as its first channels.

        The merge `residual` begins as that branch's map in the first channels, so the networks of several branches
        begin as those of their output branches. What another parent has trained already stays as it is.
        """
        self._take_over({**self._start, **self._tensors.parameters})

    def _take_over(self, sources: Mapping[str, Tensor]) -> None:
        """Lets parameters that have no values of another parent take over those of single branches."""
        for key, parameter in self._tensors.parameters.items():
            kind, owner, inner = key.split("/", 2)
            _, arrow, output = owner.partition("<-")
            # A single branch is the first of its backbone.
            if key in self._start:
                source = None
            elif arrow and kind in MAP_READERS:
                source = sources.get(f"{kind}/{output.partition('#')[0]}/{inner}")
            elif kind == "B" and "#" in owner:
                source = sources.get(f"B/{owner.partition('#')[0]}/{inner}")
            else:
                source = None
            if source is not None:
                with torch.no_grad():
                    take_over(parameter, source.to(parameter.device), widens=kind == "P")

    def _resumed(self, folder: Path, optimiser: torch.optim.Optimizer) -> TrainingProgress:
        file = folder / PARENT_CHECKPOINT
        if not file.is_file():
            return TrainingProgress()
        state = torch.load(file, map_location="cpu", weights_only=True)
        self._tensors.load(state["tensors"])
        for key, moments in state["moments"].items():
            parameter = self._tensors.parameters[key]
            # A fused optimiser has the number of steps on the parameter's device too.
            optimiser.state[parameter] = {name: value.to(parameter.device) for name, value in moments.items()}
        told = state["progress"]
        losses = {int(part): {int(side): tuple(row) for side, row in rows.items()} for part, rows in told[2].items()}
        return TrainingProgress(told[0], Counter(told[1]), losses, Counter(told[3]), list(told[4]))

    def _keep(self, folder: Path, optimiser: torch.optim.Optimizer, progress: TrainingProgress) -> None:
        parameters = self._tensors.parameters
        moments = {key: dict(optimiser.state[one]) for key, one in parameters.items() if one in optimiser.state}
        told = [progress.step, dict(progress.passes), progress.losses, dict(progress.skipped), progress.in_a_row]
        with draft_of(folder / PARENT_CHECKPOINT) as draft:
            torch.save({"tensors": self._tensors.values(), "moments": moments, "progress": told}, draft)

    def _end(self, folder: Path, progress: TrainingProgress) -> dict[str, Any]:
        """Writes the tensors, then the facts, and removes the checkpoint; the first process does."""
        facts = {
            "steps": progress.step,
            "tensors": len(self._tensors.parameters),
            "parameters": sum(parameter.numel() for parameter in self._tensors.parameters.values()),
            "fewest_passes": {
                kind: min(progress.passes[key] for key in keys) for kind, keys in self._keys_of_kind.items()
            },
            "passes": self._passes(progress),
            "network": dict(self._task.network),
            "losses": {
                str(part): {str(side): total / count for side, (total, count) in sorted(rows.items())}
                for part, rows in sorted(progress.losses.items())
            },
            "skipped": dict(progress.skipped),
            "gates": self._gates(),
        }
        if not self._group.rank:
            with draft_of(folder / PARENT_WEIGHTS) as draft:
                save_file(self._tensors.values(), draft)
            write_whole(folder / PARENT_FACTS, json.dumps(facts))
            (folder / PARENT_CHECKPOINT).unlink(missing_ok=True)
        self._group.of_first(True)  # the files are there when any process goes on
        return facts

    def _passes(self, progress: TrainingProgress) -> dict[str, int]:
        """Fewest batches of a tensor of each part, by kind and owner."""
        found: dict[str, int] = {}
        for key in self._tensors.parameters:
            owner = "/".join(key.split("/", 2)[:2])
            found[owner] = min(found.get(owner, progress.passes[key]), progress.passes[key])
        return dict(sorted(found.items()))

    def _gates(self) -> dict[str, float]:
        """Mean size of the weights that begin at zero: those of interactions and of merges, by owner."""
        found: dict[str, list[float]] = {}
        for key, parameter in self._tensors.parameters.items():
            kind, owner, inner = key.split("/", 2)
            if kind == "W" or (kind == "I" and inner.rpartition(".")[2] in INTERACTION_GATES):
                found.setdefault(f"{kind}/{owner}", []).append(float(parameter.detach().abs().mean()))
        return {owner: sum(values) / len(values) for owner, values in sorted(found.items())}
