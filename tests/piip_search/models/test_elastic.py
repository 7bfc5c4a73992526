"""One set of weights at several operating points."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from piip_search.architecture import Architecture
from piip_search.errors import ChoiceError, UserError

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from piip_search.models import PIIPPyramid  # noqa: E402
from piip_search.models.elastic import (  # noqa: E402
    ELASTIC_POINTS,
    ELASTIC_WEIGHTS,
    ElasticPIIP,
    OperatingPoint,
    keys_of,
    load_elastic,
    rows_of,
)
from piip_search.models.weights.shared_keys import network_key  # noqa: E402

NAMES = ("vit_pico@64:g", "vit_nano@32:g+vit_pico@64:g*1/residual", "vit_nano@64:g+vit_pico@96:w2*2/residual")
POINTS = tuple(
    OperatingPoint(Architecture.parse(name), "bbox_mAP", value, gmacs, mparams, milliseconds)
    for name, value, gmacs, mparams, milliseconds in zip(
        NAMES, (0.2, 0.35, 0.3), (0.01, 0.02, 0.04), (0.3, 1.0, 1.3), (3.0, 5.0, 8.0), strict=True
    )
)


def values() -> "dict[str, torch.Tensor]":
    """Random tensors for all points, gates included."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    for point in POINTS:
        for name, parameter in PIIPPyramid(point.design).named_parameters():
            key = network_key(point.design, name)
            found.setdefault(key, 0.1 * torch.randn(parameter.shape, generator=generator))
    return found


def test_every_point_gives_the_maps_of_a_network_of_its_own() -> None:
    shared = values()
    elastic = ElasticPIIP(POINTS[::-1], shared)
    assert elastic.points == POINTS, "the cheapest first"
    assert elastic.point == POINTS[-1]
    image = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for place, point in enumerate(POINTS):
            assert elastic.use(place) == point
            own = PIIPPyramid(point.design).eval()
            own.load_state_dict({name: shared[network_key(point.design, name)] for name, _ in own.named_parameters()})
            assert all(torch.equal(one, other) for one, other in zip(elastic(image), own(image), strict=True))


def test_tensors_are_there_once() -> None:
    elastic = ElasticPIIP(POINTS, values())
    assert sum(parameter.numel() for parameter in elastic.parameters()) == sum(t.numel() for t in values().values())
    assert keys_of(POINTS) == set(values())
    elastic.to(torch.float64)
    assert sum(1 for _ in elastic.parameters()) == len(values())
    assert all(parameter.dtype == torch.float64 for parameter in elastic.parameters())


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ("best", 1),
        ("<=0.01 G", 0),
        ("<= 0.03G", 1),
        ("<=1 G", 1),
        ("<=0.5 M", 0),
        ("<=0.01999 G", 1),
        ("<=3 ms", 0),
        ("<= 7.5ms", 1),
        (2, 2),
        (NAMES[2], 2),
    ],
)
def test_a_point_is_chosen_by_cost_by_position_or_by_name(choice: str | int, place: int) -> None:
    elastic = ElasticPIIP(POINTS, values())
    assert elastic.use(choice) == POINTS[place]
    assert elastic.point == POINTS[place]


def test_times_that_nobody_measured_choose_nothing() -> None:
    elastic = ElasticPIIP([replace(point, milliseconds=None) for point in POINTS], values())
    with pytest.raises(ChoiceError, match="the times of these points were not measured"):
        elastic.use("<=20 ms")
    assert elastic.use("<=0.01 G").design == POINTS[0].design


def test_lower_may_be_better() -> None:
    assert ElasticPIIP(POINTS, values(), rises=False).use("best") == POINTS[0]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("<=0.001 G", "no point costs 0.001 G or less; the cheapest costs 0.01"),
        ("vit_pico@96:g", "no point 'vit_pico@96:g'; write best, <=0.1 G"),
        (3, "there are points 0 to 2, got 3"),
        (-1, "there are points 0 to 2, got -1"),
    ],
)
def test_what_is_no_point_changes_nothing(choice: str | int, message: str) -> None:
    elastic = ElasticPIIP(POINTS, values())
    elastic.use(0)
    with pytest.raises(ChoiceError, match=message):
        elastic.use(choice)
    assert elastic.point == POINTS[0]


def test_a_folder_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    save_file(values(), tmp_path / ELASTIC_WEIGHTS)
    content = {"metric": "bbox_mAP", "rises": True, "strides": [4, 8, 16, 32], "points": rows_of(POINTS)}
    (tmp_path / ELASTIC_POINTS).write_text(json.dumps(content), encoding="utf-8")
    loaded, image = load_elastic(tmp_path), torch.ones(1, 3, 64, 64)
    assert loaded.points == POINTS
    with torch.no_grad():
        assert torch.equal(loaded(image)[0], ElasticPIIP(POINTS, values())(image)[0])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no elastic network: No such file"):
        load_elastic(tmp_path)
    save_file(values(), tmp_path / ELASTIC_WEIGHTS)
    for content, message in (("{", "damaged elastic network"), ('{"metric": "bbox_mAP"}', "lacks 'rises'")):
        (tmp_path / ELASTIC_POINTS).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            load_elastic(tmp_path)
    lacking = values()
    key = next(key for key in lacking if key.startswith("I/"))
    del lacking[key]
    with pytest.raises(UserError, match=r"the tensor I/vit_nano-vit_pico/.* is missing; export the network again"):
        ElasticPIIP(POINTS, lacking)
    with pytest.raises(UserError, match="at least one operating point"):
        ElasticPIIP((), values())
