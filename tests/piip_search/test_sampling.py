"""The two ways of sampling give the same numbers; run as a program, with Triton's interpreter in place of a GPU."""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from piip_search.models import sampling  # noqa: E402

SHAPES = [  # B, H, W, M, D, N, P: widths that are no powers of two, more queries than a program takes, one token
    (2, 5, 7, 4, 8, 40, 4),
    (1, 6, 4, 16, 12, 33, 4),
    (1, 3, 9, 2, 24, 7, 3),
    (2, 1, 1, 2, 5, 3, 1),
]


def drawn(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Values, points, a fifth of them outside of the grid, and weights."""
    B, H, W, M, D, N, P = shape
    generator = torch.Generator().manual_seed(sum(shape))
    value = torch.randn(B, H, W, M, D, generator=generator).to(dtype)
    points = torch.rand(B, N, M, P, 2, generator=generator) * 2.5 - 1.25
    points[0, 0] = 1.0  # the outer edge itself
    weights = torch.randn(B, N, M, P, generator=generator).softmax(-1)
    return [tensor.to(device).requires_grad_() for tensor in (value, points, weights)]


def by_loops(value: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    """Deformable DETR's equation 2, sample by sample."""
    (B, H, W, M, _), (N, P) = value.shape, (weights.shape[1], weights.shape[3])
    images = []
    for b in range(B):
        queries = []
        for n in range(N):
            heads = []
            for m in range(M):
                total = torch.zeros_like(value[0, 0, 0, 0])
                for p in range(P):
                    x = (points[b, n, m, p, 0] + 1) * W / 2 - 0.5
                    y = (points[b, n, m, p, 1] + 1) * H / 2 - 0.5
                    x0, y0 = math.floor(x.item()), math.floor(y.item())
                    for yy, xx in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
                        if 0 <= yy < H and 0 <= xx < W:
                            share = (1 - (x - xx).abs()) * (1 - (y - yy).abs())
                            total = total + weights[b, n, m, p] * share * value[b, yy, xx, m]
                heads.append(total)
            queries.append(torch.stack(heads))
        images.append(torch.stack(queries))
    return torch.stack(images)


def the_kernel_equals_the_portable_path(device: str) -> None:
    """Forward and gradients, in float32 and half precision."""
    for shape in SHAPES:
        for dtype, tolerance in ((torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
            ours, theirs = drawn(shape, dtype, device), drawn(shape, dtype, device)
            found, expected = sampling.fused(*ours), sampling.portable(*theirs)
            assert found.dtype == dtype
            close = {"rtol": tolerance, "atol": tolerance}
            torch.testing.assert_close(found, expected, **close)
            towards = torch.randn_like(found)
            for got, wanted in zip(
                torch.autograd.grad(found, ours, towards), torch.autograd.grad(expected, theirs, towards), strict=True
            ):
                assert got.dtype == wanted.dtype
                torch.testing.assert_close(got, wanted, **close)


def the_network_takes_the_kernel() -> None:
    """A whole network under the wish for the kernel, compiled too, equals itself without."""
    from torch import nn

    from piip_search.architecture import Architecture
    from piip_search.models import PIIP

    assert sampling.WISH == "fused"
    torch.manual_seed(0)
    network = PIIP(Architecture.parse("vit_nano@32:g+vit_pico@48:w2*2")).eval()
    for name, parameter in network.named_parameters():
        if name.endswith((".gamma", ".tau")):
            nn.init.normal_(parameter, std=0.5)
    image = torch.randn(1, 3, 48, 48)
    operators: set[str] = set()

    def backend(graph: Any, _: Any) -> Any:
        operators.update(str(node.target) for node in graph.graph.nodes)
        return graph

    with torch.no_grad():
        found = network(image)
        compiled = torch.compile(network, fullgraph=True, backend=backend)(image)
    assert any("deformable_sample" in name for name in operators)
    sampling.WISH = "portable"
    with torch.no_grad():
        expected = network(image)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)


def test_the_portable_path_equals_loops() -> None:
    for shape in SHAPES[2:]:
        found, expected = ([tensor.detach().double().requires_grad_() for tensor in drawn(shape, torch.float32, "cpu")]
                           for _ in range(2))  # fmt: skip
        ours, loops = sampling.portable(*found), by_loops(*expected)
        torch.testing.assert_close(ours, loops, rtol=1e-9, atol=1e-9)
        towards = torch.randn_like(loops)
        for got, wanted in zip(
            torch.autograd.grad(ours, found, towards), torch.autograd.grad(loops, expected, towards), strict=True
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_the_kernel_equals_the_portable_path_in_tritons_interpreter() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install triton --no-deps")
    environment = {**os.environ, "TRITON_INTERPRET": "1", sampling.VARIABLE: "fused",
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # fmt: skip
    ended = subprocess.run([sys.executable, str(Path(__file__))], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]
    assert b"equal" in ended.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_kernel_equals_the_portable_path_on_a_gpu() -> None:
    the_kernel_equals_the_portable_path("cuda")


def test_the_kernel_is_chosen_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.zeros(1, 2, 2, 1, 1)
    assert not sampling.uses_kernel(value)
    assert sampling.uses_kernel(value, "fused")
    assert not sampling.uses_kernel(value, "portable")
    monkeypatch.setenv(sampling.VARIABLE, "quick")
    with pytest.raises(ValueError, match="must be one of auto, portable, fused, got 'quick'"):
        sampling._wish()


def test_the_operator_knows_its_shapes() -> None:
    value, points, weights = drawn(SHAPES[0], torch.bfloat16, "meta")
    read = sampling.fused(value, points, weights)
    assert (read.shape, read.dtype) == (torch.Size((2, 40, 4, 8)), torch.bfloat16)
    gradients = torch.autograd.grad(read.sum(), (value, points, weights))
    assert [gradient.shape for gradient in gradients] == [value.shape, points.shape, weights.shape]


if __name__ == "__main__":
    the_kernel_equals_the_portable_path("cpu")
    the_network_takes_the_kernel()
    print("equal")
