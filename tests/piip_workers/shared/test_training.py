"""The training of a parent on a task of a few random images."""

import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from piip_search.architecture import Architecture
from piip_search.errors import UserError
from piip_search.space import SearchSpace
from piip_search.space.choices import Choices
from piip_search.space.parents import covering

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from piip_search.models import PIIPPyramid  # noqa: E402
from piip_search.models.weights.shared_keys import network_key, reads_of  # noqa: E402
from piip_workers.shared.deals import Deal  # noqa: E402
from piip_workers.shared.group import Group, group_of  # noqa: E402
from piip_workers.shared.task import Asked  # noqa: E402
from piip_workers.shared.tensors import load_shared  # noqa: E402
from piip_workers.shared.training import PARENT_CHECKPOINT, PARENT_FACTS, PARENT_WEIGHTS, ParentRecipe, ParentTraining  # noqa: E402

SPACE = SearchSpace(
    Choices(
        backbones=("vit_nano", "vit_pico"),
        resolutions=(32, 48, 64),
        interactions=(0, 1),
        branches=(1, 2),
        merges=("residual",),
    )
)
ROWS = np.concatenate([block.rows(SPACE.choices, np.flatnonzero(block.legal_SWT)) for block in SPACE.blocks])
ALONE = ROWS[ROWS[:, 3] == 0]


class Reader(nn.Module):
    """A PIIP network, and a layer that reads its maps."""

    def __init__(self, design: Architecture) -> None:
        super().__init__()
        self.network = PIIPPyramid(design)
        self.lateral = nn.Conv2d(design.merged[0][0], 4, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        found: Tensor = torch.stack([self.lateral(one).mean((2, 3)) for one in self.network(image_BCHW)])
        return found


class Brightness:
    """Learns the brightness of six images, at any size."""

    device = torch.device("cpu")
    network: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.read_batches: list[Asked] = []

    def build(self, design: Architecture) -> nn.Module:
        return Reader(design)

    @staticmethod
    def keys(design: Architecture, network: nn.Module) -> dict[str, str]:
        names = [name for name, _ in network.named_parameters()]
        return {
            name: network_key(design, name.removeprefix("network."))
            if name.startswith("network.")
            else f"N/{reads_of(design)}/{name}"
            for name in names
        }

    def rates(self, design: Architecture, network: nn.Module) -> dict[str, float]:
        return {}

    def batches(self, epoch: int) -> list[tuple[int, ...]]:
        order = [int(one) for one in np.random.default_rng(epoch).permutation(6)]
        return [tuple(order[at : at + 2]) for at in (0, 2, 4)]

    def read(self, asked: Iterable[Asked]) -> Iterator[Any]:
        for one in asked:
            self.read_batches.append(one)
            generator = torch.Generator().manual_seed(sum(one.images))
            image = torch.rand(len(one.images), 3, one.design.resolution, one.design.resolution, generator=generator)
            yield image, float("nan") if one.design.name == self.broken else 1.0

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        image, factor = batch
        found: Tensor = ((network(image) - image.mean((1, 2, 3))[None, :, None]) ** 2).mean() * factor
        return found


def recipe(steps: int = 12, grown: int = 0) -> ParentRecipe:
    return ParentRecipe(
        steps=steps,
        designs=2,
        learning_rate=1e-3,
        warmup=0.1,
        weight_decay=0.05,
        clip_norm=1.0,
        grown=grown,
        seed=0,
        checkpoint_seconds=0.0,
    )


def training(task: Brightness, of: ParentRecipe | None = None, group: Group | None = None) -> ParentTraining:
    of = of or recipe()
    singles = Deal(SPACE, ALONE, 0) if of.grown else None
    return ParentTraining(task, Deal(SPACE, ROWS, 0), singles, covering(SPACE, ROWS), of, group)


class KilledError(Exception):
    pass


def killed_after(step: int) -> Any:
    def report(share: float, text: str) -> None:
        if text.startswith(f"step {step} "):
            raise KilledError

    return report


def ignored(share: float, text: str) -> None:
    pass


def test_a_training_that_is_killed_at_twenty_moments_ends_as_a_straight_one(tmp_path: Path) -> None:
    of = recipe(steps=24, grown=4)
    straight = training(Brightness(), of).run(tmp_path / "straight", ignored)
    for step in range(1, 21):
        with pytest.raises(KilledError):
            training(Brightness(), of).run(tmp_path / "cut", killed_after(step))
    assert training(Brightness(), of).run(tmp_path / "cut", ignored) == straight
    assert (tmp_path / "cut" / PARENT_WEIGHTS).read_bytes() == (tmp_path / "straight" / PARENT_WEIGHTS).read_bytes()
    assert not (tmp_path / "cut" / PARENT_CHECKPOINT).exists()
    # A finished one is only read.
    task = Brightness()
    assert training(task, of).run(tmp_path / "cut", ignored) == straight
    assert task.read_batches == []


def test_it_learns_for_all_designs(tmp_path: Path) -> None:
    facts = training(Brightness(), recipe(steps=40)).run(tmp_path, ignored)
    first, last = facts["losses"]["0"], facts["losses"]["19"]
    assert max(last.values()) < min(first.values())
    assert facts["steps"] == 40
    assert all(gate > 0 for gate in facts["gates"].values()), "interactions and merges have left zero"


def test_single_branches_come_first(tmp_path: Path) -> None:
    task = Brightness()
    training(task, recipe(grown=4)).run(tmp_path, ignored)
    branches = [len(one.design.branches) for one in task.read_batches]
    assert set(branches[:8]) == {1}
    assert 2 in branches[8:]
    images = [image for one in task.read_batches for image in one.images]
    assert {images.count(image) for image in range(6)} == {8}, "every pass has all images"


FREE = SearchSpace(
    Choices(
        backbones=("vit_nano", "vit_pico"),
        resolutions=(32, 64),
        interactions=(0, 1),
        branches=(1, 2),
        merges=("residual",),
        pairing="free",
    )
)
FREE_ROWS = np.concatenate([block.rows(FREE.choices, np.flatnonzero(block.legal_SWT)) for block in FREE.blocks])


@pytest.mark.parametrize(
    ("pair", "single"),
    [
        ("vit_nano@32:g+vit_pico@64:g*1/residual", "vit_pico@64:g"),
        ("vit_nano@64:g+vit_pico@32:g*1/residual", "vit_nano@64:g"),
        ("vit_pico@32:g+vit_pico@64:g*1/residual", "vit_pico@64:g"),
    ],
)
def test_designs_of_several_branches_begin_as_their_largest_images_branch(pair: str, single: str) -> None:
    torch.manual_seed(0)
    deals = Deal(FREE, FREE_ROWS, 0), Deal(FREE, FREE_ROWS[FREE_ROWS[:, 3] == 0], 0)
    made = ParentTraining(Brightness(), *deals, covering(FREE, FREE_ROWS), recipe(grown=4))
    image = torch.rand(2, 3, 64, 64)
    several, alone = (Architecture.parse(name) for name in (pair, single))
    networks = [made.network(design) for design in (several, alone)]
    with torch.no_grad():
        assert not torch.allclose(networks[0](image), networks[1](image))
        made.grow()
        read = [network(image) for network in networks]
        assert torch.allclose(read[0][1:], read[1][1:], atol=1e-6)
        # A norm spans the channels of the finest map, which differ where the first branch is wider.
        same_width = several.branches[0].model.width == alone.branches[0].model.width
        assert torch.allclose(read[0][0], read[1][0], atol=1e-6) == same_width


@pytest.mark.parametrize("grown", [0, 4])
def test_it_starts_from_another_parent(tmp_path: Path, grown: int) -> None:
    """What the other one trained stays; what is new begins as the single branches of both."""
    cheap = np.array([FREE.decode(row_D).resolution == 32 for row_D in FREE_ROWS])
    alone = FREE_ROWS[:, 3] == 0
    first = ParentTraining(
        Brightness(), Deal(FREE, FREE_ROWS[alone & cheap], 0), None, covering(FREE, FREE_ROWS[alone & cheap]), recipe()
    )
    first.run(tmp_path, ignored)
    start, rows = _weights(tmp_path), FREE_ROWS[~alone]
    singles = Deal(FREE, FREE_ROWS[alone], 0) if grown else None
    cover = covering(FREE, FREE_ROWS if grown else rows)
    made = ParentTraining(Brightness(), Deal(FREE, rows, 0), singles, cover, recipe(grown=grown), start=start)
    if grown:
        made.grow()
    image = torch.rand(2, 3, 64, 64)
    pair, single = Architecture.parse("vit_nano@32:g+vit_pico@64:g*1/residual"), Architecture.parse("vit_pico@64:g")
    taught = Reader(single)
    load_shared(taught, Brightness.keys(single, taught), start)
    with torch.no_grad():
        assert torch.allclose(made.network(pair)(image)[1:], taught(image)[1:], atol=1e-6)


def test_a_loss_that_is_not_finite_skips_its_design(tmp_path: Path) -> None:
    broken = "vit_nano@32:g+vit_pico@64:g*1/residual"
    facts = training(Brightness(broken), recipe(steps=30)).run(tmp_path, ignored)
    assert list(facts["skipped"]) == [broken]
    for name, tensor in _weights(tmp_path).items():
        assert torch.isfinite(tensor).all(), name


def test_ten_in_a_row_end_it_with_their_designs(tmp_path: Path) -> None:
    class AllBroken(Brightness):
        def loss(self, network: nn.Module, batch: Any) -> Tensor:
            return super().loss(network, batch) * float("inf")

    with pytest.raises(FloatingPointError, match=r"not finite 10 times in a row: vit_.*; lower training.learning"):
        training(AllBroken()).run(tmp_path, ignored)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    class OfOne(Brightness):
        """The loss is finite, and its gradient is not: the square root of zero."""

        def loss(self, network: nn.Module, batch: Any) -> Tensor:
            found = super().loss(network, (batch[0], 1.0))
            return found + (found - found).sqrt() if batch[1] != batch[1] else found

    broken = "vit_nano@32:g+vit_pico@64:g*1/residual"
    facts = training(OfOne(broken), recipe(steps=30)).run(tmp_path, ignored)
    assert broken in facts["skipped"]
    for name, tensor in _weights(tmp_path).items():
        assert torch.isfinite(tensor).all(), name


def test_a_step_that_does_not_fit_the_memory_is_skipped(tmp_path: Path) -> None:
    class Large(Brightness):
        always = False

        def loss(self, network: nn.Module, batch: Any) -> Tensor:
            if self.always or batch[1] != batch[1]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(network, batch)

    large = "vit_nano@32:g+vit_pico@64:g*1/residual"
    task = Large(large)
    assert list(training(task, recipe(steps=30)).run(tmp_path / "one", ignored)["skipped"]) == [large]
    task.always = True
    with pytest.raises(MemoryError, match=r"did not fit the memory 10 times in a row: vit_.*; lower training.batch"):
        training(task, recipe(steps=30)).run(tmp_path / "all", ignored)


def test_a_training_that_is_too_short_is_refused_before_its_first_step(tmp_path: Path) -> None:
    task = Brightness()
    with pytest.raises(
        UserError, match=r"of 12 steps is too short: .* batches, fewer than .*least_passes \(500\), such"
    ):
        training(task, replace(recipe(), least_passes=500)).run(tmp_path, ignored)
    assert task.read_batches == []
    assert not (tmp_path / PARENT_FACTS).exists()


def test_no_part_starves(tmp_path: Path) -> None:
    facts = training(Brightness(), recipe(steps=60)).run(tmp_path, ignored)
    cards = {"single": 1, "several": 3}
    total = 2 * 60
    share = cards["single"] / (2 * cards["single"] + cards["several"])
    fewest = min(facts["fewest_passes"].values())
    # What only a single branch reads has its share of the cards.
    assert fewest >= 0.5 * share * total
    json.dumps(facts)


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    found: dict[str, Tensor] = load_file(folder / PARENT_WEIGHTS)
    return found


def member(rank: int, size: int, folder: Path, of: ParentRecipe, stops_at: int) -> None:
    """One of several processes that train together, and are killed after a step."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder / f'meeting-{stops_at}'}", rank=rank, world_size=size)
    report = killed_after(stops_at) if not rank else ignored
    made = training(Brightness(), of, group_of(torch.device("cpu")))
    with suppress(KilledError):
        made.run(folder, report)
    torch.distributed.destroy_process_group()


def joined(size: int, folder: Path, of: ParentRecipe, stops_at: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    processes = [
        multiprocessing.get_context("spawn").Process(target=member, args=(rank, size, folder, of, stops_at))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        if process.is_alive():  # the others wait for the killed one
            process.kill()
            process.join()


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    of = recipe(steps=24, grown=4)
    facts = training(Brightness(), of).run(tmp_path / "one", ignored)
    joined(2, tmp_path / "two", of)
    told = json.loads((tmp_path / "two" / PARENT_FACTS).read_text())
    assert told["fewest_passes"] == facts["fewest_passes"]
    one, two = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, values in one.items():
        torch.testing.assert_close(two[key], values, rtol=1e-5, atol=1e-5)
    for part, losses in facts["losses"].items():
        assert told["losses"][part] == pytest.approx(losses, rel=1e-4)


@pytest.mark.slow
def test_two_killed_processes_end_as_straight_ones(tmp_path: Path) -> None:
    of = recipe(steps=12)
    joined(2, tmp_path / "straight", of)
    joined(2, tmp_path / "cut", of, stops_at=7)
    assert not (tmp_path / "cut" / PARENT_FACTS).exists()
    joined(2, tmp_path / "cut", of)
    assert (tmp_path / "cut" / PARENT_WEIGHTS).read_bytes() == (tmp_path / "straight" / PARENT_WEIGHTS).read_bytes()
