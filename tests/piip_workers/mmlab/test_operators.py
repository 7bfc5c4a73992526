"""Stand-in operators against loops written out here."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from torch import Tensor  # noqa: E402

from piip_workers.mmlab import operators  # noqa: E402


def boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 20
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 15], dim=1)


def nms_by_loops(found: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        x1, y1, x2, y2 = found[index].double().tolist()
        for other in kept:
            a1, b1, a2, b2 = found[other].double().tolist()
            width = max(0.0, min(x2, a2) - max(x1, a1) + offset)
            height = max(0.0, min(y2, b2) - max(y1, b1) + offset)
            union = (x2 - x1 + offset) * (y2 - y1 + offset) + (a2 - a1 + offset) * (b2 - b1 + offset) - width * height
            if width * height / union > threshold:
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize(("count", "offset"), [(0, 0), (1, 0), (60, 0), (60, 1)])
def test_nms_equals_loops(count: int, offset: int) -> None:
    found, scores = boxes(count, seed=count), torch.rand(count, generator=torch.Generator().manual_seed(1))
    expected = nms_by_loops(found, scores, 0.4, offset)
    assert operators.nms(found, scores, 0.4, offset).tolist() == expected
    assert count < 2 or 1 < len(expected) < count


def roi_align_by_loops(
    maps: Tensor, region: list[float], size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    image, *corners = region
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (value * scale - shift for value in corners)
    least = 0.0 if aligned else 1.0
    width, height = max(x2 - x1, least), max(y2 - y1, least)
    (rows, columns), (_, H, W) = size, maps.shape[1:]
    down = ratio or max(1, math.ceil(height / rows))
    across = ratio or max(1, math.ceil(width / columns))
    output = torch.zeros(maps.shape[1], rows, columns, dtype=maps.dtype)

    def at(y: float, x: float) -> Tensor:
        if not (-1 <= y <= H and -1 <= x <= W):
            return torch.zeros(maps.shape[1], dtype=maps.dtype)
        y, x = min(max(y, 0.0), H - 1.0), min(max(x, 0.0), W - 1.0)
        y0, x0 = int(y), int(x)
        y_high, x_high = min(y0 + 1, H - 1), min(x0 + 1, W - 1)
        ly, lx = y - y0, x - x0
        pixels = maps[int(image)]
        return (
            pixels[:, y0, x0] * (1 - ly) * (1 - lx)
            + pixels[:, y0, x_high] * (1 - ly) * lx
            + pixels[:, y_high, x0] * ly * (1 - lx)
            + pixels[:, y_high, x_high] * ly * lx
        )

    for row, column, i, j in itertools.product(range(rows), range(columns), range(down), range(across)):
        y = y1 + (row + (i + 0.5) / down) * height / rows
        x = x1 + (column + (j + 0.5) / across) * width / columns
        output[:, row, column] += at(y, x) / (down * across)
    return output


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_equals_loops_forward_and_backward(aligned: bool, ratio: int) -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, 3, 6, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    regions = torch.tensor(
        [[0, 0.0, 0, 12, 9], [1, 3.3, 2.1, 30, 22], [0, -4, -6, 5, 3], [1, 8, 8, 8.2, 8.1]], dtype=torch.float64
    )
    found = operators.roi_align(maps, regions, (3, 2), 0.25, ratio, aligned)
    expected = torch.stack(
        [roi_align_by_loops(maps, region, (3, 2), 0.25, ratio, aligned) for region in regions.tolist()]
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    towards = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(found, maps, towards)[0],
        torch.autograd.grad(expected, maps, towards)[0],
        rtol=1e-6,
        atol=1e-8,
    )


def test_roi_align_of_nothing() -> None:
    assert operators.roi_align(torch.randn(1, 3, 4, 4), torch.zeros(0, 5), (2, 2), 1.0, 0, True).shape == (0, 3, 2, 2)


def test_focal_loss_equals_its_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2, 3, 1, 3])  # 3 is background
    found = operators.sigmoid_focal_loss(logits, target, 2.0, 0.25, torch.empty(0))
    for n, c in itertools.product(range(5), range(3)):
        chance = torch.sigmoid(logits[n, c])
        if target[n] == c:
            expected = -0.25 * (1 - chance) ** 2 * chance.log()
        else:
            expected = -0.75 * chance**2 * (1 - chance).log()
        torch.testing.assert_close(found[n, c], expected)
    assert torch.autograd.gradcheck(
        lambda x: operators.sigmoid_focal_loss(x, target, 2.0, 0.25, torch.tensor([1.0, 2.0, 3.0])), (logits,)
    )


@pytest.mark.filterwarnings("ignore")
def test_mmcv_calls_the_stand_ins() -> None:
    pytest.importorskip("mmcv")
    from piip_workers.mmlab.shims import install

    install()
    install()
    from mmcv.ops import RoIAlign, nms, sigmoid_focal_loss, soft_nms

    found, scores = boxes(30, seed=5), torch.rand(30, generator=torch.Generator().manual_seed(5))
    _, kept = nms(found, scores, iou_threshold=0.5)
    assert kept.tolist() == nms_by_loops(found, scores, 0.5, 0)
    maps = torch.randn(1, 2, 6, 6, requires_grad=True)
    regions = torch.tensor([[0.0, 1, 1, 20, 17]])
    pooled = RoIAlign((2, 2), 0.25, 0)(maps, regions)
    torch.testing.assert_close(pooled[0], roi_align_by_loops(maps, regions[0].tolist(), (2, 2), 0.25, 0, True))
    pooled.sum().backward()
    assert maps.grad is not None
    torch.testing.assert_close(maps.grad.sum(), torch.tensor(8.0))  # averages of samples whose weights sum to 1
    logits = torch.randn(4, 2, requires_grad=True)
    sigmoid_focal_loss(logits, torch.tensor([0, 1, 2, 2]), 2.0, 0.25, None, "sum").backward()
    assert logits.grad is not None
    with pytest.raises(NotImplementedError, match="softnms needs a compiled mmcv"):
        soft_nms(found, scores)


@pytest.mark.slow
def test_a_half_written_cache_of_the_formatter_does_not_stop_a_worker(tmp_path: Path) -> None:
    pytest.importorskip("mmcv")
    command = [sys.executable, "-c", "from piip_workers.mmlab.shims import install; install(); import mmengine"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    pickles = list(tmp_path.rglob("*.pickle"))
    assert pickles, "yapf keeps its grammar elsewhere now"
    for path in pickles:
        path.write_bytes(path.read_bytes()[:0])
    ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
