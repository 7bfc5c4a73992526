"""Replayed training steps: as the network itself, on a GPU; here with a recording that keeps what a graph keeps."""

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP, PIIPPyramid  # noqa: E402
from piip_search.models.kernels import dispatch  # noqa: E402
from piip_workers.networks.cuda_graphs import MOST_SIZES, Recorded  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIDES = (
    96,
    112,
    96,
    128,
    96,
    144,
    112,
    128,
    96,
    160,
    112,
    96,
    128,
    128,
    144,
    160,
    144,
    144,
    160,
    176,
    96,
    176,
    176,
    176,
)


def in_place(function: Callable[[], list[Any]]) -> tuple[list[Any], Callable[[], None]]:
    """A recording that computes anew and writes what it finds where the first lies, as a graph does."""
    assert dispatch.records()
    places = function()

    def replay() -> None:
        for place, found in zip(places, function(), strict=True):
            if place is not None:
                place.copy_(found)

    return places, replay


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = PIIPPyramid(Architecture.parse(name), interaction_drop_path=0.5).to(DEVICE).train()
    for part, parameter in network.named_parameters():
        if part.endswith((".gamma", ".tau")):
            nn.init.constant_(parameter, 0.1)
    network.piip.branches[0].pos_embed.requires_grad_(False)
    return network


def equal(found: Tensor, expected: Tensor, bfloat16: bool) -> None:
    """But for the order of sums, which is not fixed on a GPU, and the precision of kernels that are chosen there."""
    tolerance = 1e-6 if DEVICE == "cpu" else 0.05 if bfloat16 else 1e-4
    assert (found - expected).norm() <= tolerance * (expected.norm() + 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("steps_a_batch", [1, 2])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("attention", ["deformable", "regular"])
def test_replayed_training_is_the_training(attention: str, bfloat16: bool, steps_a_batch: int) -> None:
    """Losses, gradients and weights of training side by side, over more sizes of images than are recorded."""
    networks = [network_of(f"vit_nano@64:g+vit_pico@96:w2*2(attention={attention})") for _ in range(2)]
    recorded = Recorded(networks[1], None if DEVICE == "cuda" else in_place)
    runs, optimizers = (networks[0], recorded), [torch.optim.SGD(one.parameters(), lr=0.05) for one in networks]
    kept: list[Tensor] = []  # graphs of earlier steps stay alive, as in loops that keep their losses
    for step, side in enumerate(SIDES):
        image = torch.randn(2, 3, side, 96, generator=torch.Generator().manual_seed(step)).to(DEVICE)
        for run in runs:
            torch.manual_seed(step)
            with torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16):
                maps = run(image)
            assert [tuple(map_.shape[-2:]) for map_ in maps][2] == (side // 16, 6)
            kept.append(sum(map_.float().square().mean() for map_ in maps))
            kept[-1].backward()
        equal(kept[-1], kept[-2], bfloat16)
        for usual, same in zip(*(one.parameters() for one in networks), strict=True):
            assert (same.grad is None) is (usual.grad is None)
            if usual.grad is not None:
                equal(same.grad, usual.grad, bfloat16)
        if (step + 1) % steps_a_batch == 0:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                for usual, same in zip(*(one.parameters() for one in networks), strict=True):
                    equal(same, usual, bfloat16)
                    same.copy_(usual)  # or training would make small differences grow
    assert recorded.sizes == tuple((2, 3, side, 96) for side in (96, 112, 128, 144))[:MOST_SIZES]
    networks[1].eval()
    with torch.no_grad():
        ones = torch.ones(1, 3, 96, 96, device=DEVICE)
        torch.testing.assert_close(recorded(ones), networks[1](ones))


def test_a_network_of_one_map_gives_one_map() -> None:
    torch.manual_seed(0)
    network = PIIP(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2"), interaction_drop_path=0.0).to(DEVICE)
    image = torch.randn(2, 3, 96, 96, device=DEVICE)
    torch.testing.assert_close(ready(network)(image), network(image), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(DEVICE == "cuda", reason="a GPU records")
def test_without_a_gpu_nothing_is_recorded() -> None:
    network = PIIPPyramid(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2"))
    recorded = Recorded(network)
    for _ in range(5):
        recorded(torch.randn(1, 3, 96, 96))
    assert recorded.sizes == ()


def ready(network: nn.Module) -> Recorded:
    """A recording of images of 96 px."""
    recorded = Recorded(network, None if DEVICE == "cuda" else in_place)
    for _ in range(3):
        recorded(torch.randn(2, 3, 96, 96, device=DEVICE))
    assert recorded.sizes == ((2, 3, 96, 96),)
    return recorded


def test_a_replayed_step_has_one_backward_pass_before_the_next() -> None:
    recorded = ready(PIIPPyramid(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2")).to(DEVICE))
    image = torch.randn(2, 3, 96, 96, device=DEVICE)
    early, late = (sum(map_.mean() for map_ in recorded(image)) for _ in range(2))
    with pytest.raises(RuntimeError, match="one backward pass, before the next step of its size"):
        early.backward()
    late.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        late.backward()


def test_maps_of_frozen_weights_have_no_gradients() -> None:
    network = PIIPPyramid(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2")).to(DEVICE)
    network.piip.requires_grad_(False)
    recorded = ready(network)
    image = torch.randn(2, 3, 96, 96, device=DEVICE)
    maps = recorded(image)
    assert [map_.requires_grad for map_ in maps] == [map_.requires_grad for map_ in network(image)]
    assert {map_.requires_grad for map_ in maps} == {False, True}
    sum(map_.square().mean() for map_ in maps).backward()
    found = [parameter.grad for parameter in network.parameters()]
    network.zero_grad(set_to_none=True)
    sum(map_.square().mean() for map_ in network(image)).backward()
    for one, other in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


class Summed(nn.Module):
    """Two weights that have one gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Parameter(torch.ones(96)), nn.Parameter(torch.ones(96))

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (image * (self.one + self.other),)


def test_gradients_have_memory_of_their_own() -> None:
    network = Summed().to(DEVICE)
    image = torch.randn(2, 3, 96, 96, device=DEVICE)
    ready(network)(image)[0].sum().backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    torch.testing.assert_close(network.one.grad, network.other.grad)
    torch.testing.assert_close(
        sum(part.grad.square().sum() for part in network.parameters()), torch.ones_like(image.sum())
    )


def test_gradients_of_images_are_those_of_the_network() -> None:
    network = PIIPPyramid(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2")).to(DEVICE)
    recorded, gradients = ready(network), []
    image = torch.randn(2, 3, 96, 96, device=DEVICE, requires_grad=True)
    for run in (network, recorded):
        gradients += torch.autograd.grad(run(image)[0].square().mean(), image)
    torch.testing.assert_close(*gradients)
