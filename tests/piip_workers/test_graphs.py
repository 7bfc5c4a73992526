"""Replayed training steps: as the network itself, on a GPU; here with a recording that keeps what a graph keeps."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIPPyramid, kernels  # noqa: E402
from piip_workers.graphs import SIZES, Recorded  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIDES = (96, 112, 96, 128, 96, 144, 112, 128, 96, 160, 112, 96,
         128, 128, 144, 160, 144, 144, 160, 176, 96, 176, 176, 176)  # fmt: skip
EARLY = 16  # steps, of which most are replayed


def as_usual(step: nn.Module, arguments: tuple[Tensor, ...], **_: object) -> None:
    """A recording that is none, and tries the step out as a real one does."""
    assert kernels._records
    maps = step(*arguments)
    torch.autograd.grad(maps, list(step.parameters()), [torch.ones_like(map_) for map_ in maps], allow_unused=True)


def in_place(step: nn.Module, arguments: tuple[Tensor, ...], **_: object) -> None:
    """A recording that writes every gradient where the one before lies, as a graph does."""
    as_usual(step, arguments)
    run, weights = step.forward, list(step.parameters())
    places = [torch.empty_like(weight) for weight in weights]

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, image: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                ctx.maps = run(image)
            return tuple(map_.detach() for map_ in ctx.maps)

        @staticmethod
        def backward(ctx: Any, *towards: Tensor) -> tuple[Tensor | None, ...]:
            found = torch.autograd.grad(ctx.maps, weights, towards, allow_unused=True)
            for place, gradient in zip(places, found, strict=True):
                if gradient is not None:
                    place.copy_(gradient)
            return None, *(None if g is None else place.detach() for place, g in zip(places, found, strict=True))

    step.forward = lambda image: Replay.apply(image, *weights)


def trained(replays: bool, steps_a_batch: int, attention: str) -> tuple[list[float], list[Tensor], Recorded | None]:
    """Losses and weights of some steps over more sizes of images than are recorded."""
    torch.manual_seed(0)
    architecture = Architecture.parse(f"vit_nano@64:g+vit_pico@96:w2*2(attention={attention})")
    network = PIIPPyramid(architecture, interaction_drop_path=0.5).to(DEVICE).train()
    for name, parameter in network.named_parameters():
        if name.endswith((".gamma", ".tau")):
            nn.init.constant_(parameter, 0.1)
    network.piip.branches[0].pos_embed.requires_grad_(False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    recorded = Recorded(network, None if DEVICE == "cuda" else in_place) if replays else None
    losses: list[float] = []
    kept: list[Tensor] = []  # graphs of earlier steps stay alive, as in loops that keep their losses
    for step, side in enumerate(SIDES):
        image = torch.randn(2, 3, side, 96, generator=torch.Generator().manual_seed(step)).to(DEVICE)
        torch.manual_seed(step)
        maps = (recorded or network)(image)
        assert [tuple(map_.shape[-2:]) for map_ in maps][2] == (side // 16, 6)
        kept.append(sum(map_.square().mean() for map_ in maps))
        kept[-1].backward()
        losses.append(float(kept[-1].detach()))
        if (step + 1) % steps_a_batch == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    network.eval()
    with torch.no_grad():
        losses.append(float((recorded or network)(torch.ones(1, 3, 96, 96, device=DEVICE))[0].square().mean()))
    return losses, [parameter.detach() for parameter in network.parameters()], recorded


@pytest.mark.parametrize("steps_a_batch", [1, 2])
@pytest.mark.parametrize("attention", ["deformable", "regular"])
def test_replayed_training_is_the_training(attention: str, steps_a_batch: int) -> None:
    usual, weights, _ = trained(False, steps_a_batch, attention)
    replayed, same, recorded = trained(True, steps_a_batch, attention)
    # A GPU adds up gradients in no fixed order, and training makes what that changes grow.
    tolerance, late = {"cpu": (1e-6, 1e-6), "cuda": (1e-4, 2e-3)}[DEVICE]
    assert replayed[:EARLY] == pytest.approx(usual[:EARLY], rel=tolerance, abs=0)
    assert replayed[EARLY:] == pytest.approx(usual[EARLY:], rel=late, abs=0)
    for one, other in zip(weights, same, strict=True):
        torch.testing.assert_close(one, other, rtol=late, atol=late)
    assert recorded is not None
    assert recorded.sizes == tuple((2, 3, side, 96) for side in (96, 112, 128, 144))[:SIZES]


@pytest.mark.skipif(DEVICE == "cuda", reason="a GPU records")
def test_without_a_gpu_nothing_is_recorded() -> None:
    network = PIIPPyramid(Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2"))
    recorded = Recorded(network)
    for _ in range(5):
        recorded(torch.randn(1, 3, 96, 96))
    assert recorded.sizes == ()
