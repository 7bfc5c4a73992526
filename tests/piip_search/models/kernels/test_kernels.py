"""Sums that have a kernel for GPUs are the same by it and by torch; run as a program, by Triton's interpreter."""

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from piip_search.models.kernels import depthwise, dispatch, sampling  # noqa: E402

Shape = tuple[int, int, int, int, int, tuple[int, int], int]

SHAPES = [  # B, H, W, M, D, grid of queries, P: widths that are no powers of two, more queries than a program takes
    (2, 5, 7, 4, 8, (8, 5), 4),
    (1, 6, 4, 16, 12, (3, 11), 4),
    (1, 3, 9, 2, 24, (7, 1), 3),
    (2, 1, 1, 2, 5, (1, 3), 1),
]


def drawn(shape: Shape, dtype: torch.dtype, device: str) -> tuple[list[Tensor], sampling.Grids]:
    """Values, what is learnt (some points lie outside of the grid, none on a token's centre), and where both are."""
    B, H, W, M, D, sides, P = shape
    generator = torch.Generator().manual_seed(B * H * W + P)
    value = torch.randn(B, H, W, M, D, generator=generator).to(dtype)
    queries = sampling.grid_of(torch.empty(1, *sides, 1))
    size_2 = torch.tensor([W, H])
    centres_N112 = ((queries.centres_N2 + 1) * size_2 / 2 - 0.5)[:, None, None]
    # Sampling has a kink at the centres, where rounding would decide between two gradients.
    whole = (torch.rand(B, len(queries.centres_N2), M, P, 2, generator=generator) * (size_2 + 3)).floor() - 2
    points = whole + torch.rand(whole.shape, generator=generator) * 0.8 + 0.1
    scores = torch.randn(B, len(queries.centres_N2), M * P, generator=generator)
    learnt = torch.cat([(points - centres_N112).flatten(2), scores], -1).to(dtype)
    exact = torch.promote_types(dtype, torch.float32)
    grids = [sampling.grid_of(torch.empty(1, *s, 1, dtype=exact, device=device)) for s in (sides, (H, W))]
    return [tensor.to(device).requires_grad_() for tensor in (value, learnt)], (grids[0], grids[1])


def by_loops(value: Tensor, learnt: Tensor, sides: tuple[int, int]) -> Tensor:
    """Deformable DETR's equation 2, sample by sample."""
    B, H, W, M, _ = value.shape
    P = learnt.shape[2] // (3 * M)
    images = []
    for b in range(B):
        queries = []
        for n in range(learnt.shape[1]):
            i, j = divmod(n, sides[1])
            offsets = learnt[b, n, : 2 * M * P].view(M, P, 2)
            weights = learnt[b, n, 2 * M * P :].view(M, P).softmax(-1)
            heads = []
            for m in range(M):
                total = torch.zeros_like(value[0, 0, 0, 0])
                for p in range(P):
                    # Token centres at half coordinates.
                    x = (j + 0.5) / sides[1] * W + offsets[m, p, 0] - 0.5
                    y = (i + 0.5) / sides[0] * H + offsets[m, p, 1] - 0.5
                    x0, y0 = math.floor(x.item()), math.floor(y.item())
                    for yy, xx in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
                        if 0 <= yy < H and 0 <= xx < W:
                            share = (1 - (x - xx).abs()) * (1 - (y - yy).abs())
                            total = total + weights[m, p] * share * value[b, yy, xx, m]
                heads.append(total)
            queries.append(torch.stack(heads))
        images.append(torch.stack(queries))
    return torch.stack(images)


def sampling_by_the_kernel_is_sampling(device: str, kernel: Callable[..., Tensor], shapes: list[Shape]) -> None:
    """Forward and gradients, in float32 and half precision."""
    for shape in shapes:
        for dtype, tolerance in ((torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
            (ours, grids), (theirs, _) = drawn(shape, dtype, device), drawn(shape, dtype, device)
            found, expected = kernel(*ours, *grids[0].sides), sampling.portable(*theirs, grids)
            assert found.dtype == dtype
            close = {"rtol": tolerance, "atol": tolerance}
            torch.testing.assert_close(found, expected, **close)
            towards = torch.randn_like(found)
            for got, wanted in zip(
                torch.autograd.grad(found, ours, towards), torch.autograd.grad(expected, theirs, towards), strict=True
            ):
                assert got.dtype == wanted.dtype
                torch.testing.assert_close(got, wanted, **close)


def the_depthwise_kernel_is_the_convolution(device: str) -> None:
    """Forward and gradients, in float32 and half precision; more channels and tokens than a program takes."""
    for shape in ((2, 5, 7, 6), (1, 1, 1, 48), (3, 4, 1, 80), (1, 12, 3, 130)):
        for dtype, tolerance in ((torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
            generator = torch.Generator().manual_seed(sum(shape))
            layer = torch.nn.Conv2d(shape[-1], shape[-1], 3, padding=1, groups=shape[-1], device=device)
            tokens = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
            inputs = [tokens, layer.weight, layer.bias]
            exact = [tensor.detach().float().requires_grad_() for tensor in inputs]
            found, expected = depthwise.fused(*inputs), depthwise.depthwise(*exact)
            assert found.dtype == dtype
            close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
            torch.testing.assert_close(found, expected, **close)
            towards = torch.randn(shape, generator=generator).to(device, dtype)
            for got, wanted, given in zip(
                torch.autograd.grad(found, inputs, towards),
                torch.autograd.grad(expected, exact, towards.float()),
                inputs,
                strict=True,
            ):
                assert got.dtype == given.dtype
                torch.testing.assert_close(got, wanted, **close)


def the_network_takes_the_kernels() -> None:
    """A whole network under the wish for kernels, compiled too, equals itself without."""
    from torch import nn

    from piip_search.architecture import Architecture
    from piip_search.models import PIIP

    assert dispatch.WISH == "fused"
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
    assert {"piip_search.deformable_sample.default", "piip_search.depthwise.default"} <= operators
    dispatch.WISH = "portable"
    with torch.no_grad():
        expected = network(image)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)


def test_the_portable_path_equals_loops() -> None:
    for shape in SHAPES[2:]:
        (found, grids), (expected, _) = drawn(shape, torch.float64, "cpu"), drawn(shape, torch.float64, "cpu")
        ours, loops = sampling.portable(*found, grids), by_loops(*expected, grids[0].sides)
        torch.testing.assert_close(ours, loops, rtol=1e-9, atol=1e-9)
        towards = torch.randn_like(loops)
        for got, wanted in zip(
            torch.autograd.grad(ours, found, towards), torch.autograd.grad(loops, expected, towards), strict=True
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_the_kernels_equal_the_portable_path_in_tritons_interpreter() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install triton --no-deps")
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        dispatch.KERNELS_VARIABLE: "fused",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    ended = subprocess.run([sys.executable, str(Path(__file__))], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]
    assert b"equal" in ended.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_kernels_equal_the_portable_path_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "WISH", "portable")
    sampling_by_the_kernel_is_sampling("cuda", sampling.Fused.apply, SHAPES)
    sampling_by_the_kernel_is_sampling("cuda", sampling.fused, SHAPES)
    the_depthwise_kernel_is_the_convolution("cuda")


class OnGPU:
    """What `uses_kernel` asks of a tensor, on a device that is not here."""

    is_cuda = True

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def test_a_kernel_is_chosen_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: Any = torch.zeros(1, 2, 2, 1)
    assert not dispatch.uses_kernel(tokens, in_order=True, spares=True)
    for wish in ("fused", "portable"):
        monkeypatch.setattr(dispatch, "WISH", wish)
        assert dispatch.uses_kernel(tokens, in_order=True, spares=False) is (wish == "fused")
    monkeypatch.setenv(dispatch.KERNELS_VARIABLE, "quick")
    with pytest.raises(ValueError, match="must be one of auto, portable, fused, got 'quick'"):
        dispatch._wish()


def test_a_kernel_is_chosen_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_HAS_TRITON", True)
    half: Any = OnGPU(torch.bfloat16)
    exact: Any = OnGPU(torch.float64)
    assert dispatch.uses_kernel(half, in_order=False, spares=True)
    assert not dispatch.uses_kernel(exact, in_order=False, spares=True)
    assert not dispatch.uses_kernel(half, in_order=True, spares=False)
    with dispatch.recorded():
        assert dispatch.uses_kernel(half, in_order=True, spares=False)
    assert not dispatch.uses_kernel(half, in_order=True, spares=False)
    torch.use_deterministic_algorithms(True)
    try:
        assert not dispatch.uses_kernel(half, in_order=False, spares=True)
        assert dispatch.uses_kernel(half, in_order=True, spares=True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_operators_know_their_shapes() -> None:
    (value, learnt), grids = drawn(SHAPES[0], torch.bfloat16, "meta")
    read = sampling.fused(value, learnt, *grids[0].sides)
    assert (read.shape, read.dtype) == (torch.Size((2, 40, 4, 8)), torch.bfloat16)
    gradients = torch.autograd.grad(read.sum(), (value, learnt))
    assert [gradient.shape for gradient in gradients] == [value.shape, learnt.shape]
    layer = torch.nn.Conv2d(6, 6, 3, padding=1, groups=6, device="meta")
    tokens = torch.randn(2, 4, 5, 6, dtype=torch.bfloat16, device="meta", requires_grad=True)
    convolved = depthwise.fused(tokens, layer.weight, layer.bias)
    assert (convolved.shape, convolved.dtype) == (tokens.shape, torch.bfloat16)
    gradients = torch.autograd.grad(convolved.sum(), (tokens, layer.weight, layer.bias))
    assert [gradient.shape for gradient in gradients] == [(2, 4, 5, 6), (6, 1, 3, 3), (6,)]


if __name__ == "__main__":
    dispatch.WISH = "portable"
    sampling_by_the_kernel_is_sampling("cpu", sampling.Fused.apply, SHAPES)
    sampling_by_the_kernel_is_sampling("cpu", sampling.fused, SHAPES[2:])
    the_depthwise_kernel_is_the_convolution("cpu")
    dispatch.WISH = "fused"
    the_network_takes_the_kernels()
    print("equal")
