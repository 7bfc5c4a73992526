"""Replayed training steps: as the network itself, on a GPU; without one the network runs as usual."""

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIPPyramid  # noqa: E402
from piip_workers.graphs import SEEN, SIZES, Recorded  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 3 * (SEEN + 2)


def trained(replays: bool) -> tuple[list[float], list[Tensor], list[tuple[int, ...]]]:
    """Losses and weights of some steps over more sizes of images than are recorded, and which of them were."""
    torch.manual_seed(0)
    architecture = Architecture.parse("vit_nano@64:g+vit_pico@96:w2*2")
    network = PIIPPyramid(architecture, interaction_drop_path=0.5).to(DEVICE).train()
    for name, parameter in network.named_parameters():
        if name.endswith((".gamma", ".tau")):
            nn.init.constant_(parameter, 0.1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    runs = Recorded(network) if replays else network
    losses = []
    for step in range(STEPS * 2):
        side = 96 if step % 2 else 96 + 16 * (step % (2 * SIZES + 2))
        image = torch.randn(2, 3, side, 96, generator=torch.Generator().manual_seed(step)).to(DEVICE)
        torch.manual_seed(step)
        optimizer.zero_grad(set_to_none=True)
        maps = runs(image)
        assert [tuple(map_.shape[-2:]) for map_ in maps][2] == (side // 16, 6)
        loss = sum(map_.square().mean() for map_ in maps)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    network.eval()
    with torch.no_grad():
        losses.append(float(runs(torch.ones(1, 3, 96, 96, device=DEVICE))[0].sum()))
    return losses, [parameter.detach() for parameter in network.parameters()], sorted(getattr(runs, "_steps", {}))


def test_replayed_training_is_the_training() -> None:
    usual, weights, _ = trained(replays=False)
    replayed, same, recorded = trained(replays=True)
    tolerance = 1e-4 if DEVICE == "cuda" else 0.0  # a GPU adds up gradients of samples in no fixed order
    assert replayed == pytest.approx(usual, rel=tolerance, abs=0)
    for one, other in zip(weights, same, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert bool(recorded) == (DEVICE == "cuda")
    assert len(recorded) <= SIZES
