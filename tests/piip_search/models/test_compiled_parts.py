"""Training steps whose blocks, interactions and merges are compiled: the steps themselves, by few graphs."""

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning"),
    # The compiler looks at the gradients of what a part takes, which are no leaves.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.usefixtures("seeded"),
]

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from piip_search.models.piip import COMPILED_SIZES  # noqa: E402
from support.networks import open_gates  # noqa: E402


class Counted:
    """A backend of `torch.compile` that runs graphs as they are and counts them."""

    graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "graphs"),
    [
        # Blocks in windows and globally, of one branch and globally of the other; two that read; a merge's three.
        ("vit_w64_d6_h2@32:w3g2+vit_w32_d6_h2@64:g*3", 2 + 1 + 2 + 3),
        # Drop path rises from block to block: the first, which skips nothing, and the others; four stages and three
        # layers between them; two that read at four widths of one of them; of merges the projection of the branch that
        # keeps its width, that of the other at four widths, and what joins both on four grids.
        ("vit_small_patch14_dinov2@32:gp16+convnext_pico@64*4", 2 + (4 + 3) + 2 * 4 + (1 + 4 + 4)),
    ],
)
def test_a_few_graphs_are_the_network(name: str, graphs: int) -> None:
    torch.compiler.reset()
    architecture, backend = Architecture.parse(name), Counted()
    usual = PIIP(architecture, [0.3] * 2, interaction_drop_path=0.3)
    open_gates(usual)
    compiled = copy.deepcopy(usual)
    compiled.compile_parts(backend)
    image = torch.randn(3, 3, architecture.resolution, architecture.resolution)
    outputs = []
    for network in (usual, compiled):
        torch.manual_seed(1)
        found = network(image)
        outputs.append(found if isinstance(found, tuple) else (found,))
        sum(map_.square().mean() for map_ in outputs[-1]).backward()
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(compiled.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)
    assert backend.graphs == graphs


def test_the_first_sizes_of_training_alone_are_compiled() -> None:
    torch.compiler.reset()
    backend = Counted()
    network = PIIP(Architecture.parse("vit_pico@32:g"))
    network.compile_parts(backend)
    with torch.no_grad():
        network(torch.randn(1, 3, 32, 32))
        network.eval()(torch.randn(1, 3, 32, 32))
    assert backend.graphs == 0
    network.train()
    for side in range(32, 32 + 16 * (COMPILED_SIZES + 2), 16):
        network(torch.randn(1, 3, side, 32)).sum().backward()
    network(torch.randn(1, 3, 32, 32)).sum().backward()
    assert backend.graphs == COMPILED_SIZES
