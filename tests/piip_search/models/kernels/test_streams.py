"""Branches on streams of their own wait for what they read: every operator of a forward pass is held to it."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("seeded")

from torch import Tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.models import PIIP  # noqa: E402
from support.networks import open_gates  # noqa: E402


class Clocks(TorchDispatchMode):
    """Knows of every tensor which stream made it when, and of every stream how far of each other it has waited for.

    The first stream is the caller's. A tensor of another stream may be read when that is waited for, and when its
    memory is kept for the reader.
    """

    def __init__(self) -> None:
        super().__init__()
        self.here = 0
        self.known: dict[int, Counter[int]] = defaultdict(Counter)
        self.made: dict[int, tuple[int, int]] = {}
        self.kept: set[tuple[int, int]] = set()
        self.alive: list[Tensor] = []  # or memory of another tensor would take the place
        self.crossings: set[tuple[int, int]] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function.is_view:  # touches no memory
            return output
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in inputs:
            place = tensor.untyped_storage().data_ptr()
            maker, time = self.made.get(place, (self.here, 0))
            if maker != self.here:
                assert self.known[self.here][maker] >= time, f"{function} does not wait"
                assert (place, self.here) in self.kept, f"{function} reads what may be gone"
                self.crossings.add((maker, self.here))
        self.known[self.here][self.here] += 1
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self.alive.append(tensor)
                self.made[tensor.untyped_storage().data_ptr()] = (self.here, self.known[self.here][self.here])
        return output


class Timed:
    """A stream with a clock in place of a CUDA stream."""

    def __init__(self, clocks: Clocks, index: int) -> None:
        self._clocks, self._index = clocks, index

    @contextmanager
    def __call__(self) -> Iterator[None]:
        before, self._clocks.here = self._clocks.here, self._index
        yield
        self._clocks.here = before

    def mark(self) -> Counter[int]:
        # What is recorded may only wait for what is recorded: for the first stream, and for those that waited for that.
        assert self._clocks.known[self._index][0], "is waited for before it is part of the recording"
        return self._clocks.known[self._index].copy()

    def wait(self, mark: Counter[int]) -> None:
        self._clocks.known[self._index] |= mark

    def read(self, tensor: Tensor) -> None:
        self._clocks.kept.add((tensor.untyped_storage().data_ptr(), self._index))


@pytest.mark.parametrize(
    ("name", "crossings"),
    [
        # Neighbours read each other, and the first stream, the caller's, reads all.
        ("vit_micro@64:g+vit_nano@96:w4+vit_pico@128:w4g2*4", {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)}),
        ("vit_micro@32:g+vit_nano@64:g*3(direction=alternating,projection=no,norm=no)", {(0, 1), (1, 0)}),
        ("vit_micro@32:g+vit_nano@64:w3*2(attention=regular)", {(0, 1), (1, 0)}),
        ("vit_w128_d6_h4@64:g+convnext_pico@128*6", {(0, 1), (1, 0)}),
        ("vit_micro@64:g+vit_nano@96:w4*4/pyramid", {(0, 1), (1, 0)}),
        ("vit_micro@64:g+vit_nano@96:g*0/linear", {(0, 1), (1, 0)}),
        ("vit_micro@64:g+vit_nano@96:g*4/logits", {(0, 1), (1, 0)}),
        ("vit_micro@32:g+convnext_pico@96*1/tokens", {(0, 1), (1, 0)}),
    ],
)
def test_lanes_wait_for_what_they_read(
    name: str, crossings: set[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = Architecture.parse(name)
    network = PIIP(architecture).eval()
    open_gates(network)
    image = torch.randn(2, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        expected = network(image)
        with Clocks() as clocks:
            first = image.clone()
            for module in ("piip", "merge"):
                monkeypatch.setattr(
                    f"piip_search.models.{module}.streams_of",
                    lambda _, count: [Timed(clocks, index) for index in range(count)],
                )
            found = network(first)
            total = sum(map_.sum() for map_ in (found if isinstance(found, tuple) else (found,)))
    assert torch.isfinite(total)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert clocks.crossings == crossings
